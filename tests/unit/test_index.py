"""The index of a folder: found by words, kept up to date, whole after any end, plain about what is wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from papers import docx, pdf

from textfer.documents import database, index
from textfer.documents.database import connect, remove_index
from textfer.documents.index import Index, Refreshed, index_place, open_index
from textfer.documents.read import parse
from textfer.errors import ConfigError, DataError, MachineError

CASTLE = "# Aldon\n\nThe castle of Aldon was built in 1203.\n\nIts owner, Maud Hale, gave the well to the town.\n"
MARKET = "The market of Belm is held on Mondays. Rory Finch sells fish there.\n"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    write(folder / "castle.md", CASTLE)
    write(folder / "sub" / "market.txt", MARKET)
    write(folder / "picture.png", "x")
    return folder


def write(path: Path, text: str | bytes, *, age: float = 60.0) -> Path:
    """A file that was changed so many seconds ago."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(path, (time.time() - age,) * 2)
    return path


def refresh(folder: Path, place: Path) -> Refreshed:
    with open_index(place, write=True) as found:
        return found.refresh(folder)


def counts(one: Refreshed) -> tuple[int, int, int, int]:
    return one.num_new, one.num_changed, one.num_unchanged, one.num_removed


def content(place: Path) -> list[tuple[object, ...]]:
    """All that is in an index, whatever the order in which it came there."""
    base = connect(place, write=False)
    rows = base.execute(
        "SELECT d.path, d.title, d.reason, p.start, p.end, p.marks, w.text FROM documents d"
        " LEFT JOIN passages p ON p.document = d.id LEFT JOIN words w ON w.rowid = p.id"
    ).fetchall()
    assert (
        base.execute("SELECT count(*) FROM words").fetchone()
        == base.execute("SELECT count(*) FROM passages").fetchone()
    )
    base.close()
    return sorted(rows, key=repr)


# ---- finding


def test_search(docs: Path, tmp_path: Path) -> None:
    write(docs / "tower.pdf", pdf(["nothing here", "The tower fell in 1810 ."], title="Tower"))
    write(docs / "deed.docx", docx(["The deed", "names Hild Moor."]))
    place = tmp_path / "i.db"
    assert counts(refresh(docs, place)) == (4, 0, 0, 0)
    with open_index(place) as found:
        assert (found.num_documents, found.num_passages) == (4, 4)
        for question, path, part, where in (
            ("Who owns the castle?", "castle.md", "Maud Hale", "line 5"),
            ("market days", "sub/market.txt", "Mondays", "line 1"),
            ("When did towers fall?", "tower.pdf", "1810", "page 2"),
            ("hild", "deed.docx", "Hild Moor", "paragraph 2"),
        ):
            hit, *_ = found.search(question)
            assert hit.path == path
            start = hit.text.index(part)
            assert str(hit.place(start, start + len(part))) == where
        assert found.search("Aldon", count=1)[0].title == "Aldon"
        for nothing in ("", "?!", "zebra", '"'):
            assert found.search(nothing) == []


def test_places_of_later_passages(tmp_path: Path) -> None:
    lines = [f"Line {number} of the long roll holds nothing of note." for number in range(1, 400)]
    lines[299] = "Here the heron sleeps."
    text = "\n".join(lines)
    with open_index(Path(":memory:"), write=True) as found:
        found.add(parse(text.encode(), ".txt", name="roll.txt"))
        assert found.num_passages > 10
        for hit in found.search("heron"):
            assert text[hit.start : hit.end] == hit.text
            start = hit.text.index("heron")
            assert str(hit.place(start, start + 5)) == "line 300"
            assert hit.place().first <= 300 <= hit.place().last


def test_better_matches_come_first_and_scores_fall() -> None:
    with open_index(Path(":memory:"), write=True) as found:
        for number in range(20):
            found.add(parse(b"a plain sheet of paper", ".txt", name=f"{number}.txt"))
        found.add(parse(b"the red fox", ".txt", name="fox.txt"))
        found.add(parse(b"the red fox and the red hen", ".txt", name="hen.txt"))
        hits = found.search("a red hen")
    assert [hit.path for hit in hits] == ["hen.txt", "fox.txt"]
    assert hits[0].score > hits[1].score > 0


def test_scripts_without_spaces_and_accents() -> None:
    with open_index(Path(":memory:"), write=True) as found:
        found.add(parse("東京は日本の首都です。".encode(), ".txt", name="tokyo.txt"))
        found.add(parse("Crème brûlée".encode(), ".txt", name="creme.txt"))
        assert [hit.text for hit in found.search("首都はどこ")] == ["東京は日本の首都です。"]
        assert found.search("都首") == []
        assert [hit.path for hit in found.search("creme")] == ["creme.txt"]


# ---- keeping up to date


