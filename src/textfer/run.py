"""The one place where all parts meet: a recipe's parts are built, and a run happens.

Letters as in `batch`.
"""

from __future__ import annotations

import json
import math
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, final

import torch

from textfer.batch import Batch
from textfer.config import read_toml
from textfer.data.headed import HeadedExamples
from textfer.data.preparing import prepare_all
from textfer.data.source import has_split
from textfer.data.stream import BLOCK, Cursor, Stream, Supervised
from textfer.data.task import Task
from textfer.data.tokens import RowChoice
from textfer.errors import CheckpointError, ConfigError, DataError
from textfer.evaluate import Report, evaluate, load_examples
from textfer.parts import Parts, build_parts, build_stream, predictor_of
from textfer.read import HeadPredictor
from textfer.recipe import Recipe, find_task, task_names
from textfer.training.checkpoint import Run, saving
from textfer.training.distributed import World, world
from textfer.training.loss import loss_of
from textfer.training.report import write_report
from textfer.training.trainer import Summary, fit, resolve_dtype

NUM_SAMPLES = 5
"""Answers shown on the report page."""
FREE_TO_CHANGE = (
    "summary",
    "device",
    "training.log_every",
    "training.keep",
    "training.tensorboard",
    "training.save_every",
    "training.save_every_seconds",
    "training.micro_batch_size",
    "training.compile",
    "eval.decoding.batch_size",
    "tokenizer.path",
    "init",
)
"""What a resumed run may have different from when it began: nothing that changes its numbers."""

BEFORE = {"data.max_examples": math.inf, "data.temperature": 1.0}
"""What the first recipes said for nothing."""
ABSENT = {"method.name": "full", "data.without": [], "data.without_by": "field"}
ABSENT |= {"eval.how": "generate", "eval.normalise": "none"}
"""What there was before recipes could say it."""


