"""Commands that mark answers: a model's, or anybody's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from textfer.cli.parts import beams_option, cut_option, data_option, json_option, print_json
from textfer.errors import ConfigError


@click.command(name="eval")
@click.argument("model")
@click.option("--task", "tasks", required=True, multiple=True, help="A task, or a file with your own rows.")
@click.option("--split", default="validation", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only the first examples.")
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@beams_option
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1))
@cut_option
@click.option("--predictions", type=click.Path(path_type=Path), help="Write {id: answer} here (one task).")
@data_option
@json_option
def evaluate(
    model: str,
    tasks: Sequence[str],
    split: str,
    limit: int | None,
    max_new_tokens: int,
    beams: int,
    batch_size: int,
    max_input_tokens: int | None,
    predictions: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Answer a task's split with MODEL and mark the answers with the task's official metrics."""
    if predictions and len(tasks) > 1:
        raise ConfigError("eval: --predictions takes one --task.")
    if predictions and not predictions.absolute().parent.is_dir():
        raise ConfigError(f"--predictions: {predictions.parent} is no folder. Make it first.")

    from textfer import load
    from textfer.evaluate import evaluate as measure
    from textfer.evaluate import write_predictions
    from textfer.generate import Decoding
    from textfer.recipe import find_task

    decoding = Decoding(
        max_new_tokens=max_new_tokens, beams=beams, batch_size=batch_size, max_input_tokens=max_input_tokens
    )
    chosen = {name: find_task(name) for name in tasks}
    predictor = load(model).predictor
    found = {}
    for name, task in chosen.items():
        report = measure(predictor, task, split, decoding=decoding, limit=limit, data_dir=data_dir)
        found[name] = dict(report.scores)
        if predictions:
            write_predictions(report, predictions)
    show_scores(found, as_json)


@click.command()
@click.option("--task", required=True, help="A task, or a file with your own rows.")
@click.option("--split", default="validation", show_default=True)
@click.option("--predictions", required=True, type=click.Path(path_type=Path), help="{id: answer} as JSON.")
@data_option
@json_option
def score(task: str, split: str, predictions: Path, data_dir: Path | None, as_json: bool) -> None:
    """Mark anybody's predictions with the task's official metrics."""
    from textfer.evaluate import score_file
    from textfer.recipe import find_task

    report = score_file(find_task(task), split, predictions, data_dir=data_dir)
    show_scores({task: dict(report.scores)}, as_json)


def show_scores(found: dict[str, dict[str, float]], as_json: bool) -> None:
    """Prints the scores of each task; as JSON, those of one task without its name."""
    if as_json:
        print_json(next(iter(found.values())) if len(found) == 1 else found)
        return
    for name, scores in found.items():
        click.echo("  ".join([f"{name:24}", *(f"{key} {value:.2f}" for key, value in scores.items())]))
