"""One run of a comparison in a process of its own: trained, measured, and told in one small file.

A process of its own has its own peak of memory, its own threads, and takes no other run with it when it falls.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, final

import torch

from textfer.compare.plan import Measure
from textfer.config import read_toml
from textfer.errors import ConfigError, TextferError
from textfer.evaluate import Answering, check_marked, choice_lists, iter_examples, load_labelled
from textfer.models.cbow import CbowOptions
from textfer.models.cbow_model import train_pieces
from textfer.recipe import Recipe, find_task, task_names
from textfer.run import Outline, run_train
from textfer.scoreboard.board import Request, measure
from textfer.scoreboard.checkpoints import checkpoints_of
from textfer.tokenizers import load_tokenizer
from textfer.training.checkpoint import Run

RESULT = "result.json"
"""In the run's folder: how far it is, and what it scored."""
LOG = "worker.log"
TELL_EVERY_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A run to be made, and what is to be measured of it."""

    folder: Path
    recipe: Recipe
    measures: tuple[Measure, ...]
    num_threads: int
    data_dir: Path | None
    cache: Path
    """As `cache_dir` says where the comparison was asked for."""
    imports: tuple[str, ...] = ()
    """Modules to import first."""
    max_seconds: float | None = None
    """Of training; a run that has used them is saved, and measured as it is."""
    vectors: CbowOptions | None = None
    """As `Stage.vectors`."""


@final
class Watch:
    """Counts a run's seconds, remembers them beside its checkpoints, tells how far it is, and ends it in time."""

    def __init__(self, run: Run, pipe: Connection, found: dict[str, Any], max_seconds: float | None) -> None:
        self._run, self._pipe, self.found = run, pipe, found
        self._max_seconds = math.inf if max_seconds is None else max_seconds
        self._told_at = -math.inf
        self.out_of_time = False

    def outlined(self, outline: Outline) -> None:
        """The sizes of the model."""
        self.found |= {"parameters": outline.num_parameters, "trainable": outline.num_trainable}

    def started(self, step: int, num_steps: int) -> None:
        """The seconds of before count where their steps do."""
        self.found["num_steps"] = num_steps
        if step == 0 or "seconds" not in self.found:
            self.found["seconds"] = 0.0

    def stepped(self, record: Mapping[str, Any]) -> None:
        """One step's seconds."""
        self.found["seconds"] += record["seconds"]
        self.found["step"] = record["step"]
        if self.found["seconds"] > self._max_seconds and not self.out_of_time:
            self.out_of_time = True
            signal.raise_signal(signal.SIGTERM)  # the trainer ends as it does for anybody: after a checkpoint
        if time.monotonic() - self._told_at > TELL_EVERY_SECONDS:
            self._told_at = time.monotonic()
            tell(self._pipe, {"step": record["step"], "num_steps": self.found["num_steps"]})

    def evaluated(self, record: Mapping[str, Any]) -> None: ...

    def saved(self, path: Path) -> None:
        """Writes down what was spent up to here."""
        self.found["peak_bytes"] = max(self.found.get("peak_bytes") or 0, peak_bytes() or 0) or None
        self._run.write_json(RESULT, self.found)

    def preparing(self, name: str, done: int, total: int) -> None: ...


