"""Commands that mark answers: a model's, or anybody's."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textfer.cli.parts import beams_option, cut_option, data_option, json_option, print_json, weights_option
from textfer.errors import ConfigError

if TYPE_CHECKING:
    from textfer.choices import Normalise
    from textfer.data.task import Task
    from textfer.evaluate import How
    from textfer.models.int8 import Weights
    from textfer.scoreboard.board import Board
    from textfer.scoreboard.checkpoints import Checkpoint, Which
    from textfer.suites import Suite


@click.command(name="eval")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--task", "tasks", multiple=True, help="A task, a mixture, or a file with your own rows.")
@click.option("--suite", "suites", multiple=True, help="glue or super_glue: its tasks, and its average.")
@click.option("--split", default="validation", show_default=True)
@click.option(
    "--checkpoints",
    default="best",
    show_default=True,
    type=click.Choice(["best", "last", "all"]),
    help="Of run folders.",
)
@click.option(
    "--how",
    default="generate",
    show_default=True,
    type=click.Choice(["generate", "rank", "constrained"]),
    help="generate: write freely, as T5. rank: the likeliest choice. constrained: write one of the choices.",
)
@click.option(
    "--normalise",
    type=click.Choice(["none", "tokens", "characters", "unconditional"]),
    help="How --how rank compares choices of unlike length or rarity.  [default: none]",
)
@click.option("--limit", type=click.IntRange(1), help="Only so many examples, spread over the split.")
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@beams_option
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1))
@cut_option
@weights_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep answers, table and report page here; the same command goes on where it stopped.",
)
@click.option("--predictions", type=click.Path(path_type=Path), help="Write {id: answer} here (one task).")
@click.option("--na-probs", type=click.Path(path_type=Path), help='Write {id: probability of "no answer"} here.')
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), help="Write the table here.")
@click.option("--resamples", type=click.IntRange(0), help="Of each interval; 0 = none.  [default: 100 … 1000]")
@click.option("--calibration", is_flag=True, help="Tell also by how much scores of answers miss how many are right.")
@click.option("--skip-missing", is_flag=True, help="Go on without tasks whose data are missing, and list them.")
@data_option
@json_option
def evaluate(
    models: Sequence[str],
    tasks: Sequence[str],
    suites: Sequence[str],
    split: str,
    checkpoints: Which,
    how: How,
    normalise: Normalise | None,
    limit: int | None,
    max_new_tokens: int,
    beams: int,
    batch_size: int,
    max_input_tokens: int | None,
    weights: Weights,
    out: Path | None,
    predictions: Path | None,
    na_probs: Path | None,
    markdown: Path | None,
    resamples: int | None,
    calibration: bool,
    skip_missing: bool,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Answer a split of each task with each MODEL and mark the answers with the tasks' official metrics."""
    if not tasks and not suites:
        raise ConfigError("eval: no task. Give --task or --suite. See textfer eval --help.")
    _check_places({"--predictions": predictions, "--na-probs": na_probs, "--markdown": markdown})
    written = "--predictions" if predictions else "--na-probs" if na_probs else ""
    if written and (len(tasks) != 1 or suites or len(models) > 1):
        raise ConfigError(f"eval: {written} takes one --task and one MODEL.")

    from textfer.evaluate import Answering
    from textfer.generate import Decoding
    from textfer.scoreboard.board import Request, measure

    decoding = Decoding(
        max_new_tokens=max_new_tokens, beams=beams, batch_size=batch_size, max_input_tokens=max_input_tokens
    )
    chosen, averaged = _chosen(tasks, suites)
    request = Request(
        tasks=chosen,
        suites=averaged,
        split=split,
        limit=limit,
        answering=Answering(how=how, decoding=decoding, normalise=normalise or "none"),
        data_dir=data_dir,
        out=out,
        skip_missing=skip_missing,
        num_samples=resamples,
        calibration=calibration,
    )
    measured = _measured(models, checkpoints, weights)
    if written and len(measured) * len(chosen) > 1:
        raise ConfigError(f"eval: {written} takes one task and one checkpoint.")
    board = measure(measured, request, on_progress=_progress if sys.stderr.isatty() else None)
    _hand_over(board, predictions, na_probs)
    _keep(board, out, markdown)
    _show(board, as_json)


def _measured(models: Sequence[str], checkpoints: Which, weights: Weights) -> list[Checkpoint]:
    """Every checkpoint once."""
    from textfer.scoreboard.checkpoints import checkpoints_of

    every = [one for name in dict.fromkeys(models) for one in checkpoints_of(name, checkpoints)]
    return [replace(one, weights=weights) for one in every]


def _check_places(places: Mapping[str, Path | None]) -> None:
    """Refuses files in folders that are not there. Errors: ConfigError."""
    for option, path in places.items():
        if path and not path.absolute().parent.is_dir():
            raise ConfigError(f"{option}: {path.parent} is no folder. Make it first.")


