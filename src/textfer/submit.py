"""The files that GLUE's and SuperGLUE's leaderboards take: one a task, zipped flat, all of them there.

GLUE: tab-separated, `index<TAB>prediction`, counted from 0 in the order of the test split. SuperGLUE: one JSON object a
line, `{"idx": …, "label": …}`; MultiRC nests answers in questions in a passage, ReCoRD goes by query. Every file has as
many rows as the test split, or it is not written.

**Source**: benchmarks of nyu-mll/jiant, prepare_glue_submission.py of T5.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from textfer.batch import Example
from textfer.data.named import find_task
from textfer.data.predictions import read_predictions
from textfer.data.source import open_rows
from textfer.data.task import Task
from textfer.data.tasks.glue import as_number
from textfer.data.tasks.winograd import names_referent
from textfer.errors import ConfigError, DataError
from textfer.evaluate import example_ids, load_examples
from textfer.suites import find_suite
from textfer.training.checkpoint import saving

Kind = Literal["word", "index", "number", "boolean", "referent", "text", "nested"]
Answer = Callable[[Task, Sequence[Example]], Sequence[str]]
"""Takes a task and its test examples, gives one text each."""
MAX_SIMILARITY = 5.0
SIMILARITIES = tuple(f"{fifths / 5:.1f}" for fifths in range(26))
"""What STS-B may be answered with: T5's targets."""
DATE = (1980, 1, 1, 0, 0, 0)
"""The same answers make the same zip."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of a leaderboard's zip."""

    name: str
    """As the leaderboard calls the task."""
    task: str
    kind: Kind
    """How an answer is written."""
    majority: str
    """The commonest class of the published train split (of equal ones either), the mean for STS-B: what a file that is
    only filled says."""
    words: tuple[str, str] = ("false", "true")
    """How `boolean` and `referent` are spelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What stands in a file of the zip."""

    file: str
    num_rows: int
    filled: str = ""
    """Why it holds the majority class; empty = answers."""


ENTAILED = "entailment"
FILES: Mapping[str, tuple[File, ...]] = {
    "glue": (
        File("CoLA", "cola", "index", "acceptable"),
        File("SST-2", "sst2", "index", "positive"),
        File("MRPC", "mrpc", "index", "equivalent"),
        File("STS-B", "stsb", "number", "2.7"),
        File("QQP", "qqp", "index", "not_duplicate"),
        File("MNLI-m", "mnli", "word", "contradiction"),
        File("MNLI-mm", "mnli_mismatched", "word", "contradiction"),
        File("QNLI", "qnli", "word", "not_entailment"),
        File("RTE", "rte", "word", ENTAILED),
        File("WNLI", "wnli_wsc", "referent", "0", ("0", "1")),
        File("AX", "ax", "word", "contradiction"),
    ),
    "super_glue": (
        File("BoolQ", "boolq", "boolean", "True"),
        File("CB", "cb", "word", "contradiction"),
        File("COPA", "copa", "index", "choice2"),
        File("MultiRC", "multirc", "nested", "False"),
        File("ReCoRD", "record", "text", ""),
        File("RTE", "super_glue_rte", "word", ENTAILED),
        File("WiC", "wic", "boolean", "True"),
        File("WSC", "wsc", "referent", "False", ("False", "True")),
        File("AX-b", "axb", "word", ENTAILED),
        File("AX-g", "axg", "word", ENTAILED),
    ),
}
ENDINGS = {"glue": ".tsv", "super_glue": ".jsonl"}


def submit(suite: str, answer: Answer, out: Path, *, fill: bool = False, data_dir: Path | None = None) -> list[Written]:
    """What the zip at `out` holds, file by file. It is written whole or not at all.

    Row counts are checked before anything is answered. With `fill`, a task whose test rows or predictions are missing
    or too few says the majority class in every row; single rows are never filled.

    Errors: DataError that names the file, its rows and the number expected, or an answer that is none of the labels.
    """
    key = find_suite(suite).name
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"--out: {out.parent} is no folder. Make it first.")
    lacking = {file.name: _lack(key, file, data_dir) for file in FILES[key]}
    if not fill and (why := next(filter(None, lacking.values()), "")):
        raise DataError(f"{why} Get the whole split, or say --fill majority to answer with the commonest class.")
    for file in FILES[key]:
        if lacking[file.name] and file.kind == "nested":
            raise DataError(f"{lacking[file.name]} It cannot be filled without them: its file nests them by their idx.")
    contents, written = {}, []
    for file in FILES[key]:
        why, task = lacking[file.name], find_task(file.task)
        labels = None
        if not why:
            try:
                labels = _answered(file, task, answer, data_dir)
            except _NoPredictionsError as error:
                if not fill:
                    raise DataError(str(error)) from None
                why = str(error)
        if labels is None:
            labels = _filled(file, task, data_dir, rows_there=not lacking[file.name])
        name = f"{file.name}{ENDINGS[key]}"
        contents[name] = _content(key, file, labels)
        written.append(Written(file=name, num_rows=len(labels), filled=why))
    _write_zip(out, contents)
    return written


class _NoPredictionsError(DataError):
    """A task that nobody answered."""


