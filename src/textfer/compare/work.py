"""All runs of a comparison, several at a time, each in a process of its own; runs that are finished are left alone."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, final

from textfer.compare.cell import Job, kept, work
from textfer.compare.file import Vocabulary
from textfer.compare.plan import Cell, Measure, Stage, runs_of
from textfer.data.digest import cache_dir
from textfer.data.preparing import num_cores
from textfer.data.source import open_rows
from textfer.errors import MachineError
from textfer.evaluate import iter_examples
from textfer.models import MODELS
from textfer.recipe import find_task, task_names
from textfer.tokenizers.training import train_sentencepiece
from textfer.training.process import Signals

PRELOAD = ("textfer.compare.cell", "torch._dynamo")
"""Modules that every run needs: the second is imported by torch's optimisers, which takes longer than a small run."""
TURN_SECONDS = 0.5
TELL_EVERY_SECONDS = 30.0
Result = Mapping[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """How the runs are made."""

    num_jobs: int = 1
    """Runs at a time."""
    data_dir: Path | None = None
    imports: tuple[str, ...] = ()
    """Modules that know the recipes' tasks and other parts."""
    say: Say = lambda line: None
    """Takes a line for the user now and then."""

    @property
    def num_threads(self) -> int:
        """Each run's share of the cores, or of OMP_NUM_THREADS where that is set."""
        given = os.environ.get("OMP_NUM_THREADS", "")
        return max(1, (int(given) if given.isdecimal() else num_cores()) // self.num_jobs)


def learn_vocabulary(section: Vocabulary, folder: Path, *, data_dir: Path | None, say: Say) -> None:
    """Learns the comparison's vocabulary unless it lies there."""
    if (folder / "training.json").exists():
        return
    examples = islice(iter_examples(find_task(section.task), "train", data_dir=data_dir), section.max_rows)
    texts = (text for example in examples for text in (example.inputs, example.targets) if text)
    report = train_sentencepiece(texts, folder, section.learnt)
    say(f"vocabulary: {report.num_pieces:,} pieces from {report.num_chars:,} characters, {report.seconds:.1f} s")


def make_runs(
    cells: Sequence[Cell], machine: Machine, on_result: Callable[[Mapping[str, Result]], None]
) -> tuple[dict[str, Result], str | None]:
    """({digest: result} of all runs, the signal that ended it early). Finished runs are not begun again.

    `on_result` is called with what is known whenever something more is. Errors: those of a machine without processes.
    """
    runs, measures = runs_of(cells), _measures_of(cells)
    found: dict[str, Result] = {
        digest: {**result, "state": "done"}
        for digest, stage in runs.items()
        if finished(result := kept(stage.folder), measures[digest])
    }
    on_result(found)
    left = [digest for digest in runs if digest not in found]
    if not left:
        return found, None
    first = {stage.recipe.model["name"] for stage in runs.values() if stage.recipe.model.get("name")}
    workers = _Workers(machine, sorted({MODELS.get(name).__module__ for name in first}))
    with Signals() as signals:
        try:
            while (left or workers.running) and signals.caught is None:
                left = _begin(left, runs, measures, found, workers)
                for digest, exit_code in workers.ended():
                    found[digest] = _outcome(kept(runs[digest].folder), exit_code)
                    machine.say(_line(runs[digest], found[digest], len(found), len(runs)))
                    on_result(found)
        finally:
            workers.stop()
        return found, signals.caught


def check_data(cells: Sequence[Cell], *, data_dir: Path | None) -> None:
    """Opens the rows that are still to be read: what is missing is said before the first run, not hours into it.

    **Errors**: DataError, or MachineError without the hub, as `open_rows`.
    """
    wanted: set[tuple[str, str]] = set()
    measures = _measures_of(cells)
    for digest, stage in runs_of(cells).items():
        result, recipe = kept(stage.folder), stage.recipe
        if not result.get("trained"):
            wanted |= {(task, recipe.data.split) for task in task_names(recipe.data.tasks)}
            wanted |= {(task, recipe.eval.split) for task in recipe.eval.tasks}
        if not finished(result, measures[digest]):
            wanted |= {(one.task, one.split) for one in measures[digest]}
    for name, split in sorted(wanted):
        open_rows(find_task(name).source, split, data_dir=data_dir)


def _measures_of(cells: Sequence[Cell]) -> dict[str, list[Measure]]:
    """{digest: what is asked of it} of all runs."""
    measures: dict[str, list[Measure]] = {digest: [] for digest in runs_of(cells)}
    for cell in cells:
        if not cell.reason:
            asked = measures[cell.stages[-1].digest]
            asked += [one for one in cell.measures if one not in asked]
    return measures


def finished(result: Result, measures: Sequence[Measure]) -> bool:
    """Whether a run is trained and all that is asked of it was measured."""
    told = [one["asked"] for one in result.get("scores", [])]
    return bool(result.get("trained")) and all(asdict(one) in told for one in measures)


def _begin(
    left: Sequence[str],
    runs: Mapping[str, Stage],
    measures: Mapping[str, Sequence[Measure]],
    found: dict[str, Result],
    workers: _Workers,
) -> list[str]:
    """Starts what can be started; what is still left. A run whose beginning cannot be cannot be either."""
    waiting = []
    for digest in left:
        before = runs[digest].before
        state = found[before.digest]["state"] if before is not None and before.digest in found else None
        if before is not None and state is not None and not found[before.digest].get("trained"):
            reason = f"{before.name}: {found[before.digest]['reason']}"
            found[digest] = {"state": state, "reason": reason}
        elif workers.free and (before is None or state is not None):
            workers.start(digest, runs[digest], measures[digest])
        else:
            waiting.append(digest)
    return waiting


def _outcome(result: dict[str, Any], exit_code: int | None) -> Result:
    """The result as it was written, or what is known of a process that wrote none."""
    if exit_code:
        killed = f"by signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"
        hint = " (out of memory?)" if exit_code == -9 else ""
        return {**result, "state": "failed", "reason": f"its process was ended {killed}{hint}"}
    return result


def _line(stage: Stage, result: Result, num_done: int, num_runs: int) -> str:
    scores = [f"{one['asked']['task']} {_lead(one['scores'])}" for one in result.get("scores", [])]
    told = ", ".join(scores) if result["state"] == "done" else result.get("reason", "")
    spent = f"{result['seconds']:.1f} s" if result.get("seconds") is not None else ""
    parts = [f"[{num_done}/{num_runs}]", stage.folder.name, str(result["state"]), spent, told]
    return "  ".join(part for part in parts if part)


def _lead(scores: Mapping[str, float | None]) -> str:
    name, value = next(iter(scores.items()))
    return f"{name} –" if value is None else f"{name} {value:.2f}"


@final
class _Workers:
    """Processes at work, forked from one that has imported torch already where the system can do that."""

    def __init__(self, machine: Machine, models: Iterable[str]) -> None:
        """`models`: modules that the runs will need."""
        self._machine = machine
        self._threads = machine.num_threads
        way = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self._context: Any = multiprocessing.get_context(way)
        if way == "forkserver":
            self._context.set_forkserver_preload([*PRELOAD, *models])
        self.running: dict[Connection, tuple[str, Any]] = {}
        self._at: dict[str, str] = {}
        self._told_at = time.monotonic()

    @property
    def free(self) -> int:
        """How many more may run."""
        return self._machine.num_jobs - len(self.running)

    def start(self, digest: str, stage: Stage, measures: Sequence[Measure]) -> None:
        """Begins a run, or goes on with it."""
        job = Job(
            folder=stage.folder,
            recipe=stage.recipe,
            measures=tuple(measures),
            num_threads=self._threads,
            data_dir=self._machine.data_dir,
            max_seconds=stage.max_seconds,
            vectors=stage.vectors,
            cache=cache_dir(),
            imports=(*self._machine.imports, *stage.recipe.imports),
        )
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=work, args=(job, theirs), name=stage.folder.name)
        try:
            process.start()
        except OSError as error:
            raise MachineError(f"compare: a process cannot be started ({error.strerror}). Lower --jobs.") from None
        theirs.close()
        self.running[ours] = digest, process

    def ended(self) -> list[tuple[str, int | None]]:
        """(digest, exit code) of the runs whose process has ended, after a moment's wait for one."""
        found = []
        for pipe in wait(list(self.running), timeout=TURN_SECONDS):
            assert isinstance(pipe, Connection)
            digest, process = self.running[pipe]
            try:
                self._note(process.name, pipe.recv())
            except (EOFError, OSError):  # its end is closed: it has ended
                process.join()
                pipe.close()
                del self.running[pipe]
                self._at.pop(process.name, None)
                found.append((digest, process.exitcode))
        return found

    def _note(self, name: str, message: Mapping[str, Any]) -> None:
        """Remembers how far a run is, and says so now and then."""
        if "step" in message:
            self._at[name] = f"{name} {message['step']:,}/{message['num_steps']:,}"
        elif "measuring" in message:
            self._at[name] = f"{name} answers {message['measuring']}"
        if self._at and time.monotonic() - self._told_at > TELL_EVERY_SECONDS:
            self._told_at = time.monotonic()
            self._machine.say("  at work: " + ", ".join(self._at.values()))

    def stop(self) -> None:
        """Has what still runs save and end, and waits for it."""
        for _, process in self.running.values():
            process.terminate()
        for pipe, (_, process) in self.running.items():
            process.join()
            pipe.close()
        self.running.clear()