def _chosen(tasks: Sequence[str], suites: Sequence[str]) -> tuple[dict[str, Task], tuple[Suite, ...]]:
    """The tasks under tasks, mixtures and suites, each once, and the suites."""
    from textfer.data.named import find_task, task_names
    from textfer.data.task import MIXTURES
    from textfer.suites import find_suite

    found = tuple(find_suite(name) for name in dict.fromkeys(suites))
    names = [inner for name in tasks for inner in (task_names([name]) if name in MIXTURES else [name])]
    names += [task for suite in found for task in suite.tasks]
    return {name: find_task(name) for name in names}, found


def _progress(what: str, done: int, total: int) -> None:
    """One line that is written over, for a person who waits."""
    click.echo(f"\r{what}: {done:,} of {total:,}\033[K", nl=done == total, err=True)


def _hand_over(board: Board, predictions: Path | None, na_probs: Path | None) -> None:
    """Writes what the official scripts read of the one task that was answered."""
    from textfer.evaluate import write_no_answers, write_predictions

    if predictions is not None:
        write_predictions(board.lines[0].report, predictions)
    if na_probs is not None:
        write_no_answers(board.lines[0].report, na_probs)


def _keep(board: Board, out: Path | None, markdown: Path | None) -> None:
    """Writes the table, and into the folder of the answers the page too."""
    from textfer.scoreboard.answers import write_whole
    from textfer.scoreboard.page import page_of
    from textfer.scoreboard.table import as_json, as_markdown

    if markdown is not None:
        write_whole(markdown, as_markdown(board))
    if out is not None:
        write_whole(out / "results.json", json.dumps(as_json(board), ensure_ascii=False, indent=1) + "\n")
        write_whole(out / "table.md", as_markdown(board))
        write_whole(out / "report.html", page_of(board, title=out.resolve().name))


def _show(board: Board, whole_json: bool) -> None:
    """Prints the table, or one JSON object: of one task under one checkpoint only its scores."""
    from textfer.scoreboard.table import as_json, as_text

    if not whole_json:
        click.echo(as_text(board))
    elif len(board.lines) == 1 and not board.missing and not board.averages:
        print_json(dict(board.lines[0].scores))
    else:
        print_json(as_json(board))


@click.command()
@click.option("--task", required=True, help="A task, or a file with your own rows.")
@click.option("--split", default="validation", show_default=True)
@click.option("--predictions", required=True, type=click.Path(path_type=Path), help="{id: answer} as JSON.")
@data_option
@json_option
def score(task: str, split: str, predictions: Path, data_dir: Path | None, as_json: bool) -> None:
    """Mark anybody's predictions with the task's official metrics."""
    from textfer.data.named import find_task
    from textfer.evaluate import score_file

    scores = dict(score_file(find_task(task), split, predictions, data_dir=data_dir).scores)
    if as_json:
        print_json(scores)
    else:
        click.echo("  ".join([f"{task:24}", *(f"{name} {value:.2f}" for name, value in scores.items())]))


@click.command()
@click.argument("model", required=False)
@click.option("--suite", required=True, help="glue or superglue.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The zip to write.")
@click.option("--fill", type=click.Choice(["majority"]), help="Fill the files of tasks without data or predictions.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path, file_okay=False),
    help="Instead of a MODEL: a folder with a <task>.json ({id: answer}) for each task.",
)
@click.option(
    "--how",
    default="constrained",
    show_default=True,
    type=click.Choice(["generate", "rank", "constrained"]),
    help="As in eval; free answers that are no label are refused.",
)
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1))
@cut_option
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep answers here; the same command goes on where it stopped.",
)
@data_option
@json_option
def submit(
    model: str | None,
    suite: str,
    out: Path,
    fill: str | None,
    predictions: Path | None,
    how: How,
    max_new_tokens: int,
    batch_size: int,
    max_input_tokens: int | None,
    keep: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Write the zip that a leaderboard takes: MODEL's answers to the suite's test splits."""
    if (model is None) == (predictions is None):
        raise ConfigError("submit: give a MODEL or --predictions.")
    if predictions is not None and keep is not None:
        raise ConfigError("--keep: cannot take effect with --predictions. Drop it.")

    from dataclasses import asdict

    from textfer.evaluate import Answering
    from textfer.generate import Decoding
    from textfer.scoreboard.board import answerer
    from textfer.submit import from_folder
    from textfer.submit import submit as write

    decoding = Decoding(max_new_tokens=max_new_tokens, batch_size=batch_size, max_input_tokens=max_input_tokens)
    progress = _progress if sys.stderr.isatty() else None
    if predictions is not None:
        answer = from_folder(predictions)
    else:
        answer = answerer(str(model), Answering(how=how, decoding=decoding), keep=keep, on_progress=progress)
    written = write(suite, answer, out, fill=fill is not None, data_dir=data_dir)
    if as_json:
        print_json({"zip": str(out), "files": [asdict(one) for one in written]})
        return
    for one in written:
        how_made = f"filled with the majority: {one.filled}" if one.filled else "answered"
        click.echo(f"{one.file:14} {one.num_rows:>8,}  {how_made}")
    click.echo(f"{out}: written.")
