"""A comparison as its file says it: base recipe, stages, rows, columns, seeds, budget, and what a paper found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from textfer.config import COMPARISONS_DIR, Options, apply_overrides, build, merge, read_toml
from textfer.errors import ConfigError, nearest
from textfer.evaluate import How
from textfer.tokenizers.training import TokenizerOptions

EVERY = "every"
"""In a row or a column: what changes in all stages."""
CHOSEN = ("rows", "columns", "seeds")
"""Words that choose, instead of changing a setting: `rows=full,lora`."""
ONLY_ROWS = "only_rows"
"""In `small`: the rows that are left."""


class Budget(Options):
    """What each run may use at most. Told beneath the table."""

    max_rows: int | None = Field(None, gt=0)
    """Rows of each task that are trained on."""
    max_seconds: float | None = Field(None, gt=0)
    """Seconds of training; a run that has used them is measured as it is."""


class Vocabulary(Options):
    """A vocabulary that is learnt before the first run, for all of them."""

    task: str
    """Whose texts it is learnt from: inputs and targets."""
    max_rows: int = Field(20_000, gt=0)
    """Rows that are read."""
    learnt: TokenizerOptions = TokenizerOptions()
    """How."""


class Paper(Options):
    """What a paper found for these rows: context, on other data and at another scale."""

    source: str
    """Which paper and table."""
    columns: tuple[str, ...] = Field(min_length=1)
    """What it measured."""
    rows: dict[str, tuple[float, ...]]
    """Row → its numbers; nan where there is none."""
    others: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Rows that only the paper has, by what the table calls them."""
    note: str = ""
    """What a reader must know of them."""


class Row(Options):
    """One variant."""

    label: str = ""
    """How the table calls it; empty = its name."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Stage, or `every`, → recipe values; false = without this stage."""


class Column(Options):
    """What is measured."""

    label: str = ""
    """How the table calls it; empty = its name."""
    tasks: tuple[str, ...] = Field(min_length=1)
    """Tasks that are measured; of several, the mean counts. `<column>` in a stage's data.tasks stands for them."""
    score: str = ""
    """Which score; empty = the one that leads the task."""
    answers: How | None = None
    """How answers are got; none = as the comparison says."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """As a row's."""


class Comparison(Options):
    """Rows × columns × seeds: every combination is a cell."""

    summary: str = ""
    """What is compared, in one line."""
    seeds: tuple[int, ...] = Field((1,), min_length=1)
    """Each cell is run once with each."""
    answers: How = "generate"
    """How answers are got from models that write, where a task has choices."""
    split: str = "validation"
    """What is measured on."""
    limit: int | None = Field(None, gt=0)
    """Only the first examples of each measured task."""
    budget: Budget = Budget()
    """At most this for each run."""
    vocabulary: Vocabulary | None = None
    """None = the one that the recipes name."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Recipe values of every run."""
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
    """Runs of a cell in order, each from the weights of the one before: name → recipe values."""
    rows: dict[str, Row] = Field(min_length=1)
    """Name → variant."""
    columns: dict[str, Column] = Field(min_length=1)
    """Name → tasks."""
    paper: Paper | None = None
    """None = nothing to set beside."""


def comparison_names() -> list[str]:
    """The comparisons that come with the package."""
    return sorted(path.stem for path in COMPARISONS_DIR.glob("*.toml"))


def find_comparison(name: str) -> Path:
    """A path as given, or a preset of that name. Errors: ConfigError with the nearest name."""
    if Path(name).is_file():
        return Path(name)
    if name in comparison_names():
        return COMPARISONS_DIR / f"{name}.toml"
    if name.endswith(".toml") or "/" in name:
        raise ConfigError(f"{name}: no such file.")
    raise ConfigError(f"unknown comparison '{name}'.{nearest(name, comparison_names())}")


def load_comparison(name: str, words: Sequence[str] = (), *, small: bool = False) -> Comparison:
    """The comparison of that name or path; with `small`, what its file says there laid over it, columns replaced.

    `words` change settings (`stages.finetune.training.num_steps=10`) or choose (`rows=full,lora`, `seeds=1,2`).
    Errors: ConfigError for what is unknown or does not fit.
    """
    path = find_comparison(name)
    values = read_toml(path)
    over = values.pop("small", None)
    if small and over is None:
        raise ConfigError(f"{path}: has no [small] settings. Run it without --small, or write them.")
    choice = {}
    if small:
        over = dict(over)
        choice = {"rows": list(over.pop(ONLY_ROWS))} if ONLY_ROWS in over else {}
        values = merge({**values, "columns": {}} if "columns" in over else values, over)
    choosing = [word for word in words if word.partition("=")[0].strip() in CHOSEN]
    values = apply_overrides(values, [word for word in words if word not in choosing])
    for word in choosing:
        key, _, text = word.partition("=")
        choice[key.strip()] = [part.strip(" \"'") for part in text.strip(" []").split(",") if part.strip(" \"'")]
    if "seeds" in choice:
        values["seeds"] = [_whole(text) for text in choice.pop("seeds")]
    stages = list(values.get("stages", {}))
    for kind, options in (("rows", Row), ("columns", Column)):
        parts = values.get(kind, {})
        chosen = choice.get(kind, list(parts))
        for one in chosen:
            if one not in parts:
                raise ConfigError(f"{kind}: unknown {kind[:-1]} '{one}'.{nearest(one, parts)}")
        values[kind] = {one: _with_changes(parts[one], options, stages, f"{kind}.{one}") for one in chosen}
    made = build(Comparison, values, where="")
    return _check(made)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"seeds: got '{text}', expected whole numbers, as in seeds=1,2,3.") from None


def _with_changes(part: Any, options: type[Options], stages: Sequence[str], where: str) -> dict[str, Any]:
    """A row or column with what it says of stages put under `changes`. Errors: ConfigError for an unknown key."""
    if not isinstance(part, Mapping):
        raise ConfigError(f"{where}: got {part!r}, expected a table.")
    known = set(options.model_fields) - {"changes"}
    changes = {key: value for key, value in part.items() if key not in known}
    for key, value in changes.items():
        if key not in (*stages, EVERY):
            raise ConfigError(f"{where}.{key}: unknown stage or option.{nearest(key, [*stages, EVERY, *known])}")
        if not isinstance(value, Mapping) and (value is not False or key == EVERY):
            raise ConfigError(f"{where}.{key}: got {value!r}, expected recipe values, or false to leave the stage out.")
    return {**{key: value for key, value in part.items() if key in known}, "changes": changes}


def _check(made: Comparison) -> Comparison:
    if len(set(made.seeds)) < len(made.seeds):
        raise ConfigError(f"seeds: {list(made.seeds)} names one twice. Drop it.")
    for name, row in made.rows.items():
        if all(row.changes.get(stage) is False for stage in made.stages):
            raise ConfigError(f"rows.{name}: leaves out every stage, so nothing would be trained. Keep one.")
    if made.paper is not None:
        for name, numbers in {**made.paper.rows, **made.paper.others}.items():
            if len(numbers) != len(made.paper.columns):
                wanted = len(made.paper.columns)
                raise ConfigError(f"paper.rows.{name}: got {len(numbers)} numbers, expected {wanted}, one a column.")
    return made
