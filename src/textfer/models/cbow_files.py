"""Word vectors in files: word2vec's text and binary formats, and safetensors.

    .txt .vec     "V D", then a line for each word: the word and D numbers, with spaces between
    .bin          "V D", then for each word: the word, a space, D float32 numbers (little-endian), and a line end that
                  word2vec writes, others do not, and readers pass over
    .safetensors  `vectors` [V, D] float32, `words` their UTF-8 with line ends between, `counts` [V] where known

Source: word2vec.c (github.com/tmikolov/word2vec); the first two are what gensim's `load_word2vec_format` reads.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from textfer.errors import CheckpointError, ConfigError, DataError, MachineError, nearest
from textfer.models.word_vectors import WordVectors

FileFormat = Literal["text", "binary", "safetensors"]
SUFFIXES: dict[str, FileFormat] = {
    ".txt": "text",
    ".vec": "text",
    ".bin": "binary",
    ".safetensors": "safetensors",
}
FORMAT_NAME = "textfer word vectors"
LONGEST_WORD = 10_000
"""Bytes: a binary file that shows no space for longer is none."""
_LITTLE = np.dtype("<f4")


def file_format(path: Path) -> FileFormat:
    """What the suffix says. Errors: ConfigError for another one."""
    if (suffix := path.suffix.lower()) not in SUFFIXES:
        raise ConfigError(f"{path}: the suffix is '{path.suffix}', not one of vectors.{nearest(suffix, SUFFIXES)}")
    return SUFFIXES[suffix]


def save_vectors(vectors: WordVectors, path: Path) -> None:
    """Writes the format of the suffix, the whole file or nothing.

    word2vec's formats keep no counts, and numbers in text have the 9 digits that give float32 back exactly.

    Errors: ConfigError for another suffix, DataError for a word that the format cannot hold, MachineError.
    """
    kind = file_format(path)
    forbidden = ("\n",) if kind == "safetensors" else ("\n", " ")
    for word in vectors.words:
        if not word or any(sign in word for sign in forbidden):
            raise DataError(f"{path}: the word {word!r} cannot stand in this format. Save it as .safetensors.")
    write = {"text": _write_text, "binary": _write_binary, "safetensors": _write_safetensors}[kind]
    with _whole(path) as work:
        write(vectors, work)


def read_vectors(path: Path, *, limit: int | None = None) -> WordVectors:
    """The vectors of a file in one of the three formats; with `limit`, of its first words only.

    Errors: ConfigError for another suffix, CheckpointError for a missing, cut off or damaged file, DataError for a word
    that stands there twice.
    """
    kind = file_format(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file.")
    readers: dict[FileFormat, Callable[[Path, int | None], WordVectors]] = {
        "text": _read_text,
        "binary": _read_binary,
        "safetensors": _read_safetensors,
    }
    try:
        found = readers[kind](path, limit)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    if not np.isfinite(found.vectors).all():
        word = found.words[int(np.flatnonzero(~np.isfinite(found.vectors).all(axis=1))[0])]
        raise CheckpointError(f"{path}: the vector of '{word}' is not finite. Take another copy.")
    return found


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path beside `path` that takes its place at the end."""
    work = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield work
            os.replace(work, path)
        finally:
            work.unlink(missing_ok=True)
    except OSError as error:
        raise MachineError(f"{path}: {error.strerror or error}. Check the place, its rights and its room.") from None


# ---- word2vec's formats


