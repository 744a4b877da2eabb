"""Does a mixture of many tasks ever starve training? One JSON line each.

    OMP_NUM_THREADS=1 python benchmarks/mixture.py --data DIR [--mixture exmix_open] [--rounds 5]
        [--only exact open text prepare wait]

exact: by how many examples the count of any task is off its rate, in any prefix of two million examples.
open: a new process, everything cached: from the end of the imports to the stream and to its first step, by the clock
and in seconds of CPU.
text: blocks of the mixture from token tables to packed and to unpacked batches, in seconds of CPU of one core; and the
examples a second.
prepare: the first 1,000 rows of each task, read, said in T5's form and cut by the vocabulary into an empty cache, by
one process and by one a core; this happens once a task.
wait: t5-mini trained on the mixture by the trainer itself; the share of a step's time spent waiting for its batch.

Reads DIR/tokenizers/t5/spiece.model. The first run prepares all tasks, which takes a minute or two.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rounds import measure, row
from textfer.data import preparing
from textfer.data.layout import Lens
from textfer.data.mixing import Mixing, mixing_rates
from textfer.data.named import task_names
from textfer.data.preparing import prepare_all
from textfer.data.schedule import Schedule
from textfer.data.stream import BLOCK, Cursor, Stream, StreamOptions, Supervised
from textfer.data.tokens import RowChoice
from textfer.tokenizers import Tokenizer, load_tokenizer

LENS = Lens(512, 114)
BATCH = 32
POSITIONS = 2_000_000
PREPARED_ROWS = 1000
WAIT_STEPS, WARM_STEPS = 24, 4


def vocabulary(data: Path) -> Tokenizer:
    return load_tokenizer(str(data / "tokenizers" / "t5" / "spiece.model"))


def stream_of(mixture: str, data: Path, *, pack: bool = True) -> Stream:
    """The mixture's training stream."""
    tokenizer = vocabulary(data)
    names = task_names([mixture])
    tables = prepare_all(names, "train", tokenizer, RowChoice(data_dir=data))
    parts = {name: Supervised(table, LENS, tokenizer.specials.eos) for name, table in tables.items()}
    rates = mixing_rates([mixture], lambda name: len(parts[name]), Mixing())
    options = StreamOptions(
        seed=0, layout="encdec", lens=LENS, specials=tokenizer.specials, batch_size=BATCH, pack=pack
    )
    return Stream([parts[name] for name in rates], list(rates.values()), options)


def exact(stream: Stream, label: str) -> None:
    """The most that any count is off."""
    schedule, counts, most = Schedule(stream.rates), np.zeros(len(stream.rates)), 0.0
    size = 20_000
    for start in range(0, POSITIONS, size):
        tasks, _ = schedule(np.arange(start, start + size))
        for task, rate in enumerate(stream.rates):
            heard = counts[task] + np.cumsum(tasks == task)
            most = max(most, float(np.abs(heard - np.arange(start + 1, start + size + 1) * rate).max()))
            counts[task] = heard[-1]
    row(f"{label}: most that a task is off its rate, any prefix of {POSITIONS:,}", [most], "examples", in_full=most)


def open_in_new_process(mixture: str, data: Path, *, rounds: int, label: str) -> None:
    """Seconds to the first step of a process that finds everything cached."""
    found: list[list[float]] = []
    for _ in range(rounds):
        words = [sys.executable, __file__, "--data", str(data), "--mixture", mixture, "--first-step"]
        begun = time.perf_counter()
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found.append([*map(float, done.stdout.split()), time.perf_counter() - begun])
    names = ("to the stream", "to the stream, CPU", "to the first step", "to the first step, CPU", "the whole process")
    for number, name in enumerate(names):
        row(f"{label}: open, {name}", [one[number] for one in found], "s")


def first_step(mixture: str, data: Path) -> None:
    """Prints the seconds, by the clock and of CPU, from the end of the imports to the stream, and to its first step."""
    begun, cpu = time.perf_counter(), time.process_time()
    stream = stream_of(mixture, data)
    print(time.perf_counter() - begun, time.process_time() - cpu)
    next(stream.steps(Cursor()))
    print(time.perf_counter() - begun, time.process_time() - cpu)


def tokens_of(rows: list[list[Any]]) -> int:
    return sum(len(ids.inputs) + len(ids.targets) for one in rows for ids in one)


