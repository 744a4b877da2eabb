"""Ways of transfer: which parameters move at which step, and what a checkpoint of them must hold; one class a way.

A method that changes only some parameters of weights that lie elsewhere saves these alone: see `adapt.adapted`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textfer.config import Options, Registry, build
from textfer.errors import ConfigError, nearest

if TYPE_CHECKING:  # torch takes seconds to import and only the networks need it
    from torch import Tensor

    from textfer.models import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which parameters a run moves."""

    stages: tuple[tuple[int, frozenset[str]], ...]
    """(first step, names of what is trained from there on), by rising step; the first begins at 0."""
    saved: frozenset[str]
    """Names that a checkpoint of this method must hold."""

    def trainable(self, step: int) -> frozenset[str]:
        """Names of the parameters that step `step` (from 0) moves: the same object within a stage."""
        return self.stages[bisect_right([first for first, _ in self.stages], step) - 1][1]


def one_stage(names: Iterable[str]) -> Plan:
    """The plan of a method that moves the same parameters at every step."""
    chosen = frozenset(names)
    return Plan(stages=((0, chosen),), saved=chosen)


class Method(Options):
    """A way of transfer. Its fields are its options; `install` comes first, then `plan`."""

    adds: ClassVar[bool] = False
    """Whether it adds parameters of its own to weights that are there already."""
    partial: ClassVar[bool] = False
    """Whether it leaves parameters as they are, which a checkpoint then need not hold."""

    def install(self, model: Model, *, seed: int) -> None:
        """Adds what the method adds, its first values drawn from `seed`.

        Errors: ConfigError when the model has no place for it.
        """

    def plan(self, model: Model, *, num_steps: int) -> Plan:
        """What of an installed model moves in a run of `num_steps`.

        Errors: ConfigError when an option cannot take effect on this model.
        """
        raise NotImplementedError

    def to_file(self, model: Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The saved parameters under the names that they have in the file."""
        del model
        return dict(tensors)

    def from_file(self, model: Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The way back: the tensors of a file under the names of our parameters; unknown ones keep their name."""
        del model
        return dict(tensors)

    def write_config(self, model: Model, folder: Path, *, base: str) -> None:
        """Writes what other programs want to find beside the tensors; most methods have no such format."""

    def merge(self, model: Model) -> None:
        """Folds what was added into the model's own weights where that is possible, for use without training."""


METHODS: Registry[type[Method]] = Registry(
    "method", [f"textfer.adapt.{name}" for name in ("choosing", "features", "bottleneck", "lora", "prompt")]
)


def make_method(section: Mapping[str, Any], *, where: str = "method") -> Method:
    """The method that a recipe's section names, with its options."""
    values = dict(section)
    name = values.pop("name", None)
    if name is None:
        raise ConfigError(f"{where}.name: missing.{nearest('', METHODS.names())}")
    return build(METHODS.get(name, where=f"{where}.name"), values, where=where)


def method_name(method: Method) -> str:
    """What users call it."""
    return next(name for name in METHODS.names() if METHODS.get(name) is type(method))


def method_section(method: Method) -> dict[str, Any]:
    """The recipe's section that makes this method, with all options."""
    return {"name": method_name(method), **method.model_dump(mode="json")}
