"""Commands that train."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textfer.cli.parts import data_option, json_option, print_json
from textfer.errors import ConfigError

if TYPE_CHECKING:
    from textfer.recipe import Recipe

INTERRUPTED = 130
TERMINATED = 143


@click.command()
@click.option("--run", "run_dir", type=click.Path(path_type=Path), default=Path("runs/quickstart"), show_default=True)
@click.option("--again", is_flag=True, help="Train anew even if the folder holds a finished quickstart.")
def quickstart(run_dir: Path, again: bool) -> None:
    """Ask the package's models, fine-tune one on a small file, mark it before and after. Needs no network."""
    from textfer.display import Terminal
    from textfer.quickstart import run_quickstart

    with Terminal() as display:
        code = run_quickstart(run_dir, display=display, say=click.echo, again=again)
    sys.exit(code)


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1)
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/RECIPE]")
@data_option
@click.option(
    "--tokens",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    envvar="TEXTFER_TOKENS",
    help="A folder of `textfer prepare`: no rows are read. [env: TEXTFER_TOKENS]",
)
@click.option("--dry-run", is_flag=True, help="Check everything, show the outline, train nothing.")
@click.option("--quiet", is_flag=True, help="No bar, no tables.")
def train(
    recipe: str,
    overrides: Sequence[str],
    run_dir: Path | None,
    data_dir: Path | None,
    tokens: Path | None,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Train as RECIPE says (a preset, a file, or a run folder). The same command again resumes."""
    from textfer.display import Terminal
    from textfer.recipe import load_recipe
    from textfer.run import run_train

    made = load_recipe(recipe, overrides)
    if tokens is not None:
        from textfer.portable import carried

        before = os.environ.get("TEXTFER_TOKENS")
        os.environ["TEXTFER_TOKENS"] = str(tokens)  # as of data folders: whoever asks for tables finds it
        click.get_current_context().call_on_close(partial(_put_back, before))
        made, rows = carried(made, tokens)
        data_dir = data_dir or rows
    folder = run_dir or _run_folder(recipe)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--run: {folder} is a file, expected a folder. Name another.")
    with Terminal(quiet=quiet) as display:
        summary = run_train(made, folder, display=display, data_dir=data_dir, dry_run=dry_run)
    if summary is None:
        return
    if summary.stopped_by:
        click.echo(
            f"Stopped by {summary.stopped_by}; step {summary.step:,} is saved in {folder}. The same command resumes.",
            err=True,
        )
        sys.exit(TERMINATED if summary.stopped_by == "SIGTERM" else INTERRUPTED)
    scores = "  ".join(f"{name} {value:.2f}" for name, value in summary.scores.items())
    click.echo(f"{folder}: step {summary.step:,}, loss {summary.loss:.4f}  {scores}".rstrip(), err=True)
    click.echo(f"Curves: {folder / 'report.html'}   Next: {_next(made, folder)}", err=True)


def _next(recipe: Recipe, folder: Path) -> str:
    """The command that makes use of what a run has learnt."""
    from textfer.models.headed import has_heads, heads_in
    from textfer.parts import model_folder
    from textfer.recipe import make_objective

    if recipe.objective is not None and make_objective(recipe.objective).in_place:
        return f"textfer train RECIPE init={folder}"
    best = model_folder(str(folder))
    if has_heads(best) and not any(head.kind == "span" for head in heads_in(best)[0]):
        return f"textfer eval {folder} --task {(recipe.eval.tasks or recipe.data.tasks)[0]}"
    return f'textfer ask --model {folder} --context … "…"'


def _run_folder(recipe: str) -> Path:
    """Where the run of a recipe goes: a run folder goes on in itself."""
    path = Path(recipe)
    if path.is_dir():
        return path
    return path.parent if path.name == "recipe.json" else Path("runs") / path.stem


@click.command(name="verify-resume")
@click.argument("recipe")
@click.argument("overrides", nargs=-1)
@click.option("--steps", default=6, show_default=True, type=click.IntRange(2), help="Steps of the unbroken run.")
@click.option(
    "--stop-at", default=3, show_default=True, type=click.IntRange(1), help="Where the other run stops and resumes."
)
@data_option
@json_option
def verify_resume(
    recipe: str, overrides: Sequence[str], steps: int, stop_at: int, data_dir: Path | None, as_json: bool
) -> None:
    """Train a few steps of RECIPE unbroken, and again with a stop and a resume: both must be equal bit for bit."""
    from dataclasses import asdict

    from textfer.display import Terminal
    from textfer.recipe import load_recipe
    from textfer.verify import verify_resume as verify

    made = load_recipe(recipe, overrides)
    check = verify(made, num_steps=steps, stop_at=stop_at, display=Terminal(quiet=True), data_dir=data_dir)
    if as_json:
        print_json({**asdict(check), "equal": check.equal})
    else:
        for name in ("batches", "losses", "weights"):
            click.echo(f"{name:8} {'equal' if getattr(check, f'{name}_equal') else 'DIFFERENT'}")
    sys.exit(0 if check.equal else 1)


def _put_back(tokens: str | None) -> None:
    """Leaves the environment as the command found it."""
    os.environ.pop("TEXTFER_TOKENS", None)
    if tokens is not None:
        os.environ["TEXTFER_TOKENS"] = tokens
