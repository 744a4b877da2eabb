"""The runs that a comparison asks for: every cell's recipes resolved, and equal runs shared."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from textfer.compare.file import EVERY, Comparison, Vocabulary
from textfer.config import build, load_layers, merge
from textfer.errors import ConfigError
from textfer.evaluate import How
from textfer.models.cbow import CbowOptions
from textfer.recipe import SHAPELESS, Recipe, check
from textfer.run import FREE_TO_CHANGE, flat

FORMAT = 1
"""Raise it when runs of before must not be taken for runs of now."""
COLUMN = "<column>"
"""In data.tasks or eval.tasks: the tasks of the column."""
VECTORS = "vectors"
"""In a stage: options of CBOW, which learns in its own way."""
NOT_SHARED = ("seed", "summary")
"""What a recipe that is named as `base` says for itself alone."""
DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One run. Cells whose stages are equal share it."""

    name: str
    digest: str
    """Of all that decides its numbers, those before it included."""
    folder: Path
    recipe: Recipe
    before: Stage | None
    """The run whose weights it begins with."""
    max_seconds: float | None
    """Of training."""
    vectors: CbowOptions | None = None
    """Given: word vectors are learnt (CBOW) in place of what the recipe's trainer does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is asked of a cell's last run."""

    task: str
    split: str
    how: How
    limit: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One variant on one column's tasks with one seed."""

    row: str
    column: str
    seed: int
    stages: tuple[Stage, ...] = ()
    measures: tuple[Measure, ...] = ()
    reason: str = ""
    """Why it cannot be; empty = it can."""

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.row} · {self.column} · seed {self.seed}"


def plan(made: Comparison, out: Path) -> list[Cell]:
    """Every cell of the comparison, row by row, with its runs in folders of `out`.

    Errors: ConfigError for recipe values that no recipe takes, and where no cell of a row or column can be.
    """
    cells = [_cell(made, row, column, seed, out) for row in made.rows for column in made.columns for seed in made.seeds]
    groups = [[cell for cell in cells if cell.row == row] for row in made.rows]
    groups += [[cell for cell in cells if cell.column == column] for column in made.columns]
    for group in groups:  # a pair may not go together; a row in which nothing does says that the file is wrong
        if all(cell.reason for cell in group):
            raise ConfigError(f"{group[0].name}: {group[0].reason}")
    return cells


def runs_of(cells: Sequence[Cell]) -> dict[str, Stage]:
    """{digest: run} of all cells that can be, each once, none before the run that it begins from."""
    return {stage.digest: stage for cell in cells if not cell.reason for stage in cell.stages}


class _Impossible(Exception):  # noqa: N818  not an error: a pair that does not go together
    """Why a cell cannot be."""


def _cell(made: Comparison, row: str, column: str, seed: int, out: Path) -> Cell:
    asked = made.columns[column]
    stages: list[Stage] = []
    try:
        for name in made.stages:
            values = _values(made, row, column, name)
            if values is not None:
                stages.append(_stage(name, {"seed": seed, **values}, stages[-1] if stages else None, made, out))
    except _Impossible as why:
        return Cell(row=row, column=column, seed=seed, reason=str(why))
    except ConfigError as error:
        raise ConfigError(f"rows.{row}, columns.{column}: {error}") from None
    measures = tuple(
        Measure(task=task, split=made.split, how=asked.answers or made.answers, limit=made.limit)
        for task in asked.tasks
    )
    return Cell(row=row, column=column, seed=seed, stages=tuple(stages), measures=measures)


