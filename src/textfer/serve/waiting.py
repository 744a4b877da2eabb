"""Between the event loop and the engines' threads: results are awaited, and given up when nobody waits any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeAlias, TypeVar, final

from starlette.types import Receive

from textfer.engine import Expired, Ticket
from textfer.serve.problems import GONE, Problem

R = TypeVar("R")
Make: TypeAlias = Callable[[float], Ticket[R]]
"""Hands a request to an engine, with the seconds that are left for it."""
WIDTH = 16
"""Parts of one request that an engine gets at once, so that a long list leaves room for others."""
SLACK_SECONDS = 2.0
"""After its deadline an engine may still be in the middle of a batch; no one waits longer for it."""


@final
class Waiting:
    """The tickets that a server waits for."""

    def __init__(self) -> None:
        self._live: set[Ticket[Any]] = set()

    def __len__(self) -> int:
        return len(self._live)

    def cancel(self) -> None:
        """Gives all up: whoever waits is told that the server is stopping."""
        for ticket in list(self._live):
            ticket.cancel()

    async def all_of(self, makes: Sequence[Make[R]], *, seconds: float) -> list[R]:
        """The results in order, within `seconds` together; where one fails all others are given up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        gate = asyncio.Semaphore(WIDTH)

        async def run(make: Make[R]) -> R:
            async with gate, self.open(make, seconds=deadline - loop.time()) as held:
                return await held.result()

        tasks = [asyncio.create_task(run(make)) for make in makes]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    def open(self, make: Make[R], *, seconds: float) -> Held[R]:
        """A context in which the request is under way, for so many seconds at most; it is given up at its end."""
        return Held(self._live, make, asyncio.get_running_loop().time() + seconds)


@final
class Held(Generic[R]):
    """A request under way, up to a time by the event loop's clock."""

    def __init__(self, live: set[Ticket[Any]], make: Make[R], deadline: float) -> None:
        self._live, self._make, self._deadline = live, make, deadline

    async def __aenter__(self) -> Held[R]:
        loop = asyncio.get_running_loop()
        # on a thread, because a long text is cut into windows first
        made = loop.run_in_executor(None, self._make, max(self._deadline - loop.time(), 0.001))
        try:
            self.ticket = await asyncio.shield(made)
        except asyncio.CancelledError:
            made.add_done_callback(_give_up)
            raise
        self._live.add(self.ticket)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._live.discard(self.ticket)
        self.ticket.cancel()  # nothing where it is done

    async def result(self) -> R:
        """The result. Errors: what the engine says; Expired when the time is over."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        self.ticket.add_done_callback(lambda _: _soon(loop, ended.set))
        try:
            async with asyncio.timeout_at(self._deadline + SLACK_SECONDS):
                await ended.wait()
        except TimeoutError:
            raise Expired("the deadline has passed.") from None
        return self.ticket.result(0)

    async def pieces(self) -> AsyncIterator[str]:
        """The text of a `generate` request as it is written. Errors: as `result`, after the last piece."""
        loop = asyncio.get_running_loop()
        # no longer than the text that may be asked for, so that nobody needs to wait for a slow reader
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.ticket.on_piece(lambda piece: _soon(loop, queue.put_nowait, piece))
        self.ticket.add_done_callback(lambda _: _soon(loop, queue.put_nowait, None))
        while True:
            try:
                async with asyncio.timeout_at(self._deadline + SLACK_SECONDS):
                    piece = await queue.get()
            except TimeoutError:
                raise Expired("the deadline has passed.") from None
            if piece is None:
                self.ticket.result(0)
                return
            yield piece


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *values: object) -> None:
    with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
        loop.call_soon_threadsafe(function, *values)


def _give_up(made: asyncio.Future[Ticket[Any]]) -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().cancel()


async def gone(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_there(receive: Receive, work: Coroutine[Any, Any, R]) -> R:
    """The result of `work`, which is given up when the client leaves. Errors: Problem then."""
    task, watch = asyncio.create_task(work), asyncio.create_task(gone(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Problem(GONE, "gone", "The client went away.")
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.wait({task, watch})
        if not watch.cancelled():
            watch.exception()
