"""Reads a file of any known kind. Nothing in a file is executed, and nothing that it names is fetched."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from textfer.documents.document import MAX_CHARS, MAX_FILE_MIB, Document
from textfer.documents.pages import read_pdf
from textfer.documents.plain import REPLACED, read_markdown, read_plain
from textfer.documents.webpage import read_html
from textfer.documents.word import read_docx
from textfer.errors import DataError

MIB = 1 << 20
MAX_TITLE = 300
NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters and half surrogate pairs. The index has a use of its own for one of them."""

Reader = Callable[[bytes, str], Document]
"""(bytes of the file, its path as it is to be told) → what it says."""
READERS: dict[str, Reader] = {
    **dict.fromkeys((".txt", ".text", ".rst", ".org", ".adoc"), read_plain),
    **dict.fromkeys((".md", ".markdown"), read_markdown),
    **dict.fromkeys((".html", ".htm", ".xhtml"), read_html),
    ".pdf": read_pdf,
    ".docx": read_docx,
}
"""By suffix, in small letters."""


def read_document(path: Path, *, name: str | None = None) -> Document:
    """What a file says; `name` is how it is called in the document and in messages. Unknown suffixes are plain text.

    **Errors**: DataError where it is missing, no file, too large, empty, binary, damaged, encrypted or without text;
    MachineError where the kind needs an extra that is not installed, or the system does not let it be read.
    """
    return parse(read_bytes(path, name=name), path.suffix, name=name or str(path))


def read_bytes(path: Path, *, name: str | None = None) -> bytes:
    """The bytes of a regular file. **Errors**: DataError where it is none, missing, empty or too large."""
    told = name or str(path)
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{told}: no such file.") from None
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise DataError(f"{told}: is {what}, expected a file.")
    if not found.st_size:
        raise DataError(f"{told}: empty, expected text.")
    if found.st_size > MAX_FILE_MIB * MIB:
        raise DataError(
            f"{told}: has {found.st_size / MIB:,.0f} MiB, expected {MAX_FILE_MIB} at most. Cut it into several files."
        )
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        return file.read(MAX_FILE_MIB * MIB)


def parse(data: bytes, suffix: str, *, name: str) -> Document:
    """What the bytes of a file say. Errors as of `read_document`."""
    document = READERS.get(suffix.lower(), read_plain)(data, name)
    if len(document.text) > MAX_CHARS:
        raise DataError(
            f"{name}: has {len(document.text):,} characters, expected {MAX_CHARS:,} at most. Cut it into several files."
        )
    if not document.text.strip():
        raise DataError(f"{name}: no text in it.")
    title = " ".join(NO_TEXT.sub(" ", document.title).split())
    return replace(document, text=NO_TEXT.sub(REPLACED, document.text), title=title[:MAX_TITLE])  # places stay
