"""A comparison in words: a table for the terminal, a document in Markdown, one object for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from textfer.compare.results import Cost, Found, Spot

BASELINE = "constant answer"
HEAD_COSTS = ("trained", "seconds", "memory")
MIB = 2**20


def table_of(found: Found) -> list[list[str]]:
    """The cells in words, the head first: a row's label, its scores, and what it took."""
    made = found.made
    columns = [
        f"{column.label or name}{f' ({found.scores[name]})' if name in found.scores else ''}"
        for name, column in made.columns.items()
    ]
    rows = [["", *columns, *HEAD_COSTS]]
    if found.baseline:
        given = [f"{found.baseline[name]:.2f}" if name in found.baseline else "" for name in made.columns]
        rows.append([BASELINE, *given, *[""] * len(HEAD_COSTS)])
    for name, row in made.rows.items():
        spots = [told(found.spots[name, column]) for column in made.columns]
        rows.append([row.label or name, *spots, *_costs(found.costs[name], list(made.stages))])
    return rows


def paper_of(found: Found) -> list[list[str]]:
    """The paper's numbers for the same rows, the head first; empty where there are none."""
    made = found.made
    if made.paper is None or not set(made.rows) & set(made.paper.rows):
        return []
    rows = [["", *made.paper.columns]]
    for name, row in made.rows.items():
        numbers = made.paper.rows.get(name, ())
        if numbers:
            rows.append([row.label or name, *_numbers(numbers)])
    return rows + [[label, *_numbers(numbers)] for label, numbers in made.paper.others.items()]


def _numbers(numbers: Sequence[float]) -> list[str]:
    return [f"{one:.2f}" if math.isfinite(one) else "" for one in numbers]


def notes_of(found: Found) -> list[str]:
    """What must be known to read the table."""
    made = found.made
    seeds = ", ".join(map(str, made.seeds))
    notes = [
        f"seeds {seeds}: mean ± standard deviation." if len(made.seeds) > 1 else f"seed {seeds}: one, so no spread."
    ]
    if found.baseline:
        notes.append(
            f"{BASELINE}: the commonest target given as every answer; a score near it means nothing was learnt."
        )
    limits = []
    if made.budget.max_rows is not None:
        limits.append(f"{made.budget.max_rows:,} training rows of each task")
    if made.budget.max_seconds is not None:
        limits.append(f"{made.budget.max_seconds:g} s of training")
    notes.append(f"budget: at most {' and '.join(limits)} for each run." if limits else "budget: as the recipes say.")
    if found.num_out_of_time:
        notes.append(f"in {found.num_out_of_time} cells a run had used its seconds before its last step.")
    first = f", the first {made.limit:,} examples of each task" if made.limit else ""
    notes.append(f"measured on {made.split}{first}; answers by {', '.join(_ways(found))} where there are choices.")
    notes.append(
        f"trained: parameters that the last stage moves. seconds: of training steps, {' + '.join(made.stages)}. "
        "memory: the most that the last stage's process held."
    )
    return notes


def _ways(found: Found) -> list[str]:
    return list(dict.fromkeys(column.answers or found.made.answers for column in found.made.columns.values()))


def reasons_of(found: Found) -> list[str]:
    """Why there is no number: one line a pair, alike ones together."""
    alike: dict[str, list[str]] = {}
    for (row, column), spot in found.spots.items():
        if spot.reason:
            said = "failed" if spot.failed else "–"
            alike.setdefault(f"{said}: {spot.reason}", []).append(f"{row} × {column}")
    return [f"{', '.join(pairs)} {why}" for why, pairs in alike.items()]


def told(spot: Spot) -> str:
    """A pair's score in words."""
    if spot.failed:
        return "failed"
    if spot.mean is None:
        return "–" if spot.reason else "…"
    value = f"{spot.mean:.2f}" if spot.spread is None else f"{spot.mean:.2f} ± {spot.spread:.2f}"
    return f"{value} *" if spot.waiting or spot.reason else value


def as_text(found: Found) -> str:
    """The table with all that belongs beneath it, for a terminal."""
    parts = [_aligned(table_of(found))]
    if paper := paper_of(found):
        assert found.made.paper is not None
        parts += ["", f"The paper's numbers ({found.made.paper.source}), other data and scale:", _aligned(paper)]
        parts += [found.made.paper.note] if found.made.paper.note else []
    parts += ["", *notes_of(found), *_unfinished(found), *reasons_of(found)]
    return "\n".join(parts)


def as_markdown(found: Found) -> str:
    """The same as a Markdown document."""
    parts = [f"# {found.name}", "", found.made.summary, "", *_markdown(table_of(found))]
    if paper := paper_of(found):
        assert found.made.paper is not None
        parts += ["", f"The paper's numbers ({found.made.paper.source}), on other data and at another scale:", ""]
        parts += _markdown(paper)
        parts += ["", found.made.paper.note] if found.made.paper.note else []
    lines = [*notes_of(found), *_unfinished(found), *reasons_of(found)]
    return "\n".join([*parts, "", *(f"- {line}" for line in lines)]) + "\n"


def as_json(found: Found) -> dict[str, Any]:
    """The same as plain values."""
    made = found.made
    return {
        "comparison": found.name,
        "summary": made.summary,
        "seeds": list(made.seeds),
        "budget": made.budget.model_dump(),
        "split": made.split,
        "limit": made.limit,
        "baseline": dict(found.baseline),
        "scores": dict(found.scores),
        "rows": [
            {
                "name": name,
                "label": row.label or name,
                "columns": {column: _spot(found.spots[name, column]) for column in made.columns},
                "parameters": found.costs[name].parameters,
                "trainable": list(found.costs[name].trainable),
                "seconds": dict(found.costs[name].seconds),
                "peak_bytes": found.costs[name].peak_bytes,
            }
            for name, row in made.rows.items()
        ],
        "paper": _paper(found),
        "failed": found.num_failed,
    }


def _paper(found: Found) -> dict[str, Any] | None:
    paper = found.made.paper
    if paper is None:
        return None
    given = {**paper.rows, **paper.others}
    rows = {name: [one if math.isfinite(one) else None for one in numbers] for name, numbers in given.items()}
    return {"source": paper.source, "note": paper.note, "columns": list(paper.columns), "rows": rows}


def _spot(spot: Spot) -> dict[str, Any]:
    state = "failed" if spot.failed else "done" if spot.values else "impossible" if spot.reason else "waiting"
    return {
        "state": state,
        "mean": spot.mean,
        "spread": spot.spread,
        "values": list(spot.values),
        "reason": spot.reason or None,
    }


def _unfinished(found: Found) -> list[str]:
    if any(spot.waiting for spot in found.spots.values()):
        return ["… or *: not all seeds have been run; the same command goes on."]
    return []


def _costs(cost: Cost, stages: Sequence[str]) -> list[str]:
    trained = "–".join(f"{one:,}" for one in (cost.trainable[:1] + cost.trainable[1:][-1:]))
    each = [f"{cost.seconds[stage]:.1f}" if stage in cost.seconds else "–" for stage in stages]
    seconds = " + ".join(each) if cost.seconds else ""
    return [trained, seconds, f"{cost.peak_bytes / MIB:,.0f} MiB" if cost.peak_bytes else ""]


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for cells in rows:
        first, *rest = (
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        lines.append("  ".join([first, *rest]).rstrip())
    return "\n".join(lines)


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *others = [[cell.replace("|", "\\|") for cell in cells] for cells in rows]
    rule = ["---", *["--:"] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, rule, *others)]
