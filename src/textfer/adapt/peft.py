"""LoRA in PEFT's files: adapter_config.json and adapter_model.safetensors, there and back.

Source: PEFT 0.21 as written and read by it; names are those of the reference's modules, `lora_A` is [r, D], `lora_B`
is [F, r], and what is added is multiplied by lora_alpha / r (lora_alpha / √r with use_rslora).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor

from textfer.errors import CheckpointError, ConfigError
from textfer.models import Model
from textfer.models.hub import read_json

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PREFIX = "base_model.model."
PAIR = {"a": "lora_A", "b": "lora_B"}
UNREAD: dict[str, Any] = {
    "use_dora": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layer_replication": None,
    "trainable_token_indices": None,
    "bias": "none",
    "lora_bias": False,
}
"""Settings of theirs that change the numbers and that are read at these values only."""


class Filed(Protocol):
    """A model that knows what its tensors are called in the reference's files."""

    def file_names(self) -> dict[str, str]:
        """Our parameter → the tensor of the file."""
        ...


def modules_of(model: Model) -> dict[str, str]:
    """Our product → the reference's module."""
    if not hasattr(model, "file_names"):
        raise ConfigError(f"method.name: got lora, and {type(model).__name__} has no names in PEFT's format.")
    names = cast(Filed, model).file_names()
    return {ours.removesuffix(".weight"): theirs.removesuffix(".weight") for ours, theirs in names.items()}


def to_peft(model: Model, names: Iterable[str]) -> dict[str, str]:
    """Our parameter of a pair → PEFT's tensor."""
    modules = modules_of(model)
    found = {}
    for name in names:
        product, _, rest = name.rpartition(".lora.")
        found[name] = f"{PREFIX}{modules[product]}.{PAIR[rest.removesuffix('.weight')]}.weight"
    return found


def from_peft(model: Model, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """PEFT's tensors under our names; a tensor of something else keeps its name."""
    ours = {theirs: name for name, theirs in modules_of(model).items()}
    sides = {theirs: side for side, theirs in PAIR.items()}
    found = {}
    for name, tensor in tensors.items():
        module, _, side = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        known = module in ours and side in sides
        found[f"{ours[module]}.lora.{sides[side]}.weight" if known else name] = tensor
    return found


def write_peft_config(
    folder: Path, model: Model, options: Mapping[str, Any], *, base: str, targets: Sequence[str]
) -> None:
    """Writes adapter_config.json; `targets` are products by our names."""
    modules = modules_of(model)
    values = {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM" if model.layout == "encdec" else None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "use_rslora": False,
        **options,
        "target_modules": _shortest([modules[name] for name in targets], list(modules.values())),
        **UNREAD,
    }
    (folder / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _shortest(chosen: list[str], every: list[str]) -> list[str]:
    """The last parts of the names where these choose nothing else, else the whole names."""
    lasts = {name.rpartition(".")[2] for name in chosen}
    return sorted(lasts) if all(name in chosen or name.rpartition(".")[2] not in lasts for name in every) else chosen


def read_peft(folder: Path, model: Model, names: Iterable[str]) -> dict[str, Any]:
    """The section of the method that PEFT's folder holds; `names` are those of its tensors.

    Errors: CheckpointError when it holds something that is not read here.
    """
    values, place = read_json(folder / CONFIG), folder / CONFIG
    if values.get("peft_type") != "LORA":
        raise CheckpointError(f"{place}: peft_type is {values.get('peft_type')!r}, expected 'LORA'.")
    for key, expected in UNREAD.items():
        if values.get(key, expected) not in (expected, None, [], {}, False):
            raise CheckpointError(
                f"{place}: {key} is {values[key]!r}, expected {expected!r}. Merge it with PEFT first."
            )
    rank, alpha = values.get("r"), values.get("lora_alpha")
    if not (isinstance(rank, int) and isinstance(alpha, int | float) and rank > 0 and alpha > 0):
        raise CheckpointError(f"{place}: r is {rank!r} and lora_alpha {alpha!r}, expected numbers above 0.")
    theirs = {theirs: ours for ours, theirs in modules_of(model).items()}
    targets = []
    for name in names:
        module, _, side = name.removeprefix(PREFIX).removesuffix(".weight").rpartition(".")
        if module not in theirs or side not in PAIR.values():
            raise CheckpointError(f"{folder}: holds unknown {name}. Is this base the one it was trained on?")
        if side == PAIR["a"]:
            targets.append(theirs[module])
    return {
        "name": "lora",
        "rank": rank,
        "alpha": alpha * math.sqrt(rank) if values.get("use_rslora") else alpha,
        "dropout": values.get("lora_dropout", 0.0),
        "targets": targets,
    }
