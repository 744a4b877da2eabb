"""Evaluation examples that stand in training examples too: found by what they say, across tasks and their prefixes.

Two examples say the same when all their texts have the same words: letters and digits in lower case, what lies between
them is a gap. They overlap when a text of one shares 13 words in a row with a text of the other; a text of 8 to 12
words counts as one such stretch, a shorter one only as part of an example that is the same as a whole.

Words become 64-bit hashes with numpy, so that a chance match is out of sight, and train examples are only streamed
past: memory holds the evaluation examples alone, and no more than `MAX_GRAMS` of their stretches.

**Source**: 13 words are those of Brown et al. 2020 (GPT-3), appendix C; its shortest stretch is 8 words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Example
from textfer.draws import UInt64, mix

NGRAM = 13
SHORTEST = 8
MAX_GRAMS = 1 << 24
"""Stretches held in memory; of more, only those are kept whose hash ends in zeros (about half, a quarter, …)."""
MAX_BITS = 26
"""Of a hash, those that a table of flags is looked up by: 64 MB at most."""
CHUNK = 2048
CHUNK_CHARS = 1_000_000
MAX_SAMPLES = 3
MAX_CHARS = 120
PREFIX = re.compile(r"[^:]{1,40}: ")
"""What a task writes before a text that makes up its whole input: `nq question: …`."""
_POSITION = np.uint64(0x9E3779B97F4A7C15)
_FACTOR = np.uint64(0xD6E8FEB86659FD93)
_GAP, _LETTER, _ALONE = 0, 1, 2


class Marks(NamedTuple):
    """What N examples say, as hashes."""

    whole: UInt64
    """[N] of all words of an example; 0 where it has none."""
    grams: UInt64
    """[G] of every stretch of words."""
    owners: NDArray[np.int64]
    """[G] the example that a stretch belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """What of one evaluation split stands in one train split."""

    train: str
    evaluation: str
    same: int
    """Evaluation examples that a train example says word for word."""
    overlapping: int
    """Other evaluation examples with a stretch of words that a train example has."""
    num_evaluation: int
    num_train: int
    """Train examples that are the same as an evaluation example or overlap with one."""
    samples: tuple[tuple[str, str, str], ...]
    """(origin in train, origin in evaluation, how the train example begins) of the first few."""


def marks_of(examples: Sequence[Example]) -> Marks:
    """What the examples say, as hashes; the same for the same words in another case, spacing or punctuation."""
    texts: list[str] = []
    owner_of_text: list[int] = []
    for number, example in enumerate(examples):
        said = texts_of(example)
        texts += said
        owner_of_text += [number] * len(said)
    owners = np.array(owner_of_text, np.int64)
    words, text_of_word = _words(texts)
    counts = np.bincount(text_of_word, minlength=len(texts)) if texts else np.zeros(0, np.int64)
    ends = np.cumsum(counts)
    starts = ends - counts
    ranks = (np.arange(len(words)) - np.repeat(starts, counts)).astype(np.uint64)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mix(words ^ (ranks * _POSITION)), dtype=np.uint64)])
    text_hashes = mix(sums[ends] - sums[starts] + counts.astype(np.uint64))
    whole = np.zeros(len(examples), np.uint64)
    said_something = counts > 0
    np.add.at(whole, owners[said_something], mix(text_hashes[said_something]))  # whatever the order of the texts
    short = (counts >= SHORTEST) & (counts < NGRAM)
    grams, text_of_gram = _grams(words, text_of_word)
    owners_of_grams = np.concatenate([owners[text_of_gram], owners[short]])
    return Marks(whole, np.concatenate([grams, text_hashes[short]]), owners_of_grams)


def texts_of(example: Example) -> list[str]:
    """What an example says apart from its task's own words: its fields and options; of plain text, the text."""
    if not example.inputs:
        return [example.targets]
    texts = [*example.fields.values(), *map(str, example.facts.get("options", ()))] or [example.inputs]
    return [PREFIX.sub("", text, count=1) if text == example.inputs else text for text in texts]


def leaks(train: Iterable[Example], evaluation: Iterable[Example]) -> set[str]:
    """Origins of the train examples that say what an evaluation example says, or overlap with one."""
    watched = Watched()
    for chunk in in_chunks(evaluation):
        watched.add("evaluation", chunk, marks_of(chunk))
    probe = Probe(watched, "train")
    found: set[str] = set()
    for chunk in in_chunks(train):
        leaking = probe.add(chunk, marks_of(chunk))
        found.update(chunk[number].origin for number in np.flatnonzero(leaking))
    return found


