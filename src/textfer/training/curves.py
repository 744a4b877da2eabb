"""Curves as inline SVG with HTML labels: no plotting library, no script needed to read them.

The drawing stretches to its box (`preserveAspectRatio="none"`) while labels and dots are HTML placed in percent, so
that text keeps its size on a phone. Letters: N points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIDE = 1000.0
"""Units of the drawing's square, both ways."""
MAX_POINTS = 600
"""Points of one drawn line; more than a screen is wide would only make the file large."""
MAX_DOTS = 60
MIN_SMOOTHED = 20
"""Points from which on a smoothed line says more than the points themselves."""
LOG_RATIO = 4.0
"""A curve that falls by more than this factor is drawn on a log scale, else its beginning hides all that follows."""
NUM_TICKS = 5
NICE = (1.0, 2.0, 5.0, 10.0)
MANTISSAS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 3),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    tuple(np.arange(1, 10, 0.25)),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """What one chart shows: values over steps, rising steps, finite values."""

    title: str
    points: tuple[Floats, Floats]
    """Steps [N] and values [N]."""
    note: str = ""
    smooth: bool = False
    """Draw the points faint and a moving mean strong."""
    log: bool = False
    """Allow a logarithmic scale where the values ask for it."""
    zero: bool = False
    """Let the scale begin at 0."""
    best_step: float | None = None
    """The step to mark."""

    @property
    def steps(self) -> Floats:
        """[N]"""
        return self.points[0]

    @property
    def values(self) -> Floats:
        """[N]"""
        return self.points[1]


def finite(steps: Sequence[float] | Floats, values: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    """Both as arrays, without the places whose value is not finite."""
    x, y = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    kept = np.isfinite(y)
    return x[kept], y[kept]


def thin(values: Floats, most: int = MAX_POINTS) -> NDArray[np.intp]:
    """The indices of at most `most` points that keep the shape: lowest and highest of every stretch, first and last."""
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), max(1, most // 2 - 1) + 1).astype(int)
    ends = [0, len(values) - 1]
    for start, end in pairwise(edges):
        part = values[start:end]
        ends += [start + int(part.argmin()), start + int(part.argmax())]
    return np.unique(ends)


def moving_mean(values: Floats, width: int) -> Floats:
    """The mean of the `width` values around each place, fewer at both ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    half = width // 2
    low, high = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low), np.float64)


def smoothing_width(num_points: int) -> int:
    """How many points the moving mean takes together: a thirtieth of the curve, an odd number."""
    return max(3, num_points // 30) | 1


def linear_ticks(low: float, high: float) -> list[float]:
    """About five round numbers within low … high."""
    rough = (high - low) / NUM_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    size = next(nice * power for nice in NICE if nice * power >= rough * 0.999)
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [round(number * size, 12) for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers within low … high, evenly spread for a logarithmic scale."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for mantissas in MANTISSAS:
        found = [float(f"{m * 10.0**p:.6g}") for p in powers for m in mantissas if low <= m * 10.0**p <= high]
        if len(found) >= 3:
            break
    return found[:: math.ceil(len(found) / 7)] if found else [low, high]


def short(value: float) -> str:
    """A tick's text: `1.5k`, `0.25`, `3e-4`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{unit}"
    if value and abs(value) < 1e-3:
        mantissa, _, power = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(power)}"
    return f"{value:.6g}"


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to the drawing's units."""

    low: float
    high: float
    log: bool = False

    def place(self, values: Floats) -> Floats:
        """0 at `low`, SIDE at `high`."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        return np.asarray(((np.log(values) if self.log else values) - low) / (high - low) * SIDE, np.float64)

    def ticks(self) -> list[float]:
        """Round numbers within the scale."""
        return log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)


def scale_of(curve: Curve) -> Scale:
    """The vertical scale that shows every point, with a little air."""
    low, high = float(curve.values.min()), float(curve.values.max())
    if curve.log and low > 0 and high / low > LOG_RATIO:
        air = (high / low) ** 0.04
        return Scale(low / air, high * air, log=True)
    if curve.zero and low >= 0:
        return Scale(0.0, high * 1.06 or 1.0)
    air = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return Scale(low - air, high + air)


def chart(curve: Curve, *, last_step: float) -> str:
    """The curve as one HTML figure over the steps 0 … last_step."""
    x, y = Scale(0.0, max(1.0, last_step)), scale_of(curve)
    smoothed = curve.smooth and len(curve.values) >= MIN_SMOOTHED
    lines = [_polyline("raw" if smoothed else "line", curve.steps, curve.values, x, y)]
    notes = [curve.note] if curve.note else []
    if smoothed:
        width = smoothing_width(len(curve.values))
        lines.append(_polyline("line", curve.steps, moving_mean(curve.values, width), x, y))
        notes.append(f"faint: as logged, strong: mean of {width}")
    if y.log:
        notes.append("log scale")
    grid = "".join(
        f'<line x1="0" x2="{SIDE:g}" y1="{at:.1f}" y2="{at:.1f}"/>' for at in SIDE - y.place(np.array(y.ticks()))
    )
    title, caption = escape(curve.title), escape(" · ".join(notes))
    return (
        f'<figure class="chart"><figcaption><b>{title}</b> <span>{caption}</span></figcaption>'
        f'<div class="plot" data-x="{x.low!r},{x.high!r}" data-y="{y.low!r},{y.high!r}" data-log="{int(y.log)}">'
        f'<svg viewBox="0 0 {SIDE:g} {SIDE:g}" preserveAspectRatio="none" role="img" aria-label="{title}">'
        f"<g>{grid}</g>{''.join(lines)}</svg>{_labels(x, y)}{_dots(curve, x, y)}</div></figure>"
    )


def _polyline(kind: str, steps: Floats, values: Floats, x: Scale, y: Scale) -> str:
    shown = thin(values)
    across, down = x.place(steps[shown]), SIDE - y.place(values[shown])
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))
    return f'<polyline class="{kind}" points="{points}"/>'


def _labels(x: Scale, y: Scale) -> str:
    found = []
    for value, at in zip(y.ticks(), SIDE - y.place(np.array(y.ticks())), strict=True):
        found.append(f'<span class="y" style="top:{at / 10:.2f}%">{short(value)}</span>')
    steps = [value for value in x.ticks() if value == int(value)]
    for value, at in zip(steps, x.place(np.array(steps)), strict=True):
        found.append(f'<span class="x" style="left:{at / 10:.2f}%">{short(value)}</span>')
    return "".join(found)


def _dots(curve: Curve, x: Scale, y: Scale) -> str:
    """A dot a point where there are few, and the best one in any case."""
    most = 1 if curve.smooth or curve.best_step is None else MAX_DOTS
    shown = np.ones(len(curve.steps), bool) if len(curve.steps) <= most else curve.steps == curve.best_step
    found = []
    for step, value in zip(curve.steps[shown], curve.values[shown], strict=True):
        best = step == curve.best_step
        across, up = float(x.place(np.array([step]))[0]) / 10, float(y.place(np.array([value]))[0]) / 10
        label = f' title="best checkpoint: {value:.6g} at step {step:,.0f}"' if best else ""
        found.append(
            f'<i class="dot{" best" if best else ""}" style="left:{across:.2f}%;top:{100 - up:.2f}%"{label}></i>'
        )
    return "".join(found)
