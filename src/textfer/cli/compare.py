"""The command that compares."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from textfer.cli.parts import data_option, json_option, print_json

FAILED = 1


@click.command()
@click.argument("comparison")
@click.argument("words", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), help="Where runs and tables go.  [default: runs/compare/NAME]")
@data_option
@click.option("--jobs", "num_jobs", default=1, show_default=True, type=click.IntRange(1), help="Runs at a time.")
@click.option("--small", is_flag=True, help="The file's small settings: minutes, no data needed.")
@click.option("--dry-run", is_flag=True, help="Show the cells with parameters and tokens, run nothing.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it here too.")
@json_option
def compare(
    comparison: str,
    words: Sequence[str],
    out: Path | None,
    data_dir: Path | None,
    num_jobs: int,
    small: bool,
    dry_run: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Train and measure the rows × columns × seeds of COMPARISON (a preset or a file). The same command again resumes.

    WORDS choose (`rows=full,lora columns=cola seeds=1,2`) or change a setting
    (`stages.finetune.training.num_steps=100`).
    """
    from textfer.compare.comparing import Asked, compare_all, outline_all
    from textfer.compare.table import as_json as to_json
    from textfer.compare.table import as_text

    asked = Asked(
        name=comparison,
        words=tuple(words),
        small=small,
        out=out,
        data_dir=data_dir,
        num_jobs=num_jobs,
        imports=tuple(click.get_current_context().find_root().params.get("modules", ())),
        plot=plot,
        say=lambda line: click.echo(line, err=True),
    )
    if dry_run:
        rows = outline_all(asked)
        if as_json:
            print_json({"cells": rows})
            return
        for row in rows:
            click.echo(_told(row))
        return
    found, stopped_by = compare_all(asked)
    if as_json:
        print_json(to_json(found))
    else:
        click.echo(as_text(found))
    if stopped_by:
        click.echo(f"Stopped by {stopped_by}. The same command goes on.", err=True)
        sys.exit(143 if stopped_by == "SIGTERM" else 130)
    sys.exit(FAILED if found.num_failed else 0)


def _told(row: Mapping[str, Any]) -> str:
    """A cell that would be run, in one line."""
    if "reason" in row:
        return f"{row['cell']}  –  {row['reason']}"
    stages = " → ".join(
        f"{one['run']} ({one['steps']:,} steps, at most {one['most_tokens']:,} tokens)" for one in row["stages"]
    )
    trained = "and its heads" if row["trained"] is None else f"{row['trained']:,} trained"
    return f"{row['cell']}  {row['parameters']:,} parameters, {trained}  {stages}"
