"""How long does a person wait? Seconds of new processes: help, import, the first answer. One JSON line each.

    OMP_NUM_THREADS=1 python benchmarks/startup.py [--rounds 7]

The peer is the import alone that a program with transformers' T5 begins with; it has not read a model yet. The model
that answers is a two-layer T5 over bytes with random weights, made here: what is measured is the way to the answer, not
the model. Files are in the system's cache after the first, unmeasured round.
Seconds of CPU are told besides: on a quiet machine they are nearly all of the time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from rounds import measure, quartiles, rounded, row
from textfer.models.t5 import T5
from textfer.tokenizers import load_tokenizer

PEER = "from transformers import T5ForConditionalGeneration"


def make_model(folder: Path) -> Path:
    """A hub-format folder of a tiny model, its vocabulary beside it."""
    tokenizer = load_tokenizer("bytes")
    torch.manual_seed(0)
    shape = {"model_dim": 64, "ff_dim": 128, "head_dim": 16, "num_heads": 4, "num_layers": 2}
    model = T5.make(shape, vocab_size=tokenizer.vocab_size)
    model.save(folder / "model")
    tokenizer.save(folder / "model" / "tokenizer")
    return folder / "model"


def command(spent: list[float], *words: str) -> Callable[[], None]:
    """A new process to its end; its seconds of CPU are noted."""

    def run() -> None:
        before = os.times()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        spent.append(sum(after[2:4]) - sum(before[2:4]))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = str(make_model(Path(folder)))
        question = ("ask", "--model", model, "--context", "Anna Baker lives in Paris.", "Where does Anna live?")
        words = {
            "textfer --help": ("-m", "textfer", "--help"),
            "import textfer": ("-c", "import textfer"),
            "import textfer, a model's class too": ("-c", "import textfer.models.t5"),
            "textfer ask, first answer": ("-m", "textfer", *question),
            "transformers: import T5ForConditionalGeneration": ("-c", PEER),
            "torch: import alone": ("-c", "import torch"),
        }
        spent: dict[str, list[float]] = {name: [] for name in words}
        seconds = measure({name: command(spent[name], *words[name]) for name in words}, repeats=args.rounds)
    peer = seconds["transformers: import T5ForConditionalGeneration"]
    for name, times in seconds.items():
        ratio = quartiles([theirs / ours for ours, theirs in zip(times, peer, strict=True)])
        more = {"of CPU": rounded(statistics.median(spent[name][1:]))}
        row(f"start, {name}", times, "s", **more, **{"transformers' import / this": [round(part, 2) for part in ratio]})


if __name__ == "__main__":
    main()