@final
class Watched:
    """Evaluation examples, in groups, that no train example should say."""

    def __init__(self, *, max_grams: int = MAX_GRAMS) -> None:
        self.groups: list[str] = []
        self.sizes: list[int] = []
        self.origins: list[str] = []
        self.every = 1
        """One stretch in so many is watched; 1 = all."""
        self._max_grams = max_grams
        self._group_of: list[NDArray[np.int32]] = []
        self._whole: list[UInt64] = []
        self._grams: list[UInt64] = []
        self._owners: list[NDArray[np.int32]] = []
        self._num_grams = 0

    def add(self, group: str, examples: Sequence[Example], marks: Marks) -> None:
        """Watches these examples too. Those of one group come one after the other."""
        if not self.groups or self.groups[-1] != group:
            self.groups.append(group)
            self.sizes.append(0)
        self.sizes[-1] += len(examples)
        first = len(self.origins)
        self.origins += [example.origin for example in examples]
        self._group_of.append(np.full(len(examples), len(self.groups) - 1, np.int32))
        self._whole.append(marks.whole)
        kept = self.watches(marks.grams)
        self._grams.append(marks.grams[kept])
        self._owners.append((marks.owners[kept] + first).astype(np.int32))
        self._num_grams += len(self._grams[-1])
        while self._num_grams > self._max_grams:
            self.every *= 2
            for number, grams in enumerate(self._grams):
                kept = self.watches(grams)
                self._grams[number], self._owners[number] = grams[kept], self._owners[number][kept]
            self._num_grams = sum(map(len, self._grams))

    def watches(self, grams: UInt64) -> NDArray[np.bool_]:
        """Which stretches are watched."""
        kept: NDArray[np.bool_] = (grams & np.uint64(self.every - 1)) == 0
        return kept

    def indices(self) -> tuple[Index, Index]:
        """(whole examples, stretches) by hash. What was added is laid out once, so add everything first."""
        group_of = _joined(self._group_of, np.int32)
        whole = _joined(self._whole, np.uint64)
        said = np.flatnonzero(whole).astype(np.int32)
        by_gram = Index(_joined(self._grams, np.uint64), _joined(self._owners, np.int32), group_of)
        return Index(whole[said], said, group_of), by_gram


