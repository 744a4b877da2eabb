"""What was found: one record a cell, and rows × columns with mean and spread over seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from textfer.compare.file import Column, Comparison
from textfer.compare.plan import Cell
from textfer.scoreboard.answers import write_whole

RESULTS = "results.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One row under one column, over its seeds."""

    values: tuple[float, ...] = ()
    """A score a seed."""
    reason: str = ""
    """Why there is none: the pair cannot be, or a run failed."""
    failed: bool = False
    waiting: int = 0
    """Seeds that have not been run yet."""

    @property
    def mean(self) -> float | None:
        """Over seeds; None without any."""
        return fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of a seed (n - 1); None with one."""
        return stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a row's runs took. Of seeds and columns, the mean; memory the most."""

    parameters: int | None
    trainable: tuple[int, ...]
    """Of the last stage; several where columns differ."""
    seconds: Mapping[str, float]
    """Stage → seconds of training."""
    peak_bytes: int | None
    """The most memory of the last stage's processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A comparison with what was found."""

    name: str
    made: Comparison
    spots: Mapping[tuple[str, str], Spot]
    """(row, column) →"""
    costs: Mapping[str, Cost]
    baseline: Mapping[str, float]
    """Column → what the commonest target scores as the answer to everything."""
    scores: Mapping[str, str]
    """Column → the names of the scores it shows."""
    num_out_of_time: int
    """Cells of which a run reached its seconds before its last step."""

    @property
    def num_failed(self) -> int:
        """Pairs of which a run failed."""
        return sum(spot.failed for spot in self.spots.values())


def records_of(
    cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]], made: Comparison
) -> list[dict[str, Any]]:
    """One record a cell: its state, score, cost and runs."""
    return [_record(cell, results, made.columns[cell.column]) for cell in cells]


def _record(cell: Cell, results: Mapping[str, Mapping[str, Any]], column: Column) -> dict[str, Any]:
    record: dict[str, Any] = {"row": cell.row, "column": cell.column, "seed": cell.seed}
    if cell.reason:
        return {**record, "state": "impossible", "reason": cell.reason}
    runs = [(stage.name, results.get(stage.digest, {})) for stage in cell.stages]
    _, last = runs[-1]
    record["runs"] = [stage.folder.name for stage in cell.stages]
    if last.get("state") != "done":
        state = last.get("state", "waiting")
        return {
            **record,
            "state": "waiting" if state in ("begun", "stopped") else state,
            "reason": last.get("reason", ""),
        }
    asked = [asdict(one) for one in cell.measures]
    told = [one for ask in asked for one in last["scores"] if one["asked"] == ask]
    names = [column.score or next(iter(one["scores"])) for one in told]
    missing = [(name, one) for name, one in zip(names, told, strict=True) if one["scores"].get(name) is None]
    if missing:
        name, one = missing[0]
        reason = f"{one['asked']['task']}: no score '{name}' among {', '.join(one['scores'])}, or it is not a number"
        return {**record, "state": "failed", "reason": reason}
    pairs = list(zip(names, told, strict=True))
    baselines = [one["baseline"].get(name) for name, one in pairs]
    return {
        **record,
        "state": "done",
        "value": fmean(one["scores"][name] for name, one in pairs),
        "score": ", ".join(dict.fromkeys(names)),
        "scores": {one["asked"]["task"]: one["scores"] for one in told},
        "answered": {one["asked"]["task"]: one["answered"] for one in told},
        "baseline": None if None in baselines else fmean(baselines),
        "num_examples": {one["asked"]["task"]: one["num_examples"] for one in told},
        "parameters": last.get("parameters"),
        "trainable": last.get("trainable"),
        "steps": {name: run.get("step") for name, run in runs},
        "seconds": {name: run.get("seconds") for name, run in runs},
        "cpu_seconds": {name: run.get("cpu_seconds") for name, run in runs},
        "out_of_time": [name for name, run in runs if (run.get("step") or 0) < (run.get("num_steps") or 0)],
        "peak_bytes": last.get("peak_bytes"),
    }


def gather(name: str, made: Comparison, records: Sequence[Mapping[str, Any]]) -> Found:
    """The records as rows × columns."""
    spots = {}
    for row in made.rows:
        for column in made.columns:
            group = [one for one in records if (one["row"], one["column"]) == (row, column)]
            done = [one for one in group if one["state"] == "done"]
            bad = [one for one in group if one["state"] in ("failed", "impossible")]
            spots[row, column] = Spot(
                values=tuple(one["value"] for one in done),
                reason=bad[0]["reason"] if bad else "",
                failed=any(one["state"] == "failed" for one in bad),
                waiting=sum(one["state"] == "waiting" for one in group),
            )
    finished = [one for one in records if one["state"] == "done"]
    told = {one["column"]: one for one in finished}
    return Found(
        name=name,
        made=made,
        spots=spots,
        costs={row: _cost([one for one in finished if one["row"] == row]) for row in made.rows},
        baseline={column: one["baseline"] for column, one in told.items() if one["baseline"] is not None},
        scores={column: one["score"] for column, one in told.items()},
        num_out_of_time=sum(bool(one["out_of_time"]) for one in finished),
    )


def _cost(group: Sequence[Mapping[str, Any]]) -> Cost:
    stages = list(dict.fromkeys(stage for one in group for stage in one["seconds"]))
    seconds = {
        stage: [one["seconds"][stage] for one in group if one["seconds"].get(stage) is not None] for stage in stages
    }
    peaks = [one["peak_bytes"] for one in group if one["peak_bytes"]]
    parameters = [one["parameters"] for one in group if one["parameters"]]
    return Cost(
        parameters=max(parameters, default=None),
        trainable=tuple(sorted({one["trainable"] for one in group if one["trainable"] is not None})),
        seconds={stage: fmean(values) for stage, values in seconds.items() if values},
        peak_bytes=max(peaks, default=None),
    )


def write_records(records: Sequence[Mapping[str, Any]], out: Path) -> None:
    """Writes one line a cell, the file whole or not at all. Errors: MachineError."""
    lines = [json.dumps(one, ensure_ascii=False) for one in records]
    write_whole(out / RESULTS, "\n".join(lines) + "\n")
