"""Commands that show: one example's way, what there is to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from textfer.cli.mixture import Asked, show_table, table
from textfer.cli.parts import data_option, json_option, print_json
from textfer.errors import ConfigError

MAX_WIDTH = 46
"""Characters of a column that others stand under; a longer value pushes the rest of its line along."""
UNITS = {"num_parameters": (10**6, "M parameters"), "num_bytes": (1 << 20, "MiB"), "bits": (1, "bits")}
"""Of numbers that need words beside them, for people."""


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
@click.option("--steps", type=click.IntRange(1), help="With a mixture: expected epochs and tokens of so many steps.")
@click.option("--batch-size", type=click.IntRange(1), help="Examples a step.")
@click.option(
    "--max-examples", type=click.FloatRange(0, min_open=True), help="The cap K, in place of the mixture's own."
)
@click.option("--temperature", type=click.FloatRange(1), help="T, in place of the mixture's own; inf = equal.")
@click.option("--tokenizer", help="Count tokens in this vocabulary.  [default: estimated from characters]")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw the rates under three strategies.")
@data_option
@json_option
def show(
    what: str,
    words: Sequence[str],
    steps: int | None,
    batch_size: int | None,
    max_examples: float | None,
    temperature: float | None,
    tokenizer: str | None,
    plot: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """List tasks, mixtures, models, objectives, methods, presets or comparisons (`show tasks`), one of them
    (`show mixture NAME`), or show a recipe with all its options (`show RECIPE k.k=v …`)."""
    from textfer.listing import embedded, list_name, listing, resolved

    asked = Asked(
        steps=steps,
        batch_size=batch_size,
        max_examples=max_examples,
        temperature=temperature,
        tokenizer=tokenizer,
        plot=plot,
        data_dir=data_dir,
    )
    found = list_name(what)
    if (only := asked.given()) and (found != "mixtures" or not words):
        raise ConfigError(f"{only[0]}: cannot take effect here, only with `textfer show mixture NAME`. Drop it.")
    if found is None:
        print_json(resolved(what, words))
        return
    if len(words) > 1:
        raise ConfigError(f"show {what}: got {len(words)} names, expected one.")
    if what != found and not words:
        raise ConfigError(f"show {what}: which one? Give its name, or list them with `textfer show {found}`.")
    rows = listing(found, words[0] if words else None, data_dir=data_dir)
    more: dict[str, Any] = {"tasks": table(words[0], asked)} if found == "mixtures" and words else {}
    if found == "models" and not words:
        more = {"embedded": embedded()}
    if as_json:
        print_json({found: rows, **more})
        return
    _show_rows(rows, whole=bool(words))
    if "tasks" in more:
        click.echo()
        show_table(more["tasks"])
    elif more:
        click.echo("\nEmbedded weights:" if more["embedded"] else "\nNo weights are embedded in this version.")
        _show_rows(more["embedded"], whole=False)


def _show_rows(rows: list[dict[str, Any]], *, whole: bool) -> None:
    if whole:
        for row in rows:
            for key, value in row.items():
                click.echo(f"{key:12} {_plain(value, key)}".rstrip())
        return
    shown = [[_plain(value, key) for key, value in row.items() if not isinstance(value, list)] for row in rows]
    widths = [min(max(map(len, column)), MAX_WIDTH) for column in zip(*shown, strict=True)]
    for cells in shown:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True) if width).rstrip())


def _plain(value: object, key: str = "") -> str:
    if key in UNITS and isinstance(value, int):
        unit, words = UNITS[key]
        return f"{value / unit:,.1f} {words}" if unit > 1 else f"{value} {words}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    if isinstance(value, bool):
        return ("research only", "train ok")[value] if key == "train_ok" else ("no", "yes")[value]
    if isinstance(value, int | float):
        return f"{value:,.10g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