@final
class Index:
    """Hashes, sorted, each with its owners and with one owner of each group."""

    def __init__(self, hashes: UInt64, owners: NDArray[np.int32], group_of: NDArray[np.int32]) -> None:
        order = np.lexsort((group_of[owners], hashes))
        hashes, self.owners = hashes[order], owners[order]
        new = np.ones(len(hashes), np.bool_)
        new[1:] = hashes[1:] != hashes[:-1]
        group = group_of[self.owners]
        new_group = new.copy()
        new_group[1:] |= group[1:] != group[:-1]
        self.keys = hashes[new]
        self.group_of = group_of
        self._starts = np.append(np.flatnonzero(new), len(hashes))
        self.one_of_group = self.owners[new_group]
        """One owner of every (key, group), keys rising."""
        self._first_group = np.append((np.cumsum(new_group) - 1)[new], len(self.one_of_group))
        bits = min(max(len(self.keys), 1).bit_length() + 3, MAX_BITS)
        self._shift = np.uint64(64 - bits)
        self._maybe = np.zeros(1 << bits, np.bool_)
        self._maybe[self.keys >> self._shift] = True

    def find(self, hashes: UInt64) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(which of the hashes are known, the number of each one's key)."""
        if not len(self.keys):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        likely = np.flatnonzero(self._maybe[hashes >> self._shift])  # most are unknown, and one look tells
        places = np.minimum(np.searchsorted(self.keys, hashes[likely]), len(self.keys) - 1)
        right = self.keys[places] == hashes[likely]
        return likely[right], places[right]

    def owners_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.int32]:
        """All owners of the chosen keys, each once, rising."""
        found = np.zeros(len(self.group_of), np.bool_)
        found[self.owners[np.repeat(chosen, np.diff(self._starts))]] = True
        return np.flatnonzero(found).astype(np.int32)

    def spread(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """(place in `keys`, owner): one owner of every group that has the key."""
        counts = self._first_group[keys + 1] - self._first_group[keys]
        place = np.repeat(np.arange(len(keys)), counts)
        within = np.arange(len(place)) - np.repeat(np.cumsum(counts) - counts, counts)
        return place, self.one_of_group[self._first_group[keys][place] + within]


@final
class Probe:
    """One train split streamed past the watched examples."""

    def __init__(self, watched: Watched, name: str, indices: tuple[Index, Index] | None = None) -> None:
        self._watched = watched
        self._name = name
        self._indices = indices or watched.indices()
        self._seen = [np.zeros(len(index.keys), np.bool_) for index in self._indices]
        self._num_train = np.zeros(len(watched.groups), np.int64)
        self._samples: list[list[tuple[str, str, str]]] = [[] for _ in watched.groups]

    def add(self, examples: Sequence[Example], marks: Marks) -> NDArray[np.bool_]:
        """[N] which of these train examples say what a watched one says, or overlap with one."""
        kept = self._watched.watches(marks.grams)
        sides = ((marks.whole, np.arange(len(examples))), (marks.grams[kept], marks.owners[kept]))
        found: list[NDArray[Any]] = []
        for index, seen, (hashes, example_of) in zip(self._indices, self._seen, sides, strict=True):
            known, keys = index.find(hashes)
            seen[keys] = True
            place, owner = index.spread(keys)
            found.append(np.stack([example_of[known][place], owner], axis=1))
        pairs = np.concatenate(found)
        self._note(examples, pairs)
        leaking = np.zeros(len(examples), np.bool_)
        leaking[pairs[:, 0]] = True
        return leaking

    def _note(self, examples: Sequence[Example], pairs: NDArray[np.int64]) -> None:
        """Counts each (train example, group) once and keeps the first few."""
        group = self._indices[0].group_of[pairs[:, 1]]
        _, first = np.unique(pairs[:, 0] * len(self._samples) + group, return_index=True)
        self._num_train += np.bincount(group[first], minlength=len(self._samples))
        for number in first:
            samples = self._samples[group[number]]
            if len(samples) < MAX_SAMPLES:
                example = examples[pairs[number, 0]]
                text = " | ".join(texts_of(example))
                shown = text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…"
                samples.append((example.origin, self._watched.origins[pairs[number, 1]], shown))

    def found(self) -> list[Leak]:
        """What leaks from each group into this split; groups without are left out."""
        counts = []
        same = np.zeros(0, np.int32)
        for index, seen in zip(self._indices, self._seen, strict=True):
            owners = index.owners_of(seen)
            fresh = np.setdiff1d(owners, same, assume_unique=True)
            same = owners
            counts.append(np.bincount(index.group_of[fresh], minlength=len(self._samples)))
        return [
            Leak(
                train=self._name,
                evaluation=group,
                same=int(counts[0][number]),
                overlapping=int(counts[1][number]),
                num_evaluation=self._watched.sizes[number],
                num_train=int(self._num_train[number]),
                samples=tuple(self._samples[number]),
            )
            for number, group in enumerate(self._watched.groups)
            if counts[0][number] or counts[1][number]
        ]


def in_chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """The examples in lists that are small enough to be worked on at once, whatever the length of their texts."""
    chunk: list[Example] = []
    num_chars = 0
    for example in examples:
        chunk.append(example)
        num_chars += len(example.inputs) + len(example.targets)
        if len(chunk) >= CHUNK or num_chars >= CHUNK_CHARS:
            yield chunk
            chunk, num_chars = [], 0
    if chunk:
        yield chunk


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def _words(texts: Sequence[str]) -> tuple[UInt64, NDArray[np.int64]]:
    """(a hash of every word, the text that it stands in)."""
    plain = [unicodedata.normalize("NFKC", text).lower() for text in texts]
    codes = np.frombuffer("".join(plain).encode("utf-32-le", "surrogatepass"), np.uint32)
    kind = _kinds()[codes]
    before = np.append(np.uint8(_GAP), kind[:-1])[: len(kind)]
    begins = (kind == _ALONE) | (before != _LETTER)
    lens = np.array([len(text) for text in plain], np.int64)
    begins[(np.cumsum(lens) - lens)[lens > 0]] = True
    text_of = np.repeat(np.arange(len(texts)), lens)
    inside = kind != _GAP
    starts = np.flatnonzero(begins[inside])
    num_chars = int(inside.sum())
    lens_of_words = np.diff(np.append(starts, num_chars))
    position = (np.arange(num_chars) - np.repeat(starts, lens_of_words)).astype(np.uint64)
    chars = mix(codes[inside].astype(np.uint64) ^ ((position + np.uint64(1)) * _POSITION))
    words = np.add.reduceat(chars, starts) if len(starts) else np.zeros(0, np.uint64)
    return words, text_of[inside][starts]


def _grams(words: UInt64, text_of: NDArray[np.int64]) -> tuple[UInt64, NDArray[np.int64]]:
    """(a hash of every `NGRAM` words in a row that stand in one text, that text)."""
    count = len(words) - NGRAM + 1
    if count <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    grams = np.zeros(count, np.uint64)
    for number in range(NGRAM):
        grams = grams * _FACTOR + words[number : number + count]
    together = text_of[:count] == text_of[NGRAM - 1 :]
    return mix(grams[together]), text_of[:count][together]


@cache
def _kinds() -> NDArray[np.uint8]:
    """For each character: gap, letter, or a word of its own (where words are not written apart)."""
    kinds = np.fromiter((chr(code).isalnum() for code in range(0x110000)), np.uint8, 0x110000)
    for first, last in ((0x0E00, 0x0EFF), (0x2E80, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)):
        kinds[first : last + 1] *= _ALONE  # Thai and Lao; Han and kana
    return kinds
