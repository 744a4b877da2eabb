"""A vector for every word: looking up, nearest neighbours, analogies, and the mean of a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from textfer.batch import Float32
from textfer.draws import Int64
from textfer.errors import DataError, nearest

Cut = Literal["words", "spaces"]
"""How a text becomes words: runs of letters and digits in small letters, or whatever stands between spaces."""

_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_SUGGESTED = 50_000
"""Most frequent words among which a misspelt one is looked for; all of them would take seconds."""


class Near(NamedTuple):
    """A word and how near it is."""

    word: str
    cosine: float


def sentences(text: str, cut: Cut) -> Iterator[list[str]]:
    """The words of every line of a text; nothing for lines without any."""
    for line in text.split("\n"):
        if words := _WORD.findall(line.lower()) if cut == "words" else line.split():
            yield words


class WordVectors:
    """Words, the most frequent first, and their vectors."""

    def __init__(self, words: Sequence[str], vectors: ArrayLike, counts: ArrayLike | None = None) -> None:
        """Shapes: `vectors` [V, D], `counts` [V] or None when nobody knows them. Errors: DataError."""
        self.words = tuple(words)
        self.vectors: Float32 = np.asarray(vectors, np.float32)
        self.counts: Int64 | None = None if counts is None else np.asarray(counts, np.int64)
        sizes = {len(self.words), len(self.vectors), len(self.words) if self.counts is None else len(self.counts)}
        if self.vectors.ndim != 2 or len(sizes) > 1 or not self.vectors.size:
            shape = list(self.vectors.shape)
            raise DataError(f"word vectors: got {len(self.words):,} words and vectors {shape}, expected one for each.")
        self._places = {word: place for place, word in enumerate(self.words)}
        if len(self._places) < len(self.words):
            twice = next(word for place, word in enumerate(self.words) if self._places[word] != place)
            raise DataError(f"word vectors: '{twice}' stands there twice. Keep one of them.")

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._places

    def __getitem__(self, word: str) -> Float32:
        vector: Float32 = self.vectors[self._place(word)]
        return vector

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])

    def near(self, word: str, count: int = 10) -> list[Near]:
        """The words with the largest cosine to that of `word`, largest first. Errors: DataError when it is unknown."""
        place = self._place(word)
        return self._nearest(self._units[place], {place}, count)

    def analogy(self, one: str, other: str, third: str, count: int = 10) -> list[Near]:
        """What is to `third` as `other` is to `one`, best first: nearest to other − one + third, these three left out.

        Errors: DataError when one of the words is unknown.
        Source: word2vec's `word-analogy` (vectors of length 1, cosine).
        """
        places = [self._place(word) for word in (one, other, third)]
        first, second, last = self._units[places]
        return self._nearest(second - first + last, set(places), count)

    def embed(self, texts: Iterable[str], cut: Cut = "words") -> Float32:
        """The mean of the vectors of a text's known words, zeros where none is known.

        Shapes: [N, D] for N texts.
        """
        found = [self._mean([word for line in sentences(text, cut) for word in line]) for text in texts]
        return np.stack(found) if found else np.zeros((0, self.dim), np.float32)

    def _mean(self, words: Sequence[str]) -> Float32:
        places = [self._places[word] for word in words if word in self._places]
        mean: Float32 = self.vectors[places].mean(axis=0) if places else np.zeros(self.dim, np.float32)
        return mean

    def _place(self, word: str) -> int:
        if word not in self._places:
            raise DataError(f"word vectors: no vector for '{word}'.{nearest(word, self.words[:_SUGGESTED])}")
        return self._places[word]

    @cached_property
    def _units(self) -> Float32:
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        units: Float32 = self.vectors / np.maximum(lengths, np.finfo(np.float32).tiny).astype(np.float32)
        return units

    def _nearest(self, vector: Float32, without: set[int], count: int) -> list[Near]:
        if (length := np.linalg.norm(vector)) > 0:
            vector = vector / length
        cosines: NDArray[np.float32] = self._units @ vector
        cosines[list(without)] = -np.inf
        count = min(count, len(self.words) - len(without))
        best = np.argpartition(-cosines, count - 1)[:count] if count > 0 else np.zeros(0, np.int64)
        best = best[np.lexsort((best, -cosines[best]))]
        return [Near(self.words[place], float(cosines[place])) for place in best]
