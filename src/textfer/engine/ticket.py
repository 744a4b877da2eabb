"""What a request gets at once: a promise of its result, which may be waited for, followed or given up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast, final

from textfer.errors import ConfigError, TextferError

R = TypeVar("R")
LOG = logging.getLogger(__name__)


class Overloaded(TextferError):  # noqa: N818
    """Too many requests wait already."""

    exit_code = 4


class Expired(TextferError):  # noqa: N818
    """A request was not done by its deadline."""

    exit_code = 4


class Cancelled(TextferError):  # noqa: N818
    """A request was given up."""

    exit_code = 4


@final
class Ticket(Generic[R]):
    """A request's result, once it is there. Any thread may hold it.

    Functions that are told of pieces and of the end are called from the engine's thread, or at once where it is too
    late for that; they should be quick.
    """

    def __init__(self, *, written: bool = False, wake: Callable[[], None] = lambda: None) -> None:
        """`written`: the result is text that can be followed; `wake` makes the engine look at `cancelled`."""
        self._changed = threading.Condition()
        self._telling = threading.RLock()  # pieces are told in order, whoever tells them
        self._written = written
        self._wake = wake
        self._pieces: list[str] = []
        self._listeners: list[Callable[[str], object]] = []
        self._ends: list[Callable[[Ticket[R]], object]] = []
        self._result: R | None = None
        self._error: BaseException | None = None
        self._done = False
        self.cancelled = False
        """Whether it was given up; it ends a moment later."""
        self.followed = False
        """Whether someone wants the text piece by piece."""

    def __repr__(self) -> str:
        state = "waits" if not self._done else "failed" if self._error else "is done"
        return f"Ticket({state})"

    @property
    def done(self) -> bool:
        """Whether the result is there, or an error in its place."""
        return self._done

    @property
    def error(self) -> BaseException | None:
        """What went wrong; None where nothing did, or nothing has yet."""
        return self._error

    def result(self, timeout: float | None = None) -> R:
        """The result, waited for up to `timeout` seconds.

        Errors: TimeoutError where it is not there by then (the request goes on); else what went wrong with the request:
        Expired, Cancelled, ConfigError and whatever the model raises.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._done, timeout):
                raise TimeoutError("the request is not done yet")
        if self._error is not None:
            raise self._error
        return cast(R, self._result)

    def cancel(self) -> None:
        """Gives the request up: it ends with Cancelled, unless it is done already."""
        with self._changed:
            if self._done or self.cancelled:
                return
            self.cancelled = True
        self._wake()

    def __iter__(self) -> Iterator[str]:
        """The text of a `generate` request as it is written; together the pieces are the result's text.

        Errors: as `result`, at the end; ConfigError for another kind of request.
        """
        self._check_written()
        self.followed = True
        return self._follow()

    def _follow(self) -> Iterator[str]:
        count, ended = 0, False
        while not ended:
            with self._changed:
                while not self._done and len(self._pieces) == count:
                    self._changed.wait()
                new = self._pieces[count:]
                ended = self._done
            count += len(new)
            yield from new
        self.result()

    def on_piece(self, function: Callable[[str], object]) -> None:
        """Calls the function with each piece of a `generate` request's text, those already written first."""
        self._check_written()
        self.followed = True
        with self._telling:
            for piece in self._pieces:
                _call(function, piece)
            self._listeners.append(function)

    def add_done_callback(self, function: Callable[[Ticket[R]], object]) -> None:
        """Calls the function with this ticket once it is done, after all pieces."""
        with self._changed:
            if not self._done:
                self._ends.append(function)
                return
        _call(function, self)

    def _check_written(self) -> None:
        if not self._written:
            raise ConfigError("engine: this request gives no text piece by piece, only generate does. Take its result.")

    # What the engine says

    def tell(self, piece: str) -> None:
        """Adds a piece of text that will not change any more."""
        if not piece:
            return
        with self._telling:
            with self._changed:
                self._pieces.append(piece)
                self._changed.notify_all()
            for function in self._listeners:
                _call(function, piece)

    def finish(self, result: R, rest: str = "") -> None:
        """Ends it with its result, and the text that was not told yet."""
        self.tell(rest)
        self._end(result, None)

    def fail(self, error: BaseException) -> None:
        """Ends it with an error; nothing happens where it is done already."""
        self._end(None, error)

    def _end(self, result: R | None, error: BaseException | None) -> None:
        with self._changed:
            if self._done:
                return
            self._result, self._error, self._done = result, error, True
            ends, self._ends = self._ends, []
            self._changed.notify_all()
        for function in ends:
            _call(function, self)


def _call(function: Callable[[R], object], value: R) -> None:
    """Someone else's function must not stop the engine."""
    try:
        function(value)
    except Exception:
        LOG.exception("a function that was told of a request raised an error")
