"""A run's `report.html`: curves, scores, sample answers, recipe and machine on one page that needs nothing beside it.

It reads `metrics.jsonl`, and where they exist `recipe.json`, `run.json`, `predictions-<task>-<step>.json` and
`samples.jsonl`, whose lines are {"step", "inputs", "targets", "answer"}: the same few examples at every evaluation.
A line {"step", "resumed": true, "time"} of `metrics.jsonl` counts as a resumption; long gaps are taken for pauses.
"""

from __future__ import annotations

import math
import os
import re
from array import array
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path
from statistics import median
from string import Template
from typing import Any

from textfer.config import read_toml
from textfer.errors import CheckpointError
from textfer.training.checkpoint import Run, each_record, saving
from textfer.training.curves import Curve, Floats, chart, finite

NAME = "report.html"
COLUMNS = ("step", "loss", "lr", "grad_norm", "window_tokens", "tokens", "seconds")
MAX_ROWS = 16
"""Evaluations in the table, beside the best one."""
MAX_SAMPLES = 12
MAX_CHARS = 2000
"""Characters shown of a sample's text."""
PAUSE_SECONDS = 60.0
PAUSE_FACTOR = 10.0
"""The time between two log lines is a pause when it is longer than both say; the run was interrupted there."""
PREDICTIONS = re.compile(r"predictions-(.+)-(\d+)\.json")


@dataclass(slots=True)
class Log:
    """A run's numbers by column: a tenth of the memory that its lines would take as dictionaries."""

    columns: dict[str, array[float]] = field(default_factory=lambda: {name: array("d") for name in COLUMNS})
    evals: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    gaps: array[float] = field(default_factory=lambda: array("d"))
    """Seconds between each training line and the line before it."""
    pauses: array[float] = field(default_factory=lambda: array("d"))
    """Seconds before each line with "resumed": the run was taken up from a checkpoint."""
    first_time: float | None = None
    last_time: float | None = None
    eval_seconds: float = 0.0

    def __getitem__(self, name: str) -> array[float]:
        return self.columns[name]

    @property
    def last_step(self) -> int:
        """The last step that left any line."""
        trained = int(self["step"][-1]) if self["step"] else 0
        return max(trained, self.evals[-1][0] if self.evals else 0)

    @property
    def best(self) -> tuple[int, dict[str, float]] | None:
        """(step, scores) of the first evaluation with the highest main score, as the trainer chooses it."""
        found: tuple[int, dict[str, float]] | None = None
        for step, scores in self.evals:
            if found is None or main_score(scores) > main_score(found[1]):
                found = step, scores
        return found


def main_score(scores: Mapping[str, float]) -> float:
    """The first score, which decides what is best; a value that is not a number is the worst."""
    value = next(iter(scores.values()))
    return -math.inf if math.isnan(value) else value


def read_log(records: Iterable[Mapping[str, Any]]) -> Log:
    """The lines of `metrics.jsonl` by column."""
    log = Log()
    for record in records:
        now, before = record.get("time"), log.last_time
        if now is not None:
            log.first_time, log.last_time = now if log.first_time is None else log.first_time, now
        if record.get("resumed"):
            log.pauses.append(now - before if now is not None and before is not None else 0.0)
        if scores := record.get("eval"):
            log.evals.append((int(record["step"]), dict(scores)))
            log.eval_seconds += now - before if now is not None and before is not None else 0.0
        elif "loss" in record:
            for name in COLUMNS:
                log[name].append(float(record.get(name, "nan")))
            if now is not None and before is not None:
                log.gaps.append(now - before)
    return log


def write_report(run: Run) -> Path:
    """The path of the run's `report.html`, written whole or not at all."""
    log = read_log(each_record(run.metrics_path))
    recipe, facts = _json(run.path / "recipe.json"), _json(run.path / "run.json")
    sections = [
        _header(run, log, recipe),
        _charts("Scores", _score_curves(log), log),
        _evaluations(log),
        _charts("Training", _training_curves(log), log),
        _samples(run),
        _tables("Recipe", recipe, "recipe.json"),
        _tables("Machine and versions", facts, "run.json"),
        f"<footer>Written by textfer on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC from the files of this folder.</footer>",
    ]
    template = Template((files("textfer.training") / NAME).read_text(encoding="utf-8"))
    page = template.substitute(title=escape(_title(run)), body="\n".join(part for part in sections if part))
    path, work = run.path / NAME, run.path / f".{NAME}.part"
    with saving(path):
        work.write_text(page, encoding="utf-8")
        os.replace(work, path)
    return path


def _title(run: Run) -> str:
    return run.path.resolve().name


def _json(path: Path) -> dict[str, Any]:
    return read_toml(path) if path.exists() else {}


# ---- outcome


