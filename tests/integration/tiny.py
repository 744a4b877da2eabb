"""Runs of a tiny model, watched: what the tests of training share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from textfer.parts import build_parts
from textfer.recipe import Recipe
from textfer.run import run_train
from textfer.training.checkpoint import Run
from textfer.training.distributed import World
from textfer.training.trainer import Summary

Write = Callable[..., Path]
ALONE = World(torch.device("cpu"))
STOP_AT = 3


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


def parts_of(recipe: Recipe, folder: Path) -> Any:
    return build_parts(recipe, Run(folder), ALONE, data_dir=None)
