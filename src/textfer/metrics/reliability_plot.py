"""Scores beside the shares of right answers, before and after a calibration, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from textfer.errors import ConfigError, MachineError
from textfer.metrics.calibration import expected_calibration_error, reliability

COLOURS = ("#b3541e", "#1b6ca8")
SUFFIXES = (".png", ".svg", ".pdf")


def check_picture(path: Path) -> None:
    """Refuses a place for a picture. Errors: MachineError without matplotlib; ConfigError for an unknown ending."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--plot: {path} is an unknown kind of picture. Known: {', '.join(SUFFIXES)}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MachineError("--plot: matplotlib is not installed. pip install 'textfer[plot]'") from None


def draw(path: Path, title: str, scores: Mapping[str, Sequence[float]], right: Sequence[bool]) -> None:
    """Writes a picture with a panel for each list of scores: a bar a bin, as high as the share of right answers in it.

    Below each how many answers every bin holds. Where bars end on the diagonal, scores are probabilities.
    Errors: those of `check_picture`; MachineError where the file cannot be written.
    """
    check_picture(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(scores), 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(scores), sharex=True, squeeze=False, height_ratios=[4, 1])
    for number, (name, values) in enumerate(scores.items()):
        upper, lower, colour = axes[0][number], axes[1][number], COLOURS[number % len(COLOURS)]
        bins = reliability(values, right)
        middles = [(one.low + one.high) / 2 for one in bins]
        widths = [0.92 * (one.high - one.low) for one in bins]
        upper.bar(middles, [100 * one.share_right for one in bins], widths, color=colour, alpha=0.75)
        upper.plot([0, 1], [0, 100], "--", color="0.4", linewidth=1)
        upper.plot([one.mean_score for one in bins], [100 * one.share_right for one in bins], "o", color="0.15", ms=3)
        upper.set_title(f"{name}: error {expected_calibration_error(values, right):.1f}", fontsize=10)
        upper.set_ylim(0, 100)
        lower.bar(middles, [one.num_answers for one in bins], widths, color="0.55")
        lower.set_xlim(0, 1)
        lower.set_xlabel("score", fontsize=9)
        for axis in (upper, lower):
            axis.tick_params(labelsize=8)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("right answers, %", fontsize=9)
    axes[1][0].set_ylabel("answers", fontsize=9)
    figure.suptitle(title, fontsize=11)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror or error}). Choose another place.") from None