def text(mixture: str, data: Path, *, rounds: int, label: str) -> None:
    """Tokens a second of one core."""
    for pack in (True, False):
        stream = stream_of(mixture, data, pack=pack)
        numbers = iter(range(1 << 30))
        made: list[int] = []

        def block(stream: Stream = stream, numbers: Iterator[int] = numbers, made: list[int] = made) -> None:
            rows = stream.block(next(numbers))
            for start in range(0, len(rows), BATCH):
                stream.arrange(rows[start : start + BATCH])
            made.append(tokens_of(rows))

        seconds = measure({"block": block}, repeats=rounds * 4, clock=time.process_time)["block"]
        kind = "packed" if pack else "not packed"
        speeds = [tokens / one / 1e3 for tokens, one in zip(made[1:], seconds, strict=True)]
        row(f"{label}: token tables to batches, {kind}", speeds, "k tokens/s a core")
        row(f"{label}: the same, {kind}", [BLOCK / one for one in seconds], "examples/s a core")


def prepare(mixture: str, data: Path, *, label: str) -> None:
    """Rows to token tables, in an empty cache."""
    names, tokenizer, choice = task_names([mixture]), vocabulary(data), RowChoice(data_dir=data, limit=PREPARED_ROWS)
    cores = preparing.num_cores()
    for workers in (1, cores):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["TEXTFER_CACHE"] = cache
            preparing.num_cores = lambda workers=workers: workers
            begun, cpu = time.perf_counter(), time.process_time()
            tables = prepare_all(names, "train", tokenizer, choice)
            seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu  # not that of the workers
            tokens = sum(table.num_tokens("inputs") + table.num_tokens("targets") for table in tables.values())
            name = f"{label}: prepare {tokens / 1e6:.1f} M tokens, {workers} process{'es' if workers > 1 else ''}"
            row(name, [seconds], "s", cpu_of_the_first=round(cpu, 1))
            if workers == 1:
                row(f"{label}: text to token tables", [tokens / cpu / 1e3], "k tokens/s a core")


def wait(mixture: str, data: Path, *, label: str) -> None:
    """The share of a step's time that the trainer waits for its batch."""
    import textfer.training.trainer as trainer
    from textfer.recipe import load_recipe
    from textfer.run import run_train

    waited: list[float] = []
    whole = trainer.prefetched

    def timed(items: Iterator[Any], **options: Any) -> Generator[Any, None, None]:
        steps = whole(items, **options)
        while True:
            begun = time.perf_counter()
            step = next(steps, None)
            waited.append(time.perf_counter() - begun)
            if step is None:
                return
            yield step

    trainer.prefetched = timed
    words = [f'data.tasks=["{mixture}"]', "data.inputs_len=512", "data.targets_len=114", "objective=none"]
    words += [f"tokenizer.path={data / 'tokenizers' / 't5' / 'spiece.model'}", f"training.num_steps={WAIT_STEPS}"]
    words += ["training.save_every=none", "training.save_every_seconds=none", "training.batch_size=16"]
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as run:
        run_train(load_recipe("pretrain-mini", words), Path(run), display=Watch(seconds), data_dir=data)
    steps = list(zip(waited, seconds, strict=False))[WARM_STEPS:]
    share = 100 * sum(one for one, _ in steps) / sum(all_ for _, all_ in steps)
    row(f"{label}: t5-mini, 16 examples a step, share of a step spent waiting", [share], "%", steps=len(steps))
    row(f"{label}: the same, waiting for a batch", [one * 1e3 for one, _ in steps], "ms")
    row(f"{label}: the same, a step", [all_ * 1e3 for _, all_ in steps], "ms")


class Watch:
    """Keeps the seconds of each step."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = seconds

    def stepped(self, record: Any) -> None:
        self.seconds.append(record["seconds"])

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TEXTFER_DATA"))
    parser.add_argument("--mixture", default="exmix_open")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["exact", "open", "text", "prepare", "wait"])
    parser.add_argument("--first-step", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.data is None:
        parser.error("needs --data")
    if args.first_step:
        first_step(args.mixture, args.data)
        return
    stream = stream_of(args.mixture, args.data)
    label = f"{args.mixture}, {len(stream.parts)} tasks"
    if "exact" in args.only:
        exact(stream, label)
    if "open" in args.only:
        open_in_new_process(args.mixture, args.data, rounds=args.rounds, label=label)
    if "text" in args.only:
        text(args.mixture, args.data, rounds=args.rounds, label=label)
    if "wait" in args.only:
        wait(args.mixture, args.data, label=label)
    if "prepare" in args.only:
        prepare(args.mixture, args.data, label=label)


if __name__ == "__main__":
    main()
