"""The models that are measured: a run's best checkpoint, its last, all of them, or any folder or hub name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from textfer.data.digest import file_digest
from textfer.errors import CheckpointError, ConfigError
from textfer.models.headed import has_heads
from textfer.models.int8 import Weights
from textfer.parts import model_folder, tokenizer_of
from textfer.training.checkpoint import Run

Which = Literal["best", "last", "all"]
WHICH: tuple[str, ...] = get_args(Which)
NOT_WEIGHTS = {"optimizer.safetensors", "state.json", "README.md"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One set of weights with a name."""

    model: str
    """As the user named it."""
    folder: str
    """What is loaded: a checkpoint's folder, or the user's name for a folder or the hub."""
    step: int | None = None
    """Of a run's checkpoint."""
    weights: Weights = "float32"
    """What products are made with."""

    @property
    def name(self) -> str:
        """The model, the step where it has one, and the weights where they are not what was learnt."""
        told = self.model if self.step is None else f"{self.model} @ {self.step:,}"
        return told if self.weights == "float32" else f"{told}, {self.weights}"

    def by_heads(self) -> bool:
        """Whether the model answers by heads."""
        return has_heads(model_folder(self.folder))

    def digest(self) -> str:
        """sha256 (hex) of the files of the weights and of the vocabulary: it changes when the answers may."""
        folder = model_folder(self.folder)
        files = sorted(one for one in folder.iterdir() if one.is_file() and one.name not in NOT_WEIGHTS)
        told = [f"{one.name} {file_digest(one)}" for one in files if one.suffix in {".safetensors", ".json", ".bin"}]
        told += [self.weights] if self.weights != "float32" else []
        return sha256("\n".join([*told, tokenizer_of(self.folder).digest]).encode()).hexdigest()


def checkpoints_of(name: str, which: Which = "best") -> list[Checkpoint]:
    """The checkpoints of a run folder; of any other model the one there is.

    Errors: CheckpointError for a run without a finished checkpoint; ConfigError when `which` cannot take effect.
    """
    if which not in WHICH:
        raise ConfigError(f"checkpoints: got '{which}', expected one of {', '.join(WHICH)}.")
    run = Run(Path(name))
    steps = run.steps() if Path(name).is_dir() else []
    if not steps:
        if (Path(name) / "recipe.json").exists():
            raise CheckpointError(f"{name}: the run has no finished checkpoint. Train it further.")
        if which != "best":
            raise ConfigError(f"--checkpoints: cannot take effect, {name} is no run folder. Drop it.")
        return [Checkpoint(model=name, folder=name)]
    if which == "best":
        best = run.best()
        assert best is not None
        chosen: Sequence[int] = [step for step in steps if run.at(step) == best]
    else:
        chosen = steps if which == "all" else steps[-1:]
    return [Checkpoint(model=name, folder=str(run.at(step)), step=step) for step in chosen]
