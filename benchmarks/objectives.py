"""Is our span corruption faster than nanoT5's collator? One JSON line for each side, raw tokens a CPU second.

    python benchmarks/objectives.py [--peer PATH_TO_NANOT5_CHECKOUT] [--rows 128] [--repeats 15]

The peer is `DataCollatorForT5MLM` (github.com/PiotrNawrot/nanoT5), given arrays, which is what it likes best, and a
stand-in for the tokenizer, of which it asks two numbers. Both sides take the same tokens, in turns, in one process;
the value is the median, the spread the range from the first to the third quartile. Lengths: 568 raw → 512/114.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rounds import calls_for, measure, row
from textfer.batch import Ids, Int32, Specials
from textfer.draws import Draws, address
from textfer.objectives import IidCorruption, Objective, SpanCorruption

RAW_LEN, INPUTS_LEN, TARGETS_LEN = 568, 512, 114
SPECIALS = Specials(pad=0, eos=1, sentinels=np.arange(32_099, 31_999, -1, dtype=np.int32))


class Tokenizer:
    """What the peer asks of a tokenizer."""

    eos_token_id = 1

    def __len__(self) -> int:
        return 32_100


def ours(objective: Objective, tokens: Int32) -> Callable[[], list[Ids]]:
    """A call of the objective with fresh keys each time, as the stream makes it."""
    calls = iter(range(1 << 30))

    def run() -> list[Ids]:
        keys = address(0, "benchmark", next(calls), np.arange(len(tokens)))
        return objective(tokens, SPECIALS, Draws(keys))

    return run


def peer(checkout: Path, tokens: Int32) -> Callable[[], Any]:
    """A call of nanoT5's collator on rows of the same tokens."""
    spec = importlib.util.spec_from_file_location("peer_collator", checkout / "nanoT5" / "utils" / "copied_utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    for name in typing.__all__:  # which it gets from a module of transformers that no longer has them
        setattr(module, name, getattr(typing, name))
    spec.loader.exec_module(module)
    collate = module.DataCollatorForT5MLM(
        tokenizer=Tokenizer(),
        noise_density=0.15,
        mean_noise_span_length=3.0,
        input_length=INPUTS_LEN,
        target_length=TARGETS_LEN,
        pad_token_id=0,
    )
    examples = [{"input_ids": row} for row in tokens]
    return lambda: collate(examples)


def check(sides: dict[str, Callable[[], Any]]) -> None:
    """Both sides make the same lengths."""
    for name, run in sides.items():
        made = run()
        if isinstance(made, dict):  # the peer's counts include the end marks
            assert made["input_ids"].shape[1] == INPUTS_LEN, name
            assert made["labels"].shape[1] == TARGETS_LEN, name
        elif "span corruption" in name:
            assert len(made[0].inputs) + 1 == INPUTS_LEN, name
            assert len(made[0].targets) + 1 == TARGETS_LEN, name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="a checkout of nanoT5; needs transformers and torch")
    parser.add_argument("--rows", type=int, default=128, help="rows of a call (nanoT5's batch is 128)")
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    tokens = np.random.default_rng(0).integers(3, 32_000, (1024, RAW_LEN)).astype(np.int32)
    few = tokens[: args.rows]
    sizes = {
        f"span corruption, {len(few)} rows a call: textfer": (few, ours(SpanCorruption(), few)),
        f"span corruption, {len(tokens)} rows a call: textfer": (tokens, ours(SpanCorruption(), tokens)),
        f"i.i.d. corruption, {len(tokens)} rows a call: textfer": (tokens, ours(IidCorruption(), tokens)),
    }
    if args.peer:
        sizes[f"span corruption, {len(few)} rows a call: nanoT5"] = (few, peer(args.peer, few))
    runs = {name: run for name, (_, run) in sizes.items()}
    check(runs)
    for name, seconds in measure(
        runs, repeats=args.repeats, calls=calls_for(runs, seconds=0.05), clock=time.process_time
    ).items():
        row(name, [sizes[name][0].size / second / 1e6 for second in seconds], "M raw tokens/s")


if __name__ == "__main__":
    main()
