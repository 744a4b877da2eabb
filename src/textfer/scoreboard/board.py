"""Tasks × checkpoints measured: every score beside its interval, a constant baseline and how it was got."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from textfer.batch import Example
from textfer.data.source import open_rows
from textfer.data.task import Task, choices_of
from textfer.errors import ConfigError, DataError
from textfer.evaluate import (
    Answering,
    Made,
    Report,
    check_answering,
    check_marked,
    choice_lists,
    constant_baseline,
    intervals,
    load_labelled,
    mark_made,
    write_predictions,
)
from textfer.generate import Predictor
from textfer.metrics import signature
from textfer.parts import load
from textfer.read import HeadPredictor
from textfer.scoreboard import calibrated
from textfer.scoreboard.answers import AnswerLog, answers_of, digest_of, file_name
from textfer.scoreboard.calibrated import calibration_of, calibration_scores
from textfer.scoreboard.checkpoints import Checkpoint, checkpoints_of
from textfer.suites import Suite, average

FORMAT = 1
Progress = Callable[[str, int, int], None]
"""Takes what is being answered, examples done, examples in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is measured, and how."""

    tasks: Mapping[str, Task]
    """By the name or file that the user gave."""
    suites: tuple[Suite, ...] = ()
    """Whose averages are told; their tasks are among `tasks`."""
    split: str = "validation"
    limit: int | None = None
    """Only the first examples of each task."""
    answering: Answering = field(default_factory=Answering)
    data_dir: Path | None = None
    out: Path | None = None
    """The folder in which answers are kept, and from which a stopped evaluation goes on."""
    skip_missing: bool = False
    """Tell of tasks without data in the table instead of stopping."""
    num_samples: int | None = None
    """Resamples of an interval; 0 = no intervals, None = by the number of examples."""
    calibration: bool = False
    """Tell also whether the scores of answers say how often they are right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One task's scores under one checkpoint."""

    checkpoint: Checkpoint
    task: str
    """As the user named it."""
    report: Report
    version: int
    """Of the task."""
    answered: str
    """How the answers were got."""
    intervals: Mapping[str, tuple[float, float]]
    """{score: (low, high)}, where intervals were asked for."""
    signatures: Mapping[str, str]
    """{score: the metric's name, version and preparation}"""
    baseline: Mapping[str, float]
    """What the most frequent target scores as the answer to everything."""
    constant: str
    """That target."""
    complete: bool
    """Every row that was published for the split was there and was marked."""

    @property
    def scores(self) -> Mapping[str, float]:
        """The first stands for the task."""
        return self.report.scores

    @property
    def lead(self) -> str:
        """The name of the score that stands for the task."""
        return next(iter(self.scores))

    def signature(self, score: str) -> str:
        """All that the number depends on beside the weights, in one line."""
        what = f"{self.task} v{self.version}, {self.report.split}, {self.report.num_examples:,} examples"
        return f"{self.signatures[score]} | {what} | {self.answered}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Average:
    """A suite's average, or why there is none."""

    name: str
    of: str
    """The checkpoint; or each task's best."""
    value: float | None
    num_complete: int
    num_tasks: int

    def told(self) -> str:
        """The number, or `incomplete (n of m)`."""
        if self.value is None:
            return f"incomplete ({self.num_complete} of {self.num_tasks})"
        return f"{self.value:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What was measured."""

    lines: tuple[Line, ...]
    missing: Mapping[str, str]
    """Task → why it could not be measured."""
    averages: tuple[Average, ...]
    best: Mapping[tuple[str, str], Line]
    """(model, task) → the best of the model's checkpoints, each task by itself; empty where no model has several."""


@dataclass(frozen=True, slots=True)
class _Ready:
    name: str
    task: Task
    examples: Sequence[Example]
    rows_digest: str
    complete: bool


