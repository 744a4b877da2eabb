"""A run's folder: recipe, log of numbers, and checkpoints that are whole or not there.

run/recipe.json  run.json  metrics.jsonl  tokenizer/  report.html
    step_00001000/  config.json  model.safetensors   the model in hub format
                    optimizer.safetensors  state.json   what resuming needs, and the digest of every file
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeAlias, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from textfer.errors import CheckpointError, MachineError

STATE = "state.json"
OPTIMIZER = "optimizer.safetensors"
NUM_DIGITS = 8
REQUIRED = {"step", "files"}
Names: TypeAlias = Mapping[nn.Parameter, str]
"""What each parameter is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A finished checkpoint on disk."""

    path: Path
    step: int
    state: Mapping[str, Any]


@final
class Run:
    """A run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics_path = path / "metrics.jsonl"
        self.samples_path = path / "samples.jsonl"

    def create(self) -> None:
        """Makes the folder."""
        with saving(self.path):
            self.path.mkdir(parents=True, exist_ok=True)

    def write_json(self, name: str, value: object) -> None:
        """Writes `name` whole or not at all."""
        with saving(self.path / name):
            work = self.path / f".{name}.part"
            work.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            os.replace(work, self.path / name)

    def log(self, record: Mapping[str, object]) -> None:
        """Appends one line to `metrics.jsonl`."""
        with saving(self.metrics_path), self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def records(self) -> list[dict[str, Any]]:
        """All whole lines of `metrics.jsonl`."""
        return read_records(self.metrics_path)

    def rewind(self, step: int) -> None:
        """Drops what was logged after `step`: those steps will be taken again."""
        for path in (self.metrics_path, self.samples_path):
            if not path.exists():
                continue
            work = self.path / f".{path.name}.part"
            with saving(path):
                with work.open("w", encoding="utf-8") as file:
                    for record in each_record(path):
                        if record["step"] <= step:
                            file.write(json.dumps(record, ensure_ascii=False) + "\n")
                os.replace(work, path)

    def steps(self) -> list[int]:
        """Steps with a finished checkpoint, rising."""
        found = (path for path in self.path.glob("step_*") if (path / STATE).exists())
        numbers = (path.name.removeprefix("step_") for path in found)
        return sorted({int(number) for number in numbers if number.isdecimal() and len(number) >= NUM_DIGITS})

    def at(self, step: int) -> Path:
        """The folder of the checkpoint after `step` steps."""
        return self.path / f"step_{step:0{NUM_DIGITS}d}"

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint, its files checked against their digests; None when there is none."""
        steps = self.steps()
        return open_checkpoint(self.at(steps[-1])) if steps else None

    def best(self) -> Path | None:
        """The checkpoint with the best evaluation, else the newest."""
        steps = self.steps()
        if not steps:
            return None
        best = read_state(self.at(steps[-1])).get("best")
        return self.at(best["step"] if best and best["step"] in steps else steps[-1])

    def save(
        self, step: int, save_model: Callable[[Path], None], optimizer: Mapping[str, Tensor], state: Mapping[str, Any]
    ) -> Path:
        """Writes the checkpoint beside the others, then gives it its name: a crash leaves the old ones as they were."""
        for stale in self.path.glob(".step_*"):
            shutil.rmtree(stale, ignore_errors=True)
        final = self.at(step)
        work = self.path / f".{final.name}.part"
        try:
            with saving(final):
                work.mkdir(parents=True)
                save_model(work)
                if optimizer:
                    save_file(
                        {name: tensor.contiguous() for name, tensor in optimizer.items()},
                        work / OPTIMIZER,
                    )
                digests = {file.name: _digest(file) for file in sorted(work.iterdir())}
                (work / STATE).write_text(json.dumps({**state, "step": step, "files": digests}, indent=1))
                for file in work.iterdir():
                    _sync(file)
                _sync(work)
                if final.exists():  # the same step again: evaluated after a resume without new steps
                    self._drop(final)
                os.replace(work, final)
                _sync(self.path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return final

    def keep(self, steps: Iterable[int]) -> None:
        """Removes every checkpoint but those of `steps`."""
        wanted = set(steps)
        for step in self.steps():
            if step not in wanted:
                self._drop(self.at(step))

    def _drop(self, path: Path) -> None:
        """Takes the name first, so that half a checkpoint never looks like one."""
        gone = path.with_name(f".{path.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        with saving(path):
            os.replace(path, gone)
        shutil.rmtree(gone, ignore_errors=True)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The whole JSON lines of a file; a last line that was cut off is left out.

    Errors: CheckpointError when a line before the last is damaged.
    """
    return list(each_record(path))


def each_record(path: Path) -> Iterator[dict[str, Any]]:
    """The same one by one: the log of a long run need not fit in memory."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = dict(json.loads(line))
            except ValueError:
                if not line.endswith(b"\n"):
                    return
                raise CheckpointError(f"{path}:{number}: not a record of a run. Delete the line.") from None
            yield record


def read_state(path: Path) -> dict[str, Any]:
    """A checkpoint's `state.json`."""
    try:
        state = dict(json.loads((path / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path / STATE}: cannot be read ({error}). Delete {path.name} to go on from the one before."
        ) from None
    if missing := sorted(REQUIRED - set(state)):
        raise CheckpointError(
            f"{path / STATE}: has no '{missing[0]}'. Delete {path.name} to go on from the one before."
        )
    return state


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in `path`, every file compared with the digest it was saved with."""
    state = read_state(path)
    for name, digest in state["files"].items():
        file = path / name
        if not file.exists():
            raise CheckpointError(f"{file}: missing. Delete {path.name} to go on from the checkpoint before it.")
        if _digest(file) != digest:
            raise CheckpointError(
                f"{file}: damaged (its digest is not the saved one). Delete {path.name} to go on from the one before."
            )
    return Checkpoint(path=path, step=state["step"], state=state)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Names) -> dict[str, Tensor]:
    """{"parameter/key": tensor} of all that the optimiser remembers."""
    tensors: dict[str, Tensor] = {}
    for parameter, state in optimizer.state.items():
        assert isinstance(parameter, nn.Parameter)
        for key, value in state.items():
            tensors[f"{names[parameter]}/{key}"] = (
                value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
            )
    return tensors


def load_optimizer(optimizer: torch.optim.Optimizer, names: Names, path: Path) -> None:
    """Puts back what `optimizer_tensors` took out."""
    tensors = read_tensors(path / OPTIMIZER)
    parameters = {name: parameter for parameter, name in names.items()}
    for full, value in tensors.items():
        name, _, key = full.rpartition("/")
        if name not in parameters:
            raise CheckpointError(f"{path}: the optimiser remembers '{name}', which the model does not have.")
        device = "cpu" if value.ndim == 0 else parameters[name].device
        optimizer.state[parameters[name]][key] = value.to(device)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Restore the file, or delete its folder.") from None


class saving:  # noqa: N801  reads as a word: `with saving(path):`
    """Turns a full or read-only disk into one line that says what is still safe; clears away a half-written file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:  # files are written beside the old ones as `.NAME.part`, and then take their name
            with suppress(OSError):
                self.path.with_name(f".{self.path.name}.part").unlink()
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or (isinstance(error, SafetensorError) and "os error 28" in str(error)):
            raise MachineError(
                f"{self.path}: the disk is full. What was saved before is untouched; free some room and run again."
            ) from error
        if isinstance(error, PermissionError | NotADirectoryError | FileExistsError) or (
            isinstance(error, OSError) and error.errno == errno.EROFS
        ):
            raise MachineError(f"{self.path}: cannot be written ({error.strerror}).") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
