"""Runs of a tiny model: stopped and resumed, cut into micro-batches, packed, spread over processes, gone wrong."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from textfer.data.stream import Cursor, Stream
from textfer.errors import CheckpointError, ConfigError, NotFiniteError
from textfer.parts import build_parts
from textfer.recipe import Recipe, load_recipe
from textfer.run import run_train
from textfer.training.checkpoint import Run
from textfer.training.distributed import World
from textfer.training.loss import cross_entropy
from textfer.training.trainer import MAX_TRAILING, Summary, Trainer, TrainOptions, fit
from textfer.verify import verify_resume

Write = Callable[..., Path]
ALONE = World(torch.device("cpu"))
STOP_AT = 3
pytestmark = pytest.mark.usefixtures("one_thread")


class Quiet:
    """Shows nothing, and remembers."""

    def __init__(self) -> None:
        self.steps: list[Mapping[str, Any]] = []
        self.paths: list[Path] = []
        self.began = -1

    def outlined(self, outline: object) -> None: ...

    def preparing(self, name: str, done: int, total: int) -> None: ...

    def started(self, step: int, num_steps: int) -> None:
        self.began = step

    def stepped(self, record: Mapping[str, Any]) -> None:
        self.steps.append(record)

    def evaluated(self, record: Mapping[str, Any]) -> None: ...

    def saved(self, path: Path) -> None:
        self.paths.append(path)

    def evaluate(self, step: int) -> dict[str, float]:
        return {}


class Stopped(Exception):  # noqa: N818  not an error: how a test leaves a run
    """Ends a run from the outside."""


class Stopping(Quiet):
    """Leaves after a step, as a crash would, or sends this process a signal."""

    def __init__(self, step: int, number: int | None = None) -> None:
        super().__init__()
        self.step, self.number = step, number

    def stepped(self, record: Mapping[str, Any]) -> None:
        super().stepped(record)
        if record["step"] == self.step:
            if self.number is None:
                raise Stopped
            os.kill(os.getpid(), self.number)


def train(recipe: Recipe, folder: Path, display: Quiet | None = None) -> Summary:
    summary = run_train(recipe, folder, display=display or Quiet())
    assert summary is not None
    return summary


def losses(folder: Path) -> list[tuple[int, float, float]]:
    return [(one["step"], one["loss"], one["grad_norm"]) for one in Run(folder).records() if "loss" in one]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(Run(folder).at(Run(folder).steps()[-1]) / "model.safetensors")


def assert_equal(ours: Path, theirs: Path) -> None:
    """Bit for bit: every logged loss and gradient norm, weights and what the optimiser remembers."""
    assert losses(ours) == losses(theirs)
    for name in ("model.safetensors", "optimizer.safetensors"):
        left, right = (load_file(Run(one).at(Run(one).steps()[-1]) / name) for one in (ours, theirs))
        assert left.keys() == right.keys()
        assert all(torch.equal(value, right[key]) for key, value in left.items())


def textfer(*words: str, processes: int = 0) -> subprocess.Popen[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", "--", "textfer"]
    start = torchrun if processes else ["-m", "textfer"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *start, *words], env=environment, stderr=subprocess.PIPE, text=True)


# ---- stopped and resumed


@pytest.mark.parametrize(
    "more", [[], ["data.pack=true", 'training.optimizer.name="adafactor"', "training.log_every=2"]]
)
def test_resumed_is_unbroken_bit_for_bit(tiny_recipe: Write, tmp_path: Path, more: list[str]) -> None:
    recipe = load_recipe(str(tiny_recipe()), ["training.save_every=3", *more])
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(recipe, whole)
    with pytest.raises(Stopped):
        train(recipe, broken, Stopping(STOP_AT + 2))
    assert Run(broken).steps() == [STOP_AT]
    display = Quiet()
    train(recipe, broken, display)
    assert display.began == STOP_AT
    assert_equal(broken, whole)
    assert [one["step"] for one in Run(broken).records() if one.get("resumed")] == [STOP_AT]
    assert not any(one.get("resumed") for one in Run(whole).records())


def test_a_run_that_saved_nothing_begins_anew_with_an_empty_log(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe()))
    with pytest.raises(Stopped):
        train(recipe, tmp_path / "run", Stopping(2))
    assert len(losses(tmp_path / "run")) == 2
    train(recipe, tmp_path / "run")
    assert [step for step, _, _ in losses(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_a_finished_run_is_left_as_it_is(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe(num_steps=2)))
    first = train(recipe, tmp_path / "run")
    before = Run(tmp_path / "run").metrics_path.read_bytes()
    again = train(recipe, tmp_path / "run")
    assert (again.step, again.loss, again.seconds) == (first.step, first.loss, 0.0)
    assert Run(tmp_path / "run").metrics_path.read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_same_command_goes_on(tiny_recipe: Write, tmp_path: Path, number: int) -> None:
    recipe = load_recipe(str(tiny_recipe()))
    train(recipe, tmp_path / "whole")
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    summary = train(recipe, tmp_path / "run", Stopping(STOP_AT, number))
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert summary.stopped_by == signal.Signals(number).name
    assert Run(tmp_path / "run").steps() == [summary.step]
    assert summary.step in (STOP_AT, STOP_AT + 1), "at most the step that was under way is finished"
    assert train(recipe, tmp_path / "run").stopped_by is None
    assert_equal(tmp_path / "run", tmp_path / "whole")


def test_a_run_stopped_at_its_last_step_is_evaluated_when_taken_up(tiny_recipe: Write, tmp_path: Path) -> None:
    words = ['eval.tasks=["reading"]', "eval.limit=3", "eval.decoding.max_new_tokens=3"]
    recipe = load_recipe(str(tiny_recipe(num_steps=3)), words)
    summary = train(recipe, tmp_path / "run", Stopping(2, signal.SIGINT))
    assert (summary.step, summary.scores) == (3, {})
    scores = train(recipe, tmp_path / "run").scores
    assert {"em", "f1"} <= set(scores)
    assert [one["eval"] for one in Run(tmp_path / "run").records() if "eval" in one] == [scores]
    assert train(recipe, tmp_path / "run").scores == scores
    assert sum("eval" in one for one in Run(tmp_path / "run").records()) == 1


def test_killed_at_any_moment_and_resumed_is_unbroken(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = tiny_recipe(num_steps=60, more=[])
    words = ["training.save_every=7"]
    train(load_recipe(str(recipe), words), tmp_path / "whole")
    run = Run(tmp_path / "killed")
    draw = random.Random(os.getpid())
    for attempt in range(2):
        process = textfer("train", str(recipe), *words, "--run", str(run.path))
        before = (run.steps() or [0])[-1]
        deadline = time.monotonic() + 60
        while (run.steps() or [0])[-1] == before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(draw.random() * 0.2)
        process.kill()
        process.communicate()
        assert run.steps(), f"attempt {attempt} saved nothing"
    train(load_recipe(str(recipe), words), run.path)
    assert_equal(run.path, tmp_path / "whole")
    assert not list(run.path.glob(".step_*")), "what a kill leaves is cleared away"


def test_the_command_saves_at_ctrl_c_and_exits_130(tiny_recipe: Write, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    recipe = tiny_recipe(num_steps=100_000)
    process = textfer("train", str(recipe), "--run", str(run.path))
    deadline = time.monotonic() + 60
    while not run.metrics_path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "Stopped by SIGINT" in told
    assert run.steps() == [losses(run.path)[-1][0]]


def test_verify_resume_says_so(tiny_recipe: Write) -> None:
    recipe = load_recipe(str(tiny_recipe()), ["training.micro_batch_size=4"])
    check = verify_resume(recipe, num_steps=4, stop_at=2, display=Quiet())
    assert check.equal
    assert (check.batches_equal, check.losses_equal, check.weights_equal) == (True, True, True)
    with pytest.raises(ConfigError, match="--stop-at: got 4, expected 1 to 3"):
        verify_resume(recipe, num_steps=4, stop_at=4, display=Quiet())


def test_another_seed_is_refused(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe(num_steps=1)))
    train(recipe, tmp_path / "run")
    parts = parts_of(recipe, tmp_path / "run")
    other = Stream(parts.stream.parts, parts.stream.rates, replace(parts.stream.options, seed=5))
    with pytest.raises(CheckpointError, match="made with seed 42, expected 5"):
        fit(parts.model, other, Run(tmp_path / "run"), ALONE, options=recipe.training, watcher=Quiet())


# ---- the same numbers however a step is cut


def parts_of(recipe: Recipe, folder: Path) -> Any:
    return build_parts(recipe, Run(folder), ALONE, data_dir=None)


def one_step(recipe: Recipe, folder: Path) -> tuple[float, dict[str, Tensor], float]:
    """(loss a target, gradients, their norm) of the first step."""
    parts = parts_of(recipe, folder)
    trainer = Trainer(parts.model, parts.stream, Run(folder), ALONE, options=recipe.training)
    found: dict[str, Tensor] = {}

    def keep(*arguments: object) -> None:
        found.update({name: one.grad.clone() for name, one in parts.model.named_parameters() if one.grad is not None})

    trainer.optimizer.register_step_pre_hook(keep)
    trainer.train_step(next(parts.stream.steps(Cursor())))
    trainer.settle()
    return trainer.window["loss"] / trainer.window["targets"], found, trainer.last_norm


def assert_same_step(ours: Recipe, theirs: Recipe, folder: Path, *, rel: float = 1e-6) -> None:
    loss, gradients, norm = one_step(ours, folder)
    expected, expected_gradients, expected_norm = one_step(theirs, folder)
    assert loss == pytest.approx(expected, rel=rel)
    assert norm == pytest.approx(expected_norm, rel=rel)
    for name, gradient in gradients.items():
        difference = (gradient - expected_gradients[name]).norm() / expected_gradients[name].norm()
        assert difference <= rel, name


def test_4_times_8_rows_are_32_rows(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = tiny_recipe(dropout=0.0)
    words = ["training.batch_size=32", "training.z_loss=1e-3"]
    whole, cut = (load_recipe(str(recipe), [*words, *more]) for more in ([], ["training.micro_batch_size=8"]))
    assert_same_step(cut, whole, tmp_path)


def test_packed_rows_have_the_loss_of_their_examples_alone(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = load_recipe(
        str(tiny_recipe(dropout=0.0)), ["data.pack=true", "data.inputs_len=192", "data.targets_len=24"]
    )
    parts = parts_of(recipe, tmp_path)
    rows = parts.stream.block(0)[:8]
    assert max(map(len, rows)) > 1
    packed = cross_entropy(parts.model.eval(), parts.stream.arrange(rows))
    alone = cross_entropy(parts.model, parts.stream.arrange([[ids] for row in rows for ids in row]))
    assert packed.count == alone.count
    assert packed.sum.item() == pytest.approx(alone.sum.item(), rel=1e-6)


def test_two_processes_train_as_one(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = tiny_recipe(num_steps=4, dropout=0.0)
    words = ["training.save_every=2", "training.save_every_seconds=1000", "training.micro_batch_size=2"]
    train(load_recipe(str(recipe), words), tmp_path / "one")
    process = textfer("train", str(recipe), *words, "--run", str(tmp_path / "two"), processes=2)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    ours, theirs = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert [step for step, _, _ in ours] == [1, 2, 3, 4]
    assert [loss for _, loss, _ in ours] == pytest.approx([loss for _, loss, _ in theirs], rel=1e-6)
    assert [norm for _, _, norm in ours] == pytest.approx([norm for _, _, norm in theirs], rel=1e-5)
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, rtol=1e-4, atol=1e-5)


def test_rows_must_divide_among_processes(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = load_recipe(str(tiny_recipe()))
    parts = parts_of(recipe, tmp_path)
    with pytest.raises(ConfigError, match=r"^training.batch_size: got 8 rows for 3 processes, expected a multiple\."):
        Trainer(parts.model, parts.stream, Run(tmp_path), World(ALONE.device, 0, 3), options=recipe.training)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # the compiler looks at tensors it takes over
def test_a_compiled_model_has_the_same_loss(
    tiny_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # the real one takes minutes
    recipe = tiny_recipe(dropout=0.0)
    plain, compiled = (load_recipe(str(recipe), ["data.fixed=true", *more]) for more in ([], ["training.compile=true"]))
    assert_same_step(compiled, plain, tmp_path, rel=1e-5)


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
