"""Files as texts that know their pages and lines; whatever is wrong with a file, one line."""

from __future__ import annotations

import os
import random
import re
import socket
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from papers import docx, pdf, repacked

from textfer.documents import document, folder, pages, read, webpage, word
from textfer.documents.document import Document, Place
from textfer.documents.folder import walk
from textfer.documents.read import READERS, parse, read_document
from textfer.errors import DataError, MachineError

FIRST, SECOND = "The castle of Aldon was built in 1203.", "Maud Hale gave the well to the town."


def place_of(found: Document, part: str) -> str:
    start = found.text.index(part)
    return str(found.place(start, start + len(part)))


# ---- places


def test_places_in_a_text() -> None:
    found = parse(b"one\r\ntwo two\n\nfour\rfive\n", ".txt", name="a/b.txt")
    assert (found.title, found.text) == ("b", "one\ntwo two\n\nfour\nfive\n")
    assert [place_of(found, part) for part in ("one", "two two", "four", "five", "e\ntwo")] == [
        *("line 1", "line 2", "line 4", "line 5", "lines 1–2")
    ]
    assert found.marks(5, 16) == ((0, 2), (7, 3), (8, 4))
    assert found.place(4, 4) == Place("line", 2, 2)
    assert found.notes == ()


def test_marks_agree_with_places_everywhere() -> None:
    found = parse(b"a\nbc\n\nd\nef", ".txt", name="x")
    for start in range(len(found.text)):
        for end in range(start + 1, len(found.text) + 1):
            marks = found.marks(start, end)
            assert marks[0][0] == 0
            assert (marks[0][1], marks[-1][1]) == (found.place(start, end).first, found.place(start, end).last)
            assert all(found.place(start + at, start + at + 1).first == number for at, number in marks)


# ---- kinds


@pytest.mark.parametrize(
    ("text", "title"),
    [("intro\n\n# The *title* #\n", "The *title*"), ("Title\n=====\n# no", "Title"), ("no heading", "name")],
)
def test_markdown(text: str, title: str) -> None:
    found = parse(text.encode(), ".MD", name="name.MD")
    assert (found.title, found.text) == (title, text)


def test_a_page_as_it_is_seen() -> None:
    page = f"""<!doctype html><html><head><title> A &amp; B
      </title><style>p {{ color: red }}</style><script>alert("<p>no</p>")</script></head>
<body><h1>Hea<b>ding</b></h1><p>{FIRST}<p>Maud
   Hale <i>gave</i> the&nbsp;well.<br>Then<ul><li>one<li>two</ul>
<table><tr><td>a</td><td>b</td></tr></table><pre>x
  y</pre><template>no</template><noscript>no</noscript></body></html>"""
    found = parse(page.encode(), ".html", name="p.html")
    assert found.title == "A & B"
    assert found.text == (
        f"Heading\n\n{FIRST}\n\nMaud Hale gave the\N{NO-BREAK SPACE}well.\nThen\n\none\ntwo\n\na b\n\nx\n  y"
    )
    lines = page.split("\n")
    for part in ("Heading", FIRST, "Maud", "gave", "Then", "one", "a b", "x", "y"):
        assert found.text.index(part) >= 0
        number = found.place(found.text.index(part), found.text.index(part) + 1).first
        assert part.split()[0][:3] in lines[number - 1], part


def test_a_page_that_is_badly_made() -> None:
    found = parse(b"<head><p>x</b></i>yes<script>never closed </p> no", ".htm", name="p.htm")
    assert (found.title, found.text) == ("p", "xyes")


@pytest.mark.parametrize(
    "part",
    ["<a ", "<a b='", '<a x="', "<!", "<!--", "<?", "</", "<svg></style>", "<script></s", "<![CDATA[", "<p>x", "&"],
)
def test_pages_made_to_keep_a_parser_busy(part: str) -> None:
    """Each of these took time by the square of its length, hours for what may be read."""
    began = time.process_time()
    found = parse(b"<p>before<p>" + part.encode() * 60_000, ".html", name="p")
    assert found.text.startswith("before")
    assert time.process_time() - began < 5
    if part in ("<a ", "<!--"):
        assert found.notes == (f"its last {60_000 * len(part):,} characters stand in a tag or comment that never ends",)
    if part == "&":
        assert len(found.text) == len("before\n\n") + 60_000


