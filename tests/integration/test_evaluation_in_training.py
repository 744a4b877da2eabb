"""What a run measures: on which tasks, and how their answers are got."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import Quiet

from textfer.display import Terminal
from textfer.errors import ConfigError, DataError
from textfer.evaluate import Answering, evaluate
from textfer.generate import Predictor
from textfer.parts import open_model, tokenizer_of
from textfer.recipe import find_task, load_recipe
from textfer.run import Outline, check_same_recipe, run_train
from textfer.training.checkpoint import Run

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
[model]
name = "t5"
model_dim = 16
ff_dim = 24
head_dim = 8
num_heads = 2
num_layers = 1
[tokenizer]
path = "bytes"
[data]
tasks = {tasks}
inputs_len = 24
targets_len = 8
[training]
num_steps = 2
batch_size = 4
[training.optimizer]
name = "adamw"
lr = 1e-3
"""
LABELS = ["glad", "sad"]


class Kept(Quiet):
    """Remembers the outline and the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.scores: list[dict[str, float]] = []

    def outlined(self, outline: object) -> None:
        assert isinstance(outline, Outline)
        self.outline = outline

    def evaluated(self, record: object) -> None:
        assert isinstance(record, dict)
        self.scores.append(record["eval"])


def written(folder: Path, name: str, *splits: str) -> str:
    """The folder of a task: two moods of guests."""
    for split in splits:
        path = folder / name / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": f"room {number}", "label": LABELS[number % 2]} for number in range(12)]
        path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return str(folder / name)


def recipe_of(folder: Path, *tasks: str) -> str:
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(tasks=json.dumps(list(tasks))), encoding="utf-8")
    return str(path)


def test_tasks_without_the_split_are_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = written(tmp_path, "whole", "train", "validation", "test")
    part = written(tmp_path, "part", "train", "validation")
    words = ["eval.loss_rows=4", "eval.split=test"]
    path = recipe_of(tmp_path, whole, part)
    display = Kept()
    run_train(load_recipe(path, words), tmp_path / "both", display=display)
    assert display.outline.no_held_out == (part,)
    Terminal().outlined(display.outline)
    assert "no such split, so not in log_prob:" in capsys.readouterr().err
    alone = Kept()
    run_train(load_recipe(recipe_of(tmp_path, whole), words), tmp_path / "one", display=alone)
    assert alone.outline.no_held_out == ()
    assert display.scores
    assert -20 < display.scores[-1]["log_prob"] < 0


def test_a_loss_on_nothing_is_refused_before_training(tmp_path: Path) -> None:
    path = recipe_of(tmp_path, written(tmp_path, "part", "train", "validation"))
    recipe = load_recipe(path, ["eval.loss_rows=4", "eval.split=test"])
    with pytest.raises(DataError) as caught:
        run_train(recipe, tmp_path / "run", display=Kept(), dry_run=True)
    assert str(caught.value) == (
        "eval.loss_rows: no task of data.tasks has a split 'test'. Drop it, or name another eval.split."
    )


@pytest.mark.parametrize("how", ["rank", "constrained"])
def test_answers_are_got_as_the_recipe_says(how: str, tmp_path: Path) -> None:
    task = written(tmp_path, "moods", "train", "validation")
    path, run = recipe_of(tmp_path, task), Run(tmp_path / "run")
    freely, display = Kept(), Kept()
    run_train(load_recipe(path, [f"eval.tasks=['{task}']"]), tmp_path / "freely", display=freely)
    words = [f"eval.tasks=['{task}']", f"eval.how={how}"]
    run_train(load_recipe(path, words), run.path, display=display)
    (answers,) = run.path.glob("predictions-*-00000002.json")
    given = set(json.loads(answers.read_text(encoding="utf-8")).values())
    assert given <= set(LABELS)
    free = next((tmp_path / "freely").glob("predictions-*-00000002.json"))
    assert not set(json.loads(free.read_text(encoding="utf-8")).values()) <= set(LABELS), "an untrained model"
    model = open_model(run.at(2)).eval()
    predictor = Predictor(model, tokenizer_of(str(run.path)))  # type: ignore[arg-type]
    report = evaluate(predictor, find_task(task), "validation", answering=Answering(how=how))  # type: ignore[arg-type]
    assert display.scores[-1] == pytest.approx(report.scores)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval.normalise=tokens"], "eval: normalise cannot take effect without how = rank"),
        (["eval.how=rank", "eval.decoding.beams=2"], "eval: beams and sampling cannot take effect with how = rank"),
        (["eval.how=ranked"], "eval.how: got 'ranked'"),
    ],
)
def test_ways_that_cannot_take_effect_are_refused(words: list[str], message: str, tmp_path: Path) -> None:
    path = recipe_of(tmp_path, written(tmp_path, "moods", "train", "validation"))
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(path, words)
    assert "\n" not in str(caught.value)


def test_a_run_from_before_there_were_ways_goes_on(tmp_path: Path) -> None:
    task = written(tmp_path, "moods", "train", "validation")
    recipe, run = load_recipe(recipe_of(tmp_path, task)), Run(tmp_path / "run")
    run_train(recipe, run.path, display=Kept())
    saved = run.path / "recipe.json"
    values = json.loads(saved.read_text(encoding="utf-8"))
    for name in ("how", "normalise"):
        del values["eval"][name]
    saved.write_text(json.dumps(values), encoding="utf-8")
    check_same_recipe(recipe, run)
    with pytest.raises(ConfigError, match=r"eval\.how: 'generate' → 'rank'"):
        check_same_recipe(load_recipe(recipe_of(tmp_path, task), ["eval.how=rank"]), run)
