"""Soft prompts: learnt vectors before every input, and nothing else."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import torch
from pydantic import Field

from textfer.adapt import METHODS, Method, Plan, one_stage
from textfer.errors import ConfigError
from textfer.models import Model
from textfer.models.prompt import SoftPrompt

SLOT = "prompt"
"""The attribute in which a model takes one."""
COMMON = 5000
"""First vectors are copies of rows of so many of the first ids, which are the most common pieces."""


@METHODS.named("soft_prompt")
class Prompt(Method):
    """Vectors learnt before every input, the model as it is.

    Source: Lester et al. 2021, arXiv 2104.08691; begun from embeddings of common pieces.
    """

    adds: ClassVar[bool] = True
    partial: ClassVar[bool] = True
    num_vectors: int = Field(100, ge=1)
    """Each takes the place of one input token beside those of the example."""

    def install(self, model: Model, *, seed: int) -> None:
        """Gives the model its prompt."""
        if not hasattr(model, SLOT) or model.layout != "encdec":
            raise ConfigError("method.name: got soft_prompt, and this model takes none before its input. Choose lora.")
        assert getattr(model, SLOT) is None, "a model takes one prompt"
        generator = torch.Generator().manual_seed(seed)
        table = cast(Any, model).embedding.weight
        rows = torch.randint(min(COMMON, model.vocab_size), (self.num_vectors,), generator=generator)
        setattr(model, SLOT, SoftPrompt(table.detach()[rows.to(table.device)], model.vocab_size))

    def plan(self, model: Model, *, num_steps: int) -> Plan:
        """The prompt."""
        del num_steps
        return one_stage(name for name, _ in model.named_parameters() if SLOT in name.split("."))