def test_a_page_says_its_encoding() -> None:
    page = '<meta charset="windows-1252"><p>caf\xe9'.encode("latin-1")
    assert parse(page, ".html", name="p").text == "café"
    for name in (b"rot13", b"zlib", b"unicode_escape", b"nonsense"):
        assert parse(b"<meta charset=%s><p>caf\xc3\xa9" % name, ".html", name="p").text == "café"


def test_pdf() -> None:
    found = parse(pdf([FIRST, "", f"{SECOND}\nThe mar-\nket is\nold."], title="On Aldon"), ".pdf", name="a.pdf")
    assert found.title == "On Aldon"
    assert found.text == f"{FIRST}\n\n{SECOND}\nThe market is old."
    assert [place_of(found, part) for part in (FIRST, "market", "1203.\n\nMaud")] == ["page 1", "page 3", "pages 1–3"]
    assert found.notes == ("1 of 3 pages hold no text",)


def test_pdf_that_only_its_owner_may_change_is_read() -> None:
    assert parse(pdf([FIRST], password=""), ".pdf", name="a.pdf").text == FIRST


def test_docx() -> None:
    data = docx([FIRST, "  ", SECOND], rows=[["year", "owner"], ["1203", "Hale"]], title="On Aldon")
    found = parse(data, ".docx", name="a.docx")
    assert found.title == "On Aldon"
    assert found.text == f"{FIRST}\n\n{SECOND}\n\nyear | owner\n\n1203 | Hale"
    assert [place_of(found, part) for part in ("Maud", "owner", "1203 |")] == [
        *("paragraph 2", "paragraph 3", "paragraph 4")
    ]


def test_entities_of_a_docx_are_not_expanded() -> None:
    data = docx(["&bomb;"])
    with zipfile.ZipFile(BytesIO(data)) as archive:
        body = archive.read("word/document.xml").decode()
    lines = "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 9))
    head, rest = body.split("?>", 1)
    bomb = f'{head}?><!DOCTYPE w [<!ENTITY b0 "LAUGH">{lines}]>{rest}'.replace("&amp;bomb;", "before &b8; after")
    try:
        text = parse(repacked(data, "word/document.xml", bomb.encode()), ".docx", name="a.docx").text
    except DataError as error:
        text = str(error)
    assert "LAUGH" not in text
    assert len(text) < 1000


# ---- what is wrong with a file


def message(data: bytes, suffix: str) -> str:
    with pytest.raises(DataError) as caught:
        parse(data, suffix, name="x")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_broken_utf8_is_replaced_and_told() -> None:
    found = parse(b"one\ncaf\xe9, " + "\N{REPLACEMENT CHARACTER} is theirs".encode(), ".txt", name="x")
    assert found.text == "one\ncaf\ufffd, \ufffd is theirs"
    assert found.notes == ("1 byte not UTF-8, shown as \ufffd",)
    assert parse("\ufeffgrün".encode("utf-16"), ".txt", name="x").text.strip("\ufeff") == "grün"
    assert parse("\ufeffgrün".encode(), ".txt", name="x").text == "grün"


def test_characters_that_no_text_holds() -> None:
    found = parse(b"a" * 2000 + b"\x1fb\x0cc", ".txt", name="x")
    assert found.text == "a" * 2000 + "\ufffdb\ufffdc"


@pytest.mark.parametrize(
    ("data", "suffix", "said"),
    [
        (b"ab\0cd", ".txt", "x: is binary, expected text."),
        (bytes(range(256)) * 20, ".md", "x: is binary, expected text."),
        ("größer als ".encode("latin-1") * 50, ".txt", "x: is not UTF-8 (100 bytes of it are not). Save it as UTF-8."),
        (b" \n\n ", ".txt", "x: no text in it."),
        (b"<p> </p><script>x</script>", ".html", "x: no text in it."),
        (b"hello", ".pdf", "x: is no PDF."),
        (b"%PDF-1.4\n" + b"junk " * 100, ".pdf", "x: is a damaged PDF ("),
        (pdf([FIRST])[:400], ".pdf", "x: "),
        (pdf(["", ""]), ".pdf", "x: its 2 pages hold no text, only pictures perhaps. Run OCR on it first."),
        (pdf([]), ".pdf", "x: has no page."),
        (pdf([FIRST], password="s"), ".pdf", "x: is encrypted. Save it without a password."),
        (b"PK nonsense", ".docx", "x: is no DOCX (File is not a zip file)."),
        (docx([FIRST])[:2000], ".docx", "x: is no DOCX (File is not a zip file)."),
        (
            word.OLE + b"rest",
            ".docx",
            "x: is encrypted, or of a Word before 2007. Save it as .docx without a password.",
        ),
        (docx([]), ".docx", "x: no text in it."),
        (repacked(docx([FIRST]), "word/document.xml", b"<w:document"), ".docx", "x: is a damaged DOCX ("),
    ],
)
def test_refused(data: bytes, suffix: str, said: str) -> None:
    assert message(data, suffix).startswith(said)


