"""How fast, and how large, are answers served on a CPU? One JSON line for each size and side.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive python benchmarks/serving.py [--rounds 5] [--quick] [--memory]
        [--only 1x16 16x64 reader]

A T5 in the shape of t5-v1.1-small writes 16 and 64 tokens after 1 and 16 inputs: ours in float32, in int8, and in int8
by two queues of one thread; transformers; CTranslate2 in int8 in its best layout (one thread for one input, two queues
of one thread for 16). A BERT in MiniLM's shape reads 32 paragraphs: ours in float32 and int8, transformers, onnxruntime
in int8. Weights are random and the same on all sides; inputs are made up, as long as SQuAD's questions with their
paragraphs (90 to 300 tokens). Nobody knows an end mark. Sides take turns; `--memory` measures each by itself in a
process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rounds import measure, peak_mib, quartiles, row
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

SIZES = {"1x16": (1, 16), "1x64": (1, 64), "16x16": (16, 16), "16x64": (16, 64)}
"""Name → inputs, new tokens."""
READER = "reader"
WRITERS = ("textfer", "textfer int8", "textfer int8, 2 queues", "transformers", "ctranslate2 int8")
READERS = ("textfer", "textfer int8", "transformers", "onnxruntime int8")
VOCAB, SHORTEST, LONGEST, PARAGRAPHS = 32128, 90, 300, 32
SPECIALS = Specials(pad=0, eos=-1)
MINILM = {
    "model_dim": 384,
    "ff_dim": 1536,
    "num_heads": 12,
    "num_layers": 6,
    "masked_lm": False,
    "next_sentence": False,
}
Run = Callable[[], object]


class Names:
    """A vocabulary of numbered names: what CTranslate2 and the ONNX folder are given."""

    specials = Specials(pad=0, eos=1)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [f"t{i}" for i in ids]

    def save(self, directory: Path) -> None:
        """Nothing: no text is read."""


def made_up(count: int) -> list[np.ndarray]:
    """Inputs; one alone is as long as SQuAD's are on average."""
    draw = np.random.default_rng(0)
    lens = [176] if count == 1 else draw.integers(SHORTEST, LONGEST, count).tolist()
    return [draw.integers(1000, 30000, length).astype(np.int32) for length in lens]


def arranged(layout: str, inputs: Sequence[np.ndarray]) -> Batch:
    """The inputs as one batch of what reads."""
    rows = [[Ids(ids, np.zeros(layout == "encdec", np.int32))] for ids in inputs]
    batch = LAYOUTS[layout].arrange(rows, Lens(max(map(len, inputs)), int(layout == "encdec")), SPECIALS)
    return Batch(encoder=batch.encoder)


def writer(side: str, folder: Path, size: str) -> Run:
    """What writes on that side."""
    num_inputs, num_tokens = SIZES[size]
    inputs = made_up(num_inputs)
    if side == "ctranslate2 int8":
        return _ct2(folder, inputs, num_tokens)
    if side == "transformers":
        return _transformers_writes(folder, inputs, num_tokens)
    model = T5.load(folder / "hf").eval()
    if "int8" in side:
        lay_int8(model)
    model.lay_for_generation()
    queues = min(num_inputs, 2) if "queues" in side else 1
    ordered = sorted(inputs, key=len)
    batches = [arranged("encdec", part) for part in (ordered[::queues], ordered[1::queues])[:queues]]
    pool = ThreadPoolExecutor(queues)

    def one(batch: Batch) -> object:
        with torch.inference_mode():
            return decode(model, batch, Decoding(max_new_tokens=num_tokens), SPECIALS)

    def run() -> object:
        torch.set_num_threads(1 if queues == 2 or num_inputs == 1 else 2)
        return list(pool.map(one, batches)) if queues == 2 else one(batches[0])

    return run


def _transformers_writes(folder: Path, inputs: Sequence[np.ndarray], num_tokens: int) -> Run:
    import transformers

    transformers.logging.set_verbosity_error()
    model: Any = transformers.T5ForConditionalGeneration.from_pretrained(folder / "hf").eval()
    model.generation_config.eos_token_id = None
    side = arranged("encdec", inputs).encoder
    assert side is not None
    mask = (side.segments > 0).long()

    def run() -> object:
        torch.set_num_threads(2)
        return model.generate(side.ids, attention_mask=mask, max_new_tokens=num_tokens, do_sample=False, num_beams=1)

    return run


