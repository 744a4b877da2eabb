"""The numbers of one optimiser step, taken by one process or by one of several.

Under torchrun: `one_step.py RECIPE FILE [k.k=v …]` writes FILE.0, FILE.1, …: what each process has.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tiny import ALONE
from torch import Tensor

from textfer.data.stream import Cursor
from textfer.parts import build_parts
from textfer.recipe import Recipe, load_recipe
from textfer.training.checkpoint import Run
from textfer.training.distributed import World, world
from textfer.training.trainer import Trainer

LOSS, NORM = "the loss a target", "the norm of all gradients"


def one_step(recipe: Recipe, folder: Path, place: World = ALONE, *, doubled: bool = False) -> dict[str, Tensor]:
    """{name: gradient} of the first step, with its loss a target and the gradients' norm. `doubled`: in float64."""
    parts = build_parts(recipe, Run(folder), place, data_dir=None)
    model = parts.model.double() if doubled else parts.model
    trainer = Trainer(model, parts.stream, Run(folder), place, options=recipe.training)
    found: dict[str, Tensor] = {}

    def keep(*arguments: object) -> None:
        found.update({name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None})

    trainer.optimizer.register_step_pre_hook(keep)
    trainer.train_step(next(parts.stream.steps(Cursor(), rank=place.rank, world=place.size)))
    trainer.settle()
    found[LOSS] = torch.tensor(trainer.window["loss"] / trainer.window["targets"], dtype=torch.float64)
    found[NORM] = torch.tensor(trainer.last_norm, dtype=torch.float64)
    return found


def main() -> None:
    recipe, file, *words = sys.argv[1:]
    torch.set_num_threads(1)
    with world("cpu") as place:
        found = one_step(load_recipe(recipe, words), Path(file).parent, place)
        save_file({name: value.contiguous() for name, value in found.items()}, f"{file}.{place.rank}")


def start(processes: int, recipe: str, file: Path, *words: str) -> subprocess.Popen[str]:
    """This file under torchrun."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *torchrun, __file__, recipe, str(file), *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def read(file: Path, rank: int) -> dict[str, Tensor]:
    """What a process wrote."""
    return dict(load_file(f"{file}.{rank}"))


if __name__ == "__main__":
    main()
