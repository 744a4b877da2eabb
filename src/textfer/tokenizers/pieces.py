"""Text in, ids out, and back: SentencePiece, bytes, and whatever the `tokenizers` library reads.

A SentencePiece model is the truth for its ids. Sentinels `<extra_id_N>` join it the way the T5 reference does it: as
user-defined pieces `▁<extra_id_N>` behind the last piece, counted down, so that `<extra_id_0>` has the highest id. The
space before a sentinel belongs to it, and what follows it is read as the middle of a text: `<extra_id_0>. Hello` is
`<extra_id_0>` `.` `▁Hello`. One thing is added: where no space stands before a sentinel (`jel<extra_id_0>`), the
reference spells it letter by letter; here it is the sentinel all the same. Other marks (`</s>`, `<pad>`) are letters.

Source: google/seqio `vocabularies.SentencePieceVocabulary`; Xue et al. 2021 (ByT5) for bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from sentencepiece import SentencePieceProcessor

from textfer.batch import Borders, Int32, Specials
from textfer.errors import CheckpointError
from textfer.tokenizers.base import (
    NUM_SENTINELS,
    ROW_MULTIPLE,
    SENTINEL,
    Kind,
    Piece,
    Places,
    TokenIds,
    before_end,
    borders_of,
    listed,
    refuse,
    trimmed,
    utf8_sizes,
    write_files,
)

MARKS = {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
"""An encoder's marks, where a model has them as control pieces."""
_USER_DEFINED = 4  # SentencePiece's mark for pieces that are matched before anything else


