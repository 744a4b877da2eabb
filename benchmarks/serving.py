"""How fast, and how large, are answers served on a CPU? One JSON line for each size and side, then a Markdown table.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive python benchmarks/serving.py [--rounds 9] [--minutes 8] [--quick]
        [--only 1x16 16x64 reader] [--memory 1x16 16x64 reader]

A T5 in the shape of t5-v1.1-small writes 16 and 64 tokens after 1 and 16 inputs: ours in float32, in int8, and in int8
by two queues of one thread; transformers; CTranslate2 in int8 in its best layout (one thread for one input, two queues
of one thread for 16). A BERT in MiniLM's shape reads 32 paragraphs, 8 of similar length at once: ours in float32 and
int8, transformers in float32, onnxruntime in int8. Weights are random and the same on all sides; inputs are made up, as
long as SQuAD's questions with their paragraphs (90 to 300 tokens). Nobody knows an end mark. Sides take turns;
`--memory` lets each side do its work once in a process of its own, from the float32 file.

`--minutes`: for all rounds; loading (about a minute) and memory (some ten seconds a side) come on top.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import serving_peers
from rounds import LINES, held_mib, measure, peak_mib, quartiles, row, show_rows
from serving_peers import PARAGRAPHS, READER, SIZES, Run, groups, made_up, peers
from textfer.batch import Batch, Ids, Specials
from textfer.config import load_layers
from textfer.data.layout import LAYOUTS, Lens
from textfer.generate import Decoding
from textfer.generate.decoding import decode
from textfer.heads import Head
from textfer.models.bert import Bert
from textfer.models.headed import Headed
from textfer.models.int8 import lay_int8
from textfer.models.t5 import T5

SHARES = {"1x16": 0.05, "1x64": 0.15, "16x16": 0.2, "16x64": 0.4, READER: 0.2}
"""Of the time for all rounds; about what a round of each takes."""
VOCAB = 32128
SPECIALS = Specials(pad=0, eos=-1)
MINILM = {
    "model_dim": 384,
    "ff_dim": 1536,
    "num_heads": 12,
    "num_layers": 6,
    "masked_lm": False,
    "next_sentence": False,
}


class Names:
    """A vocabulary of numbered names: what CTranslate2 and the ONNX folder are given."""

    specials = Specials(pad=0, eos=1)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return serving_peers.names(ids)

    def save(self, directory: Path) -> None:
        """Nothing: no text is read."""


def arranged(layout: str, inputs: Sequence[np.ndarray]) -> Batch:
    """The inputs as one batch of what reads."""
    num_targets = int(layout == "encdec")
    rows = [[Ids(ids, np.zeros(num_targets, np.int32))] for ids in inputs]
    batch = LAYOUTS[layout].arrange(rows, Lens(max(map(len, inputs)), num_targets), SPECIALS)
    return Batch(encoder=batch.encoder)


def write(folder: Path, size: str, *, int8: bool, queues: int) -> Run:
    """Ours, that writes: one input by one thread, several by two threads or by two queues of one."""
    num_inputs, num_tokens = SIZES[size]
    model = T5.load(folder / "hf").eval()
    if int8:
        lay_int8(model)
    model.lay_for_generation()
    ordered = sorted(made_up(num_inputs), key=len)
    batches = [arranged("encdec", ordered[at::queues]) for at in range(queues)]
    pool = ThreadPoolExecutor(queues)

    def one(batch: Batch) -> list[tuple[list[int], float]]:
        with torch.inference_mode():
            return decode(model, batch, Decoding(max_new_tokens=num_tokens), SPECIALS)

    def run() -> object:
        torch.set_num_threads(1 if queues == 2 or num_inputs == 1 else 2)
        found = list(pool.map(one, batches)) if queues == 2 else [one(batches[0])]
        assert all(len(ids) == num_tokens for part in found for ids, _ in part), "all tokens are written"
        return found

    return run


def read(folder: Path, *, int8: bool) -> Run:
    """Ours, that reads, by two threads."""
    model = Headed.load(folder / "bert").eval()
    if int8:
        lay_int8(model)
    batches = [arranged("pair", some) for some in groups()]

    def run() -> object:
        torch.set_num_threads(2)
        with torch.inference_mode():
            return [model(batch) for batch in batches]

    return run


def ours(size: str, folder: Path) -> dict[str, Callable[[], Run]]:
    """Name → what makes it ready, at one size."""
    if size == READER:
        return {"textfer": partial(read, folder, int8=False), "textfer int8": partial(read, folder, int8=True)}
    found: dict[str, Callable[[], Run]] = {
        "textfer": partial(write, folder, size, int8=False, queues=1),
        "textfer int8": partial(write, folder, size, int8=True, queues=1),
    }
    if SIZES[size][0] > 1:
        found["textfer int8, 2 queues"] = partial(write, folder, size, int8=True, queues=2)
    return found


def write_models(folder: Path, *, only: Sequence[str]) -> None:
    """All sides' files from one set of random weights."""
    from textfer.export.ct2 import write_ct2
    from textfer.export.onnx import FILE, write_onnx

    torch.manual_seed(0)
    vocabulary: Any = Names()
    if set(only) - {READER}:
        options = {key: value for key, value in load_layers("t5-v1_1-small")["model"].items() if key != "name"}
        model = T5.make(options, vocab_size=VOCAB).eval()
        model.save(folder / "hf")
        write_ct2(model, vocabulary, folder / "ct2")
    if READER in only:
        from onnxruntime.quantization import quantize_dynamic

        headed = Headed(Bert.make(MINILM, vocab_size=VOCAB), [Head(name="span", kind="span")]).eval()
        headed.save(folder / "bert")
        write_onnx(headed, vocabulary, folder / "onnx")
        quantize_dynamic(folder / "onnx" / FILE, folder / "int8.onnx")


