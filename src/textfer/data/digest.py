"""What a file holds, as a fingerprint: the key under which everything made of it is kept."""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import suppress
from hashlib import file_digest as hash_file
from hashlib import sha256
from pathlib import Path

from textfer.errors import DataError

FRESH_SECONDS = 2.0
"""A file changed this lately could change again without its time showing it, so its digest is not kept."""


def cache_dir() -> Path:
    """`$TEXTFER_CACHE`, or the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TEXTFER_CACHE") or Path(base) / "textfer")


def file_digest(path: Path) -> str:
    """sha256 (hex) of the bytes of `path`.

    Kept in the cache folder under (real path, size, time of change in ns), so that large corpora are hashed once.
    """
    try:
        real = path.resolve()
        before = real.stat()
        note = cache_dir() / "digests" / sha256(str(real).encode()).hexdigest()[:32]
        key = [before.st_size, before.st_mtime_ns]
        with suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(note.read_text())
            if kept["key"] == key:
                return str(kept["sha256"])
        with real.open("rb") as file:
            digest = hash_file(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None
    if time.time() - before.st_mtime > FRESH_SECONDS:
        _keep(note, json.dumps({"key": key, "sha256": digest}))
    return digest


def _keep(path: Path, text: str) -> None:
    with suppress(OSError):  # a cache that cannot be written only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
