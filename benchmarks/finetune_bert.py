"""How fast is a BERT fine-tuned, and in how much memory, beside transformers and PEFT? One JSON line a result.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive \\
    python benchmarks/finetune_bert.py --data DIR [--rounds 5] [--only full lora methods peak]

MiniLM's shape (6 layers, 384 wide) with random weights and a span head, on SQuAD's questions and paragraphs in batches
of 16, dropout 0.1. A step is everything but reading the rows: batch, forward, loss, backward, AdamW. Ours is
`Trainer.train_step`; the peer is BertForQuestionAnswering with sdpa attention and AdamW (foreach) on the same
examples, padded to the longest of the batch before the clock starts; "grouped" takes batches of similar lengths, as
`group_by_length` of its trainer makes them. For LoRA the peer is PEFT on it: rank 8 beside queries and values.
Rates count tokens that are not padding; CPU seconds, sides in turns in one process.

Peak memory is that of three steps in a process of its own, beyond what it held before.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor

from rounds import measure, peak_mib, quartiles, row
from textfer.adapt import make_method
from textfer.adapt.adapted import adapt
from textfer.data.headed import Framing, head_of, load_learnt, read_all
from textfer.data.layout import Lens
from textfer.data.stream import Cursor, Step, Stream, StreamOptions
from textfer.data.tokens import RowChoice
from textfer.models.bert import Bert
from textfer.models.headed import with_heads
from textfer.read import samples_of
from textfer.recipe import find_task
from textfer.tokenizers import load_tokenizer
from textfer.training.checkpoint import Run
from textfer.training.distributed import World
from textfer.training.optim import OptimOptions
from textfer.training.process import keep_blocks
from textfer.training.trainer import Trainer, TrainOptions

BATCH, MAX_LEN, GROUP_BATCHES, LR = 16, 384, 50, 5e-5
SHAPE = {"model_dim": 384, "ff_dim": 1536, "num_heads": 12, "num_layers": 6, "pooler": False, "next_sentence": False}
CLOCK = time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter
METHODS = {
    "full": {"name": "full"},
    "lora": {"name": "lora", "rank": 8, "targets": ["q", "v"]},
    "adapters": {"name": "adapters", "inner_dim": 64},
    "gradual": {"name": "gradual"},
    "heads alone": {"name": "frozen", "train": ["heads.*"]},
}


def squad(data: Path) -> tuple[Stream, int]:
    """SQuAD as a model with a span head reads it, and the number of ids."""
    tokenizer = load_tokenizer(str(data / "tokenizers" / "bert-base-uncased" / "vocab.txt"))
    labelled = load_learnt(find_task("squad"), "train", RowChoice(data_dir=data, limit=2000))
    head = head_of(labelled.task, labelled.examples)
    part = read_all(labelled, Framing(tokenizer=tokenizer, head=head, max_len=MAX_LEN), None)
    options = StreamOptions(seed=0, layout="pair", lens=Lens(MAX_LEN, 1), specials=tokenizer.specials, batch_size=BATCH)
    return Stream([part], [1.0], options), tokenizer.vocab_size


def trainer_of(stream: Stream, vocab_size: int, method: str, folder: Path) -> Trainer:
    """Ours under a method."""
    torch.manual_seed(0)
    head = head_of(find_task("squad"), samples_of(find_task("squad")))
    model = with_heads(Bert.make(SHAPE, vocab_size=vocab_size), [head], None)
    adapted = adapt(model, make_method(METHODS[method]), num_steps=100, seed=0, base="base")
    options = TrainOptions(num_steps=100, batch_size=BATCH, optimizer=OptimOptions(name="adamw", lr=LR))
    trainer = Trainer(adapted, stream, Run(folder), World(torch.device("cpu")), options=options)
    trainer.model.train()
    return trainer


def peer_of(vocab_size: int, method: str) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Theirs, with as many parameters."""
    config = transformers.BertConfig(
        vocab_size=vocab_size,
        hidden_size=SHAPE["model_dim"],
        intermediate_size=SHAPE["ff_dim"],
        num_attention_heads=SHAPE["num_heads"],
        num_hidden_layers=SHAPE["num_layers"],
    )
    peer: torch.nn.Module = transformers.BertForQuestionAnswering(config)
    peer.set_attn_implementation("sdpa")
    if method == "lora":
        import peft

        peer = peft.get_peft_model(
            peer, peft.LoraConfig(r=8, lora_alpha=16, target_modules=["query", "value"], modules_to_save=["qa_outputs"])
        )
    peer.train()
    moved = [one for one in peer.parameters() if one.requires_grad]
    return peer, torch.optim.AdamW(moved, lr=LR, foreach=True)


def peer_inputs(step: Step) -> dict[str, Tensor]:
    """What the peer reads: padded to the longest of the batch."""
    (batch,) = step.batches
    assert batch.encoder is not None
    assert batch.encoder.types is not None
    return {
        "input_ids": batch.encoder.ids,
        "attention_mask": (batch.encoder.segments > 0).long(),
        "token_type_ids": batch.encoder.types,
        "start_positions": batch.heads["span.start"],
        "end_positions": batch.heads["span.end"],
    }


