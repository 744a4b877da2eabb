"""A comparison as a picture: a panel for each column, a line for each row, a bar for the spread over seeds."""

from __future__ import annotations

from pathlib import Path

from textfer.compare.results import Found
from textfer.errors import ConfigError, MachineError

SUFFIXES = (".png", ".svg", ".pdf")
ROW_INCHES = 0.32
PANEL_INCHES = 2.6
COLOUR = "#1b6ca8"
LEAST_SPAN = 1.0
"""Points that an axis shows at least: rows that differ by rounding alone must not look far apart."""


def check_picture(path: Path) -> None:
    """Refuses a picture that could not be drawn, before anything is run.

    **Errors**: ConfigError for an unknown ending or no folder; MachineError without matplotlib.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--plot: {path} is an unknown kind of picture. Known: {', '.join(SUFFIXES)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"--plot: {path.parent} is no folder. Make it first.")
    if not can_draw():
        raise MachineError("--plot: matplotlib is not installed. pip install 'textfer[plot]'")


def can_draw() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def span(low: float, high: float) -> tuple[float, float]:
    """(low, high) of an axis, apart by a point at least."""
    more = max(0.0, LEAST_SPAN - (high - low)) / 2
    return low - more, high + more


def draw(found: Found, path: Path) -> None:
    """Writes the picture. **Errors**: MachineError where the file cannot be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = found.made
    rows, columns = list(made.rows), list(made.columns)
    height = 1.6 + ROW_INCHES * max(len(rows), 3)
    longest = max(len(made.rows[row].label or row) for row in rows)
    figure = Figure(figsize=(1.2 + 0.075 * longest + PANEL_INCHES * len(columns), height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axis, column in zip(axes, columns, strict=True):
        for place, row in enumerate(rows):
            spot = found.spots[row, column]
            if spot.mean is not None:
                axis.plot(spot.values, [place] * len(spot.values), "|", color=COLOUR, alpha=0.45, markersize=9)
                axis.errorbar(spot.mean, place, xerr=spot.spread, fmt="o", color=COLOUR, markersize=4.5, capsize=3)
            else:
                said = "failed" if spot.failed else "–" if spot.reason else "…"
                axis.annotate(
                    said, (0.5, place), xycoords=axis.get_yaxis_transform(), ha="center", va="center", color="0.5"
                )
        if column in found.baseline:
            axis.axvline(found.baseline[column], color="0.55", linewidth=1, linestyle=":")
        axis.set_title(made.columns[column].label or column, fontsize=10)
        axis.set_xlabel(found.scores.get(column, ""), fontsize=9)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", color="0.92", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.margins(x=0.08)
        axis.set_xlim(*span(*axis.get_xlim()))
        axis.spines[["right", "top"]].set_visible(False)
    axes[0].set_yticks(range(len(rows)), [made.rows[row].label or row for row in rows], fontsize=9)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    spread = "dot: mean, bar: standard deviation, strokes: seeds" if len(made.seeds) > 1 else "dot: one seed"
    figure.supxlabel(f"{spread}; dotted: a constant answer", fontsize=8, color="0.35")
    figure.suptitle(made.summary, fontsize=11)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror or error}). Choose another place.") from None
