"""Tasks made of the user's own files: two columns, or question, context and answer; or plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

from textfer.batch import Example, Row
from textfer.data.fields import field, wrong
from textfer.data.lines import Format
from textfer.data.source import Rows, Source, file_source, open_rows
from textfer.data.task import Scores, Task
from textfer.data.tasks.corpora import plain_task
from textfer.data.tasks.squad import NO_ANSWER, gold_answers, mark, mark_v2, original_or_none, to_example
from textfer.errors import DataError, nearest
from textfer.metrics import accuracy, exact_match, token_f1

INPUT_NAMES = (
    *("inputs", "input", "source", "src", "text", "sentence", "question", "prompt", "document", "article"),
    *("instruction", "query", "review", "content"),
)
TARGET_NAMES = (
    *("targets", "target", "output", "outputs", "label", "labels", "answer", "answers", "summary", "translation"),
    *("completion", "response", "class", "category", "highlights"),
)
ANSWER_NAMES = ("answer", "answers", "answer_text")
ROW_NAMES = ("id", "idx", "index", "_id", "guid", "")
"""Columns that number the rows: never taken unasked."""
MAX_CHOICES = 20
ROWS_PER_CHOICE = 5
MAX_CHOICE_CHARS = 40
MANY_CONTEXTS = 20
FORM = 1


def file_task(
    path: str,
    *,
    inputs_column: str | None = None,
    targets_column: str | None = None,
    prefix: str = "",
    hold_out: float = 0.1,
    kind: Format | None = None,
) -> Task:
    """A task of the user's file, pattern or folder. Its `summary` says which columns it took, and as what.

    Unless columns are named: `question`, `context` and `answer` make reading comprehension in SQuAD's form (an empty
    answer means that the context has none); else columns with usual names (`inputs`, `text`, …; `targets`, `label`, …),
    else the first two. `text` with nothing to go with it is plain text for pre-training. Few different, short, often
    repeated targets are taken for the labels of a classification. `prefix` stands before every input.

    Where no file is named after a validation split, about the share `hold_out` of the rows is held out: those whose
    inputs (contexts, if there are many) hash below it, so that like rows stay together and new rows move no old one.
    """
    source = file_source(path, kind=kind, hold_out=hold_out)
    name = Path(path.rstrip("/")).name.split(".")[0].strip("*-_ ") or "file"
    rows = open_rows(replace(source, hold_out=0.0), "train")
    columns = rows.columns
    if inputs_column is None and targets_column is None:
        if _is_plain(columns):
            plain = replace(source, columns=("text",), hold_out_by=("text",))
            return plain_task(name, plain, summary=f"{path}: plain text for pre-training")
        if found := _qa_columns(columns):
            return _qa_task(name, replace(source, columns=found), rows, prefix=prefix)
    pair = _pair(path, columns, inputs_column, targets_column)
    return _pair_task(name, replace(source, columns=pair, hold_out_by=pair[:1]), rows, prefix=prefix)


def _is_plain(columns: Sequence[str]) -> bool:
    """Whether there is `text` and nothing to answer with: alone, or among the likes of id, url, title."""
    return "text" in columns and len(columns) != 2 and not any(column.lower() in TARGET_NAMES for column in columns)


def _qa_columns(columns: Sequence[str]) -> tuple[str, str, str] | None:
    by_lower = {column.lower(): column for column in columns}
    answer = next((by_lower[known] for known in ANSWER_NAMES if known in by_lower), None)
    if answer and "question" in by_lower and "context" in by_lower:
        return by_lower["question"], by_lower["context"], answer
    return None


def _pair(path: str, columns: Sequence[str], inputs: str | None, targets: str | None) -> tuple[str, str]:
    for given in (inputs, targets):
        if given is not None and given not in columns:
            raise DataError(f"{path}: no column '{given}'.{nearest(given, columns)}")
    by_lower = {column.lower(): column for column in columns if column not in (inputs, targets)}
    inputs = inputs or next((by_lower.pop(known) for known in INPUT_NAMES if known in by_lower), None)
    targets = targets or next((by_lower.pop(known) for known in TARGET_NAMES if known in by_lower), None)
    left = [name for name in columns if name not in (inputs, targets) and name.lower() not in ROW_NAMES]
    if not inputs and left:
        inputs = left.pop(0)
    if not targets and left:
        targets = left.pop(0)
    if not inputs or not targets:
        shown = f"columns {', '.join(columns)}" if columns else "no column"
        raise DataError(f"{path}: {shown}, expected one to read and one to write.")
    return inputs, targets


def _qa_task(name: str, source: Source, rows: Rows, *, prefix: str) -> Task:
    question, context, answer = source.columns

    def examples(row: Row, origin: str) -> Iterable[Example]:
        whole = {
            "id": row.get("id", origin),
            "question": field(row, question, origin),
            "context": field(row, context, origin),
            "answers": _answers(field(row, answer, origin), answer, origin),
        }
        example = to_example(whole, origin, unanswerable=NO_ANSWER)
        yield replace(example, inputs=prefix + example.inputs)

    return Task(
        name=name,
        source=replace(source, hold_out_by=(context if _many(rows, context) else question,)),
        to_examples=examples,
        metrics=_mark_any,
        answer=original_or_none,
        family="reading comprehension",
        version=_version("qa", *source.columns, prefix),
        summary=f"{source.name}: reads columns '{question}' and '{context}', writes '{answer}' (reading comprehension)",
    )


def _pair_task(name: str, source: Source, rows: Rows, *, prefix: str) -> Task:
    inputs, targets = source.columns
    choices = _choices(rows, targets)

    def examples(row: Row, origin: str) -> Iterable[Example]:
        text = _texts(field(row, inputs, origin), inputs, origin)[0]
        golds = _texts(field(row, targets, origin), targets, origin)
        for name, value in ((inputs, text), (targets, golds[0])):
            if not value.strip():
                raise wrong(value, name, origin, "text that is not empty")
        if choices:
            golds = tuple(gold.strip() for gold in golds)
        yield Example(
            inputs=prefix + text,
            targets=golds[0],
            origin=origin,
            facts={"id": str(row.get("id", origin)), "answers": golds},
            fields={inputs: text},
        )

    meaning = f"labels: {', '.join(choices)}" if choices else "free text"
    return Task(
        name=name,
        source=source,
        to_examples=examples,
        metrics=_mark_labels if choices else _mark_texts,
        answer=_stripped,
        choices=choices,
        family="classification" if choices else "text to text",
        version=_version("pair", inputs, targets, prefix),
        summary=f"{source.name}: reads column '{inputs}', writes '{targets}' ({meaning})",
    )


def _texts(value: Any, name: str, origin: str) -> tuple[str, ...]:
    """A value as text, or a list's values: the first is the target, all are right answers."""
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(part, str | int | float) for part in values):
        raise wrong(value, name, origin, "text or a number")
    return tuple(str(part) for part in values)


