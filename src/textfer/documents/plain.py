"""Plain text and Markdown."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePath

from textfer.documents.document import Document, lines_of
from textfer.errors import DataError

BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
REPLACED = "\N{REPLACEMENT CHARACTER}"
MAX_REPLACED = 0.02
"""The share of characters that may be replaced; beyond it the file is not in that encoding."""
JUNK = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", re.M)
UNDERLINED = re.compile(r"^ {0,3}(\S.*?)[ \t]*\n {0,3}=+[ \t]*$", re.M)
TITLE_WITHIN = 4096
"""Characters in which a Markdown title is looked for."""


def read_plain(data: bytes, path: str) -> Document:
    """A text file; its title is its name."""
    return _lines(data, path, title=PurePath(path).stem)


def read_markdown(data: bytes, path: str) -> Document:
    """The file as it is written, marks and all; its title is its first heading."""
    document = _lines(data, path, title="")
    head = document.text[:TITLE_WITHIN]
    found = [match for pattern in (HEADING, UNDERLINED) if (match := pattern.search(head))]
    title = min(found, key=re.Match.start)[1] if found else PurePath(path).stem
    return Document(
        path=path,
        title=title,
        text=document.text,
        unit="line",
        starts=document.starts,
        numbers=document.numbers,
        notes=document.notes,
    )


def decoded(data: bytes, path: str, *, encoding: str | None = None) -> tuple[str, tuple[str, ...]]:
    """(the text with `\\n` as its only line end, notes). A byte order mark says the encoding, else it is UTF-8.

    Bytes that are none of the encoding become U+FFFD, are counted and told in a note.
    **Errors**: DataError where they are many, or the bytes are no text at all.
    """
    mark = next(((mark, name) for mark, name in BOMS if data.startswith(mark)), None)
    named = mark[1] if mark else encoding or "utf-8"
    body = data[len(mark[0]) :] if mark else data
    text = body.decode(named, errors="replace")
    if len(JUNK.findall(text[:100_000])) > max(1, len(text[:100_000]) // 1000) or "\0" in text[:100_000]:
        raise DataError(f"{path}: is binary, expected text.")
    count = text.count(REPLACED) - body.count(REPLACED.encode(named)) if REPLACED in text else 0
    if count > MAX_REPLACED * len(text) and count > 3:
        raise DataError(f"{path}: is not {named.upper()} ({count:,} bytes of it are not). Save it as UTF-8.")
    notes = (f"{count:,} byte{'s' * (count > 1)} not {named.upper()}, shown as {REPLACED}",) if count > 0 else ()
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _lines(data: bytes, path: str, *, title: str) -> Document:
    text, notes = decoded(data, path)
    starts, numbers = lines_of(text)
    return Document(path=path, title=title, text=text, unit="line", starts=starts, numbers=numbers, notes=notes)