def _ct2(folder: Path, inputs: Sequence[np.ndarray], num_tokens: int) -> Run:
    import ctranslate2

    alone = len(inputs) == 1
    queues = 1 if alone else 2
    translator = ctranslate2.Translator(str(folder / "ct2"), compute_type="int8", inter_threads=queues, intra_threads=1)
    source = [Names().pieces(ids.tolist()) for ids in inputs]
    length = {"max_decoding_length": num_tokens, "min_decoding_length": num_tokens}
    return partial(translator.translate_batch, source, beam_size=1, max_batch_size=-(-len(inputs) // queues), **length)


def reader(side: str, folder: Path) -> Run:
    """What reads on that side."""
    inputs = made_up(PARAGRAPHS)
    batch = arranged("pair", sorted(inputs, key=len))
    encoder = batch.encoder
    assert encoder is not None
    ids, mask = encoder.ids.long(), (encoder.segments > 0).long()
    if side == "onnxruntime int8":
        import onnxruntime

        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        session = onnxruntime.InferenceSession(str(folder / "int8.onnx"), options, providers=["CPUExecutionProvider"])
        parts = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        return partial(session.run, None, {name: part.numpy() for name, part in parts.items()})
    model: Any
    if side == "transformers":
        import transformers

        model = transformers.BertForQuestionAnswering.from_pretrained(folder / "bert").eval()
        act = partial(model, input_ids=ids, attention_mask=mask)
    else:
        model = Headed.load(folder / "bert").eval()
        if "int8" in side:
            lay_int8(model)
        act = partial(model, batch)

    def run() -> object:
        torch.set_num_threads(2)
        with torch.inference_mode():
            return act()

    return run


def write_models(folder: Path, *, only: Sequence[str]) -> None:
    """All sides' files from one set of random weights."""
    from textfer.export.ct2 import write_ct2
    from textfer.export.onnx import FILE, write_onnx

    torch.manual_seed(0)
    names: Any = Names()
    if set(only) - {READER}:
        options = {key: value for key, value in load_layers("t5-v1_1-small")["model"].items() if key != "name"}
        model = T5.make(options, vocab_size=VOCAB).eval()
        model.save(folder / "hf")
        write_ct2(model, names, folder / "ct2")
    if READER in only:
        from onnxruntime.quantization import quantize_dynamic

        headed = Headed(Bert.make(MINILM, vocab_size=VOCAB), [Head(name="span", kind="span")]).eval()
        headed.save(folder / "bert")
        write_onnx(headed, names, folder / "onnx")
        quantize_dynamic(folder / "onnx" / FILE, folder / "int8.onnx")


def run_of(size: str, side: str, folder: Path) -> Run:
    """What one side does at one size."""
    return reader(side, folder) if size == READER else writer(side, folder, size)


def memory_of(size: str, side: str, folder: Path) -> float:
    """MiB that a process of its own needs at most, for one side alone."""
    words = [sys.executable, __file__, "--alone", size, side, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one input, 16 tokens, two rounds, no memory")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of each side by itself")
    parser.add_argument("--only", nargs="*", default=[*SIZES, READER], choices=[*SIZES, READER])
    parser.add_argument("--alone", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        size, side, place = args.alone
        run_of(size, side, Path(place))()
        print(json.dumps(peak_mib()))
        return
    only, rounds = (["1x16"], 2) if args.quick else (args.only, args.rounds)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_models(folder, only=only)
        for size in only:
            sides = {side: run_of(size, side, folder) for side in (READERS if size == READER else WRITERS)}
            seconds = measure(sides, repeats=rounds)
            count = PARAGRAPHS if size == READER else SIZES[size][0] * SIZES[size][1]
            peer = "onnxruntime int8" if size == READER else "ctranslate2 int8"
            for side, times in seconds.items():
                ratio = quartiles([theirs / ours for ours, theirs in zip(times, seconds[peer], strict=True)])
                more: dict[str, Any] = {f"{peer}'s time / this": [round(part, 2) for part in ratio]}
                if args.memory and not args.quick:
                    more["peak MiB"] = round(memory_of(size, side, folder))
                unit = "paragraphs/s" if size == READER else "tokens/s"
                row(f"serving, {size}, {side}", [count / one for one in times], unit, **more)


if __name__ == "__main__":
    main()
