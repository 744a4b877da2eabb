"""HTML: the text a person would see, with the lines of the file. Python's own parser; scripts are passed over."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import PurePath
from typing import final

from textfer.documents.document import Document
from textfer.documents.plain import decoded
from textfer.errors import DataError

MAX_HTML_MIB = 32
"""Larger pages are refused: a parser in Python needs about a second for every 10 MiB."""
UNSEEN = {"script", "style", "template", "noscript", "svg", "math", "iframe", "object", "head"}
IN_HEAD = {"base", "link", "meta", "noscript", "script", "style", "template", "title"}
PARAGRAPHS = {
    *("p", "div", "section", "article", "main", "header", "footer", "nav", "aside", "blockquote", "pre", "figure"),
    *("table", "ul", "ol", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "title", "body", "form", "hr", "figcaption"),
}
LINES = {"br", "li", "tr", "dt", "dd", "option", "caption"}
CELLS = {"td", "th"}
CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w-]{1,40})", re.I)
ENCODINGS = re.compile(
    r"(utf-?8|us-ascii|iso-?8859-?\d{1,2}|latin-?1|windows-125\d|koi8-[ru]|gbk|gb2312|gb18030|big5)$"
)
MAX_REST = 10_000
"""Characters at a page's end inside a tag or comment that never closes; of more the parser would take for ever."""
ENCODINGS_EAST = re.compile(r"(shift[_-]jis|euc-(jp|kr)|iso-2022-jp)$")
SPACE = re.compile(r"[ \t\n\r\f]+")


@final
class _Seen(HTMLParser):
    """Gathers what is seen, and the file's line of each piece."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.starts: list[int] = []
        self.numbers: list[int] = []
        self.title = ""
        self.heading = ""
        self._length = 0
        self._hidden: list[str] = []
        self._counts: Counter[str] = Counter()
        """Of the hidden tags, so that closing one that was never opened costs nothing."""
        self._inside = ""
        self._pre = 0
        self._gap = ""
        """White space that comes before the next word."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._widen(tag)
        if self._hidden == ["head"] and tag not in IN_HEAD:
            self._leave("head")  # it was never closed
        if tag in UNSEEN:
            self._hidden.append(tag)
            self._counts[tag] += 1
        if tag in ("title", "h1"):
            self._inside = tag
        self._pre += tag == "pre"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._widen(tag)

    def handle_endtag(self, tag: str) -> None:
        self._widen(tag)
        if self._counts[tag]:
            self._leave(tag)
        if tag == self._inside:
            self._inside = ""
        self._pre = max(0, self._pre - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if self._inside == "title" and not self.title.endswith("\0"):
            self.title += data
        if self._hidden or self._inside == "title":
            return
        if self._inside == "h1" and len(self.heading) < 300:
            self.heading += data
        number = self.getpos()[0]
        for count, line in enumerate(data.split("\n")):
            if count:
                self._gap = self._gap or ("\n" if self._pre else " ")
            self._put(line, number + count)

    def _leave(self, tag: str) -> None:
        """Ends the innermost hidden part of that name, and all inside it."""
        last = ""
        while last != tag:
            last = self._hidden.pop()
            self._counts[last] -= 1

    def _put(self, line: str, number: int) -> None:
        words = line if self._pre else SPACE.sub(" ", line)
        if not words.strip():
            self._gap = self._gap or (" " if words else "")
            return
        if words[0] == " " and not self._pre:
            self._gap = self._gap or " "
        body = words.rstrip() if self._pre else words.strip()
        if self._length and self._gap:
            self._add(self._gap)
        if not self.numbers or self.numbers[-1] != number:
            self.starts.append(self._length)
            self.numbers.append(number)
        self._add(body)
        self._gap = " " if words[-1].isspace() else ""

    def _add(self, text: str) -> None:
        self.pieces.append(text)
        self._length += len(text)

    def _widen(self, tag: str) -> None:
        if tag in PARAGRAPHS:
            self._gap = "\n\n"
        elif tag in LINES:
            self._gap = self._gap if self._gap == "\n\n" else "\n"
        elif tag in CELLS:
            self._gap = self._gap or " "


def read_html(data: bytes, path: str) -> Document:
    """The text that is seen; the title is that of the page, else its first heading, else the file's name."""
    if len(data) > MAX_HTML_MIB << 20:
        raise DataError(f"{path}: has {len(data) >> 20} MiB, expected {MAX_HTML_MIB} of HTML at most. Cut it up.")
    text, notes = decoded(data, path, encoding=_said(data))
    seen = _Seen()
    seen.feed(text)
    if (rest := len(seen.rawdata)) > MAX_REST and seen.rawdata[
        0
    ] == "<":  # what comes after it is not seen in a browser either
        notes = (*notes, f"its last {rest:,} characters stand in a tag or comment that never ends")
    else:
        seen.close()
    if not seen.numbers:
        raise DataError(f"{path}: no text in it.")
    return Document(
        path=path,
        title=seen.title.strip() or seen.heading.strip() or PurePath(path).stem,
        text="".join(seen.pieces),
        unit="line",
        starts=seen.starts,
        numbers=seen.numbers,
        notes=notes,
    )


def _said(data: bytes) -> str | None:
    """The encoding that the page names, if it is one that pages have."""
    found = CHARSET.search(data[:2048])
    name = found[1].decode().lower() if found else ""
    return name if ENCODINGS.match(name) or ENCODINGS_EAST.match(name) else None
