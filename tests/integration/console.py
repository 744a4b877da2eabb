"""What a command left behind, and files for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def refused(done: Done, code: int, message: str) -> None:
    """Nothing on stdout, one line on stderr."""
    assert done.err.rstrip("\n").removeprefix("textfer: ") == message
    assert (done.code, done.out) == (code, "")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
