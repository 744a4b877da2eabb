"""A folder's passages in one SQLite file, found by their words (FTS5, BM25).

Every file of the folder is one transaction, so a run that is stopped anywhere leaves an index that is whole for what
it holds, and the next run goes on. Readers see the state before or after a file, never half of one.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, final

from textfer.data.digest import FRESH_SECONDS, cache_dir
from textfer.documents.database import connect, told_plainly
from textfer.documents.document import Document, Place, Unit
from textfer.documents.folder import Found, walk
from textfer.documents.passages import Passage, passages
from textfer.documents.query import match_expression, spaced, unspaced
from textfer.documents.read import parse, read_bytes
from textfer.errors import ConfigError, DataError, MachineError

HIT = "d.path, d.title, w.text, p.start, p.end, d.unit, p.marks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A passage that holds words of the question."""

    path: str
    """Of its file, from the folder on."""
    title: str
    text: str
    start: int
    """Where the passage begins in the document's text, in characters."""
    end: int
    unit: Unit
    marks: tuple[tuple[int, int], ...]
    """(offset in the passage, number) of the pages or lines it stands on."""
    score: float
    """BM25: higher fits better; comparable within one question only."""

    def place(self, start: int = 0, end: int | None = None) -> Place:
        """The pages or lines of `start:end` of the passage."""
        last = max(start, (len(self.text) if end is None else end) - 1)
        numbers = [[number for offset, number in self.marks if offset <= at][-1] for at in (start, last)]
        return Place(self.unit, *numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """What a look at the folder changed in the index."""

    num_new: int = 0
    num_changed: int = 0
    num_unchanged: int = 0
    num_removed: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    """(path, why it was not read)."""
    notes: tuple[tuple[str, str], ...] = ()
    """(path, what to know of it) of files that were read now."""
    seconds: float = 0.0


def index_place(folder: Path) -> Path:
    """Where the index of a folder lies when nobody says where: in the cache folder, by the folder's real path."""
    real = folder.resolve()
    name = "".join(char if char.isalnum() and char.isascii() else "-" for char in real.name)[:40]
    return cache_dir() / "indexes" / f"{name}-{hashlib.sha256(str(real).encode(errors='replace')).hexdigest()[:16]}.db"


@final
class Index:
    """An open index. Use it in a `with` statement."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def __enter__(self) -> Index:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._connection.close()

    @property
    def num_passages(self) -> int:
        """Passages that it holds."""
        return int(self._rows("SELECT count(*) FROM passages")[0][0])

    @property
    def num_documents(self) -> int:
        """Files that it holds passages of."""
        return int(self._rows("SELECT count(*) FROM documents WHERE reason IS NULL")[0][0])

    def skipped(self) -> list[tuple[str, str]]:
        """(path, why) of files that were tried and could not be read."""
        return [
            (str(path), str(why))
            for path, why in self._rows("SELECT path, reason FROM documents WHERE reason IS NOT NULL ORDER BY path")
        ]

    def search(self, question: str, *, count: int = 10) -> list[Hit]:
        """The passages that fit the words best, best first; none where no word is found."""
        expression = match_expression(question)
        if expression is None:
            return []
        rows = self._rows(
            f"SELECT {HIT}, -w.rank FROM"
            " (SELECT rowid, text, rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?) w"
            " JOIN passages p ON p.id = w.rowid JOIN documents d ON d.id = p.document ORDER BY w.rank, p.id",
            (expression, count),
        )
        return _hits(rows)

    def everything(self) -> list[Hit]:
        """All passages, document by document as they were put in, each with the score 0."""
        return _hits(
            self._rows(
                f"SELECT {HIT}, 0.0 FROM passages p JOIN words w ON w.rowid = p.id"
                " JOIN documents d ON d.id = p.document ORDER BY d.id, p.id"
            )
        )

    def refresh(self, folder: Path, *, watch: Callable[[str], None] | None = None) -> Refreshed:
        """Reads what is new or changed in the folder and forgets what is gone. `watch` hears of every file read.

        A file of the same size and time of change is not opened; one of the same bytes is not read anew.
        **Errors**: ConfigError where the index is of another folder; DataError where it is damaged or there is no
        folder; MachineError where another process keeps it locked.
        """
        began = time.monotonic()
        self._claim(folder)
        rows = self._rows("SELECT path, size, changed, digest, seen, reason FROM documents")
        known = {path: (size, changed, digest, seen, reason) for path, size, changed, digest, seen, reason in rows}
        counts = dict.fromkeys(("new", "changed", "unchanged"), 0)
        skipped: list[tuple[str, str]] = []
        notes: list[tuple[str, str]] = []
        there = set()
        for found in walk(folder):
            if found.reason:
                skipped.append((found.path, found.reason))
                continue
            there.add(found.path)
            size, changed, digest, seen, reason = known.get(found.path, (-1, 0, b"", 0.0, None))
            if (size, changed) == (found.size, found.changed) and seen - changed / 1e9 > FRESH_SECONDS:
                counts["unchanged"] += reason is None
            else:
                what, reason, told = self._take(folder, found, digest, reason)
                if reason is None:
                    counts[what if found.path in known or what == "unchanged" else "new"] += 1
                    notes += [(found.path, note) for note in told]
                if watch is not None:
                    watch(found.path)
            if reason is not None:
                skipped.append((found.path, reason))
        gone = sorted(known.keys() - there)
        for path in gone:
            with self._writing():
                self._forget(path)
        return Refreshed(
            num_new=counts["new"],
            num_changed=counts["changed"],
            num_unchanged=counts["unchanged"],
            num_removed=len(gone),
            skipped=tuple(skipped),
            notes=tuple(notes),
            seconds=time.monotonic() - began,
        )

    def add(
        self,
        document: Document,
        *,
        cut: Sequence[Passage] | None = None,
        key: tuple[int, int, bytes] = (0, 0, b""),
    ) -> None:
        """Puts a document in, for the one of the same path. `key`: size, time of change and digest of its file.

        `cut`: its passages; None = `passages` with its defaults.
        """
        cut = passages(document.text) if cut is None else cut
        with self._writing():
            self._forget(document.path)
            self._note(document.path, key, document=document)
            row = self._connection.execute("SELECT id FROM documents WHERE path = ?", (document.path,)).fetchone()
            for start, end in cut:
                marks = json.dumps(document.marks(start, end), separators=(",", ":"))
                at = self._connection.execute(
                    "INSERT INTO passages (document, start, end, marks) VALUES (?, ?, ?, ?)",
                    (row[0], start, end, marks),
                ).lastrowid
                self._connection.execute(
                    "INSERT INTO words (rowid, title, text) VALUES (?, ?, ?)",
                    (at, spaced(document.title), spaced(document.text[start:end])),
                )

    def _take(
        self, folder: Path, found: Found, digest: bytes, reason: str | None
    ) -> tuple[str, str | None, tuple[str, ...]]:
        """Reads a file that may have changed: ("changed" or "unchanged", why it could not be read, notes)."""
        key = (found.size, found.changed, b"")
        try:
            data = read_bytes(folder / found.path, name=found.path)
            key = (found.size, found.changed, hashlib.sha256(data).digest())
            if key[2] == digest:
                with self._writing():
                    self._connection.execute(
                        "UPDATE documents SET size = ?, changed = ?, seen = ? WHERE path = ?",
                        (*key[:2], time.time(), found.path),
                    )
                return "unchanged", reason, ()
            document = parse(data, Path(found.path).suffix, name=found.path)
        except (DataError, MachineError, OSError, RecursionError, MemoryError) as error:
            reason = _reason(error, found.path)
            with self._writing():
                self._forget(found.path)
                if isinstance(error, DataError):  # else it may be read next time: an extra installed, rights given
                    self._note(found.path, key, reason=reason)
            return "changed", reason, ()
        self.add(document, key=key)
        return "changed", None, document.notes

    def _claim(self, folder: Path) -> None:
        real = str(folder.resolve())
        rows = self._rows("SELECT value FROM meta WHERE name = 'folder'")
        if not rows:
            with self._writing():
                self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('folder', ?)", (real,))
        elif rows[0][0] != real:
            raise ConfigError(
                f"{self.path}: is the index of {rows[0][0]}, not of {folder}. Give each its own, or --rebuild."
            )

    def _note(
        self, path: str, key: tuple[int, int, bytes], *, document: Document | None = None, reason: str | None = None
    ) -> None:
        told = (document.title, document.unit, json.dumps(document.notes)) if document else ("", "line", "[]")
        self._connection.execute(
            "INSERT INTO documents (path, size, changed, digest, seen, title, unit, notes, reason)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (path, *key, time.time(), *told, reason),
        )

    def _forget(self, path: str) -> None:
        chosen = "(SELECT id FROM documents WHERE path = ?)"
        self._connection.execute(
            f"DELETE FROM words WHERE rowid IN (SELECT id FROM passages WHERE document = {chosen})", (path,)
        )
        self._connection.execute(f"DELETE FROM passages WHERE document = {chosen}", (path,))
        self._connection.execute("DELETE FROM documents WHERE path = ?", (path,))

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with told_plainly(self.path):
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction: all of it, or nothing."""
        with told_plainly(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise


def open_index(path: Path, *, write: bool = False) -> Index:
    """The index of a file; with `write` it is made where there is none. `:memory:` is one that is kept nowhere.

    **Errors**: ConfigError where there is none; DataError where it is damaged, no index or of another version;
    MachineError where this Python's SQLite has no FTS5, or the place cannot be written or is locked.
    """
    return Index(path, connect(path, write=write))


def _hits(rows: Iterable[tuple[Any, ...]]) -> list[Hit]:
    return [
        Hit(
            path=path,
            title=title,
            text=unspaced(text),
            start=start,
            end=end,
            unit=unit,
            marks=tuple((offset, number) for offset, number in json.loads(marks)),
            score=score,
        )
        for path, title, text, start, end, unit, marks, score in rows
    ]


def _reason(error: Exception, path: str) -> str:
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    line = " ".join(str(error).split()) if isinstance(error, DataError | MachineError) else type(error).__name__
    return line.removeprefix(f"{path}: ").rstrip(".")