def steps_of(stream: Stream, count: int) -> tuple[list[Step], list[Step]]:
    """(steps in random order, steps of similar lengths in random order)"""
    made = stream.steps(Cursor())
    plain = [next(made) for _ in range(count)]
    rows = stream.rows(Cursor())
    pool = sorted((next(rows)[0] for _ in range(GROUP_BATCHES * BATCH)), key=lambda one: len(one[0].inputs))
    starts = ((np.arange(count) + 0.5) / count * GROUP_BATCHES).astype(int) * BATCH
    groups = []
    for start in np.random.default_rng(0).permutation(starts).tolist():
        batch = stream.arrange(pool[start : start + BATCH])
        groups.append(Step([batch], Cursor(), num_targets=batch.num_targets, num_tokens=batch.num_tokens))
    return plain, groups


def compare(stream: Stream, vocab_size: int, method: str, rounds: int, folder: Path) -> None:
    """Rates of both under one method, and their ratios round by round."""
    trainer = trainer_of(stream, vocab_size, method, folder)
    peer, optimizer = peer_of(vocab_size, method)
    mine, theirs = (
        sum(one.numel() for one in side.parameters() if one.requires_grad) for side in (trainer.model, peer)
    )
    assert mine == theirs, (mine, theirs)
    plain, groups = steps_of(stream, rounds + 1)
    live = stream.steps(Cursor())  # the clock sees ours make its batches
    next(live)
    inputs = {id(step): peer_inputs(step) for step in (*plain, *groups)}

    def ours(step: Step) -> None:
        next(live)
        trainer.train_step(step)
        trainer.settle()

    def peers(step: Step) -> None:
        peer(**inputs[id(step)]).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    name = "transformers" if method == "full" else "PEFT"
    work = {"textfer": plain, f"{name}, padded to the longest": plain, f"{name}, grouped": groups}
    _measured(f"BERT on SQuAD, {method}", work, {side: ours if side == "textfer" else peers for side in work}, rounds)


def methods(stream: Stream, vocab_size: int, rounds: int, folder: Path) -> None:
    """Our methods beside each other."""
    plain, _ = steps_of(stream, rounds + 1)
    runs: dict[str, Callable[[Step], None]] = {}
    for method in METHODS:
        trainer = trainer_of(stream, vocab_size, method, folder)
        runs[method] = lambda step, trainer=trainer: (trainer.train_step(step), trainer.settle())  # type: ignore[misc]
    _measured("BERT on SQuAD, methods", dict.fromkeys(METHODS, plain), runs, rounds)


def _measured(name: str, work: dict[str, list[Step]], runs: dict[str, Callable[[Step], None]], rounds: int) -> None:
    left = dict.fromkeys(work, 0)

    def go(side: str) -> None:
        runs[side](work[side][left[side]])
        left[side] += 1

    seconds = measure({side: lambda side=side: go(side) for side in work}, repeats=rounds, clock=CLOCK)  # type: ignore[misc]
    rates = {
        side: [step.num_tokens / one for step, one in zip(steps[1:], seconds[side], strict=True)]
        for side, steps in work.items()
    }
    first = next(iter(work))
    for side in work:
        ratio = quartiles([a / b for a, b in zip(rates[first], rates[side], strict=True)])
        row(f"{name}: {side}", rates[side], "real tokens/s", **{f"{first} / this": [round(one, 2) for one in ratio]})


def peak(stream: Stream, vocab_size: int, side: str, folder: Path) -> float:
    """MiB that three steps needed beyond what the process held before."""
    whose, method = side.split(", ")
    plain, _ = steps_of(stream, 3)
    inputs = [peer_inputs(step) for step in plain]
    if whose == "textfer":
        trainer = trainer_of(stream, vocab_size, method, folder)
        keep_blocks()
        before = peak_mib()
        for step in plain:
            trainer.train_step(step)
            trainer.settle()
        return peak_mib() - before
    peer, optimizer = peer_of(vocab_size, method)
    before = peak_mib()
    for one in inputs:
        peer(**one).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return peak_mib() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("TEXTFER_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["full", "lora", "methods", "peak"])
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    stream, vocab_size = squad(args.data)
    with tempfile.TemporaryDirectory() as folder:
        if args.peak_of:
            print(peak(stream, vocab_size, args.peak_of, Path(folder)))
            return
        if "peak" in args.only:
            for side in (*(f"textfer, {method}" for method in METHODS), "peer, full", "peer, lora"):
                command = [sys.executable, __file__, "--data", str(args.data), "--peak-of", side]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                row(f"memory, BERT on SQuAD, batch {BATCH}: {side}", [float(done.stdout.split()[-1])], "MiB")
        keep_blocks()
        for method in ("full", "lora"):
            if method in args.only:
                compare(stream, vocab_size, method, args.rounds, Path(folder))
        if "methods" in args.only:
            methods(stream, vocab_size, args.rounds, Path(folder))


if __name__ == "__main__":
    main()
