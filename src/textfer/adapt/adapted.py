"""A model under a method, and the small files of what a method changed.

folder/  adapter_model.safetensors   the parameters that the method changed or added
         method.json                 the method, its options, and the base: its name and the digest of its weights
         adapter_config.json         for LoRA: the same for PEFT
         heads.json, heads.safetensors   the heads, where the model has any: they are always trained
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from textfer.adapt import Method, Plan, make_method, method_section
from textfer.adapt.peft import CONFIG, TENSORS, read_peft
from textfer.errors import CheckpointError, ConfigError
from textfer.models import ADDED, Model
from textfer.models.headed import RECORD as HEADS
from textfer.models.headed import Headed
from textfer.models.hub import read_json, some

RECORD = "method.json"
FORMAT = 1
SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The weights that a method began from."""

    name: str
    """A folder or a hub name."""
    digest: str | None
    """Of its weights; None where whoever made the files recorded none (PEFT)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapted:
    """A model whose method is installed."""

    model: Model
    method: Method
    plan: Plan
    base: Base | None
    """What a checkpoint lies upon; None = checkpoints are whole models."""

    def save(self, folder: Path) -> None:
        """Writes what the plan says must be saved, or the whole model where there is no base to lay it upon."""
        if self.base is None:
            self.model.save(folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        saved = self.plan.saved - _own_names(self.model)
        chosen = {name: weight for name, weight in self.model.named_parameters() if name in saved}
        tensors = self.method.to_file(self.model, {name: weight.detach().cpu() for name, weight in chosen.items()})
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / TENSORS, {"format": "pt"})
        base = {"name": self.base.name, "digest": self.base.digest}
        record = {"format": FORMAT, "method": method_section(self.method), "base": base}
        (folder / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self.method.write_config(self.model, folder, base=self.base.name)
        if isinstance(self.model, Headed):
            self.model.save_heads(folder)


def adapt(model: Model, method: Method, *, num_steps: int, seed: int, base: str | None) -> Adapted:
    """The model under the method. `base` names the weights that it has now; None = they were drawn.

    Errors: ConfigError when an option cannot take effect on this model.
    """
    if added := [name for name, _ in model.named_parameters() if ADDED & set(name.split("."))]:
        raise ConfigError(
            f"init: '{base}' holds '{added[0]}' of another method, expected whole weights. Name its base."
        )
    assert base or not method.adds, "what is added lies upon weights that can be found again"
    under = Base(name=base, digest=weights_digest(model)) if base and method.partial else None
    method.install(model, seed=seed)
    plan = _with_heads(method.plan(model, num_steps=num_steps), model)
    now = plan.trainable(0)
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in now)
    return Adapted(model=model, method=method, plan=plan, base=under)


def _own_names(model: Model) -> frozenset[str]:
    """Names of the parameters of heads."""
    return frozenset(name for name, _ in model.own_parameters()) if isinstance(model, Headed) else frozenset()


def _with_heads(plan: Plan, model: Model) -> Plan:
    """The same plan with the heads trained at every step: without them nothing can be said."""
    own = _own_names(model)
    return Plan(stages=tuple((first, names | own) for first, names in plan.stages), saved=plan.saved | own)


def weights_digest(model: Model) -> str:
    """sha256 (hex) of all parameters but those of heads: names, shapes and numbers, however they lie in files."""
    digest = sha256()
    model = model.base if isinstance(model, Headed) else model
    for name, weight in sorted(model.named_parameters()):
        digest.update(f"{name} {weight.dtype} {list(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def holds_changes(folder: Path) -> bool:
    """Whether the folder holds what a method changed of a base, and not a whole model."""
    return (folder / RECORD).exists() or ((folder / CONFIG).exists() and not (folder / "config.json").exists())


def base_of(folder: Path) -> Base:
    """The base that the changes in a folder lie upon.

    Errors: CheckpointError when it names none.
    """
    if (folder / RECORD).exists():
        record = read_json(folder / RECORD)
        base = record.get("base")
        if record.get("format") != FORMAT or not isinstance(base, Mapping):
            raise CheckpointError(f"{folder / RECORD}: format is {record.get('format')!r}, expected {FORMAT}.")
        name, digest = base.get("name"), base.get("digest")
        place = folder / RECORD
    else:
        name, digest, place = read_json(folder / CONFIG).get("base_model_name_or_path"), None, folder / CONFIG
    if not isinstance(name, str) or not name:
        raise CheckpointError(f"{place}: names no base. Write in the folder or hub name of the weights it lies upon.")
    return Base(name=name, digest=digest)


def lay_changes(folder: Path, model: Model) -> Model:
    """The base `model` with a folder's changes, folded into its own weights where that is possible; for use.

    Errors: CheckpointError when it is another base than that of the changes, or a file is damaged.
    """
    if (folder / HEADS).exists():
        model = Headed.around(model.base if isinstance(model, Headed) else model, folder)
    method, tensors, saved = begin_changes(folder, model, weights_digest(model))
    fill_changes(folder, model, tensors, saved)
    method.merge(model)
    return model


def begin_changes(folder: Path, model: Model, digest: str) -> tuple[Method, dict[str, Tensor], frozenset[str]]:
    """(a folder's method, now installed in its base, the numbers that are to be filled in, and where); not yet done.

    Errors: CheckpointError when `digest` is that of another base than the changes', or a file is damaged.
    """
    _check_base(folder, digest)
    tensors = _tensors(folder)
    if (folder / RECORD).exists():
        section: Any = read_json(folder / RECORD).get("method")
    else:
        section = read_peft(folder, model, tensors)
    try:
        method = make_method(section, where=f"{folder}: method")
        method.install(model, seed=0)
        plan = method.plan(model, num_steps=1)
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{folder}: {error}") from None
    return method, method.from_file(model, tensors), plan.saved - _own_names(model)


def take_up(folder: Path, adapted: Adapted) -> None:
    """Puts a checkpoint's changes into a model under the same method, to be trained further."""
    assert adapted.base is not None, "whole models are loaded, not laid"
    _check_base(folder, adapted.base.digest)
    tensors = adapted.method.from_file(adapted.model, _tensors(folder))
    fill_changes(folder, adapted.model, tensors, adapted.plan.saved - _own_names(adapted.model))
    if isinstance(adapted.model, Headed):
        adapted.model.fill_heads(folder)


def _check_base(folder: Path, digest: str | None) -> None:
    base = base_of(folder)
    if base.digest is not None and base.digest != digest:
        raise CheckpointError(
            f"{folder}: lies upon other weights than '{base.name}' gives now (digest {base.digest[:SHOWN_DIGITS]}, "
            f"got {str(digest)[:SHOWN_DIGITS]}). Give the base that it was trained on."
        )


def _tensors(folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(folder / TENSORS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / TENSORS}: cannot be read ({error}). Copy it again.") from None


def fill_changes(folder: Path, model: Model, tensors: Mapping[str, Tensor], names: frozenset[str]) -> None:
    """Copies the tensors into the parameters of those names: all of them, and no others."""
    module = cast(nn.Module, model)
    problems = []
    if lacking := sorted(names - tensors.keys()):
        problems.append(f"lacks {some(lacking)}")
    if unknown := sorted(tensors.keys() - names):
        problems.append(f"holds unknown {some(unknown)}")
    shapes = {name: list(module.get_parameter(name).shape) for name in names & tensors.keys()}
    found = {name: list(tensors[name].shape) for name in sorted(shapes)}
    if wrong := [f"{name} is {now}, expected {shapes[name]}" for name, now in found.items() if now != shapes[name]]:
        problems.append(f"has misshapen {some(wrong)}")
    if problems:
        raise CheckpointError(f"{folder / TENSORS}: {'; '.join(problems)}. Is this the base it was trained on?")
    with torch.no_grad():
        for name in names:
            module.get_parameter(name).copy_(tensors[name])
