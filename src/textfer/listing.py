"""What there is to choose from, by name."""

from __future__ import annotations

from typing import Any

from textfer.config import PRESETS_DIR, Registry, nearest, preset_names, read_toml
from textfer.data.task import MIXTURES, TASKS
from textfer.errors import ConfigError
from textfer.objectives import OBJECTIVES

LISTS = ("tasks", "mixtures", "models", "objectives", "presets")


def listing(what: str, name: str | None = None) -> list[dict[str, Any]]:
    """One row a part, its name first; only the part `name` when that is given."""
    rows = {"tasks": _tasks, "mixtures": _mixtures, "models": _models, "objectives": _objectives, "presets": _presets}[
        what
    ]()
    if name is None:
        return rows
    chosen = [row for row in rows if row["name"] == name]
    if not chosen:
        raise ConfigError(f"unknown name '{name}' among the {what}.{nearest(name, [row['name'] for row in rows])}")
    return chosen


def _tasks() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "family": task.family,
            "summary": task.summary,
            "source": task.source.name,
            "licence": task.licence,
            "choices": list(task.choices),
        }
        for name, task in ((name, TASKS.get(name)) for name in TASKS.names())
    ]


def _mixtures() -> list[dict[str, Any]]:
    return [
        {"name": name, "parts": list(MIXTURES.get(name).parts), "summary": MIXTURES.get(name).summary}
        for name in MIXTURES.names()
    ]


def _models() -> list[dict[str, Any]]:
    from textfer.models import MODELS

    return _described(MODELS)


def _objectives() -> list[dict[str, Any]]:
    return _described(OBJECTIVES)


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
