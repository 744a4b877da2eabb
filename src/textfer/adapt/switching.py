"""Several runs' changes upon one base, put on and taken off between requests; the base is held once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, cast

from torch import Tensor, nn

from textfer.adapt.adapted import begin_changes, fill_changes, holds_changes, weights_digest
from textfer.errors import CheckpointError, ConfigError, nearest
from textfer.models import ADDED, Generator
from textfer.models.headed import RECORD as HEADS


@dataclass(frozen=True, slots=True)
class Changes:
    """What one run changed of the base, in memory."""

    added: Mapping[str, nn.Module]
    """Place of a slot in the model → what stands in it."""
    changed: Mapping[str, Tensor]
    """Parameter of the base → its numbers under this run."""

    @property
    def num_bytes(self) -> int:
        """Of memory, beside the base's."""
        own = [weight for part in self.added.values() for weight in part.parameters()]
        return sum(weight.nbytes for weight in [*own, *self.changed.values()])


class Switch:
    """A base and the changes that are put upon it by name. Nothing is copied when they change places.

    Threads take turns: whoever holds `on` has the model, and the others wait.
    """

    def __init__(self, model: Generator) -> None:
        if added := [name for name, _ in model.named_parameters() if ADDED & set(name.split("."))]:
            raise ConfigError(
                f"adapters: the base holds '{added[0]}' of a method, expected whole weights. Load its base."
            )
        self.model = model
        self._digest = weights_digest(model)
        self._changes: dict[str, Changes] = {}
        self._lock = RLock()

    def names(self) -> list[str]:
        """All names, in the order in which they came."""
        return list(self._changes)

    def __getitem__(self, name: str) -> Changes:
        """Errors: ConfigError for a name that is not there."""
        if name not in self._changes:
            raise ConfigError(f"adapter: unknown adapter '{name}'.{nearest(name, self._changes)}")
        return self._changes[name]

    def add(self, name: str, folder: Path) -> None:
        """Reads a run's changes under a name.

        Errors: ConfigError for a name that is taken; CheckpointError where the folder holds something else than changes
        of this very base, or is damaged. The model then is as it was.
        """
        if not name or name in self._changes:
            raise ConfigError(f"adapters: the name '{name}' is {'taken' if name else 'empty'}. Choose another.")
        if not holds_changes(folder) or (folder / HEADS).exists():
            what = "heads" if (folder / HEADS).exists() else "a whole model"
            raise CheckpointError(
                f"{folder}: holds {what}, expected what a method changed of a base. Load it by itself."
            )
        with self._lock:
            self._changes[name] = self._read(folder)

    def _read(self, folder: Path) -> Changes:
        module = cast(nn.Module, self.model)
        own = dict(self.model.named_parameters())
        base = {name: weight.data for name, weight in own.items()}
        try:
            _, tensors, saved = begin_changes(folder, self.model, self._digest)
            for name in saved & own.keys():
                own[name].data = own[name].data.clone()
            fill_changes(folder, self.model, tensors, saved)
            module.to(next(iter(base.values())).device)
            module.train(module.training)
            self.model.lay_for_generation()
            changed = {name: own[name].data for name in saved & own.keys()}
            added = {name: part for name, part in module.named_modules() if name.rpartition(".")[2] in ADDED}
        finally:
            for name, weight in own.items():
                weight.data = base[name]
            _put(module, dict.fromkeys(name for name, _ in module.named_modules() if name.rpartition(".")[2] in ADDED))
        return Changes(added, changed)

    @contextmanager
    def on(self, name: str | None) -> Iterator[None]:
        """The model under the changes of that name, or as it is, within a `with` block."""
        changes = None if name is None else self[name]
        module: Any = self.model
        with self._lock:
            if changes is None:
                yield
                return
            base = {place: module.get_parameter(place).data for place in changes.changed}
            try:
                for place, tensor in changes.changed.items():
                    module.get_parameter(place).data = tensor
                _put(module, changes.added)
                yield
            finally:
                _put(module, dict.fromkeys(changes.added))
                for place, tensor in base.items():
                    module.get_parameter(place).data = tensor


def _put(model: nn.Module, parts: Mapping[str, nn.Module | None]) -> None:
    """Sets slots of a model: place → what stands in it from now on."""
    for name, part in parts.items():
        place, _, slot = name.rpartition(".")
        setattr(model.get_submodule(place), slot, part)