def from_folder(folder: Path) -> Answer:
    """Answers from `<task>.json` or `<task>-test.json` ({id: text}) in a folder, as `textfer eval --out` leaves them.

    Errors: DataError where an id is missing, unknown or there twice.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder, expected <task>.json files in it.")

    def answer(task: Task, examples: Sequence[Example]) -> Sequence[str]:
        paths = [folder / f"{task.name}{ending}.json" for ending in ("", "-test")]
        path = next((one for one in paths if one.exists()), None)
        if path is None:
            raise _NoPredictionsError(f"{paths[0]}: no such file, expected the predictions for {task.name}.")
        return list(read_predictions(path, ids=example_ids(examples)).values())

    return answer


def with_choices(task: Task) -> Task:
    """The task as it is answered for a leaderboard: STS-B too has a closed list of answers."""
    return replace(task, choices=SIMILARITIES) if task.name == "stsb" else task


def _lack(suite: str, file: File, data_dir: Path | None) -> str:
    """Why the test rows do not do; empty when they do."""
    task = find_task(file.task)
    expected = task.sizes["test"]
    try:
        found = len(open_rows(task.source, "test", data_dir=data_dir))
    except DataError as error:
        return f"{suite}: {file.name} has no test rows ({str(error).rstrip('.')}), expected {expected:,}."
    if found != expected:
        return f"{suite}: {file.name} has {found:,} test rows, expected {expected:,}."
    return ""


def _examples(file: File, task: Task, data_dir: Path | None) -> list[Example]:
    """One example a row of the test split, in its order."""
    by_origin = {one.origin: one for one in reversed(load_examples(task, "test", data_dir=data_dir))}
    examples = list(by_origin.values())[::-1]
    if len(examples) != task.sizes["test"]:
        raise DataError(
            f"{file.name}: {len(examples):,} examples of {task.sizes['test']:,} test rows, expected one a row."
        )
    places = [tuple(_flat(example.facts["idx"])) for example in examples]
    for before, after, example in zip(places, places[1:], examples[1:], strict=False):
        if not before < after:
            raise DataError(f"{example.origin}: idx is {after} after {before}, expected the order of the test split.")
    return examples


def _flat(idx: object) -> list[int]:
    return [int(value) for value in idx.values()] if isinstance(idx, Mapping) else [int(str(idx))]


@dataclass(frozen=True, slots=True)
class _Label:
    idx: Any
    value: str | int


def _answered(file: File, task: Task, answer: Answer, data_dir: Path | None) -> list[_Label]:
    examples = _examples(file, task, data_dir)
    texts = answer(with_choices(task), examples)
    return [
        _Label(example.facts["idx"], _label(file, task, text, example))
        for text, example in zip(texts, examples, strict=True)
    ]


def _label(file: File, task: Task, text: str, example: Example) -> str | int:
    """One answer as the leaderboard spells it. Errors: DataError for what is none of the labels."""
    word = str(task.answer(text, example))
    if file.kind == "referent":
        return file.words[names_referent(word, example) == 1]
    if file.kind == "text":
        return word
    if file.kind == "number":
        value = as_number(word)
        if value < 0:
            raise DataError(f"{file.name}: the answer to {example.origin} is {text!r}, expected a number from 0 to 5.")
        return f"{min(value, MAX_SIMILARITY):.3f}"
    if word not in task.choices:
        raise DataError(
            f"{file.name}: the answer to {example.origin} is {text!r}, expected one of {', '.join(task.choices)}."
        )
    number = task.choices.index(word)
    if file.kind == "boolean":
        return file.words[number]
    return word if file.kind == "word" else number


def _filled(file: File, task: Task, data_dir: Path | None, *, rows_there: bool) -> list[_Label]:
    """The majority class in every row; of ReCoRD the first entity, or "" where its passages are missing.

    Without rows idx is taken to count from 0, as in every test split that could be looked at.
    """
    if rows_there:
        examples = _examples(file, task, data_dir)
        first = [str((*one.facts.get("choices", ()), file.majority)[0]) for one in examples]
        values = first if file.kind == "text" else [_spelled(file, task)] * len(first)
        return [_Label(one.facts["idx"], value) for one, value in zip(examples, values, strict=True)]
    return [_Label(number, _spelled(file, task)) for number in range(task.sizes["test"])]


def _spelled(file: File, task: Task) -> str | int:
    """The majority class as the leaderboard spells it."""
    if file.kind == "number":
        return f"{float(file.majority):.3f}"
    if file.kind in ("word", "referent", "text"):
        return file.majority
    number = task.choices.index(file.majority)
    return file.words[number] if file.kind == "boolean" else number


def _content(suite: str, file: File, labels: Sequence[_Label]) -> str:
    if suite == "glue":
        rows = [f"{number}\t{label.value}" for number, label in enumerate(labels)]
        return "\n".join(["index\tprediction", *rows]) + "\n"
    if file.kind == "nested":
        objects = _nested(labels)
    else:
        part = "query" if file.name == "ReCoRD" else None
        idx = [one.idx[part] if part and isinstance(one.idx, Mapping) else one.idx for one in labels]
        objects = [{"idx": number, "label": one.value} for number, one in zip(idx, labels, strict=True)]
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects)


def _nested(labels: Sequence[_Label]) -> list[dict[str, Any]]:
    """One object a paragraph, with its questions, with their answers."""
    table: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for one in labels:
        questions = table.setdefault(one.idx["paragraph"], {})
        questions.setdefault(one.idx["question"], []).append({"idx": one.idx["answer"], "label": one.value})
    return [
        {
            "idx": paragraph,
            "passage": {"questions": [{"idx": number, "answers": answers} for number, answers in questions.items()]},
        }
        for paragraph, questions in table.items()
    ]


def _write_zip(out: Path, contents: Mapping[str, str]) -> None:
    """Writes the zip, flat, whole or not at all. Errors: MachineError."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in contents.items():
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, text.encode())
    work = out.with_name(f".{out.name}.part")
    with saving(out):
        work.write_bytes(packed.getvalue())
        os.replace(work, out)
