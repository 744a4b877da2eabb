"""What every tokenizer is, and what the kinds of tokenizers share."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Borders, Int32, Specials
from textfer.errors import DataError, MachineError

TokenIds: TypeAlias = Sequence[int] | NDArray[np.integer[Any]]
Kind: TypeAlias = Literal["known", "byte", "unknown", "sentinel", "special"]
Places: TypeAlias = NDArray[np.int64]
"""[n, 2] where each of n tokens stands in its text: start and end in characters (code points), end exclusive."""

ROW_MULTIPLE = 128
"""Embedding tables with sentinels are rounded up to a multiple of this, as T5's 32,100 ids became 32,128 rows."""
NUM_SENTINELS = 100
SENTINEL = re.compile(r"<extra_id_(0|[1-9][0-9]{0,5})>")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_FINAL, _CLOSING = ".!?…。！？؟।", "\"'”’»)]}」』）"
_WHITE_SPACE = np.array([code for code in range(0x3001) if chr(code).isspace()], np.uint32)


class Piece(NamedTuple):
    """One token of a text, as `textfer tokenizer inspect` shows it; of an unknown one, the text that is lost."""

    piece: str
    id: int
    kind: Kind


class Tokenizer(Protocol):
    """Text to ids and back. Implementations are immutable, and picklable for worker processes."""

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding table: all ids, sentinels, and what rounds the number up."""

    @property
    def specials(self) -> Specials:
        """The ids with a meaning of their own."""

    @property
    def digest(self) -> str:
        """sha256 (hex) of all that decides the ids; part of every cache key."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without an end mark."""

    def encode_many(self, texts: Sequence[str]) -> list[Int32]:
        """The same for many texts at once: faster, and as arrays (which may be read-only)."""

    def encode_places(self, text: str) -> tuple[Int32, Places]:
        """The ids of `encode`, and the place of each token in the text as it was given.

        No place begins or ends with white space. A token that stands for white space alone has an empty place at its
        end, and so has one that stands for nothing (the space that SentencePiece puts before a text). Of a character
        that became several (`½`, or the bytes of one without a piece), every token has the place of the whole
        character; of characters that became one, of all of them. Characters that the vocabulary drops (control
        characters, the accents of an uncased WordPiece) lie inside a place or between two.
        """

    def encode_places_many(self, texts: Sequence[str]) -> list[tuple[Int32, Places]]:
        """The same for many texts at once. The ids may be read-only."""

    def decode(self, ids: TokenIds) -> str:
        """The text up to the first end mark, without padding; sentinels are shown as `<extra_id_N>`."""

    def pieces(self, ids: TokenIds) -> list[str]:
        """The name of each id."""

    def inspect(self, text: str) -> list[Piece]:
        """The tokens of a text with their ids and kinds."""

    def normalise(self, text: str) -> str:
        """The text as the vocabulary sees it, before it is cut."""

    def save(self, directory: Path) -> None:
        """Writes a folder that `load_tokenizer` reads, and `transformers` where it has such a class."""


def inspect(tokenizer: Tokenizer, text: str) -> list[Piece]:
    """The tokens of a text: what each is, its id, and whether it is known, bytes, unknown, a sentinel or special."""
    return tokenizer.inspect(text)


def split_at_sentinels(text: str, num_sentinels: int) -> list[str | int]:
    """Texts and the numbers of the sentinels between them; empty texts are left out."""
    parts: list[str | int] = []
    end = 0
    for match in SENTINEL.finditer(text):
        if int(match[1]) < num_sentinels:
            parts += [text[end : match.start()], int(match[1])]
            end = match.end()
    return [part for part in [*parts, text[end:]] if part != ""]


def trimmed(text: str, places: Places) -> Places:
    """The places without white space at their ends; of those that are nothing else, the end, twice."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    plain = ~np.isin(codes, _WHITE_SPACE)
    at = np.arange(len(codes) + 1)
    begins = np.append(np.where(plain, at[:-1], len(codes)), len(codes))
    next_begin = np.minimum.accumulate(begins[::-1])[::-1]  # of each character: where the first plain one from it on is
    last_end = np.maximum.accumulate(np.append(0, np.where(plain, at[1:], 0)))
    start = np.minimum(next_begin[places[:, 0]], places[:, 1])
    return np.stack([start, np.maximum(last_end[places[:, 1]], start)], axis=1).astype(np.int64)


def utf8_sizes(text: str) -> NDArray[np.int64]:
    """[characters] how many bytes each has in UTF-8."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return np.searchsorted([0x80, 0x800, 0x10000], codes, side="right") + 1


def borders_of(bare: Sequence[str], begins: Sequence[bool]) -> Borders:
    """What pieces tell of words and sentences. `bare` are their texts without the mark that `begins` is read off.

    A number with a point behind it ends a sentence too; a word with one (`Inc.`) does not.
    """
    bodies = [text.rstrip(_FINAL + _CLOSING) for text in bare]
    ends = [
        (not body or body.isdigit()) and bool(text[len(body) :].strip(_CLOSING))
        for text, body in zip(bare, bodies, strict=True)
    ]
    closes = [bool(text) and not text.strip(_CLOSING) for text in bare]
    return Borders(np.array(begins, np.bool_), np.array(ends, np.bool_), np.array(closes, np.bool_))


def listed(ids: TokenIds) -> list[int]:
    """The ids as Python's own numbers, which the libraries below insist on."""
    return [int(i) for i in ids]


def before_end(ids: TokenIds, specials: Specials) -> NDArray[np.int64]:
    """The ids before the first end mark, without padding."""
    array: NDArray[np.int64] = np.asarray(ids, np.int64)
    if len(ends := np.flatnonzero(array == specials.eos)):
        array = array[: ends[0]]
    kept: NDArray[np.int64] = array[array != specials.pad]
    return kept


def refuse(texts: Sequence[str]) -> NoReturn:
    """Raises the DataError that a tokenizer's library hides: half a surrogate pair in one of the texts."""
    for text in texts:
        if found := LONE_SURROGATE.search(text):
            place = f"got half a surrogate pair ({found[0]!a}) at character {found.start()}"
            raise DataError(f"text {text[:40]!a}: {place}, expected valid Unicode. Repair or drop the row.") from None
    raise AssertionError("the tokenizer refused texts that are valid Unicode")


def write_files(directory: Path, files: Mapping[str, bytes | Mapping[str, object]]) -> None:
    """Writes the files of a tokenizer's folder; dictionaries become JSON. Errors: MachineError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False, indent=1).encode()
            (directory / name).write_bytes(data)
    except OSError as error:
        raise MachineError(f"{directory}: cannot be written ({error.strerror}). Choose another folder.") from None
