"""How fast are many requests answered on a CPU, beside transformers? A JSON line for each side, then a Markdown table.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/engine.py [--requests 96] [--slots 16] [--rounds 5]
        [--minutes 3]

All requests come at once. Their lengths are drawn like those of SQuAD's questions with paragraphs (mean 180 tokens),
and the lengths of the answers that are wished for like short answers beside a few summaries (mean 15 tokens, some 64).
The weights are random, in the shape of T5-small v1.1, float32, the same on all sides. Greedy; nothing ends an answer
before its length, so all sides write the same tokens, which is checked. "batches": as many requests as the engine has
slots, in the order in which they came, written until the longest answer is done, as `generate` of either library does.

The figure is tokens wished for in a second; beside it the time after which half and 95 % of the requests had their
answer. Sides take turns in one process; with one thread the clock is that of the CPU. "asked twice": each request comes
a second time while what was read for the first is still there. `--minutes`: no further round begins that would end
after so long, but one is measured always.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers

from rounds import LINES, measure, peak_mib, quartiles, row, show_rows
from textfer.answer import TextToText
from textfer.batch import Int32, Specials
from textfer.config import load_layers
from textfer.engine import Engine, EngineOptions
from textfer.generate import Decoding, Predictor
from textfer.models.t5 import T5

CLOCK = time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter
TINY = {"model_dim": 32, "ff_dim": 48, "head_dim": 8, "num_heads": 4, "num_layers": 2}
VOCAB = 32_128


class Numbers:
    """A vocabulary whose texts are numbers: `17 4 99`."""

    specials = Specials(pad=0, eos=1)
    vocab_size = VOCAB

    def encode_many(self, texts: Sequence[str]) -> list[Int32]:
        """Text → ids."""
        return [np.array(text.split(), np.int32) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        """Ids → text."""
        return " ".join(map(str, ids))


class Wish(NamedTuple):
    """A request: what is read, and how many tokens are to be written."""

    text: str
    count: int


class Done(NamedTuple):
    """What a side wrote, and when each answer was there, by its clock."""

    tokens: list[list[int]]
    seconds: list[float]


def wishes_of(num: int) -> list[Wish]:
    """Inputs and lengths of answers, the same whenever they are drawn."""
    draws = np.random.default_rng(0)
    lens = np.clip(draws.lognormal(5.05, 0.45, num), 20, 512).astype(int)
    counts = np.where(draws.random(num) < 0.12, 64, np.clip(draws.geometric(1 / 8, num), 2, 40))
    return [
        Wish(" ".join(map(str, draws.integers(2, VOCAB, length))), int(count))
        for length, count in zip(lens, counts, strict=True)
    ]


def make_models(tiny: bool) -> tuple[T5, Any]:
    """Ours and the peer, with the same weights."""
    torch.manual_seed(0)
    options = {key: value for key, value in load_layers("t5-v1_1-small")["model"].items() if key != "name"}
    ours = T5.make({**options, **(TINY if tiny else {})}, vocab_size=VOCAB).eval()
    assert ours.output is not None
    with torch.no_grad():
        ours.output.weight[Numbers.specials.eos] = 0  # never the likeliest of 32,128: no answer ends early
    with tempfile.TemporaryDirectory() as folder:
        ours.save(Path(folder))
        peer = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    peer.lm_head.weight = torch.nn.Parameter(ours.output.weight.detach().clone())  # its T5Config ties what is untied
    peer.config.tie_word_embeddings = False
    peer.generation_config.eos_token_id = None
    ours.lay_for_generation()
    return ours, peer


def by_engine(reader: TextToText, wishes: list[Wish], slots: int, *, twice: bool = False) -> Callable[[], Done]:
    """All requests to one engine."""

    def run() -> Done:
        options = EngineOptions(slots=slots, max_queue=len(wishes), timeout=3600, cache_mb=4000 if twice else 0)
        with Engine(reader, options) as engine:
            if twice:
                for ticket in [engine.generate(wish.text, Decoding(max_new_tokens=1)) for wish in wishes]:
                    ticket.result()
            start, ends = CLOCK(), {}
            tickets = [engine.generate(wish.text, Decoding(max_new_tokens=wish.count)) for wish in wishes]
            for ticket in tickets:
                ticket.add_done_callback(lambda one: ends.update({id(one): CLOCK() - start}))
            made = [ticket.result() for ticket in tickets]
        return Done([list(map(int, one.text.split())) for one in made], [ends[id(ticket)] for ticket in tickets])

    return run


def by_batches(write: Callable[[list[Wish]], list[list[int]]], wishes: list[Wish], size: int) -> Callable[[], Done]:
    """The requests batch by batch."""

    def run() -> Done:
        tokens: list[list[int]] = []
        seconds: list[float] = []
        start = CLOCK()
        for at in range(0, len(wishes), size):
            some = wishes[at : at + size]
            tokens += [ids[: wish.count] for ids, wish in zip(write(some), some, strict=True)]
            seconds += [CLOCK() - start] * len(some)
        return Done(tokens, seconds)

    return run


def sides_of(models: tuple[T5, Any], wishes: list[Wish], slots: int) -> dict[str, Callable[[], Done]]:
    """Side → what answers all requests."""
    ours, peer = models
    predictor = Predictor(ours, Numbers())
    reader = TextToText(predictor, "random")

    def textfer(some: list[Wish]) -> list[list[int]]:
        way = Decoding(max_new_tokens=max(wish.count for wish in some), batch_size=len(some))
        return [list(map(int, one.text.split())) for one in predictor.generate([wish.text for wish in some], way)]

    def theirs(some: list[Wish]) -> list[list[int]]:
        inputs = [[*map(int, wish.text.split()), Numbers.specials.eos] for wish in some]
        longest = max(map(len, inputs))
        ids = torch.tensor([one + [0] * (longest - len(one)) for one in inputs])
        mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in inputs])
        count = max(wish.count for wish in some)
        with torch.inference_mode():
            found = peer.generate(ids, attention_mask=mask, max_new_tokens=count, do_sample=False, num_beams=1)
        return found[:, 1:].tolist()

    return {
        "textfer, engine": by_engine(reader, wishes, slots),
        "textfer, engine, asked twice": by_engine(reader, wishes, slots, twice=True),
        "textfer, batches": by_batches(textfer, wishes, slots),
        "transformers, batches": by_batches(theirs, wishes, slots),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, help="for all rounds")
    parser.add_argument("--tiny", action="store_true", help="a small shape, to see that it runs")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    wishes = wishes_of(args.requests)
    sides = sides_of(make_models(args.tiny), wishes, args.slots)
    rounds: dict[str, list[Done]] = {name: [] for name in sides}

    def kept(name: str, run: Callable[[], Done]) -> Callable[[], None]:
        return lambda: rounds[name].append(run())

    within = 60 * args.minutes if args.minutes else None
    measure({name: kept(name, run) for name, run in sides.items()}, repeats=args.rounds, clock=CLOCK, within=within)
    peer = [max(one.seconds) for one in rounds["transformers, batches"][1:]]
    same = {name: all(one.tokens == done[0].tokens for one in done) for name, done in rounds.items()}
    total = sum(wish.count for wish in wishes)
    for name, done in rounds.items():
        times = [max(one.seconds) for one in done[1:]]
        waits = np.median([np.quantile(one.seconds, [0.5, 0.95]) for one in done[1:]], axis=0)
        row(
            f"engine, {args.requests} requests, {args.slots} at a time{', tiny' if args.tiny else ''}, {name}",
            [total / one for one in times],
            "tokens/s",
            **{
                "time of transformers / this": [
                    round(r, 2) for r in quartiles([a / b for a, b in zip(peer, times, strict=True)])
                ],
                "s until half are answered": round(float(waits[0]), 2),
                "until 95 %": round(float(waits[1]), 2),
                "same tokens": same[name] and done[0].tokens == rounds["transformers, batches"][0].tokens,
            },
        )
    about = {
        "peer": f"transformers {transformers.__version__}",
        "input tokens": sum(len(wish.text.split()) + 1 for wish in wishes),
        "tokens wished for": total,
        "clock": "CPU" if CLOCK is time.process_time else "wall",
        "process peak MiB": round(peak_mib()),
    }
    show_rows(LINES)
    print(f"\n{', '.join(f'{key}: {value}' for key, value in about.items())}")


if __name__ == "__main__":
    main()
