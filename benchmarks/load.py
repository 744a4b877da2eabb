"""Many clients at once: how long answers take, who is refused, and whether memory grows. JSON and a Markdown table.

    OMP_NUM_THREADS=1 python benchmarks/load.py --model RUN [--clients 200] [--seconds 60] [--leave 0.02]

Starts `textfer serve` on a free port of 127.0.0.1 and asks it there, from threads of this process, which share the
machine's cores with it: each client asks, waits for the answer and asks again, for that long. Texts are of mixed
length (half are one sentence, some are sixty), a third of the answers are streamed, and a share of the clients leaves
in the middle. A client that is refused with 429 waits as long as Retry-After says. Reported: seconds to an answer
(p50, p95, p99, longest), seconds to the first piece of a stream, answers a second, statuses, what went wrong
otherwise, and the server's resident memory after the first tenth, at the end and at its highest. It takes some twenty
seconds beside those asked for, and two minutes more at worst, when answers do not come.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from rounds import facts

NAMES = ("Mara", "Odo", "Lena", "Tibor", "Rory", "Maud")
PLACES = ("Oldham", "Belm", "Aldon", "Harrow", "Selby", "Thorne")
LENGTHS = (1, 1, 1, 4, 12, 60)
"""Sentences of a text."""
MIB = 1 << 20


@dataclass
class Seen:
    """What all clients saw together."""

    seconds: list[float] = field(default_factory=list)
    first_seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def text_of(draw: random.Random) -> str:
    """Some sentences that no cache has seen."""
    return " ".join(
        f"{draw.choice(NAMES)} keeps {draw.randrange(10_000)} bees in {draw.choice(PLACES)}."
        for _ in range(draw.choice(LENGTHS))
    )


def one_client(url: str, number: int, seen: Seen, last: float, leave: float) -> None:
    """Asks until the time is over."""
    draw = random.Random(number)
    with httpx.Client(base_url=url, timeout=120, trust_env=False, verify=False) as http:  # no certificates to load
        while time.monotonic() < last:
            began = time.monotonic()
            try:
                status, wait = ask(http, draw, seen, leave)
            except (httpx.HTTPError, KeyError, ValueError) as error:
                with seen.lock:
                    seen.faults[f"{type(error).__name__}: {str(error)[:80]}"] += 1
                continue
            with seen.lock:
                seen.statuses[status] += 1
                if status == "200":
                    seen.seconds.append(time.monotonic() - began)
            if wait:
                time.sleep(wait * draw.uniform(1.0, 2.0))


def ask(http: httpx.Client, draw: random.Random, seen: Seen, leave: float) -> tuple[str, float]:
    """(status, seconds to wait before the next)"""
    text, kind = text_of(draw), draw.randrange(3)
    if draw.random() < leave:
        with http.stream("POST", "/v1/generate", json={"text": text, "stream": True}) as response:
            next(response.iter_raw(), b"")
        return "left", 0.0
    if kind == 0:
        response = http.post("/v1/answer", json={"question": f"Where does {draw.choice(NAMES)} live?", "context": text})
        if response.status_code == 200:
            response.json()["score"]
    elif kind == 1:
        response = http.post("/v1/generate", json={"text": text, "max_new_tokens": draw.choice((4, 16, 48))})
        if response.status_code == 200:
            response.json()["text"]
    else:
        return streamed(http, text, draw, seen)
    return str(response.status_code), float(response.headers.get("retry-after", 0))


def streamed(http: httpx.Client, text: str, draw: random.Random, seen: Seen) -> tuple[str, float]:
    """The same for an answer in pieces."""
    began, first, whole = time.monotonic(), None, ""
    body = {"text": text, "max_new_tokens": draw.choice((4, 16, 48)), "stream": True}
    with http.stream("POST", "/v1/generate", json=body) as response:
        for part in response.iter_text():
            first = first or time.monotonic() - began
            whole += part
    if response.status_code == 200:
        if not whole.endswith("data: [DONE]\n\n") or '"error"' in whole:
            raise ValueError(f"a stream ended with {whole[-60:]!r}")
        with seen.lock:
            seen.first_seconds.append(first or 0.0)
    return str(response.status_code), float(response.headers.get("retry-after", 0))


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    return int(found[1]) * 1024 if found else 0


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95, p99 and the longest."""
    if not seconds:
        return {}
    values = np.percentile(seconds, [50, 95, 99, 100])
    return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99", "max"), values, strict=True)}


def start(model: str, more: list[str]) -> tuple[subprocess.Popen[str], str]:
    """(the server, its address)"""
    command = [sys.executable, "-m", "textfer", "serve", f"--name=model={model}", "--port=0", *more]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(r"serving at (\S+) ", line):
            # the log must be read on, or the server would wait for its reader
            threading.Thread(target=lambda: [None for _ in server.stderr or ()], daemon=True).start()
            return server, found[1]
    raise SystemExit(f"the server ended with {server.wait()}")


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--leave", type=float, default=0.02)
    parser.add_argument("--serve", nargs="*", default=[], help="options of `textfer serve`, each as --name=value")
    given = parser.parse_args()
    server, url = start(given.model, given.serve)
    try:
        seen = measure(server.pid, url, given)
        print(json.dumps(seen), flush=True)
        show(seen)
    finally:
        server.terminate()
        code = server.wait(60)
    if code:
        raise SystemExit(f"the server ended with {code}")


def measure(pid: int, url: str, given: argparse.Namespace) -> dict[str, Any]:
    """What came of it."""
    httpx.post(f"{url}/v1/generate", json={"text": text_of(random.Random(0))}, timeout=120, trust_env=False)
    seen, last = Seen(), time.monotonic() + given.seconds
    memory = [resident(pid)]
    threads = [
        threading.Thread(target=one_client, args=(url, number, seen, last, given.leave))
        for number in range(given.clients)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(given.seconds / 100)
        memory.append(resident(pid))
    metrics = httpx.get(f"{url}/metrics", trust_env=False).text
    return {
        "name": "load",
        "clients": given.clients,
        "seconds": given.seconds,
        "answers": len(seen.seconds),
        "answers_per_second": round(len(seen.seconds) / given.seconds, 2),
        "answer_seconds": percentiles(seen.seconds),
        "first_piece_seconds": percentiles(seen.first_seconds),
        "statuses": dict(seen.statuses),
        "faults": dict(seen.faults),
        "mib_at_a_tenth": round(memory[len(memory) // 10] / MIB),
        "mib_at_the_end": round(memory[-1] / MIB),
        "mib_highest": round(max(memory) / MIB),
        "engine": dict(re.findall(r'textfer_engine_(\w+){model="model"} (\S+)', metrics)),
        **facts(),
    }


def show(seen: dict[str, Any]) -> None:
    """The same as a Markdown table."""

    def told(some: dict[str, Any]) -> str:
        return ", ".join(f"{name} {value:,}" for name, value in sorted(some.items())) or "none"

    rows = {
        f"{seen['clients']} clients, {seen['seconds']:g} s": "",
        "answers": f"{seen['answers']:,} ({seen['answers_per_second']:,} a second)",
        "s to an answer": told(seen["answer_seconds"]),
        "s to a stream's first piece": told(seen["first_piece_seconds"]),
        "statuses": told(seen["statuses"]),
        "faults": told(seen["faults"]),
        "server's memory, MiB": f"after a tenth {seen['mib_at_a_tenth']:,}, at the end {seen['mib_at_the_end']:,}, "
        f"at most {seen['mib_highest']:,}",
        "load, commit": f"{seen['load']}, {seen['commit']}",
    }
    print("\n| what | value |\n|---|---|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
