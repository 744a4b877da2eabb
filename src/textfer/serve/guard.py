"""What every request passes first: host, key, size and time; and the one line that the log gets of it."""

from __future__ import annotations

import asyncio
import time
import traceback
from typing import final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textfer.serve.problems import GONE, Problem, busy, fault, problem_of, stopping
from textfer.serve.service import Service

OPEN = frozenset({"/", "/healthz", "/readyz", "/openapi.json", "/favicon.ico"})
"""Paths that ask for no key: they tell nothing of models, texts or runs. So do those below /static/."""
ALWAYS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that are answered while the server is busy or stopping."""
DRAIN_BYTES, DRAIN_SECONDS = 64 << 20, 10.0
"""How much of a body that is refused is still taken in: many clients read no answer before they have sent it all."""
MAX_PATH = 200


@final
class Visit:
    """One request on its way."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, service: Service) -> None:
        self.headers = Headers(scope=scope)
        self.path: str = scope["path"]
        self.status = GONE
        self.begun = False
        self.left = False
        """Whether the client went away, or left its answer unread."""
        self.model: str | None = None
        self.num_bytes = 0
        self._scope, self._receive, self._send, self._service = scope, receive, send, service
        self._whole = False
        self._has_body = "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"
        self._deadline = asyncio.get_running_loop().time() + service.limits.body_seconds

    async def receive(self) -> Message:
        """The next part of the body. Errors: Problem for one that is too large or too slow."""
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Problem(408, "too_slow", "The body did not arrive in time.") from None
        if message["type"] == "http.disconnect":
            self.left = True
            return message
        limits, size = self._service.limits, len(message.get("body", b""))
        self.num_bytes += size
        self._service.buffered_bytes += size
        self._whole = not message.get("more_body", False)
        if self.num_bytes > limits.body_bytes:
            raise too_large(limits.body_bytes)
        if self._service.buffered_bytes > limits.buffered_bytes:
            raise busy("The server holds as much text as it takes. Try again in a moment.")
        return message

    async def _drain(self) -> None:
        """Takes in what is left of a body that nobody will read."""
        left = DRAIN_BYTES
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while left > 0 and not self._whole:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    self._whole = not message.get("more_body", False)
        except TimeoutError:
            pass

    async def send(self, message: Message) -> None:
        """Passes a part of the answer on."""
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Content-Type-Options"] = "nosniff"
            if not self._whole and self._has_body:
                # who waits for leave to send the body, or did not send it in time, need not send it any more
                if "expect" not in self.headers and self.status != 408:
                    await self._drain()
                if not self._whole:
                    headers["Connection"] = "close"
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Says what is wrong, where that can still be said."""
        if problem.status_code == GONE or self.begun:
            self.left = True
            return
        await problem.response()(self._scope, self.receive, self.send)

    def line(self, seconds: float) -> str:
        """The log's line."""
        client = (self._scope.get("client") or ["-"])[0]
        path = ascii(self.path[:MAX_PATH])[1:-1]
        status = f"{self.status} (client left)" if self.left and self.status != GONE else str(self.status)
        model = f" model={self.model}" if self.model else ""
        size = f" {self.num_bytes} bytes" if self.num_bytes else ""
        return f"{client} {self._scope['method']} {path} {status} {1000 * seconds:.0f} ms{size}{model}"


@final
class Guard:
    """Lets requests through, one by one, and never an error out."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        service, began = self._service, time.perf_counter()
        visit = Visit(scope, receive, send, service)
        scope["visit"] = visit
        service.num_active += 1
        try:
            await self._answer(scope, visit)
        finally:
            service.num_active -= 1
            service.buffered_bytes -= visit.num_bytes
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "other")
            service.gauges.count(route, GONE if visit.left else visit.status, seconds)
            service.log(visit.line(seconds))

    async def _answer(self, scope: Scope, visit: Visit) -> None:
        try:
            await self._check(visit)
            await self._app(scope, visit.receive, visit.send)
        except asyncio.CancelledError:
            if not self._service.stopping:
                raise
            await visit.refuse(stopping())
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                self._service.log("".join(traceback.format_exception(error)).rstrip())
            await visit.refuse(problem or fault())

    async def _check(self, visit: Visit) -> None:
        """Errors: Problem for what is refused unread."""
        service, limits = self._service, self._service.limits
        if service.hosts is not None and _host(visit.headers.get("host", "")) not in service.hosts:
            raise Problem(403, "wrong_host", "The server is not called by this name (header Host).")
        is_open = visit.path in OPEN or visit.path.startswith("/static/")
        if not is_open and not service.admits(_key(visit.headers.get("authorization"))):
            raise Problem(401, "wrong_key", "An API key is needed: send 'Authorization: Bearer KEY'.")
        if visit.path not in ALWAYS:
            if service.stopping:
                raise stopping()
            if service.num_active > limits.requests:
                raise busy("The server has as many requests as it takes. Try again in a moment.")
        length = visit.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limits.body_bytes:
            raise too_large(limits.body_bytes)


def too_large(limit: int) -> Problem:
    """A body that is refused for its size."""
    return Problem(413, "too_large", f"The body is too large: {limit:,} bytes are taken at most. Send less.")


def _host(header: str) -> str:
    """The name in a header `NAME:PORT`, or `[::1]:PORT`."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _key(header: str | None) -> str | None:
    kind, _, key = (header or "").partition(" ")
    return key.strip() if kind.lower() == "bearer" and key.strip() else None
