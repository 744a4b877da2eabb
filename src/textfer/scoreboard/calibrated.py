"""Whether a model's scores say how often its answers are right, as scores of a task beside the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textfer.answered import answer_score
from textfer.batch import Example
from textfer.calibration import Calibration, read_calibration
from textfer.data.task import Task
from textfer.data.tasks.squad import NO_ANSWER
from textfer.errors import ConfigError
from textfer.evaluate import Made
from textfer.metrics.calibration import NUM_BINS, calibration
from textfer.models.headed import has_heads, heads_in
from textfer.parts import model_folder
from textfer.tuning import is_right

KINDS = {
    "ece": f"expected calibration error, {NUM_BINS} bins of equal width",
    "ece_mass": f"expected calibration error, {NUM_BINS} bins of equally many answers",
    "brier": "Brier score, 0 … 1",
}


def calibration_of(name: str) -> Calibration | None:
    """What the shares of a model's answers mean; None where it was not fitted."""
    folder = model_folder(name)
    if not has_heads(folder):
        return read_calibration(folder)
    return next((head.calibration for head in heads_in(folder)[0] if head.kind == "span"), None)


def calibration_scores(
    task: Task, examples: Sequence[Example], made: Sequence[Made], fitted: Calibration | None
) -> dict[str, float]:
    """`ece`, `ece_mass` and `brier` of the scores of what was said, exact match being right.

    Errors: ConfigError where answers are choices or classes, or were kept without their scores.
    """
    if any(one.share is None for one in made):
        raise ConfigError(
            f"--calibration: the answers to '{task.name}' have no scores of texts. Drop it; kept ones that were made "
            "before scores were kept have to be deleted."
        )
    scores, right = [], []
    for one, example in zip(made, examples, strict=True):
        none = one.text.strip().lower() in ("", NO_ANSWER)
        scores.append(_score(float(one.share or 0.0), fitted, none=none))
        right.append(example.targets == NO_ANSWER if none else is_right(one.text, task, example))
    return calibration(scores, right)


def signatures(fitted: Calibration | None) -> Mapping[str, str]:
    """How each of the scores is got."""
    what = f"scores calibrated on {fitted.num_questions:,} of {fitted.fitted_on}" if fitted else "scores not calibrated"
    return {name: f"{name}: {text}, of exact match; {what}" for name, text in KINDS.items()}


def _score(share: float, fitted: Calibration | None, *, none: bool) -> float:
    if not none:
        return answer_score(share, fitted)
    return fitted.no_answer(share) if fitted is not None and fitted.no_answer is not None else share
