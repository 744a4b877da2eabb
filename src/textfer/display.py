"""What a person sees of a run: an outline before, a bar during, one row an evaluation. All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from textfer.run import Outline

LINE_EVERY_SECONDS = 30.0
FILE_WIDTH = 160
"""Characters a line where nobody's window decides: nothing is folded or cut in a log."""
SPEED_WINDOW_STEPS = 20
MIN_SHOWN = 0.001
"""Lower rates are shown by their power of ten."""


@final
class Terminal:
    """A bar with ETA, tokens/s, loss and learning rate; plain lines where there is no terminal."""

    def __init__(self, *, quiet: bool = False) -> None:
        width = None if sys.stderr.isatty() else FILE_WIDTH
        self.console = Console(stderr=True, quiet=quiet, highlight=False, width=width)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._train: TaskID | None = None
        self._prepare: dict[str, TaskID] = {}
        self._recent: deque[tuple[float, int]] = deque(maxlen=SPEED_WINDOW_STEPS)
        self._note: dict[str, float] = {}
        self._num_steps = 0
        self._line_at = 0.0

    def __enter__(self) -> Terminal:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def preparing(self, name: str, done: int, total: int) -> None:
        """Rows of a task that are in ids."""
        if name not in self._prepare:
            self._prepare[name] = self._progress.add_task(f"prepare {name}", total=total, note="rows")
        self._progress.update(self._prepare[name], completed=done, visible=done < total)

    def outlined(self, outline: Outline) -> None:
        """The table of tasks and the machine."""
        where = f"{outline.device}, {outline.dtype}, {outline.num_parameters:,} parameters"
        if outline.num_trainable != outline.num_parameters:
            where += f" ({outline.num_trainable:,} trainable)"
        self.console.print(f"{where}; {outline.num_steps:,} steps of {outline.batch_size} rows")
        if outline.weights:
            after = f" after step {outline.resumed_step:,}" if outline.resumed_step is not None else ""
            self.console.print(f"weights from {outline.weights}{after}")
        table = Table(box=None, pad_edge=False)
        names = ["task", "examples", "rate", "epochs", "tokens heard", "cut inputs", "cut targets", "skipped"]
        removed = any(task.num_removed for task in outline.tasks)
        for name in [*names, "removed"] if removed else names:
            table.add_column(name, justify="left" if name == "task" else "right", overflow="fold")
        for task in outline.tasks:
            counts = (task.cut_inputs, task.cut_targets, task.num_skipped, *([task.num_removed] if removed else []))
            rate = f"{task.rate:.4f}" if task.rate >= MIN_SHOWN else f"{task.rate:.1e}"
            numbers = f"{task.num_examples:,}", rate, f"{task.epochs:.2f}", f"{task.run_tokens:,}"
            table.add_row(task.name, *numbers, *(f"{count:,}" for count in counts))
        if len(outline.tasks) > 1:
            whole = [sum(getattr(task, name) for task in outline.tasks) for name in ("num_examples", "run_tokens")]
            table.add_row(f"{len(outline.tasks)} tasks", f"{whole[0]:,}", "1.0000", "", f"{whole[1]:,}")
        self.console.print(table)
        if outline.examples_a_row > 1:
            self.console.print(f"packed: about {outline.examples_a_row:.1f} examples a row, by the first block")
        if outline.no_held_out:
            self.console.print(f"[yellow]no such split, so not in log_prob: {', '.join(outline.no_held_out)}[/]")
        cut = sum(task.cut_inputs + task.cut_targets for task in outline.tasks)
        if cut:
            lens = f"inputs_len {outline.inputs_len} or targets_len {outline.targets_len}"
            self.console.print(f"[yellow]{cut:,} texts are longer than {lens} and lose their end.[/]")

    def started(self, step: int, num_steps: int) -> None:
        """The loop begins."""
        self._num_steps = num_steps
        for task in self._prepare.values():
            self._progress.update(task, visible=False)
        self._train = self._progress.add_task("train", total=num_steps, completed=step, note="")

    def stepped(self, record: Mapping[str, Any]) -> None:
        """One optimiser step."""
        self._recent.append((record["seconds"], record["tokens"]))
        self._note |= {key: record[key] for key in ("loss", "lr") if key in record}
        speed = sum(tokens for _, tokens in self._recent) / max(1e-9, sum(seconds for seconds, _ in self._recent))
        note = f"{speed:,.0f} tokens/s"
        if "loss" in self._note:
            note += f"  loss {self._note['loss']:.4f}  lr {self._note['lr']:.2e}"
        if self._train is not None:
            self._progress.update(self._train, completed=record["step"], note=note)
        if not self.console.is_terminal and "loss" in record and time.monotonic() - self._line_at > LINE_EVERY_SECONDS:
            self._line_at = time.monotonic()
            self.console.print(f"step {record['step']:,}/{self._num_steps:,}  {note}")

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """One aligned row."""
        scores = "  ".join(f"{name} {value:8.3f}" for name, value in record["eval"].items())
        loss = f"  loss {self._note['loss']:8.4f}" if "loss" in self._note else ""
        self.console.print(f"step {record['step']:>9,}{loss}  {scores}")

    def saved(self, path: Path) -> None:
        """A checkpoint is whole."""
        if self.console.is_terminal:
            self._note.pop("saved", None)
