"""How fast are tokens made into batches, how soon after a resume, and in how much memory? One JSON line each.

    OMP_NUM_THREADS=1 python benchmarks/pipeline.py --data DIR [--rounds 7] [--only text squad resume memory]

text: Wikipedia in token tables → pieces of 568 tokens → span corruption → packing → tensors, on one core. squad: pairs
of questions and answers, packed into rows of 512 and 114. Every stage is timed alone, then the whole as the trainer
asks for it, in seconds of CPU. Reads DIR/text/wikipedia_en, SQuAD and DIR/tokenizers/t5/spiece.model; resume and
memory need no data.

resume: a new process opens a table and asks for the step that stands at block 1,000,000.
memory: 200 steps of 32 packed rows from tables of 10 and of 500 million tokens, in a process each. What the process
itself holds is told apart from the pages of the table that the kernel keeps mapped and can drop at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rounds import measure, rounded, row
from textfer.batch import Ids, Specials
from textfer.data.layout import Lens, pack
from textfer.data.stream import BLOCK, Cursor, Denoised, Part, Stream, StreamOptions, Supervised
from textfer.data.tokens import RowChoice, TokenTable, open_table, prepare
from textfer.draws import Draws, address
from textfer.objectives import SpanCorruption
from textfer.recipe import find_task
from textfer.tokenizers import load_tokenizer

LENS = Lens(512, 114)
T5_SPECIALS = Specials(pad=0, eos=1, sentinels=np.arange(32_099, 31_999, -1, dtype=np.int32))
BATCH = 32
LATE = Cursor(block=1_000_000)
MEMORY_STEPS = 200
CHUNK = 10_000_000


def stream_of(part: Part, specials: Specials) -> Stream:
    """One task, packed."""
    options = StreamOptions(seed=0, layout="encdec", lens=LENS, specials=specials, batch_size=BATCH, pack=True)
    return Stream([part], [1.0], options)


def blocks_of(stream: Stream) -> Callable[[], int]:
    """A call makes the batches of one whole block and gives its tokens back; each call takes the next block."""
    numbers = iter(range(1 << 30))

    def run() -> int:
        rows = stream.block(next(numbers))
        batches = [stream.arrange(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
        return sum(batch.num_tokens for batch in batches)

    return run


def report(name: str, stages: dict[str, Callable[[], object]], num_tokens: float, unit: str, *, rounds: int) -> None:
    """The rate of every stage over one block."""
    for stage, seconds in measure(stages, repeats=rounds, clock=time.process_time).items():
        share = {"ms a block of 1,024 examples": rounded(1e3 * statistics.median(seconds))}
        row(f"{name}: {stage}", [num_tokens / second / 1e6 for second in seconds], unit, **share)


def lens_of(examples: Sequence[Ids]) -> tuple[list[int], list[int]]:
    return [len(one.inputs) for one in examples], [len(one.targets) for one in examples]


def after_ids(stream: Stream, examples: Sequence[Ids]) -> dict[str, Callable[[], object]]:
    """The stages that follow the making of ids."""
    sizes = lens_of(examples)
    rows = [[examples[at] for at in group] for group in pack(*sizes, LENS, together=False)]
    return {
        "pack": lambda: pack(*sizes, LENS, together=False),
        "lay out as tensors": lambda: [
            stream.arrange(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)
        ],
        "all, as the trainer asks": blocks_of(stream),
    }


def text(data: Path, *, rounds: int) -> None:
    """Plain text: what pre-training reads."""
    tokenizer = load_tokenizer(str(data / "tokenizers" / "t5" / "spiece.model"))
    table = prepare(find_task("wikipedia_en"), "train", tokenizer, RowChoice(data_dir=data, limit=4000))
    objective, specials = SpanCorruption(), tokenizer.specials
    part = Denoised(table, objective, LENS, specials)
    stream = stream_of(part, specials)
    places = [place[2] for place in stream.places(np.arange(BLOCK))]
    keys = address(0, part.name, 0, np.array(places))
    eos = specials.eos if objective.document_eos else None

    def read() -> list[np.ndarray]:
        starts = [place * part.raw_len for place in places]
        return [table.joined(start, start + part.raw_len, eos=eos) for start in starts]

    pieces = np.stack([piece for piece in read() if len(piece) == part.raw_len])
    stages: dict[str, Callable[[], object]] = {
        f"read {part.raw_len}-token pieces": read,
        "span corruption": lambda: objective(pieces, specials, Draws(keys[: len(pieces)])),
        **after_ids(stream, part.ids(places, keys)),
    }
    report("pipeline, text", stages, BLOCK * part.raw_len, "M raw tokens/s a core", rounds=rounds)


def squad(data: Path, *, rounds: int) -> None:
    """Pairs: what fine-tuning reads."""
    tokenizer = load_tokenizer(str(data / "tokenizers" / "t5" / "spiece.model"))
    table = prepare(find_task("squad"), "train", tokenizer, RowChoice(data_dir=data, limit=8000))
    part = Supervised(table, LENS, tokenizer.specials.eos)
    stream = stream_of(part, tokenizer.specials)
    places = [place[2] for place in stream.places(np.arange(BLOCK))]
    keys = address(0, part.name, 0, np.array(places))
    examples = part.ids(places, keys)
    num_tokens = sum(map(sum, lens_of(examples)))
    filled = sum(lens_of(examples)[0]) / (len(pack(*lens_of(examples), LENS, together=False)) * LENS.inputs)
    stages: dict[str, Callable[[], object]] = {
        "read and end": lambda: part.ids(places, keys),
        **after_ids(stream, examples),
    }
    report("pipeline, SQuAD packed", stages, num_tokens, "M tokens/s a core", rounds=rounds)
    row("pipeline, SQuAD packed: share of the encoder's rows that is not padding", [filled], "of 1")


def make_table(folder: Path, num_tokens: int) -> Path:
    """A table of random ids in documents of 500 tokens; written in chunks."""
    rng = np.random.default_rng(0)
    with (folder / "targets.bin").open("wb") as file:
        for start in range(0, num_tokens, CHUNK):
            rng.integers(3, 32_000, min(CHUNK, num_tokens - start), dtype=np.uint16).tofile(file)
    (folder / "inputs.bin").write_bytes(b"")
    ends = np.arange(0, num_tokens + 1, 500, dtype=np.int64)
    np.save(folder / "targets_offsets.npy", ends)
    np.save(folder / "inputs_offsets.npy", np.zeros_like(ends))
    np.save(folder / "rows.npy", np.arange(len(ends) - 1))
    (folder / "meta.json").write_text(json.dumps({"name": "made-up/train", "dtype": "uint16", "num_skipped": 0}))
    return folder


def stream_over(table: TokenTable) -> Stream:
    return stream_of(Denoised(table, SpanCorruption(), LENS, T5_SPECIALS), T5_SPECIALS)


def in_new_process(*words: str) -> list[float]:
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def first_step(folder: Path) -> float:
    """Seconds from a table on disk to the first step at a late place."""
    start = time.perf_counter()
    next(stream_over(open_table(folder)).steps(LATE))
    return time.perf_counter() - start


def held() -> tuple[float, float]:
    """MiB of this process: its own, and pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: float(line.split()[1]) / 1024 for line in lines if line.startswith("Rss")}
    return sizes["RssAnon"], sizes["RssFile"]


