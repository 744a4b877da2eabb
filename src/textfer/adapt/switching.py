"""Several runs' changes upon one base, put on and taken off between requests; the base is held once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any, cast

from torch import Tensor, nn

from textfer.adapt.adapted import begin_changes, fill_changes, holds_changes, weights_digest
from textfer.errors import CheckpointError, ConfigError, nearest
from textfer.models import ADDED, Model
from textfer.models.headed import RECORD as HEADS
from textfer.models.headed import Headed
from textfer.models.int8 import holds_int8


@dataclass(frozen=True, slots=True)
class Changes:
    """What one run changed of the base, in memory."""

    added: Mapping[str, nn.Module]
    """Place of a slot in the model → what stands in it."""
    changed: Mapping[str, Tensor]
    """Parameter of the base → its numbers under this run."""
    model: Model
    """What is asked under these changes: the base, or this run's own heads upon the base's reader."""
    own_heads: bool = False

    @property
    def num_bytes(self) -> int:
        """Of memory, beside the base's."""
        own = [weight for part in self.added.values() for weight in part.parameters()]
        own += [weight for _, weight in cast(Headed, self.model).own_parameters()] if self.own_heads else []
        return sum(weight.nbytes for weight in [*own, *self.changed.values()])


def outline(model: Model) -> Model:
    """The same network as an object of its own: parts and numbers are shared, and what is taken out of one stays in
    the other."""
    made = copy(cast(nn.Module, model))
    made._modules, made._parameters, made._buffers = dict(made._modules), dict(made._parameters), dict(made._buffers)
    return cast(Model, made)


class Switch:
    """A base and the changes that are put upon it by name. Nothing is copied when they change places.

    Threads take turns: whoever holds `on` has the model, and the others wait.
    """

    def __init__(self, model: Model, *, reader: Model | None = None) -> None:
        """`reader`: that of a model with heads, before heads that have no use for a part of it took that away."""
        if holds_int8(model):
            raise ConfigError("adapters: the base has int8 weights, to which nothing can be added. Load it in float32.")
        if added := [name for name, _ in model.named_parameters() if ADDED & set(name.split("."))]:
            raise ConfigError(
                f"adapters: the base holds '{added[0]}' of a method, expected whole weights. Load its base."
            )
        self.model = model
        self._reader = reader
        self._digests: dict[frozenset[str], str] = {}
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
        misplaced = (folder / HEADS).exists() and not isinstance(self.model, Headed)
        if misplaced or not holds_changes(folder):
            what = "heads, and this base writes" if misplaced else "a whole model"
            raise CheckpointError(
                f"{folder}: holds {what}, expected what a method changed of a base. Load it by itself."
            )
        with self._lock:
            self._changes[name] = self._read(folder)

    def _read(self, folder: Path) -> Changes:
        model, device = self.model, next(self.model.parameters()).device
        own_heads = isinstance(model, Headed) and (folder / HEADS).exists()
        if isinstance(self.model, Headed) and own_heads:
            model = Headed.around(outline(self._reader or self.model.base), folder)
        module = cast(nn.Module, model)
        own = dict(model.named_parameters())
        base = {name: weight.data for name, weight in own.items()}
        try:
            _, tensors, saved = begin_changes(folder, model, self._digest_of(model))
            for name in saved & own.keys():
                own[name].data = own[name].data.clone()
            fill_changes(folder, model, tensors, saved)
            module.to(device)
            module.train(self.model.training)
            if hasattr(model, "lay_for_generation"):
                model.lay_for_generation()
            if isinstance(model, Headed):
                model.memory = None  # what is asked in use is not kept on disk
            changed = {name: own[name].data for name in saved & own.keys()}
            added = {name: module.get_submodule(name) for name in _slots(module)}
        finally:
            heads = {name for name, _ in model.own_parameters()} if isinstance(model, Headed) and own_heads else set()
            for name, weight in own.items():
                if name not in heads:
                    weight.data = base[name]
            _put(module, dict.fromkeys(_slots(module)))
        return Changes(added, changed, model, own_heads)

    def _digest_of(self, model: Model) -> str:
        """Reading all numbers takes a while: once for each set of parts that runs have left in the base."""
        names = frozenset(name for name, _ in model.named_parameters() if name.startswith("reader."))
        if names not in self._digests:
            self._digests[names] = weights_digest(model)
        return self._digests[names]

    @contextmanager
    def on(self, name: str | None) -> Iterator[Model]:
        """The model under the changes of that name, or as it is, within a `with` block."""
        changes = None if name is None else self[name]
        with self._lock:
            if changes is None:
                yield self.model
                return
            module: Any = changes.model
            base = {place: module.get_parameter(place).data for place in changes.changed}
            try:
                for place, tensor in changes.changed.items():
                    module.get_parameter(place).data = tensor
                _put(module, changes.added)
                yield changes.model
            finally:
                _put(module, dict.fromkeys(changes.added))
                for place, tensor in base.items():
                    module.get_parameter(place).data = tensor


def _put(model: nn.Module, parts: Mapping[str, nn.Module | None]) -> None:
    """Sets slots of a model: place → what stands in it from now on."""
    for name, part in parts.items():
        place, _, slot = name.rpartition(".")
        setattr(model.get_submodule(place), slot, part)


def _slots(model: nn.Module) -> list[str]:
    """Places in the network, heads apart, in which a method's additions stand now."""
    return [
        name for name, _ in model.named_modules() if name.rpartition(".")[2] in ADDED and not name.startswith("heads.")
    ]
