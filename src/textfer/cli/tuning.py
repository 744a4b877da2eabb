"""The command that decides when a model says that a text holds no answer, and what its scores mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textfer.cli.parts import data_option, json_option, print_json
from textfer.errors import ConfigError, DataError

if TYPE_CHECKING:
    from textfer.answer import TextToText
    from textfer.reader import TextReader
    from textfer.tuning import Tuned

FEW = 200
"""Fewer questions than these say little."""


@click.command()
@click.argument("model")
@click.option("--task", "tasks", required=True, multiple=True, help="Questions about texts: squad, squad_v2, a file.")
@click.option("--split", required=True, help="Rows that the model was not trained on: train/dev after train/fit.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder for the tuned model.")
@click.option("--limit", type=click.IntRange(1), help="Only so many examples of each task, spread over the split.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write the reliability diagram here.")
@data_option
@json_option
def tune(
    model: str,
    tasks: Sequence[str],
    split: str,
    out: Path,
    limit: int | None,
    plot: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Choose how sure MODEL must be of "no answer" to say it, and fit its scores to how often its answers are right.

    The F1 on these questions is then the highest, and a score of 0.8 means that 8 of 10 such answers are right.
    """
    if out.exists():
        raise ConfigError(f"--out: {out} is there already. Name another folder.")
    if plot is not None:
        from textfer.metrics.reliability_plot import check_picture

        check_picture(plot)

    from textfer import load
    from textfer.data.named import find_task
    from textfer.evaluate import load_labelled
    from textfer.tuning import tune as choose

    chosen = [find_task(task) for task in dict.fromkeys(tasks)]
    asked = [(task, load_labelled(task, split, data_dir=data_dir, limit=limit)) for task in chosen]
    reader = load(model)
    _check(reader, model)
    fitted_on = f"{', '.join(task.name for task in chosen)}: {split}"
    tuned = choose(reader, asked, fitted_on=fitted_on)
    if tuned.calibration is None and tuned.threshold is None:
        which = "right" if all(tuned.right) else "wrong"
        raise DataError(f"tune: all {len(tuned.right):,} answers are {which}, so nothing can be fitted. Give more.")
    _save(reader, out)
    if plot is not None:
        from textfer.metrics.reliability_plot import draw

        draw(plot, f"{model} on {fitted_on}", {"before": tuned.before, "after": tuned.after}, tuned.right)
    if as_json:
        print_json(_as_dict(tuned))
    else:
        _show(tuned, out, split)


def _save(reader: TextReader | TextToText, out: Path) -> None:
    """Writes the tuned model."""
    from textfer.answer import TextToText
    from textfer.calibration import write_calibration

    reader.predictor.model.save(out)
    reader.predictor.tokenizer.save(out / "tokenizer")
    if isinstance(reader, TextToText) and reader.calibration is not None:
        write_calibration(reader.calibration, out)


def _check(reader: TextReader | TextToText, model: str) -> None:
    """Refuses models of one stack, whose run's recipe says how texts are put to them."""
    from textfer.answer import TextToText
    from textfer.data.layout import LAYOUTS

    if isinstance(reader, TextToText) and LAYOUTS[reader.predictor.model.layout].together:
        raise ConfigError(
            f"tune: {model} is of one stack, and only its run's recipe says how texts are put to it. Name a T5, or a "
            "model with a span head."
        )


def _as_dict(tuned: Tuned) -> dict[str, Any]:
    return {
        "threshold": tuned.threshold.value if tuned.threshold else None,
        "f1": tuned.threshold.score if tuned.threshold else None,
        "num_examples": len(tuned.right),
        "calibration": tuned.calibration.model_dump(mode="json") if tuned.calibration else None,
        **tuned.errors(),
    }


def _show(tuned: Tuned, out: Path, split: str) -> None:
    from textfer.tuning import PARTS, told

    count = len(tuned.right)
    if tuned.threshold is not None:
        value, f1 = tuned.threshold
        click.echo(f"{out}: threshold {value:.4f}, F1 {f1:.2f} on {count:,} questions of {split}")
    else:
        click.echo(f"{out}: no threshold, {count:,} questions of {split}")
    if tuned.calibration is None:
        click.echo(f"  not calibrated: all answers are {'right' if all(tuned.right) else 'wrong'}")
        return
    click.echo(f"  answers: {told(tuned.calibration.answer)}")
    if tuned.calibration.no_answer is not None:
        click.echo(f"  no answer: {told(tuned.calibration.no_answer)}")
    errors = tuned.errors()
    for name, what, digits in (("ece", "expected calibration error of 100", 1), ("brier", "Brier score of 1", 3)):
        before, after = (f"{errors[f'{name}_{when}']:.{digits}f}" for when in ("before", "after"))
        click.echo(f"  {what}: {before} → {after} ({count:,} questions, each by a fit on the other {PARTS - 1} fifths)")
    if count < FEW:
        click.echo(f"  note: {count} questions are few; several hundred tell more", err=True)
