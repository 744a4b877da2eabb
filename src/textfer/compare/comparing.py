"""A comparison from its name to its table: planned, run, gathered, written down."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from textfer.adapt import make_method
from textfer.adapt.adapted import adapt
from textfer.compare.file import Comparison, load_comparison
from textfer.compare.plan import Cell, Stage, plan, vocabulary_folder
from textfer.compare.plot import can_draw, check_picture, draw
from textfer.compare.results import Found, gather, records_of, write_records
from textfer.compare.table import as_json, as_markdown
from textfer.compare.work import Machine, Result, check_data, learn_vocabulary, make_runs
from textfer.errors import ConfigError
from textfer.models import MODELS, Model
from textfer.parts import build_tokenizer
from textfer.scoreboard.answers import write_whole
from textfer.tokenizers.base import ROW_MULTIPLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user asked for."""

    name: str
    words: tuple[str, ...] = ()
    small: bool = False
    out: Path | None = None
    data_dir: Path | None = None
    num_jobs: int = 1
    imports: tuple[str, ...] = ()
    """Modules that were imported for it."""
    plot: Path | None = None
    say: Callable[[str], None] = lambda line: None

    @property
    def folder(self) -> Path:
        """Where runs and tables go."""
        return self.out or Path("runs/compare") / f"{Path(self.name).stem}{'-small' if self.small else ''}"


def compare_all(asked: Asked) -> tuple[Found, str | None]:
    """(what was found, the signal that ended it early). Everything is also written into the folder as it comes.

    Errors: ConfigError for what is unknown or cannot be, before anything is run.
    """
    made = load_comparison(asked.name, asked.words, small=asked.small)
    out = asked.folder
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out: {out} is a file, expected a folder. Name another.")
    if asked.plot is not None:
        check_picture(asked.plot)
    cells = plan(made, out)
    check_data(cells, data_dir=asked.data_dir)
    if made.vocabulary is not None:
        folder = vocabulary_folder(made.vocabulary, out)
        learn_vocabulary(made.vocabulary, folder, data_dir=asked.data_dir, say=asked.say)
    machine = Machine(num_jobs=asked.num_jobs, data_dir=asked.data_dir, imports=asked.imports, say=asked.say)

    def note(results: Mapping[str, Result]) -> None:
        write_records(records_of(cells, results, made), out)

    results, stopped_by = make_runs(cells, machine, note)
    found = gather(Path(asked.name).stem, made, records_of(cells, results, made))
    _write(found, out, asked.plot)
    return found, stopped_by


def _write(found: Found, out: Path, plot: Path | None) -> None:
    write_whole(out / "table.md", as_markdown(found))
    write_whole(out / "table.json", json.dumps(as_json(found), ensure_ascii=False, indent=1) + "\n")
    if can_draw():
        draw(found, out / "table.png")
    if plot is not None:
        draw(found, plot)


def outline_all(asked: Asked) -> list[dict[str, Any]]:
    """One record a cell: what would be run, its parameters and the most tokens it would hear. Nothing is run.

    Errors: ConfigError as `compare_all`.
    """
    made = load_comparison(asked.name, asked.words, small=asked.small)
    sizes: dict[str, tuple[int, int | None]] = {}
    return [_outlined(cell, made, sizes) for cell in plan(made, asked.folder)]


def _outlined(cell: Cell, made: Comparison, sizes: dict[str, tuple[int, int | None]]) -> dict[str, Any]:
    record: dict[str, Any] = {"cell": cell.name}
    if cell.reason:
        return {**record, "state": "–", "reason": cell.reason}
    last = cell.stages[-1]
    key = f"{cell.stages[0].digest} {last.recipe.method} {last.recipe.training.num_steps}"
    try:
        if key not in sizes:
            sizes[key] = _sizes(cell.stages, made)
    except ConfigError as error:
        return {**record, "state": "–", "reason": str(error)}
    parameters, trainable = sizes[key]
    return {
        **record,
        "parameters": parameters,
        "trained": trainable,
        "stages": [_stage_outline(stage) for stage in cell.stages],
    }


def _stage_outline(stage: Stage) -> dict[str, Any]:
    recipe = stage.recipe
    rows = recipe.training.num_steps * recipe.training.batch_size
    return {
        "name": stage.name,
        "run": stage.folder.name,
        "tasks": list(recipe.data.tasks),
        "steps": recipe.training.num_steps,
        "rows": rows,
        "most_tokens": rows * (recipe.data.inputs_len + recipe.data.targets_len),
    }


def _sizes(stages: tuple[Stage, ...], made: Comparison) -> tuple[int, int | None]:
    """(parameters, those that the last stage moves; None with heads) of a cell, from a model with drawn weights."""
    first, last = stages[0].recipe, stages[-1].recipe
    if first.init is not None:
        raise ConfigError("its sizes are known when its weights are there")
    if made.vocabulary is not None:
        learnt = made.vocabulary.learnt
        vocab_size = -(-(learnt.vocab_size + learnt.num_sentinels) // ROW_MULTIPLE) * ROW_MULTIPLE
    else:
        vocab_size = build_tokenizer(first).vocab_size
    options = {name: value for name, value in first.model.items() if name != "name"}
    torch.manual_seed(0)
    model: Model = MODELS.get(first.model["name"]).make(options, vocab_size=vocab_size)
    steps = last.training.num_steps
    if last.objective is None and (last.head is not None or not hasattr(model, "begin")):
        return sum(weight.numel() for weight in model.parameters()), None  # what its tasks ask for is known from rows
    adapted = adapt(model, make_method(last.method), num_steps=steps, seed=0, base=str(stages[0].folder))
    names = adapted.plan.trainable(steps - 1)
    weights = dict(adapted.model.named_parameters())
    return sum(one.numel() for one in weights.values()), sum(weights[name].numel() for name in names)
