"""The command that decides when a model says that a text holds no answer."""

from __future__ import annotations

from pathlib import Path

import click

from textfer.cli.parts import data_option, json_option, print_json
from textfer.errors import ConfigError


@click.command()
@click.argument("model")
@click.option("--task", required=True, help="A task with questions without an answer, such as squad_v2.")
@click.option("--split", required=True, help="Rows that the model was not trained on: train/dev after train/fit.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder for the tuned model.")
@click.option("--limit", type=click.IntRange(1), help="Only the first examples.")
@data_option
@json_option
def tune(model: str, task: str, split: str, out: Path, limit: int | None, data_dir: Path | None, as_json: bool) -> None:
    """Choose how sure MODEL must be of "no answer" to say it: the F1 on these questions is then the highest."""
    if out.exists():
        raise ConfigError(f"--out: {out} is there already. Name another folder.")

    from textfer import load
    from textfer.data.named import find_task
    from textfer.evaluate import load_labelled
    from textfer.reader import TextReader

    chosen = find_task(task)
    examples = load_labelled(chosen, split, data_dir=data_dir, limit=limit)
    reader = load(model)
    if not isinstance(reader, TextReader):
        raise ConfigError(f"tune: {model} writes its answers, and has no threshold. Name a model with a span head.")
    tuned = reader.predictor.tune((chosen, examples))
    reader.predictor.model.save(out)
    reader.predictor.tokenizer.save(out / "tokenizer")
    if as_json:
        print_json({"threshold": tuned.value, "f1": tuned.score, "num_examples": len(examples)})
    else:
        click.echo(
            f"{out}: threshold {tuned.value:.4f}, F1 {tuned.score:.2f} on {len(examples):,} questions of {split}"
        )
