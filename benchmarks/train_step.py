"""How fast does a T5-small v1.1 train on a CPU, beside transformers? One JSON line for each question and side.

    OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=passive \\
    python benchmarks/train_step.py --data DIR [--rounds 5] [--only squad dropout dense peak] [--profile]

Reads SQuAD from DIR and DIR/tokenizers/t5/spiece.model. A step is everything: batch, forward, loss, backward, AdamW.
Ours is `Trainer.train_step` on steps of the stream; the peer is T5ForConditionalGeneration with sdpa attention and
AdamW (foreach), its batches padded before the clock starts. Sides take turns in one process, on the same examples;
"grouped" takes other ones, batches of similar lengths as `group_by_length` of the peer's trainer makes them (400
examples sorted at a time). Rates count tokens that are not padding. All sides run under the malloc thresholds that our
training sets. The peer gets its own output matrix: its T5Config turns "untied" into tied weights, a smaller model.

Peak memory is measured in a process for each side, three steps each, over what lay there before the first step.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn.functional import pad

from rounds import measure, peak_mib, quartiles, row
from textfer.batch import Batch, Ids
from textfer.data.layout import Lens
from textfer.data.stream import Cursor, Step, Stream, StreamOptions, Supervised
from textfer.data.tokens import RowChoice, prepare
from textfer.models.layers import product
from textfer.models.t5 import T5
from textfer.recipe import find_task
from textfer.tokenizers import Tokenizer, load_tokenizer
from textfer.training.checkpoint import Run
from textfer.training.distributed import World
from textfer.training.optim import OptimOptions
from textfer.training.process import keep_blocks
from textfer.training.trainer import Trainer, TrainOptions

LENS, PEER_TARGETS = Lens(512, 114), 32
GROUP_BATCHES = 50
WARM_STEPS = 4
LR, EPS = 1e-4, 1e-6
CLOCK = time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter
"""One thread: seconds of CPU are those of the clock on a quiet machine, and on a busy one tell of the program only."""
CEILING, FAST_CEILING = "matrix product 2048³, MKL", "matrix product 2048³, oneDNN"
WITHOUT = "textfer, products by MKL"


@dataclass(frozen=True)
class Sides:
    """Both models, ready to take steps on the same batches."""

    trainer: Trainer
    model: T5
    peer: transformers.T5ForConditionalGeneration
    optimizer: torch.optim.Optimizer

    def ours(self, step: Step) -> None:
        self.trainer.train_step(step)
        self.trainer.settle()

    def ours_by_mkl(self, step: Step) -> None:
        with torch.backends.mkldnn.flags(enabled=False):
            self.ours(step)

    def theirs(self, inputs: dict[str, Tensor]) -> None:
        self.peer(**inputs).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def squad_stream(data: Path, tokenizer: Tokenizer, batch_size: int) -> Stream:
    """SQuAD's questions with their paragraphs, shuffled."""
    table = prepare(find_task("squad"), "train", tokenizer, RowChoice(data_dir=data, limit=8000))
    return Stream([Supervised(table, LENS, tokenizer.specials.eos)], [1.0], options(tokenizer, batch_size))


def options(tokenizer: Tokenizer, batch_size: int) -> StreamOptions:
    return StreamOptions(seed=0, layout="encdec", lens=LENS, specials=tokenizer.specials, batch_size=batch_size)


def build(stream: Stream, folder: Path, *, dropout: float, vocab_size: int) -> Sides:
    """Both sides with as many parameters."""
    torch.manual_seed(0)
    model = T5.make({"dropout": dropout}, vocab_size=vocab_size)
    model.train()
    optim = OptimOptions(name="adamw", lr=LR, eps=EPS)
    train = TrainOptions(num_steps=10**6, batch_size=stream.options.batch_size, optimizer=optim)
    trainer = Trainer(model, stream, Run(folder), World(torch.device("cpu")), options=train)
    config = transformers.T5Config(
        vocab_size=vocab_size,
        d_model=512,
        d_ff=1024,
        d_kv=64,
        num_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
        dropout_rate=dropout,
        decoder_start_token_id=0,
        use_cache=False,
    )
    peer = transformers.T5ForConditionalGeneration(config)
    peer.lm_head.weight = torch.nn.Parameter(torch.randn(vocab_size, 512) * 0.04)
    peer.set_attn_implementation("sdpa")
    peer.train()
    sizes = [sum(one.numel() for one in side.parameters()) for side in (model, peer)]
    assert sizes[0] == sizes[1], sizes
    optimizer = torch.optim.AdamW(peer.parameters(), lr=LR, eps=EPS, weight_decay=0.0, foreach=True)
    return Sides(trainer, model, peer, optimizer)


