"""What goes wrong in a run and is told, and what a run leaves in its folder."""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import (
    ALONE,
    STOP_AT,
    Quiet,
    Stopped,
    Stopping,
    Write,
    assert_equal,
    losses,
    parts_of,
    textfer,
    train,
)
from torch import Tensor

from textfer.errors import NotFiniteError
from textfer.recipe import load_recipe
from textfer.training.checkpoint import Run
from textfer.training.distributed import World
from textfer.training.trainer import MAX_TRAILING, TrainOptions, fit

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- what goes wrong


def test_a_loss_that_is_not_finite_stops_the_run_with_step_and_origins(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe()), ["training.save_every=2"])
    parts = parts_of(recipe, tmp_path / "run")

    class Spoiling(Quiet):
        def stepped(self, record: Mapping[str, Any]) -> None:
            if record["step"] == STOP_AT:
                with torch.no_grad():
                    next(parts.model.parameters())[:] = math.nan

    with pytest.raises(NotFiniteError) as caught:
        fit(parts.model, parts.stream, Run(tmp_path / "run"), ALONE, options=recipe.training, watcher=Spoiling())
    told = str(caught.value)
    assert caught.value.exit_code == 5
    assert told.startswith("step 4: the loss is not finite (loss nan, gradient nan); examples: reading/train:")
    assert told.count("reading/train:") == 8
    assert told.endswith("The checkpoint of step 2 is untouched.")
    assert Run(tmp_path / "run").steps() == [2]
    assert "\n" not in told


def test_a_rate_far_too_high_ends_with_exit_code_5(tiny_recipe: Write, tmp_path: Path) -> None:
    process = textfer(
        "train", str(tiny_recipe(num_steps=50)), "training.optimizer.lr=1e30", "--run", str(tmp_path / "run")
    )
    _, told = process.communicate(timeout=60)
    assert process.returncode == 5, told
    assert "is not finite" in told
    assert "Nothing was saved yet." in told


def test_numbers_that_trail_change_nothing(tiny_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where a step's numbers are read when the next one is under way."""
    recipe = load_recipe(str(tiny_recipe(num_steps=8)), ["training.log_every=4", "training.save_every=3"])
    train(recipe, tmp_path / "at-once")
    monkeypatch.setitem(MAX_TRAILING, "cpu", 2)
    train(recipe, tmp_path / "trailing")
    assert_equal(tmp_path / "trailing", tmp_path / "at-once")
    summary = train(recipe, tmp_path / "stopped", Stopping(4, signal.SIGINT))
    assert summary.step in (6, 7), "the news trails by two steps"
    train(recipe, tmp_path / "stopped")
    assert_equal(tmp_path / "stopped", tmp_path / "at-once")


def test_a_gradient_that_is_not_finite_is_found_before_it_is_saved(
    tiny_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MAX_TRAILING, "cpu", 9)
    words = ["training.save_every=5", "training.log_every=100"]
    recipe = load_recipe(str(tiny_recipe(num_steps=20)), words)
    parts, display = parts_of(recipe, tmp_path / "run"), Quiet()
    weight = next(parts.model.parameters())
    weight.register_hook(lambda grad: grad * (math.inf if len(display.steps) == 6 else 1))
    with pytest.raises(NotFiniteError, match=r"^step 7: the (gradient|loss) is not finite .* step 5 is untouched"):
        fit(parts.model, parts.stream, Run(tmp_path / "run"), ALONE, options=recipe.training, watcher=display)
    assert Run(tmp_path / "run").steps() == [5]


class Crowd(World):
    """One process that hears what others would say."""

    def add_up(self, tensor: Tensor) -> Tensor:
        return tensor + torch.tensor([0.0, 1.0, 0.0])


def test_all_stop_when_one_process_is_told_to(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe()))
    parts, run = parts_of(recipe, tmp_path / "run"), Run(tmp_path / "run")
    summary = fit(parts.model, parts.stream, run, Crowd(ALONE.device), options=recipe.training, watcher=Quiet())
    assert (summary.step, summary.stopped_by, run.steps()) == (1, "another process", [1])


