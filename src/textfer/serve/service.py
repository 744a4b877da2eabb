"""What a server is made of, and what its parts share while it runs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

from textfer.serve.gauges import Gauges
from textfer.serve.limits import Limits
from textfer.serve.shelf import Shelf
from textfer.serve.waiting import Waiting

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@final
class Service:
    """Models, bounds, keys, and what is under way."""

    def __init__(
        self,
        shelf: Shelf,
        *,
        limits: Limits | None = None,
        keys: Sequence[str] = (),
        hosts: Sequence[str] | None = LOOPBACK,
        runs_dir: Path | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`keys`: one of them is asked for; `hosts`: names that requests may call the server by, None = any."""
        self.shelf = shelf
        self.limits = limits or Limits()
        self.hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self.runs_dir = runs_dir
        self.log = log
        self.waiting = Waiting()
        self.gauges = Gauges(shelf)
        self.num_active = 0
        """Requests under way."""
        self.buffered_bytes = 0
        """Of bodies that are held."""
        self.stopping = False
        self._keys = [_digest(key) for key in keys]

    def admits(self, key: str | None) -> bool:
        """Whether a key opens the server; compared in a time that says nothing of how much of it is right."""
        if not self._keys:
            return True
        given = _digest(key or "")
        found = False
        for one in self._keys:
            found |= hmac.compare_digest(one, given)
        return found and key is not None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="surrogateescape")).digest()
