"""The only training loop.

The loss of a step is the sum over all its target tokens, in every micro-batch and process, divided once by their count:
32 rows give the same gradient as 4 × 8 rows or two processes with 16.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, final

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from textfer.adapt.adapted import Adapted
from textfer.batch import Batch
from textfer.config import Options
from textfer.data.layout import LAYOUTS
from textfer.data.stream import Cursor, Step, Stream, prefetched
from textfer.draws import address
from textfer.errors import CheckpointError, ConfigError, MachineError, NotFiniteError
from textfer.training.checkpoint import OPTIMIZER, Run, load_optimizer, optimizer_tensors, read_state
from textfer.training.distributed import World
from textfer.training.events import Events
from textfer.training.loss import Readable, loss_of
from textfer.training.optim import OptimOptions, lr_at, make_optimizer
from textfer.training.process import Blocks, Signals, keep_blocks

SAMPLE_ORIGINS = 8
MAX_TRAILING = {"cuda": 1}
"""Steps whose numbers may still be on their way from such a device when the next one is begun; elsewhere none."""
STATE_KEYS = {"seed", "cursor", "window", "last_loss", "scores", "scored_step", "best"}


class TrainOptions(Options):
    """How long, how large, how often."""

    num_steps: int = Field(gt=0)
    """Optimiser steps."""
    batch_size: int = Field(32, gt=0)
    """Rows of one optimiser step, over all processes."""
    micro_batch_size: int | None = Field(None, gt=0)
    """Rows of one forward pass of one process; smaller needs less memory and changes nothing but dropout's draws."""
    z_loss: float = Field(0.0, ge=0)
    """Weight of log²Z."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of activations; weights stay float32. auto = bfloat16 on devices that have it in hardware, else float32."""
    compile: bool = False
    """torch.compile the model's layers. Give data.fixed too, or every new shape is compiled anew."""
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


class Trainable(Readable, Protocol):
    """What `fit` trains: a torch module with target states and a readout, and a way to save itself."""

    def save(self, folder: Path) -> None: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...

    def train(self, mode: bool = True) -> object: ...

    def eval(self) -> object: ...


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


class _Step(nn.Module):
    """A model's summed loss as a forward pass, which is what DistributedDataParallel wraps.

    Only `states` and `read` are compiled: what follows them selects and chunks by lengths that differ in every batch.
    """

    def __init__(self, model: Trainable, options: TrainOptions) -> None:
        super().__init__()
        self.model = model  # registered: its parameters are those of this module
        self.z_loss = options.z_loss
        self.states = torch.compile(model.states) if options.compile else model.states
        self.readout = model.readout
        if hasattr(model, "draw_words"):
            self.draw_words = model.draw_words
        if hasattr(model, "read"):  # it has heads
            self.read = torch.compile(model.read) if options.compile else model.read

    def forward(self, batch: Batch) -> Tensor:
        """The summed loss."""
        return loss_of(self, batch, z_loss=self.z_loss).sum


class _Taken(NamedTuple):
    """A step that was taken and whose numbers may still be on their way from the device."""

    step: int
    numbers: Tensor
    """[3] summed loss, processes told to stop, processes whose last checkpoint is old; of all processes."""
    norm: Tensor
    read: Step


