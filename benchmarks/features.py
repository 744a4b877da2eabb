"""How fast are texts turned into states, beside transformers? One JSON line a result.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive \\
    python benchmarks/features.py --data DIR [--rounds 5] [--count 128] [--only SST-2 BoolQ]

MiniLM's shape (6 layers, 384 wide) with the same random weights on both sides, on the first sentences of SST-2 and the
first passages of BoolQ. Texts are ids already; what is timed is batch, forward and the mean over each text's states,
whose vectors are compared first. Ours is `Embedder` (batches of 32, sorted by length, as it always does), then a
`Remembered` reader, before it knows the texts and when it does. The peer is BertModel with sdpa attention under
`inference_mode`, padded to the longest of its batch: in the texts' own order, and sorted by length, 8 and 32 at once.
Rates count tokens that are not padding; CPU seconds, sides in turns in one process.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from torch.nn import functional as F

from rounds import measure, quartiles, row
from textfer.adapt.features import Remembered
from textfer.batch import Batch, Ids, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.embed import Embedder
from textfer.evaluate import iter_examples
from textfer.models.bert import Bert
from textfer.models.headed import Headed
from textfer.recipe import find_task
from textfer.tokenizers import Tokenizer, load_tokenizer

SHAPE = {"model_dim": 384, "ff_dim": 1536, "num_heads": 12, "num_layers": 6, "masked_lm": False, "next_sentence": False}
TEXTS = {"SST-2": ("sst2", "sentence"), "BoolQ": ("boolq", "passage")}
MAX_LEN, AT_ONCE, CLOSE = 512, 32, 1e-4
CLOCK = time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter


class Known(Tokenizer):
    """Texts that are numbers of ids found before, so that no side is timed cutting them."""

    def __init__(self, ids: Sequence[Any], specials: Specials) -> None:
        self.ids, self._specials = ids, specials

    @property
    def specials(self) -> Specials:
        """The vocabulary's own."""
        return self._specials

    def encode_many(self, texts: Sequence[str]) -> list[Any]:
        """The ids of those numbers."""
        return [self.ids[int(text)] for text in texts]


def texts_of(name: str, data: Path, count: int) -> list[str]:
    """The first texts of a task's validation split."""
    task, field = TEXTS[name]
    examples = iter_examples(find_task(task), "validation", data_dir=data)
    return [example.fields[field] for example in islice(examples, count)]


def peer_vectors(
    peer: torch.nn.Module, rows: Sequence[np.ndarray[Any, Any]], *, at_once: int, is_sorted: bool
) -> Tensor:
    """[E, D] by transformers."""
    order = sorted(range(len(rows)), key=lambda n: -len(rows[n])) if is_sorted else list(range(len(rows)))
    found = torch.empty(len(rows), SHAPE["model_dim"])
    with torch.inference_mode():
        for start in range(0, len(order), at_once):
            numbers = order[start : start + at_once]
            longest = max(len(rows[number]) for number in numbers)
            ids = torch.zeros(len(numbers), longest, dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for place, number in enumerate(numbers):
                ids[place, : len(rows[number])] = torch.from_numpy(rows[number].astype(np.int64))
                mask[place, : len(rows[number])] = 1
            states = peer(input_ids=ids, attention_mask=mask).last_hidden_state
            share = mask[..., None].float()
            found[numbers] = F.normalize((states * share).sum(1) / share.sum(1), dim=-1)
    return found


def batches(rows: Sequence[np.ndarray[Any, Any]], specials: Specials) -> list[Batch]:
    """The texts as a model with heads reads them, in their own order."""
    nothing = np.zeros(0, np.int32)
    groups = [rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE)]
    return [
        LAYOUTS["pair"].arrange([[Ids(one, nothing)] for one in some], Lens(MAX_LEN, 1), specials) for some in groups
    ]


def compare(name: str, data: Path, count: int, rounds: int, folder: Path) -> None:
    """All sides on one kind of text."""
    tokenizer = load_tokenizer(str(data / "tokenizers" / "bert-base-uncased" / "vocab.txt"))
    torch.manual_seed(0)
    Bert.make(SHAPE, vocab_size=tokenizer.vocab_size).save(folder / "model")
    model = Bert.load(folder / "model").eval()
    peer = transformers.BertModel.from_pretrained(folder / "model", attn_implementation="sdpa").eval()
    ids = [one[: MAX_LEN - 2] for one in tokenizer.encode_many(texts_of(name, data, count))]
    embedder = Embedder(model, Known(ids, tokenizer.specials))
    numbers = [str(number) for number in range(len(ids))]
    specials = tokenizer.specials
    rows = [np.concatenate([[specials.cls], one, [specials.sep]]).astype(np.int32) for one in ids]
    ours = torch.from_numpy(embedder.vectors(numbers))
    apart = float((ours - peer_vectors(peer, rows, at_once=AT_ONCE, is_sorted=True)).abs().max())
    assert apart < CLOSE, apart

    headed = Headed(model, []).eval()
    made = batches(rows, specials)
    known = Remembered(headed.base, headed.chosen, folder / "known")

    def remember(memory: Remembered) -> None:
        for batch in made:
            memory(headed.chosen, headed.base, batch)

    def anew() -> None:
        with tempfile.TemporaryDirectory() as empty:
            remember(Remembered(headed.base, headed.chosen, Path(empty)))

    remember(known)
    sides: dict[str, Callable[[], object]] = {
        "textfer": lambda: embedder.vectors(numbers, batch_size=AT_ONCE),
        "transformers, sorted, 32 at once": lambda: peer_vectors(peer, rows, at_once=32, is_sorted=True),
        "transformers, sorted, 8 at once": lambda: peer_vectors(peer, rows, at_once=8, is_sorted=True),
        "transformers, as they come": lambda: peer_vectors(peer, rows, at_once=32, is_sorted=False),
        "textfer, kept on disk": anew,
        "textfer, read from disk": lambda: remember(known),
    }
    seconds = measure(sides, repeats=rounds, clock=CLOCK)
    tokens = sum(map(len, rows))
    for side, found in seconds.items():
        ratio = quartiles([b / a for a, b in zip(seconds["textfer"], found, strict=True)])
        row(
            f"states of {name}: {side}",
            [tokens / one for one in found],
            "real tokens/s",
            **{"textfer / this": [round(one, 2) for one in ratio]},
            texts=len(rows),
            mean_len=round(tokens / len(rows), 1),
            apart=float(f"{apart:.1e}"),
        )


def main() -> None:
    """Runs the sides that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=128)
    parser.add_argument("--only", nargs="+", choices=TEXTS, default=list(TEXTS))
    chosen = parser.parse_args()
    for name in chosen.only:
        with tempfile.TemporaryDirectory() as folder:
            compare(name, chosen.data, chosen.count, chosen.rounds, Path(folder))


if __name__ == "__main__":
    main()
