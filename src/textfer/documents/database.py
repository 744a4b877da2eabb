"""The SQLite file of an index: its tables, how it is opened, and SQLite's errors in one line."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textfer.data.digest import cache_dir
from textfer.errors import ConfigError, DataError, MachineError

APPLICATION_ID = 0x54786672
"""Bytes 68 to 71 of the file: `Txfr`."""
VERSION = 1
MAGIC = b"SQLite format 3\0"
TITLE_WEIGHT = 1.0
"""How much more a word counts in the title than in the text."""
TOKENIZE = "porter unicode61 remove_diacritics 2"
WAIT_SECONDS = 10.0
"""For another process that writes."""
SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
  id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, changed INTEGER NOT NULL,
  digest BLOB NOT NULL, seen REAL NOT NULL, title TEXT NOT NULL, unit TEXT NOT NULL, notes TEXT NOT NULL, reason TEXT
);
CREATE TABLE passages (
  id INTEGER PRIMARY KEY, document INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, marks TEXT NOT NULL
);
CREATE INDEX passages_of ON passages (document);
CREATE VIRTUAL TABLE words USING fts5 (title, text, tokenize = '{TOKENIZE}');
INSERT INTO words (words, rank) VALUES ('rank', 'bm25({TITLE_WEIGHT}, 1.0)');
"""


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """The tables of a file; with `write` they are made where there are none. `:memory:` is kept nowhere.

    **Errors**: ConfigError where there is none; DataError where it is damaged, no index or of another version;
    MachineError where this Python's SQLite has no FTS5, or the place cannot be written or is locked.
    """
    in_memory = str(path) == ":memory:"
    if not in_memory:
        _check_file(path, write=write)
    with told_plainly(path):
        connection = sqlite3.connect(
            ":memory:" if in_memory else f"{path.resolve().as_uri()}?mode={'rwc' if write else 'ro'}",
            timeout=WAIT_SECONDS,
            isolation_level=None,
            uri=not in_memory,
        )
        try:
            _check_fts5(connection)
            if write or in_memory:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                _lay(connection)
            _check_version(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def remove_index(path: Path) -> None:
    """Deletes an index, to be made anew. **Errors**: ConfigError where the file is something else."""
    if not path.exists():
        return
    head = path.read_bytes()[:100] if path.is_file() else b"?"
    ours = head[:16] == MAGIC and head[68:72] in (APPLICATION_ID.to_bytes(4, "big"), bytes(4))
    if head and not ours and path.parent != cache_dir() / "indexes":
        raise ConfigError(f"{path}: is no index of textfer and is left alone. Give another place.")
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


@contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """SQLite's errors as one line that says what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        line = str(error)
        if "locked" in line or "busy" in line:
            raise MachineError(f"{path}: is locked by another process. Wait until it is done.") from None
        if isinstance(error, sqlite3.OperationalError) and not ("no such" in line or "malformed" in line):
            raise MachineError(f"{path}: {line}. Check the place, its rights and its room.") from None
        raise DataError(f"{path}: is damaged ({line}). Delete it, or index with --rebuild.") from None


def _check_file(path: Path, *, write: bool) -> None:
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder, expected the file of an index.")
    if not path.exists():
        if not write:
            raise ConfigError(f"{path}: no such index. Make it: textfer index DIR.")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # it will hold what the documents say
        return
    with path.open("rb") as file:
        head = file.read(16)
    if head and head != MAGIC:
        raise DataError(f"{path}: is no index, or damaged. Give another place, or delete it.")


def _check_fts5(connection: sqlite3.Connection) -> None:
    options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    if "ENABLE_FTS5" not in options:
        raise MachineError(
            f"SQLite {sqlite3.sqlite_version} of this Python was built without full-text search (FTS5). "
            "Take a Python with it."
        )


def _lay(connection: sqlite3.Connection) -> None:
    """Makes the tables of a new file, all at once."""
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:  # nobody was faster
            for statement in SCHEMA.split(";\n"):
                connection.execute(statement)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if owner != APPLICATION_ID:
        if not owner and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise ConfigError(f"{path}: an empty index. Make it: textfer index DIR.")
        raise DataError(f"{path}: is a database, but no index of textfer. Give another place.")
    if version != VERSION:
        raise DataError(f"{path}: has format {version}, expected {VERSION}. Index with --rebuild.")
