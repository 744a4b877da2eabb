"""UTF-8 bytes as tokens: a vocabulary without a file."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Int32, Specials
from textfer.tokenizers.base import (
    NUM_SENTINELS,
    Piece,
    Places,
    TokenIds,
    before_end,
    listed,
    refuse,
    split_at_sentinels,
    trimmed,
    utf8_sizes,
    write_files,
)


@final
class Bytes:
    """UTF-8 bytes (ByT5): pad 0, end 1, unknown 2, byte b is b + 3; 384 rows.

    Where the sentinels are is a matter on which ByT5's paper and `transformers` differ:

    - `"extra"`: 125 ids of their own behind the bytes, `<extra_id_0>` = 259 and upwards, as `transformers` reads them.
      Nothing is ambiguous: the choice for models trained from scratch, and what the name `bytes` stands for.
    - `"final_bytes"`: the last 100 byte ids downwards from `<extra_id_0>` = 258, as the paper's checkpoints were
      pre-trained. Ids from 257 down are also bytes: `decode` takes them for sentinels where they are no valid UTF-8.
    """

    _OFFSET = 3
    _END = 259
    vocab_size = 384

    def __init__(self, *, sentinels: Literal["extra", "final_bytes"] = "extra") -> None:
        self.sentinels: Literal["extra", "final_bytes"] = sentinels
        if sentinels == "extra":
            marks = np.arange(self._END, self.vocab_size, dtype=np.int32)
        else:
            marks = np.arange(self._END - 1, self._END - 1 - NUM_SENTINELS, -1, dtype=np.int32)
        self.specials = Specials(
            pad=0, eos=1, unk=2, sentinels=marks, num_ids=self.vocab_size if sentinels == "extra" else self._END
        )
        self.digest = sha256(f"bytes {sentinels}".encode()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return _bytes, (self.sentinels,)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without an end mark. Errors: DataError where the text is not valid Unicode."""
        ids: list[int] = self._encode(text).tolist()
        return ids

    def encode_many(self, texts: Sequence[str]) -> list[Int32]:
        """The same for many texts."""
        return [self._encode(text) for text in texts]

    def encode_places(self, text: str) -> tuple[Int32, Places]:
        """The ids, and for each byte the place of its character."""
        parts = split_at_sentinels(text, len(self.specials.sentinels)) if "<extra_id_" in text else [text]
        ends: list[NDArray[np.int64]] = []
        sizes: list[NDArray[np.int64]] = []
        at = 0
        ids = self._encode(text)
        for part in parts:
            if isinstance(part, int):
                lens = np.array([len(f"<extra_id_{part}>")])
                sizes.append(np.ones(1, np.int64))
            else:
                lens = np.ones(len(part), np.int64)
                sizes.append(utf8_sizes(part))
            ends.append(at + np.cumsum(lens))
            at = int(ends[-1][-1]) if len(lens) else at
        every = np.concatenate(ends)
        spans = np.stack([np.append(0, every)[:-1], every], axis=1)
        return ids, trimmed(text, np.repeat(spans, np.concatenate(sizes), axis=0))

    def encode_places_many(self, texts: Sequence[str]) -> list[tuple[Int32, Places]]:
        """The same for many texts."""
        return [self.encode_places(text) for text in texts]

    def decode(self, ids: TokenIds) -> str:
        """The text up to the first end mark; bytes that are no valid UTF-8 are dropped, as in the reference."""
        kept = before_end(ids, self.specials).tolist()
        if self.sentinels == "final_bytes":
            raw = bytes(i - self._OFFSET for i in kept if self._OFFSET <= i < self._END)
            return raw.decode(errors="textfer_sentinels")
        parts: list[str] = []
        run = bytearray()
        for i in kept:
            if self._OFFSET <= i < self._END:
                run.append(i - self._OFFSET)
            elif i >= self._END:
                parts += [run.decode(errors="ignore"), f"<extra_id_{i - self._END}>"]
                run.clear()
        return "".join([*parts, run.decode(errors="ignore")])

    def pieces(self, ids: TokenIds) -> list[str]:
        """The name of each id: the character where a byte is one, else `<0xNN>`."""
        return [self._piece(i) for i in listed(ids)]

    def inspect(self, text: str) -> list[Piece]:
        """The tokens of a text with their ids and kinds."""
        found: list[Piece] = []
        for part in split_at_sentinels(text, len(self.specials.sentinels)):
            if isinstance(part, int):
                found.append(Piece(f"<extra_id_{part}>", int(self.specials.sentinels[part]), "sentinel"))
            else:
                found += [Piece(self._piece(i), i, "byte") for i in self.encode(part)]
        return found

    def normalise(self, text: str) -> str:
        """The text itself."""
        return text

    def save(self, directory: Path) -> None:
        """Writes a `tokenizer_config.json` in the hub's form; there is no vocabulary to write."""
        config: dict[str, object] = {"tokenizer_class": "ByT5Tokenizer", "extra_ids": 125, "sentinels": self.sentinels}
        config |= {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        write_files(directory, {"tokenizer_config.json": config})

    def _encode(self, text: str) -> Int32:
        if "<extra_id_" not in text:
            return self._plain(text)
        sentinels = self.specials.sentinels
        parts = split_at_sentinels(text, len(sentinels))
        none = np.zeros(0, np.int32)
        return np.concatenate([none, *(sentinels[p : p + 1] if isinstance(p, int) else self._plain(p) for p in parts)])

    def _plain(self, text: str) -> Int32:
        try:
            return np.frombuffer(text.encode(), np.uint8).astype(np.int32) + np.int32(self._OFFSET)
        except UnicodeEncodeError:
            refuse([text])

    def _piece(self, i: int) -> str:
        if i < self._OFFSET:
            return ("<pad>", "</s>", "<unk>")[i]
        if i < self._END:
            byte = i - self._OFFSET
            return chr(byte) if 32 < byte < 127 else f"<0x{byte:02X}>"
        return f"<extra_id_{i - self._END}>" if self.sentinels == "extra" else f"<row_{i}>"


def _bytes(sentinels: Literal["extra", "final_bytes"]) -> Bytes:
    return Bytes(sentinels=sentinels)


def _invalid_byte_to_sentinel(error: UnicodeError) -> tuple[str, int]:
    """The first of the bytes that make no character, as a sentinel where it stands for one."""
    assert isinstance(error, UnicodeDecodeError)
    number = 255 - error.object[error.start]
    return (f"<extra_id_{number}>" if number < NUM_SENTINELS else ""), error.start + 1


codecs.register_error("textfer_sentinels", _invalid_byte_to_sentinel)
