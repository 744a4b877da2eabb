"""What do int8 weights cost in answers? A JSON line a task, then a Markdown table: scores, and the share that differ.

    OMP_NUM_THREADS=1 python benchmarks/int8_answers.py --model MODEL --task squad squad_v2 --data DIR [--limit 500]

Both sides answer the same examples greedily, in batches sorted by length; scores are the task's official metrics.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from textfer import load
from textfer.evaluate import Report, evaluate
from textfer.models.int8 import Weights
from textfer.recipe import find_task

SIDES: Final[tuple[Weights, ...]] = ("float32", "int8")
DOUBLED = {"exact", "NoAns_exact", "total", "HasAns_total", "NoAns_total"}
"""Scores that say nothing beside the others."""


def one_task(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """What both sides answered."""
    task = find_task(name)
    reports: dict[str, Report] = {}
    seconds: dict[str, float] = {}
    for weights in SIDES:
        predictor = load(args.model, device="cpu", weights=weights).predictor
        start = time.process_time()
        reports[weights] = evaluate(predictor, task, args.split, limit=args.limit, data_dir=args.data)
        seconds[weights] = round(time.process_time() - start, 1)
    plain, small = reports["float32"].predictions, reports["int8"].predictions
    differ = sum(text != small[number] for number, text in plain.items())
    return {
        "model": args.model,
        "task": name,
        "split": args.split,
        "num_examples": len(plain),
        "share_that_differ": round(differ / len(plain), 4),
        **{f"scores_{weights}": dict(report.scores) for weights, report in reports.items()},
        "cpu_seconds": seconds,
        "torch": torch.__version__,
    }


def show(found: Sequence[dict[str, Any]]) -> None:
    """A Markdown row a task, with its scores."""
    head = ("task", "examples", "answers that differ", "float32", "int8", "CPU s, float32", "int8")
    print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for one in found:
        scores = [
            ", ".join(f"{name} {value:.1f}" for name, value in one[f"scores_{weights}"].items() if name not in DOUBLED)
            for weights in SIDES
        ]
        seconds = [f"{one['cpu_seconds'][weights]:,}" for weights in SIDES]
        share = f"{100 * one['share_that_differ']:.1f} %"
        cells = [one["task"], f"{one['num_examples']:,}", share, *scores, *seconds]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", required=True, nargs="+")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int, help="the first examples of the split")
    args = parser.parse_args()
    found = []
    for name in args.task:
        found.append(one_task(args, name))
        print(json.dumps(found[-1], ensure_ascii=False), flush=True)
    show(found)


if __name__ == "__main__":
    main()