def work(job: Job, pipe: Connection) -> None:
    """Makes the run, in this process; its result is in the folder afterwards, and is told through the pipe."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TEXTFER_CACHE"] = str(job.cache)
    torch.set_num_threads(job.num_threads)
    run = Run(job.folder)
    run.create()
    _talk_to(job.folder / LOG)
    found = kept(job.folder)
    try:
        found |= {"state": "begun", "reason": ""}
        for module in job.imports:
            importlib.import_module(module)
        _made(job, run, pipe, found)
    except ConfigError as error:
        found |= {"state": "impossible", "reason": str(error)}
    except TextferError as error:
        found |= {"state": "failed", "reason": str(error)}
    except Exception as error:
        traceback.print_exc()
        line = " ".join(str(error).split())
        found |= {"state": "failed", "reason": f"{type(error).__name__}: {line} (see {job.folder / LOG})"}
    found["cpu_seconds"] = found.get("cpu_seconds", 0.0) + time.process_time()
    run.write_json(RESULT, found)
    tell(pipe, {"state": found["state"]})


def _made(job: Job, run: Run, pipe: Connection, found: dict[str, Any]) -> None:
    if not found.get("trained") and job.vectors is not None:
        found |= {"trained": True, **_learnt(job, job.vectors)}
    elif not found.get("trained"):
        watch = Watch(run, pipe, found, job.max_seconds)
        summary = run_train(job.recipe, job.folder, display=watch, data_dir=job.data_dir)
        assert summary is not None
        if summary.stopped_by and not watch.out_of_time:
            found["state"] = "stopped"
            return
        found["trained"] = True
        run.write_json(RESULT, found)
    for asked in job.measures:
        if asdict(asked) not in [one["asked"] for one in found.get("scores", [])]:
            tell(pipe, {"measuring": asked.task})
            found["scores"] = [*found.get("scores", []), _measured(job, asked)]
            run.write_json(RESULT, found)
    found["state"] = "done"


def _learnt(job: Job, options: CbowOptions) -> dict[str, Any]:
    """Learns word vectors of the recipe's texts into the run's folder, and says what that took."""
    assert job.recipe.tokenizer is not None, "a first stage has a vocabulary"
    tokenizer = load_tokenizer(job.recipe.tokenizer.path)
    examples = (
        example
        for name in task_names(job.recipe.data.tasks)
        for example in islice(iter_examples(find_task(name), "train", data_dir=job.data_dir), job.recipe.data.limit)
    )
    texts = [text for example in examples for text in (example.inputs, example.targets) if text]
    begun = time.monotonic()
    model = train_pieces(texts, tokenizer, options)
    seconds = time.monotonic() - begun
    model.save(job.folder)
    tokenizer.save(job.folder / "tokenizer")
    size = model.embedding.weight.numel()
    return {
        "parameters": size,
        "trainable": size,
        "seconds": seconds,
        "step": options.epochs,
        "num_steps": options.epochs,
        "peak_bytes": peak_bytes(),
    }


def _measured(job: Job, asked: Measure) -> dict[str, Any]:
    """The scores of the run's best checkpoint on one task, and those of a constant answer."""
    task = find_task(asked.task)
    check_marked(task)
    how = asked.how
    if how != "generate":
        examples = load_labelled(task, asked.split, data_dir=job.data_dir, limit=asked.limit)
        how = how if choice_lists(task, examples) else "generate"
    request = Request(
        tasks={asked.task: task},
        split=asked.split,
        limit=asked.limit,
        answering=Answering(how=how, decoding=job.recipe.eval.decoding),
        data_dir=job.data_dir,
        out=job.folder / "answers",
        num_samples=0,
    )
    line = measure(checkpoints_of(str(job.folder)), request).lines[0]
    return {
        "asked": asdict(asked),
        "scores": {name: value if math.isfinite(value) else None for name, value in line.scores.items()},
        "baseline": {name: value if math.isfinite(value) else None for name, value in line.baseline.items()},
        "constant": line.constant,
        "num_examples": line.report.num_examples,
        "answered": line.answered,
    }


def kept(folder: Path) -> dict[str, Any]:
    """What is known of the run in that folder; nothing where it was never begun, or its file is damaged."""
    try:
        return read_toml(folder / RESULT)
    except ConfigError:
        return {}


def tell(pipe: Connection, message: Mapping[str, Any]) -> None:
    """Sends a message; nobody may be listening any more."""
    with contextlib.suppress(OSError):
        pipe.send(dict(message))


def peak_bytes() -> int | None:
    """The most memory that this process has held: of the GPU where one is in use. None where nobody counts."""
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return int(used)
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return None
    peak = getrusage(RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _end_with_parent() -> None:
    """Stops this process, after a checkpoint, when the one that started it is gone."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


def _talk_to(path: Path) -> None:
    """Sends what libraries print to a file: several processes share one terminal."""
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in (1, 2):
        os.dup2(file, number)
    os.close(file)