def test_a_zip_that_is_no_docx() -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../evil.txt", "x")
    assert message(out.getvalue(), ".docx").startswith("x: is a damaged DOCX (")
    assert not Path("../../evil.txt").exists()


def test_zip_bombs_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word, "MAX_XML_MIB", 1)
    bomb = repacked(docx([FIRST]), "word/document.xml", b" " * (3 * 10**6))
    assert len(bomb) < 1 << 17
    assert message(bomb, ".docx") == "x: has a part of 3 MiB when unpacked, expected 1 at most. Is it a zip bomb?"
    monkeypatch.setattr(word, "MAX_XML_MIB", 64)
    monkeypatch.setattr(word, "MAX_UNPACKED_MIB", 2)
    assert re.fullmatch(r"x: has [34] MiB when unpacked, expected 2 at most. Is it a zip .*", message(bomb, ".docx"))
    monkeypatch.setattr(word, "MAX_ENTRIES", 3)
    assert "parts, expected 3 at most. Is it a zip bomb?" in message(bomb, ".docx")


def test_sizes_that_lie_are_never_exceeded() -> None:
    """The size written in a ZIP bounds what is unpacked, so that the check of it is enough."""
    data = bytearray(repacked(docx([FIRST]), "word/document.xml", b" " * (1 << 20)))
    with zipfile.ZipFile(BytesIO(data)) as archive:
        entry = archive.getinfo("word/document.xml")
    size = entry.file_size.to_bytes(4, "little")
    at = data.rindex(size, 0, len(data))
    data[at : at + 4] = (100).to_bytes(4, "little")
    assert message(bytes(data), ".docx").startswith("x: is a damaged DOCX (")


@pytest.mark.parametrize(
    ("module", "name", "limit", "data", "suffix", "said"),
    [
        (
            read,
            "MAX_CHARS",
            5,
            b"123456",
            ".txt",
            "x: has 6 characters, expected 5 at most. Cut it into several files.",
        ),
        (webpage, "MAX_HTML_MIB", 0, b"<p>a", ".html", "x: has 0 MiB, expected 0 of HTML at most. Cut it up."),
        (pages, "MAX_PAGES", 1, pdf(["a", "b"]), ".pdf", "x: has 2 pages, expected 1 at most. Cut it up."),
        (pages, "MAX_SECONDS", -1, pdf(["a", "b"]), ".pdf", "x: took longer than -1 s by page 1. Cut it up."),
    ],
)
def test_limits(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, limit: int, data: bytes, suffix: str, said: str
) -> None:
    monkeypatch.setattr(module, name, limit)
    assert message(data, suffix) == said


@pytest.mark.parametrize(("suffix", "kind", "module"), [(".pdf", "PDF", "pypdf"), (".docx", "DOCX", "docx")])
def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, suffix: str, kind: str, module: str) -> None:
    data = pdf([FIRST]) if suffix == ".pdf" else docx([FIRST])
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MachineError) as caught:
        parse(data, suffix, name="x")
    assert str(caught.value) == f"x: {kind} needs the extra 'read'. pip install 'textfer[read]'"


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, said in (
        (tmp_path / "none.txt", "no such file."),
        (tmp_path, "is a folder, expected a file."),
        (tmp_path / "empty.txt", "empty, expected text."),
        (tmp_path / "large.txt", "has 1 MiB, expected 0 at most. Cut it into several files."),
        (tmp_path / "pipe.txt", "is no regular file, expected a file."),
    ):
        monkeypatch.setattr(read, "MAX_FILE_MIB", 0 if path.stem == "large" else document.MAX_FILE_MIB)
        if path.stem in ("empty", "large"):
            path.write_bytes(b"" if path.stem == "empty" else bytes(1 << 20))
        elif path.stem == "pipe":
            os.mkfifo(path)
        with pytest.raises(DataError) as caught:
            read_document(path)
        assert str(caught.value) == f"{path}: {said}"


