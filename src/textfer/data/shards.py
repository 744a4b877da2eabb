"""Token tables as files to be carried to another machine, where the rows that they were made of need not be.

DIR/tokens.json                  which tables there are, by what decided them, and the digest of every file
    <table>/targets.bin.000 …    the table's files, cut so that none is larger than `SHARD_BYTES`

A table of the cache is named by the digest of its rows, which only those who have the rows can know. Here it is looked
for by the rest: task, split, vocabulary, which rows are read. It is laid into the cache whole, under the name that it
has there, and so says the same to a run as on the machine where it was made.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from textfer.data.digest import cache_dir
from textfer.data.task import Task
from textfer.data.tokens import FORMAT, RowChoice, TokenTable, is_made
from textfer.errors import CheckpointError, DataError, MachineError
from textfer.tokenizers import Tokenizer

MANIFEST = "tokens.json"
SHARD_BYTES = 48 << 20
VARIABLE = "TEXTFER_TOKENS"


def shards_dir() -> Path | None:
    """`$TEXTFER_TOKENS`, the folder from which tables are taken; None = they are made of rows."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def shard_key(task: Task, split: str, tokenizer: Tokenizer, choice: RowChoice) -> str:
    """What decides a table, its rows apart."""
    said = [FORMAT, task.name, task.version, split, tokenizer.digest, choice.limit, choice.on_bad]
    said += [sorted(choice.without), choice.without_by] if choice.without else []
    return sha256(json.dumps(said).encode()).hexdigest()


def write_shards(tables: Iterable[tuple[str, TokenTable]], out: Path, *, shard_bytes: int = SHARD_BYTES) -> int:
    """Writes (key, table) pairs into `out`; returns the bytes of all files.

    Errors: MachineError where the disk is full.
    """
    records: dict[str, Any] = {}
    size = 0
    try:
        for key, table in tables:
            files = {
                path.name: list(_cut(path, out / table.path.name, shard_bytes)) for path in sorted(table.path.iterdir())
            }
            size += sum(part["bytes"] for parts in files.values() for part in parts)
            records[key] = {"name": table.name, "folder": table.path.name, "files": files}
        out.mkdir(parents=True, exist_ok=True)
        (out / MANIFEST).write_text(json.dumps({"format": FORMAT, "tables": records}, indent=1), encoding="utf-8")
    except OSError as error:
        raise MachineError(
            f"{out}: cannot be written ({error.strerror or error}). Make room, or name another."
        ) from None
    return size


def _cut(path: Path, out: Path, shard_bytes: int) -> Iterable[dict[str, Any]]:
    out.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as file:
        for number, piece in enumerate(iter(lambda: file.read(shard_bytes), b"")):
            name = f"{path.name}.{number:03d}"
            (out / name).write_bytes(piece)
            yield {"name": name, "bytes": len(piece), "sha256": sha256(piece).hexdigest()}


def install_table(folder: Path, task: Task, split: str, tokenizer: Tokenizer, choice: RowChoice) -> Path:
    """The whole table in the cache, put together from `folder` unless it is there already.

    Errors: DataError where the folder has no such table; CheckpointError where a file is missing or damaged.
    """
    record = _manifest(folder)["tables"].get(shard_key(task, split, tokenizer, choice))
    if record is None:
        raise DataError(
            f"{folder}: has no tokens of {task.name}/{split} in this vocabulary and of these rows (data.limit, "
            "data.without). Prepare the recipe anew, or train without --tokens."
        )
    path = cache_dir() / "tokens" / str(record["folder"])
    if is_made(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".making-", dir=path.parent))
        try:
            for name, parts in record["files"].items():
                with (work / name).open("wb") as file:
                    for part in parts:
                        file.write(_piece(folder / str(record["folder"]) / part["name"], part["sha256"]))
            if not is_made(path):
                work.rename(path)
        except OSError:
            if not is_made(path):  # else another process was faster
                raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise MachineError(
            f"{path}: cannot be written ({error.strerror or error}). Make room, or set TEXTFER_CACHE."
        ) from None
    return path


def _piece(path: Path, digest: str) -> bytes:
    try:
        piece = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing. Copy the folder again.") from None
    if sha256(piece).hexdigest() != digest:
        raise CheckpointError(f"{path}: damaged (its digest is not that of {MANIFEST}). Copy it again.")
    return piece


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}). Make the folder with `textfer prepare RECIPE --out`."
        ) from None
    if found.get("format") != FORMAT:
        raise DataError(f"{path}: is of format {found.get('format')}, expected {FORMAT}. Prepare the recipe anew.")
    return found
