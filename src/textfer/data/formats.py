"""Files as rows: Parquet and JSON here, what is read line by line in `lines`. Any row can be the first."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, final

from textfer.batch import Row
from textfer.data.lines import MAX_LINE_BYTES, Format, OnBad, TextFile, check_columns, opened
from textfer.errors import DataError, nearest

SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "lines",
    ".text": "lines",
    ".json": "json",
}
BATCH_ROWS = 512


class File(Protocol):
    """Rows of one file."""

    @property
    def path(self) -> Path: ...
    @property
    def columns(self) -> tuple[str, ...]:
        """Column names; empty where each row brings its own."""

    def __len__(self) -> int: ...
    def read(self, start: int, stop: int, *, on_bad: OnBad | None = None) -> Iterator[tuple[int, str, Row]]:
        """(index, line number or "", row) of rows `start:stop`. With `on_bad`, a broken row is told there instead."""


def format_of(path: Path) -> Format | None:
    """The format that the name's end tells, `.gz` aside."""
    name = path.name.lower().removesuffix(".gz")
    return SUFFIXES.get(Path(name).suffix)


def open_file(path: Path, *, kind: Format | None = None, columns: Sequence[str] = ()) -> File:
    """`path` ready to be read.

    **Errors**: DataError where it is missing, of no known kind, or lacks one of `columns`.
    """
    kind = kind or format_of(path)
    if kind is None:
        raise DataError(f"{path}: unknown kind of file.{nearest(path.suffix, SUFFIXES)}")
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder, expected a file.")
        if kind == "parquet":
            return ParquetFile(path, columns)
        if kind == "json" and not _one_object_a_line(path):
            return JsonFile(path)
        return TextFile(path, "jsonl" if kind == "json" else kind, columns)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None


@final
class ParquetFile:
    """A Parquet file, read batch by batch."""

    def __init__(self, path: Path, columns: Sequence[str] = ()) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        with path.open("rb"):  # so that a missing file is told as one
            pass
        try:
            with pq.ParquetFile(path) as file:
                names = tuple(file.schema_arrow.names)
                meta = file.metadata
                self._group_rows = [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: not a readable Parquet file ({_first_line(error)}).") from None
        check_columns(path, names, columns)
        self.columns = tuple(columns) or names

    def __len__(self) -> int:
        return sum(self._group_rows)

    def read(self, start: int, stop: int, *, on_bad: OnBad | None = None) -> Iterator[tuple[int, str, Row]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path := self.path) as file:
                first = 0
                for group, num_rows in enumerate(self._group_rows):
                    if first < stop and first + num_rows > start:
                        at = first
                        for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(self.columns)):
                            low, high = max(start - at, 0), min(stop - at, batch.num_rows)
                            if low < high:
                                rows = batch.slice(low, high - low).to_pylist()
                                yield from ((at + low + n, "", row) for n, row in enumerate(rows))
                            at += batch.num_rows
                            if at >= stop:
                                break
                    first += num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: damaged Parquet data ({_first_line(error)}).") from None


@final
class JsonFile:
    """A JSON file read whole: a list of objects, or the official SQuAD form (data → paragraphs → qas)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: tuple[str, ...] = ()
        value = read_json(path)
        if isinstance(value, dict) and isinstance(value.get("data"), list):
            value = value["data"]
            if value and isinstance(value[0], dict) and "paragraphs" in value[0]:
                value = list(_squad_rows(path, value))
        if not isinstance(value, list):
            raise DataError(f"{path}: got {type(value).__name__}, expected a list of objects or SQuAD's own form.")
        self._rows = value

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, start: int, stop: int, *, on_bad: OnBad | None = None) -> Iterator[tuple[int, str, Row]]:
        for index, row in enumerate(self._rows[start:stop], start):
            if isinstance(row, dict):
                yield index, "", row
                continue
            error = DataError(f"{self.path}: entry {index} is a {type(row).__name__}, expected an object {{…}}.")
            if on_bad is None:
                raise error
            on_bad(error)


def read_json(path: Path) -> Any:
    """The value in a JSON file. **Errors**: DataError with the line, also where a key stands twice in one object."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise DataError(f"{path}: '{twice}' stands twice in one object, expected once.")
        return table

    try:
        with opened(path) as file:
            raw = file.read().removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=once)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8. Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg}, column {error.colno}).") from None
    except RecursionError:
        raise DataError(f"{path}: nested too deeply.") from None


def _squad_rows(path: Path, articles: list[Any]) -> Iterator[Row]:
    number = 0
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    answers = question.get("answers", [])
                    yield {
                        "id": question["id"],
                        "title": article.get("title", ""),
                        "context": paragraph["context"],
                        "question": question["question"],
                        "answers": {
                            "text": [answer["text"] for answer in answers],
                            "answer_start": [answer["answer_start"] for answer in answers],
                        },
                    }
                    number += 1
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: question {number} lacks {error}, expected SQuAD's form (data, paragraphs, qas)."
        ) from None


def _one_object_a_line(path: Path) -> bool:
    """Whether a file named .json holds JSON Lines: its first line is an object by itself."""
    with opened(path) as file:
        first = file.readline(MAX_LINE_BYTES).removeprefix(b"\xef\xbb\xbf").strip()
    if not first.startswith(b"{"):
        return False
    try:
        return "data" not in json.loads(first)
    except ValueError:
        return False


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
