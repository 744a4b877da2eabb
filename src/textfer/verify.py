"""Shows on a user's own recipe that a resumed run is the unbroken one, bit for bit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from textfer.batch import Batch, Side
from textfer.data.stream import Cursor
from textfer.errors import ConfigError
from textfer.parts import build_parts
from textfer.recipe import Recipe
from textfer.run import Display, Observer
from textfer.training.checkpoint import Run, read_state
from textfer.training.distributed import World, world
from textfer.training.trainer import fit


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeCheck:
    """What `verify_resume` compared."""

    num_steps: int
    stopped_at: int
    batches_equal: bool
    losses_equal: bool
    weights_equal: bool

    @property
    def equal(self) -> bool:
        """Whether the resumed run is the unbroken one, bit for bit."""
        return self.batches_equal and self.losses_equal and self.weights_equal


def verify_resume(
    recipe: Recipe, *, num_steps: int, stop_at: int, display: Display, data_dir: Path | None = None
) -> ResumeCheck:
    """Trains `num_steps` in one go, and again from the checkpoint of `stop_at`; compares all numbers."""
    if not 0 < stop_at < num_steps:
        raise ConfigError(f"--stop-at: got {stop_at}, expected 1 to {num_steps - 1}.")
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError("verify-resume: runs in one process. Start it without torchrun.")
    shortened = {"num_steps": num_steps, "log_every": 1, "save_every": stop_at, "eval_every": None, "keep": num_steps}
    training = recipe.training.model_copy(update=shortened)
    nothing = recipe.eval.model_copy(update={"tasks": (), "loss_rows": None})
    recipe = recipe.model_copy(update={"training": training, "eval": nothing})
    with TemporaryDirectory(prefix="textfer-verify-") as folder, world(recipe.device) as place:
        unbroken, resumed = Run(Path(folder) / "unbroken"), Run(Path(folder) / "resumed")
        before, batches = _train(recipe, unbroken, place, display=display, data_dir=data_dir)
        shutil.copytree(unbroken.at(stop_at), resumed.at(stop_at))
        shutil.copy(unbroken.metrics_path, resumed.metrics_path)
        after, again = _train(recipe, resumed, place, display=display, data_dir=data_dir, start=stop_at)
        return ResumeCheck(
            num_steps=num_steps,
            stopped_at=stop_at,
            batches_equal=batches[stop_at:] == again,
            losses_equal=_losses(unbroken) == _losses(resumed),
            weights_equal=all(torch.equal(value, after[name]) for name, value in before.items()),
        )


def _train(
    recipe: Recipe, run: Run, place: World, *, display: Display, data_dir: Path | None, start: int = 0
) -> tuple[dict[str, Tensor], list[str]]:
    """(final weights, digest of every step's batches from `start` on)"""
    parts = build_parts(recipe, run, place, data_dir=data_dir, on_progress=display.preparing)
    cursor = Cursor(*read_state(run.at(start))["cursor"]) if start else Cursor()
    steps = islice(parts.stream.steps(cursor), recipe.training.num_steps - start)
    digests = [batch_digest(step.batches) for step in steps]
    observer = Observer(parts, run, display, data_dir=data_dir)
    fit(parts.adapted, parts.stream, run, place, options=recipe.training, watcher=observer)
    return {name: value.detach().cpu().clone() for name, value in parts.model.named_parameters()}, digests


def _losses(run: Run) -> list[float]:
    return [record["loss"] for record in run.records() if "loss" in record]


def batch_digest(batches: Iterable[Batch]) -> str:
    """sha256 (hex) of all numbers in some batches."""
    digest = sha256()
    for batch in batches:
        for part in (batch.encoder, batch.decoder, batch.targets, batch.weights, batch.prefix):
            tensors = (part.ids, part.segments, part.positions) if isinstance(part, Side) else (part,)
            for tensor in tensors:
                digest.update(b"-" if tensor is None else tensor.numpy().tobytes())
    return digest.hexdigest()
