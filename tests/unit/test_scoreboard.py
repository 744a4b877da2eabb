"""Many tasks × many checkpoints: scores, constant baselines, intervals, answers kept on disk and resumed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boards import CHECKPOINTS, NUM_ROWS, WORDS, Model, number_in, put_models, request, right, task_of

from textfer.batch import Example, Row
from textfer.errors import ConfigError, DataError
from textfer.evaluate import Answering, constant_baseline, group_of, intervals, load_labelled, mark_made
from textfer.evaluate import Made as Answered
from textfer.generate import Decoding
from textfer.metrics import auc, multirc
from textfer.scoreboard.answers import AnswerLog, file_name
from textfer.scoreboard.board import measure
from textfer.scoreboard.checkpoints import Checkpoint


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> dict[str, Model]:
    """Folder → its model; no file is read."""
    return put_models(monkeypatch)


# ---- scores


def test_scores_stand_beside_the_constant_answer(models: dict[str, Model]) -> None:
    """30 of 40 are a yes: always yes has F1 2·30/(40+30) and accuracy 30/40; the second answers half of them no."""
    board = measure(CHECKPOINTS, request(task_of("a")))
    first, second = board.lines
    always_yes = {"f1": pytest.approx(600 / 7), "accuracy": 75.0}
    assert first.scores == always_yes
    assert first.baseline == second.baseline == always_yes
    assert first.constant == "yes"
    assert second.scores == {"f1": pytest.approx(200 * 15 / (15 + 30)), "accuracy": 62.5}
    assert first.intervals["accuracy"][0] < 75 < first.intervals["accuracy"][1]
    assert first.lead == "f1"
    assert (first.task, first.checkpoint.step, first.report.num_examples) == ("a", 10, NUM_ROWS)


def test_each_score_says_how_it_was_got(models: dict[str, Model]) -> None:
    line = measure(CHECKPOINTS[:1], request(task_of("a", version=3))).lines[0]
    how = "a v3, validation, 40 examples | generate, greedy, at most 64 tokens"
    assert line.signature("f1").startswith("binary_f1: v1")
    assert line.signature("f1").endswith(how)
    assert line.signature("accuracy").startswith("accuracy: v1")


@pytest.mark.parametrize(
    ("answering", "told"),
    [
        (Answering(how="rank", normalise="tokens"), "rank, normalise tokens"),
        (
            Answering(how="constrained", decoding=Decoding(beams=4, max_new_tokens=9, max_input_tokens=7)),
            "constrained, beams 4, length penalty 0.6, at most 9 tokens, inputs cut at 7 tokens",
        ),
        (
            Answering(decoding=Decoding(sample=True, temperature=0.5, top_p=0.9, seed=2)),
            "generate, sampled at temperature 0.5, top p 0.9, seed 2, at most 64 tokens",
        ),
    ],
)
def test_ways_to_answer(models: dict[str, Model], answering: Answering, told: str) -> None:
    line = measure(CHECKPOINTS[:1], request(task_of("a"), answering=answering)).lines[0]
    assert line.answered == told
    assert line.scores["accuracy"] == 75.0
    if answering.how == "constrained":
        assert models["m/10"].choices == [WORDS] * NUM_ROWS
    else:
        assert models["m/10"].choices is None


def test_a_task_without_choices_is_answered_freely_and_the_table_says_so(models: dict[str, Model]) -> None:
    free = replace(task_of("b"), choices=())
    board = measure(CHECKPOINTS[:1], request(task_of("a"), free, answering=Answering(how="rank")))
    assert [line.answered.split(",")[0] for line in board.lines] == ["rank", "generate"]
    with pytest.raises(ConfigError, match=r"eval: how = rank cannot take effect, b has no choices. Drop it."):
        measure(CHECKPOINTS[:1], request(free, answering=Answering(how="rank")))


@pytest.mark.parametrize(
    ("answering", "message"),
    [
        (Answering(normalise="tokens"), "eval: normalise cannot take effect without how = rank. Drop it."),
        (Answering(how="ranked"), "eval: how is 'ranked', expected one of generate, rank, constrained."),  # type: ignore[arg-type]
        (
            Answering(how="rank", decoding=Decoding(beams=2)),
            "eval: beams and sampling cannot take effect with how = rank. Drop them.",
        ),
    ],
)
def test_ways_that_cannot_take_effect_are_refused(answering: Answering, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        measure(CHECKPOINTS, request(task_of("a"), answering=answering))
    assert str(caught.value) == message


def test_the_ranking_itself_is_marked_where_a_task_asks(models: dict[str, Model]) -> None:
    def by_area(log_probs: Sequence[Sequence[float]], examples: Sequence[Example]) -> dict[str, float]:
        return auc([found[1] - found[0] for found in log_probs], [WORDS.index(one.targets) for one in examples])

    models["m/10"].rule = right
    task = replace(task_of("a"), rank_metrics=by_area)
    line = measure(CHECKPOINTS[:1], request(task, answering=Answering(how="rank"))).lines[0]
    assert line.scores == {"f1": 100.0, "accuracy": 100.0, "auc": 100.0}
    assert set(line.intervals) == {"f1", "accuracy", "auc"}
    assert "auc" not in measure(CHECKPOINTS[:1], request(task)).lines[0].scores


def test_equal_inputs_are_answered_once(models: dict[str, Model]) -> None:
    doubled = replace(
        task_of("a"),
        to_examples=lambda row, origin: [
            Example(inputs=f"a {number_in(row['text']) // 2}", targets="yes", origin=origin)
        ],
    )
    line = measure(CHECKPOINTS[:1], request(doubled)).lines[0]
    assert len(models["m/10"].asked) == NUM_ROWS // 2
    assert line.scores["accuracy"] == 100.0
    assert len(line.report.predictions) == NUM_ROWS


# ---- what is resampled together


def test_answers_to_one_question_are_resampled_together() -> None:
    """Four questions of five answers, two of them answered wrongly throughout: em is 0, 25, … 100."""

    def rows(row: Row, origin: str) -> list[Example]:
        number = number_in(row["text"])
        idx = {"paragraph": 0, "question": number // 5, "answer": number % 5}
        return [Example(inputs="", targets="yes", origin=origin, facts={"idx": idx})]

    def mark(answers: Sequence[object], examples: Sequence[Example]) -> dict[str, float]:
        found = [WORDS.index(str(answer)) for answer in answers]
        return multirc(found, [1] * len(found), [one.facts["idx"]["question"] for one in examples])

    task = replace(task_of("q", 20), to_examples=rows, metrics=mark)
    examples = load_labelled(task, "validation")
    assert len({group_of(example) for example in examples}) == 4
    made = [Answered("yes" if number < 10 else "no") for number in range(20)]
    found = intervals(task, examples, made, num_samples=200)
    assert found["em"] == (0.0, 100.0)


def test_few_examples_have_wide_intervals() -> None:
    widths = []
    for count in (20, 2000):
        task = task_of("a", count)
        examples = load_labelled(task, "validation")
        low, high = intervals(task, examples, [Answered("yes")] * count)["accuracy"]
        assert low <= 75 <= high
        widths.append(high - low)
    assert widths[0] > 5 * widths[1] > 0


# ---- labels


def test_a_split_without_labels_is_refused() -> None:
    with pytest.raises(DataError) as caught:
        load_labelled(task_of("a", label=lambda n: -1), "validation")
    assert str(caught.value) == (
        "a/validation: none of the 40 examples has a label, so nothing can be marked. "
        "Take another split, or make a leaderboard file with `textfer submit`."
    )


def test_unlabelled_rows_among_others_are_left_out() -> None:
    task = task_of("a", label=lambda n: -1 if n < 10 else 1)
    examples = load_labelled(task, "validation")
    assert len(examples) == 30
    assert constant_baseline(task, "validation", examples)[1].scores["accuracy"] == 100.0
    report = mark_made(task, "validation", examples, [Answered("no")] * 30)
    assert report.scores["accuracy"] == 0.0


# ---- answers on disk


def test_a_stopped_evaluation_goes_on_where_it_was(models: dict[str, Model], tmp_path: Path) -> None:
    whole = measure(CHECKPOINTS[1:], request(task_of("a"))).lines[0]
    models["m/20"].asked.clear()
    models["m/20"].stop_after = 15
    with pytest.raises(KeyboardInterrupt):
        measure(CHECKPOINTS[1:], request(task_of("a"), out=tmp_path))
    path = tmp_path / "m" / "step_00000020" / "a-validation.jsonl"
    assert len(path.read_text().splitlines()) == 1 + 15
    with path.open("a") as file:
        file.write('{"example": 3, "te')  # killed in the middle of a line
    before = set(models["m/20"].asked)
    models["m/20"].asked.clear()
    models["m/20"].stop_after = math.inf
    line = measure(CHECKPOINTS[1:], request(task_of("a"), out=tmp_path)).lines[0]
    assert len(models["m/20"].asked) == NUM_ROWS - 15
    assert not before & set(models["m/20"].asked)
    assert line == whole
    assert json.loads(path.with_suffix(".json").read_text()) == line.report.predictions
    models["m/20"].stop_after = 0
    assert measure(CHECKPOINTS[1:], request(task_of("a"), out=tmp_path)).lines[0] == whole, "nothing is asked again"


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.update(answering=Answering(decoding=Decoding(max_new_tokens=3))),
        lambda values: values.update(task=task_of("a", version=2)),
        lambda values: values.update(limit=20),
        lambda values: values.update(task=task_of("a", num_rows=41)),
    ],
)
def test_answers_to_something_else_begin_anew(
    models: dict[str, Model], tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    measure(CHECKPOINTS[:1], request(task_of("a"), out=tmp_path))
    models["m/10"].asked.clear()
    values: dict[str, Any] = {"task": task_of("a")}
    change(values)
    task = values.pop("task")
    line = measure(CHECKPOINTS[:1], request(task, out=tmp_path, **values)).lines[0]
    assert len(models["m/10"].asked) == line.report.num_examples
    assert len((tmp_path / "m/step_00000010/a-validation.jsonl").read_text().splitlines()) == 1 + len(
        line.report.predictions
    )


def test_another_model_begins_anew_and_batch_size_does_not(
    models: dict[str, Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(CHECKPOINTS[:1], request(task_of("a"), out=tmp_path))
    models["m/10"].asked.clear()
    larger = Answering(decoding=Decoding(batch_size=64))
    measure(CHECKPOINTS[:1], request(task_of("a"), out=tmp_path, answering=larger))
    assert models["m/10"].asked == []
    monkeypatch.setattr(Checkpoint, "digest", lambda self: "trained further")
    measure(CHECKPOINTS[:1], request(task_of("a"), out=tmp_path))
    assert len(models["m/10"].asked) == NUM_ROWS


def test_a_damaged_answer_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    log = AnswerLog(path, {"task": "a"})
    with log.open():
        log.add(0, Answered("x", (-1.0, -2.0)))
        log.add(4, Answered("é"))
    assert AnswerLog(path, {"task": "a"}).kept() == {0: Answered("x", (-1.0, -2.0)), 4: Answered("é")}
    assert AnswerLog(path, {"task": "b"}).kept() == {}
    path.write_text(path.read_text().replace('"text"', '"txt"'), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(f"{path}:2: not an answer of an evaluation. Delete the file.")):
        AnswerLog(path, {"task": "a"}).kept()


def test_names_of_files() -> None:
    assert file_name("../my data/a.csv") == "my_data_a.csv"
    assert file_name("google/t5-small @ 3") == "google_t5-small_@_3"
    assert file_name("..") == "_"