def _answers(value: Any, name: str, origin: str) -> dict[str, Any]:
    """The answers of a question as SQuAD has them: from that form, from a list of texts, or from one; "" is none."""
    if isinstance(value, dict) and "text" in value:
        return value
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise wrong(value, name, origin, "text, a list of texts, or SQuAD's answers")
    return {"text": [text for text in texts if text.strip()]}


def _choices(rows: Rows, column: str) -> tuple[str, ...]:
    """The labels, where there are few, short and often repeated ones; () otherwise."""
    counts: Counter[str] = Counter()
    for value in _values(rows, column):
        label = str(value).strip()
        if not isinstance(value, str | int) or not 0 < len(label) <= MAX_CHOICE_CHARS:
            return ()
        counts[label] += 1
        if len(counts) > MAX_CHOICES:
            return ()
    enough = len(counts) >= 2 and counts.total() >= ROWS_PER_CHOICE * len(counts)
    return tuple(sorted(counts)) if enough else ()


def _many(rows: Rows, column: str) -> bool:
    """Whether a column has so many different values that holding out some of them leaves enough."""
    seen: set[str] = set()
    for value in _values(rows, column):
        seen.add(str(value))
        if len(seen) >= MANY_CONTEXTS:
            return True
    return False


def _values(rows: Rows, column: str) -> Iterator[Any]:
    """A column's values, without what cannot be read: that is told when the rows are used."""
    return (row[column] for _, row in rows.read(0, len(rows), on_bad=lambda error: None) if row.get(column) is not None)


def _version(*parts: str) -> int:
    return crc32("\0".join([str(FORM), *parts]).encode())  # other columns or prefix: other examples, other cache


def _stripped(text: str, example: Example) -> str:
    return text.strip()


def _mark_labels(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    return accuracy(answers, [example.targets for example in examples])


def _mark_texts(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    texts, golds = [str(answer) for answer in answers], gold_answers(examples)
    return {**exact_match(texts, golds), **token_f1(texts, golds)}


def _mark_any(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """SQuAD's scores: those of v2.0 as soon as one question has no answer."""
    marking: Callable[[Sequence[object], Sequence[Example]], Scores] = mark if all(gold_answers(examples)) else mark_v2
    return marking(answers, examples)