def memory_of(size: str, side: str, folder: Path) -> tuple[int, int]:
    """MiB that a process of its own needs at most for one side alone, and those that it holds after one run."""
    place = [__file__, "--alone"] if side.startswith("textfer") else [serving_peers.__file__]
    done = subprocess.run([sys.executable, *place, size, side, str(folder)], capture_output=True, text=True, check=True)
    peak, held = json.loads(done.stdout.splitlines()[-1])
    return round(peak), round(held)


def ratios(side: str, seconds: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The time of each peer over this side's, inside a round: quartiles."""
    return {
        f"time of {name} / this": [
            round(part, 2) for part in quartiles([a / b for a, b in zip(theirs, seconds[side], strict=True)])
        ]
        for name, theirs in seconds.items()
        if name != side and not name.startswith("textfer")
    }


def one_size(size: str, folder: Path, *, rounds: int, within: float, memory: bool) -> None:
    """The lines of one size."""
    makers = ours(size, folder) | peers(size, folder)
    began = time.perf_counter()
    seconds = measure({side: make() for side, make in makers.items()}, repeats=rounds, within=within)
    gc.collect()
    print(f"# {size}: {time.perf_counter() - began:.0f} s with loading", file=sys.stderr)
    count = PARAGRAPHS if size == READER else SIZES[size][0] * SIZES[size][1]
    for side, times in seconds.items():
        more: dict[str, Any] = dict(ratios(side, seconds))
        if memory:
            more["MiB at most"], more["MiB held"] = memory_of(size, side, folder)
        unit = "paragraphs/s" if size == READER else "tokens/s"
        row(f"serving, {size}, {side}", [count / one for one in times], unit, **more)


def main() -> None:
    everything = [*SIZES, READER]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of each size at most")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all rounds; of each size there is one always")
    parser.add_argument("--quick", action="store_true", help="one input, 16 tokens, and the reader; two rounds")
    parser.add_argument("--memory", nargs="*", default=[], choices=everything, help="also the memory of each side")
    parser.add_argument("--only", nargs="*", default=everything, choices=everything)
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        size, side, place = args.alone
        ours(size, Path(place))[side]()()
        print(json.dumps([peak_mib(), held_mib()]))
        return
    only, rounds = (["1x16", READER], 2) if args.quick else (args.only, args.rounds)
    whole = sum(SHARES[size] for size in only)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_models(folder, only=only)
        for size in only:
            within = 60 * args.minutes * SHARES[size] / whole
            one_size(size, folder, rounds=rounds, within=within, memory=size in args.memory)
    show_rows(LINES)


if __name__ == "__main__":
    main()
