"""Marking: a predictor's answers, anybody's predictions file, ids."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from textfer.batch import Example
from textfer.data.task import TASKS
from textfer.data.tasks.files import file_task
from textfer.data.tasks.reading import reading_task
from textfer.errors import ConfigError, DataError, MachineError
from textfer.evaluate import evaluate, example_ids, load_examples, score_file, write_predictions
from textfer.generate import Decoding, Generated, Predictor

TASK = reading_task(num_train=5, num_validation=8)


class Answering:
    """A predictor that answers by a rule."""

    def __init__(self, rule: Callable[[int, str], str]) -> None:
        self.rule = rule

    def generate_each(
        self, texts: Sequence[str], decoding: Decoding | None = None, *, choices: None = None
    ) -> Iterator[tuple[int, Generated]]:
        return ((number, Generated(self.rule(number, text), -1.0, 1)) for number, text in enumerate(texts))


def predictor(rule: Callable[[int, str], str]) -> Predictor:
    return cast(Predictor, Answering(rule))


def gold() -> list[str]:
    return [example.facts["answers"][0] for example in load_examples(TASK, "validation")]


def test_what_is_right_is_counted() -> None:
    golden = gold()
    report = evaluate(predictor(lambda number, _: golden[number] if number % 2 else "x"), TASK, "validation")
    assert report.scores == {"em": 50.0, "f1": 50.0}
    assert (report.task, report.split, report.num_examples) == ("reading", "validation", 8)
    assert report.predictions == {f"validation-{n}": golden[n] if n % 2 else "x" for n in range(8)}


def test_a_limit_takes_examples_from_all_over_the_split() -> None:
    golden = gold()
    report = evaluate(predictor(lambda number, _: golden[(0, 2, 5)[number]]), TASK, "validation", limit=3)
    assert report.scores == {"em": 100.0, "f1": 100.0}
    assert list(report.predictions) == ["validation-0", "validation-2", "validation-5"]


def test_written_predictions_score_the_same(tmp_path: Path) -> None:
    golden = gold()
    report = evaluate(predictor(lambda number, _: golden[number] if number < 6 else "é “"), TASK, "validation")
    path = tmp_path / "predictions.json"
    write_predictions(report, path)
    assert json.loads(path.read_text(encoding="utf-8")) == report.predictions
    assert "é “" in path.read_text(encoding="utf-8")
    assert score_file(TASK, "validation", path) == report
    assert report.scores["em"] == 75.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("validation-3"), "no entry for 'validation-3', expected a prediction for all 8 questions."),
        (lambda p: p.update(other="x"), "'other' is none of the 8 questions. Is it the right split?"),
        (lambda p: p.update({"validation-0": 3}), "the prediction of 'validation-0' is 3, expected text."),
    ],
)
def test_predictions_for_other_questions(
    tmp_path: Path, change: Callable[[dict[str, object]], object], message: str
) -> None:
    predictions: dict[str, object] = {f"validation-{n}": "x" for n in range(8)}
    change(predictions)
    path = tmp_path / "predictions.json"
    path.write_text(json.dumps(predictions))
    with pytest.raises(DataError) as caught:
        score_file(TASK, "validation", path)
    assert str(caught.value) == f"{path}: {message}"


def test_an_id_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    path.write_text('{"validation-0": "a", "validation-0": "b"}')
    with pytest.raises(DataError, match=re.escape(f"{path}: 'validation-0' stands twice in one object")):
        score_file(TASK, "validation", path)


def test_a_task_that_nothing_marks() -> None:
    plain = TASKS.get("wikipedia_en")
    for act in (
        lambda: evaluate(predictor(lambda number, text: ""), plain, "train"),
        lambda: score_file(plain, "train", Path("none.json")),
    ):
        with pytest.raises(ConfigError, match="task 'wikipedia_en': has no metric, it is for training only"):
            act()


def test_nothing_to_mark() -> None:
    empty = replace(TASK, to_examples=lambda row, origin: ())
    with pytest.raises(DataError, match="reading/validation: no example"):
        evaluate(predictor(lambda number, text: ""), empty, "validation")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    report = evaluate(predictor(lambda number, text: ""), TASK, "validation", limit=1)
    with pytest.raises(MachineError, match=r"is/not/there.json: cannot be written \(No such file or directory\)"):
        write_predictions(report, tmp_path / "is/not/there.json")


def test_ids() -> None:
    def example(origin: str, own: str | None = None) -> Example:
        return Example(inputs="", targets="", origin=origin, facts={} if own is None else {"id": own})

    assert example_ids([example("t:0", "a"), example("t:1", "b")]) == ["a", "b"]
    assert example_ids([example("t:0", "a"), example("t:1")]) == ["a", "t:1"]
    assert example_ids([example("t:0", "a"), example("t:1", "a")]) == ["t:0", "t:1"]
    assert example_ids([example("t:0"), example("t:0"), example("t:1")]) == ["t:0", "t:0#2", "t:1"]


def test_doubled_ids_of_the_users_rows_lose_no_answer(tmp_path: Path) -> None:
    rows = [{"id": n // 2, "question": f"q{n}?", "context": f"It is {n}.", "answer": str(n)} for n in range(6)]
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    report = evaluate(predictor(lambda number, text: str(number)), file_task(str(tmp_path)), "validation")
    assert len(report.predictions) == 6
    assert report.scores["em"] == 100.0
