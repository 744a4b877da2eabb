"""`index`, `search` and `ask --docs` as people meet them, on a folder of every kind of document."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from console import refused
from docx import Document

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "a.md").write_text("# People\n\nAnna Hall lives in Rome.\n\nBob Wood is a cook.\n")
    (folder / "b.html").write_text("<title>Towns</title><p>Belm has\n<p>a market")
    (folder / "broken.pdf").write_text("no pdf")
    (folder / "picture.png").write_text("x")
    letter = Document()
    letter.add_paragraph("Rory Finch sells fish.")
    letter.save(str(folder / "c.docx"))
    for path in folder.iterdir():
        os.utime(path, (time.time() - 60,) * 2)
    return folder


def test_index(call: Any, docs: Path, tmp_path: Path, own_cache: Path) -> None:
    done = call("index", docs)
    assert done.code == 0
    first, second = done.out.splitlines()
    assert first.startswith(f"{docs}: 3 documents, 3 passages; 3 new, 0 changed, 0 unchanged, 0 removed (")
    assert second.startswith(f"index: {own_cache}/indexes/docs-")
    assert done.err.splitlines() == ["skipped: broken.pdf: is no PDF", "skipped: 1 file of unknown kind '.png'"]
    place = tmp_path / "own.db"
    for words, new in (([], 3), ([], 0), (["--rebuild"], 3)):
        found = call("index", docs, "--index", place, "--json", *words)
        assert found.err == ""
        assert (found.json["new"], found.json["unchanged"], found.json["documents"]) == (new, 3 - new, 3)
        assert found.json["skipped"] == [
            {"path": "broken.pdf", "reason": "is no PDF"},
            {"path": "picture.png", "reason": "unknown kind '.png'"},
        ]
        assert found.json["index"] == str(place)


def test_search(call: Any, docs: Path) -> None:
    done = call("search", docs, 'who "sells" fish?')
    assert done.out.startswith("c.docx, paragraph 1  (")
    assert done.out.endswith("  Rory Finch sells fish.\n")
    assert done.err == f"2 files not read: textfer index {docs} lists them.\n"
    found = call("search", docs, "market", "--json", "--count", 1).json
    assert found["passages"] == 3
    (hit,) = found["hits"]
    assert {key: hit[key] for key in ("path", "title", "place", "text")} == {
        "path": "b.html",
        "title": "Towns",
        "place": {"unit": "line", "first": 1, "last": 2},
        "text": "Belm has\n\na market",
    }
    assert call("search", docs, "?!").out == "Nothing found in 3 passages.\n"
    (docs / "a.md").unlink()
    assert call("search", docs, "Anna").out == "Nothing found in 2 passages.\n"


def test_ask_docs(call: Any, model: Path, docs: Path, tmp_path: Path) -> None:
    words = ("ask", "--docs", docs, "--model", model, "--index", tmp_path / "i.db")
    found = call(*words, "Where does Anna Hall live?", "--json", "--passages", 1).json
    assert (found["read"], found["passages"]) == (1, 3)
    assert found["path"] in ("a.md", None)
    lines = call(*words, "--json", stdin="Where does Anna Hall live?\nWho sells fish?\n").out.splitlines()
    assert [json.loads(line)["read"] for line in lines] == [3, 3]
    said = call(*words, "Where does Anna Hall live?").out
    assert "a.md, line" in said or said.startswith("No answer.")
    nothing = call(*words, "Where does Anna Hall live?", "--min-score", 1)
    assert nothing.out.startswith("No answer.  (")


def test_what_is_wrong_with_an_index(call: Any, docs: Path, tmp_path: Path) -> None:
    place = tmp_path / "notes.txt"
    place.write_text("my own notes")
    said = f"{place}: is no index, or damaged. Give another place, or delete it."
    refused(call("index", docs, "--index", place), 3, said)
    refused(call("search", docs, "x", "--index", place), 3, said)
    said = f"{place}: is no index of textfer and is left alone. Give another place."
    refused(call("index", docs, "--index", place, "--rebuild"), 2, said)
    refused(call("index", tmp_path / "no"), 3, f"{tmp_path}/no: no such folder.")
    refused(call("search", place, "x"), 3, f"{place}: is a file, expected a folder.")
    assert place.read_text() == "my own notes"


def test_searching_while_another_process_writes(
    call: Any, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "i.db"
    assert call("index", docs, "--index", place).code == 0
    (docs / "new.txt").write_text("words")
    monkeypatch.setattr("textfer.documents.database.WAIT_SECONDS", 0.05)
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    done = call("search", docs, "fish", "--index", place)
    assert done.out.startswith("c.docx")
    assert done.err == "the folder is being indexed by another process: searched as far as that is.\n"
    refused(call("index", docs, "--index", place), 4, f"{place}: is locked by another process. Wait until it is done.")
    other.close()
