"""DOCX, through python-docx (extra `read`)."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from textfer.documents.document import Document
from textfer.errors import DataError, MachineError

if TYPE_CHECKING:
    from docx.table import Table

MAX_UNPACKED_MIB = 256
MAX_ENTRIES = 10_000
MAX_XML_MIB = 64
"""Of one part: a tree in memory takes several times as much."""
MAX_DEPTH = 20
"""Tables in tables."""
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How old Word files begin, and encrypted new ones."""


def read_docx(data: bytes, path: str) -> Document:
    """Paragraphs and tables in the file's order, each row of a table as a paragraph; numbers count what has text.

    **Errors**: DataError where it is encrypted, damaged, unpacks to too much or has no text; MachineError without
    python-docx.
    """
    if data.startswith(OLE):
        raise DataError(f"{path}: is encrypted, or of a Word before 2007. Save it as .docx without a password.")
    _check_size(data, path)
    try:
        import docx
        from docx.table import Table
    except ImportError:
        raise MachineError(f"{path}: DOCX needs the extra 'read'. pip install 'textfer[read]'") from None
    try:
        found = docx.Document(io.BytesIO(data))
        parts: list[str] = []
        for block in found.iter_inner_content():
            parts += _rows(block) if isinstance(block, Table) else [block.text]
        title = str(found.core_properties.title or "")
    except Exception as error:
        line = " ".join(str(error).split())[:100] or type(error).__name__
        raise DataError(f"{path}: is a damaged DOCX ({line}).") from None
    parts = [part for part in (part.strip() for part in parts) if part]
    if not parts:
        raise DataError(f"{path}: no text in it.")
    starts, length = [], 0
    for part in parts:
        starts.append(length)
        length += len(part) + 2
    return Document(
        path=path,
        title=title.strip() or PurePath(path).stem,
        text="\n\n".join(parts),
        unit="paragraph",
        starts=starts,
        numbers=range(1, len(parts) + 1),
    )


def _check_size(data: bytes, path: str) -> None:
    """Refuses what would unpack to too much, by the sizes that are written in it: unpacking never goes beyond them."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError) as error:
        raise DataError(f"{path}: is no DOCX ({error}).") from None
    if len(entries) > MAX_ENTRIES:
        raise DataError(f"{path}: holds {len(entries):,} parts, expected {MAX_ENTRIES:,} at most. Is it a zip bomb?")
    unpacked = sum(entry.file_size for entry in entries)
    largest = max((entry.file_size for entry in entries if _is_xml(entry.filename)), default=0)
    for size, limit in ((largest, MAX_XML_MIB), (unpacked, MAX_UNPACKED_MIB)):
        if size > limit << 20:
            what = "a part of " if limit == MAX_XML_MIB else ""
            raise DataError(
                f"{path}: has {what}{size / (1 << 20):,.0f} MiB when unpacked, expected {limit} at most. "
                "Is it a zip bomb?"
            )
    if any(entry.flag_bits & 1 for entry in entries):
        raise DataError(f"{path}: is encrypted. Save it without a password.")


def _is_xml(name: str) -> bool:
    return name.lower().endswith((".xml", ".rels"))


def _rows(table: Table, depth: int = 0) -> Iterator[str]:
    for row in table.rows:
        cells: list[Any] = []
        for cell in row.cells:
            if not any(cell._tc is other._tc for other in cells):  # merged cells come once for each column
                cells.append(cell)
        yield " | ".join(" ".join(cell.text.split()) for cell in cells)
        if depth < MAX_DEPTH:
            for cell in cells:
                for inner in cell.tables:
                    yield from _rows(inner, depth + 1)
