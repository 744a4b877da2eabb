"""What the benchmarks share: sides measured in turns, and the one JSON line that a result is.

The machines these run on are seldom quiet, so a peer is always measured in the same process, round by round, and what
is compared is the ratio inside a round: a slow moment hits both.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def measure(
    sides: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    calls: Mapping[str, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of one call, of every repeat of every side, the sides in turns after one round of warming up.

    `clock=time.process_time`: seconds of CPU, which leave out the time given to other processes.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for repeat in range(repeats + 1):
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
    print(json.dumps(line | facts()), flush=True)


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
    """The most memory this process has held so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
