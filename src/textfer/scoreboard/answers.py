"""Answers on disk, one line each as they are made, so that a stopped evaluation goes on where it was.

The first line tells what they are answers to, and its digest; when anything of that changes, the file begins anew.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, final

from textfer.batch import Example
from textfer.data.task import Task
from textfer.errors import DataError
from textfer.evaluate import Answering, Made, answer_each
from textfer.generate import Predictor
from textfer.read import HeadPredictor
from textfer.training.checkpoint import saving


def digest_of(facts: Mapping[str, Any]) -> str:
    """sha256 (hex) of all that decides the answers."""
    return sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def file_name(text: str) -> str:
    """The text as a name that every file system takes."""
    return re.sub(r"[^\w.@-]+", "_", text).strip("_.") or "_"


def write_whole(path: Path, text: str) -> None:
    """Writes a file, whole or not at all. Errors: MachineError."""
    work = path.with_name(f".{path.name}.part")
    with saving(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        work.write_text(text, encoding="utf-8")
        os.replace(work, path)


@final
class AnswerLog:
    """The answers to one task's examples by one model; None as path keeps nothing."""

    def __init__(self, path: Path | None, facts: Mapping[str, Any]) -> None:
        self._path = path
        self._facts = {"digest": digest_of(facts), **facts}
        self._end = 0

    def kept(self) -> dict[int, Made]:
        """{number of the example: what was made of it} from before; empty when they were answers to something else.

        A last line that was cut off is dropped. Errors: DataError for a damaged line before it.
        """
        found: dict[int, Made] = {}
        self._end = 0
        if self._path is None or not self._path.exists():
            return found
        with saving(self._path), self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                record = self._record(line, number)
                if number == 1 and record.get("digest") != self._facts["digest"]:
                    return {}
                if number > 1:
                    found[int(record["example"])] = Made(
                        str(record["text"]),
                        tuple(record.get("log_probs", ())),
                        record.get("no_answer"),
                        record.get("share"),
                    )
                self._end += len(line)
        return found

    @contextmanager
    def open(self) -> Iterator[AnswerLog]:
        """Ready for more answers, after those that `kept` found. Errors: MachineError where it cannot be written."""
        self._file = None
        if self._path is None:
            yield self
            return
        if self._end == 0:
            write_whole(self._path, json.dumps(self._facts, ensure_ascii=False, default=str) + "\n")
            self._end = self._path.stat().st_size
        with saving(self._path), self._path.open("r+b") as self._file:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            yield self

    def add(self, number: int, made: Made) -> None:
        """Writes one answer, at once."""
        if self._file is not None:
            record: dict[str, Any] = {"example": number, "text": made.text}
            if made.log_probs:
                record["log_probs"] = list(made.log_probs)
            if made.no_answer is not None:
                record["no_answer"] = made.no_answer
            if made.share is not None:
                record["share"] = made.share
            self._file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            self._file.flush()

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record = dict(json.loads(line))
            if number > 1:
                _ = record["example"], record["text"]
        except (ValueError, TypeError, KeyError):
            raise DataError(f"{self._path}:{number}: not an answer of an evaluation. Delete the file.") from None
        return record


def answers_of(
    log: AnswerLog,
    predictor: Callable[[], Predictor | HeadPredictor],
    task: Task,
    examples: Sequence[Example],
    answering: Answering,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Made]:
    """One answer an example: those kept from before, and the others now, kept as they are made.

    The predictor is asked for only when something is left to answer. `on_progress` takes (done, in all).
    """
    found = {number: made for number, made in log.kept().items() if number < len(examples)}
    left = [number for number in range(len(examples)) if number not in found]
    if left:
        ready = predictor()
        with log.open():
            for place, made in answer_each(ready, task, [examples[number] for number in left], answering):
                found[left[place]] = made
                log.add(left[place], made)
                if on_progress is not None:
                    on_progress(len(found), len(examples))
    return [found[number] for number in range(len(examples))]
