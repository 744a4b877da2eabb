"""What a training process is told by signals, and how it keeps its memory."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys
import time
from typing import Any, final

M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -3, -1
FREE_SECONDS = 20.0


def keep_blocks() -> None:
    """Lets glibc reuse large blocks instead of returning them: fresh pages cost a training step 10–20 % on a CPU."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # another libc: nothing to tune
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


@final
class Blocks:
    """Gives unused blocks back now and then.

    Without padding nearly every step has blocks of other sizes, and a heap that keeps them all finds holes for few of
    them again: it grew by 25 MB a step.
    """

    def __init__(self) -> None:
        self._libc: Any = None
        self._freed = time.monotonic()
        if sys.platform.startswith("linux"):
            with contextlib.suppress(OSError):
                libc = ctypes.CDLL("libc.so.6")
                self._libc = libc if hasattr(libc, "malloc_trim") else None

    def free(self) -> None:
        """Gives them back when `FREE_SECONDS` have passed: between steps, when least is in use. It takes 0.1–0.2 s."""
        now = time.monotonic()
        if self._libc is not None and now - self._freed >= FREE_SECONDS:
            self._libc.malloc_trim(0)
            self._freed = now


@final
class Signals:
    """Notes the first SIGINT or SIGTERM so that the step can finish and be saved; a second one acts at once."""

    def __init__(self) -> None:
        self.caught: str | None = None
        self._old: dict[int, Any] = {}

    def __enter__(self) -> Signals:
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