def test_incremental(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "i.db"
    assert counts(refresh(docs, place)) == (2, 0, 0, 0)
    opened: list[str] = []
    kept = index.read_bytes

    def watched(path: Path, *, name: str | None = None) -> bytes:
        opened.append(str(name))
        return kept(path, name=name)

    monkeypatch.setattr(index, "read_bytes", watched)
    again = refresh(docs, place)
    assert (counts(again), again.skipped, opened) == ((0, 0, 2, 0), (("picture.png", "unknown kind '.png'"),), [])
    write(docs / "castle.md", CASTLE, age=30)  # touched
    assert (counts(refresh(docs, place)), opened) == ((0, 0, 2, 0), ["castle.md"])
    write(docs / "castle.md", CASTLE.replace("Maud", "Elin"), age=20)  # of the same length
    assert counts(refresh(docs, place)) == (0, 1, 1, 0)
    (docs / "sub" / "market.txt").rename(docs / "fair.txt")
    assert counts(refresh(docs, place)) == (1, 0, 1, 1)
    with open_index(place) as found:
        assert found.search("Maud") == []
        assert [hit.path for hit in found.search("Elin fish")] == ["fair.txt", "castle.md"]
    fresh = tmp_path / "fresh.db"
    refresh(docs, fresh)
    assert content(place) == content(fresh)


def test_a_file_changed_a_moment_ago_is_looked_at_again(docs: Path, tmp_path: Path) -> None:
    path, place = write(docs / "castle.md", "first words", age=0), tmp_path / "i.db"
    found = path.stat()
    refresh(docs, place)
    path.write_text("other words")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert counts(refresh(docs, place)) == (0, 1, 1, 0)


def test_what_cannot_be_read_is_told_and_not_tried_again(docs: Path, tmp_path: Path) -> None:
    write(docs / "scan.pdf", pdf([""]))
    write(docs / "empty.txt", "")
    write(docs / "latin.txt", "caf\xe9 one".encode("latin-1"))
    place = tmp_path / "i.db"
    first = refresh(docs, place)
    assert first.skipped == (
        ("empty.txt", "empty, expected text"),
        ("picture.png", "unknown kind '.png'"),
        ("scan.pdf", "its 1 page hold no text, only pictures perhaps. Run OCR on it first"),
    )
    assert first.notes == (("latin.txt", "1 byte not UTF-8, shown as \ufffd"),)
    second = refresh(docs, place)
    assert (second.skipped, second.num_unchanged, second.num_new) == (first.skipped, 3, 0)
    with open_index(place) as found:
        assert [path for path, _ in found.skipped()] == ["empty.txt", "scan.pdf"]
    write(docs / "empty.txt", "no longer", age=10)
    assert counts(refresh(docs, place)) == (0, 1, 3, 0)


def test_a_missing_extra_is_tried_again(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(docs / "a.pdf", pdf(["Some words"]))
    place = tmp_path / "i.db"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pypdf", None)
        assert ("a.pdf", "PDF needs the extra 'read'. pip install 'textfer[read]'") in refresh(docs, place).skipped
    assert counts(refresh(docs, place)) == (1, 0, 2, 0)


# ---- ends of any kind


def test_killed_in_the_middle(docs: Path, tmp_path: Path) -> None:
    for number in range(40):
        write(docs / f"{number:02}.txt", f"{MARKET} {number} " * 20)
    place = tmp_path / "i.db"
    code = f"""
import sys, time
from pathlib import Path
from textfer.documents import index
def slowly(path):
    print(path, flush=True)
    time.sleep(0.01)
with index.open_index(Path({str(place)!r}), write=True) as found:
    found.refresh(Path({str(docs)!r}), watch=slowly)
"""
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(8):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        with open_index(place) as found:
            assert 0 < found.num_documents < 42
            assert found.search("market")
    left = refresh(docs, place)
    assert left.num_unchanged >= 15
    assert left.num_unchanged + left.num_new == 42
    whole = tmp_path / "whole.db"
    refresh(docs, whole)
    assert content(place) == content(whole)


def test_stopped_inside_a_file(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "i.db"
    refresh(docs, place)
    before = content(place)
    write(docs / "castle.md", MARKET, age=5)
    with monkeypatch.context() as patch, open_index(place, write=True) as found:

        def interrupted(text: str) -> str:
            raise KeyboardInterrupt

        patch.setattr(index, "spaced", interrupted)
        with pytest.raises(KeyboardInterrupt):
            found.refresh(docs)
        assert len(found.search("castle")) == 1  # as it was
    assert content(place) == before
    assert counts(refresh(docs, place)) == (0, 1, 1, 0)


def test_reading_while_it_is_written(docs: Path, tmp_path: Path) -> None:
    place = tmp_path / "i.db"
    refresh(docs, place)
    for number in range(30):
        write(docs / f"{number}.txt", MARKET)
    wrong: list[str] = []
    done = threading.Event()

    def ask() -> None:
        with open_index(place) as found:
            while not done.is_set():
                wrong.extend(hit.path for hit in found.search("market", count=50) if "Rory" not in hit.text)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert refresh(docs, place).num_new == 30
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- what is wrong with an index


def use(place: Path, *, write: bool) -> None:
    with open_index(place, write=write) as found:
        found.search("castle")
        found.refresh(place.parent / "docs")


def refused(place: Path, kind: type[Exception], *, write: bool = False) -> str:
    with pytest.raises(kind) as caught:
        use(place, write=write)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{place}: ")


def test_no_index(docs: Path, tmp_path: Path) -> None:
    assert refused(tmp_path / "no.db", ConfigError) == "no such index. Make it: textfer index DIR."
    assert refused(docs, ConfigError) == "is a folder, expected the file of an index."
    (tmp_path / "empty.db").touch()
    assert refused(tmp_path / "empty.db", ConfigError) == "an empty index. Make it: textfer index DIR."
    place = write(tmp_path / "text.db", "my notes")
    said = "is no index, or damaged. Give another place, or delete it."
    assert refused(place, DataError) == refused(place, DataError, write=True) == said
    with pytest.raises(ConfigError, match="is no index of textfer and is left alone"):
        remove_index(place)
    assert place.read_text() == "my notes"


def test_another_database(tmp_path: Path) -> None:
    place = tmp_path / "other.db"
    with sqlite3.connect(place) as base:
        base.execute("CREATE TABLE theirs (x)")
    base.close()
    assert refused(place, DataError, write=True) == "is a database, but no index of textfer. Give another place."


def test_another_version(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "i.db"
    refresh(docs, place)
    monkeypatch.setattr(database, "VERSION", 2)
    assert refused(place, DataError) == "has format 1, expected 2. Index with --rebuild."
    remove_index(place)
    assert not list(tmp_path.glob("i.db*"))


def test_a_damaged_index(docs: Path, tmp_path: Path) -> None:
    for number in range(200):
        write(docs / f"{number}.txt", f"{MARKET}{CASTLE} {number}" * 10)
    place = tmp_path / "i.db"
    refresh(docs, place)
    data = bytearray(place.read_bytes())
    data[4096 * 3 :] = b"\xa5" * (len(data) - 4096 * 3)
    place.write_bytes(data)
    for write_too in (False, True):
        said = refused(place, DataError, write=write_too)
        assert said.startswith("is damaged (")
        assert said.endswith("). Delete it, or index with --rebuild.")
    remove_index(place)
    assert counts(refresh(docs, place)) == (202, 0, 0, 0)


def test_a_locked_index(docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "i.db"
    refresh(docs, place)
    write(docs / "new.txt", MARKET)
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.05)
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with open_index(place) as found:
        assert found.search("castle")  # readers need not wait
    assert refused(place, MachineError, write=True) == "is locked by another process. Wait until it is done."
    other.execute("ROLLBACK")
    other.close()


def test_the_index_of_another_folder(docs: Path, tmp_path: Path) -> None:
    place = tmp_path / "i.db"
    refresh(docs, place)
    (tmp_path / "more").mkdir()
    with open_index(place, write=True) as found, pytest.raises(ConfigError) as caught:
        found.refresh(tmp_path / "more")
    assert str(caught.value).startswith(f"{place}: is the index of {docs}, not of {tmp_path / 'more'}.")
    shutil.rmtree(docs)
    with open_index(place, write=True) as found, pytest.raises(DataError, match="no such folder"):
        found.refresh(docs)


def test_a_python_without_full_text_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare(sqlite3.Connection):
        def execute(self, statement: str, *values: object) -> sqlite3.Cursor:  # type: ignore[override]
            return super().execute(statement.replace("compile_options", "table_info(none)"), *values)

    whole = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *words, **options: whole(*words, factory=Bare, **options))
    assert "was built without full-text search (FTS5)" in refused(tmp_path / "i.db", MachineError, write=True)


def test_where_an_index_lies(tmp_path: Path, own_cache: Path) -> None:
    (tmp_path / "my docs é").mkdir()
    place = index_place(tmp_path / "my docs é")
    digest = hashlib.sha256(str(tmp_path / "my docs é").encode()).hexdigest()[:16]
    assert place == own_cache / "indexes" / f"my-docs---{digest}.db"
    (tmp_path / "link").symlink_to(tmp_path / "my docs é")
    assert index_place(tmp_path / "link") == place
    with open_index(place, write=True) as found:
        assert isinstance(found, Index)
        assert place.parent.stat().st_mode & 0o077 == 0, "others must not read what the documents say"
