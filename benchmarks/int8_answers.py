"""What do int8 weights cost in answers? One JSON line: scores with float32 and int8 weights, and the share that differ.

    OMP_NUM_THREADS=1 python benchmarks/int8_answers.py --model MODEL --task squad --data DIR [--limit 500]

Both sides answer the same examples greedily, in batches sorted by length; scores are the task's official metrics.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from textfer import load
from textfer.evaluate import Report, evaluate
from textfer.recipe import find_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--task", required=True)
    parser.add_argument("--split", default="validation")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--limit", type=int)
    args = parser.parse_args()
    task = find_task(args.task)
    reports: dict[str, Report] = {}
    seconds: dict[str, float] = {}
    for weights in ("float32", "int8"):
        predictor = load(args.model, device="cpu", weights=weights).predictor
        start = time.process_time()
        reports[weights] = evaluate(predictor, task, args.split, limit=args.limit, data_dir=args.data)
        seconds[weights] = round(time.process_time() - start, 1)
    plain, small = reports["float32"].predictions, reports["int8"].predictions
    differ = sum(text != small[name] for name, text in plain.items())
    found = {
        "model": args.model,
        "task": args.task,
        "split": args.split,
        "num_examples": len(plain),
        "share_that_differ": round(differ / len(plain), 4),
        **{f"scores_{weights}": dict(report.scores) for weights, report in reports.items()},
        "cpu_seconds": seconds,
        "torch": torch.__version__,
    }
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