def measure(checkpoints: Sequence[Checkpoint], request: Request, *, on_progress: Progress | None = None) -> Board:
    """Every task answered by every checkpoint and marked.

    All data are opened before the first model. Errors: DataError where a task's data are missing or unlabelled, unless
    missing ones are skipped; ConfigError for a task without metric, or a way to answer that no task can take.
    """
    check_answering(request.answering, where="eval")
    for task in request.tasks.values():
        check_marked(task)
    ready, missing = _opened(request)
    if request.answering.how != "generate" and ready and not any(choice_lists(o.task, o.examples) for o in ready):
        names = ", ".join(one.name for one in ready[:4])
        raise ConfigError(f"eval: how = {request.answering.how} cannot take effect, {names} has no choices. Drop it.")
    lines = []
    for checkpoint in checkpoints:
        _check_heads(checkpoint, request.answering)
        loaded = _Lazy(checkpoint)
        for one in ready:
            lines.append(_line(loaded, one, request, on_progress))
            if request.out is not None:
                where = _place(request.out, checkpoint, one.name, request.split)
                write_predictions(lines[-1].report, where.with_suffix(".json"))
    best = best_lines(lines, request.suites)
    return Board(lines=tuple(lines), missing=missing, averages=tuple(averages(lines, best, request.suites)), best=best)


def _check_heads(checkpoint: Checkpoint, answering: Answering) -> None:
    """Refuses ways of writing for a model that answers by heads. Errors: ConfigError."""
    for name, there in (("beams", answering.decoding.beams > 1), ("normalise", answering.normalise != "none")):
        if there and checkpoint.by_heads():
            raise ConfigError(f"eval: {name} cannot take effect, {checkpoint.name} answers by heads. Drop it.")


def _opened(request: Request) -> tuple[list[_Ready], dict[str, str]]:
    ready, missing = [], {}
    for name, task in request.tasks.items():
        try:
            rows = open_rows(task.source, request.split, data_dir=request.data_dir)
            examples = load_labelled(task, request.split, data_dir=request.data_dir, limit=request.limit)
        except DataError as error:
            if not request.skip_missing:
                raise
            missing[name] = str(error)
            continue
        whole = len(rows) >= task.sizes.get(request.split, 0) and request.limit is None
        ready.append(_Ready(name, task, examples, rows.digest, whole))
    if not ready:
        raise DataError(f"eval: no task's data are there. The first: {next(iter(missing.values()), 'none was named')}")
    return ready, missing


