"""The rates of a mixture's tasks under three strategies, side by side, as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textfer.errors import ConfigError, MachineError

ROW_INCHES = 0.17
COLOURS = ("#1b6ca8", "#b3541e", "#3b7a57")
SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One strategy's rates."""

    title: str
    rates: Mapping[str, float]


def draw(path: Path, title: str, examples: Mapping[str, int], panels: Sequence[Panel]) -> None:
    """Writes a picture with a panel for each strategy and a line for each task, the one with most examples on top.

    **Errors**: MachineError without matplotlib, or where the file cannot be written; ConfigError for an unknown ending.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--plot: {path} is an unknown kind of picture. Known: {', '.join(SUFFIXES)}.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MachineError("--plot: matplotlib is not installed. pip install 'textfer[plot]'") from None
    tasks = sorted(examples, key=lambda task: (-examples[task], task))
    height = 1.3 + ROW_INCHES * max(len(tasks), 6)
    figure = Figure(figsize=(12, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]
    low = min(rate for panel in panels for rate in panel.rates.values())
    high = max(rate for panel in panels for rate in panel.rates.values())
    low, high = 10.0 ** math.floor(math.log10(low)), min(1.0, high * 2)
    for number, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        rates = [panel.rates[task] for task in tasks]
        colour = COLOURS[number % len(COLOURS)]
        axis.hlines(range(len(tasks)), low, rates, color=colour, alpha=0.3, linewidth=1)
        axis.plot(rates, range(len(tasks)), "o", color=colour, markersize=3.5)
        axis.axvline(1 / len(tasks), color="0.6", linewidth=0.8, linestyle=":")
        axis.set_xscale("log")
        axis.set_xlim(low, high)
        axis.set_title(panel.title, fontsize=10)
        axis.tick_params(axis="x", labelsize=8, top=True, labeltop=len(tasks) > 30)
        axis.grid(axis="x", color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["left", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(tasks)), [f"{task}  {examples[task]:,}" for task in tasks], fontsize=7)
    axes[0].set_ylim(len(tasks) - 0.4, -0.6)
    figure.supxlabel("rate (log scale; dotted: 1 / number of tasks)", fontsize=9)
    figure.suptitle(title, fontsize=11)
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror or error}). Choose another place.") from None
