"""The leaderboards' zips: every file's name, header, order, labels and number of rows, by rules written here anew.

The rules are those that the leaderboards publish (files, headers, label words, sizes of the test splits); nothing of
`submit` is used to state them. Rows are made: each task's own unlabelled sample row, with the idx that it would have.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from textfer.batch import Example, Row
from textfer.data.source import Made, Source
from textfer.data.task import TASKS, Task
from textfer.errors import ConfigError, DataError
from textfer.evaluate import example_ids
from textfer.submit import FILES, Written, from_folder, submit

GLUE = {
    "CoLA.tsv": (1_063, "0|1"),
    "SST-2.tsv": (1_821, "0|1"),
    "MRPC.tsv": (1_725, "0|1"),
    "STS-B.tsv": (1_379, r"[0-4]\.\d{3}|5\.000"),
    "QQP.tsv": (390_965, "0|1"),
    "MNLI-m.tsv": (9_796, "entailment|neutral|contradiction"),
    "MNLI-mm.tsv": (9_847, "entailment|neutral|contradiction"),
    "QNLI.tsv": (5_463, "entailment|not_entailment"),
    "RTE.tsv": (3_000, "entailment|not_entailment"),
    "WNLI.tsv": (146, "0|1"),
    "AX.tsv": (1_104, "entailment|neutral|contradiction"),
}
SUPER_GLUE: Mapping[str, tuple[int, set[Any]]] = {
    "BoolQ.jsonl": (3_245, {"true", "false"}),
    "CB.jsonl": (250, {"entailment", "contradiction", "neutral"}),
    "COPA.jsonl": (500, {0, 1}),
    "MultiRC.jsonl": (9_693, {0, 1}),
    "ReCoRD.jsonl": (10_000, set()),
    "RTE.jsonl": (3_000, {"entailment", "not_entailment"}),
    "WiC.jsonl": (1_400, {"true", "false"}),
    "WSC.jsonl": (146, {"True", "False"}),
    "AX-b.jsonl": (1_104, {"entailment", "not_entailment"}),
    "AX-g.jsonl": (356, {"entailment", "not_entailment"}),
}
SMALL = 40
ANSWERS_A_QUESTION = 4
QUESTIONS_A_PARAGRAPH = 5


def idx_of(task: str, number: int) -> Any:
    if task == "multirc":
        question = number // ANSWERS_A_QUESTION
        return {"paragraph": question // QUESTIONS_A_PARAGRAPH, "question": question, "answer": number % 4}
    return {"passage": number // 3, "query": number} if task == "record" else number


def made(name: str, num_rows: int | None = None, order: Callable[[int], int] = lambda number: number) -> Task:
    """The task with a test split of made rows, as many as were published unless said otherwise."""
    task = TASKS.get(name)
    base = next((row for row in task.sample if row.get("label") in (-1, -1.0)), task.sample[-1])
    count = task.sizes["test"] if num_rows is None else num_rows
    rows = Made(row=lambda split, n: {**base, "idx": idx_of(name, order(n))}, num_rows={"test": count})
    return replace(task, source=Source(name=name, made=rows))


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Task]:
    """The tasks that are found: small ones where a test does not ask for all rows."""
    found = {file.task: made(file.task) for files in FILES.values() for file in files}
    monkeypatch.setattr("textfer.submit.find_task", lambda name: found[name])
    return found


@pytest.fixture
def small(tasks: dict[str, Task]) -> dict[str, Task]:
    """Suites of forty rows a task: for all that does not depend on their number."""
    for name in tasks:
        tasks[name] = replace(made(name, SMALL), sizes={"test": SMALL})
    return tasks


def turns(task: Task, examples: Sequence[Example]) -> list[str]:
    """The choices in turn, so that every label and its place can be foretold; an entity of ReCoRD."""
    if task.name == "record":
        return [example.facts["choices"][number % 2] for number, example in enumerate(examples)]
    if task.name in ("wsc", "wnli_wsc"):
        return [str(example.facts["referent"]) if n % 2 else "nobody" for n, example in enumerate(examples)]
    return [task.choices[number % len(task.choices)] for number in range(len(examples))]


def contents(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


# ---- the format, at full size


def bare(row: Row, origin: str) -> list[Example]:
    """What a zip asks of an example: QQP's 391 thousand rows are read in a third of the time."""
    return [Example(inputs="", targets="<unk>", origin=origin, facts={"idx": row["idx"]})]