def peer_inputs(batch: Batch, *, fixed: bool) -> dict[str, Tensor]:
    """What the peer reads: padded to the longest row, or to 512 and 32 tokens."""
    assert batch.encoder is not None
    assert batch.targets is not None
    assert batch.weights is not None
    ids, mask = batch.encoder.ids, (batch.encoder.segments > 0).long()
    labels = batch.targets.masked_fill(batch.weights == 0, -100)
    if fixed:
        more = LENS.inputs - ids.shape[1]
        ids, mask = pad(ids, (0, more)), pad(mask, (0, more))
        labels = pad(labels, (0, max(0, PEER_TARGETS - labels.shape[1])), value=-100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def as_step(stream: Stream, rows: list[list[Ids]]) -> Step:
    batch = stream.arrange(rows)
    return Step([batch], Cursor(), num_targets=batch.num_targets, num_tokens=batch.num_tokens)


def grouped(stream: Stream, num: int) -> list[Step]:
    """Batches of similar lengths, `num` of them evenly from the shortest to the longest, in random order."""
    rows = stream.rows(Cursor(block=1))
    pool = [next(rows)[0] for _ in range(GROUP_BATCHES * stream.options.batch_size)]
    pool.sort(key=lambda one: len(one[0].inputs))
    size = stream.options.batch_size
    starts = ((np.arange(num) + 0.5) / num * GROUP_BATCHES).astype(int) * size
    steps = [as_step(stream, pool[start : start + size]) for start in starts]
    return [steps[at] for at in np.random.default_rng(0).permutation(num)]


def model_flops(step: Step, *, vocab_size: int = 32_128, readout: bool = True) -> float:
    """Floating-point operations of the matrix products of a training step of real tokens, nothing made twice."""
    D, F, HK, NL = 512, 1024, 384, 8
    (batch,) = step.batches
    assert batch.encoder is not None
    assert batch.decoder is not None
    reads = np.array([run.end - run.start for run in batch.encoder.runs], np.float64)
    writes = np.array([run.end - run.start for run in batch.decoder.runs], np.float64)
    forward = 2.0 * NL * (4 * D * HK + 3 * D * F) * reads.sum()  # encoder
    forward += 2.0 * NL * ((6 * D * HK + 3 * D * F) * writes.sum() + 2 * D * HK * reads.sum())  # decoder
    forward += 4.0 * NL * HK * (reads**2 + writes**2 + reads * writes).sum()  # attention
    forward += 2.0 * D * vocab_size * writes.sum() * readout
    return 3 * float(forward)


def compare(name: str, sides: dict[str, Callable[[], object]], work: dict[str, Iterator[Step]], rounds: int) -> None:
    """Rates of all sides, ratios to ours round by round, and the share of the ceiling that ours reaches."""
    taken: dict[str, list[Step]] = {side: [next(work[side]) for _ in range(rounds + 1)] for side in work}
    left: dict[str, int] = dict.fromkeys(work, 0)

    def run(side: str) -> Callable[[], None]:
        def go() -> None:
            step = taken[side][left[side]]
            left[side] += 1
            sides[side](step)  # type: ignore[call-arg]

        return go

    matrix = torch.randn(2048, 2048)
    ceilings = {CEILING: lambda: torch.mm(matrix, matrix), FAST_CEILING: lambda: product(matrix, matrix)}
    seconds = measure(
        {side: run(side) for side in work} | ceilings,
        repeats=rounds,
        calls=dict.fromkeys(work, 1) | dict.fromkeys(ceilings, 3),
        clock=CLOCK,
    )
    rates = {
        side: [step.num_tokens / second for step, second in zip(taken[side][1:], seconds[side], strict=True)]
        for side in work
    }
    for side in work:
        total = sum(step.num_tokens for step in taken[side][1:]) / sum(seconds[side])
        more: dict[str, object] = {"clock": CLOCK.__name__, "all_rounds": round(total, 1)}
        if side != "textfer":
            reference = "textfer, grouped" if side == "transformers, grouped" and "textfer, grouped" in rates else ""
            for base in filter(None, ("textfer", reference)):
                ratio = quartiles([ours / theirs for ours, theirs in zip(rates[base], rates[side], strict=True)])
                more[f"{base} / this"] = [round(part, 2) for part in ratio]
        row(f"training, {name}: {side}", rates[side], "real tokens/s", **more)
    for ceiling, side in ((CEILING, WITHOUT), (FAST_CEILING, "textfer")):
        most = [2 * 2048**3 / second for second in seconds[ceiling]]
        row(f"training, {name}: {ceiling}, fp32", [one / 1e9 for one in most], "GFLOP/s", clock=CLOCK.__name__)
        if side in work:
            done = zip(taken[side][1:], seconds[side], most, strict=True)
            shares = [model_flops(step) / second / one for step, second, one in done]
            row(f"training, {name}: share of that, {side}", shares, "of 1", clock=CLOCK.__name__)


def squad(stream: Stream, both: Sides, *, name: str, rounds: int, padded: bool) -> None:
    """Random order for ours; padded to 512, to the longest and grouped for the peer."""
    steps = [next(made) for made in [stream.steps(Cursor())] for _ in range(rounds + 1)]
    groups = grouped(stream, rounds + 1)
    inputs = {id(step): peer_inputs(step.batches[0], fixed=False) for step in (*steps, *groups)}
    fixed = {id(step): peer_inputs(step.batches[0], fixed=True) for step in steps}
    live = stream.steps(Cursor())  # the clock sees ours make its batches; it is warm after the first
    next(live)

    def ours(step: Step) -> None:
        next(live)
        both.ours(step)

    sides = {
        "textfer": ours,
        WITHOUT: both.ours_by_mkl,
        "transformers, padded to 512": lambda step: both.theirs(fixed[id(step)]),
        "transformers, padded to the longest": lambda step: both.theirs(inputs[id(step)]),
        "transformers, grouped": lambda step: both.theirs(inputs[id(step)]),
        "textfer, grouped": both.ours,
    }
    if not padded:
        del sides["transformers, padded to 512"]
    work = {side: iter(groups if "grouped" in side else steps) for side in sides}
    compare(name, sides, work, rounds)  # type: ignore[arg-type]


def dense(stream: Stream, both: Sides, *, rounds: int) -> None:
    """Full rows of 512 and 114 random tokens, as in pre-training: there is no padding to save."""
    rng = np.random.default_rng(0)
    steps = []
    for _ in range(rounds + 1):
        rows = [
            [Ids(rng.integers(2, 32_000, 512).astype(np.int32), rng.integers(2, 32_000, 114).astype(np.int32))]
            for _ in range(4)
        ]
        steps.append(as_step(stream, rows))
    inputs = {id(step): peer_inputs(step.batches[0], fixed=False) for step in steps}
    sides = {
        "textfer": both.ours,
        WITHOUT: both.ours_by_mkl,
        "transformers": lambda step: both.theirs(inputs[id(step)]),
    }
    compare("dense 512/114, batch 4", sides, {side: iter(steps) for side in sides}, rounds)  # type: ignore[arg-type]


def peak(stream: Stream, both: Sides, side: str) -> float:
    """MiB that three steps of one side needed beyond what the process held before."""
    live = stream.steps(Cursor())
    steps = [next(live) for _ in range(3)]
    inputs = [peer_inputs(step.batches[0], fixed=side == "padded to 512") for step in steps]
    before = peak_mib()
    if side == "textfer":
        keep_blocks()
    for step, read in zip(steps, inputs, strict=True):
        both.ours(step) if side == "textfer" else both.theirs(read)
    return peak_mib() - before


def peaks(rest: list[str]) -> None:
    """Peak memory of every side, in a process each."""
    sides = ("textfer", "padded to 512", "padded to the longest")
    found: dict[str, float] = {}
    for side in sides:
        done = subprocess.run(
            [sys.executable, __file__, *rest, "--peak-of", side], capture_output=True, text=True, check=True
        )
        found[side] = float(done.stdout.split()[-1])
    states = 3 * 4 * 76_961_152 / 2**20  # gradients and AdamW's two moments, which every side holds
    for side, value in found.items():
        name = side if side == "textfer" else f"transformers, {side}"
        more = {
            "without gradients and moments": round(value - states),
            "to textfer": round(value / found["textfer"], 2),
        }
        more["activations to textfer"] = round((value - states) / (found["textfer"] - states), 2)
        row(f"training memory, SQuAD, batch 8: {name}", [value], "MiB", **more)


def profile(stream: Stream, both: Sides) -> None:
    """Prints where one step of ours goes."""
    live = stream.steps(Cursor())
    for _ in range(WARM_STEPS):  # the first ones also pay for fresh pages
        both.ours(next(live))
    step = next(live)
    with torch.profiler.profile() as found:
        both.ours(step)
    print(f"{step.num_tokens} real tokens, {model_flops(step) / 1e9:.0f} GFLOP of matrix products")
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=22, max_name_column_width=48))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("TEXTFER_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["squad", "dropout", "dense", "peak"])
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    tokenizer = load_tokenizer(str(args.data / "tokenizers" / "t5" / "spiece.model"))
    stream = squad_stream(args.data, tokenizer, 8)
    with tempfile.TemporaryDirectory() as folder:

        def sides(dropout: float) -> Sides:
            return build(stream, Path(folder), dropout=dropout, vocab_size=tokenizer.vocab_size)

        if args.peak_of:
            print(peak(stream, sides(0.0), args.peak_of))
            return
        if "peak" in args.only and not args.profile:
            peaks(["--data", str(args.data)])
        keep_blocks()
        if args.profile:
            profile(stream, sides(0.0))
            return
        both = sides(0.0)
        if "squad" in args.only:
            squad(stream, both, name="SQuAD, batch 8", rounds=args.rounds, padded=True)
        if "dense" in args.only:
            dense(stream, both, rounds=args.rounds)
        if "dropout" in args.only:
            squad(stream, sides(0.1), name="SQuAD, batch 8, dropout 0.1", rounds=args.rounds, padded=False)


if __name__ == "__main__":
    main()
