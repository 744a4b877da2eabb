"""How long does one question on one paragraph take? The package's reader beside transformers, on the same weights.

    OMP_NUM_THREADS=2 python benchmarks/latency.py [--model starter-reader] [--rounds 5] --data DIR

Questions are SQuAD 1.1's of `validation`, spread over it, each on its own: tokens, the model, and the answer's place.
transformers gets the same weights as a folder of its own (`textfer export --to hf`), its fast tokenizer, no padding,
and takes the best pair of start and end that is in order, which is less than what ours does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from rounds import LINES, measure, row, show_rows
from textfer.data.named import find_task
from textfer.evaluate import load_labelled
from textfer.parts import load

Pair = tuple[str, str]
MAX_TOKENS = 384


def ours(name: str, pairs: list[Pair], *, int8: bool) -> Callable[[], object]:
    """Our reader, question by question."""
    reader = load(name, device="cpu", weights="int8" if int8 else "float32")
    return lambda: [reader.answer(question, context=context) for question, context in pairs]


def theirs(folder: Path, pairs: list[Pair]) -> Callable[[], object]:
    """transformers, question by question."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def one(question: str, context: str) -> str:
        read = tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=MAX_TOKENS,
            return_offsets_mapping=True,
            return_tensors="pt",
        )
        places = read.pop("offset_mapping")[0]
        made = model(**read)
        scores = (made.start_logits[0][:, None] + made.end_logits[0]).triu()
        first, last = divmod(int(scores.argmax()), scores.shape[1])
        return context[int(places[first][0]) : int(places[last][1])]

    def run() -> object:
        with torch.inference_mode():
            return [one(question, context) for question, context in pairs]

    return run


def main() -> None:
    """Prints milliseconds a question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter-reader")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    examples = load_labelled(find_task("squad"), "validation", data_dir=options.data, limit=options.questions)
    pairs = [(one.fields["question"], one.fields["context"]) for one in examples]
    with tempfile.TemporaryDirectory() as folder:
        hub = Path(folder) / "hf"
        command = [sys.executable, "-m", "textfer", "export", options.model, str(hub), "--to", "hf"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        sides = {
            "textfer": ours(options.model, pairs, int8=False),
            "textfer int8": ours(options.model, pairs, int8=True),
            "transformers": theirs(hub, pairs),
        }
        seconds = measure(sides, repeats=options.rounds)
    for name, own in seconds.items():
        more = {}
        if name != "transformers":
            pairs_of = zip(seconds["transformers"], own, strict=True)
            ratios = sorted(round(peer / mine, 2) for peer, mine in pairs_of)
            more = {"time of transformers / this": [ratios[0], ratios[len(ratios) // 2], ratios[-1]]}
        row(f"one question, one paragraph, {name}", [1000 * one / len(pairs) for one in own], "ms", **more)
    show_rows(LINES)


if __name__ == "__main__":
    main()
