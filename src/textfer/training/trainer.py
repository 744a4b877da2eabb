"""The only training loop.

The loss of a step is the sum over all its target tokens, in every micro-batch and process, divided once by their count:
32 rows give the same gradient as 4 × 8 rows or two processes with 16.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from textfer.batch import Batch
from textfer.config import Options
from textfer.data.stream import Cursor, Stream, prefetched
from textfer.draws import address
from textfer.errors import CheckpointError, NotFiniteError
from textfer.training.checkpoint import Run, load_optimizer, optimizer_tensors, read_state
from textfer.training.distributed import World
from textfer.training.loss import cross_entropy
from textfer.training.optim import OptimOptions, lr_at, make_optimizer

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
SAMPLE_ORIGINS = 8


class TrainOptions(Options):
    """How long, how large, how often."""

    num_steps: int = Field(gt=0)
    """Optimiser steps."""
    batch_size: int = Field(32, gt=0)
    """Rows of one optimiser step, over all processes."""
    micro_batch_size: int | None = Field(None, gt=0)
    """Rows of one forward pass of one process; smaller needs less memory and changes nothing else."""
    z_loss: float = Field(0.0, ge=0)
    """Weight of log²Z."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of activations; weights stay float32. auto = bfloat16 on devices that have it in hardware, else float32."""
    compile: bool = False
    """torch.compile the step."""
    log_every: int = Field(10, gt=0)
    """Steps between two lines of metrics.jsonl."""
    eval_every: int | None = Field(None, gt=0)
    """Steps between two evaluations; None = at the end only."""
    save_every: int | None = Field(None, gt=0)
    """Steps between two checkpoints; None = at evaluations and at the end."""
    save_every_seconds: float | None = Field(None, gt=0)
    """Also save when the last checkpoint is this old."""
    keep: int = Field(1, gt=0)
    """Newest checkpoints kept, beside the best."""
    tensorboard: bool = False
    """Write TensorBoard events into the run folder (extra `log`)."""
    optimizer: OptimOptions = OptimOptions()


class Trainable(Protocol):
    """What `fit` trains: a module with target states and a readout, and a way to save itself."""

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]: ...

    def readout(self) -> tuple[Tensor, Tensor | None]: ...

    def save(self, folder: Path) -> None: ...


class Watcher(Protocol):
    """Who is told what happens (a progress bar, a log), and who measures when it is time."""

    def evaluate(self, step: int) -> dict[str, float]:
        """Scores of the model as it is; the first decides what is best (higher is better). Empty = none."""
        ...

    def started(self, step: int, num_steps: int) -> None: ...

    def stepped(self, record: Mapping[str, Any]) -> None: ...

    def evaluated(self, record: Mapping[str, Any]) -> None: ...

    def saved(self, path: Path) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a run ended."""

    step: int
    loss: float
    """Of the last logged steps, a target token."""
    scores: Mapping[str, float] = field(default_factory=dict)
    best_step: int | None = None
    best_scores: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    stopped_by: str | None = None
    """The signal that ended the run early."""


@final
class _Step(nn.Module):
    """A model's summed loss as a forward pass: what DistributedDataParallel and torch.compile want to wrap."""

    def __init__(self, model: nn.Module, z_loss: float) -> None:
        super().__init__()
        self.model = model
        self.z_loss = z_loss

    def forward(self, batch: Batch) -> Tensor:
        return cross_entropy(self.model, batch, z_loss=self.z_loss).sum  # type: ignore[arg-type]


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of activations on that device."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    return (
        torch.bfloat16
        if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        else torch.float32
    )