def resolve_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of activations on that device."""
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    return (
        torch.bfloat16
        if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        else torch.float32
    )


@final
class Trainer:
    """One run: model, stream and optimiser on one process of a world. Use `fit`."""

    def __init__(
        self, model: Trainable | Adapted, stream: Stream, run: Run, world: World, *, options: TrainOptions
    ) -> None:
        if stream.options.batch_size % world.size:
            raise ConfigError(
                f"training.batch_size: got {stream.options.batch_size} rows for {world.size} processes, "
                "expected a multiple. Change one of the two."
            )
        self.save_model = model.save
        self.plan = model.plan if isinstance(model, Adapted) else None
        """Which parameters move; None = all."""
        model = model.model if isinstance(model, Adapted) else model
        self.model, self.stream, self.run, self.world = model, stream, run, world
        self.options = options
        self.names = {parameter: name for name, parameter in model.named_parameters()}
        self.optimizer = make_optimizer(list(model.named_parameters()), options.optimizer)
        self.dtype = resolve_dtype(options.dtype, world.device)
        self.step = 0
        self.cursor = Cursor()
        self.window = {"loss": 0.0, "targets": 0.0, "tokens": 0.0}
        """Sums since the last log line; saved too, so that a resumed run logs the same numbers."""
        self.last_loss = self.last_norm = math.nan
        self.scores: dict[str, float] = {}
        self.scored_step = 0
        self.best: dict[str, Any] | None = None
        self.saved_at = time.monotonic()
        self.told_to_stop = self.save_is_old = False
        """What some process said at the last step whose numbers are here: the same in all processes."""
        self.events: Events | None = None
        self._pending: deque[_Taken] = deque()
        self._step_module = _Step(model, options)
        self._module: nn.Module = self._step_module
        self._moving: frozenset[str] | None = None
        if self.plan is None:
            self._spread()

    def _spread(self) -> None:
        """Has the processes add up the gradients of what now takes one."""
        some = LAYOUTS[self.stream.options.layout].answers == "by heads"  # a step may hold no example of some head
        alone = self.world.size == 1
        self._module = (
            self._step_module if alone else DistributedDataParallel(self._step_module, find_unused_parameters=some)
        )

    def _choose(self) -> None:
        """Gives gradients to the parameters that the plan moves at this step, and to no others."""
        if self.plan is None or self._moving is (names := self.plan.trainable(self.step)):
            return
        for parameter, name in self.names.items():
            parameter.requires_grad_(name in names)
        self._moving = names
        self._spread()

    def resume(self) -> bool:
        """Takes up the newest checkpoint; False when there is none. Weights are the caller's to load."""
        steps = self.run.steps()
        if steps:
            self._take_up(self.run.at(steps[-1]))
        if self.world.leads:
            self.run.rewind(self.step if steps else -1)  # an attempt that saved nothing begins anew
            if self.options.tensorboard:
                self.events = Events(self.run.path, first_step=self.step + 1)
            if steps and self.step < self.options.num_steps:
                self.log({"step": self.step, "resumed": True})
        return bool(steps)

    def _take_up(self, path: Path) -> None:
        state = read_state(path)
        if missing := sorted(STATE_KEYS - set(state)):
            raise CheckpointError(
                f"{path}: its state has no '{missing[0]}'. It is of another version; begin a new run."
            )
        if state["seed"] != self.stream.options.seed:
            raise CheckpointError(f"{path}: made with seed {state['seed']}, expected {self.stream.options.seed}.")
        if OPTIMIZER in state["files"]:
            load_optimizer(self.optimizer, self.names, path)
        self.step, self.cursor = state["step"], Cursor(*state["cursor"])
        self.window, self.last_loss = dict(state["window"]), state["last_loss"]
        self.scores, self.scored_step, self.best = state["scores"], state["scored_step"], state["best"]

    def log(self, record: Mapping[str, Any]) -> None:
        """Writes a line of the run's log, and what it holds for TensorBoard. For the leading process."""
        self.run.log({**record, "time": time.time()})
        if self.events:
            self.events.write(record)

    def train_step(self, step: Step, *, stop: bool = False) -> None:
        """Takes one optimiser step. `stop`: this process was told to end."""
        options, device = self.options, self.world.device
        self._choose()
        lr = lr_at(self.step, options.optimizer, options.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        total = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
        try:
            for number, batch in enumerate(step.batches):
                total += self._backward(batch, number, step)
        except torch.OutOfMemoryError as error:
            raise MachineError(
                f"step {self.step + 1}: {device} is out of memory. Lower training.micro_batch_size, or the lengths."
            ) from error
        norm = self._clipped_norm()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        old = options.save_every_seconds is not None and time.monotonic() - self.saved_at > options.save_every_seconds
        said = [total.new_full((), float(flag)) for flag in (stop, old)]
        numbers = self.world.add_up(torch.stack([total, *said]))
        self._pending.append(_Taken(self.step, numbers, norm, step))
        self.step += 1
        self.cursor = step.cursor

    def _backward(self, batch: Batch, number: int, step: Step) -> Tensor:
        """The summed loss of one micro-batch, its gradients added."""
        device = self.world.device
        key = address(self.stream.options.seed, f"dropout/{self.world.rank}", self.step, np.array([number]))
        torch.manual_seed(int(key[0]) >> 1)
        last = number + 1 == len(step.batches)
        quiet = contextlib.nullcontext() if last or self.world.size == 1 else self._module.no_sync()  # type: ignore[operator]
        with quiet:
            with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
                loss: Tensor = self._module(batch.to(device))
            torch.autograd.backward(loss * (self.world.size / step.num_targets))  # DDP takes the mean over processes
        return loss.detach()

    def _clipped_norm(self) -> Tensor:
        """The gradients' global norm, before they are scaled down where that is asked for."""
        limit = self.options.optimizer.clip_norm
        if limit is not None:
            return nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        return nn.utils.get_total_norm([one.grad for one in self.model.parameters() if one.grad is not None])

    def settle(self, *, ahead: int = 0) -> None:
        """Reads the numbers of all steps taken but the last `ahead`: on a GPU they trail, so as not to wait for them.

        Errors: NotFiniteError.
        """
        while len(self._pending) > ahead:
            taken = self._pending.popleft()
            loss, stops, olds = taken.numbers.tolist()
            self.last_norm = float(taken.norm)
            if not (math.isfinite(loss) and math.isfinite(self.last_norm)):
                raise NotFiniteError(self._not_finite(taken, loss, self.last_norm))
            self.told_to_stop, self.save_is_old = stops > 0, olds > 0
            self.window["loss"] += loss
            self.window["targets"] += taken.read.num_targets
            self.window["tokens"] += taken.read.num_tokens

    def _not_finite(self, taken: _Taken, loss: float, norm: float) -> str:
        origins = [origin for batch in taken.read.batches for origin in batch.origins]
        more = f" and {len(origins) - SAMPLE_ORIGINS} more" if len(origins) > SAMPLE_ORIGINS else ""
        saved = self.run.steps()
        return (
            f"step {taken.step + 1}: the {'gradient' if math.isfinite(loss) else 'loss'} is not finite (loss {loss:g}, "
            f"gradient {norm:g}); examples: {', '.join(origins[:SAMPLE_ORIGINS])}{more}. "
            f"Lower the rate, clip, or see these rows. "
            f"{f'The checkpoint of step {saved[-1]} is untouched.' if saved else 'Nothing was saved yet.'}"
        )

    def save(self) -> Path | None:
        """A checkpoint of now, written by the leading process. Every step taken must be settled."""
        assert not self._pending, "numbers of steps are still on their way"
        path = None
        if self.world.leads:
            state = {
                "seed": self.stream.options.seed,
                "cursor": list(self.cursor),
                "window": self.window,
                "last_loss": self.last_loss,
                "scores": self.scores,
                "scored_step": self.scored_step,
                "best": self.best,
            }
            assert set(state) == STATE_KEYS
            path = self.run.save(self.step, self.save_model, optimizer_tensors(self.optimizer, self.names), state)
            wanted = self.run.steps()[-self.options.keep :]
            self.run.keep([*wanted, *([self.best["step"]] if self.best else [])])
        self.world.wait()
        self.saved_at = time.monotonic()
        return path


def fit(
    model: Trainable | Adapted, stream: Stream, run: Run, world: World, *, options: TrainOptions, watcher: Watcher
) -> Summary:
    """Trains `model`, all of it or as its method says, up to `options.num_steps`, from the run's checkpoint on.

    Errors: NotFiniteError with step and origins. SIGINT and SIGTERM end the run after a checkpoint.
    """
    keep_blocks()
    started = time.monotonic()
    if world.leads:
        run.create()
    trainer = Trainer(model, stream, run, world, options=options)
    trainer.model.train()
    trainer.resume()
    watcher.started(trainer.step, options.num_steps)
    num_taken = options.num_steps - trainer.step
    with Signals() as signals, contextlib.ExitStack() as stack:
        if trainer.events:
            stack.callback(trainer.events.close)
        if trainer.step < options.num_steps:
            _loop(trainer, watcher, signals)
        elif trainer.scored_step < trainer.step:  # it was stopped between its last step and its evaluation
            _evaluate(trainer, watcher)
            _save(trainer, watcher)
    stopped = trainer.told_to_stop
    best = trainer.best or {}
    return Summary(
        step=trainer.step,
        loss=trainer.last_loss,
        scores=trainer.scores,
        best_step=best.get("step"),
        best_scores=best.get("scores", {}),
        seconds=time.monotonic() - started if num_taken else 0.0,
        stopped_by=(signals.caught or "another process") if stopped else None,
    )


def _loop(trainer: Trainer, watcher: Watcher, signals: Signals) -> None:
    """Steps, evaluations and checkpoints up to the last step, or until told to stop."""
    options, world, blocks = trainer.options, trainer.world, Blocks()
    begun = time.monotonic()
    with contextlib.closing(
        prefetched(trainer.stream.steps(trainer.cursor, rank=world.rank, world=world.size))
    ) as steps:
        for step in steps:
            trainer.train_step(step, stop=signals.caught is not None)
            done = trainer.step == options.num_steps
            evaluate = done or (options.eval_every is not None and trainer.step % options.eval_every == 0)
            save = evaluate or bool(options.save_every and trainer.step % options.save_every == 0)
            log = done or trainer.step % options.log_every == 0
            trainer.settle(ahead=0 if save or log else MAX_TRAILING.get(world.device.type, 0))
            stop, save = trainer.told_to_stop, save or trainer.told_to_stop or trainer.save_is_old
            record = {"step": trainer.step, "tokens": step.num_tokens, "seconds": time.monotonic() - begun}
            watcher.stepped({**record, **_log(trainer, record)} if log else record)
            if evaluate and not stop:
                _evaluate(trainer, watcher)
            if save:
                trainer.settle()
                _save(trainer, watcher)
            if done or stop:
                return
            blocks.free()
            begun = time.monotonic()


def _log(trainer: Trainer, record: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the window that ends here, logged."""
    window, options = trainer.window, trainer.options
    trainer.last_loss = window["loss"] / window["targets"]
    found = {
        "loss": trainer.last_loss,
        "lr": lr_at(trainer.step - 1, options.optimizer, options.num_steps),
        "grad_norm": trainer.last_norm,
        "window_targets": window["targets"],
        "window_tokens": window["tokens"],
    }
    trainer.window = dict.fromkeys(window, 0.0)
    if trainer.world.leads:
        trainer.log({**record, **found})
    return found


def _evaluate(trainer: Trainer, watcher: Watcher) -> None:
    trainer.scored_step = trainer.step
    if trainer.world.leads:
        trainer.model.eval()
        scores = watcher.evaluate(trainer.step)
        trainer.model.train()
        if scores:
            main = next(iter(scores.values()))
            value = -math.inf if math.isnan(main) else main
            if trainer.best is None or value > trainer.best["value"]:
                trainer.best = {"step": trainer.step, "value": value, "scores": scores}
            trainer.scores = scores
            record = {"step": trainer.step, "eval": scores}
            trainer.log(record)
            watcher.evaluated(record)
    trainer.world.wait()


def _save(trainer: Trainer, watcher: Watcher) -> None:
    if path := trainer.save():
        watcher.saved(path)
