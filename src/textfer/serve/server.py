"""A server of its own process: it binds, answers, and ends without dropping what it has begun."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, final

import uvicorn

from textfer.errors import MachineError
from textfer.serve.app import make_app
from textfer.serve.service import LOOPBACK, Service

KEEP_ALIVE_SECONDS = 30
CLOSE_SECONDS = 3
"""For connections that are still open when all answers are given."""
BACKLOG = 1024
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@final
class Serving(uvicorn.Server):
    """Takes requests until it is told to stop; then it finishes what runs, and refuses what comes."""

    def __init__(self, service: Service) -> None:
        config = uvicorn.Config(
            make_app(service),
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=CLOSE_SECONDS,
            backlog=BACKLOG,
        )
        super().__init__(config)
        self.service = service
        self.told: int | None = None
        """The signal that ended it."""
        self._last: float | None = None
        """When the grace is over."""

    def stop(self) -> None:
        """Has it end once nothing runs any more, or the time of grace is over; the second call ends it at once."""
        if self.service.stopping:
            self.service.waiting.cancel()
            self._last = 0.0
            return
        self._last = time.monotonic() + self.service.limits.grace_seconds
        self.service.stopping = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What a signal does."""
        self.told = self.told or sig
        if not self.service.stopping:
            count = len(self.service.waiting)
            self.service.log(f"stopping: {count} answers under way, new requests are refused. Once more: at once.")
        self.stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Listens to signals; they are not sent again at the end, as uvicorn does."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {sig: signal.signal(sig, self.handle_exit) for sig in SIGNALS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to end."""
        if self._last is not None and not self.should_exit:
            over = time.monotonic() >= self._last
            if over:
                self.service.waiting.cancel()
            self.should_exit = over or not self.service.num_active
        return await super().on_tick(counter)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 = any. Errors: MachineError where the place is taken or is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, place = found[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise MachineError(f"--host: '{host}' is no address of this machine ({error.strerror}).") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise MachineError(f"--port: {host}:{port} cannot be listened at ({why}). Give another --port.") from None
    return listener


def forget_silent_clients(listener: socket.socket, seconds: float) -> None:
    """Has the system close connections whose other end takes nothing in, where it can."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * seconds))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    return host in LOOPBACK or host.startswith("127.")


def place_of(listener: socket.socket) -> str:
    """The address that a browser takes."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, listener: socket.socket) -> int | None:
    """Answers until a signal ends it; the signal. Engines are closed."""
    forget_silent_clients(listener, service.limits.stall_seconds)
    serving = Serving(service)
    try:
        serving.run(sockets=[listener])
    finally:
        listener.close()
        service.shelf.close(wait=not service.waiting)
    return serving.told