def test_glue(tasks: dict[str, Task], tmp_path: Path) -> None:
    tasks["qqp"] = replace(tasks["qqp"], to_examples=bare)
    written = submit("glue", turns, tmp_path / "glue.zip")
    found = contents(tmp_path / "glue.zip")
    assert set(found) == set(GLUE)
    for name, (count, labels) in GLUE.items():
        assert found[name].endswith("\n")
        header, *rows = found[name].removesuffix("\n").split("\n")
        assert header == "index\tprediction"
        assert len(rows) == count, name
        assert all(row.startswith(f"{number}\t") for number, row in enumerate(rows)), name
        values = [row.partition("\t")[2] for row in rows]
        assert all(re.fullmatch(labels, value) for value in set(values)), name
    assert found["CoLA.tsv"].startswith("index\tprediction\n0\t0\n1\t1\n2\t0\n")
    assert found["STS-B.tsv"].startswith("index\tprediction\n0\t0.000\n1\t0.200\n2\t0.400\n")
    assert found["MNLI-mm.tsv"].startswith("index\tprediction\n0\tentailment\n1\tneutral\n2\tcontradiction\n")
    assert found["WNLI.tsv"].startswith("index\tprediction\n0\t0\n1\t1\n2\t0\n")
    assert written == [Written(file=name, num_rows=count) for name, (count, _) in GLUE.items()]


def test_super_glue(tasks: dict[str, Task], tmp_path: Path) -> None:
    submit("superglue", turns, tmp_path / "sg.zip")
    found = {
        name: [json.loads(line) for line in text.splitlines()] for name, text in contents(tmp_path / "sg.zip").items()
    }
    assert set(found) == set(SUPER_GLUE)
    for name, (count, labels) in SUPER_GLUE.items():
        if name == "MultiRC.jsonl":
            continue
        assert [one["idx"] for one in found[name]] == list(range(count)), name
        assert all(list(one) == ["idx", "label"] for one in found[name])
        if labels:
            assert {one["label"] for one in found[name]} == labels, name
            assert all(type(one["label"]) is type(next(iter(labels))) for one in found[name])
    assert [one["label"] for one in found["WSC.jsonl"][:3]] == ["False", "True", "False"]
    assert [one["label"] for one in found["COPA.jsonl"][:3]] == [0, 1, 0]
    assert [one["label"] for one in found["ReCoRD.jsonl"][:3]] == ["Aldon", "Hale", "Aldon"]


def test_multirc_nests_answers_in_questions_in_a_passage(tasks: dict[str, Task], tmp_path: Path) -> None:
    submit("superglue", turns, tmp_path / "sg.zip")
    lines = [json.loads(line) for line in contents(tmp_path / "sg.zip")["MultiRC.jsonl"].splitlines()]
    assert [one["idx"] for one in lines] == list(range(len(lines)))
    labels = []
    for one in lines:
        assert list(one) == ["idx", "passage"]
        assert list(one["passage"]) == ["questions"]
        for question in one["passage"]["questions"]:
            assert list(question) == ["idx", "answers"]
            assert question["idx"] // QUESTIONS_A_PARAGRAPH == one["idx"]
            assert [answer["idx"] for answer in question["answers"]] == list(range(len(question["answers"])))
            labels += [answer["label"] for answer in question["answers"]]
    assert len(labels) == 9_693
    assert labels[:5] == [0, 1, 0, 1, 0]
    assert lines[0]["passage"]["questions"][1] == {
        "idx": 1,
        "answers": [{"idx": number, "label": number % 2} for number in range(4)],
    }


def test_the_sizes_are_those_of_the_tasks() -> None:
    expected = {**{name[:-4]: count for name, (count, _) in GLUE.items()}}
    assert {file.name: TASKS.get(file.task).sizes["test"] for file in FILES["glue"]} == expected
    more = {name[:-6]: count for name, (count, _) in SUPER_GLUE.items()}
    assert {file.name: TASKS.get(file.task).sizes["test"] for file in FILES["super_glue"]} == more


