"""What is written out after reading the rest of a text: spans, single tokens, or what follows.

Letters: B rows, L raw tokens of a row.
"""

from __future__ import annotations

from itertools import pairwise
from math import floor, sqrt
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from textfer.batch import Ids, Int32, Specials
from textfer.config import Options
from textfer.draws import Draws, Int64
from textfer.errors import ConfigError
from textfer.objectives.base import OBJECTIVES

Mask: TypeAlias = NDArray[np.bool_]
Runs: TypeAlias = tuple[Int64, Int64]
"""Where runs of tokens begin in all rows laid end to end, ascending, and their lengths."""


@OBJECTIVES.named("span_corruption")
class SpanCorruption(Options):
    """Spans of a given mean length are cut out, a sentinel left in the place of each, and are to be written out.

    `a b c d e f` → inputs `a b <0> e <1>`, targets `<0> c d <1> f`. The number of noise tokens and of spans is fixed by
    the length; where they lie is uniform over all ways. A text starts with kept tokens and ends in a span, so there is
    no closing sentinel.

    Source: `span_corruption`, `random_spans_helper`, `random_spans_noise_mask` in t5/data/preprocessors.py, without the
    optional roll of the mask. Three differences, where that code fails or spoils the text: more spans than kept tokens
    are cut down to one kept token each; more spans than sentinels are refused instead of reusing ordinary ids; and a
    length is never chosen whose piece would not fit (there the noise is counted in float32, but the length in double).
    """

    name: Literal["span_corruption"] = "span_corruption"
    noise_density: float = Field(default=0.15, gt=0, lt=1)
    """Share of the tokens that is cut out."""
    mean_span_len: float = Field(default=3.0, ge=1)
    """Tokens of a span, on average."""

    joins: ClassVar[bool] = True
    document_eos: ClassVar[bool] = False
    eos: ClassVar[tuple[bool, bool]] = (True, True)
    lossless: ClassVar[bool] = True
    in_place: ClassVar[bool] = False
    in_sight: ClassVar[bool] = False

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        """Raw tokens whose inputs fill `inputs_len`. Errors: ConfigError when the targets do not fit."""
        raw = max(inputs_len - 1, 1)
        while self._planned_lens(raw + 1)[0] <= inputs_len:
            raw += 1
        inputs, targets = self._planned_lens(raw)
        if self.noise_density == 0.5 and targets > inputs:
            raw -= 1
        while raw > 1 and self.lens(raw)[0] > inputs_len:
            raw -= 1
        check_lens(self.name, self.lens(raw), inputs_len, targets_len)
        return raw

    def lens(self, raw_len: int) -> tuple[int, int]:
        """(inputs, targets) of every piece, end marks counted."""
        if raw_len < 2:
            return raw_len + 1, raw_len + 1
        noise, spans = self._counts(raw_len)
        return raw_len - noise + spans + 1, noise + spans + 1

    def num_sentinels(self, raw_len: int) -> int:
        """The number of spans of such a piece."""
        return self._counts(max(raw_len, 2))[1]

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] → B `Ids`. Errors: ConfigError when the vocabulary has fewer sentinels than there are spans."""
        num_rows, length = tokens.shape
        _check_sentinels(self.name, self.num_sentinels(length), specials)
        if length == 1:  # as released: the mask of one token is the first half of the mask of two, kept and noise
            return [Ids(row, specials.sentinels[:1].copy()) for row in tokens]
        edges = self.edges(length, draws)
        lens = np.diff(edges, axis=1)
        edges += np.arange(num_rows)[:, None] * length
        kept = edges[:, :-1:2].ravel(), lens[:, ::2].ravel()
        noise = edges[:, 1::2].ravel(), lens[:, 1::2].ravel()
        return _cut(tokens, noise, kept, specials.sentinels)

    def edges(self, raw_len: int, draws: Draws) -> Int64:
        """[B, 2 · spans + 1] where runs begin (kept, noise, kept, …, noise) and the text ends; at least two tokens."""
        noise, spans = self._counts(raw_len)
        edges = np.zeros((len(draws), 2 * spans + 1), np.int64)
        edges[:, 2:-1:2] = draws.subset(noise - 1, spans - 1) + 1  # noise tokens before kept run k
        edges[:, -1] = noise
        kept_before = np.full((len(draws), spans), raw_len - noise)  # kept tokens before noise run k
        kept_before[:, :-1] = draws.subset(raw_len - noise - 1, spans - 1) + 1
        edges[:, 1::2] = edges[:, :-1:2] + kept_before
        edges[:, 2::2] += kept_before
        return edges

    def _counts(self, length: int) -> tuple[int, int]:
        """(noise tokens, spans), rounded half to even in float32 as TensorFlow does it."""
        noise = int(np.round(np.float32(length) * np.float32(self.noise_density)))
        noise = min(max(noise, 1), length - 1)
        spans = int(np.round(np.float32(noise) / np.float32(self.mean_span_len)))
        return noise, min(max(spans, 1), length - noise)

    def _planned_lens(self, raw_len: int) -> tuple[int, int]:
        """`lens` as the released code foresees them: in double precision and without the bounds of tiny lengths."""
        noise = round(raw_len * self.noise_density)
        spans = round(noise / self.mean_span_len)
        return raw_len - noise + spans + 1, noise + spans + 1


@OBJECTIVES.named("iid_corruption")
class IidCorruption(Options):
    """Every token is cut out with the same probability, by itself; neighbouring ones share a sentinel. T5's baseline.

    As released, the targets have a sentinel for every kept run: `a b c d e` without `a` and `d` → inputs
    `<0> b c <1> e`, targets `a <0> d <1>`; when the text starts with a kept token the sentinel stands before its span.

    The number of noise tokens is random. `lens` holds 3.5 standard deviations, where the released lengths are (512
    inputs and 192 targets); in the two pieces of 10,000 that would be longer, or need more sentinels than there are,
    the rest of the text stays uncut. The released code cuts the targets there and loses text.

    Source: `iid_noise_mask` in t5/data/preprocessors.py, gin objectives/iid_15_u_u; T5 §3.1.4.
    """

    name: Literal["iid_corruption"] = "iid_corruption"
    noise_density: float = Field(default=0.15, gt=0, lt=1)
    """Probability of every token to be cut out."""

    joins: ClassVar[bool] = True
    document_eos: ClassVar[bool] = False
    eos: ClassVar[tuple[bool, bool]] = (True, True)
    lossless: ClassVar[bool] = True
    in_place: ClassVar[bool] = False
    in_sight: ClassVar[bool] = False

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        """One less than the inputs: nothing may be cut out. Errors: ConfigError when the targets do not fit."""
        raw = max(inputs_len - 1, 1)
        check_lens(self.name, self.lens(raw), inputs_len, targets_len)
        return raw

    def lens(self, raw_len: int) -> tuple[int, int]:
        """(inputs, targets), the most, end marks counted."""
        p, q = self.noise_density, 1 - self.noise_density
        mean = raw_len * p + q + (raw_len - 1) * p * q  # noise tokens and kept runs
        variance = raw_len * p * q * q * (4 - 3 * p)
        return raw_len + 1, min(raw_len, most_of(mean + 1, variance) - 1) + 1

    def num_sentinels(self, raw_len: int) -> int:
        """Kept runs of such a piece, 3.5 standard deviations above their mean."""
        p, q = self.noise_density, 1 - self.noise_density
        most = most_of(q + (raw_len - 1) * p * q, raw_len * p * q * (1 - 3 * p * q))
        return max(1, min((raw_len + 1) // 2, most))

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] → B `Ids`. Errors: ConfigError when the vocabulary is short of sentinels."""
        _check_sentinels(self.name, self.num_sentinels(tokens.shape[1]), specials)
        mask = draws.bits(tokens.shape[1]) < np.uint64(self.noise_density * 2.0**64)
        return _corrupt(tokens, self._bounded(mask, len(specials.sentinels)), specials.sentinels)

    def _bounded(self, mask: Mask, num_sentinels: int) -> Mask:
        """The mask, ended early in rows with too many runs or too long targets."""
        most = self.lens(mask.shape[1])[1] - 1
        runs = np.maximum(np.count_nonzero(_starts(mask), axis=1), np.count_nonzero(_starts(~mask), axis=1))
        lens = np.count_nonzero(mask, axis=1) + np.count_nonzero(_starts(~mask), axis=1)
        rows = np.flatnonzero((runs > num_sentinels) | (lens > most))
        if rows.size:
            long = mask[rows]
            spans, kept = np.cumsum(_starts(long), axis=1), np.cumsum(_starts(~long), axis=1)
            # one kept run and its sentinel are to come after the last span
            fits = (spans <= num_sentinels) & (kept < num_sentinels) & (np.cumsum(long, axis=1) + kept < most)
            mask[rows] = long & fits
        return mask


