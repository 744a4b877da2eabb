"""Token tables of many tasks at once: those that are missing are made by several processes.

A worker is this module run by itself, so that it shares no thread, lock or open file with whoever starts it. It reads
jobs from stdin and tells how far it is on stdout, one JSON object a line. A table counts only when it is whole
(`tokens`), so a worker may be stopped at any time.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeAlias, final

from textfer import errors
from textfer.data.digest import cache_dir
from textfer.data.named import find_task
from textfer.data.shards import install_table, shards_dir
from textfer.data.source import open_rows
from textfer.data.tokens import RowChoice, TokenTable, is_made, open_table, prepare, table_path
from textfer.errors import MachineError, TextferError
from textfer.tokenizers import Tokenizer, load_tokenizer

MIN_ROWS = 20_000
"""With fewer rows to prepare, starting processes would take longer than the work."""
Progress: TypeAlias = Callable[[str, int, int], None]
Message: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A table to be made."""

    name: str
    """As the user wrote it: a task or a file."""
    path: Path
    num_rows: int


def prepare_all(
    names: Sequence[str],
    split: str,
    tokenizer: Tokenizer,
    choice: RowChoice,
    *,
    imports: Sequence[str] = (),
    on_progress: Progress | None = None,
) -> dict[str, TokenTable]:
    """{name: its token table}, in order: from the cache, or made now, by several processes where it is much.

    With `$TEXTFER_TOKENS` they come from that folder, and no rows are read.

    `on_progress(name, rows done, rows in all)` is called in this thread; `imports` are modules that know the names.
    **Errors**: the first of any task, after all work has been stopped; as `prepare`.
    """
    if (folder := shards_dir()) is not None:
        found = {name: install_table(folder, find_task(name), split, tokenizer, choice) for name in names}
        return {name: open_table(path) for name, path in found.items()}
    paths: dict[str, Path] = {}
    missing: list[Job] = []
    for name in names:
        task = find_task(name)
        rows = open_rows(task.source, split, data_dir=choice.data_dir)
        paths[name] = table_path(task, rows, tokenizer, choice)
        if not is_made(paths[name]):
            num_rows = len(rows) if choice.limit is None else min(choice.limit, len(rows))
            missing.append(Job(name=name, path=paths[name], num_rows=num_rows))
    missing.sort(key=lambda job: -job.num_rows)
    num_workers = min(len(missing), num_cores())
    left = missing
    if num_workers > 1 and sum(job.num_rows for job in missing) >= MIN_ROWS:
        setup: Message = {"split": split, "limit": choice.limit, "on_bad": choice.on_bad, "imports": list(imports)}
        setup |= {"without": choice.without, "without_by": choice.without_by}
        setup["data_dir"] = str(choice.data_dir.resolve()) if choice.data_dir else None
        left = _by_workers(missing, num_workers, setup, tokenizer, on_progress)
    for job in left:
        told = _named(on_progress, job.name)
        prepare(find_task(job.name), split, tokenizer, choice, on_progress=told)
    return {name: open_table(path) for name, path in paths.items()}


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _named(on_progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    return None if on_progress is None else lambda done, total: on_progress(name, done, total)


def _by_workers(
    jobs: Sequence[Job], num_workers: int, setup: Message, tokenizer: Tokenizer, on_progress: Progress | None
) -> list[Job]:
    """Has the jobs done; returns those that no worker could do, because it does not know the task or the vocabulary."""
    waiting: SimpleQueue[Job] = SimpleQueue()
    for job in jobs:
        waiting.put(job)
    told: SimpleQueue[Message] = SimpleQueue()
    left: list[Job] = []
    by_name = {job.name: job for job in jobs}
    with tempfile.TemporaryDirectory(prefix="textfer-") as folder:
        tokenizer.save(Path(folder))
        workers = [Worker({**setup, "tokenizer": folder, "cache": str(cache_dir())}) for _ in range(num_workers)]
        threads = [Thread(target=worker.serve, args=(waiting, told), daemon=True) for worker in workers]
        try:
            for thread in threads:
                thread.start()
            running = num_workers
            while running:
                message = told.get()
                kind = message["is"]
                if kind == "done" and on_progress:
                    on_progress(message["name"], message["done"], message["total"])
                elif kind == "unknown":
                    left.append(by_name[message["name"]])
                elif kind == "failed":
                    raise _error(message)
                running -= kind == "ended"
        finally:
            for worker in workers:
                worker.stop()
    return left


def _error(message: Mapping[str, Any]) -> TextferError:
    kinds: list[type[TextferError]] = [errors.ConfigError, errors.DataError, errors.CheckpointError]
    kind = next((kind for kind in kinds if kind.__name__ == message["kind"]), MachineError)
    return kind(message["text"])


@final
class Worker:
    """A process that makes tables."""

    def __init__(self, setup: Message) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-m", "textfer.data.preparing"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8"
        )
        self._setup = setup

    def serve(self, waiting: SimpleQueue[Job], told: SimpleQueue[Message]) -> None:
        """Has jobs done until none is waiting, and passes on what the process says."""
        try:
            self._say(self._setup)
            while True:
                job = waiting.get_nowait()
                self._say({"name": job.name, "path": str(job.path)})
                while (message := self._heard(job.name))["is"] == "done":
                    told.put(message)
                told.put(message)
                if message["is"] == "failed":
                    return
        except Empty:
            pass
        except OSError:
            told.put(self._lost("a table"))
        finally:
            told.put({"is": "ended"})

    def stop(self) -> None:
        """Ends the process, which first clears away what is not whole."""
        with suppress(OSError):
            self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()

    def _say(self, message: Message) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _heard(self, name: str) -> Message:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        message: Message = json.loads(line) if line else self._lost(name)
        return message

    def _lost(self, name: str) -> Message:
        code = self._process.poll()
        text = f"{name}: the process that prepared it has ended (code {code}). Is there enough memory? Try again."
        return {"is": "failed", "kind": "MachineError", "text": text}