def keep_blocks() -> None:
    """Lets glibc reuse large blocks instead of returning them: fresh pages cost a training step 10–20 % on a CPU."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # another libc: nothing to tune
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


@final
class _Signals:
    """Notes the first SIGINT or SIGTERM so that the step can finish and be saved; a second one acts at once."""

    def __init__(self) -> None:
        self.caught: str | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.caught = signal.Signals(number).name
        signal.signal(number, self._old[number])


@final
class Trainer:
    """One run: model, stream and optimiser on one process of a world. Use `fit`."""

    def __init__(self, model: nn.Module, stream: Stream, run: Run, world: World, *, options: TrainOptions) -> None:
        self.model, self.stream, self.run, self.world = model, stream, run, world
        self.options = options
        self.names = {parameter: name for name, parameter in model.named_parameters()}
        self.optimizer = make_optimizer(list(model.named_parameters()), options.optimizer)
        self.dtype = resolve_dtype(options.dtype, world.device)
        self.step = 0
        self.cursor = Cursor()
        self.window = {"loss": 0.0, "targets": 0.0, "tokens": 0.0}
        """Sums since the last log line; saved too, so that a resumed run logs the same numbers."""
        self.last_loss = math.nan
        self.scores: dict[str, float] = {}
        self.best: dict[str, Any] | None = None
        self.started = self.saved_at = time.monotonic()
        self._pending: deque[tuple[int, Tensor, Tensor, tuple[str, ...]]] = deque()
        module: nn.Module = _Step(model, options.z_loss)
        if options.compile:
            module = torch.compile(module)  # type: ignore[assignment]
        if world.size > 1:
            module = DistributedDataParallel(module, device_ids=None)
        self._module = module

    def resume(self) -> bool:
        """Takes up the newest checkpoint; False when there is none. Weights are the caller's to load."""
        steps = self.run.steps()
        if not steps:
            return False
        path = self.run.at(steps[-1])
        state = read_state(path)
        if state["seed"] != self.stream.options.seed:
            raise CheckpointError(f"{path}: made with seed {state['seed']}, expected {self.stream.options.seed}.")
        load_optimizer(self.optimizer, self.names, path)
        self.step, self.cursor = state["step"], Cursor(*state["cursor"])
        self.window, self.last_loss = dict(state["window"]), state["last_loss"]
        self.scores, self.best = state["scores"], state["best"]
        if self.world.leads:
            self.run.rewind(self.step)
        return True

    def train_step(self, batches: list[Batch]) -> tuple[Tensor, Tensor, float]:
        """(summed loss of all processes, gradient norm, target tokens of all processes) of one optimiser step."""
        options, device = self.options, self.world.device
        count = self.world.add_up(
            torch.tensor(sum(batch.num_targets for batch in batches), device=device, dtype=torch.float64)
        )
        total = torch.zeros((), dtype=torch.float64, device=device)
        lr = lr_at(self.step, options.optimizer, options.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        for number, batch in enumerate(batches):
            key = address(self.stream.options.seed, f"dropout/{self.world.rank}", self.step, np.array([number]))
            torch.manual_seed(int(key[0]) >> 1)
            last = number + 1 == len(batches)
            quiet = self._module.no_sync() if self.world.size > 1 and not last else contextlib.nullcontext()
            with quiet:
                with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                    loss = self._module(batch.to(device))
                (loss * (self.world.size / count.to(loss.dtype))).backward()  # DDP takes the mean over processes
            total += loss.detach().double()
        limit = options.optimizer.clip_norm or math.inf
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=None)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self.world.add_up(total), norm, float(count)

    def check_finite(self, *, ahead: int) -> None:
        """Stops on a loss or gradient that is not finite. On a GPU the check trails `ahead` steps so as not to wait."""
        while len(self._pending) > ahead:
            step, total, norm, origins = self._pending.popleft()
            if not (math.isfinite(float(total)) and math.isfinite(float(norm))):
                what = "loss" if not math.isfinite(float(total)) else "gradient"
                more = f" and {len(origins) - SAMPLE_ORIGINS} more" if len(origins) > SAMPLE_ORIGINS else ""
                saved = self.run.steps()
                raise NotFiniteError(
                    f"step {step + 1}: the {what} is not finite (loss {float(total):g}, gradient {float(norm):g}); "
                    f"examples: {', '.join(origins[:SAMPLE_ORIGINS])}{more}. Lower the rate, clip, or see these rows. "
                    f"{f'The checkpoint of step {saved[-1]} is untouched.' if saved else 'Nothing was saved yet.'}"
                )

    def save(self) -> Path | None:
        """A checkpoint of now, written by the leading process."""
        path = None
        self.check_finite(ahead=0)
        if self.world.leads:
            state = {
                "seed": self.stream.options.seed,
                "cursor": list(self.cursor),
                "window": self.window,
                "last_loss": self.last_loss,
                "scores": self.scores,
                "best": self.best,
            }
            save_model: Callable[[Path], None] = self.model.save  # type: ignore[assignment]
            path = self.run.save(self.step, save_model, optimizer_tensors(self.optimizer, self.names), state)
            wanted = self.run.steps()[-self.options.keep :]
            self.run.keep([*wanted, *([self.best["step"]] if self.best else [])])
        self.world.wait()
        self.saved_at = time.monotonic()
        return path


