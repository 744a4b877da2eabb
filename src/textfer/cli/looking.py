"""Commands that show: one example's way, what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from textfer.cli.parts import data_option, json_option, print_json
from textfer.errors import ConfigError


@click.command()
@click.argument("recipe", required=False)
@click.argument("overrides", nargs=-1)
@click.option("--task", help="Only a task: its row and its text.")
@click.option(
    "--example", "number", default=0, show_default=True, help="Which example: stream position, or row of the task."
)
@click.option("--split", help="With --task.  [default: train]")
@data_option
@json_option
def trace(
    recipe: str | None,
    overrides: Sequence[str],
    task: str | None,
    number: int,
    split: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Show one example after every stage, from the file to the loss."""
    if (recipe is None) == (task is None):
        raise ConfigError("trace: give a RECIPE or --task.")
    if recipe is not None and split is not None:
        raise ConfigError("--split: cannot take effect with a RECIPE. Say data.split=… instead.")

    from textfer.recipe import find_task, load_recipe
    from textfer.trace import trace_recipe, trace_task

    if recipe is not None:
        stages = trace_recipe(load_recipe(recipe, overrides), number, data_dir=data_dir)
    else:
        stages = trace_task(find_task(str(task)), split or "train", number, data_dir=data_dir)
    if as_json:
        print_json({"stages": [{"name": stage.name, "where": stage.where, "lines": stage.lines} for stage in stages]})
        return
    for step, stage in enumerate(stages, start=1):
        click.secho(f"{step}. {stage.name}", bold=True, nl=False)
        click.secho(f"  {stage.where}", dim=True)
        for line in stage.lines:
            click.echo(f"   {line}")


@click.command()
@click.argument("what")
@click.argument("words", nargs=-1)
@json_option
def show(what: str, words: Sequence[str], as_json: bool) -> None:
    """List tasks, mixtures, models, objectives or presets (`show tasks`), one of them (`show mixture NAME`), or show
    a recipe with all its options (`show RECIPE k.k=v …`)."""
    from textfer.listing import list_name, listing, resolved

    found = list_name(what)
    if found is None:
        print_json(resolved(what, words))
        return
    if len(words) > 1:
        raise ConfigError(f"show {what}: got {len(words)} names, expected one.")
    if what != found and not words:
        raise ConfigError(f"show {what}: which one? Give its name, or list them with `textfer show {found}`.")
    rows = listing(found, words[0] if words else None)
    if as_json:
        print_json({found: rows})
    else:
        _show_rows(rows, whole=bool(words))


def _show_rows(rows: list[dict[str, Any]], *, whole: bool) -> None:
    if whole:
        for row in rows:
            for key, value in row.items():
                click.echo(f"{key:12} {_plain(value)}".rstrip())
        return
    width = max((len(str(next(iter(row.values())))) for row in rows), default=0)
    for row in rows:
        first, *others = row.values()
        told = [_plain(value) for value in others if value not in ("", None, [])]
        click.echo("  ".join([f"{first!s:{width}}", *told]))


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