def _values(made: Comparison, row: str, column: str, stage: str) -> dict[str, Any] | None:
    """Recipe values of a stage of a cell, later layers over earlier ones; None = the cell goes without this stage.

    The recipes and sizes that layers name as their `base` lie under all that any layer says itself.
    """
    under: dict[str, Any] = {}
    over: dict[str, Any] = {}
    changes = [made.rows[row].changes, made.columns[column].changes]
    if any(one.get(stage) is False for one in changes):
        return None
    for layer in (made.base, made.stages[stage], *(one.get(key, {}) for one in changes for key in (EVERY, stage))):
        own = dict(layer)
        bases = own.pop("base", [])
        for name in [bases] if isinstance(bases, str) else bases:
            under = merge(under, {key: value for key, value in load_layers(name).items() if key not in NOT_SHARED})
        over = merge(over, own)
    values = merge(under, over)
    for section in ("data", "eval"):
        tasks = values.get(section, {}).get("tasks", ())
        if COLUMN in tasks:
            named = [one for task in tasks for one in (made.columns[column].tasks if task == COLUMN else (task,))]
            values[section] = {**values[section], "tasks": list(dict.fromkeys(named))}
    return values


def _stage(name: str, values: dict[str, Any], before: Stage | None, made: Comparison, out: Path) -> Stage:
    """A run with its recipe resolved. What only the first run can choose, shape and vocabulary, the others inherit."""
    vectors = None
    if VECTORS in values:
        values = dict(values)
        vectors = build(CbowOptions, values.pop(VECTORS), where=f"stages.{name}.{VECTORS}")
        values["model"] = {"name": "cbow", "model_dim": vectors.dim}
        if before is not None:
            raise ConfigError(f"stages.{name}.{VECTORS}: vectors are learnt in the first stage. Drop the one before.")
    if before is not None:
        kept = {key: value for key, value in values.get("model", {}).items() if key in SHAPELESS}
        values = {**values, "model": kept, "init": str(before.folder)}
        values.pop("tokenizer", None)
    elif made.vocabulary is not None:
        values["tokenizer"] = {"path": str(vocabulary_folder(made.vocabulary, out))}
    recipe = _within(build(Recipe, values, where=f"stages.{name}"), made)
    for module in recipe.imports:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"imports: '{module}' cannot be imported ({error}).") from None
    try:
        recipe = check(recipe) if vectors is None else recipe
    except ConfigError as error:
        raise _Impossible(str(error)) from None
    digest = _digest(recipe, before, made, vectors)
    return Stage(
        name=name,
        digest=digest,
        folder=out / "runs" / f"{name}-{digest}",
        recipe=recipe,
        before=before,
        max_seconds=made.budget.max_seconds,
        vectors=vectors,
    )


def _within(recipe: Recipe, made: Comparison) -> Recipe:
    """The recipe, held to the budget."""
    rows = [limit for limit in (recipe.data.limit, made.budget.max_rows) if limit is not None]
    data = recipe.data.model_copy(update={"limit": min(rows, default=None)})
    return recipe.model_copy(update={"data": data})


def vocabulary_folder(section: Vocabulary, out: Path) -> Path:
    """Where the vocabulary lies that this section asks for."""
    return out / f"vocabulary-{_short(section.model_dump(mode='json'))}"


def _short(facts: object) -> str:
    """The beginning of the sha256 (hex) of plain values."""
    return sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:DIGITS]


def _digest(recipe: Recipe, before: Stage | None, made: Comparison, vectors: CbowOptions | None) -> str:
    """sha256 (hex, its beginning) of all that decides a run's numbers, wherever it lies."""
    said = {key: value for key, value in flat(recipe.model_dump(mode="json")).items() if key not in FREE_TO_CHANGE}
    vocabulary = made.vocabulary.model_dump(mode="json") if made.vocabulary is not None else None
    named = None if vocabulary or recipe.tokenizer is None else recipe.tokenizer.path
    facts = {
        "format": FORMAT,
        "recipe": said,
        "after": before.digest if before is not None else recipe.init,
        "vocabulary": vocabulary or named,
        "max_seconds": made.budget.max_seconds,
        "vectors": vectors.model_dump() if vectors is not None else None,
    }
    return _short(facts)