@pytest.mark.parametrize("suffix", [".pdf", ".docx", ".html"])
def test_damage_of_any_kind_is_one_line_or_a_text(suffix: str) -> None:
    made = {".pdf": pdf([FIRST, SECOND]), ".docx": docx([FIRST], rows=[["a", "b"]]), ".html": b"<p>a<table><td>b</pre>"}
    draw = random.Random(1)
    for _ in range(60):
        data = bytearray(made[suffix])
        for _ in range(draw.choice((1, 3, 10, 40))):
            at = draw.randrange(len(data))
            some = bytes(draw.randrange(256) for _ in range(draw.randrange(8)))
            data[at : at + draw.randrange(12)] = some or data[: draw.randrange(1, 50)]
        try:
            assert parse(bytes(data), suffix, name="x").text.strip()
        except DataError as error:
            assert str(error).startswith("x: ")  # noqa: PT017  either may come
            assert "\n" not in str(error)  # noqa: PT017


def test_an_unknown_suffix_is_text(tmp_path: Path) -> None:
    (tmp_path / "notes.log").write_text(FIRST)
    assert read_document(tmp_path / "notes.log").text == FIRST
    assert read_document(tmp_path / "notes.log", name="n").path == "n"


# ---- folders


def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "docs"
    (root / "b" / ".git").mkdir(parents=True)
    (root / "b" / ".git" / "x.txt").write_text("hidden")
    (root / ".hidden.txt").write_text("hidden")
    (tmp_path / "secret.txt").write_text("secret")
    for name in ("b/two.MD", "a.txt", "z.exe", "Makefile", "new\nline.txt"):
        (root / name).write_text(FIRST)
    for link, target in (
        ("circle", root),
        ("in.txt", root / "a.txt"),
        ("out.txt", tmp_path / "secret.txt"),
        ("passwd.txt", Path("/etc/passwd")),
        ("nowhere.txt", root / "none.txt"),
        ("self.txt", root / "self.txt"),
    ):
        (root / link).symlink_to(target)
    os.mkfifo(root / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(root)
        server.bind("s.txt")
        found = list(walk(root))
    assert [one.path for one in found if one.reason is None] == ["a.txt", "b/two.MD", "in.txt"]
    reasons = {one.path: one.reason or "" for one in found if one.reason}
    assert reasons.pop("self.txt").startswith("cannot be reached (")
    assert reasons == {
        "Makefile": "unknown kind",
        "circle": "a link to a folder, which is not followed",
        "new\\nline.txt": "its name holds what cannot be shown. Rename it",
        "nowhere.txt": "cannot be reached (No such file or directory)",
        "out.txt": "a link that leads out of the folder",
        "passwd.txt": "a link that leads out of the folder",
        "pipe.txt": "no regular file",
        "s.txt": "no regular file",
        "z.exe": "unknown kind '.exe'",
    }


def test_deep_folders_and_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_DEPTH", 3)
    (tmp_path / "a/b/c/d").mkdir(parents=True)
    (tmp_path / "a/b/x.txt").write_text("x")
    found = {one.path: one.reason for one in walk(tmp_path)}
    assert found == {"a/b/x.txt": None, "a/b/c": "more than 3 folders deep"}
    for path, said in ((tmp_path / "no", "no such folder."), (tmp_path / "a/b/x.txt", "is a file, expected a folder.")):
        with pytest.raises(DataError) as caught:
            list(walk(path))
        assert str(caught.value) == f"{path}: {said}"


def test_every_kind_is_told_in_the_docs() -> None:
    assert set(READERS) == {
        *(".txt", ".text", ".rst", ".org", ".adoc", ".md", ".markdown", ".html", ".htm", ".xhtml", ".pdf", ".docx")
    }
