"""Answers in pieces: server-sent events, to clients that may read slowly, stop reading or leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any, final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from textfer.serve.problems import fault, problem_of
from textfer.serve.waiting import gone

DONE = "data: [DONE]\n\n"


def event(value: Mapping[str, Any]) -> str:
    """One event that carries JSON, in ASCII: some clients take U+2028 and others for the end of a line."""
    return f"data: {json.dumps(value)}\n\n"


@final
class EventStream(Response):
    """Sends events as they come, and ends their source when the client leaves or leaves them unread.

    Once it has begun its status cannot change: an error is an event like the others, the last one.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None], *, stall_seconds: float) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._stall_seconds = events, stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends them."""
        pump, watch = asyncio.create_task(self._pump(send)), asyncio.create_task(gone(receive))
        try:
            await asyncio.wait({pump, watch}, return_when=asyncio.FIRST_COMPLETED)
            whole = pump.done() and pump.exception() is None and pump.result()
            if not whole:
                scope["visit"].left = True
        finally:
            pump.cancel()
            watch.cancel()
            await asyncio.wait({pump, watch})
            await self._events.aclose()
            for task in (pump, watch):
                if not task.cancelled():
                    task.exception()

    async def _pump(self, send: Send) -> bool:
        """Whether all was sent."""
        try:
            async with asyncio.timeout(self._stall_seconds):
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with aclosing(self._told()) as told:
                async for one in told:
                    async with asyncio.timeout(self._stall_seconds):
                        await send({"type": "http.response.body", "body": one.encode(), "more_body": True})
            async with asyncio.timeout(self._stall_seconds):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            return False
        return True

    async def _told(self) -> AsyncGenerator[str, None]:
        """The events; an error is the last but the end mark."""
        try:
            async for one in self._events:
                yield one
        except Exception as error:
            yield event((problem_of(error) or fault()).body)
        yield DONE


async def begun(events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    """The same events once the first is there: what goes wrong before is a plain refusal with its own status."""
    try:
        first = await anext(events)
    except BaseException:
        await events.aclose()
        raise

    async def again() -> AsyncGenerator[str, None]:
        try:
            yield first
            async for one in events:
                yield one
        finally:
            with suppress(RuntimeError):  # it runs already: whoever runs it ends it
                await events.aclose()

    return again()
