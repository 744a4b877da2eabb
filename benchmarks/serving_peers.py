"""The peers of serving.py, and what it asks of all sides.

Nothing is imported before it is needed, so that the memory of a peer that runs alone is its own:

    python benchmarks/serving_peers.py SIZE SIDE FOLDER: MiB at most, MiB held after one run, as JSON
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rounds import held_mib, peak_mib

SIZES = {"1x16": (1, 16), "1x64": (1, 64), "16x16": (16, 16), "16x64": (16, 64)}
"""Name → inputs, new tokens."""
READER = "reader"
SHORTEST, LONGEST, MEAN, PARAGRAPHS = 90, 300, 176, 32
GROUP = 8
"""Paragraphs read at once: little padding for who pads, and quicker than 32 for who does not."""
Run = Callable[[], object]
Int64 = NDArray[np.int64]


def made_up(count: int) -> list[np.ndarray]:
    """Inputs; one alone is as long as SQuAD's are on average."""
    draw = np.random.default_rng(0)
    lens = [MEAN] if count == 1 else draw.integers(SHORTEST, LONGEST, count).tolist()
    return [draw.integers(1000, 30000, length).astype(np.int32) for length in lens]


def padded(inputs: Sequence[np.ndarray]) -> tuple[Int64, Int64]:
    """([N, longest] ids, [N, longest] 1 where there is one)"""
    ids = np.zeros((len(inputs), max(map(len, inputs))), np.int64)
    mask = np.zeros_like(ids)
    for row, one in enumerate(inputs):
        ids[row, : len(one)], mask[row, : len(one)] = one, 1
    return ids, mask


def names(ids: Sequence[int]) -> list[str]:
    """What CTranslate2 is given: names of ids."""
    return [f"t{i}" for i in ids]


def ct2_writes(folder: Path, inputs: Sequence[np.ndarray], num_tokens: int) -> Run:
    """CTranslate2 in int8: one thread for one input, two queues of one thread for several."""
    import ctranslate2

    queues = 1 if len(inputs) == 1 else 2
    translator = ctranslate2.Translator(str(folder / "ct2"), compute_type="int8", inter_threads=queues, intra_threads=1)
    source = [names(ids.tolist()) for ids in inputs]
    length = {"max_decoding_length": num_tokens, "min_decoding_length": num_tokens}

    def run() -> object:
        found = translator.translate_batch(source, beam_size=1, max_batch_size=-(-len(inputs) // queues), **length)
        assert all(len(one.hypotheses[0]) == num_tokens for one in found), "all tokens are written"
        return found

    return run


def transformers_writes(folder: Path, inputs: Sequence[np.ndarray], num_tokens: int, *, threads: int) -> Run:
    """transformers' generate, in float32."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model: Any = transformers.T5ForConditionalGeneration.from_pretrained(folder / "hf").eval()
    model.generation_config.eos_token_id = None
    ids, mask = map(torch.from_numpy, padded(inputs))

    def run() -> object:
        torch.set_num_threads(threads)
        found = model.generate(ids, attention_mask=mask, max_new_tokens=num_tokens, do_sample=False, num_beams=1)
        assert found.shape[1] == num_tokens + 1, "all tokens are written"
        return found

    return run


def groups() -> list[list[np.ndarray]]:
    """The paragraphs as they are read: of similar length together."""
    inputs = sorted(made_up(PARAGRAPHS), key=len)
    return [inputs[at : at + GROUP] for at in range(0, PARAGRAPHS, GROUP)]


def onnxruntime_reads(folder: Path) -> Run:
    """onnxruntime with int8 weights, two threads."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(folder / "int8.onnx"), options, providers=["CPUExecutionProvider"])
    parts = [
        {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        for ids, mask in map(padded, groups())
    ]
    return lambda: [session.run(None, part) for part in parts]


def transformers_reads(folder: Path) -> Run:
    """transformers in float32, two threads."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    model: Any = transformers.BertForQuestionAnswering.from_pretrained(folder / "bert").eval()
    parts = [(torch.from_numpy(ids), torch.from_numpy(mask)) for ids, mask in map(padded, groups())]

    def run() -> object:
        torch.set_num_threads(2)
        with torch.inference_mode():
            return [model(input_ids=ids, attention_mask=mask) for ids, mask in parts]

    return run


def writers(size: str, folder: Path) -> dict[str, Callable[[], Run]]:
    """Name → what makes it ready."""
    count, num_tokens = SIZES[size]
    inputs = made_up(count)
    threads = {f"transformers, {n} thread{'s' if n > 1 else ''}": n for n in ((1, 2) if count == 1 else (2,))}
    found: dict[str, Callable[[], Run]] = {
        name: partial(transformers_writes, folder, inputs, num_tokens, threads=number)
        for name, number in threads.items()
    }
    return found | {"ctranslate2 int8": partial(ct2_writes, folder, inputs, num_tokens)}


def peers(size: str, folder: Path) -> dict[str, Callable[[], Run]]:
    """Name → what makes it ready, at one size."""
    if size != READER:
        return writers(size, folder)
    return {"transformers": partial(transformers_reads, folder), "onnxruntime int8": partial(onnxruntime_reads, folder)}


if __name__ == "__main__":
    chosen, side, place = sys.argv[1:]
    peers(chosen, Path(place))[side]()()
    print(json.dumps([peak_mib(), held_mib()]))