def test_the_same_answers_make_the_same_zip(small: dict[str, Task], tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        submit("glue", turns, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip"]


# ---- refusals


def refusal(suite: str, answer: Callable[[Task, Sequence[Example]], Sequence[str]], out: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        submit(suite, answer, out, **options)
    assert not out.exists(), "nothing half-written"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def nobody(task: Task, examples: Sequence[Example]) -> list[str]:
    raise AssertionError("rows are counted before anything is answered")


@pytest.mark.parametrize(("count", "shown"), [(1_062, "1,062"), (1_064, "1,064")])
def test_another_number_of_rows_is_refused_before_anything_is_answered(
    tasks: dict[str, Task], tmp_path: Path, count: int, shown: str
) -> None:
    tasks["cola"] = made("cola", count)
    message = refusal("glue", nobody, tmp_path / "x.zip")
    assert message.startswith(f"glue: CoLA has {shown} test rows, expected 1,063. Get the whole split, or say --fill")


def test_rows_that_are_missing_are_refused(small: dict[str, Task], tmp_path: Path) -> None:
    small["wic"] = replace(small["wic"], source=Source(name="aps/super_glue", config="wic"))
    message = refusal("super_glue", nobody, tmp_path / "x.zip", data_dir=tmp_path)
    assert message.startswith("super_glue: WiC has no test rows (aps/super_glue: no folder ")
    assert "expected 40." in message


def test_rows_out_of_order_are_refused(small: dict[str, Task], tmp_path: Path) -> None:
    small["rte"] = replace(made("rte", SMALL, lambda n: SMALL - n), sizes={"test": SMALL})
    message = refusal("glue", turns, tmp_path / "x.zip")
    assert message == "test:1: idx is (39,) after (40,), expected the order of the test split." or message.endswith(
        "idx is (39,) after (40,), expected the order of the test split."
    )


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        ("sst2", "great", "SST-2: the answer to sst2/test:3 is 'great', expected one of negative, positive."),
        ("stsb", "very", "STS-B: the answer to stsb/test:3 is 'very', expected a number from 0 to 5."),
        ("stsb", "-2", "STS-B: the answer to stsb/test:3 is '-2', expected a number from 0 to 5."),
        ("qnli", "", "QNLI: the answer to qnli/test:3 is '', expected one of entailment, not_entailment."),
    ],
)
def test_an_answer_that_is_no_label_is_refused(
    small: dict[str, Task], tmp_path: Path, task: str, text: str, message: str
) -> None:
    def one_wrong(found: Task, examples: Sequence[Example]) -> list[str]:
        return [text if found.name == task and n == 3 else word for n, word in enumerate(turns(found, examples))]

    assert refusal("glue", one_wrong, tmp_path / "x.zip").endswith(message)


def test_a_similarity_above_five_is_five(small: dict[str, Task], tmp_path: Path) -> None:
    def high(task: Task, examples: Sequence[Example]) -> list[str]:
        return ["7.3"] * len(examples) if task.name == "stsb" else turns(task, examples)

    submit("glue", high, tmp_path / "x.zip")
    assert "\n39\t5.000\n" in contents(tmp_path / "x.zip")["STS-B.tsv"]


def test_a_folder_that_is_not_there_and_an_unknown_suite(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--out: .*/no is no folder. Make it first."):
        submit("glue", turns, tmp_path / "no" / "x.zip")
    with pytest.raises(ConfigError, match=r"unknown suite 'gleu'. Did you mean 'glue'?"):
        submit("gleu", turns, tmp_path / "x.zip")


# ---- filling


def test_a_short_task_is_filled_as_a_whole(small: dict[str, Task], tmp_path: Path) -> None:
    small["qqp"] = replace(made("qqp", SMALL - 1), sizes={"test": SMALL})
    asked = []

    def told(task: Task, examples: Sequence[Example]) -> list[str]:
        asked.append(task.name)
        return turns(task, examples)

    written = {one.file: one for one in submit("glue", told, tmp_path / "x.zip", fill=True)}
    assert written["QQP.tsv"].filled == "glue: QQP has 39 test rows, expected 40."
    assert [one.filled for one in written.values()].count("") == 10
    assert "qqp" not in asked
    assert contents(tmp_path / "x.zip")["QQP.tsv"].splitlines()[1:] == [f"{number}\t0" for number in range(SMALL)]


@pytest.mark.parametrize("suite", ["glue", "super_glue"])
def test_a_file_that_is_filled_keeps_to_the_format(small: dict[str, Task], tmp_path: Path, suite: str) -> None:
    (tmp_path / "empty").mkdir()
    written = submit(suite, from_folder(tmp_path / "empty"), tmp_path / "x.zip", fill=True)
    assert all("no such file, expected the predictions for" in one.filled for one in written)
    for name, text in contents(tmp_path / "x.zip").items():
        lines = text.splitlines()
        if suite == "glue":
            assert len(lines) == SMALL + 1
            assert all(re.fullmatch(GLUE[name][1], line.partition("\t")[2]) for line in lines[1:]), name
        elif name not in ("MultiRC.jsonl", "ReCoRD.jsonl"):
            assert [json.loads(line)["idx"] for line in lines] == list(range(SMALL))
            assert {json.loads(line)["label"] for line in lines} < SUPER_GLUE[name][1]
        elif name == "ReCoRD.jsonl":
            assert json.loads(lines[0]) == {"idx": 0, "label": "Aldon"}


def test_what_is_nested_cannot_be_filled_without_its_rows(small: dict[str, Task], tmp_path: Path) -> None:
    small["multirc"] = replace(made("multirc", SMALL - 1), sizes={"test": SMALL})
    message = refusal("super_glue", nobody, tmp_path / "x.zip", fill=True)
    assert message == (
        "super_glue: MultiRC has 39 test rows, expected 40. "
        "It cannot be filled without them: its file nests them by their idx."
    )


def test_entities_are_filled_without_their_rows(small: dict[str, Task], tmp_path: Path) -> None:
    small["record"] = replace(made("record", SMALL - 1), sizes={"test": SMALL})
    submit("super_glue", turns, tmp_path / "x.zip", fill=True)
    lines = contents(tmp_path / "x.zip")["ReCoRD.jsonl"].splitlines()
    assert [json.loads(line) for line in lines] == [{"idx": number, "label": ""} for number in range(SMALL)]


# ---- predictions of others


def predictions(folder: Path, tasks: Mapping[str, Task], change: Callable[[dict[str, str]], object]) -> Path:
    from textfer.evaluate import load_examples
    from textfer.submit import with_choices

    folder.mkdir()
    for file in FILES["glue"]:
        task = with_choices(tasks[file.task])
        examples = load_examples(task, "test")
        table = dict(zip(example_ids(examples), turns(task, examples), strict=True))
        if file.task == "cola":
            change(table)
        (folder / f"{task.name}{'-test' if file.task == 'rte' else ''}.json").write_text(json.dumps(table))
    return folder


def test_predictions_make_the_zip_that_the_model_would(small: dict[str, Task], tmp_path: Path) -> None:
    folder = predictions(tmp_path / "answers", small, lambda table: None)
    submit("glue", from_folder(folder), tmp_path / "a.zip")
    submit("glue", turns, tmp_path / "b.zip")
    assert contents(tmp_path / "a.zip") == contents(tmp_path / "b.zip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.pop("7"), "no entry for '7', expected a prediction for all 40 questions."),
        (lambda table: table.update({"40": "x"}), "'40' is none of the 40 questions. Is it the right split?"),
        (lambda table: table.update({"3": "fine"}), "CoLA: the answer to cola/test:3 is 'fine', expected one of un"),
    ],
)
@pytest.mark.parametrize("fill", [False, True])
def test_predictions_that_do_not_fit_are_refused_and_never_filled(
    small: dict[str, Task], tmp_path: Path, change: Callable[[dict[str, str]], object], message: str, fill: bool
) -> None:
    folder = predictions(tmp_path / "answers", small, change)
    assert message in refusal("glue", from_folder(folder), tmp_path / "x.zip", fill=fill)


def test_an_id_there_twice_is_refused(small: dict[str, Task], tmp_path: Path) -> None:
    folder = predictions(tmp_path / "answers", small, lambda table: None)
    (folder / "mrpc.json").write_text('{"0": "equivalent", "0": "not_equivalent"}')
    assert "'0' stands twice" in refusal("glue", from_folder(folder), tmp_path / "x.zip")


def test_predictions_that_are_missing_are_refused(small: dict[str, Task], tmp_path: Path) -> None:
    folder = predictions(tmp_path / "answers", small, lambda table: None)
    (folder / "ax.json").unlink()
    assert refusal("glue", from_folder(folder), tmp_path / "x.zip").endswith(
        "ax.json: no such file, expected the predictions for ax."
    )
    with pytest.raises(DataError, match=r"no such folder, expected <task>.json files in it"):
        from_folder(tmp_path / "nowhere")
