"""The same numbers however a run is made: stopped and resumed, killed, cut, packed, spread over processes."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from one_step import NORM, one_step, read, start
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
    weights,
)
from torch import Tensor

from textfer.data.stream import Stream
from textfer.errors import CheckpointError, ConfigError
from textfer.recipe import load_recipe
from textfer.training import checkpoint
from textfer.training.checkpoint import Checkpoint, Run, open_checkpoint
from textfer.training.distributed import World
from textfer.training.loss import cross_entropy
from textfer.training.trainer import Trainer, fit
from textfer.verify import verify_resume

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_a_resumed_run_compares_its_digests_once(
    tiny_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["training.save_every=2"]
    with pytest.raises(Stopped):
        train(load_recipe(str(tiny_recipe()), words), tmp_path / "run", Stopping(3))
    opened: list[Path] = []

    def count(path: Path) -> Checkpoint:
        opened.append(path)
        return open_checkpoint(path)

    monkeypatch.setattr(checkpoint, "open_checkpoint", count)
    train(load_recipe(str(tiny_recipe()), words), tmp_path / "run")
    assert opened == [Run(tmp_path / "run").at(2)]


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


def assert_same_step(found: dict[str, Tensor], expected: dict[str, Tensor], *, rel: float = 1e-6) -> None:
    """Loss, norm, and each tensor's gradient relative to its own norm.

    Not entry by entry: an entry that is a small sum of large terms keeps few digits in float32, in whatever order they
    are added up.
    """
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        difference = (found[name].double() - value.double()).norm() / value.double().norm()
        assert difference <= rel, f"{name}: {difference:.2g}"


def test_4_times_8_rows_are_32_rows(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = tiny_recipe(dropout=0.0)
    words = ["training.batch_size=32", "training.z_loss=1e-3"]
    whole, cut = (load_recipe(str(recipe), [*words, *more]) for more in ([], ["training.micro_batch_size=8"]))
    assert_same_step(one_step(cut, tmp_path), one_step(whole, tmp_path))


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


def test_a_step_of_two_processes_is_a_step_of_one(tiny_recipe: Write, tmp_path: Path) -> None:
    recipe = tiny_recipe(dropout=0.0)
    words = ["data.pack=true", "training.z_loss=1e-3", "training.micro_batch_size=2"]
    process = start(2, str(recipe), tmp_path / "step", *words)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    first, second = (read(tmp_path / "step", rank) for rank in (0, 1))
    assert all(torch.equal(value, second[name]) for name, value in first.items()), "processes must not drift apart"
    alone = one_step(load_recipe(str(recipe), words), tmp_path)
    assert_same_step(first, alone)
    exact = one_step(load_recipe(str(recipe), words), tmp_path, doubled=True)
    del exact[NORM]  # kept in float32, and rounded otherwise
    for found in (first, alone):  # neither is nearer to what float64 says: only the order of adding up differs
        assert_same_step({name: found[name] for name in exact}, exact, rel=5e-6)


def test_two_processes_train_as_one(tiny_recipe: Write, tmp_path: Path) -> None:
    """Adam divides a gradient by its own size, so that rounding grows where gradients are small: weights at 1e-4."""
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
        assert (weights(tmp_path / "two")[name] - value).norm() <= 1e-4 * value.norm(), name


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
    assert_same_step(one_step(compiled, tmp_path), one_step(plain, tmp_path), rel=1e-5)
