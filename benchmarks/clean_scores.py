"""What is left of a suite's scores without the rows that a training mixture holds too? A Markdown table.

    python benchmarks/clean_scores.py OUT --model NAME --mixture exmix_open --data DIR

OUT is what `textfer eval … --out OUT` kept. An evaluation row is left out when a train row of the mixture says the same
words, or shares 13 of them in a row with it (`textfer.data.leaks`). Beside the model's score on all rows and on what is
left stand those of the constant baseline on the same rows: the commonest answer of all rows.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from textfer.batch import Example
from textfer.data.leaks import leaks
from textfer.errors import DataError
from textfer.evaluate import iter_examples, load_labelled, mark
from textfer.recipe import find_task, task_names


def answers_in(folder: Path) -> Iterator[tuple[str, dict[int, str]]]:
    """(task, {number of the example: answer}) of every file of kept answers."""
    for path in sorted(folder.rglob("*-validation.jsonl")):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        task = lines[0]["task"].partition(".v")[0]
        yield task, {line["example"]: line["text"] for line in lines[1:]}


def in_training(evaluation: list[Example], mixture: str, data: Path) -> set[str]:
    """Origins of the evaluation examples that a train example of the mixture says, or overlaps with."""

    def train() -> Iterator[Example]:
        for name in task_names([mixture]):
            try:
                task = find_task(name)
                yield from (one for one in iter_examples(task, "train", data_dir=data) if task.learnt(one))
            except DataError as error:
                raise SystemExit(f"{name}: {error}") from None

    told = leaks(train(), evaluation)
    return leaks(evaluation, [one for one in train() if one.origin in told])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", required=True, help="The model's folder within OUT.")
    parser.add_argument("--mixture", required=True)
    data = os.environ.get("TEXTFER_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    args = parser.parse_args()
    answers = dict(answers_in(args.out / args.model))
    examples = {name: load_labelled(find_task(name), "validation", data_dir=args.data) for name in answers}
    known = in_training([one for some in examples.values() for one in some], args.mixture, args.data)
    print("| task | score | rows | model | constant | rows not in training | model | constant |")
    print("|---|---|---|---|---|---|---|---|")
    for name, some in examples.items():
        task = find_task(name)
        commonest = Counter(one.targets for one in some).most_common(1)[0][0]
        cells = []
        for numbers in (range(len(some)), [at for at, one in enumerate(some) if one.origin not in known]):
            kept = [some[at] for at in numbers]
            cells.append(str(len(kept)))
            for texts in ([answers[name][at] for at in numbers], [commonest] * len(kept)):
                score = mark(task, "validation", kept, texts).scores[task.main_metric] if kept else None
                cells.append("–" if score is None else f"{score:.2f}")
        print(f"| {name} | {task.main_metric} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
