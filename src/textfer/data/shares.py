"""What a mixture comes to: examples, rate, expected epochs and tokens of each task, at a given budget.

Nothing is prepared and no hub is asked. A task whose rows are in the data folder counts these; another one counts the
rows that were published, and says so. Tokens come from the token table where one is cached, and are else estimated from
the first rows: with a vocabulary by cutting them, without one by their characters.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from textfer.batch import Example
from textfer.data.mixing import Mixing, mixing_rates
from textfer.data.named import find_task, task_names
from textfer.data.source import Rows, open_rows
from textfer.data.task import Task
from textfer.data.tokens import RowChoice, examples_of, is_made, open_table, table_path
from textfer.errors import DataError
from textfer.tokenizers import Tokenizer

Counted: TypeAlias = Literal["examples", "rows", "published", "unknown"]
"""What a task's number is: examples of a cached table, rows on disk, published rows, or nothing."""
Measured: TypeAlias = Literal["cached", "estimated", "characters", ""]
"""Where a task's tokens come from: a cached table, its first rows cut, their characters; or from nowhere."""
SPLIT = "train"
ROWS_READ = 100
"""Rows that stand for a task when its tokens are estimated."""
CHARACTERS_A_TOKEN = 4.2
"""English text in T5's vocabulary, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One task's part in a mixture."""

    task: str
    examples: int
    counted: Counted
    rate: float
    """0 where nothing is known of the task."""
    epochs: float | None
    """How often each example is expected to be heard; None without a budget."""
    tokens: float | None
    """Tokens expected to be heard, both sides and end marks; None without a budget or where nothing tells."""
    measured: Measured


def where_found(task: Task, data_dir: Path | None = None) -> str:
    """Where a task's rows would come from now: `made`, `files`, `data folder`, `hub cache`; empty = nowhere yet."""
    source = task.source
    if source.made is not None:
        return "made"
    if source.files:
        return "files"
    root = data_dir or (Path(os.environ["TEXTFER_DATA"]) if os.environ.get("TEXTFER_DATA") else None)
    places = [source.folder, f"{source.name}/{source.config}"] if source.folder else [f"{source.name}/{source.config}"]
    if root is not None and any((root / place).is_dir() for place in places):
        return "data folder"
    return "hub cache" if (_hub_cache() / f"datasets--{source.name.replace('/', '--')}").is_dir() else ""


def shares(
    name: str,
    mixing: Mixing,
    *,
    data_dir: Path | None = None,
    tokenizer: Tokenizer | None = None,
) -> list[Share]:
    """A row for each task of a mixture, the most heard first; `mixing.budget` is in examples.

    **Errors**: DataError where nothing is known of any task; ConfigError as `mixing_rates`.
    """
    found = {task: _Found(find_task(task), data_dir, tokenizer) for task in task_names([name])}
    known = [task for task, one in found.items() if one.examples]
    if not known:
        raise DataError(f"mixture '{name}': no task has rows here or a published size. Give --data DIR.")
    rates = known_rates(name, known, {task: found[task].examples for task in known}, mixing)
    rows = []
    for task, one in found.items():
        rate = rates.get(task, 0.0)
        heard = None if mixing.budget is None or not one.examples else mixing.budget * rate
        each, measured = one.tokens() if heard is not None else (None, "")
        rows.append(
            Share(
                task=task,
                examples=one.examples,
                counted=one.counted,
                rate=rate,
                epochs=None if heard is None else heard / one.examples,
                tokens=None if heard is None or each is None else heard * each,
                measured=measured,
            )
        )
    return sorted(rows, key=lambda row: (-row.rate, row.task))


def known_rates(name: str, known: Sequence[str], examples: dict[str, int], mixing: Mixing) -> dict[str, float]:
    """{task: rate} of the tasks of a mixture of which a number of examples is known; the others are left out."""
    every = mixing_rates([name], lambda task: examples.get(task, 1), mixing)
    total = sum(every[task] for task in known)
    return {task: every[task] / total for task in known}


class _Found:
    """What can be known of a task without preparing it."""

    def __init__(self, task: Task, data_dir: Path | None, tokenizer: Tokenizer | None) -> None:
        self._task, self._tokenizer, self._rows = task, tokenizer, _rows(task, data_dir)
        self._table = None
        self.examples = task.sizes.get(SPLIT, 0)
        self.counted: Counted = "published" if self.examples else "unknown"
        if self._rows is not None:
            self.examples, self.counted = len(self._rows), "rows"
            if tokenizer is not None:
                path = table_path(task, self._rows, tokenizer, RowChoice(data_dir=data_dir))
                if is_made(path):
                    self._table = open_table(path)
                    self.examples, self.counted = len(self._table), "examples"

    def tokens(self) -> tuple[float | None, Measured]:
        """(tokens of an example, where that is known from)"""
        if self._table is not None:
            total = self._table.num_tokens("inputs") + self._table.num_tokens("targets")
            return total / len(self._table) + 2, "cached"
        if self._rows is None:
            return None, ""
        some = list(islice(self._some(self._rows), ROWS_READ))
        if not some:
            return None, ""
        texts = [text for one in some for text in (one.inputs, one.targets)]
        if self._tokenizer is None:
            return sum(map(len, texts)) / CHARACTERS_A_TOKEN / len(some) + 2, "characters"
        return sum(map(len, self._tokenizer.encode_many(texts))) / len(some) + 2, "estimated"

    def _some(self, rows: Rows) -> list[Example]:
        try:
            return [one for _, one in examples_of(self._task, rows, stop=ROWS_READ)]
        except DataError:  # `doctor data` is for bad rows
            return []


def _rows(task: Task, data_dir: Path | None) -> Rows | None:
    """The rows of the train split if they are at hand."""
    if where_found(task, data_dir) not in ("made", "files", "data folder"):
        return None
    try:
        return open_rows(task.source, SPLIT, data_dir=data_dir)
    except DataError:
        return None


def _hub_cache() -> Path:
    """Where `huggingface_hub` keeps what it has fetched."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or base / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
