"""What a training gives back of its memory."""

from __future__ import annotations

import sys

import pytest

from textfer.training import process


class Libc:
    def __init__(self) -> None:
        self.calls = 0

    def malloc_trim(self, pad: int) -> int:
        assert pad == 0
        self.calls += 1
        return 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's call")
def test_blocks_are_given_back_only_when_time_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(process.time, "monotonic", lambda: now[0])
    libc = Libc()
    monkeypatch.setattr(process.ctypes, "CDLL", lambda name: libc)
    blocks = process.Blocks()
    blocks.free()
    assert libc.calls == 0
    now[0] += process.FREE_SECONDS
    blocks.free()
    blocks.free()
    assert libc.calls == 1


def test_where_there_is_no_such_call_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process.sys, "platform", "darwin")
    blocks = process.Blocks()
    monkeypatch.setattr(process.time, "monotonic", lambda: 1e9)
    blocks.free()
