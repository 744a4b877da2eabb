"""What the benchmarks share: sides measured in turns, and the one JSON line that a result is.

    python benchmarks/rounds.py FILE: the JSON lines in it as rows of a Markdown table, as RESULTS.md holds them

The machines these run on are seldom quiet, so a peer is always measured in the same process, round by round, and what
is compared is the ratio inside a round: a slow moment hits both.
"""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HEAD = ("name", "value", "spread", "ratio", "load", "commit")
HIDDEN = {*HEAD, "unit", "rounds", "device", "threads"}
"""What is no part of the column `ratio`."""
LINES: list[dict[str, Any]] = []
"""What `row` has printed."""


def measure(
    sides: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    calls: Mapping[str, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
    within: float | None = None,
) -> dict[str, list[float]]:
    """Seconds of one call, of every repeat of every side, the sides in turns after one round of warming up.

    `clock=time.process_time`: seconds of CPU, which leave out the time given to other processes. `within`: no further
    round begins that would end after so many seconds of the clock, but there is one always.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    began = time.perf_counter()
    for repeat in range(repeats + 1):
        spent = time.perf_counter() - began
        if within is not None and repeat > 1 and spent * (repeat + 1) / repeat > within:
            break
        for name, run in sides.items():
            count = calls[name] if calls else 1
            start = clock()
            for _ in range(count):
                run()
            if repeat:
                seconds[name].append((clock() - start) / count)
    return seconds


def calls_for(sides: Mapping[str, Callable[[], object]], *, seconds: float) -> dict[str, int]:
    """How many calls of each side take about that long."""
    calls = {}
    for name, run in sides.items():
        run()
        start = time.perf_counter()
        run()
        calls[name] = max(1, round(seconds / (time.perf_counter() - start)))
    return calls


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4)
    return low, statistics.median(values), high


def rounded(value: float) -> float:
    """Four digits that count."""
    return float(f"{value:.4g}")


def row(name: str, values: Sequence[float], unit: str, **more: Any) -> None:
    """Prints one result: the median of `values`, the spread from the first to the third quartile, where and when."""
    low, middle, high = quartiles(values)
    line: dict[str, Any] = {"name": name, "value": rounded(middle), "unit": unit}
    line |= {"spread": [rounded(low), rounded(high)], "rounds": len(values), **more}
    LINES.append(line | facts())
    print(json.dumps(LINES[-1], ensure_ascii=False), flush=True)


def show_rows(lines: Sequence[Mapping[str, Any]]) -> None:
    """Prints results as a Markdown table."""
    print(f"\n| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for line in lines:
        low, high = line["spread"]
        more = "; ".join(f"{key}: {_told(value)}" for key, value in line.items() if key not in HIDDEN)
        cells = [line["name"], f"{_told(line['value'])} {line['unit']}", f"{_told(low)}–{_told(high)}", more]
        print(f"| {' | '.join(cells)} | {line['load']} | {line['commit']} |", flush=True)


def _told(value: Any) -> str:
    if isinstance(value, list) and len(value) == 3:
        return f"× {value[1]:g} ({value[0]:g}–{value[2]:g})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.10g}" if isinstance(value, int | float) else str(value)


def facts() -> dict[str, Any]:
    """The machine, its load in the last minute, and the commit."""
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "device": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "threads": int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "commit": commit.stdout.strip(),
    }


def peak_mib() -> float:
    """The most memory this process has held so far; that of who started it, which getrusage may tell, is not in it."""
    return _status("VmHWM")


def held_mib() -> float:
    """The memory this process holds now."""
    return _status("VmRSS")


def _status(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found, "a Linux"
    return int(found[1]) / 1024


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text(encoding="utf-8")
    show_rows([json.loads(one) for one in text.splitlines() if one.startswith('{"name"')])
