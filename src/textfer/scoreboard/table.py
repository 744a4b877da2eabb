"""A board in words: a table for the terminal, a table in Markdown, one object for JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from textfer.scoreboard.board import Board, Line

HEAD = ("model", "task", "score", "value", "95 % interval", "constant", "examples", "metric")
RIGHT = {"value", "95 % interval", "constant", "examples"}
FEW = 50
"""With fewer examples even the interval is a guess."""
NOTES = (
    "constant: the score of the most frequent target given as every answer; a value near it means nothing.",
    "95 % interval: bootstrap over examples (or over the groups that are marked together).",
)
PART = "*: not all of the rows that were published for the split; such tasks count in no average."


def rows_of(board: Board) -> list[dict[str, str]]:
    """The table's cells, one row a score; the score that leads a task first."""
    rows = [
        {
            "model": line.checkpoint.name,
            "task": line.task,
            "score": name,
            "value": _value(line.scores[name]),
            "95 % interval": _interval(line, name),
            "constant": _value(line.baseline.get(name, math.nan)),
            "examples": f"{line.report.num_examples:,}{'' if line.complete else '*'}",
            "metric": re.split(r"[;|,]", line.signatures[name])[0].replace(":", ""),
        }
        for line in board.lines
        for name in line.scores
    ]
    for task, why in board.missing.items():
        rows.append(dict.fromkeys(HEAD, "") | {"task": task, "score": "missing", "value": "–", "why": why})
    return rows


def notes_of(board: Board) -> list[str]:
    """What the table's columns mean, where that is asked for by what is in it."""
    notes = [NOTES[0], *(NOTES[1:] if any(line.intervals for line in board.lines) else ())]
    if any(line.intervals and line.report.num_examples < FEW for line in board.lines):
        notes.append(f"fewer than {FEW} examples: the interval itself is rough.")
    return [*notes, *([] if all(line.complete for line in board.lines) else [PART])]


def signatures_of(board: Board) -> list[str]:
    """How each number was got, one line a score of a task; alike for all checkpoints."""
    return list(dict.fromkeys(line.signature(name) for line in board.lines for name in line.scores))


def as_text(board: Board) -> str:
    """The table for the terminal."""
    rows = rows_of(board)
    head = [name for name in HEAD if any(row[name] for row in rows)]
    if len({line.checkpoint.name for line in board.lines}) == 1:
        head = [name for name in head if name != "model"]
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in head}

    def told(cells: Sequence[str]) -> str:
        pairs = zip(head, cells, strict=True)
        return "  ".join(f"{cell:{'>' if name in RIGHT else '<'}{widths[name]}}" for name, cell in pairs).rstrip()

    parts = [told(head)]
    for row in rows:
        line = told([row[name] for name in head])
        parts.append(f"{line}  {row['why']}" if "why" in row else line)
    if board.best:
        parts += ["", "best checkpoint of each task"]
        parts += [f"  {told}" for told in best_of(board)]
    if board.averages:
        parts += ["", *(f"{one.name}: {one.told()}{_of(board, one.of)}" for one in board.averages)]
    parts += ["", *notes_of(board), *(f"  {one}" for one in signatures_of(board))]
    return "\n".join(parts)


def as_markdown(board: Board) -> str:
    """The same as a Markdown document."""
    lines = ["| " + " | ".join(HEAD) + " | how |", "|" + "".join(" --: |" if n in RIGHT else " --- |" for n in HEAD)]
    lines[1] += " --- |"
    signatures = {(o.checkpoint.name, o.task, name): o.signature(name) for o in board.lines for name in o.scores}
    for row in rows_of(board):
        how = row.get("why") or signatures[row["model"], row["task"], row["score"]]
        lines.append("| " + " | ".join(_cell(row[name]) for name in HEAD) + f" | {_cell(how)} |")
    if board.best:
        lines += ["", "Best checkpoint of each task:", "", *(f"- {_cell(told)}" for told in best_of(board))]
    if board.averages:
        lines += ["", *(f"- {_cell(one.name)}, {_cell(one.of)}: **{one.told()}**" for one in board.averages)]
    return "\n".join([*lines, "", *(f"- {note}".replace("*:", r"\*:") for note in notes_of(board))]) + "\n"


def best_of(board: Board) -> list[str]:
    """One line a task: its best checkpoint and score."""
    found = []
    for (_, task), line in board.best.items():
        found.append(f"{task}: {line.lead} {_value(line.scores[line.lead])} with {line.checkpoint.name}")
    return found


def as_json(board: Board) -> dict[str, Any]:
    """The board as plain values; what is not a number is null."""
    return {
        "results": [_line_json(line) for line in board.lines],
        "missing": dict(board.missing),
        "averages": [
            {"name": one.name, "of": one.of, "value": one.value, "complete": one.num_complete, "tasks": one.num_tasks}
            for one in board.averages
        ],
        "best": [
            {"model": model, "task": task, "step": line.checkpoint.step, line.lead: _number(line.scores[line.lead])}
            for (model, task), line in board.best.items()
        ],
    }


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "model": line.checkpoint.model,
        "step": line.checkpoint.step,
        "task": line.task,
        "split": line.report.split,
        "num_examples": line.report.num_examples,
        "complete": line.complete,
        "answered": line.answered,
        "scores": {name: _number(value) for name, value in line.scores.items()},
        "intervals": {name: [_number(low), _number(high)] for name, (low, high) in line.intervals.items()},
        "baseline": {name: _number(value) for name, value in line.baseline.items()},
        "constant": line.constant,
        "signatures": {name: line.signature(name) for name in line.scores},
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "–"


def _interval(line: Line, name: str) -> str:
    low, high = line.intervals.get(name, (math.nan, math.nan))
    return f"{low:.2f} … {high:.2f}" if math.isfinite(low) else ""


def _of(board: Board, of: str) -> str:
    return f"  ({of})" if len({one.of for one in board.averages}) > 1 else ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ").replace("*", r"\*").replace("<", "&lt;")
