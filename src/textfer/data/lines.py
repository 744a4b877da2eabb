"""Files read line by line: JSON Lines, CSV and TSV, plain text. UTF-8, with or without BOM, CRLF or `.gz`.

Memory stays flat: the file is walked through once to count rows, and every 256th place is kept to start from.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast, final

from textfer.batch import Row
from textfer.errors import DataError, nearest

Format = Literal["parquet", "jsonl", "csv", "tsv", "lines", "paragraphs", "document", "json"]
"""`lines`, `paragraphs` (blank lines between) and `document` (the file is one row) are ways to read plain text."""
OnBad = Callable[[DataError], None]
MAX_LINE_BYTES = 64 << 20
ROWS_PER_MARK = 256


class Line(NamedTuple):
    """One line of a file, its end included."""

    number: int
    end: int
    """The byte after it."""
    text: str


class Record(NamedTuple):
    """What becomes a row: one line, or several that belong together."""

    value: Any
    number: int
    """Its first line."""
    next_number: int
    """The line after it, and the byte where that begins."""
    next_offset: int


@final
class TextFile:
    """JSON Lines, CSV, TSV or plain text (one row a line, a paragraph or the whole file)."""

    def __init__(self, path: Path, kind: Format, columns: Sequence[str] = ()) -> None:
        self.path = path
        self.kind = kind
        self.columns: tuple[str, ...] = () if kind == "jsonl" else ("text",)
        self._delimiter = "\t" if kind == "tsv" else ","
        self._quoted = True
        if kind in ("csv", "tsv"):
            self._read_header()
        try:
            self._scan()
        except DataError:
            if kind != "tsv":
                raise
            self._quoted = (
                False  # most TSV files of the field know no quoting: a quote in them is a character like others
            )
            self._read_header()
            self._scan()
        if self.columns:
            check_columns(path, self.columns, columns)

    def __len__(self) -> int:
        return self._num_rows

    def read(self, start: int, stop: int, *, on_bad: OnBad | None = None) -> Iterator[tuple[int, str, Row]]:
        if start >= min(stop, self._num_rows):
            return
        number, offset = self._marks[start // ROWS_PER_MARK]
        index = start // ROWS_PER_MARK * ROWS_PER_MARK
        for index, record in enumerate(self._records(number, offset), index):  # noqa: B020
            if index >= stop:
                return
            if index >= start:
                try:
                    yield index, str(record.number), self._row(record)
                except DataError as error:
                    if on_bad is None:
                        raise
                    on_bad(error)

    def _scan(self) -> None:
        """Counts the rows and notes where every 256th begins."""
        number, offset = (1, 0) if self.kind not in ("csv", "tsv") else self._body
        self._marks: list[tuple[int, int]] = []
        self._num_rows = 0
        for record in self._records(number, offset):
            if self._num_rows % ROWS_PER_MARK == 0:
                self._marks.append((number, offset))
            if self.kind in ("csv", "tsv"):
                self._check_width(record)
            self._num_rows += 1
            number, offset = record.next_number, record.next_offset

    def _read_header(self) -> None:
        first = next(_lines(self.path, 1, 0), None)
        if first is None:
            raise DataError(f"{self.path}: empty, expected a first line with the names of the columns.")
        if self.kind == "csv":  # spreadsheets of half the world write semicolons
            self._delimiter = max((",", ";", "\t"), key=first.text.count)
        header = next(self._csv_records(_lines(self.path, 1, 0)))
        names = [name.strip() for name in header.value]
        for place, name in enumerate(names, 1):
            if not name or names.index(name) + 1 != place:
                why = f"the name '{name}' of column {place} is taken" if name else f"column {place} has no name"
                raise DataError(f"{self.path}:1: {why}, expected a first line with one name a column.")
        self.columns = tuple(names)
        self._body = (header.next_number, header.next_offset)

    def _records(self, number: int, offset: int) -> Iterator[Record]:
        lines = _lines(self.path, number, offset)
        if self.kind in ("csv", "tsv"):
            yield from self._csv_records(lines)
        elif self.kind == "paragraphs":
            yield from _paragraphs(lines)
        elif self.kind == "document":
            yield from _joined(list(lines))
        else:
            for line in lines:
                if (text := line.text.rstrip("\r\n")).strip():
                    yield Record(text, line.number, line.number + 1, line.end)

    def _csv_records(self, lines: Iterable[Line]) -> Iterator[Record]:
        csv.field_size_limit(MAX_LINE_BYTES)  # the module's own limit, 128 KiB, is less than one long document
        taken: list[Line] = []

        def texts() -> Iterator[str]:
            for line in lines:
                taken[:] = [taken[0] if taken else line, line]
                yield line.text

        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if self._quoted else csv.QUOTE_NONE
        reader = csv.reader(texts(), delimiter=self._delimiter, quoting=quoting, strict=True)
        while True:
            taken.clear()
            try:
                fields = next(reader, None)
            except csv.Error as error:
                where = f"{self.path}:{taken[0].number}" if taken else str(self.path)
                raise DataError(
                    f"{where}: {error}. Is a quotation mark left open, or not doubled inside quotes?"
                ) from None
            if fields is None:
                return
            if fields:
                yield Record(fields, taken[0].number, taken[-1].number + 1, taken[-1].end)

    def _check_width(self, record: Record) -> None:
        if len(record.value) != len(self.columns):
            raise DataError(
                f"{self.path}:{record.number}: {len(record.value)} columns, expected {len(self.columns)} "
                f"({', '.join(self.columns)}). A text with the separator in it needs quotation marks."
            )

    def _row(self, record: Record) -> Row:
        if self.kind in ("csv", "tsv"):
            return dict(zip(self.columns, record.value, strict=True))
        if self.kind != "jsonl":
            return {"text": record.value}
        try:
            row = json.loads(record.value)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{self.path}:{record.number}: not JSON ({error}). Each line must be one whole object."
            ) from None
        if not isinstance(row, dict):
            raise DataError(f"{self.path}:{record.number}: got a {type(row).__name__}, expected an object {{…}}.")
        return row


def check_columns(path: Path, known: Sequence[str], wanted: Iterable[str]) -> None:
    """Raises a DataError for the first wanted column that is not known."""
    for name in wanted:
        if name not in known:
            raise DataError(f"{path}: no column '{name}'.{nearest(name, known)}")


def _paragraphs(lines: Iterable[Line]) -> Iterator[Record]:
    held: list[Line] = []
    for line in lines:
        if line.text.strip():
            held.append(line)
        else:
            yield from _joined(held)
            held = []
    yield from _joined(held)


def _joined(lines: Sequence[Line]) -> Iterator[Record]:
    text = "".join(line.text for line in lines).replace("\r\n", "\n").strip()
    if text:
        yield Record(text, lines[0].number, lines[-1].number + 1, lines[-1].end)


def opened(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked where it is a `.gz`."""
    return cast(BinaryIO, gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb"))


def _lines(path: Path, number: int, offset: int) -> Iterator[Line]:
    """Lines from byte `offset` on, the first one called `number`. A BOM is dropped; other than UTF-8 is a DataError."""
    try:
        with opened(path) as file:
            file.seek(offset)
            while raw := file.readline(MAX_LINE_BYTES + 1):
                if len(raw) > MAX_LINE_BYTES:
                    raise DataError(f"{path}:{number}: a line of more than {MAX_LINE_BYTES >> 20} MiB, expected less.")
                offset += len(raw)
                if number == 1:
                    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                        raise DataError(f"{path}: is UTF-16, expected UTF-8. Save it as 'CSV UTF-8'.")
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                yield Line(number, offset, _decoded(raw, path, number))
                number += 1
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip data ({error}).") from None


def _decoded(raw: bytes, path: Path, number: int) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}:{number}: byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8. Save the file as UTF-8."
        ) from None
