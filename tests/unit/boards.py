"""Models that answer by a rule, and tasks of made rows: what the tests of the scoreboard share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from textfer.choices import Choices, Ranked, ranked
from textfer.data.source import Made, Source
from textfer.data.task import Task
from textfer.data.tasks.forms import by_label, labelled, stripped
from textfer.generate import Decoding, Generated, Predictor
from textfer.metrics import accuracy, binary_f1
from textfer.scoreboard.board import Request
from textfer.scoreboard.checkpoints import Checkpoint

WORDS = ("no", "yes")
NUM_ROWS = 40


def is_yes(number: int) -> int:
    """Every fourth row is a no."""
    return int(number % 4 > 0)


def task_of(name: str, num_rows: int = NUM_ROWS, label: Callable[[int], int] = is_yes, **values: Any) -> Task:
    rows = Made(row=lambda split, n: {"text": f"{name} {n}", "label": label(n)}, num_rows={"validation": num_rows})
    return Task(
        name=name,
        source=Source(name=name, made=rows),
        to_examples=labelled(name, ("text",), WORDS),
        choices=WORDS,
        metrics=by_label(WORDS, binary_f1, accuracy),
        answer=stripped,
        **values,
    )


class Model:
    """Answers by a rule, and remembers what it was asked."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        self.rule = rule
        self.asked: list[str] = []
        self.stop_after = math.inf
        self.choices: Choices | None = None

    def generate_each(
        self, texts: Sequence[str], decoding: Decoding, *, choices: Choices | None = None
    ) -> Iterator[tuple[int, Generated]]:
        self.choices = choices
        for number in sorted(range(len(texts)), key=lambda n: -len(texts[n])):
            if len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(texts[number])
            yield number, Generated(self.rule(texts[number]), -1.0, 1)

    def rank_each(
        self, texts: Sequence[str], choices: Sequence[Sequence[str]], **options: object
    ) -> Iterator[tuple[int, Ranked]]:
        for number, text in enumerate(texts):
            self.asked.append(text)
            scores = [-1.0 if one == self.rule(text) else -2.0 for one in choices[number]]
            yield number, ranked(choices[number], scores, scores)


def number_in(text: str) -> int:
    return int(text.split()[-1])


def right(text: str) -> str:
    return WORDS[is_yes(number_in(text))]


CHECKPOINTS = [Checkpoint(model="m", folder=f"m/{step}", step=step) for step in (10, 20)]


def request(*tasks: Task, **values: Any) -> Request:
    return Request(tasks={task.name: task for task in tasks}, **{"num_samples": 50, **values})


def put_models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    """Folder → its model; no file is read."""
    found: dict[str, Model] = {
        "m/10": Model(lambda text: "yes"),
        "m/20": Model(lambda text: right(text) if number_in(text) < 20 else "no"),
    }

    class Loaded:
        def __init__(self, folder: str, *, weights: str) -> None:
            self.predictor = cast(Predictor, found[folder])

    monkeypatch.setattr("textfer.scoreboard.board.load", Loaded)
    monkeypatch.setattr(Checkpoint, "digest", lambda self: self.folder)
    monkeypatch.setattr(Checkpoint, "by_heads", lambda self: False)
    return found