class _Lazy:
    """A checkpoint that is loaded when something is left to answer."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.digest = checkpoint.digest()
        self._predictor: Predictor | HeadPredictor | None = None

    def predictor(self) -> Predictor | HeadPredictor:
        if self._predictor is None:
            self._predictor = load(self.checkpoint.folder, weights=self.checkpoint.weights).predictor
        return self._predictor


def _place(out: Path, checkpoint: Checkpoint, task: str, split: str) -> Path:
    """The file of the answers: `<model>/<step>/<task>-<split>.jsonl`."""
    step = "" if checkpoint.step is None else f"step_{checkpoint.step:08d}"
    return out / file_name(checkpoint.model) / step / f"{file_name(task)}-{file_name(split)}.jsonl"


def _answers(loaded: _Lazy, one: _Ready, request: Request, on_progress: Progress | None) -> list[Made]:
    """One answer an example: those kept from before, and the others now."""
    path = _place(request.out, loaded.checkpoint, one.name, request.split) if request.out is not None else None
    facts = {
        "rows": one.rows_digest,
        "split": request.split,
        **_facts(loaded, one.task, one.examples, request.answering),
    }
    told = partial(on_progress, f"{loaded.checkpoint.name}: {one.name}") if on_progress is not None else None
    return answers_of(AnswerLog(path, facts), loaded.predictor, one.task, one.examples, request.answering, told)


def _facts(loaded: _Lazy, task: Task, examples: Sequence[Example], answering: Answering) -> dict[str, Any]:
    """All that decides the answers."""
    return {
        "format": FORMAT,
        "model": loaded.digest,
        "task": f"{task.name}.v{task.version}",
        "num_examples": len(examples),
        "answered": answering.told(by_heads=loaded.checkpoint.by_heads()),
        "inputs": digest_of({"texts": [[one.inputs, choices_of(task, one)] for one in examples]}),
    }


def answerer(
    model: str, answering: Answering, *, keep: Path | None = None, on_progress: Progress | None = None
) -> Callable[[Task, Sequence[Example]], list[str]]:
    """What answers a task's test examples with a model's best checkpoint; with `keep`, from where it stopped."""
    check_answering(answering, where="submit")
    loaded = _Lazy(checkpoints_of(model)[0])

    def answer(task: Task, examples: Sequence[Example]) -> list[str]:
        path = _place(keep, loaded.checkpoint, task.name, "test") if keep is not None else None
        told = partial(on_progress, f"{loaded.checkpoint.name}: {task.name}") if on_progress is not None else None
        log = AnswerLog(path, _facts(loaded, task, examples, answering))
        return [one.text for one in answers_of(log, loaded.predictor, task, examples, answering, told)]

    return answer


def _line(loaded: _Lazy, one: _Ready, request: Request, on_progress: Progress | None) -> Line:
    task, examples = one.task, one.examples
    made = _answers(loaded, one, request, on_progress)
    report = mark_made(task, request.split, examples, made)
    more: dict[str, float] = {}
    fitted = calibration_of(loaded.checkpoint.folder) if request.calibration else None
    if request.calibration:
        more = calibration_scores(task, examples, made, fitted)
    constant, baseline = constant_baseline(task, request.split, examples)
    between: dict[str, tuple[float, float]] = {}
    if request.num_samples != 0:
        between = intervals(task, examples, made, num_samples=request.num_samples)
    assert task.metrics is not None
    answering = request.answering
    if answering.how != "generate" and choice_lists(task, examples) is None:
        answering = Answering(decoding=answering.decoding)
    marking = task.metrics
    golds = {len(example.facts.get("answers", ("",))) for example in examples}
    num_golds = golds.pop() if len(golds) == 1 else None
    return Line(
        checkpoint=loaded.checkpoint,
        task=one.name,
        report=replace(report, scores={**report.scores, **more}),
        version=task.version,
        answered=answering.told(by_heads=loaded.checkpoint.by_heads())
        + (", int8 weights" if loaded.checkpoint.weights == "int8" else ""),
        intervals=between,
        signatures={
            name: signature(name, marking, num_golds=num_golds) or f"{name}: the task's own" for name in report.scores
        }
        | {name: text for name, text in calibrated.signatures(fitted).items() if name in more},
        baseline=baseline.scores,
        constant=constant,
        complete=one.complete,
    )


def deciding_score(line: Line, suites: Sequence[Suite]) -> float:
    """What a checkpoint is chosen by: the mean of the scores that a suite counts, else the leading score."""
    for suite in suites:
        for column in suite.columns:
            if line.task in column.tasks:
                values = [line.scores.get(name, math.nan) for name in column.scores]
                return math.fsum(values) / len(values)
    return line.scores[line.lead]


def best_lines(lines: Sequence[Line], suites: Sequence[Suite]) -> dict[tuple[str, str], Line]:
    """{(model, task): line of the best checkpoint}, the first of equals, where a model has several checkpoints.

    **Source**: T5 §3.1 and §3.3: each task is reported at the checkpoint that is best for it.
    """
    several = {one.checkpoint.model for one in lines if one.checkpoint.step != _first_step(lines, one.checkpoint.model)}
    best: dict[tuple[str, str], Line] = {}
    for line in lines:
        key = (line.checkpoint.model, line.task)
        if line.checkpoint.model not in several:
            continue
        old = best.get(key)
        value = deciding_score(line, suites)
        if old is None or math.isnan(deciding_score(old, suites)) or value > deciding_score(old, suites):
            best[key] = line
    return best


def _first_step(lines: Sequence[Line], model: str) -> int | None:
    return next(one.checkpoint.step for one in lines if one.checkpoint.model == model)


def averages(lines: Sequence[Line], best: Mapping[tuple[str, str], Line], suites: Sequence[Suite]) -> list[Average]:
    """Each suite's averages for every checkpoint, and over each task's best one. Only complete tasks count."""
    found = []
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(line.checkpoint.name, []).append(line)
    for (model, _), line in best.items():
        groups.setdefault(f"{model}, each task's best", []).append(line)
    for of, group in groups.items():
        scores = {line.task: line.scores for line in group if line.complete}
        for suite in suites:
            for name, columns in suite.averages().items():
                value, count = average(columns, scores)
                found.append(Average(name=name, of=of, value=value, num_complete=count, num_tasks=len(columns)))
    return found
