"""How runs are doing, from what they write into their folders: for curves that grow while a model learns."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from textfer.config import read_toml
from textfer.errors import CheckpointError, ConfigError
from textfer.serve.fields import CurveReply, RunInfo, RunsReply
from textfer.serve.problems import REFUSALS, Problem
from textfer.training.checkpoint import Run, each_record

router = APIRouter(prefix="/v1/runs", tags=["runs"])
COLUMNS = ("step", "loss", "lr", "grad_norm", "tokens", "seconds")
MAX_POINTS = 2000
"""Lines of a log that are sent; of more, as many evenly over the run."""
MAX_SAMPLES = 60
MAX_CHARS = 2000
"""Characters of a sample's text."""


@router.get("", response_model=RunsReply, responses=REFUSALS)
async def runs(request: Request) -> RunsReply:
    """The runs of the server's folder, the newest first."""
    return RunsReply(data=await run_in_threadpool(runs_in, request.app.state.service.runs_dir))


@router.get("/{name}/curve", response_model=CurveReply, responses=REFUSALS)
async def curve(request: Request, name: str) -> CurveReply:
    """A run's numbers so far."""
    folder: Path | None = request.app.state.service.runs_dir
    known = await run_in_threadpool(runs_in, folder)
    if folder is None or name not in {run.name for run in known}:  # so a name never becomes a path by itself
        raise Problem(404, "unknown_run", "There is no such run. GET /v1/runs lists them.", param="name")
    return await run_in_threadpool(curve_of, folder / name)


def runs_in(folder: Path | None) -> list[RunInfo]:
    """The runs that lie in a folder, the newest first."""
    found = []
    for path in folder.iterdir() if folder is not None and folder.is_dir() else ():
        log = path / "metrics.jsonl"
        if not path.name.startswith(".") and log.is_file():
            found.append(RunInfo(name=path.name.encode(errors="replace").decode(), modified=log.stat().st_mtime))
    return sorted(found, key=lambda run: -run.modified)


def curve_of(folder: Path) -> CurveReply:
    """What a run has logged. Errors: Problem for a log that is damaged."""
    run = Run(folder)
    points, evals, step = [], [], 0
    try:
        for record in each_record(run.metrics_path):
            step = max(step, int(record["step"]))
            if scores := record.get("eval"):
                evals.append({"step": record["step"], "eval": _finite(scores)})
            elif "loss" in record:
                points.append(_finite({name: record[name] for name in COLUMNS if name in record}))
        newest = deque(each_record(run.samples_path), maxlen=MAX_SAMPLES)
    except (CheckpointError, AttributeError, KeyError, TypeError, ValueError):
        raise Problem(422, "damaged_run", "The run's log is damaged.", param="name") from None
    recipe = _recipe(folder)
    return CurveReply(
        name=folder.name,
        summary=recipe.get("summary"),
        step=step,
        num_steps=(recipe.get("training") or {}).get("num_steps"),
        seconds_ago=round(max(time.time() - run.metrics_path.stat().st_mtime, 0.0), 1),
        points=[*thinned(points, MAX_POINTS), *thinned(evals, MAX_POINTS)],
        samples=[{key: _short(value) for key, value in sample.items()} for sample in newest],
    )


def thinned(points: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """At most so many of the points, evenly spread, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(number * (len(points) - 1) / (most - 1))] for number in range(most)]


def _recipe(folder: Path) -> dict[str, Any]:
    try:
        return read_toml(folder / "recipe.json")
    except ConfigError:
        return {}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value if not isinstance(value, float) or math.isfinite(value) else None for key, value in values.items()
    }


def _short(value: Any) -> Any:
    if isinstance(value, str):
        value = value.encode(errors="replace").decode()
        return value if len(value) <= MAX_CHARS else f"{value[:MAX_CHARS]} …"
    return value
