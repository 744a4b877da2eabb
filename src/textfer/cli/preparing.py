"""The command that makes a recipe's data ready for another machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from textfer.cli.parts import data_option, json_option, print_json

MIB = 1 << 20


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder.")
@data_option
@json_option
def prepare(recipe: str, overrides: Sequence[str], out: Path, data_dir: Path | None, as_json: bool) -> None:
    """Write what RECIPE trains on into a folder of token shards, for a machine that has no rows.

    There: textfer train RECIPE --tokens DIR
    """
    from textfer.display import Terminal
    from textfer.portable import prepare_out
    from textfer.recipe import load_recipe

    made = load_recipe(recipe, overrides)
    with Terminal(quiet=as_json) as display:
        found = prepare_out(made, out, data_dir=data_dir, on_progress=display.preparing)
    if as_json:
        print_json({**asdict(found), "largest": str(found.largest)})
        return
    largest = found.largest.stat().st_size / MIB
    click.echo(
        f"{out}: {found.num_tables} tables and the rows of {found.num_sets} splits, {found.num_bytes / MIB:,.1f} MiB; "
        f"the largest file has {largest:,.1f} MiB. Next: textfer train {recipe} --tokens {out}"
    )
