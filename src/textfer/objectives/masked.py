"""Masked language modelling: some tokens are hidden, spoilt or left, and are to be named where they stand.

Letters: B rows, L raw tokens of a row, n tokens of a row with its marks, k tokens of a row that are to be named.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from textfer.batch import Ids, Int32, Specials
from textfer.config import Options
from textfer.draws import Draws, Int64
from textfer.errors import ConfigError
from textfer.objectives.base import OBJECTIVES

NUM_MARKS = 2
"""`[CLS]` before and `[SEP]` after a piece."""


@OBJECTIVES.named("masked_lm")
class MaskedLanguageModel(Options):
    """Of 15 % of the tokens 80 % become `[MASK]`, 10 % another word, 10 % stay; all of these are to be named.

    A piece is `[CLS]` text `[SEP]`, with a `[SEP]` between documents; marks are never chosen. How many tokens are
    chosen is fixed by the length, marks counted; which ones is uniform.

    Source: `create_masked_lm_predictions` in create_pretraining_data.py of the release, with one difference: a random
    word is never a mark, where the released code may draw even `[PAD]`. Whole words as there: they are gone through in
    random order, and one that is longer than what is left is passed over.
    """

    name: Literal["masked_lm"] = "masked_lm"
    noise_density: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that are to be named."""
    mask_share: float = Field(default=0.8, ge=0, le=1)
    """Of these, the share that becomes `[MASK]`."""
    random_share: float = Field(default=0.1, ge=0, le=1)
    """Of these, the share that becomes a random word; the rest stay as they are."""
    max_predictions: int | None = Field(default=None, ge=1)
    """The most tokens of a piece to be named (BERT: 20 of 128, 80 of 512); None = no limit."""
    whole_words: bool = False
    """All pieces of a word are chosen, or none."""
    next_sentence: bool = False
    """A piece is a pair `[CLS]` A `[SEP]` B `[SEP]` of stretches of whole sentences, and whether B follows A is learnt
    too: in half of them it does not. The model needs its head `next_sentence`."""

    joins: ClassVar[bool] = True
    document_eos: ClassVar[bool] = True
    eos: ClassVar[tuple[bool, bool]] = (False, False)
    lossless: ClassVar[bool] = False
    in_place: ClassVar[bool] = True
    in_sight: ClassVar[bool] = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.mask_share + self.random_share > 1:
            raise ValueError(
                f"mask_share + random_share is {self.mask_share + self.random_share:g}, expected at most 1. Lower one."
            )
        return self

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        """What the marks leave of the inputs; targets have no length of their own."""
        del targets_len
        return max(inputs_len - NUM_MARKS, 1)

    def lens(self, raw_len: int) -> tuple[int, int]:
        """(inputs, targets): the piece with its marks, twice."""
        return raw_len + NUM_MARKS, raw_len + NUM_MARKS

    def num_sentinels(self, raw_len: int) -> int:
        """None."""
        del raw_len
        return 0

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] → B `Ids`. Errors: ConfigError when the vocabulary lacks `[CLS]`, `[SEP]` or `[MASK]`."""
        marks = _marks(specials)
        whole = np.empty((len(tokens), tokens.shape[1] + NUM_MARKS), np.int32)
        whole[:, 0], whole[:, 1:-1], whole[:, -1] = marks["cls"], tokens, marks["sep"]
        inputs, weights = self.hide(whole, specials, draws)
        return [Ids(*parts) for parts in zip(inputs, whole, weights, strict=True)]

    def hide(self, tokens: Int32, specials: Specials, draws: Draws) -> tuple[Int32, NDArray[np.float32]]:
        """([B, n] what is read, [B, n] 1 where a token is to be named) of rows with their marks.

        Errors: ConfigError when the vocabulary lacks a mark, or does not tell words that `whole_words` asks for.
        """
        marks = _marks(specials)
        free = ~np.isin(tokens, [marks["cls"], marks["sep"]])
        count = max(1, round(tokens.shape[1] * self.noise_density))
        if self.max_predictions is not None:
            count = min(count, self.max_predictions)
        if self.whole_words:
            chosen = self._words(tokens, free, count, specials, draws)
        else:
            order = np.where(free, draws.bits(tokens.shape[1]) >> np.uint64(1), np.uint64(2**63))  # marks come last
            chosen = np.sort(np.argpartition(order, min(count, tokens.shape[1] - 1), axis=1)[:, :count], axis=1)
        fates, words = draws.uniform(chosen.shape[1]), random_words(draws, chosen.shape[1], specials, marks)
        rows = np.arange(len(tokens))[:, None]
        old = tokens[rows, chosen]
        new = np.where(fates < self.mask_share, marks["mask"], np.where(fates < self._spoilt, words, old))
        named = (chosen >= 0) & free[rows, chosen]
        inputs, weights = tokens.copy(), np.zeros(tokens.shape, np.float32)
        row, column = np.nonzero(named)
        place = chosen[row, column]
        inputs[row, place], weights[row, place] = new[row, column], 1.0
        return inputs, weights

    @property
    def _spoilt(self) -> float:
        return self.mask_share + self.random_share

    def _words(
        self, tokens: Int32, free: NDArray[np.bool_], count: int, specials: Specials, draws: Draws
    ) -> NDArray[np.int64]:
        """[B, count] the places of whole words, −1 where nothing more fits."""
        if specials.inside is None:
            raise ConfigError(
                "objective.whole_words: this vocabulary's pieces do not tell where words begin. Set it to false."
            )
        begins = free & ~specials.inside[np.minimum(tokens, len(specials.inside) - 1)]
        order = np.argsort(draws.bits(tokens.shape[1]), axis=1)
        found = np.full((len(tokens), count), -1, np.int64)
        for row, (is_free, is_begin) in enumerate(zip(free, begins, strict=True)):
            places = np.flatnonzero(is_free)
            if not places.size:
                continue
            is_begin[places[0]] = True  # a piece may begin inside a word
            edges = np.append(np.flatnonzero(is_begin[places]), len(places)).tolist()
            taken: list[int] = []
            for word in order[row].tolist():  # more numbers than words: the others are passed over
                if word < len(edges) - 1 and len(taken) + edges[word + 1] - edges[word] <= count:
                    taken += places[edges[word] : edges[word + 1]].tolist()
                    if len(taken) == count:
                        break
            found[row, : len(taken)] = sorted(taken)
        return found


def _marks(specials: Specials) -> dict[str, int]:
    """The ids of the marks of this objective. Errors: ConfigError when one is missing."""
    found = {name: getattr(specials, name) for name in ("cls", "sep", "mask")}
    if missing := [f"[{name.upper()}]" for name, i in found.items() if i is None]:
        raise ConfigError(
            f"objective masked_lm: the vocabulary has no {' and no '.join(missing)}. Take one that has, such as BERT's."
        )
    return found


def random_words(draws: Draws, count: int, specials: Specials, marks: dict[str, int]) -> Int64:
    """[B, count] ids, uniform over all but the marks."""
    others = [specials.pad, specials.eos, specials.unk, specials.bos, *specials.sentinels.tolist()]
    apart = np.unique([i for i in (*marks.values(), *others) if i is not None])
    assert specials.num_ids > len(apart), "the specials do not say how many ids there are"
    words = draws.integers(specials.num_ids - len(apart), count)
    shifts = apart - np.arange(len(apart))  # how many words lie below each mark
    return words + np.searchsorted(shifts, words, side="right")