def _header(run: Run, log: Log, recipe: Mapping[str, Any]) -> str:
    num_steps = (recipe.get("training") or {}).get("num_steps")
    status = "No line was logged yet." if not log["step"] and not log.evals else f"{log.last_step:,} steps taken."
    if num_steps:
        finished = log.last_step >= num_steps
        status = (
            f"{'Finished' if finished else 'Stopped, or still running'} at step {log.last_step:,} of {num_steps:,}."
        )
    checkpoint = None
    with suppress(CheckpointError):  # the page tells of a run; whether its files are sound is for loading to say
        checkpoint = run.best()
    saved = f" Best checkpoint: <code>{escape(checkpoint.name)}</code>." if checkpoint else ""
    summary = f"<p>{escape(str(recipe['summary']))}</p>" if recipe.get("summary") else ""
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in _outcome(log, num_steps)
    )
    return f'<h1>{escape(_title(run))}</h1>{summary}<p class="soft">{status}{saved}</p><dl class="tiles">{tiles}</dl>'


def _outcome(log: Log, num_steps: int | None) -> list[tuple[str, str, str]]:
    """(name, value, note) of every tile."""
    tiles = []
    if log.best is not None:
        step, scores = log.best
        name = next(iter(scores))
        tiles.append((f"Best {name}", number(main_score(scores)), f"at step {step:,}"))
        tiles.append((f"Last {name}", number(main_score(log.evals[-1][1])), f"at step {log.evals[-1][0]:,}"))
    if log["step"]:
        lowest = min(finite(log["step"], log["loss"])[1], default=math.nan)
        losses = f"lowest {number(lowest)}, first {number(log['loss'][0])}"
        tiles.append(("Training loss", number(log["loss"][-1]), losses))
    tiles.append(("Steps", f"{log.last_step:,}", f"of {num_steps:,}" if num_steps else ""))
    if log["step"]:
        tokens = sum(finite(log["step"], log["window_tokens"])[1])
        tiles.append(("Tokens seen", amount(tokens), "without padding"))
        _, speeds = _speeds(log)
        if len(speeds):
            tiles.append(("Speed", f"{amount(median(speeds))}/s", "tokens, median step"))
        seconds, pauses, paused = wall_time(log)
        notes = [f"{duration(log.eval_seconds)} of it evaluating"] if log.eval_seconds else []
        notes += [f"resumed {len(log.pauses)}×"] if log.pauses else []
        notes += [f"{pauses} pause{'s' if pauses > 1 else ''} of {duration(paused)} left out"] if pauses else []
        tiles.append(("Time", duration(seconds), ", ".join(notes)))
    return tiles


def wall_time(log: Log) -> tuple[float, int, float]:
    """(seconds at work, number of pauses, seconds of all pauses) by the times of the log's lines.

    The time before the first line is not logged; it is taken to be that line's step at that line's pace.
    """
    first, last = log.first_time or 0.0, log.last_time or 0.0
    limit = max(PAUSE_SECONDS, PAUSE_FACTOR * median(log.gaps)) if log.gaps else 0.0
    pauses = [*log.pauses, *(gap for gap in log.gaps if gap > limit)]
    start = log["seconds"][0] * log["step"][0]
    return last - first - sum(pauses) + (start if math.isfinite(start) else 0.0), len(pauses), sum(pauses)