def _write_text(vectors: WordVectors, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{len(vectors)} {vectors.dim}\n")
        for word, row in zip(vectors.words, vectors.vectors.tolist(), strict=True):
            file.write(f"{word} {' '.join(f'{number:.9g}' for number in row)}\n")


def _write_binary(vectors: WordVectors, path: Path) -> None:
    with path.open("wb") as file:
        file.write(f"{len(vectors)} {vectors.dim}\n".encode())
        for word, row in zip(vectors.words, vectors.vectors.astype(_LITTLE), strict=True):
            file.write(word.encode() + b" " + row.tobytes() + b"\n")


def _header(file: BinaryIO, path: Path, limit: int | None) -> tuple[int, int]:
    """(words to read, numbers of each)."""
    line = file.readline(100)
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts) or not int(parts[0]) or not int(parts[1]):
        raise CheckpointError(
            f"{path}: the first line is {_shown(line)}, expected the numbers of words and dimensions."
        )
    count, dim = map(int, parts)
    least = 2 * count * dim if file_format(path) == "text" else 4 * count * dim
    if (size := path.stat().st_size) < least:  # before memory is taken for what a damaged header says
        raise CheckpointError(f"{path}: {size:,} bytes cannot hold {count:,} words of {dim:,} numbers. Copy it again.")
    return min(count, limit or count), dim


def _read_text(path: Path, limit: int | None) -> WordVectors:
    words: list[str] = []
    with path.open("rb") as file:
        count, dim = _header(file, path, limit)
        vectors = np.empty((count, dim), np.float32)
        for number in range(count):
            parts = file.readline().rstrip().rsplit(b" ", dim)
            if len(parts) != dim + 1:
                place = f"{path}:{number + 2}"
                raise CheckpointError(f"{place}: got {len(parts) - 1} numbers, expected {dim}. Copy it again.")
            try:
                vectors[number] = [float(part) for part in parts[1:]]
            except ValueError as error:
                raise CheckpointError(f"{path}:{number + 2}: {error}.") from None
            words.append(_word(parts[0], path, number))
    return WordVectors(words, vectors)


def _read_binary(path: Path, limit: int | None) -> WordVectors:
    words: list[str] = []
    with path.open("rb") as file:
        count, dim = _header(file, path, limit)
        vectors = np.empty((count, dim), np.float32)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
            at = file.tell()
            for number in range(count):
                space = memory.find(b" ", at, at + LONGEST_WORD)
                if space < 0 or space + 1 + 4 * dim > len(memory):
                    raise CheckpointError(
                        f"{path}: ends or breaks off at word {number + 1:,} of {count:,}. Copy it again."
                    )
                words.append(_word(memory[at:space].lstrip(b"\n"), path, number))
                at = space + 1 + 4 * dim
                vectors[number] = np.frombuffer(memory[space + 1 : at], _LITTLE)
    return WordVectors(words, vectors)


def _word(spelt: bytes, path: Path, number: int) -> str:
    try:
        word = spelt.decode()
    except UnicodeDecodeError:
        raise CheckpointError(f"{path}: word {number + 1:,} is {_shown(spelt)}, which is not UTF-8.") from None
    if not word:
        raise CheckpointError(f"{path}: word {number + 1:,} is empty. The file may have another number of dimensions.")
    return word


def _shown(spelt: bytes) -> str:
    return repr(spelt[:40].decode("utf-8", "replace"))


# ---- safetensors


def _write_safetensors(vectors: WordVectors, path: Path) -> None:
    from safetensors.numpy import save_file

    words: NDArray[np.uint8] = np.frombuffer("\n".join(vectors.words).encode(), np.uint8)
    tensors: dict[str, NDArray[Any]] = {"vectors": np.ascontiguousarray(vectors.vectors), "words": words}
    if vectors.counts is not None:
        tensors["counts"] = vectors.counts
    save_file(tensors, str(path), metadata={"format": FORMAT_NAME})


def _read_safetensors(path: Path, limit: int | None) -> WordVectors:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            names = set(file.keys())
            if not {"vectors", "words"} <= names:
                raise CheckpointError(f"{path}: holds no tensors 'vectors' and 'words'. It is no file of word vectors.")
            words = bytes(file.get_tensor("words")).decode().split("\n")
            vectors = file.get_tensor("vectors")
            counts = file.get_tensor("counts") if "counts" in names else None
    except (SafetensorError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({str(error).splitlines()[0]}). Copy it again.") from None
    if len(words) != len(vectors):
        raise CheckpointError(f"{path}: {len(words):,} words and {len(vectors):,} vectors. Copy it again.")
    return WordVectors(words[:limit], vectors[:limit], None if counts is None else counts[:limit])
