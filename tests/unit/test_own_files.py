"""Tasks made of the user's files: which columns they take, what they make of them, what they hold out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textfer.batch import Example
from textfer.data.source import open_rows
from textfer.data.task import Task
from textfer.data.tasks.files import file_task
from textfer.errors import DataError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache"))


def table(path: Path, header: str, *rows: tuple[str, ...]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return str(path)


def examples(task: Task, split: str = "train") -> list[Example]:
    rows = open_rows(task.source, split)
    return [
        example
        for index, row in rows.read(0, len(rows))
        for example in task.to_examples(row, f"{task.name}/{rows.origin(index)}")
    ]


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("input,target", ("input", "target")),
        ("Targets,Inputs", ("Inputs", "Targets")),
        ("id,source,notes,target", ("source", "target")),
        ("label,text", ("text", "label")),
        ("id,german,english", ("german", "english")),
        ("title,document,summary", ("document", "summary")),
        ("question,answer", ("question", "answer")),
        ("title,text", ("text", "title")),
        ("idx,foo,text,label", ("text", "label")),
    ],
)
def test_columns_are_found(tmp_path: Path, header: str, taken: tuple[str, str]) -> None:
    names = header.split(",")
    path = table(
        tmp_path / "my.csv", header, tuple(f"{name} 1" for name in names), tuple(f"{name} 2" for name in names)
    )
    task = file_task(path)
    assert task.source.columns == taken
    assert task.summary == f"{path}: reads column '{taken[0]}', writes '{taken[1]}' (free text)"
    (found, held) = [*examples(task), *examples(task, "validation")]
    assert {found.inputs, held.inputs} == {f"{taken[0]} 1", f"{taken[0]} 2"}
    assert {found.targets, held.targets} == {f"{taken[1]} 1", f"{taken[1]} 2"}
    assert (task.name, task.choices) == ("my", ())


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = table(tmp_path / "my.csv", "text,label,note", ("t1", "l1", "n1"), ("t2", "l2", "n2"))
    assert file_task(path, inputs_column="note").source.columns == ("note", "label")
    assert file_task(path, targets_column="note").source.columns == ("text", "note")
    assert file_task(path, targets_column="text").source.columns == ("label", "text")
    with pytest.raises(DataError, match=r"my\.csv: no column 'lable'\. Did you mean 'label'\?"):
        file_task(path, targets_column="lable")
    with pytest.raises(DataError, match=r"one\.csv: columns word, expected one to read and one to write\."):
        file_task(table(tmp_path / "one.csv", "word", ("x",)))


def test_other_columns_or_prefix_make_another_version(tmp_path: Path) -> None:
    path = table(tmp_path / "my.csv", "text,label,note", ("t1", "l1", "n1"), ("t2", "l2", "n2"))
    tasks = [file_task(path), file_task(path, targets_column="note"), file_task(path, prefix="say: ")]
    assert len({task.version for task in tasks}) == 3
    assert file_task(path).version == tasks[0].version
    assert [example.inputs[:6] for example in examples(tasks[2])] == ["say: t"]


def test_few_repeated_labels_are_choices(tmp_path: Path) -> None:
    rows = [(f"review {n}", ("good ", "bad")[n % 2]) for n in range(40)]
    task = file_task(table(tmp_path / "reviews.csv", "review,label", *rows))
    assert task.choices == ("bad", "good")
    assert task.summary.endswith("reads column 'review', writes 'label' (labels: bad, good)")
    found = [*examples(task), *examples(task, "validation")]
    assert {example.targets for example in found} == {"bad", "good"}
    answers = [task.answer(" good\n", example) for example in found]
    assert task.metrics(answers, found) == {"accuracy": 50.0}  # type: ignore[misc]
    assert file_task(table(tmp_path / "few.csv", "review,label", *rows[:8])).choices == ()


def test_numbers_are_labels_too_and_lists_are_all_right_answers(tmp_path: Path) -> None:
    path = tmp_path / "my.parquet"
    pq.write_table(pa.table({"text": [f"t{n}" for n in range(20)], "label": [n % 2 for n in range(20)]}), path)
    task = file_task(str(path))
    assert task.choices == ("0", "1")
    assert {example.targets for example in examples(task)} == {"0", "1"}
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps({"q": f"q{n}", "a": [f"x{n}", f"y{n}"]}) + "\n" for n in range(9)))
    task = file_task(str(many))
    found = examples(task)
    assert [example.targets[0] for example in found] == ["x"] * len(found)
    scores = task.metrics([f"y{example.targets[1]} z" for example in found], found)  # type: ignore[misc]
    assert scores == {"exact_match": 0.0, "f1": pytest.approx(100 * 2 / 3)}


def test_question_context_answer_is_reading_comprehension(tmp_path: Path) -> None:
    rows = [(f"Where is No. {n}?", f"Ann lives in No. {n}.", f"No. {n}") for n in range(30)]
    rows.append(("Where is Bob?", "Only Ann is here.", ""))
    path = table(tmp_path / "qa.csv", "question,context,answer", *rows)
    task = file_task(path)
    assert task.summary == f"{path}: reads columns 'question' and 'context', writes 'answer' (reading comprehension)"
    found = [*examples(task), *examples(task, "validation")]
    assert len(found) == 31
    by_question = {example.fields["question"]: example for example in found}
    third = by_question["Where is No. 3?"]
    assert (third.inputs, third.targets) == (
        "question: Where is No . 3 ? context: Ann lives in No . 3 . ",
        "No . 3",
    )
    assert (third.spans[0].start, third.facts["answers"]) == (13, ("No. 3",))
    assert by_question["Where is Bob?"].targets == "unanswerable"
    answers = [task.answer(example.targets, example) for example in found]
    scores = task.metrics(answers, found)  # type: ignore[misc]
    assert (scores["em"], scores["NoAns_total"]) == (100, 1)
    answered = [example for example in found if example.facts["answers"]]
    assert task.metrics([""] * 30, answered) == {"em": 0, "f1": 0}  # type: ignore[misc]
    assert task.main_metric == "em"


def test_squads_own_columns_and_form(tmp_path: Path) -> None:
    question = {"id": "7", "question": "Who?", "answers": [{"text": "Al", "answer_start": 3}]}
    squad = {"data": [{"paragraphs": [{"context": f"So Al {n}.", "qas": [question]} for n in range(9)]}]}
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(squad))
    found = examples(file_task(str(path), hold_out=0))
    assert len(found) == 9
    assert (found[0].targets, found[0].facts, found[0].spans[0][1:3]) == ("Al", {"id": "7", "answers": ("Al",)}, (3, 5))


def test_like_contexts_stay_together(tmp_path: Path) -> None:
    rows = [(f"Question {n}?", f"Context {n % 50}.", f"{n % 50}") for n in range(400)]
    task = file_task(table(tmp_path / "qa.csv", "question,context,answer", *rows))
    train, held = (
        {example.fields["context"] for example in examples(task, split)} for split in ("train", "validation")
    )
    assert train
    assert held
    assert not train & held
    few = [(question, "The only context.", answer) for question, _, answer in rows]
    task = file_task(table(tmp_path / "few.csv", "question,context,answer", *few))
    assert 20 <= len(examples(task, "validation")) <= 60


def test_plain_text(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("".join(f"Line {n}.\n" for n in range(100)))
    task = file_task(str(path))
    assert (task.plain, task.name, task.metrics) == (True, "notes", None)
    train, held = examples(task), examples(task, "validation")
    assert len(train) + len(held) == 100
    assert (train[0].inputs, train[0].targets[:5]) == ("", "Line ")
    assert len(examples(file_task(str(path), kind="document", hold_out=0))) == 1
    wiki = tmp_path / "wiki.parquet"
    pq.write_table(pa.table({"id": ["1", "2"], "url": ["u", "v"], "text": ["one", "two"]}), wiki)
    assert file_task(str(wiki)).plain


def test_a_folder_with_splits_holds_nothing_out(tmp_path: Path) -> None:
    for split, n in (("train", 3), ("dev", 2)):
        table(tmp_path / f"{split}.csv", "input,target", *[(f"{split} {k}", str(k)) for k in range(n)])
    task = file_task(str(tmp_path))
    assert [len(examples(task, split)) for split in ("train", "validation")] == [3, 2]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"text": null, "label": "x"}', "my/my.jsonl:2: field 'text' is null, expected text or a number."),
        ('{"label": "x"}', "my/my.jsonl:2: no field 'text'. Known: label."),
        ('{"text": {"a": 1}, "label": "x"}', "my/my.jsonl:2: field 'text' is {'a': 1}, expected text or a number."),
        ('{"text": "t", "label": []}', "my/my.jsonl:2: field 'label' is [], expected text or a number."),
    ],
)
def test_bad_rows_are_told_with_file_and_line(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "my.jsonl"
    path.write_text(f'{{"text": "t", "label": "y"}}\n{line}\n')
    task = file_task(str(path), hold_out=0)
    with pytest.raises(DataError) as caught:
        examples(task)
    assert str(caught.value) == expected


def test_broken_answers_are_told(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_text('{"question": "q", "context": "c", "answer": 3}\n')
    with pytest.raises(DataError, match=r"qa/qa\.jsonl:1: field 'answer' is 3, expected text, a list of texts"):
        examples(file_task(str(path), hold_out=0))


@pytest.mark.parametrize(("row", "name"), [((" ", "right"), "input"), (("left", ""), "target")])
def test_an_empty_text_is_refused_where_it_stands(tmp_path: Path, row: tuple[str, str], name: str) -> None:
    task = file_task(table(tmp_path / "pairs.csv", "input,target", ("a", "b"), row), hold_out=0.0)
    with pytest.raises(DataError, match=rf"pairs\.csv:3: field '{name}' is .*, expected text that is not empty"):
        examples(task)
