"""A run's numbers for TensorBoard, in `run/tensorboard`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from textfer.errors import MachineError
from textfer.training.checkpoint import saving

FOLDER = "tensorboard"
TRAINING = ("loss", "lr", "grad_norm")


@final
class Events:
    """Scalars of a run. What was written for `first_step` and later is hidden: those steps are taken again.

    Errors: MachineError when TensorBoard is not installed.
    """

    def __init__(self, run_path: Path, *, first_step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MachineError(
                "training.tensorboard: TensorBoard is not installed. pip install 'textfer[log]', or drop the option."
            ) from None
        self._path = run_path / FOLDER
        with saving(self._path):
            self._writer = SummaryWriter(str(self._path), purge_step=first_step)

    def write(self, record: Mapping[str, Any]) -> None:
        """The scalars of one line of `metrics.jsonl`."""
        step = record["step"]
        found = {f"train/{name}": record[name] for name in TRAINING if name in record}
        if found:
            found["train/tokens_per_second"] = record["tokens"] / max(record["seconds"], 1e-9)
        found |= {f"eval/{name}": value for name, value in record.get("eval", {}).items()}
        with saving(self._path):
            for name, value in found.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
