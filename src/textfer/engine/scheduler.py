"""One thread that has the model, and decides whose turn it is.

A turn lets go of what is over, gives free slots to waiting texts, lets every sequence in a slot write a token, and
reads one batch of requests that are only read. Nothing waits for a batch to be full or to be done.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, final

import torch
from pydantic import Field

from textfer.answer import TextToText
from textfer.config import Options
from textfer.data.layout import LAYOUTS
from textfer.engine.reads import Shelf, each, read_inputs
from textfer.engine.requests import Reading, Request, Sequel, Writing
from textfer.engine.ticket import Cancelled, Expired, Overloaded, Ticket
from textfer.engine.writer import Writer
from textfer.generate import Generated, Predictor
from textfer.reader import TextReader

LOG = logging.getLogger(__name__)


class EngineOptions(Options):
    """How much an engine does at once."""

    slots: int = Field(16, ge=1)
    """Sequences that are written at a time."""
    max_queue: int = Field(256, ge=1)
    """Requests waiting; one more raises Overloaded."""
    max_batch_tokens: int = Field(8192, ge=1)
    """Padded input tokens read at once, and input tokens of all sequences in slots; a longer input goes by itself."""
    timeout: float = Field(60.0, gt=0)
    """Seconds a request may take where it names no deadline."""
    cache_mb: int = Field(256, ge=0)
    """Megabytes of inputs that were read lately and are kept, in case the same comes again; 0 = none."""


@final
class Scheduler:
    """What waits, what is being written, and the thread that sees to both."""

    def __init__(self, reader: TextToText | TextReader, options: EngineOptions) -> None:
        self.reader, self.options = reader, options
        self.tokenizer = reader.predictor.tokenizer
        self.tokens_written = 0
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._started: list[Request] = []
        """Requests that were begun; those that are done are taken out every turn."""
        self._writers: dict[str | None, Writer] = {}
        self._shelf = Shelf(options.cache_mb * 1_000_000)
        self._closing = self._abandoning = False
        self._counts = {"num_done": 0, "num_cancelled": 0, "num_expired": 0, "num_failed": 0}
        self._seconds_busy = 0.0
        predictor = reader.predictor
        foreign = isinstance(predictor, Predictor) and predictor.foreign
        if not foreign:
            predictor.model.eval()
        self._padded = not foreign and LAYOUTS[predictor.model.layout].together
        self._thread = threading.Thread(target=self._work, name=f"engine of {reader.name}", daemon=True)
        self._thread.start()

    # What other threads call

    def check_room(self) -> None:
        """Errors: Overloaded where the queue is full; Cancelled where the engine is closed."""
        with self._changed:
            if self._closing:
                raise Cancelled("engine: is closed. Make another.")
            most = self.options.max_queue
            if len(self._waiting) >= most and self._num_waiting() >= most:
                raise Overloaded(f"engine: {most} requests wait already (max_queue). Try again later.")

    def put(self, request: Request) -> None:
        """A request waits from now on. Errors: as `check_room`."""
        with self._changed:
            self.check_room()
            self._waiting.append(request)
            self._changed.notify_all()

    def wake(self) -> None:
        """Makes the thread look around."""
        with self._changed:
            self._changed.notify_all()

    def close(self, *, wait: bool) -> None:
        """Takes no more requests; what is there is finished, or cancelled. Comes back once that is so."""
        with self._changed:
            self._closing = True
            self._abandoning |= not wait
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def load(self) -> dict[str, float]:
        """What it does and did; see `Engine.load`."""
        with self._changed:
            return {
                "waiting": self._num_waiting(),
                "running": sum(not request.ticket.done for request in self._started),
                **self._counts,
                "tokens_written": self.tokens_written,
                "num_read_before": self._shelf.num_found,
                "seconds_busy": self._seconds_busy,
            }

    def count(self, ticket: Ticket[Any]) -> None:
        """A request ended."""
        error = ticket.error
        names: dict[type, str] = {type(None): "num_done", Cancelled: "num_cancelled", Expired: "num_expired"}
        with self._changed:
            self._counts[names.get(type(error), "num_failed")] += 1

    def _num_waiting(self) -> int:
        """Requests of which nothing was begun, and that nobody gave up."""
        begun = {id(request) for request in self._started}
        return sum(not one.ticket.cancelled and id(one) not in begun for one in self._waiting)

    # The thread

    @torch.inference_mode()
    def _work(self) -> None:
        while self._has_work():
            begin = time.perf_counter()
            try:
                self._sweep()
                self._admit()
                self._step()
                self._read()
            except Exception as error:
                LOG.exception("an engine's turn failed")
                self._give_up(error)
            with self._changed:
                self._started = [request for request in self._started if not request.ticket.done]
                self._seconds_busy += time.perf_counter() - begin

    def _has_work(self) -> bool:
        """Waits until there is something to do; False = never more."""
        with self._changed:
            while not (self._closing or self._waiting or self._is_writing()):
                self._changed.wait()
            return bool(self._waiting) or self._is_writing()

    def _is_writing(self) -> bool:
        return any(writer.sequels for writer in self._writers.values())

    def _sweep(self) -> None:
        """Lets go of what was cancelled, came too late or failed."""
        with self._changed:
            waiting = list(self._waiting)
            if self._abandoning:
                for request in (*waiting, *self._started):
                    request.ticket.cancelled = True
        over = {id(request) for request in waiting if request.is_over()}  # tells others, so not while they are shut out
        for writer in self._writers.values():
            writer.drop(lambda sequel: sequel.request.is_over())
        with self._changed:
            for request in waiting:
                if id(request) in over:
                    self._waiting.remove(request)

    def _give_up(self, error: Exception) -> None:
        """All that was begun fails; where nothing was, all that waits: the next turn must not fail alike."""
        with self._changed:
            failed = self._started or list(self._waiting)
        for request in failed:
            request.ticket.fail(error)
        self._writers.clear()

    # Requests that are written

    @contextmanager
    def _model(self, adapter: str | None) -> Iterator[Predictor]:
        """The model under its changes, for as long as the block lasts."""
        assert isinstance(self.reader, TextToText), "only such a model writes"
        with self.reader.under(adapter) as predictor:
            yield predictor

    def _admit(self) -> None:
        """Free slots go to those who wait: their inputs are read, and their sequences begin."""
        chosen = self._chosen()
        for adapter in dict.fromkeys(sequel.request.adapter for sequel in chosen):
            some = [sequel for sequel in chosen if sequel.request.adapter == adapter]
            with self._model(adapter) as predictor:
                pasts = read_inputs(
                    predictor,
                    [sequel.ids for sequel in some],
                    adapter,
                    shelf=self._shelf,
                    max_tokens=self.options.max_batch_tokens,
                )
                writer = self._writers.setdefault(adapter, Writer(predictor.model, self.tokenizer.specials))
                ended = []
                for sequel, past in zip(some, pasts, strict=True):
                    if isinstance(past, Exception):
                        sequel.request.ticket.fail(past)
                    elif writer.add(sequel, past):
                        ended.append(sequel)
                    self.tokens_written += len(sequel.written)
            self._told(ended, [])

    def _chosen(self) -> list[Sequel]:
        """Texts that get a slot now, first come first served; requests with several texts take turns with others."""
        lens = [len(sequel.ids) for writer in self._writers.values() for sequel in writer.sequels]
        chosen: list[Sequel] = []
        while len(lens) < self.options.slots and (request := self._first_written()) is not None:
            if request.inputs is None and not self._prepare(request):
                continue
            assert request.inputs is not None
            lens.append(len(request.inputs[request.num_begun]))
            held = len(lens) * max(lens) if self._padded else sum(lens)
            if held > self.options.max_batch_tokens and len(lens) > 1:
                break  # the first in line waits for room; nobody overtakes it
            with self._changed:
                self._waiting.remove(request)
                if not request.num_begun:
                    self._started.append(request)
                chosen.append(request.begin())
                if request.num_begun < len(request.texts):
                    self._waiting.append(request)
        return chosen

    def _first_written(self) -> Writing | None:
        with self._changed:
            return next((one for one in self._waiting if isinstance(one, Writing)), None)

    def _prepare(self, request: Writing) -> bool:
        """Texts become ids. False = they do not, and the request has failed."""
        try:
            with self._model(request.adapter) as predictor:
                request.inputs = predictor.inputs_of(request.texts, request.decoding.max_input_tokens)
        except Exception as error:
            request.ticket.fail(error)
            with self._changed:
                self._waiting.remove(request)
            return False
        return True

    def _step(self) -> None:
        """A token for every sequence in a slot."""
        for adapter, writer in list(self._writers.items()):
            if not writer.sequels:
                continue
            count = len(writer.sequels)
            try:
                with self._model(adapter):
                    ended = writer.step()
            except Exception as error:
                del self._writers[adapter]  # its memory may be half written
                for sequel in writer.sequels:
                    sequel.request.ticket.fail(error)
                continue
            self.tokens_written += count
            self._told(ended, writer.sequels)

    def _told(self, ended: Sequence[Sequel], going_on: Sequence[Sequel]) -> None:
        """Those who wait learn what was written."""
        for sequel in (*ended, *going_on):
            try:
                if sequel in ended:
                    sequel.request.end(sequel, self.tokenizer)
                else:
                    sequel.tell(self.tokenizer)
            except Exception as error:
                sequel.request.ticket.fail(error)

    # Requests that are only read

    def _read(self) -> None:
        """The request that waits longest, and those of its kind and of about its length, as one call."""
        readings = self._next_readings()
        if not readings:
            return
        items = [one.item for one in readings]
        for one, result in zip(readings, each(readings[0].act, items), strict=True):
            if isinstance(result, Exception):
                one.ticket.fail(result)
            else:
                if isinstance(result, Generated):
                    self.tokens_written += result.num_tokens
                if not one.ticket.done:
                    one.ticket.finish(result, one.pieces.rest(result.text) if isinstance(result, Generated) else "")

    def _next_readings(self) -> list[Reading]:
        with self._changed:
            readings = [one for one in self._waiting if isinstance(one, Reading)]
            if not readings:
                return []
            first = readings[0]
            same = [one for one in readings if one.kind == first.kind]
            longest = 0
            chosen: list[Reading] = []
            for one in sorted(same, key=lambda one: abs(one.length - first.length)):
                longest_then = max(longest, one.length)
                if not chosen or (len(chosen) + 1) * longest_then <= self.options.max_batch_tokens:
                    longest = longest_then
                    chosen.append(one)
            for one in chosen:
                self._waiting.remove(one)
            self._started += chosen
            return chosen
