"""What any task must keep to."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from textfer.batch import Example, Row
from textfer.data.task import Task, choices_of
from textfer.errors import DataError

FULL_MARKS = 100.0
HALF_MARKS = 50.0
NONSENSE = "zyx wvu"


def check_task(task: Task, rows: Sequence[Row] | None = None) -> list[Example]:
    """The examples of `rows` (by default the task's own sample), after all that a task must keep to was checked.

    Checked: the same row says the same; inputs, targets, choices, spans and facts are as declared; the targets
    themselves get full marks and nonsense does not; a field that is missing, null or outside the labels is one line
    that names row and field.

    Errors: AssertionError that says what is wrong.
    """
    at = f"task {task.name}"
    assert task.family, f"{at}: no family"
    assert task.summary, f"{at}: no summary"
    assert task.licence, f"{at}: no licence; say 'none stated' where there is none"
    assert task.schema, f"{at}: no schema source; say 'assumed' where nobody has seen the columns"
    assert len(set(task.choices)) == len(task.choices), f"{at}: a choice stands twice"
    own, rows = rows is None, task.sample if rows is None else rows
    assert rows, f"{at}: no sample rows"
    found: list[Example] = []
    for number, row in enumerate(rows):
        origin = f"{task.name}/sample:{number}"
        made = list(task.to_examples(row, origin))
        assert made == list(task.to_examples(row, origin)), f"{origin}: the same row says something else"
        assert made or task.drops, f"{origin}: no example, and `drops` does not say why"
        for example in made:
            _check_example(task, example, origin)
        _check_complaints(task, row, origin)
        found += made
    assert found, f"{at}: no example in {len(rows)} rows"
    if task.plain:
        assert task.metrics is None, f"{at}: plain text is not marked"
    else:
        right = [example for example in found if task.learnt(example)]
        assert right or not own, f"{at}: no sample row with a right answer"
        if right:  # test splits may hold unlabelled rows only
            _check_marks(task, right)
    return found


def _check_example(task: Task, example: Example, origin: str) -> None:
    assert example.origin == origin, f"{origin}: the example says it comes from {example.origin}"
    assert example.targets.strip(), f"{origin}: empty target"
    assert bool(example.inputs.strip()) is not task.plain, f"{origin}: input {example.inputs!r}"
    choices = choices_of(task, example)
    if choices and task.learnt(example):
        assert example.targets in choices, f"{origin}: target {example.targets!r} is none of {choices[:8]}"
    for span in example.spans:
        text = example.fields[span.field]
        assert 0 <= span.start < span.end <= len(text), f"{origin}: span {span} is outside its field"
    json.dumps(dict(example.facts))


def _check_complaints(task: Task, row: Row, origin: str) -> None:
    """Whatever a row lacks is told in one line with row and field, or is not needed."""
    told = 0
    for column in task.source.columns or row:
        for broken in ({**row, column: None}, {key: value for key, value in row.items() if key != column}):
            try:
                list(task.to_examples(broken, origin))
            except DataError as error:
                message = str(error)
                assert message.startswith(f"{origin}: "), f"{origin}: the complaint does not say where: {message}"
                assert column in message, f"{origin}: the complaint does not name '{column}': {message}"
                assert "\n" not in message, f"{origin}: the complaint is not one line: {message!r}"
                told += 1
    assert told, f"{origin}: no column is needed"


def _check_marks(task: Task, examples: Sequence[Example]) -> None:
    assert task.metrics is not None, f"task {task.name}: no metric"
    golds = task.metrics([task.answer(example.targets, example) for example in examples], examples)
    main = task.main_metric
    assert next(iter(golds)) == main, f"task {task.name}: the main metric is {main} without and {golds} with examples"
    everything = {example.targets for example in examples} >= set(task.choices)
    if not math.isnan(golds[main]) and (
        everything or golds[main] > FULL_MARKS
    ):  # a class that is absent may count as 0
        assert math.isclose(golds[main], FULL_MARKS, abs_tol=1e-4), f"task {task.name}: the targets score {golds}"
    poor = task.metrics([task.answer(NONSENSE, example) for example in examples], examples)
    assert not poor[main] >= HALF_MARKS, f"task {task.name}: nonsense scores {poor}"