def fit(
    model: nn.Module, stream: Stream, run: Run, world: World, *, options: TrainOptions, watcher: Watcher
) -> Summary:
    """Trains `model` up to `options.num_steps`; a run with a checkpoint goes on where its optimiser and stream stood.

    Errors: NotFiniteError with step and origins. SIGINT and SIGTERM end the run after a checkpoint.
    """
    keep_blocks()
    run.create()
    trainer = Trainer(model, stream, run, world, options=options)
    model.train()
    trainer.resume()
    watcher.started(trainer.step, options.num_steps)
    start_step = trainer.step
    with _Signals() as signals, contextlib.closing(_steps(trainer)) as steps:
        for batches, cursor in steps:
            _one_step(trainer, batches, cursor, watcher)
            done = trainer.step == options.num_steps
            stop = world.any(signals.caught is not None)
            evaluate = done or (options.eval_every is not None and trainer.step % options.eval_every == 0)
            if evaluate and not stop:
                _evaluate(trainer, watcher)
            if done or stop or _is_due(trainer, evaluated=evaluate):
                path = trainer.save()
                if path:
                    watcher.saved(path)
            if done or stop:
                break
    best = trainer.best or {}
    return Summary(
        step=trainer.step,
        loss=trainer.last_loss,
        scores=trainer.scores,
        best_step=best.get("step"),
        best_scores=best.get("scores", {}),
        seconds=time.monotonic() - trainer.started if trainer.step > start_step else 0.0,
        stopped_by=signals.caught,
    )


def _steps(trainer: Trainer) -> Iterator[tuple[list[Batch], Cursor]]:
    if trainer.step >= trainer.options.num_steps:
        return
    world = trainer.world
    yield from prefetched(trainer.stream.steps(trainer.cursor, rank=world.rank, world=world.size))


def _one_step(trainer: Trainer, batches: list[Batch], cursor: Cursor, watcher: Watcher) -> None:
    options = trainer.options
    begun = time.monotonic()
    lr = lr_at(trainer.step, options.optimizer, options.num_steps)
    total, norm, count = trainer.train_step(batches)
    origins = tuple(origin for batch in batches for origin in batch.origins)
    trainer._pending.append((trainer.step, total, norm, origins))
    trainer.check_finite(ahead=1 if trainer.world.device.type == "cuda" else 0)
    trainer.step += 1
    trainer.cursor = cursor
    tokens = sum(batch.num_tokens for batch in batches) * trainer.world.size
    if trainer.world.device.type == "cuda" and trainer.step % options.log_every:
        trainer.window["loss"] = trainer.window["loss"] + total  # stays on the device until it is logged
    else:
        trainer.window["loss"] = float(trainer.window["loss"]) + float(total)
    trainer.window["targets"] += count
    trainer.window["tokens"] += tokens
    record: dict[str, Any] = {"step": trainer.step, "tokens": tokens, "seconds": time.monotonic() - begun}
    if trainer.step % options.log_every == 0 or trainer.step == options.num_steps:
        window = trainer.window
        trainer.last_loss = float(window["loss"]) / window["targets"]
        record |= {"loss": trainer.last_loss, "lr": lr, "grad_norm": float(norm)}
        record |= {"window_targets": window["targets"], "window_tokens": window["tokens"]}
        trainer.window = {"loss": 0.0, "targets": 0.0, "tokens": 0.0}
        if trainer.world.leads:
            trainer.run.log({**record, "time": time.time()})
    watcher.stepped(record)


def _evaluate(trainer: Trainer, watcher: Watcher) -> None:
    if trainer.world.leads:
        trainer.model.eval()
        scores = watcher.evaluate(trainer.step)
        trainer.model.train()
        if scores:
            main = next(iter(scores.values()))
            if trainer.best is None or main > trainer.best["value"]:
                trainer.best = {"step": trainer.step, "value": main, "scores": scores}
            trainer.scores = scores
            record = {"step": trainer.step, "eval": scores, "time": time.time()}
            trainer.run.log(record)
            watcher.evaluated(record)
    trainer.world.wait()


def _is_due(trainer: Trainer, *, evaluated: bool) -> bool:
    options = trainer.options
    old = options.save_every_seconds is not None and time.monotonic() - trainer.saved_at > options.save_every_seconds
    return trainer.world.any(old) or bool(options.save_every and trainer.step % options.save_every == 0) or evaluated