def test_the_thread_that_reads_ahead_ends_with_the_run(tiny_recipe: Write, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(load_recipe(str(tiny_recipe())), tmp_path / "run", Stopping(2))
    assert [one.name for one in threading.enumerate() if one.name == "textfer-prefetch"] == []


# ---- what a run leaves


def test_log_lines_say_all(tiny_recipe: Write, tmp_path: Path) -> None:
    display = Quiet()
    train(load_recipe(str(tiny_recipe(num_steps=5)), ["training.log_every=2"]), tmp_path / "run", display)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 5], "the last step is always logged"
    keys = {"step", "tokens", "seconds", "loss", "lr", "grad_norm", "window_targets", "window_tokens", "time"}
    assert all(set(line) == keys for line in lines)
    assert sum(line["window_tokens"] for line in lines) == sum(record["tokens"] for record in display.steps)
    assert [record["step"] for record in display.steps] == [1, 2, 3, 4, 5]


def test_newest_and_best_checkpoints_are_kept(tiny_recipe: Write, tmp_path: Path) -> None:
    words = ["training.eval_every=1", "training.keep=2", "eval.loss_rows=8"]
    recipe = load_recipe(str(tiny_recipe(num_steps=6)), words)
    parts = parts_of(recipe, tmp_path / "run")
    values = [math.nan, 3.0, 1.0, 3.0, 2.0, math.nan]

    class Scoring(Quiet):
        def evaluate(self, step: int) -> dict[str, float]:
            assert not parts.model.training
            return {"em": values[step - 1], "f1": 0.0}

    run = Run(tmp_path / "run")
    summary = fit(parts.model, parts.stream, run, ALONE, options=recipe.training, watcher=Scoring())
    assert run.steps() == [2, 5, 6]
    assert run.best() == run.at(2)
    assert (summary.best_step, summary.best_scores) == (2, {"em": 3.0, "f1": 0.0})
    assert parts.model.training


@pytest.mark.parametrize("age", [0.0, 1e9])
def test_old_checkpoints_are_renewed(tiny_recipe: Write, tmp_path: Path, age: float) -> None:
    recipe = load_recipe(str(tiny_recipe(num_steps=4)))
    options: TrainOptions = recipe.training.model_copy(update={"save_every_seconds": age})
    parts, display = parts_of(recipe, tmp_path / "run"), Quiet()
    fit(parts.model, parts.stream, Run(tmp_path / "run"), ALONE, options=options, watcher=display)
    assert [path.name[-1] for path in display.paths] == (["1", "2", "3", "4"] if age == 0 else ["4"])


def frozen_gradients(model: torch.nn.Module, names: Sequence[str]) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(name.startswith(start) for start in names))


def test_frozen_weights_stay_and_gradients_are_clipped_without_them(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe(num_steps=2)), ["training.optimizer.clip_norm=0.01"])
    parts = parts_of(recipe, tmp_path / "run")
    frozen_gradients(parts.model, ["decoder."])
    before = {name: one.detach().clone() for name, one in parts.model.named_parameters()}
    fit(parts.model, parts.stream, Run(tmp_path / "run"), ALONE, options=recipe.training, watcher=Quiet())
    moved = {name for name, one in parts.model.named_parameters() if not torch.equal(one, before[name])}
    assert moved == {name for name in before if name.startswith("decoder.")}
    assert all(norm > 0.01 for _, _, norm in losses(tmp_path / "run")), "the log has the norm before clipping"


def test_tensorboard_events_hold_the_numbers_of_the_log(tiny_recipe: Write, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["training.tensorboard=true", "training.eval_every=2", 'eval.tasks=["reading"]', "eval.limit=2"]
    train(load_recipe(str(tiny_recipe(num_steps=4)), words), tmp_path / "run")
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "train/lr", "train/grad_norm", "train/tokens_per_second", "eval/em", "eval/f1"} <= tags
    assert [one.step for one in events.Scalars("eval/em")] == [2, 4]
    found = [(one.step, one.value) for one in events.Scalars("train/loss")]
    assert found == [(step, pytest.approx(loss, rel=1e-6)) for step, loss, _ in losses(tmp_path / "run")]
