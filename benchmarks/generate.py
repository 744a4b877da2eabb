"""How fast are answers written on a CPU, beside transformers? One JSON line for each question and side.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/generate.py --data DIR [--rounds 5] [--only 1x16 16x64]

The inputs are questions of SQuAD's validation split with their paragraphs, cut by DIR/tokenizers/t5/spiece.model. The
weights are random, in the shape of T5-small v1.1, float32, the same on both sides. Greedy (and 4 beams once); no side
knows an end mark, so that every answer has the length asked for, and both write the same tokens, which is checked.
Texts are in ids and batches in tensors before the clock starts. "by columns" is ours with `lay_for_generation`.
Sides take turns in one process; with one thread the clock is that of the CPU, which a busy machine does not slow down.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from rounds import measure, quartiles, row
from textfer.batch import Ids, Specials
from textfer.config import load_layers
from textfer.data.layout import LAYOUTS, Lens
from textfer.evaluate import load_examples
from textfer.generate import Decoding, beam_search, decode
from textfer.models.t5 import T5
from textfer.recipe import find_task
from textfer.tokenizers import load_tokenizer

SIZES = {"1x16": (1, 16, 1), "1x64": (1, 64, 1), "16x16": (16, 16, 1), "16x64": (16, 64, 1), "1x16x4": (1, 16, 4)}
"""Name → rows, new tokens, beams."""
SPECIALS = Specials(pad=0, eos=-1)
CLOCK = time.process_time if os.environ.get("OMP_NUM_THREADS") == "1" else time.perf_counter


def make_models(vocab_size: int) -> tuple[T5, T5, Any]:
    """Ours by rows and by columns, and the peer, with the same weights."""
    torch.manual_seed(0)
    options = {key: value for key, value in load_layers("t5-v1_1-small")["model"].items() if key != "name"}
    ours = T5.make(options, vocab_size=vocab_size).eval()
    with tempfile.TemporaryDirectory() as folder:
        ours.save(Path(folder))
        columns = T5.load(Path(folder)).eval()
        peer = transformers.T5ForConditionalGeneration.from_pretrained(folder).eval()
    columns.lay_for_generation()
    assert ours.output is not None
    peer.lm_head.weight = torch.nn.Parameter(ours.output.weight.detach().clone())  # its T5Config ties what is untied
    peer.config.tie_word_embeddings = False
    peer.generation_config.eos_token_id = None
    return ours, columns, peer


def inputs_of(data_dir: Path, count: int) -> tuple[list[np.ndarray], int]:
    """(ids of real questions with their paragraphs, end mark included, rows of the vocabulary)"""
    tokenizer = load_tokenizer(str(data_dir / "tokenizers" / "t5" / "spiece.model"))
    examples = load_examples(find_task("squad"), "validation", data_dir=data_dir)
    chosen = examples[:: len(examples) // count][:count]
    encoded = tokenizer.encode_many([example.inputs for example in chosen])
    return [np.append(ids, np.int32(1)).astype(np.int32) for ids in encoded], tokenizer.vocab_size


def sides_of(
    models: tuple[T5, T5, Any], inputs: list[np.ndarray], num_tokens: int, beams: int
) -> dict[str, Callable[[], list[list[int]]]]:
    """Side → what writes the answers' tokens."""
    ours, columns, peer = models
    rows = [[Ids(ids, np.zeros(1, np.int32))] for ids in inputs]
    batch = LAYOUTS["encdec"].arrange(rows, Lens(max(map(len, inputs)), 1), SPECIALS)
    encoder = batch.encoder
    assert encoder is not None
    batch = type(batch)(encoder=encoder)
    decoding = Decoding(max_new_tokens=num_tokens, beams=beams, length_penalty=0.0 if beams > 1 else 0.6)
    write = beam_search if beams > 1 else decode

    def run(model: T5) -> Callable[[], list[list[int]]]:
        def made() -> list[list[int]]:
            with torch.inference_mode():
                return [ids for ids, _ in write(model, batch, decoding, SPECIALS)]

        return made

    def theirs() -> list[list[int]]:
        options = {"num_beams": beams, "length_penalty": 0.0} if beams > 1 else {"num_beams": 1}
        mask = (encoder.segments > 0).long()
        found = peer.generate(
            encoder.ids, attention_mask=mask, max_new_tokens=num_tokens, do_sample=False, use_cache=True, **options
        )
        return found[:, 1:].tolist()

    return {"textfer": run(ours), "textfer, by columns": run(columns), "transformers": theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(SIZES), choices=list(SIZES))
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    inputs, vocab_size = inputs_of(args.data, 16)
    models = make_models(vocab_size)
    for size in args.only:
        num_rows, num_tokens, beams = SIZES[size]
        chosen = inputs[:num_rows]
        sides = sides_of(models, chosen, num_tokens, beams)
        answers = {name: run() for name, run in sides.items()}
        same = all(found == answers["transformers"] for found in answers.values())
        seconds = measure(sides, repeats=args.rounds, clock=CLOCK)
        for name, times in seconds.items():
            ratio = quartiles([theirs / ours for ours, theirs in zip(times, seconds["transformers"], strict=True)])
            row(
                f"generate, {num_rows} rows, {num_tokens} tokens, {beams} beams, {name}",
                [num_rows * num_tokens / one for one in times],
                "tokens/s",
                peer=f"transformers {transformers.__version__}",
                input_tokens=sum(map(len, chosen)),
                same_tokens=same,
                **{"transformers' time / this": [round(part, 2) for part in ratio]},
            )


if __name__ == "__main__":
    main()
