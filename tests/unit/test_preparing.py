"""Tables of many tasks made by several processes: the same tables, one line where one fails, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from textfer.data import preparing
from textfer.data.digest import cache_dir
from textfer.data.named import find_task
from textfer.data.preparing import prepare_all, work
from textfer.data.source import open_rows
from textfer.data.task import TASKS
from textfer.data.tokens import RowChoice, prepare, table_path
from textfer.errors import DataError
from textfer.tokenizers import Tokenizer, load_tokenizer


@pytest.fixture
def tokenizer(vocabulary: Path) -> Tokenizer:
    return load_tokenizer(str(vocabulary))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that is empty, and workers for a few rows."""
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(preparing, "MIN_ROWS", 10)
    monkeypatch.setattr(preparing, "num_cores", lambda: 2)
    return tmp_path


def write(path: Path, num_rows: int, *, bad: int | None = None) -> str:
    """A file of two columns; from row `bad` on the target is null."""
    targets = [None if bad is not None and n >= bad else f"word {n % 7}" for n in range(num_rows)]
    rows = [{"inputs": f"say {path.stem} {n}", "targets": target} for n, target in enumerate(targets)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def leftovers() -> list[Path]:
    return list((cache_dir() / "tokens").glob(".making-*"))


def test_workers_make_the_same_tables(own: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [write(own / f"{name}.jsonl", rows) for name, rows in (("red", 50), ("blue", 400), ("green", 120))]
    seen: list[tuple[str, int, int]] = []
    with TASKS.temporary("by_hand", replace(TASKS.get("reading"), name="by_hand")):  # no worker knows this one
        found = prepare_all(
            [*names, "by_hand"],
            "train",
            tokenizer,
            RowChoice(limit=300),
            on_progress=lambda *told: seen.append(told),
        )
    assert list(found) == [*names, "by_hand"]
    assert {name: done == total for name, done, total in seen} == dict.fromkeys([*names, "by_hand"], True)
    made = {name: [table.get("targets", n).tolist() for n in range(len(table))] for name, table in found.items()}
    monkeypatch.setenv("TEXTFER_CACHE", str(own / "again"))
    for name in names:
        table = prepare(find_task(name), "train", tokenizer, RowChoice(limit=300))
        assert made[name] == [table.get("targets", n).tolist() for n in range(len(table))]
    assert not leftovers()


def test_what_is_cached_is_only_opened(own: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [write(own / f"{name}.jsonl", 30) for name in ("red", "blue")]
    for name in names:
        prepare(find_task(name), "train", tokenizer)
    monkeypatch.setattr(preparing, "Worker", None)
    monkeypatch.setattr(preparing, "prepare", None)
    assert [len(table) for table in prepare_all(names, "train", tokenizer, RowChoice()).values()] != [0, 0]


def test_a_task_that_fails_stops_all_with_its_own_line(own: Path, tokenizer: Tokenizer) -> None:
    names = [write(own / "good.jsonl", 3000), write(own / "bad.jsonl", 400, bad=333)]
    with pytest.raises(DataError, match=r"^bad/bad\.jsonl:3\d\d: field 'targets' is null, expected text"):
        prepare_all(names, "train", tokenizer, RowChoice())
    assert not leftovers()


def test_a_worker_that_dies_is_told_of(own: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [write(own / f"{name}.jsonl", 30) for name in ("red", "blue")]
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Exception, match=r"the process that prepared it has ended"):
        prepare_all(names, "train", tokenizer, RowChoice())


def test_a_worker_that_is_stopped_leaves_nothing_half_made(own: Path, tokenizer: Tokenizer) -> None:
    """Interrupts are the parent's to handle; its word to stop is obeyed at once, and half a table is cleared away."""
    name = write(own / "long.jsonl", 40_000)
    tokenizer.save(own / "vocabulary")
    setup = {"split": "train", "limit": None, "on_bad": "stop", "imports": [], "data_dir": None}
    setup |= {"without": [], "without_by": "field"}
    setup |= {"tokenizer": str(own / "vocabulary"), "cache": str(cache_dir())}
    task = find_task(name)
    path = table_path(task, open_rows(task.source, "train"), tokenizer, RowChoice())
    worker = subprocess.Popen(
        [sys.executable, "-m", "textfer.data.preparing"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write(json.dumps(setup) + "\n" + json.dumps({"name": name, "path": str(path)}) + "\n")
    worker.stdin.flush()
    assert json.loads(worker.stdout.readline())["is"] == "done"
    assert leftovers()
    os.kill(worker.pid, signal.SIGINT)
    time.sleep(0.05)
    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(10) == 0
    worker.stdin.close()
    worker.stdout.close()
    assert not leftovers()
    assert not path.exists()


def test_work_says_what_it_did_and_goes_on_after_a_failure(own: Path, tokenizer: Tokenizer) -> None:
    names = [write(own / "bad.jsonl", 40, bad=3), write(own / "good.jsonl", 40), "no_such_task"]
    tokenizer.save(own / "vocabulary")
    setup = {"split": "train", "limit": None, "on_bad": "stop", "imports": [], "data_dir": None}
    setup |= {"without": [], "without_by": "field"}
    setup |= {"tokenizer": str(own / "vocabulary"), "cache": str(cache_dir())}
    said: list[dict[str, object]] = []

    def lines() -> Iterator[str]:
        yield json.dumps(setup)
        for name in names:
            path = ""
            if Path(name).exists():
                task = find_task(name)
                path = str(table_path(task, open_rows(task.source, "train"), tokenizer, RowChoice()))
            yield json.dumps({"name": name, "path": path})

    work(lines(), said.append)
    assert [message["is"] for message in said] == ["failed", "done", "made", "unknown"]
    assert said[0]["kind"] == "DataError"
