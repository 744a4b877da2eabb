"""A board as one HTML page that needs nothing beside it: scores with intervals, curves over checkpoints, table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from string import Template

from textfer.scoreboard.board import Board, Line
from textfer.scoreboard.table import HEAD, RIGHT, best_of, notes_of, rows_of, signatures_of
from textfer.training.curves import Curve, chart, finite

ROW_HEIGHT = 26
WIDTH = 640
LEFT, RIGHT_EDGE = 250, 600
"""Where the scale of a bar begins and ends, in the drawing's units."""
MAX_LABEL = 34


def page_of(board: Board, *, title: str) -> str:
    """The page's HTML."""
    parts = [
        f"<h1>{escape(title)}</h1>",
        _averages(board),
        *(_bars(name, lines) for name, lines in _by_checkpoint(board).items()),
        _curves(board),
        _table(board),
        _listed("How each number was got", signatures_of(board)),
        f"<footer>Written by textfer on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.</footer>",
    ]
    template = Template((files("textfer.training") / "report.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), body="\n".join(part for part in parts if part))


def _averages(board: Board) -> str:
    tiles = "".join(
        f"<div><dt>{escape(one.name)}</dt><dd>{one.told()}<small>{escape(one.of)}</small></dd></div>"
        for one in board.averages
    )
    return f'<dl class="tiles">{tiles}</dl>' if tiles else ""


def _by_checkpoint(board: Board) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in board.lines:
        found.setdefault(line.checkpoint.name, []).append(line)
    return found


def _bars(name: str, lines: Sequence[Line]) -> str:
    """The leading score of every task from 0 to 100: dot, interval, and a tick where the constant answer stands."""
    shown = [line for line in lines if math.isfinite(line.scores[line.lead])]
    if not shown:
        return ""
    height = ROW_HEIGHT * (len(shown) + 1)
    x = _Axis(20 * math.floor(min(0.0, *(line.scores[line.lead] for line in shown)) / 20))
    grid = "".join(
        f'<line x1="{x(at):.0f}" x2="{x(at):.0f}" y1="0" y2="{height - ROW_HEIGHT}" stroke="var(--grid)"/>'
        f'<text x="{x(at):.0f}" y="{height - 8}" text-anchor="middle" fill="var(--soft)" font-size="11">{at}</text>'
        for at in range(x.low, 101, 20)
    )
    rows = "".join(_bar(line, ROW_HEIGHT * place + ROW_HEIGHT // 2, x) for place, line in enumerate(shown))
    legend = "dot: score · line: 95 % interval · upright mark: the most frequent target as every answer"
    return (
        f'<section><h2>{escape(name)}</h2><div class="card">'
        f'<svg viewBox="0 0 {WIDTH} {height}" style="display:block;width:100%;max-width:760px" role="img" '
        f'aria-label="scores of {escape(name)}">{grid}{rows}</svg><p class="soft">{legend}</p></div></section>'
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    low: int
    """The value at the left end; 100 is at the right."""

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (100 - self.low)
        return LEFT + (RIGHT_EDGE - LEFT) * min(1.0, max(0.0, share))


def _bar(line: Line, middle: int, x: _Axis) -> str:
    value, constant = line.scores[line.lead], line.baseline.get(line.lead, math.nan)
    low, high = line.intervals.get(line.lead, (math.nan, math.nan))
    label = f"{line.task} {line.lead}"
    label = label if len(label) <= MAX_LABEL else label[: MAX_LABEL - 1] + "…"
    parts = [
        f'<text x="{LEFT - 12}" y="{middle + 4}" text-anchor="end" fill="var(--ink)" font-size="12">'
        f"{escape(label)}</text>"
    ]
    if math.isfinite(low):
        parts.append(
            f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{middle}" y2="{middle}" stroke="var(--raw)" '
            'stroke-width="5" stroke-linecap="round"/>'
        )
    if math.isfinite(constant):
        parts.append(
            f'<line x1="{x(constant):.1f}" x2="{x(constant):.1f}" y1="{middle - 8}" y2="{middle + 8}" '
            'stroke="var(--best)" stroke-width="2"/>'
        )
    parts.append(f'<circle cx="{x(value):.1f}" cy="{middle}" r="4" fill="var(--line)"/>')
    parts.append(
        f'<text x="{WIDTH - 4}" y="{middle + 4}" text-anchor="end" fill="var(--soft)" font-size="11">{value:.1f}</text>'
    )
    return "".join(parts)


def _curves(board: Board) -> str:
    """Every task's leading score over a model's checkpoints, where there are several."""
    figures = ""
    for (model, task), best in board.best.items():
        lines = [one for one in board.lines if (one.checkpoint.model, one.task) == (model, task)]
        steps = [one.checkpoint.step or 0 for one in lines]
        points = finite(steps, [one.scores[one.lead] for one in lines])
        if len(points[1]):
            curve = Curve(title=f"{task} {best.lead}", points=points, note=model, best_step=best.checkpoint.step)
            figures += chart(curve, last_step=max(steps))
    return f'<section><h2>Over checkpoints</h2><div class="charts">{figures}</div></section>' if figures else ""


def _table(board: Board) -> str:
    align = {name: f"text-align:{'right' if name in RIGHT else 'left'}" for name in HEAD}
    head = "".join(f'<th style="{align[name]}">{name}</th>' for name in HEAD)
    rows = ""
    for row in rows_of(board):
        cells = "".join(f'<td style="{align[name]}">{escape(row[name])}</td>' for name in HEAD)
        rows += f"<tr>{cells}</tr>" + (
            f'<tr><td colspan="{len(HEAD)}" class="soft">{escape(row["why"])}</td></tr>' if "why" in row else ""
        )
    best = f'<p class="soft">Best of each task: {escape("; ".join(best_of(board)))}</p>' if board.best else ""
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in notes_of(board))
    table = f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<section><h2>Scores</h2><div class="card">{table}{best}{notes}</div></section>'


def _listed(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return f'<section><h2>{escape(title)}</h2><div class="card">{items}</div></section>'
