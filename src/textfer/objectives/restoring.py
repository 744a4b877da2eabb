"""The text is spoilt and the whole of it, or only what was dropped, is to be written out: T5's other objectives.

Letters: B rows, L raw tokens of a row.
Source: T5 §3.3, Tables 3 to 5.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from textfer.batch import Ids, Int32, Specials
from textfer.config import Options
from textfer.draws import Draws
from textfer.errors import ConfigError
from textfer.objectives.base import OBJECTIVES
from textfer.objectives.denoising import check_lens, most_of
from textfer.objectives.masked import random_words


class _Whole(Options):
    """A piece is read, spoilt in some way, and written out whole: each side holds it with an end mark."""

    name: str

    document_eos: ClassVar[bool] = False
    eos: ClassVar[tuple[bool, bool]] = (True, True)
    lossless: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    in_sight: ClassVar[bool] = False

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        """What both sides can hold. Errors: ConfigError when that is nothing."""
        raw = min(inputs_len, targets_len) - 1
        if raw < 1:
            raise ConfigError(
                f"objective {self.name}: got lengths of {inputs_len} and {targets_len} tokens, expected 2 or more."
            )
        return raw

    def lens(self, raw_len: int) -> tuple[int, int]:
        """(inputs, targets): the piece, twice, end marks counted."""
        return raw_len + 1, raw_len + 1


@OBJECTIVES.named("bert_style")
class BertStyle(_Whole):
    """Single tokens are hidden, all behind the same sentinel, and the whole text is to be written out.

    Source: gin objectives/iid_15_r10s90_f (BERT-style) and, with random_share = 0, iid_15_m_f (MASS-style). A random
    token is never a mark or a sentinel, which it may be in the release.
    """

    name: Literal["bert_style"] = "bert_style"
    noise_density: float = Field(default=0.15, gt=0, lt=1)
    """Probability of every token to be hidden."""
    random_share: float = Field(default=0.1, ge=0, le=1)
    """Of the hidden tokens, the share that becomes another token instead of the sentinel."""

    joins: ClassVar[bool] = True

    def num_sentinels(self, raw_len: int) -> int:
        """One."""
        del raw_len
        return 1

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] → B `Ids`. Errors: ConfigError when the vocabulary has no sentinel."""
        if not len(specials.sentinels):
            raise ConfigError("objective bert_style: the vocabulary has no sentinel. Take one that has, such as T5's.")
        length = tokens.shape[1]
        hidden = draws.bits(length) < np.uint64(self.noise_density * 2.0**64)
        new = np.full(tokens.shape, specials.sentinels[0], np.int32)
        if self.random_share:
            others = draws.uniform(length) < self.random_share
            new = np.where(others, random_words(draws, length, specials, {}), new).astype(np.int32)
        return [Ids(*pair) for pair in zip(np.where(hidden, new, tokens), tokens.copy(), strict=True)]


@OBJECTIVES.named("deshuffling")
class Deshuffling(_Whole):
    """The tokens of a text are read in random order, and the text is to be written out.

    Source: gin objectives/all_permute: documents are not joined.
    """

    name: Literal["deshuffling"] = "deshuffling"

    joins: ClassVar[bool] = False

    def num_sentinels(self, raw_len: int) -> int:
        """None."""
        del raw_len
        return 0

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] → B `Ids`."""
        del specials
        order = np.argsort(draws.bits(tokens.shape[1]), axis=1)
        shuffled = np.take_along_axis(tokens, order, axis=1)
        return [Ids(*pair) for pair in zip(shuffled, tokens.copy(), strict=True)]


@OBJECTIVES.named("dropped_tokens")
class DroppedTokens(Options):
    """Single tokens are dropped without a trace, and they alone, in their order, are to be written out.

    The number of dropped tokens is random. `lens` holds 3.5 standard deviations, as the released lengths do (512 and
    104); in a longer one the rest of the text stays. Where nothing would be dropped one token is, so that there is
    something to write.

    Source: gin objectives/iid_15_d_d.
    """

    name: Literal["dropped_tokens"] = "dropped_tokens"
    noise_density: float = Field(default=0.15, gt=0, lt=1)
    """Probability of every token to be dropped."""

    joins: ClassVar[bool] = True
    document_eos: ClassVar[bool] = False
    eos: ClassVar[tuple[bool, bool]] = (True, True)
    lossless: ClassVar[bool] = True
    in_place: ClassVar[bool] = False
    in_sight: ClassVar[bool] = False

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        """The inputs without their end mark: hardly anything may be dropped. Errors: ConfigError for short targets."""
        raw = max(inputs_len - 1, 1)
        check_lens(self.name, self.lens(raw), inputs_len, targets_len)
        return raw

    def lens(self, raw_len: int) -> tuple[int, int]:
        """(inputs, targets), the most, end marks counted."""
        p = self.noise_density
        most = most_of(raw_len * p, raw_len * p * (1 - p))
        return max(raw_len, 1), min(raw_len, max(most, 1)) + 1

    def num_sentinels(self, raw_len: int) -> int:
        """None."""
        del raw_len
        return 0

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] → B `Ids`."""
        del specials
        length = tokens.shape[1]
        bits = draws.bits(length)
        dropped = bits < np.uint64(self.noise_density * 2.0**64)
        if length:
            none = ~dropped.any(axis=1)
            dropped[none, np.argmin(bits[none], axis=1)] = True
        dropped &= np.cumsum(dropped, axis=1) < self.lens(length)[1]
        return [Ids(row[~gone], row[gone]) for row, gone in zip(tokens, dropped, strict=True)]