def number(value: float) -> str:
    """A score or a loss, to a hundredth or to four digits."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4g}"


def amount(value: float) -> str:
    """A count to three digits: `1.05 M`."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """`2 d 3 h`, `1 h 5 min`, `3 min 20 s` or `12 s`."""
    left = round(seconds)
    for size, unit, lower, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if left >= size:
            return f"{left // size} {unit} {left % size // lower} {name}"
    return f"{left} s" if left else f"{seconds:.1f} s"


# ---- curves


def _score_curves(log: Log) -> list[Curve]:
    names = list(dict.fromkeys(name for _, scores in log.evals for name in scores))
    best = log.best
    curves = []
    for place, name in enumerate(names):
        points = [(step, scores[name]) for step, scores in log.evals if name in scores]
        steps, values = zip(*points, strict=True)
        note = "decides which checkpoint is best" if place == 0 and len(names) > 1 else ""
        best_step = best[0] if best else None
        curves.append(Curve(title=name, points=finite(steps, values), note=note, best_step=best_step))
    return curves


def _training_curves(log: Log) -> list[Curve]:
    loss, lr, norm = (finite(log["step"], log[name]) for name in ("loss", "lr", "grad_norm"))
    return [
        Curve(title="Loss", points=loss, note="per target token", smooth=True, log=True),
        Curve(title="Learning rate", points=lr, zero=True),
        Curve(title="Gradient norm", points=norm, note="before clipping", smooth=True, log=True, zero=True),
        Curve(title="Tokens per second", points=_speeds(log), smooth=True, zero=True),
    ]


def _speeds(log: Log) -> tuple[Floats, Floats]:
    """Tokens a second of each logged step; waiting for data and evaluations are not in it."""
    pairs = zip(log["tokens"], log["seconds"], strict=True)
    return finite(log["step"], [tokens / seconds if seconds > 0 else float("nan") for tokens, seconds in pairs])


def _charts(title: str, curves: Sequence[Curve], log: Log) -> str:
    figures = "".join(chart(curve, last_step=log.last_step) for curve in curves if len(curve.values))
    return f'<section><h2>{escape(title)}</h2><div class="charts">{figures}</div></section>' if figures else ""


def _evaluations(log: Log) -> str:
    if not log.evals:
        return ""
    names = list(dict.fromkeys(name for _, scores in log.evals for name in scores))
    assert log.best is not None
    shown = [one for one in log.evals if one in log.evals[-MAX_ROWS:] or one[0] == log.best[0]]
    rows = ""
    for step, scores in shown:
        best = step == log.best[0]
        cells = "".join(f"<td>{number(scores[name]) if name in scores else ''}</td>" for name in names)
        mark = ' <b class="best">best</b>' if best else ""
        rows += f"<tr{' class=best' if best else ''}><td>{step:,}{mark}</td>{cells}</tr>"
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    left_out = len(log.evals) - len(shown)
    note = f'<p class="soft">{left_out:,} earlier evaluations are left out.</p>' if left_out else ""
    return (
        '<section><h2>Evaluations</h2><div class="card hug"><table class="numbers">'
        f"<thead><tr><th>step</th>{head}</tr></thead><tbody>{rows}</tbody></table>{note}</div></section>"
    )


# ---- sample answers


def _samples(run: Run) -> str:
    by_inputs: dict[str, list[Mapping[str, Any]]] = {}
    for record in each_record(run.path / "samples.jsonl"):
        by_inputs.setdefault(str(record["inputs"]), []).append(record)
    if not by_inputs:
        return _predictions(run)
    cards = "".join(_sample(records) for records in list(by_inputs.values())[:MAX_SAMPLES])
    return f'<section><h2>Sample answers</h2><div class="samples">{cards}</div></section>'


def _sample(records: Sequence[Mapping[str, Any]]) -> str:
    """One example: what was read, what is right, the last answer, and the different ones before it."""
    latest = {int(record["step"]): record for record in records}  # a step taken again after a resume counts once
    *earlier, last = [latest[step] for step in sorted(latest)]
    changes: list[tuple[int, str]] = []
    for record in earlier:
        if not changes or changes[-1][1] != str(record["answer"]):
            changes.append((int(record["step"]), str(record["answer"])))
    if changes and changes[-1][1] == str(last["answer"]):
        changes.pop()
    before = "\n".join(f"step {step:,}: {clip(answer)}" for step, answer in changes)
    same = str(last["answer"]).strip().lower() == str(last["targets"]).strip().lower()
    rows = [
        ("input", clip(str(last["inputs"])), ""),
        ("gold", clip(str(last["targets"])), ""),
        ("answer", clip(str(last["answer"])), "answer same" if same else "answer"),
        *([("before", before, "soft")] if before else []),
    ]
    listed = "".join(f'<dt>{name}</dt><dd class="{kind}">{escape(text)}</dd>' for name, text, kind in rows)
    return f'<div class="card sample"><h3>step {last["step"]:,}</h3><dl>{listed}</dl></div>'


def _predictions(run: Run) -> str:
    """The first answers of the newest predictions of every task: ids stand for the questions, which were not kept."""
    newest: dict[str, tuple[int, Path]] = {}
    for path in sorted(run.path.glob("predictions-*.json")):
        if match := PREDICTIONS.fullmatch(path.name):
            task, step = match[1], int(match[2])
            newest[task] = max(newest.get(task, (step, path)), (step, path))
    cards = ""
    for task, (step, path) in newest.items():
        answers = list(_json(path).items())
        rows = "".join(
            f"<tr><th>{escape(one)}</th><td>{escape(clip(str(text)))}</td></tr>" for one, text in answers[:MAX_SAMPLES]
        )
        title = f"{escape(task)}, step {step:,}: {min(len(answers), MAX_SAMPLES)} of {len(answers):,} answers"
        cards += f'<div class="card"><h3>{title}</h3><table class="facts">{rows}</table></div>'
    return f'<section><h2>Sample answers</h2><div class="tables">{cards}</div></section>' if cards else ""


def clip(text: str) -> str:
    """The text, its end left out when it is very long."""
    return text if len(text) <= MAX_CHARS else text[:MAX_CHARS] + " …"


# ---- recipe and machine


def _tables(title: str, values: Mapping[str, Any], source: str) -> str:
    if not values:
        return ""
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in values.items() if isinstance(value, Mapping) and value}
    cards = "".join(_table(name, table) for name, table in {"": plain, **nested}.items() if table)
    return (
        f'<section><h2>{escape(title)} <span class="soft">{escape(source)}</span></h2>'
        f'<div class="tables">{cards}</div></section>'
    )


def _table(name: str, values: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{_value(value)}</td></tr>" for key, value in _flat(values).items())
    head = f"<h3>{escape(name)}</h3>" if name else ""
    return f'<div class="card">{head}<table class="facts">{rows}</table></div>'


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        inside = isinstance(value, Mapping) and value
        found |= _flat(value, f"{above}{key}.") if inside else {f"{above}{key}": value}
    return found


def _value(value: object) -> str:
    if value is None or value in ("", [], {}):
        return '<span class="soft">none</span>'
    if isinstance(value, list):
        return escape(", ".join(map(str, value)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return escape(str(value))