class Display(Protocol):
    """Who shows a run to a person."""

    def outlined(self, outline: Outline) -> None: ...

    def started(self, step: int, num_steps: int) -> None: ...

    def stepped(self, record: Mapping[str, Any]) -> None: ...

    def evaluated(self, record: Mapping[str, Any]) -> None: ...

    def saved(self, path: Path) -> None: ...

    def preparing(self, name: str, done: int, total: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutline:
    """One task's share of a run."""

    name: str
    num_examples: int
    rate: float
    epochs: float
    """Times each example is expected to be heard in the whole run."""
    run_tokens: int
    """Tokens expected to be heard in the whole run, both sides."""
    num_skipped: int
    num_removed: int
    """Examples that are left out because they say what `data.without` names."""
    cut_inputs: int
    """Examples whose input is longer than inputs_len and loses its end."""
    cut_targets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What is about to happen: shown before a run, and all that `--dry-run` shows."""

    device: str
    dtype: str
    num_parameters: int
    num_trainable: int
    """At the last step: gradual unfreezing begins with fewer."""
    num_steps: int
    batch_size: int
    inputs_len: int
    targets_len: int
    examples_a_row: float
    """1 unless rows are packed; then as in the stream's first block."""
    tasks: tuple[TaskOutline, ...]
    resumed_step: int | None
    weights: str | None
    no_held_out: tuple[str, ...] = ()
    """Tasks of which `eval.loss_rows` measures nothing: they have no such split."""


def outline(recipe: Recipe, parts: Parts, run: Run, device: torch.device, *, data_dir: Path | None = None) -> Outline:
    """The run's outline. Errors: DataError where `eval.loss_rows` has no task to measure."""
    stream, steps = parts.stream, run.steps()
    examples_a_row = BLOCK / len(stream.block(0)) if recipe.data.pack else 1.0
    positions = recipe.training.num_steps * recipe.training.batch_size * examples_a_row
    tasks = []
    for part, rate in zip(stream.parts, stream.rates, strict=True):
        table = next(table for table in parts.tables.values() if table.name == part.name)
        cut = part.num_cut() if isinstance(part, Supervised | HeadedExamples) else (0, 0)
        tasks.append(
            TaskOutline(
                name=part.name,
                num_examples=len(part),
                rate=rate,
                epochs=positions * rate / len(part),
                run_tokens=round(positions * rate * part.mean_tokens()),
                num_skipped=int(table.meta["num_skipped"]),
                num_removed=int(table.meta.get("num_removed", 0)),
                cut_inputs=cut[0],
                cut_targets=cut[1],
            )
        )
    parameters = list(parts.model.parameters())
    trained = parts.adapted.plan.trainable(recipe.training.num_steps - 1)
    return Outline(
        device=str(device),
        dtype=str(resolve_dtype(recipe.training.dtype, device)).removeprefix("torch."),
        num_parameters=sum(parameter.numel() for parameter in parameters),
        num_trainable=sum(weight.numel() for name, weight in parts.model.named_parameters() if name in trained),
        num_steps=recipe.training.num_steps,
        batch_size=recipe.training.batch_size,
        inputs_len=recipe.data.inputs_len,
        targets_len=recipe.data.targets_len,
        examples_a_row=examples_a_row,
        tasks=tuple(tasks),
        resumed_step=steps[-1] if steps else None,
        weights=str(parts.weights) if parts.weights else None,
        no_held_out=_split_up(recipe, data_dir)[1],
    )


def check_same_recipe(recipe: Recipe, run: Run) -> None:
    """Refuses to go on with a run under settings that would change its numbers."""
    saved = run.path / "recipe.json"
    if not saved.exists() or not run.steps():
        return
    old, new = flat(read_toml(saved)), flat(recipe.model_dump(mode="json"))
    if "data.ratio" not in old:  # from before None stood for what a mixture says itself
        old = {key: None if BEFORE.get(key) == value else value for key, value in old.items()}
    old = {**ABSENT, **old}
    changed = [key for key in sorted({*old, *new}) if key not in FREE_TO_CHANGE and old.get(key) != new.get(key)]
    if changed:
        shown = "; ".join(f"{key}: {old.get(key)!r} → {new.get(key)!r}" for key in changed[:4])
        raise ConfigError(
            f"{run.path}: was begun with other settings ({shown}). Give another --run, or the old settings."
        )


def check_same_inputs(run: Run, facts: Mapping[str, Any]) -> None:
    """Refuses to go on with a run whose vocabulary or rows are no longer those it began with."""
    saved = run.path / "run.json"
    if not saved.exists() or not run.steps():
        return
    old = read_toml(saved)
    if old.get("tokenizer") != facts["tokenizer"]:
        raise CheckpointError(f"{run.path}: was begun with another vocabulary. Give that one, or another --run.")
    for name, digest in facts["data"].items():
        if old.get("data", {}).get(name) != digest:
            raise CheckpointError(f"{run.path}: the rows of {name} have changed since it began. Give another --run.")


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """{"section.key": value} of nested tables."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {f"{above}{key}": value}
        found.update(inner)
    return found


@final
class Observer:
    """Passes a run's events to the display, and measures when asked."""

    def __init__(self, parts: Parts, run: Run, display: Display, *, data_dir: Path | None) -> None:
        self._parts, self._run, self._data_dir = parts, run, data_dir
        self._held_out = _held_out(parts, data_dir)
        self.started, self.stepped = display.started, display.stepped
        self.evaluated, self.saved = display.evaluated, display.saved

    def evaluate(self, step: int) -> dict[str, float]:
        """The scores of `eval.tasks`, led by the mean of their main metrics where there are several, and `log_prob`."""
        section, mains = self._parts.recipe.eval, []
        scores: dict[str, float] = {}
        tuned = self._tuned()
        for name in section.tasks:
            task = find_task(name)
            report = evaluate(
                predictor_of(self._parts.model, self._parts.tokenizer, self._parts.recipe, where="eval.tasks"),
                task,
                section.split,
                answering=section.answering,
                limit=section.limit,
                data_dir=self._data_dir,
            )
            prefix = f"{task.name}/" if len(section.tasks) > 1 else ""
            scores |= {f"{prefix}{key}": value for key, value in report.scores.items()}
            mains.append(next(iter(report.scores.values())))
            self._write_answers(task, report, step)
        if len(mains) > 1:
            scores = {"mean": sum(mains) / len(mains), **scores}
        if tuned is not None:
            scores = {"held_out": tuned, **scores}
        if self._held_out:
            scores["log_prob"] = self._log_prob()
        return scores

    def _tuned(self) -> float | None:
        """Has the span head say "no answer" where that is best for the questions held out; its score there then."""
        held = self._parts.tuned_on
        if not held:
            return None
        predictor = predictor_of(self._parts.model, self._parts.tokenizer, self._parts.recipe, where="head.dev_share")
        assert isinstance(predictor, HeadPredictor), "heads were put upon it"
        return predictor.tune(*((one.task, one.examples) for one in held)).score  # of span heads there is one

    def _log_prob(self) -> float:
        """The mean natural log of the probability of a held-out target token."""
        device = next(self._parts.model.parameters()).device
        total = count = 0.0
        with torch.no_grad():
            for batch in self._held_out:
                loss = loss_of(self._parts.model, batch.to(device))
                total, count = total + float(loss.sum), count + float(loss.count)
        return -total / count

    def _write_answers(self, task: Task, report: Report, step: int) -> None:
        """All answers in the official format, and a few beside their questions for the report page."""
        self._run.write_json(f"predictions-{Path(task.name).name}-{step:08d}.json", report.predictions)
        examples = load_examples(task, report.split, data_dir=self._data_dir, limit=NUM_SAMPLES)
        with saving(self._run.path / "samples.jsonl"), (self._run.path / "samples.jsonl").open("a") as file:
            for example, answer in zip(examples, report.predictions.values(), strict=False):
                sample = {"step": step, "inputs": example.inputs, "targets": example.targets, "answer": answer}
                file.write(json.dumps(sample, ensure_ascii=False) + "\n")


def _split_up(recipe: Recipe, data_dir: Path | None) -> tuple[list[str], tuple[str, ...]]:
    """(tasks of which `eval.loss_rows` measures the loss, those that have no such split)"""
    section = recipe.eval
    if section.loss_rows is None:
        return [], ()
    names = task_names(recipe.data.tasks)
    found = [name for name in names if has_split(find_task(name).source, section.split, data_dir=data_dir)]
    if not found:
        raise DataError(
            f"eval.loss_rows: no task of data.tasks has a split '{section.split}'. Drop it, or name another eval.split."
        )
    return found, tuple(name for name in names if name not in found)


def _held_out(parts: Parts, data_dir: Path | None) -> list[Batch]:
    """The first `eval.loss_rows` rows of the evaluation split, at training's rates; unshuffled, noise fixed."""
    section, training = parts.recipe.eval, parts.recipe.training
    if section.loss_rows is None:
        return []
    choice = RowChoice(data_dir=data_dir, limit=section.loss_rows)
    names, _ = _split_up(parts.recipe, data_dir)
    tables = prepare_all(names, section.split, parts.tokenizer, choice, imports=parts.recipe.imports)
    rates = {name: rate for name, rate in zip(parts.tables, parts.stream.rates, strict=True) if name in tables}
    whole = build_stream(parts.recipe, tables, parts.tokenizer.specials, parts.model.layout, rates=rates)
    size = training.micro_batch_size or training.batch_size
    options = replace(whole.options, shuffle=False, batch_size=section.loss_rows, micro_batch_size=size)
    return next(Stream(whole.parts, whole.rates, options).steps(Cursor()))[0]


def run_train(
    recipe: Recipe, run_dir: Path, *, display: Display, data_dir: Path | None = None, dry_run: bool = False
) -> Summary | None:
    """Trains as the recipe says in `run_dir`, from its newest checkpoint on; None after a dry run.

    Errors: ConfigError when the folder holds a run with other settings.
    """
    with world(recipe.device) as place:
        run = Run(run_dir)
        check_same_recipe(recipe, run)
        parts = build_parts(recipe, run, place, data_dir=data_dir, on_progress=display.preparing)
        facts = facts_of(parts, place)
        check_same_inputs(run, facts)
        if place.leads:
            display.outlined(outline(recipe, parts, run, place.device, data_dir=data_dir))
        if dry_run:
            return None
        if place.leads:
            run.create()
            run.write_json("recipe.json", recipe.model_dump(mode="json"))
            run.write_json("run.json", facts)
            parts.tokenizer.save(run.path / "tokenizer")
        place.wait()
        observer = Observer(parts, run, display, data_dir=data_dir)
        summary = fit(parts.adapted, parts.stream, run, place, options=recipe.training, watcher=observer)
        if place.leads:
            write_report(run)
        return summary


def facts_of(parts: Parts, place: World) -> dict[str, Any]:
    """What the numbers of a run may depend on beside the recipe."""
    return {
        "versions": {name: _version(name) for name in ("textfer", "torch", "numpy", "sentencepiece", "tokenizers")},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(place.device),
        "num_processes": place.size,
        "num_threads": torch.get_num_threads(),
        "commit": _commit(),
        "command": sys.argv[1:],
        "tokenizer": parts.tokenizer.digest,
        "data": {name: table.meta["rows"] for name, table in parts.tables.items()},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the working tree that the package runs from; None when it was installed."""
    here = Path(__file__).resolve().parent
    if not (here.parents[1] / ".git").exists():  # somebody else's repository may lie further up
        return None
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
