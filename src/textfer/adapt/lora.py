"""LoRA: products of low rank beside the model's own, which stay as they are; in PEFT's file format.

Letters: F outputs, D inputs, r rank.
Source: Hu et al. 2021, arXiv 2106.09685.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from textfer.adapt import METHODS, Method, Plan, one_stage
from textfer.adapt.peft import from_peft, modules_of, to_peft, write_peft_config
from textfer.errors import ConfigError
from textfer.models import ADDED, Model
from textfer.models.headed import Headed
from textfer.models.layers import Linear, drop

SLOT = "lora"
"""What the added pair is called within the product that it stands beside."""
HOOK = "lora_hook"
"""And what calls it."""


class LowRank(nn.Module):
    """D → r → F, times a factor. Begins as zero: `b` is zero."""

    def __init__(self, part: nn.Linear, rank: int, *, scale: float, dropout: float) -> None:
        super().__init__()
        self.scale, self.dropout = scale, dropout
        self.a = Linear(part.in_features, rank)
        self.b = Linear(rank, part.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, F]"""
        out: Tensor = self.b(self.a(drop(x, self.dropout if self.training else 0.0)))
        return out * self.scale

    def product(self) -> Tensor:
        """[F, D] the one matrix that does the same."""
        return (self.b.weight @ self.a.weight) * self.scale


def _beside(part: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
    """The hook that adds the pair's product to the part's own, while there is a pair."""
    pair: nn.Module | None = getattr(part, SLOT)
    if pair is None:
        return out
    extra: Tensor = pair(inputs[0])
    return out + extra.to(out.dtype)


@METHODS.named("lora")
class Lora(Method):
    """A product of low rank beside each chosen one; merged into it after training, it costs nothing."""

    adds: ClassVar[bool] = True
    partial: ClassVar[bool] = True
    rank: int = Field(8, ge=1)
    """r, the width between the two products."""
    alpha: float = Field(16.0, gt=0)
    """What is added is multiplied by alpha / rank."""
    targets: tuple[str, ...] = Field(("q", "v"), min_length=1)
    """Products to stand beside, by the end of their names: `q` is all queries, `decoder.layers.0.cross.q` is one."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the inputs that the added product does not see."""

    def install(self, model: Model, *, seed: int) -> None:
        """Stands a pair beside every target: the first uniform within ±D^-0.5, the second zero."""
        modules_of(model)  # refuses a model whose pairs could not be saved
        generator = torch.Generator().manual_seed(seed)
        for part in self._chosen(model).values():
            rank = min(part.weight.shape)
            if self.rank > rank:
                raise ConfigError(f"method.rank: got {self.rank}, and a target's own rank is at most {rank}.")
            pair = LowRank(part, self.rank, scale=self.alpha / self.rank, dropout=self.dropout)
            nn.init.kaiming_uniform_(pair.a.weight, a=math.sqrt(5), generator=generator)
            nn.init.zeros_(pair.b.weight)
            setattr(part, SLOT, pair)
            if not hasattr(part, HOOK):  # it stays where a pair has been taken off
                setattr(part, HOOK, part.register_forward_hook(_beside))

    def _chosen(self, model: Model) -> dict[str, nn.Linear]:
        """The products that the targets name, by name."""
        readout = None if model.layout == "pair" else model.readout()[0]
        parts = {
            name: part
            for name, part in cast(nn.Module, model).named_modules()
            if isinstance(part, nn.Linear) and part.weight is not readout and not ADDED & set(name.split("."))
        }
        if isinstance(model, Headed):  # what stands upon the reader is trained anyway
            parts = {name: part for name, part in parts.items() if name.startswith("reader.")}
        for target in self.targets:
            if not any(_ends(name, target) for name in parts):
                kinds = sorted({name.rpartition(".")[2] for name in parts})
                raise ConfigError(f"method.targets: '{target}' matches no product. There are {', '.join(kinds)}.")
        return {name: part for name, part in parts.items() if any(_ends(name, target) for target in self.targets)}

    def plan(self, model: Model, *, num_steps: int) -> Plan:
        """All pairs."""
        del num_steps
        return one_stage(name for name, _ in model.named_parameters() if SLOT in name.split("."))

    def to_file(self, model: Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """PEFT's names."""
        names = to_peft(model, tensors)
        return {names[name]: tensor for name, tensor in tensors.items()}

    def from_file(self, model: Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our names."""
        return from_peft(model, tensors)

    def write_config(self, model: Model, folder: Path, *, base: str) -> None:
        """PEFT's adapter_config.json."""
        options: dict[str, Any] = {"r": self.rank, "lora_alpha": self.alpha, "lora_dropout": self.dropout}
        write_peft_config(folder, model, options, base=base, targets=list(self._chosen(model)))

    @torch.no_grad()
    def merge(self, model: Model) -> None:
        """Adds every pair's product to the weight that it stands beside, and takes the pair away."""
        for part in self._chosen(model).values():
            part.weight += cast(LowRank, part.get_submodule(SLOT)).product()
            getattr(part, HOOK).remove()
            delattr(part, HOOK)
            delattr(part, SLOT)


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")
