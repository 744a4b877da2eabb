"""One process or many, told apart by torchrun's environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from textfer.errors import ConfigError, MachineError

PATIENCE = timedelta(days=7)
"""How long processes wait for the leading one, which prepares data, evaluates and saves alone."""


@dataclass(frozen=True, slots=True)
class World:
    """This process among all."""

    device: torch.device
    rank: int = 0
    size: int = 1
    patient: dist.ProcessGroup | None = None
    """All processes once more, joined for waiting: the other group gives a collective only minutes."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def add_up(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        """Returns when every process is here."""
        if self.size > 1:
            dist.barrier(group=self.patient)


def pick_device(name: str = "auto") -> torch.device:
    """The named device; `auto` = a CUDA or MPS device, else the CPU. Under torchrun each process has its own GPU.

    Errors: ConfigError for an unknown name, MachineError for a device that is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device: got '{name}', expected auto, cpu, cuda, cuda:N or mps.") from None
    if device.type == "cuda":
        number = int(os.environ.get("LOCAL_RANK", 0)) if device.index is None else device.index
        count = torch.cuda.device_count()
        if number >= count:
            raise MachineError(
                f"device: no GPU number {number}, {count} found. Start fewer processes, or give device=cpu."
            )
        return torch.device("cuda", number)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise MachineError("device: no MPS device here. Give device=cpu.")
    return device


@contextmanager
def world(device: str = "auto") -> Iterator[World]:
    """The processes that torchrun started, joined for the length of a `with` block; alone without torchrun."""
    chosen = pick_device(device)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield World(chosen)
        return
    if chosen.type == "cuda":
        dist.init_process_group("nccl", device_id=chosen)
    else:
        dist.init_process_group("gloo")
    try:
        yield World(chosen, dist.get_rank(), size, dist.new_group(backend="gloo", timeout=PATIENCE))
    finally:
        dist.destroy_process_group()
