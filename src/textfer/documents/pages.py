"""PDF, through pypdf (extra `read`)."""

from __future__ import annotations

import io
import logging
import re
import time
from pathlib import PurePath
from typing import TYPE_CHECKING

from textfer.documents.document import MAX_CHARS, Document
from textfer.errors import DataError, MachineError

if TYPE_CHECKING:
    from pypdf import PdfReader

MAX_PAGES = 10_000
MAX_SECONDS = 300.0
"""A file that takes longer is given up between two pages."""
HYPHENATED = re.compile(r"(?<=[^\W\d_])-\n(?=[a-zà-öø-ÿ])")
WRAPPED = re.compile(r"(?<![.!?:;\n])\n(?!\s*(?:[-*•‣–·]|\(?\d{1,3}[.)])\s)(?!\n)")


def read_pdf(data: bytes, path: str) -> Document:
    """The pages that have text. Lines that only the page's width broke are joined, and so are words broken by them.

    **Errors**: DataError where it is encrypted, damaged, or holds pictures only; MachineError without pypdf.
    """
    reader = _opened(data, path)
    num_pages = _count(reader, path)
    text, starts, numbers, failed, silent = "", [], [], 0, 0
    pieces: list[str] = []
    length, began = 0, time.monotonic()
    for number in range(num_pages):
        try:
            text = _joined(reader.pages[number].extract_text())
        except Exception:  # a page may break in any way; the others are still read
            failed += 1
            continue
        if not text:
            silent += 1
            continue
        if pieces:
            pieces.append("\n\n")
            length += 2
        starts.append(length)
        numbers.append(number + 1)
        pieces.append(text)
        length += len(text)
        if length > MAX_CHARS:
            break  # `parse` says so
        if time.monotonic() - began > MAX_SECONDS:
            raise DataError(f"{path}: took longer than {MAX_SECONDS:.0f} s by page {number + 1}. Cut it up.")
    if not numbers:
        why = "cannot be read, it is damaged" if failed else "hold no text, only pictures perhaps. Run OCR on it first"
        raise DataError(f"{path}: its {num_pages} page{'s' * (num_pages > 1)} {why}.")
    notes = [f"{failed} of {num_pages} pages could not be read"] if failed else []
    notes += [f"{silent} of {num_pages} pages hold no text"] if silent else []
    return Document(
        path=path,
        title=_title(reader) or PurePath(path).stem,
        text="".join(pieces),
        unit="page",
        starts=starts,
        numbers=numbers,
        notes=tuple(notes),
    )


def _opened(data: bytes, path: str) -> PdfReader:
    try:
        from pypdf import PdfReader
        from pypdf.errors import DependencyError
    except ImportError:
        raise MachineError(f"{path}: PDF needs the extra 'read'. pip install 'textfer[read]'") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every oddity of a file
    if b"%PDF-" not in data[:1024]:
        raise DataError(f"{path}: is no PDF.")
    try:
        reader = PdfReader(io.BytesIO(data), strict=False)
        locked = reader.is_encrypted and not reader.decrypt("")
    except DependencyError:
        locked = True
    except Exception as error:
        raise _damaged(path, error) from None
    if locked:
        raise DataError(f"{path}: is encrypted. Save it without a password.")
    return reader


def _count(reader: PdfReader, path: str) -> int:
    try:
        count = len(reader.pages)
    except Exception as error:
        raise _damaged(path, error) from None
    if not count:
        raise DataError(f"{path}: has no page.")
    if count > MAX_PAGES:
        raise DataError(f"{path}: has {count:,} pages, expected {MAX_PAGES:,} at most. Cut it up.")
    return count


def _damaged(path: str, error: Exception) -> DataError:
    line = " ".join(str(error).split())[:100] or type(error).__name__
    return DataError(f"{path}: is a damaged PDF ({line}).")


def _joined(text: str) -> str:
    text = "\n".join(line.strip() for line in text.splitlines()).strip()
    return WRAPPED.sub(" ", HYPHENATED.sub("", text))


def _title(reader: PdfReader) -> str:
    try:
        return str((reader.metadata.title if reader.metadata else None) or "").strip()
    except Exception:  # a title is not worth a failure
        return ""
