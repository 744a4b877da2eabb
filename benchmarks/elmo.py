"""How many tokens a second does ELMo learn from, beside torch's LSTM and a BERT as large? One JSON line each.

    OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/elmo.py --tokenizer PATH --text FILE

layer: one LSTM layer with 768 cells and 256 states, 16 sequences, forth and back: of 256 steps each, and of 128 to 256
(torch's own packed). step: a whole step of pre-training on 16 pieces of 256 tokens of a text file, AdamW included.
Seconds of CPU; the sides take turns.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from rounds import measure, row
from textfer.batch import Batch
from textfer.config import load_layers
from textfer.data.layout import LAYOUTS, Lens
from textfer.draws import Draws, address
from textfer.models import MODELS, Speller
from textfer.models.lstm import Bounds, Layer, Order
from textfer.objectives import OBJECTIVES
from textfer.tokenizers import Tokenizer, load_tokenizer
from textfer.training.loss import cross_entropy

ROWS, STEPS, DIM, CELLS = 16, 256, 256, 768
SIDES: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "bert-mini": ("bert-mini", "masked_lm", {}),
    "elmo-mini": ("elmo-mini", "both_ways", {}),
    "elmo-mini, 2,048 words sampled": ("elmo-mini", "both_ways", {"num_sampled": 2048}),
}


def compare(sides: Mapping[str, Callable[[], object]], counts: Mapping[str, int], *, what: str, rounds: int) -> None:
    """Rows of one comparison; the last side is what the others are set beside."""
    seconds = measure(sides, repeats=rounds, clock=time.process_time)
    peer = list(sides)[-1]
    for name, found in seconds.items():
        ratios = [
            theirs / counts[peer] * counts[name] / ours for ours, theirs in zip(found, seconds[peer], strict=True)
        ]
        row(f"{what}: {name}", [counts[name] / second for second in found], "tokens/s", ratio=sorted(ratios))


def layers(rounds: int) -> None:
    """Our layer with and without bounds, and torch's."""
    theirs = nn.LSTM(DIM, CELLS, proj_size=DIM)
    for what, lens in (
        ("layer, one length", [STEPS] * ROWS),
        ("layer, lengths differ", np.random.default_rng(0).integers(STEPS // 2, STEPS + 1, ROWS).tolist()),
    ):
        order = Order(lens)
        x = torch.randn(int(order.lens.sum()), DIM)
        sizes = torch.tensor(order.sizes)
        sides: dict[str, Callable[[], object]] = {}
        for name, bounds in (("textfer", Bounds(None, None)), ("textfer, bounds", Bounds(3.0, 3.0))):
            layer = Layer(DIM, CELLS, num_states=DIM, bounds=bounds)
            layer.initialise()
            sides[name] = lambda layer=layer, x=x, order=order: layer(x, order)[0].sum().backward()
        if len(set(lens)) == 1:
            sides["torch"] = lambda x=x: theirs(x.view(STEPS, ROWS, DIM))[0].sum().backward()
        else:
            sides["torch"] = lambda x=x, sizes=sizes: theirs(PackedSequence(x, sizes))[0].data.sum().backward()
        compare(sides, dict.fromkeys(sides, len(x)), what=what, rounds=rounds)


def batch_of(tokenizer: Tokenizer, layout: str, objective: str, text: str) -> Batch:
    """Pieces of the text as the objective has them."""
    made: Any = OBJECTIVES.get(objective)()
    length = made.raw_len(STEPS, STEPS)
    tokens = np.array(tokenizer.encode(text)[: ROWS * length], np.int32).reshape(ROWS, length)
    draws = Draws(address(0, "benchmark", 0, np.arange(ROWS)))
    rows = [[ids] for ids in made(tokens, tokenizer.specials, draws)]
    return LAYOUTS[layout].arrange(rows, Lens(STEPS, STEPS), tokenizer.specials)


def steps(tokenizer: Tokenizer, text: str, rounds: int) -> None:
    """Whole steps of pre-training."""
    sides: dict[str, Callable[[], object]] = {}
    for name, (preset, objective, more) in reversed(SIDES.items()):
        options = {**load_layers(preset)["model"], **more}
        model: Any = MODELS.get(options.pop("name")).make(options, vocab_size=tokenizer.vocab_size)
        if isinstance(model, Speller):
            model.spell(tokenizer)
        batch = batch_of(tokenizer, model.layout, objective, text)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

        def step(model: Any = model, batch: Batch = batch, optimizer: torch.optim.Optimizer = optimizer) -> None:
            optimizer.zero_grad()
            loss = cross_entropy(model, batch)
            torch.autograd.backward(loss.sum / loss.count)
            optimizer.step()

        sides[name] = step
    compare(sides, dict.fromkeys(sides, ROWS * STEPS), what="step", rounds=rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="a vocabulary with BERT's marks")
    parser.add_argument("--text", type=Path, required=True, help="some 100 kB of text")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
    layers(args.rounds)
    steps(load_tokenizer(args.tokenizer), args.text.read_text(encoding="utf-8"), args.rounds)


if __name__ == "__main__":
    main()
