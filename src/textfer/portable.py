"""A recipe's data as a folder to be carried to another machine: token shards, vocabulary, and the rows it is marked on.

DIR/tokens.json <table>/…   token tables (`data.shards`)
    tokenizer/              the vocabulary
    rows/                   a data folder with the files of `eval.tasks`; where heads learn, of all tasks
    recipe.json             the recipe
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from textfer.data.preparing import prepare_all
from textfer.data.shards import shard_key, write_shards
from textfer.data.source import open_rows
from textfer.data.tokens import RowChoice
from textfer.errors import ConfigError
from textfer.parts import build_tokenizer, by_heads, source_of_weights
from textfer.recipe import Recipe, find_task, rows_of, task_names
from textfer.training.checkpoint import Run

TOKENIZER, ROWS = "tokenizer", "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What was written."""

    num_tables: int
    num_bytes: int
    """Of all files together."""
    largest: Path
    """The largest file."""
    num_sets: int
    """Splits whose rows are carried too."""


def prepare_out(
    recipe: Recipe, out: Path, *, data_dir: Path | None, on_progress: Callable[[str, int, int], None] | None = None
) -> Carried:
    """Writes all that the recipe's data are elsewhere into `out`, a new folder.

    Errors: ConfigError where it is there; those of preparing.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: is there already. Name a new folder.")
    tokenizer = build_tokenizer(recipe)
    heads = by_heads(recipe, source_of_weights(recipe, Run(out)))
    named = task_names(recipe.data.tasks)
    wanted: list[tuple[str, RowChoice]] = []
    if not heads:
        wanted.append((recipe.data.split, rows_of(recipe, data_dir)))
        if recipe.eval.loss_rows is not None:
            wanted.append((recipe.eval.split, RowChoice(data_dir=data_dir, limit=recipe.eval.loss_rows)))
    tables = []
    for split, choice in wanted:
        made = prepare_all(named, split, tokenizer, choice, imports=recipe.imports, on_progress=on_progress)
        tables += [(shard_key(find_task(name), split, tokenizer, choice), made[name]) for name in named]
    out.mkdir(parents=True, exist_ok=True)
    write_shards(tables, out)
    tokenizer.save(out / TOKENIZER)
    splits = [(name, recipe.eval.split) for name in recipe.eval.tasks]
    splits += [(name, recipe.data.split) for name in named] if heads else []
    num_sets = _copy_rows(splits, out / ROWS, data_dir)
    (out / "recipe.json").write_text(recipe.model_dump_json(indent=1) + "\n", encoding="utf-8")
    files = [path for path in out.rglob("*") if path.is_file()]
    return Carried(
        num_tables=len(tables),
        num_bytes=sum(path.stat().st_size for path in files),
        largest=max(files, key=lambda path: path.stat().st_size),
        num_sets=num_sets,
    )


def carried(recipe: Recipe, folder: Path) -> tuple[Recipe, Path | None]:
    """(the recipe with the vocabulary that was carried, the data folder that was carried or None)."""
    rows = folder / ROWS
    if recipe.tokenizer is not None:
        tokenizer = recipe.tokenizer.model_copy(update={"path": str(folder / TOKENIZER)})
        recipe = recipe.model_copy(update={"tokenizer": tokenizer})
    return recipe, rows if rows.is_dir() else None


def _copy_rows(splits: Sequence[tuple[str, str]], out: Path, data_dir: Path | None) -> int:
    """Copies the files behind the splits into a data folder; returns how many splits had files."""
    done: set[tuple[str, str, str]] = set()
    for name, split in splits:
        source, whole = find_task(name).source, split.partition("/")[0]
        if source.hold_out > 0 and whole == "validation":
            whole = "train"  # it is cut from there
        if source.made is not None or source.files or (source.name, source.config, whole) in done:
            continue
        folder = out / (source.folder or f"{source.name}/{source.config}")
        folder.mkdir(parents=True, exist_ok=True)
        for file in open_rows(replace(source, hold_out=0.0), whole, data_dir=data_dir).files:
            if not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
        done.add((source.name, source.config, whole))
    return len(done)
