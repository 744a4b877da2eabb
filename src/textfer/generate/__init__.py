"""Texts in, texts out: greedy, beam and sampled decoding, and the scores of given targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

from textfer.batch import Batch, Ids, Int32
from textfer.choices import (
    Choices,
    Normalise,
    Ranked,
    Trie,
    Walks,
    check_normalise,
    normalised,
    per_text,
    ranked,
    tries_of,
)
from textfer.data.layout import LAYOUTS, Lens
from textfer.draws import address
from textfer.errors import ConfigError, DataError
from textfer.generate.decoding import Decoding, beam_search, check_decoding, decode, limits_of
from textfer.generate.scoring import likelihoods
from textfer.models import Generator
from textfer.models.int8 import num_weights
from textfer.tokenizers import Tokenizer

__all__ = ["Decoding", "Generated", "Predictor", "check_decoding"]

MAX_INPUT_TOKENS = 8192
"""Longer inputs are refused unless the caller says where to cut: attention over them would fill the memory."""


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer."""

    text: str
    log_prob: float
    """Sum of the natural logs of its tokens' probabilities, end mark included."""
    num_tokens: int


class Predictor:
    """A model and its vocabulary, ready to read and write.

    `ends_inputs`: the end mark stands between a text and its answer, as in all text-to-text training. A plain language
    model, which has only learnt to go on with text, would take it for the end of that text.
    """

    foreign = False
    """Whether another program has the weights (`exported.Exported`): there is no `model` then to step or change."""

    def __init__(self, model: Generator, tokenizer: Tokenizer, *, ends_inputs: bool = True) -> None:
        self._model = model
        self.tokenizer = tokenizer
        self.ends_inputs = ends_inputs

    @property
    def model(self) -> Generator:
        """What writes."""
        return self._model

    @property
    def max_len(self) -> int | None:
        """Positions that the model has; None = as many as it takes."""
        return self.model.max_len

    @property
    def layout(self) -> str:
        """Where inputs and answers stand; see `data.layout`."""
        return self.model.layout

    def told(self) -> str:
        """What it is, in words."""
        return f"{num_weights(self.model):,} parameters"

    def generate(
        self, texts: Sequence[str], decoding: Decoding | None = None, *, choices: Choices | None = None
    ) -> list[Generated]:
        """One answer a text, in order. With `choices`, each answer is one of them, to the letter.

        An empty list of choices bars nothing. An answer's log probability is the model's own, as without choices.
        Errors: ConfigError when a setting of `decoding` cannot take effect; DataError for a text that is far too long.
        """
        answers = dict(self.generate_each(texts, decoding, choices=choices))
        return [answers[number] for number in range(len(texts))]

    def generate_each(
        self, texts: Sequence[str], decoding: Decoding | None = None, *, choices: Choices | None = None
    ) -> Iterator[tuple[int, Generated]]:
        """(number of the text, its answer), batch by batch as they are made: the longest texts first."""
        decoding = check_decoding(decoding or Decoding())
        tries: list[Trie | None] = [None] * len(texts)
        if choices is not None:
            lists = per_text(choices, len(texts), where="generate")
            tries = tries_of(lists, self.tokenizer, longest=decoding.max_new_tokens)
        specials = self.tokenizer.specials
        for numbers, batch in self._batches(texts, decoding.batch_size, decoding.max_input_tokens):
            allowed = [tries[number] for number in numbers]
            walks = Walks(allowed) if any(allowed) else None
            for number, trie, most in zip(numbers, allowed, limits_of(self.model, batch, decoding), strict=True):
                if trie and trie.longest > most:
                    raise DataError(
                        f"text {number + 1} of {len(texts)}: leaves positions for {most} tokens, and a choice has "
                        f"{trie.longest}. Shorten it, or set max_input_tokens."
                    )
            with self.reading():
                if decoding.beams > 1:
                    found = beam_search(self.model, batch, decoding, specials, walks)
                elif decoding.sample:
                    keys = np.concatenate([address(decoding.seed, texts[number], 0, 0) for number in numbers])
                    found = decode(self.model, batch, decoding, specials, keys=keys, walks=walks)
                else:
                    found = decode(self.model, batch, decoding, specials, walks=walks)
            for number, trie, (ids, log_prob) in zip(numbers, allowed, found, strict=True):
                text = trie.text(ids) if trie else self.tokenizer.decode(ids)
                yield number, Generated(text, log_prob, len(ids))

    def score(
        self, texts: Sequence[str], targets: Sequence[Sequence[str]], *, batch_size: int = 16
    ) -> list[list[float]]:
        """[text][target] → the natural log of the target's probability given the text, end mark included.

        The encoder reads every text once, however many targets it has. A target without characters is the end mark.
        """
        if len(texts) != len(targets):
            raise ConfigError(f"score: got {len(texts)} texts and {len(targets)} lists of targets, expected as many.")
        found = {number: values for number, values, _ in self._score_each(texts, targets, batch_size, None)}
        return [found[number] for number in range(len(texts))]

    def rank(
        self,
        texts: Sequence[str],
        choices: Choices,
        *,
        normalise: Normalise = "none",
        batch_size: int = 16,
        max_input_tokens: int | None = None,
    ) -> list[Ranked]:
        """The likeliest of the choices after each text (rank classification), with the share of every one.

        `normalise` says how choices of unlike length or rarity are made comparable; see `choices.normalised`.
        Errors: ConfigError for another number of lists than texts, a list without choices, or one that stands twice.
        """
        found = dict(
            self.rank_each(
                texts, choices, normalise=normalise, batch_size=batch_size, max_input_tokens=max_input_tokens
            )
        )
        return [found[number] for number in range(len(texts))]

    def rank_each(
        self,
        texts: Sequence[str],
        choices: Choices,
        *,
        normalise: Normalise = "none",
        batch_size: int = 16,
        max_input_tokens: int | None = None,
    ) -> Iterator[tuple[int, Ranked]]:
        """(number of the text, its ranking), batch by batch as they are made: the longest texts first."""
        check_normalise(normalise, where="rank")
        lists = per_text(choices, len(texts), where="rank")
        if () in lists:
            raise ConfigError(f"rank: text {lists.index(()) + 1} of {len(texts)} has no choices, expected some.")
        tries_of(lists, self.tokenizer, longest=MAX_INPUT_TOKENS)  # choices that cannot be told apart are refused
        prior: dict[str, float] = {}
        if normalise == "unconditional":
            every = list(dict.fromkeys(choice for some in dict.fromkeys(lists) for choice in some))
            prior = dict(zip(every, self.score([""], [every])[0], strict=True)) if every else {}
        for number, log_probs, lens in self._score_each(texts, lists, batch_size, max_input_tokens):
            some = lists[number]
            priors = [prior[choice] for choice in some] if prior else []
            scores = normalised(log_probs, some, normalise, num_tokens=lens, unconditional=priors)
            yield number, ranked(some, log_probs, scores)

    def _score_each(
        self, texts: Sequence[str], targets: Sequence[Sequence[str]], size: int, limit: int | None
    ) -> Iterator[tuple[int, list[float], list[int]]]:
        """(number of the text, log probability of each target, tokens of each target)"""
        specials = self.tokenizer.specials
        for numbers, batch in self._batches(texts, size, limit):
            wanted = [self.tokenizer.encode_many(list(targets[number])) for number in numbers]
            ended = [[[*ids.tolist(), specials.eos] for ids in some] for some in wanted]
            self._check_room(numbers, batch, [max(map(len, some), default=1) for some in ended], len(texts))
            with self.reading():
                found = likelihoods(self.model, batch, ended, specials)
            for number, values, some in zip(numbers, found, ended, strict=True):
                yield number, values, [len(ids) for ids in some]

    def _check_room(self, numbers: Sequence[int], batch: Batch, lens: Sequence[int], count: int) -> None:
        """Refuses a text that has no positions together with its longest target."""
        if batch.decoder is None or self.model.max_len is None:
            return
        for number, run, length in zip(numbers, batch.decoder.runs, lens, strict=True):
            if (whole := run.end - run.start + length - 1) > self.model.max_len:
                raise DataError(
                    f"text {number + 1} of {count}: is {whole:,} tokens long with its longest target, expected "
                    f"{self.model.max_len:,} at most (the model's positions). Shorten it, or set max_input_tokens."
                )

    def _batches(self, texts: Sequence[str], size: int, limit: int | None) -> Iterator[tuple[list[int], Batch]]:
        """(numbers of the texts, batch of their ids), the longest first: little is padded, and memory shows early."""
        sequences = self.inputs_of(texts, limit)
        order = sorted(range(len(texts)), key=lambda number: -len(sequences[number]))
        for at in range(0, len(order), size):
            numbers = order[at : at + size]
            yield numbers, self.batch_of([sequences[number] for number in numbers])

    def inputs_of(self, texts: Sequence[str], limit: int | None = None) -> list[Int32]:
        """The ids of each text as the model was taught to read it, cut to `limit` tokens where that is given.

        Errors: DataError for a text that is far too long, or for which the model has no positions.
        """
        room = MAX_INPUT_TOKENS
        if self.max_len is not None:
            room = self.max_len - LAYOUTS[self.layout].together
        most = room if limit is None else min(limit, room) if self.max_len else limit
        encoded = self.tokenizer.encode_many(list(texts))
        sequences = [self._as_read(ids, None if limit is None else most) for ids in encoded]
        lens = [len(ids) for ids in sequences]
        if lens and (longest := max(lens)) > most:
            why = "" if self.max_len is None else " (the model's positions)"
            raise DataError(
                f"text {lens.index(longest) + 1} of {len(texts)}: is {longest:,} tokens long, expected {most:,} at "
                f"most{why}. Shorten it, or set max_input_tokens to lose its "
                f"{'end' if self.ends_inputs else 'beginning'}."
            )
        return sequences

    def batch_of(self, sequences: Sequence[Int32]) -> Batch:
        """What `begin` reads: one input a row, on the model's device."""
        specials = self.tokenizer.specials
        any_target = np.array([specials.pad], np.int32)  # moves the start mark and all inputs to the decoder's side
        lens = Lens(max(map(len, sequences)), 1)
        batch = LAYOUTS[self.model.layout].arrange([[Ids(ids, any_target)] for ids in sequences], lens, specials)
        batch = replace(batch, decoder=None) if batch.encoder else batch
        return batch.to(next(self.model.parameters()).device)

    def _as_read(self, ids: Int32, most: int | None) -> Int32:
        """One input as the model was taught to read it, cut to `most` tokens where that is given."""
        if not self.ends_inputs:
            return ids if most is None else ids[-most:]
        eos = np.array([self.tokenizer.specials.eos], np.int32)
        return np.concatenate([ids if most is None else ids[: most - 1], eos], dtype=np.int32)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing learns and nothing is dropped for as long as the block lasts."""
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.model.train(was_training)
