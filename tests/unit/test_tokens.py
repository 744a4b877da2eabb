"""Token tables: what the tokenizer says, kept under a key of all that decides it, whole or not there."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textfer.batch import Example, Int32, Row, Specials
from textfer.data import tokens as module
from textfer.data.source import Made, Source, file_source, open_rows
from textfer.data.task import Task
from textfer.data.tokens import RowChoice, Skipped, TokenTable, examples_of, open_table, prepare
from textfer.errors import CheckpointError, DataError, MachineError


class Letters:
    """Every character is its code point; `#` is refused, as half a surrogate pair would be."""

    vocab_size = 1000
    specials = Specials(pad=0, eos=1)

    def __init__(self, digest: str = "letters") -> None:
        self.digest = digest

    def encode(self, text: str) -> list[int]:
        if "#" in text:
            raise DataError(f"text {text!r}: got '#', expected none.")
        return [ord(letter) for letter in text]

    def encode_many(self, texts: Sequence[str]) -> list[Int32]:
        return [np.array(self.encode(text), np.int32) for text in texts]


def to_examples(row: Row, origin: str) -> Iterable[Example]:
    """As many examples as the row says; 'bad' breaks after the first."""
    for number in range(row.get("count", 1)):
        if row["text"] == "bad" and number:
            raise DataError(f"{origin}: bad.")
        yield Example(inputs=row["text"], targets=row["text"][::-1] + "!" * number, origin=origin)


def made_task(rows: Sequence[Row], **changes: Any) -> Task:
    made = Made(row=lambda split, index: rows[index], num_rows={"train": len(rows)})
    task = Task(name="made", source=Source(name=f"made-{hash(str(rows))}", made=made), to_examples=to_examples)
    return replace(task, **changes)


def made(task: Task, cache: Path, choice: RowChoice | None = None, *, digest: str = "letters") -> TokenTable:
    tokenizer: Any = Letters(digest)
    return prepare(task, "train", tokenizer, choice or RowChoice(), cache=cache)


def tables(cache: Path) -> list[str]:
    folder = cache / "tokens"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


ROWS: list[Row] = [{"text": "abc"}, {"text": "", "count": 2}, {"text": "xyz", "count": 0}, {"text": "ångström"}]


@pytest.mark.parametrize("chunk", [1, 3, 2048])
def test_a_table_holds_what_the_tokenizer_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(module, "CHUNK_EXAMPLES", chunk)
    task = made_task(ROWS)
    table = made(task, tmp_path)
    examples = list(examples_of(task, open_rows(task.source, "train")))
    assert len(table) == len(examples) == 4
    assert table.rows.tolist() == [index for index, _ in examples] == [0, 1, 1, 3]
    for number, (_, example) in enumerate(examples):
        for side in ("inputs", "targets"):
            ids = table.get(side, number)
            assert ids.dtype == np.int32
            assert ids.tolist() == Letters().encode(getattr(example, side))
    assert table.lens("inputs").tolist() == [3, 0, 0, 8]
    assert table.lens("targets").tolist() == [3, 0, 1, 8]
    assert table.num_tokens() == 12
    assert table.num_tokens("inputs") == 11
    assert table.origin(3) == "made/train:3"
    assert table.name == "made/train"


def test_a_real_tokenizer_gives_the_same_ids_one_by_one(tmp_path: Path, vocabulary: Path) -> None:
    from textfer.data.task import TASKS
    from textfer.tokenizers import load_tokenizer

    task, tokenizer = TASKS.get("reading"), load_tokenizer(str(vocabulary))
    table = prepare(task, "validation", tokenizer, RowChoice(limit=50), cache=tmp_path)
    assert len(table) == 50
    for number, (_, example) in enumerate(examples_of(task, open_rows(task.source, "validation"), stop=50)):
        assert table.get("inputs", number).tolist() == tokenizer.encode(example.inputs)
        assert table.get("targets", number).tolist() == tokenizer.encode(example.targets)


def test_documents_are_joined_from_any_place(tmp_path: Path) -> None:
    table = made(made_task([{"text": text} for text in ("ab", "", "c", "def")]), tmp_path)
    plain = [ord(letter) for letter in "bacfed"]
    marked = [ord(letter) if letter != "." else 1 for letter in "ba..c.fed."]
    for start in range(11):
        for stop in range(start, 12):
            assert table.joined(start, stop, eos=1).tolist() == marked[start:stop]
            assert table.joined(start, stop, eos=None).tolist() == plain[start:stop]


# ---- kept


def test_a_table_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = made_task(ROWS)
    first = made(task, tmp_path)

    def never(*arguments: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(module, "_make", never)
    again = made(task, tmp_path)
    assert again.path == first.path
    assert again.get("inputs", 3).tolist() == first.get("inputs", 3).tolist()


def test_whatever_decides_the_ids_is_in_the_key(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "ab"}\n{"text": "cd"}\n')
    task = made_task([], source=replace(file_source(str(file)), hold_out=0.0))
    cache = tmp_path / "cache"
    found = {made(task, cache).path}
    assert {made(task, cache).path} == found
    found.add(made(task, cache, digest="others").path)
    found.add(made(replace(task, version=2), cache).path)
    found.add(made(replace(task, name="other"), cache).path)
    found.add(made(task, cache, RowChoice(limit=1)).path)
    file.write_text('{"text": "ab"}\n{"text": "xy"}\n')
    changed = made(task, cache)
    assert changed.get("inputs", 1).tolist() == [ord("x"), ord("y")]
    found.add(changed.path)
    assert len(found) == 6
    assert len(tables(cache)) == 6


def test_only_the_first_rows_are_read(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    tokenizer: Any = Letters()
    task = made_task(ROWS)
    table = prepare(
        task, "train", tokenizer, RowChoice(limit=2), cache=tmp_path, on_progress=lambda *done: told.append(done)
    )
    assert table.rows.tolist() == [0, 1, 1]
    assert told == [(2, 2)]


# ---- interrupted, spoilt


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_preparation_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    monkeypatch.setattr(module, "CHUNK_EXAMPLES", 1)
    task, tokenizer = made_task(ROWS), Letters()

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise error

    with pytest.raises(error):
        prepare(task, "train", tokenizer, cache=tmp_path, on_progress=stop)  # type: ignore[arg-type]
    assert tables(tmp_path) == []
    assert len(made(task, tmp_path)) == 4


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_append", full)
    with pytest.raises(MachineError, match=r"cannot be written \(No space left on device\)\. Make room"):
        made(made_task(ROWS), tmp_path)
    assert tables(tmp_path) == []


def test_whoever_finishes_second_takes_the_first_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = made_task(ROWS)
    ours = made(task, tmp_path).path
    before = (ours / "meta.json").stat().st_mtime_ns
    exists = Path.exists
    looks = iter([False])  # the table is not there yet when the second one looks

    def late(path: Path, **options: Any) -> bool:
        return next(looks, exists(path)) if path.name == "meta.json" else exists(path)

    monkeypatch.setattr(Path, "exists", late)
    assert made(task, tmp_path).path == ours
    assert (ours / "meta.json").stat().st_mtime_ns == before
    assert tables(tmp_path) == [ours.name]


@pytest.mark.parametrize("name", ["inputs.bin", "targets_offsets.npy", "rows.npy", "meta.json"])
def test_a_spoilt_table_is_told(tmp_path: Path, name: str) -> None:
    path = made(made_task(ROWS), tmp_path).path
    (path / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"not a whole token table .* Delete the folder"):
        open_table(path)


def test_a_folder_without_its_last_file_is_made_again(tmp_path: Path) -> None:
    path = made(made_task(ROWS), tmp_path).path
    (path / "meta.json").unlink()
    assert made(made_task(ROWS), tmp_path).path == path
    assert (path / "meta.json").exists()


# ---- bad rows

BAD: list[Row] = [{"text": "ab"}, {"text": "bad", "count": 2}, {"text": "c#d"}, {"text": "ef"}]


def test_a_bad_row_stops_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^made/train:1: bad\.$"):
        made(made_task(BAD), tmp_path)
    with pytest.raises(DataError, match=r"^made/train:1: text 'c#d': got '#', expected none\.$"):
        made(made_task([BAD[0], BAD[2]]), tmp_path)
    assert tables(tmp_path) == []


def test_bad_rows_are_skipped_whole_counted_and_told_of(tmp_path: Path) -> None:
    table = made(made_task(BAD), tmp_path, RowChoice(on_bad="skip"))
    assert table.rows.tolist() == [0, 3]
    assert table.get("targets", 1).tolist() == [ord("f"), ord("e")]
    assert table.meta["num_skipped"] == 2
    assert table.meta["skipped"] == ["made/train:1: bad.", "made/train:2: text 'c#d': got '#', expected none."]


def test_malformed_lines_are_skipped_too(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "ab"}\n{"text": \n{"text": "cd"}\nnonsense\n')
    task = made_task([], source=replace(file_source(str(file)), hold_out=0.0))
    with pytest.raises(DataError, match=r"rows\.jsonl:2: "):
        made(task, tmp_path / "cache")
    table = made(task, tmp_path / "cache", RowChoice(on_bad="skip"))
    assert [table.get("inputs", number).tolist() for number in (0, 1)] == [[97, 98], [99, 100]]
    assert table.meta["num_skipped"] == 2
    assert [":2: " in table.meta["skipped"][0], ":4: " in table.meta["skipped"][1]] == [True, True]
    assert json.loads((table.path / "meta.json").read_text()) == table.meta


def test_only_bad_rows_are_told_with_the_first(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no example in 1 rows\. 1 bad rows were skipped, the first: made/train:0: bad\."
    ):
        made(made_task([BAD[1]]), tmp_path, RowChoice(on_bad="skip"))
    with pytest.raises(DataError, match=r"^made/train: no example in 1 rows\.$"):
        made(made_task([{"text": "a", "count": 0}]), tmp_path)


def test_of_many_bad_rows_the_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SKIPPED_KEPT", 2)
    skipped = Skipped()
    for number in range(5):
        skipped(DataError(str(number)))
    assert (skipped.count, skipped.first) == (5, ["0", "1"])


# ---- memory


def resident_kib(path: Path) -> int:
    """How much of a mapped file counts as this process's memory."""
    found, here = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.split()[0].endswith(":"):
            found += int(line.split()[1]) if here and line.startswith("Rss:") else 0
        else:
            here = line.endswith(str(path))
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's list of mapped files")
def test_pages_that_were_read_are_given_back(tmp_path: Path) -> None:
    """Of four MiB of ids nothing stays in the process, and they read the same again."""
    num = 2 << 20
    np.arange(num, dtype=np.uint16).tofile(tmp_path / "targets.bin")
    (tmp_path / "inputs.bin").write_bytes(b"")
    ends = np.arange(0, num + 1, num // 8)
    np.save(tmp_path / "targets_offsets.npy", ends)
    np.save(tmp_path / "inputs_offsets.npy", np.zeros_like(ends))
    np.save(tmp_path / "rows.npy", np.arange(8))
    (tmp_path / "meta.json").write_text(json.dumps({"name": "made/train", "dtype": "uint16"}))
    table = open_table(tmp_path)
    before = table.get("targets", 5)
    assert int(table.ids["targets"].max()) == 65_535
    assert resident_kib(tmp_path / "targets.bin") == 4096
    table.release()
    assert resident_kib(tmp_path / "targets.bin") == 0
    assert np.array_equal(table.get("targets", 5), before)