@OBJECTIVES.named("prefix_lm")
class PrefixLanguageModel(Options):
    """The beginning of a text is read, the rest written; the cut is uniform over all places inside the text.

    Source: `prefix_lm`, `random_prefix_noise_mask` in t5/data/preprocessors.py: documents are not joined.
    """

    name: Literal["prefix_lm"] = "prefix_lm"

    joins: ClassVar[bool] = False
    document_eos: ClassVar[bool] = False
    eos: ClassVar[tuple[bool, bool]] = (True, True)
    lossless: ClassVar[bool] = True
    in_place: ClassVar[bool] = False
    in_sight: ClassVar[bool] = False

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        """The shorter of the two: either side may hold all tokens but one."""
        return max(min(inputs_len, targets_len), 1)

    def lens(self, raw_len: int) -> tuple[int, int]:
        """(inputs, targets), the most, end marks counted."""
        return max(raw_len, 1), max(raw_len, 2)

    def num_sentinels(self, raw_len: int) -> int:
        """None."""
        return 0

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] → B `Ids`; a single token is written, with nothing read."""
        length = tokens.shape[1]
        cuts = np.minimum(1 + draws.integers(max(length - 1, 1), 1)[:, 0], length - 1).tolist()
        return [Ids(row[:cut], row[cut:]) for row, cut in zip(tokens, cuts, strict=True)]


@OBJECTIVES.named("lm")
class LanguageModel(Options):
    """Plain language modelling: nothing is read, all is written.

    Source: `full_lm` in t5/data/preprocessors.py: an end mark after every document, documents joined, pieces as long as
    the targets may be.
    """

    name: Literal["lm"] = "lm"

    joins: ClassVar[bool] = True
    document_eos: ClassVar[bool] = True
    eos: ClassVar[tuple[bool, bool]] = (False, False)
    lossless: ClassVar[bool] = True
    in_place: ClassVar[bool] = False
    in_sight: ClassVar[bool] = False

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        """The length of the targets."""
        return targets_len

    def lens(self, raw_len: int) -> tuple[int, int]:
        """No inputs; the targets are the piece."""
        return 0, raw_len

    def num_sentinels(self, raw_len: int) -> int:
        """None."""
        return 0

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] → B `Ids` with empty inputs."""
        nothing = np.zeros(0, np.int32)
        return [Ids(nothing, row) for row in tokens]