def growth(folder: Path) -> tuple[float, float]:
    """The most MiB, of its own and of files, that 200 steps added to the process."""
    before = held()
    steps = stream_over(open_table(folder)).steps(Cursor())
    most = (0.0, 0.0)
    for _ in range(MEMORY_STEPS):
        next(steps)
        now = held()
        most = max(most[0], now[0] - before[0]), max(most[1], now[1] - before[1])
    return most


def with_tables(only: Sequence[str], *, rounds: int) -> None:
    """Resume and memory, over tables made for it and deleted after."""
    for num_tokens in (10_000_000, 500_000_000):
        with tempfile.TemporaryDirectory() as made:
            folder, size = make_table(Path(made), num_tokens), f"{num_tokens // 10**6} M tokens"
            if "resume" in only:
                seconds = [in_new_process("--first-step", str(folder))[0] for _ in range(rounds)]
                row(f"pipeline, {size}: first step at block {LATE.block:,}", seconds, "s")
            if "memory" in only:
                grown = [in_new_process("--growth", str(folder)) for _ in range(3)]
                name = f"pipeline, {size}: memory that {MEMORY_STEPS} steps add"
                row(f"{name}, the process's own", [own for own, _ in grown], "MiB")
                row(f"{name}, pages of the table", [pages for _, pages in grown], "MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("TEXTFER_DATA"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", default=["text", "squad", "resume", "memory"])
    parser.add_argument("--first-step", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--growth", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.first_step:
        print(first_step(args.first_step))
        return
    if args.growth:
        print(*growth(args.growth))
        return
    for name, run in (("text", text), ("squad", squad)):
        if name in args.only:
            if args.data is None:
                parser.error(f"{name} needs --data")
            run(args.data, rounds=args.rounds)
    with_tables(args.only, rounds=args.rounds)


if __name__ == "__main__":
    main()