@final
class SentencePiece:
    """A SentencePiece model (unigram or BPE) with sentinels behind its pieces, or with those that it brings along."""

    def __init__(self, model: bytes, *, num_sentinels: int = NUM_SENTINELS, name: str = "SentencePiece model") -> None:
        self.model = model
        """The `.model` file, as it was read."""
        plain = _processor(model, name=name)
        brought = _brought_sentinels(plain)
        if brought or not num_sentinels:
            self._processor, sentinels = plain, brought
        else:
            added = b"".join(_user_defined_piece(f"▁<extra_id_{n}>") for n in reversed(range(num_sentinels)))
            self._processor = _processor(
                model + added, name=name
            )  # messages laid end to end are merged: protobuf's rule
            sentinels = [len(self._processor) - 1 - n for n in range(num_sentinels)]
        self.num_sentinels = 0 if brought else num_sentinels
        """How many were added to the file's own pieces."""
        if (eos := plain.eos_id()) < 0:
            raise CheckpointError(f"{name}: has no end token </s>, expected one. Train it again with an end token.")
        pad, unk, bos = (None if (i := get()) < 0 else int(i) for get in (plain.pad_id, plain.unk_id, plain.bos_id))
        self.specials = Specials(
            pad=eos if pad is None else pad,
            eos=eos,
            unk=unk,
            bos=bos,
            cls=_control(plain, MARKS["cls"]),
            sep=_control(plain, MARKS["sep"]),
            mask=_control(plain, MARKS["mask"]),
            sentinels=np.array(sentinels, np.int32),
            num_ids=len(self._processor),
            inside=_inside(self._processor),
            borders=_borders(self._processor),
        )
        self._left_out = frozenset((self.specials.eos, self.specials.pad))
        self.vocab_size = -(-len(self._processor) // ROW_MULTIPLE) * ROW_MULTIPLE
        self.digest = sha256(b"sentencepiece %d\0" % self.num_sentinels + model).hexdigest()
        self._sentinel_of = {id_: n for n, id_ in enumerate(sentinels)}
        # With `▁<extra_id_N>` pieces a sentinel needs a space before it; text starts with one where the model says so.
        self._eats_space = bool(sentinels) and self._processor.id_to_piece(sentinels[0]).startswith("▁")
        self._starts_with_space = plain.normalize("a").startswith("▁")

    def __reduce__(self) -> tuple[Any, ...]:
        return _sentencepiece, (self.model, self.num_sentinels)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without an end mark. Errors: DataError where the text is not valid Unicode."""
        try:
            if "<extra_id_" in text:
                text = self._spaced(text)
            # No cache of words: scores are summed over the whole text in single precision, so that near ties fall
            # differently word by word (in 1 of 1,500 Wikipedia articles with T5's vocabulary).
            ids: list[int] = self._processor.encode(text)
            return ids
        except RuntimeError:
            refuse([text])

    def encode_many(self, texts: Sequence[str]) -> list[Int32]:
        """The same for many texts at once, on all cores. The arrays are read-only."""
        spaced = [self._spaced(text) if "<extra_id_" in text else text for text in texts]
        try:
            arrays: list[Int32] = self._processor.encode(spaced, return_type="numpy") if spaced else []
            return arrays
        except (RuntimeError, TypeError):
            refuse(texts)

    def encode_places(self, text: str) -> tuple[Int32, Places]:
        """The ids and the place of each token in the text; `▁` written in a text counts as white space."""
        return self._placed(text, np.array(self.encode(text), np.int32))

    def encode_places_many(self, texts: Sequence[str]) -> list[tuple[Int32, Places]]:
        """The same for many texts at once; they are cut on all cores, and placed on one."""
        return [self._placed(text, ids) for text, ids in zip(texts, self.encode_many(texts), strict=True)]

    def decode(self, ids: TokenIds) -> str:
        """The text up to the first end mark.

        An unknown id, and a row of the table without a piece, is ` ⁇ `, as in the reference.
        """
        kept: list[int] = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        if not self._left_out.isdisjoint(kept):  # one look at plain ids: numpy would cost as much as decoding itself
            kept = before_end(kept, self.specials).tolist()
        try:
            return str(self._processor.decode(kept))
        except IndexError:
            size, unknown = len(self._processor), self.specials.unk or 0
            return str(self._processor.decode([i if i < size else unknown for i in kept]))

    def pieces(self, ids: TokenIds) -> list[str]:
        """The name of each id; a space is shown as ▁."""
        return [self._piece(i) for i in listed(ids)]

    def inspect(self, text: str) -> list[Piece]:
        """The tokens of a text with their ids and kinds."""
        ids = self.encode(text)
        surfaces: list[str] = self._processor.encode(self._spaced(text), return_type=str)
        return [self._inspected(i, surface) for i, surface in zip(ids, surfaces, strict=True)]

    def normalise(self, text: str) -> str:
        """The text as the vocabulary sees it: characters replaced, spaces shown as ▁."""
        return str(self._processor.normalize(self._spaced(text)))

    def save(self, directory: Path) -> None:
        """Writes `spiece.model` and a `tokenizer_config.json` in the hub's form."""
        names = {"eos_token": self.specials.eos, "pad_token": self.specials.pad, "unk_token": self.specials.unk}
        config = {"tokenizer_class": "T5Tokenizer", "extra_ids": self.num_sentinels}
        names |= {f"{name}_token": getattr(self.specials, name) for name in MARKS}
        config |= {name: self._piece(i) for name, i in names.items() if i is not None}
        if self.num_sentinels:
            config["additional_special_tokens"] = [f"<extra_id_{n}>" for n in range(self.num_sentinels)]
        write_files(directory, {"spiece.model": self.model, "tokenizer_config.json": config})

    def _placed(self, text: str, ids: Int32) -> tuple[Int32, Places]:
        """The ids with their places: tokens laid end to end are the normalised text, whose sources are known.

        The library's own places are not taken: it gives all but the last of a character's bytes an empty one.
        """
        normal, sources = self._processor.normalize(self._spaced(text), with_offsets=True)
        if not len(ids):
            return ids, np.zeros((0, 2), np.int64)
        source = np.array(sources, np.int64)
        if added := self._gaps(text):
            source -= np.searchsorted(np.array(added) + np.arange(len(added)), source)
        of_byte = np.append(np.repeat(source[:-1], utf8_sizes(normal)), source[-1])  # where each byte comes from
        lens, blanks = self._extents[ids].T
        if (unknown := np.flatnonzero(ids == self.specials.unk)).size:
            surfaces: list[str] = self._processor.encode(self._spaced(text), return_type=str)
            for n in unknown.tolist():
                lens[n], blanks[n] = _extent(surfaces[n])
        ends = np.cumsum(lens)
        assert ends[-1] == len(of_byte) - 1, "the tokens are not the normalised text"
        begins = ends - lens + blanks
        edges = np.sort(of_byte)
        edges = edges[np.append(True, edges[1:] != edges[:-1])]  # np.unique hashes: a second for 100,000 in NumPy 2.4
        after = edges[np.minimum(np.searchsorted(edges, of_byte[ends - 1], side="right"), len(edges) - 1)]
        start = of_byte[begins]
        return ids, trimmed(text, np.stack([start, np.where(begins == ends, start, np.maximum(after, start))], axis=1))

    @cached_property
    def _extents(self) -> NDArray[np.int64]:
        """[pieces, 2] bytes of the normalised text that a piece takes, and how many of them are leading `▁`."""
        is_byte, piece = self._processor.is_byte, self._processor.id_to_piece
        every = [(1, 0) if is_byte(i) else _extent(piece(i)) for i in range(len(self._processor))]
        return np.array(every, np.int64)

    def _spaced(self, text: str) -> str:
        edges = [0, *self._gaps(text), len(text)]
        return " ".join(text[start:end] for start, end in pairwise(edges)) if len(edges) > 2 else text

    def _gaps(self, text: str) -> list[int]:
        """Where a space is put in: before sentinels that have none."""
        if not self._eats_space or "<extra_id_" not in text:
            return []

        def stands_free(start: int) -> bool:
            return text[start - 1] == " " if start else self._starts_with_space

        known = (match.start() for match in SENTINEL.finditer(text) if int(match[1]) < len(self._sentinel_of))
        return [start for start in known if not stands_free(start)]

    def _piece(self, i: int) -> str:
        if i in self._sentinel_of:
            return f"<extra_id_{self._sentinel_of[i]}>"
        return str(self._processor.id_to_piece(i)) if i < len(self._processor) else f"<row_{i}>"

    def _inspected(self, i: int, surface: str) -> Piece:
        if i == self.specials.unk:
            return Piece(surface, i, "unknown")
        kind: Kind = "sentinel" if i in self._sentinel_of else "known"
        if kind == "known" and self._processor.is_byte(i):
            kind = "byte"
        return Piece(self._piece(i), i, "special" if self._processor.is_control(i) else kind)


def _extent(piece: str) -> tuple[int, int]:
    """(bytes of a piece, bytes of the `▁` it begins with)"""
    whole = len(piece.encode())
    return whole, whole - len(piece.lstrip("▁").encode())


def _sentencepiece(model: bytes, num_sentinels: int) -> SentencePiece:
    return SentencePiece(model, num_sentinels=num_sentinels)


def _processor(model: bytes, *, name: str) -> SentencePieceProcessor:
    if not model:  # sentencepiece takes an empty file for a model without pieces
        raise CheckpointError(f"{name}: is empty, expected a SentencePiece model. Copy the file again.")
    try:
        return SentencePieceProcessor(model_proto=model)
    except RuntimeError:
        raise CheckpointError(f"{name}: is not a SentencePiece model, or a broken one. Copy the file again.") from None


def _control(processor: SentencePieceProcessor, piece: str) -> int | None:
    """The id of a piece that stands for no text, if the model has it."""
    i = int(processor.piece_to_id(piece))
    return i if processor.id_to_piece(i) == piece and processor.is_control(i) else None


def _borders(processor: SentencePieceProcessor) -> Borders:
    pieces: list[str] = processor.id_to_piece(list(range(len(processor))))
    return borders_of([piece.lstrip("▁") for piece in pieces], [piece.startswith("▁") for piece in pieces])


def _inside(processor: SentencePieceProcessor) -> NDArray[np.bool_]:
    """[ids] whether a piece goes on with a word: none that brings its space, is a sign of punctuation, or a mark.

    A byte counts as going on: most are part of a letter.
    """
    found = np.zeros(len(processor), np.bool_)
    for number in range(len(processor)):
        piece: str = processor.id_to_piece(number)
        plain = not (processor.is_control(number) or processor.is_unknown(number))
        found[number] = plain and (processor.is_byte(number) or piece[0].isalnum())
    return found


def _brought_sentinels(processor: SentencePieceProcessor) -> list[int]:
    """The ids of the file's own `▁<extra_id_N>` (mT5) or `<extra_id_N>` pieces, N = 0, 1, …"""
    for form in ("▁<extra_id_{}>", "<extra_id_{}>"):
        ids: list[int] = []
        while processor.id_to_piece(i := processor.piece_to_id(form.format(len(ids)))) == form.format(len(ids)):
            ids.append(int(i))
        if ids:
            return ids
    return []


def _user_defined_piece(piece: str) -> bytes:
    """One entry of a SentencePiece model's list of pieces, serialised: field 1 = {1: piece, 2: score 0, 3: type}."""
    name = piece.encode()
    entry = bytes([0x0A, len(name)]) + name + b"\x15" + struct.pack("<f", 0.0) + bytes([0x18, _USER_DEFINED])
    assert len(entry) < 128, piece  # longer lengths need more than one byte
    return bytes([0x0A, len(entry)]) + entry