def check_lens(name: str, lens: tuple[int, int], inputs_len: int, targets_len: int) -> None:
    """Refuses an objective whose pieces need more room than there is. `lens`: (inputs, targets) of a piece."""
    if lens[0] > inputs_len:
        raise ConfigError(f"objective {name}: got inputs of {inputs_len} tokens, expected at least {lens[0]}.")
    if lens[1] > targets_len:
        raise ConfigError(
            f"objective {name}: inputs of {inputs_len} tokens need targets of {lens[1]}, got {targets_len}. "
            f"Allow {lens[1]} target tokens or shorten the inputs."
        )


def _check_sentinels(name: str, num_needed: int, specials: Specials) -> None:
    if num_needed > len(specials.sentinels):
        raise ConfigError(
            f"objective {name}: a piece has {num_needed} spans, but the vocabulary only {len(specials.sentinels)} "
            f"sentinels. Shorten the inputs, lengthen the spans, or take a tokenizer with more sentinels."
        )


def _corrupt(tokens: Int32, mask: Mask, sentinels: Int32) -> list[Ids]:
    """Inputs with a sentinel for every masked run, targets with one for every other run."""
    turns = np.ones_like(mask)
    turns[:, 1:] = mask[:, 1:] != mask[:, :-1]
    begins = np.flatnonzero(turns)
    lens = np.diff(begins, append=mask.size)
    masked = mask.ravel()[begins]
    return _cut(tokens, (begins[masked], lens[masked]), (begins[~masked], lens[~masked]), sentinels)


def _cut(tokens: Int32, noise: Runs, kept: Runs, sentinels: Int32) -> list[Ids]:
    inputs, targets = _replaced(tokens, noise, sentinels), _replaced(tokens, kept, sentinels)
    return [Ids(*pair) for pair in zip(inputs, targets, strict=True)]


def _replaced(tokens: Int32, runs: Runs, sentinels: Int32) -> list[Int32]:
    """Every row with each of its runs, in order, replaced by the next sentinel.

    Whoever copies walks over the text one token at a time, writes a sentinel at a run's first token and steps over its
    length: sums of steps are places, which costs the same wherever the runs lie.
    """
    num_rows, length = tokens.shape
    begins, lens = runs
    dropped = np.cumsum(np.append(0, lens - 1))  # tokens, before each run
    places = begins - dropped[:-1]  # of the sentinels
    steps = np.ones(tokens.size - int(dropped[-1]) + 1, np.int64)
    steps[0] = 0
    steps[places + 1] = lens
    flat = tokens.ravel().take(np.cumsum(steps[:-1], out=steps[:-1]), mode="clip")
    starts = np.arange(num_rows + 1) * length
    first = np.searchsorted(begins, starts)  # of each row's runs, among all
    flat[places] = sentinels[np.arange(len(begins)) - np.repeat(first[:-1], np.diff(first))]
    return [flat[start:end] for start, end in pairwise((starts - dropped[first]).tolist())]


def _starts(mask: Mask) -> Mask:
    """True at the first token of every masked run."""
    starts = mask.copy()
    starts[:, 1:] &= ~mask[:, :-1]
    return starts


def most_of(mean: float, variance: float) -> int:
    """Where nearly all of a random number's values lie below."""
    return floor(mean + 3.5 * sqrt(variance))
