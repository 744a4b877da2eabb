"""Plain text as sentence pairs: hidden words and "does this follow?" in one pass, as BERT was pre-trained.

Where sentences end is read off the ids: behind a piece that is a final mark, with the quotes and brackets that close
there, where a new word begins. "Mr." ends one too; the head hardly minds. The pairs of a document are cut once, by its
place in the table, and are the same in every epoch; what is hidden in them is not.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Borders, Ids, Int32, Specials
from textfer.data.layout import Lens
from textfer.data.sentence_pairs import NUM_MARKS, PairOptions, SentencePair, masked_pairs, pair_spans
from textfer.data.stream import Denoised, Part
from textfer.data.tokens import TokenTable
from textfer.draws import address
from textfer.errors import ConfigError, DataError
from textfer.objectives import MaskedLanguageModel, Objective

VERSION = 1
"""Raised when the same table would be cut otherwise."""
CHUNK_TOKENS = 1 << 22
MAX_CLOSING = 3
"""Quotes and brackets behind a final mark that are looked at."""
SHORTEST = 8
"""The least `inputs_len`: marks, and some words of both halves."""
_COLUMNS = 7


def plain_part(table: TokenTable, objective: Objective, lens: Lens, specials: Specials) -> Part:
    """Plain text as the objective wants it: cut into pieces, or as pairs of sentences."""
    if isinstance(objective, MaskedLanguageModel) and objective.next_sentence:
        return Paired(table, objective, lens, specials)
    return Denoised(table, objective, lens, specials)


@final
class Paired:
    """Sentence pairs of a table of documents, their words hidden by the objective.

    A sentence that would fill more than half a pair is cut, so that texts without marks make pairs too.

    Errors: ConfigError where the vocabulary has no marks, or does not tell words; DataError where nothing follows
    anything: no document has two sentences.
    """

    def __init__(self, table: TokenTable, objective: MaskedLanguageModel, lens: Lens, specials: Specials) -> None:
        self.name = table.name
        self._table = table
        self._objective = objective
        self._specials = specials
        if lens.inputs < SHORTEST:
            raise ConfigError(f"data.inputs_len: got {lens.inputs}, expected at least {SHORTEST} for sentence pairs.")
        if specials.borders is None:
            raise ConfigError(
                "objective.next_sentence: this vocabulary does not tell where words begin. Take a SentencePiece or "
                "WordPiece one."
            )
        options = PairOptions(max_len=lens.inputs)
        self._spans = _cut(table, options, specials.borders)
        """[pairs, 7] as `PairSpans`, documents numbered as in the table"""
        if not len(self._spans) or self._spans[:, -1].all():
            raise DataError(
                f"{self.name}: no text of two sentences is among {len(table)}, so nothing follows anything. "
                "Give whole documents, or set objective.next_sentence to false."
            )

    def __len__(self) -> int:
        return len(self._spans)

    def ids(self, indices: Sequence[int], keys: NDArray[np.uint64]) -> list[Ids]:
        spans = self._spans[np.asarray(indices, np.int64)].tolist()
        pairs = [SentencePair(self._tokens(*one[:3]), self._tokens(*one[3:6]), bool(one[6])) for one in spans]
        self._table.release()
        made = masked_pairs(pairs, self._objective, self._specials, keys=keys)
        return [replace(ids, origin=self._table.origin(one[0])) for ids, one in zip(made, spans, strict=True)]

    def mean_tokens(self) -> float:
        """Tokens of a pair on average, with its marks."""
        first, second = self._spans[:, 2] - self._spans[:, 1], self._spans[:, 5] - self._spans[:, 4]
        return float((first + second).mean()) + NUM_MARKS

    def piece(self, index: int) -> tuple[Int32, str]:
        """(both halves' own tokens, where the first stands) of one pair, before words are hidden."""
        spans = self._spans[index].tolist()
        return np.concatenate([self._tokens(*spans[:3]), self._tokens(*spans[3:6])]), self._table.origin(spans[0])

    def _tokens(self, document: int, start: int, end: int) -> Int32:
        at = int(self._table.offsets["targets"][document])
        return self._table.ids["targets"][at + start : at + end].astype(np.int32)


def _cut(table: TokenTable, options: PairOptions, borders: Borders) -> Int32:
    """[pairs, 7] the pairs of all documents; from beside the table where they were cut before."""
    told = sha256(b"".join(part.tobytes() for part in (borders.ends, borders.closes, borders.begins))).hexdigest()
    key = sha256(json.dumps([VERSION, options.model_dump(), told]).encode()).hexdigest()[:16]
    path = table.path / f"pairs-{key}.npy"
    with suppress(OSError, ValueError, EOFError):
        known: Int32 = np.load(path)
        if known.ndim == 2 and known.shape[1] == _COLUMNS:
            return known
    found = _spans(table, options, borders)
    with suppress(OSError):  # a cache that cannot be written to: they are cut again next time
        _save(path, found)
    return found


def _save(path: Path, array: NDArray[Any]) -> None:
    handle, name = tempfile.mkstemp(prefix=".pairs-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, array)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _spans(table: TokenTable, options: PairOptions, borders: Borders) -> Int32:
    starts = sentence_starts(table, borders, most=(options.max_len - NUM_MARKS) // 2)
    table.release()
    offsets = table.offsets["targets"]
    whole = np.flatnonzero(np.diff(offsets))  # documents with any text
    first = np.searchsorted(starts, offsets[whole])
    last = np.append(first[1:], len(starts))

    def edges(number: int) -> list[int]:
        at = int(offsets[whole[number]])
        end = int(offsets[whole[number] + 1])
        return [*(starts[first[number] : last[number]] - at).tolist(), end - at]

    keys = address(0, f"pairs/{table.name}", 0, whole)
    rows = [
        span
        for number in range(len(whole))
        for span in pair_spans(edges, len(whole), number, options, key=keys[number])
    ]
    found = np.array(rows, np.int32).reshape(-1, _COLUMNS)
    found[:, [0, 3]] = whole[found[:, [0, 3]]]
    return found


def sentence_starts(table: TokenTable, borders: Borders, *, most: int) -> NDArray[np.int64]:
    """Where sentences of at most `most` tokens begin in all targets laid end to end; every document begins one."""
    ids, offsets = table.ids["targets"], table.offsets["targets"]
    found = [offsets[:-1][np.diff(offsets) > 0]]
    for start in range(0, len(ids), CHUNK_TOKENS):
        before = min(start, MAX_CLOSING + 1)
        chunk = np.asarray(ids[start - before : start + CHUNK_TOKENS])
        found.append(np.flatnonzero(_begins(chunk, borders)[before:]) + start)
    starts = np.sort(np.concatenate(found))
    starts = starts[np.append(True, starts[1:] != starts[:-1])[: len(starts)]]  # np.unique hashes, which is slow
    lens = np.diff(np.append(starts, len(ids)))
    parts = -(-lens // most)
    number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    cut: NDArray[np.int64] = np.repeat(starts, parts) + number * most
    return cut


def _begins(ids: NDArray[Any], borders: Borders) -> NDArray[np.bool_]:
    """[n] whether a sentence begins at a token: a new word behind a final mark and what closes there."""
    begins = borders.begins[ids]
    ended = borders.ends[ids]
    closes = borders.closes[ids] & ~begins
    for _ in range(MAX_CLOSING):
        ended[1:] |= closes[1:] & ended[:-1]
    found = np.zeros(len(ids), np.bool_)
    found[1:] = begins[1:] & ended[:-1]
    return found
