"""Rows of numbers on disk, found by key: written once, read ever after.

folder/  <name>.numbers   float32 rows, those of one key after those of another
         <name>.index     one record a key: where its rows are, how many, and a checksum

Each process that writes has a pair of files of its own, and reads those of all: any number may work at once. A record
is written when its rows are on disk, so a process that dies loses what it was just writing, and nothing else.
"""

from __future__ import annotations

import uuid
import weakref
import zlib
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from textfer.batch import Float32
from textfer.errors import MachineError

NUMBERS, INDEX = ".numbers", ".index"
KEY_BYTES = 16
RECORD = np.dtype([("key", f"V{KEY_BYTES}"), ("start", "<i8"), ("count", "<i4"), ("checksum", "<u4")])


class _Place(NamedTuple):
    """Where a key's rows are."""

    name: str
    first: int
    num_rows: int
    checksum: int


@final
class Store:
    """The rows of one folder, `width` numbers each."""

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width
        self._places: dict[bytes, list[_Place]] = {}
        """More than one where processes were equally fast, or rows were damaged and made again."""
        self._known: dict[str, int] = {}
        """How many records of each index were read."""
        self._files: dict[str, FileIO] = {}
        self._sound: set[bytes] = set()
        """Keys whose checksum was right, or that were written here."""
        self._own = ""
        self._rows = 0
        weakref.finalize(self, _close, self._files)
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: bytes) -> bool:
        return key in self._places

    @property
    def num_bytes(self) -> int:
        """What the folder takes on disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*") if path.is_file())

    def refresh(self) -> None:
        """Learns of what was written since. Half a record, or one whose rows are not all there, does not count."""
        for path in sorted(self.folder.glob(f"*{INDEX}")):
            name = path.stem
            if name == self._own:
                continue
            known = self._known.get(name, 0)
            with path.open("rb") as file:
                file.seek(known * RECORD.itemsize)
                data = file.read()
            records = np.frombuffer(data[: len(data) // RECORD.itemsize * RECORD.itemsize], RECORD)
            numbers = path.with_suffix(NUMBERS)
            num_rows = numbers.stat().st_size // (4 * self.width) if numbers.exists() else 0
            for record, place in zip(records, _places(name, records), strict=True):
                if place.first >= 0 and place.num_rows > 0 and place.first + place.num_rows <= num_rows:
                    self._places.setdefault(record["key"].tobytes(), []).append(place)
            self._known[name] = known + len(records)

    def read(self, key: bytes, rows: Float32) -> bool:
        """Whether the key's rows now stand in `rows` [n, width], contiguous. Damaged ones are forgotten."""
        places = self._places.get(key, [])
        while places:
            if self._is_whole(places[0], key, rows):
                return True
            places.pop(0)
            self._sound.discard(key)
        self._places.pop(key, None)
        return False

    def _is_whole(self, place: _Place, key: bytes, rows: Float32) -> bool:
        try:
            if place.num_rows != len(rows) or not self._fill(place, rows):
                return False
        except OSError:
            return False
        if key not in self._sound and zlib.crc32(rows.data) != place.checksum:
            return False
        self._sound.add(key)
        return True

    def _fill(self, place: _Place, rows: Float32) -> bool:
        if place.name not in self._files:
            self._files[place.name] = (self.folder / f"{place.name}{NUMBERS}").open("rb", buffering=0)
        file = self._files[place.name]
        file.seek(place.first * 4 * self.width)
        told = rows.view(np.uint8).reshape(-1).data
        done = 0
        while done < len(told):
            read = file.readinto(told[done:])
            if not read:
                return False
            done += read
        return True

    def write(self, keys: Sequence[bytes], rows: Sequence[NDArray[np.float32]]) -> None:
        """Keeps the rows [n, width] of each key. Errors: MachineError when the disk refuses."""
        records = np.zeros(len(keys), RECORD)
        at = self._rows
        for number, (key, some) in enumerate(zip(keys, rows, strict=True)):
            records[number] = np.void(key), at, len(some), zlib.crc32(some.data)
            at += len(some)
        try:
            self._append(NUMBERS, b"".join(some.tobytes() for some in rows))
            self._append(INDEX, records.tobytes())
        except OSError as error:
            raise MachineError(
                f"{self.folder}: cannot be written ({error.strerror or error}). Make room, set TEXTFER_CACHE "
                "elsewhere, or method.cache = false."
            ) from None
        self._rows = at
        for key, place in zip(keys, _places(self._own, records), strict=True):
            self._places[key] = [place]
            self._sound.add(key)

    def _append(self, suffix: str, data: bytes) -> None:
        if not self._own:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own = uuid.uuid4().hex
        with (self.folder / f"{self._own}{suffix}").open("ab") as file:
            file.write(data)


def _places(name: str, records: NDArray[np.void]) -> list[_Place]:
    fields = (records[field].tolist() for field in ("start", "count", "checksum"))
    return [_Place(name, *values) for values in zip(*fields, strict=True)]


def _close(files: dict[str, FileIO]) -> None:
    for file in files.values():
        file.close()
