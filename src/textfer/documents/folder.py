"""The files of a folder that can be read, and the reasons why others are not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from textfer.documents.read import READERS
from textfer.errors import DataError

MAX_DEPTH = 64
"""Folders in folders."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of a folder."""

    path: str
    """From the folder on, with `/`."""
    size: int = 0
    changed: int = 0
    """The time of its last change, in ns."""
    reason: str | None = None
    """Why it is not read; None = it can be tried."""


def walk(folder: Path) -> Iterator[Found]:
    """Every file below a folder in the order of names, read or not; hidden files and folders are passed over.

    Links to folders are not followed, so that no loop can be walked; links to files are, where they stay inside.
    **Errors**: DataError where it is no folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: {'is a file, expected a folder' if folder.exists() else 'no such folder'}.")
    yield from _walk(folder, folder.resolve(), "", 0)


def _walk(folder: Path, root: Path, inside: str, depth: int) -> Iterator[Found]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        yield Found(inside or ".", reason=f"the folder cannot be read ({error.strerror})")
        return
    for entry in entries:
        name = f"{inside}/{entry.name}" if inside else entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if depth + 1 < MAX_DEPTH:
                yield from _walk(Path(entry.path), root, name, depth + 1)
            else:
                yield Found(name, reason=f"more than {MAX_DEPTH} folders deep")
        else:
            yield _judged(entry, root, name)


def _judged(entry: os.DirEntry[str], root: Path, name: str) -> Found:
    if not name.isprintable() or any("\ud800" <= char <= "\udfff" for char in name):
        return Found(ascii(name)[1:-1], reason="its name holds what cannot be shown. Rename it")
    try:
        if entry.is_symlink():
            target = Path(entry.path).resolve(strict=True)
            if target.is_dir():
                return Found(name, reason="a link to a folder, which is not followed")
            if not target.is_relative_to(root):
                return Found(name, reason="a link that leads out of the folder")
        found = entry.stat()
    except (OSError, RuntimeError) as error:  # a link in a circle is a RuntimeError in older Pythons
        return Found(name, reason=f"cannot be reached ({getattr(error, 'strerror', None) or 'a circle of links'})")
    if not stat.S_ISREG(found.st_mode):
        return Found(name, reason="no regular file")
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in READERS:
        return Found(name, found.st_size, found.st_mtime_ns, f"unknown kind '{suffix}'" if suffix else "unknown kind")
    return Found(name, found.st_size, found.st_mtime_ns)