# ---- the other side: what a worker does


def work(lines: Iterator[str], say: Callable[[Message], None]) -> None:
    """Makes the tables that `lines` ask for, the first of which is the setup."""
    setup = json.loads(next(lines))
    for module in setup["imports"]:
        importlib.import_module(module)
    tokenizer = load_tokenizer(setup["tokenizer"])
    data_dir = Path(setup["data_dir"]) if setup["data_dir"] else None
    choice = RowChoice(
        data_dir=data_dir,
        limit=setup["limit"],
        on_bad=setup["on_bad"],
        without=tuple(setup["without"]),
        without_by=setup["without_by"],
    )
    cache = Path(setup["cache"])
    for line in lines:
        job = json.loads(line)
        try:
            say(_made(job, setup["split"], tokenizer, choice, cache=cache, say=say))
        except TextferError as error:
            say({"is": "failed", "kind": type(error).__name__, "text": str(error)})


def _made(
    job: Message, split: str, tokenizer: Tokenizer, choice: RowChoice, *, cache: Path, say: Callable[[Message], None]
) -> Message:
    name = job["name"]
    try:
        task = find_task(name)
    except TextferError:  # the parent knows it: a task that was registered by hand
        return {"is": "unknown", "name": name}
    path = table_path(task, open_rows(task.source, split, data_dir=choice.data_dir), tokenizer, choice, cache=cache)
    if path != Path(job["path"]):
        return {"is": "unknown", "name": name}

    def told(done: int, total: int) -> None:
        say({"is": "done", "name": name, "done": done, "total": total})

    prepare(task, split, tokenizer, choice, cache=cache, on_progress=told)
    return {"is": "made", "name": name}


@contextmanager
def _own_stdout() -> Iterator[Callable[[Message], None]]:
    """Says messages on stdout, where nothing else gets any more: what libraries print goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def say(message: Message) -> None:
            out.write(json.dumps(message) + "\n")
            out.flush()

        yield say


def main() -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to stop
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an exception, so that half a table is cleared away
    with suppress(BrokenPipeError), _own_stdout() as say:
        work(iter(sys.stdin.readline, ""), say)


if __name__ == "__main__":
    main()
