"""What the data doctor says of rows written for it: every number is counted by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textfer.data.layout import Lens
from textfer.data.source import Source
from textfer.data.task import Task
from textfer.data.tasks.corpora import plain_task
from textfer.data.tasks.forms import by_label, labelled
from textfer.doctor import data
from textfer.doctor.data import Look, SplitReport, examine_data
from textfer.errors import ConfigError
from textfer.metrics import accuracy
from textfer.tokenizers import Bytes

MOODS = ("glad", "sad")
LONG = "the ferry to Aldon was late again and nobody on the pier could say why it was so"
TRAIN = [
    ("a fine day", 0),
    ("a fine day", 0),
    ("a fine day", 1),
    ("rain", 1),
    ("nobody knows", -1),
    (LONG, 1),
]
VALIDATION = [("A fine day!", 0), ("snow", 1), (f"They said {LONG}.", 1), ("nobody knows", 0)]


def task(name: str = "moods") -> Task:
    return Task(
        name=name,
        source=Source(name=f"lab/{name}", columns=("text", "label")),
        to_examples=labelled(name, ("text",), MOODS),
        choices=MOODS,
        metrics=by_label(MOODS, accuracy),
    )


def store(folder: Path, name: str, split: str, rows: Sequence[tuple[Any, Any]]) -> None:
    place = folder / "lab" / name / "default"
    place.mkdir(parents=True, exist_ok=True)
    texts, labels = zip(*rows, strict=True)
    pq.write_table(pa.table({"text": texts, "label": labels}), place / f"{split}.parquet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store(tmp_path, "moods", "train", TRAIN)
    store(tmp_path, "moods", "validation", VALIDATION)
    return tmp_path


def test_counts_of_a_split(folder: Path) -> None:
    train, validation = examine_data([task()], Look(data_dir=folder)).splits
    longest = len(f"moods text: {LONG}")
    assert train == SplitReport(
        task="moods",
        split="train",
        num_rows=6,
        num_examples=6,
        num_learnt=5,
        num_without=0,
        num_bad=0,
        first_bad="",
        num_doubled=2,
        num_contradicting=1,
        labels={"sad": 3, "glad": 2},
        inputs=(len("moods text: a fine day"), longest, longest, longest),  # type: ignore[arg-type]
        targets=(3, 5, 5, 5),  # type: ignore[arg-type]
        tokens=None,
        cut_inputs=None,
        cut_targets=None,
    )
    assert train.largest_share == 3 / 5
    assert (validation.split, validation.num_doubled, validation.labels) == ("validation", 0, {"glad": 2, "sad": 2})


def test_lengths_in_tokens_and_what_is_cut(folder: Path) -> None:
    at = len("moods text: a fine day") + 1  # one token a byte, and the end mark
    look = Look(data_dir=folder, tokenizer=Bytes(), lens=Lens(at, 4))
    train = examine_data([task()], look).splits[0]
    assert (train.cut_inputs, train.cut_targets) == (2, 3), "two longer inputs; glad, glad and <unk>, not sad"
    assert train.tokens is not None
    assert train.inputs.median == at - 1


def test_lengths_of_many(folder: Path) -> None:
    store(folder, "moods", "train", [("x" * length, 0) for length in range(100, 0, -1)])
    before = len("moods text: ")
    train = examine_data([task()], Look(data_dir=folder)).splits[0]
    assert train.inputs == tuple(before + length for length in (50, 90, 99, 100))


def test_what_is_remembered_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MAX_KEPT", 1)
    train = examine_data([task()], Look(data_dir=folder)).splits[0]
    assert (train.num_doubled, train.labels) == (2, {"(others)": 3, "glad": 2})


def test_leaks_between_all_tasks(folder: Path) -> None:
    store(folder, "more", "train", [("snow", 0), ("ice", 1)])
    store(folder, "more", "test", [("rain", -1), ("hail", -1)])
    seen: list[str] = []
    report = examine_data([task(), task("more")], Look(data_dir=folder, on_split=seen.append))
    assert [(one.train, one.evaluation, one.same, one.overlapping, one.num_train) for one in report.leaks] == [
        ("moods/train", "moods/validation", 1, 1, 4),  # "nobody knows" is unlabelled in train: it is not learnt
        ("moods/train", "more/test", 1, 0, 1),
        ("more/train", "moods/validation", 1, 0, 1),
    ]
    assert report.leaks[0].samples[0] == ("moods/train:0", "moods/validation:0", "a fine day")
    assert report.one_in == 1
    assert report.missing == {}
    assert sorted(seen) == ["moods/train", "moods/validation", "more/test", "more/train"]
    assert [f"{one.task}/{one.split}" for one in report.splits] == [*seen_in_order(seen)]


def seen_in_order(seen: Sequence[str]) -> list[str]:
    """As they are told: by task, train first."""
    return sorted(seen, key=lambda name: (name.split("/")[0], name.split("/")[1] != "train"))


def test_bad_rows_and_rows_without_example_are_told(folder: Path) -> None:
    store(folder, "moods", "train", [("fine", 0), (None, 1), ("bad", 7), ("", 0)])
    plain = task()
    choosy = replace(plain, to_examples=lambda row, at: plain.to_examples(row, at) if row["text"] != "" else ())
    train = examine_data([choosy], Look(data_dir=folder)).splits[0]
    assert (train.num_rows, train.num_examples, train.num_without, train.num_bad) == (4, 1, 1, 2)
    assert train.first_bad == "moods/train:1: field 'text' is null, expected text."


def test_what_is_not_there_is_told(folder: Path) -> None:
    (folder / "lab/moods/default/test.parquet").write_bytes(b"not a table")
    report = examine_data([task(), task("none")], Look(data_dir=folder))
    assert sorted(report.missing) == ["moods/test", "none"]
    assert report.missing["none"].startswith("lab/none: no folder")
    assert [one.split for one in report.splits] == ["train", "validation"]
    with pytest.raises(ConfigError, match="doctor: task 'moods' is named twice"):
        examine_data([task(), task()], Look(data_dir=folder))


def test_plain_text_has_no_labels_and_is_only_trained_on(folder: Path) -> None:
    store(folder, "pages", "train", [(f"A page. {LONG}. It ends.", 0), (" ", 0)])
    store(folder, "pages", "validation", [("rain", 0)])
    pages = plain_task("pages", Source(name="lab/pages", columns=("text",)))
    report = examine_data([task(), pages], Look(data_dir=folder, tokenizer=Bytes()))
    page = report.splits[2]
    assert (page.task, page.num_rows, page.num_examples, page.num_without) == ("pages", 2, 1, 1)
    assert (page.labels, page.largest_share, page.cut_inputs) == ({}, 0.0, None)
    told = [(one.train, one.evaluation, one.overlapping) for one in report.leaks if "pages" in one.train]
    assert told == [("pages/train", "moods/validation", 1)]
    assert not [one for one in report.leaks if one.evaluation.startswith("pages")]
