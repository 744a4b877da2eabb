"""What there is to choose from, by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textfer.config import COMPARISONS_DIR, PRESETS_DIR, Registry, apply_overrides, load_layers, preset_names, read_toml
from textfer.data.named import task_names
from textfer.data.shares import where_found
from textfer.data.task import MIXTURES, TASKS
from textfer.errors import ConfigError, nearest
from textfer.objectives import OBJECTIVES

LISTS = ("tasks", "mixtures", "models", "objectives", "methods", "presets", "comparisons")


def list_name(word: str) -> str | None:
    """The list that a word means, in the singular or the plural; None when it means none."""
    return next((name for name in LISTS if word in (name, name.removesuffix("s"))), None)


def listing(what: str, name: str | None = None, *, data_dir: Path | None = None) -> list[dict[str, Any]]:
    """One row a part, its name first; only the part `name`, with all that is known of it, when that is given."""
    rows = _tasks(data_dir) if what == "tasks" else _ROWS[what]()
    if name is None:
        return rows
    chosen = [row for row in rows if row["name"] == name]
    if not chosen and what == "models":
        from textfer.models.packed import embedded_models

        chosen = [row for row in embedded_models() if row["name"] == name]
    if not chosen:
        kind = what.removesuffix("s")
        raise ConfigError(f"unknown {kind} '{name}'.{nearest(name, [row['name'] for row in rows])}")
    return chosen


def resolved(name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A recipe with all its options; of a preset that is only a size, what it says."""
    if not _exists(name):
        hint = nearest(name, [*LISTS, *preset_names()])
        hint = hint if "Did you mean" in hint else f" Lists: {', '.join(LISTS)}. Else give a recipe's name or file."
        raise ConfigError(f"unknown list or recipe '{name}'.{hint}")
    layers = apply_overrides(load_layers(name), overrides)
    if not {"data", "training"} & layers.keys():
        return layers
    from textfer.recipe import load_recipe  # a recipe is checked against its parts, and they import torch

    return load_recipe(name, overrides).model_dump(mode="json")


def _exists(name: str) -> bool:
    return name in preset_names() or "/" in name or "." in name or Path(name).exists()


def _tasks(data_dir: Path | None) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "family": task.family,
            "found": where_found(task, data_dir),
            "sizes": dict(task.sizes),
            "train_ok": task.train_ok,
            "licence": task.licence,
            "source": task.source.name,
            "summary": task.summary,
            "choices": list(task.choices),
        }
        for name, task in ((name, TASKS.get(name)) for name in TASKS.names())
    ]


def _mixtures() -> list[dict[str, Any]]:
    mixtures = [MIXTURES.get(name) for name in MIXTURES.names()]
    return [
        {
            "name": one.name,
            "num_tasks": len(task_names([one.name])),
            "max_examples": one.max_examples,
            "temperature": one.temperature,
            "summary": one.summary,
            "parts": list(one.parts),
        }
        for one in mixtures
    ]


def _models() -> list[dict[str, Any]]:
    from textfer.models import MODELS

    summaries = {name: sys.modules[MODELS.get(name).__module__].__doc__ or "" for name in MODELS.names()}
    return [{"name": name, "summary": text.partition("\n")[0]} for name, text in summaries.items()]


def embedded() -> list[dict[str, Any]]:
    """One row a model whose weights come with the package."""
    from textfer.models.packed import embedded_models  # tensors are imported with it, and they take a second

    columns = ("name", "num_parameters", "bits", "num_bytes", "licence", "state", "can", "summary")
    return [{column: row.get(column, "") for column in columns} for row in embedded_models()]


def _objectives() -> list[dict[str, Any]]:
    return _described(OBJECTIVES)


def _methods() -> list[dict[str, Any]]:
    from textfer.adapt import METHODS  # they hold layers, and these import torch

    rows = _described(METHODS)
    for row in rows:
        fields = METHODS.get(row["name"]).model_fields.items()
        row["options"] = [name if one.is_required() else f"{name} = {one.default!r}" for name, one in fields]
    return rows


def _described(registry: Registry[Any]) -> list[dict[str, Any]]:
    parts = ((name, registry.get(name)) for name in registry.names())
    return [{"name": name, "summary": (part.__doc__ or "").strip().splitlines()[0]} for name, part in parts]


def _presets() -> list[dict[str, Any]]:
    rows = []
    for name in preset_names():
        values = read_toml(PRESETS_DIR / f"{name}.toml")
        kind = "recipe" if "training" in values else "size"
        rows.append({"name": name, "kind": kind, "summary": values.get("summary", "")})
    return rows


def _comparisons() -> list[dict[str, Any]]:
    found = {path.stem: read_toml(path) for path in sorted(COMPARISONS_DIR.glob("*.toml"))}
    return [
        {
            "name": name,
            "rows": list(values.get("rows", {})),
            "columns": list(values.get("columns", {})),
            "summary": values.get("summary", ""),
        }
        for name, values in found.items()
    ]


_ROWS = {
    "mixtures": _mixtures,
    "models": _models,
    "objectives": _objectives,
    "methods": _methods,
    "presets": _presets,
    "comparisons": _comparisons,
}
