"""Writes docs/tasks.md: every task, its rows as text and as ids, counted; what makes no example; what leaks where.

    python benchmarks/tasks_page.py VOCABULARY --described "a 16,000-piece vocabulary …" --data DIR

Exit code 1 when a row makes no example and its task does not say why. A few minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from textfer.data.task import TASKS, Task
from textfer.doctor.data import SPLITS, DataReport, Look, SplitReport, examine_data
from textfer.tokenizers import load_tokenizer

LEAK_SHARE = 0.1
"""Leaks are listed from this share of the evaluation examples on."""


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> Iterator[str]:
    """A Markdown table; columns `right` hold numbers."""
    yield f"| {' | '.join(titles)} |"
    yield f"|{'|'.join('--:' if number in right else '---' for number in range(len(titles)))}|"
    yield from (f"| {' | '.join(cell.replace('|', '¦') for cell in row)} |" for row in rows)
    yield ""


def splits_of(report: DataReport) -> dict[str, dict[str, SplitReport]]:
    """{task: {split: what was found}}."""
    found: dict[str, dict[str, SplitReport]] = defaultdict(dict)
    for split in report.splits:
        found[split.task][split.split] = split
    return found


def counted(split: SplitReport | None) -> str:
    """`rows → examples → ids`."""
    if split is None:
        return ""
    learnt = f" ({split.num_learnt:,} labelled)" if split.num_learnt != split.num_examples else ""
    return f"{split.num_rows:,} → {split.num_examples:,}{learnt} → {split.tokens:,}"


def unexplained(task: Task, split: SplitReport) -> int:
    """Rows that were lost without a reason."""
    return split.num_bad + (0 if task.drops else split.num_without)


def tasks_with_rows(tasks: Sequence[Task], report: DataReport) -> Iterator[str]:
    """One table a family."""
    found = splits_of(report)
    families = sorted({task.family for task in tasks if task.name in found})
    for family in families:
        yield f"### {family[:1].upper()}{family[1:]}\n"
        rows = [
            [
                f"`{task.name}`",
                *(counted(found[task.name].get(split)) for split in SPLITS),
                task.schema,
                task.licence,
                "yes" if task.train_ok else "no",
            ]
            for task in tasks
            if task.family == family and task.name in found
        ]
        yield from table(["task", *SPLITS, "columns seen in", "licence", "may be given away"], rows)


def rows_without(tasks: Sequence[Task], report: DataReport) -> Iterator[str]:
    """The rows that make no example, and why."""
    found = splits_of(report)
    rows = [
        [f"`{task.name}`", split.split, f"{split.num_without + split.num_bad:,} of {split.num_rows:,}"]
        + ([task.drops or "**unexplained**"] if not split.num_bad else [f"**bad rows**: {split.first_bad}"])
        for task in tasks
        for split in found.get(task.name, {}).values()
        if split.num_without or split.num_bad
    ]
    yield from table(["task", "split", "rows", "why"], rows)


def tasks_without_rows(tasks: Sequence[Task], report: DataReport) -> Iterator[str]:
    """Tasks that are declared only."""
    found = splits_of(report)
    rows = []
    for task in tasks:
        if task.name not in found:
            sizes = ", ".join(f"{split} {size:,}" for split, size in task.sizes.items())
            place = f"{task.source.name} ({task.source.config})"
            rows.append([f"`{task.name}`", task.family, place, sizes, task.schema, task.licence])
    yield from table(["task", "family", "source", "published rows", "columns seen in", "licence"], rows)


def leaks_of(report: DataReport) -> Iterator[str]:
    """Evaluation splits that stand in train splits, the worst first."""
    rows = []
    for leak in report.leaks:
        share = (leak.same + leak.overlapping) / leak.num_evaluation
        if share >= LEAK_SHARE and not leak.evaluation.startswith("blimp_"):
            counts = f"{leak.same:,}", f"{leak.overlapping:,}", f"{leak.num_evaluation:,}", f"{100 * share:.0f} %"
            rows.append([f"`{leak.evaluation}`", *counts, f"{leak.num_train:,} of `{leak.train}`"])
    yield from table(["evaluation split", "same", "overlap", "of", "share", "in examples of"], rows, right=(1, 2, 3, 4))


def page(tasks: Sequence[Task], report: DataReport, described: str) -> Iterator[str]:
    """The whole page."""
    found = splits_of(report)
    lost = sum(unexplained(TASKS.get(split.task), split) for split in report.splits)
    totals = [
        sum(getattr(split, name) or 0 for split in report.splits) for name in ("num_rows", "num_examples", "tokens")
    ]
    yield "# Tasks\n"
    yield "Made by a program; do not edit. The command, with a data folder and a vocabulary of yours:\n"
    yield f'```sh\npython benchmarks/tasks_page.py VOCABULARY --described "{described}" --data DIR\n```\n'
    yield (
        f"{len(tasks)} tasks are declared; rows of {len(found)} of them lie in the data folder that this page was made "
        f"with, a partial copy of public data sets whose splits are often smaller than the published ones. All their "
        f"rows were read and said as text, and all texts cut into ids of {described}: {totals[0]:,} rows → "
        f"{totals[1]:,} examples → {totals[2]:,} ids, inputs and targets together. "
        f"Rows without an example for which no task gives a reason: **{lost}**.\n"
    )
    yield (
        "`textfer show task NAME` tells more of one task, `textfer trace --task NAME` shows its rows as text, and "
        "`textfer doctor data --task NAME` the balance of its labels, its lengths and what leaks. "
        "[Adding a task](adding-a-task.md) takes one file.\n"
    )
    yield "## Tasks with rows\n"
    yield "Rows → examples → ids. Labelled: examples with a right answer, where others have none.\n"
    yield from tasks_with_rows(tasks, report)
    yield "## Rows that make no example\n"
    yield from rows_without(tasks, report)
    yield "## Tasks declared without rows here\n"
    yield "Their own sample rows are tested; nothing was measured on them. `assumed`: nobody has seen the columns.\n"
    yield from tasks_without_rows(tasks, report)
    yield "## What leaks\n"
    yield (
        f"Evaluation examples that stand in train splits, found by `textfer doctor data`: all their words the same, or "
        f"13 words in a row (a text of 8 to 12 words as a whole). Listed from {100 * LEAK_SHARE:.0f} % on. Much of it "
        "is in the data as published (pairs that share a sentence, questions on one paragraph); some comes of splits "
        "cut from one original. A figure on such a split, after training on such a set, says little. BLiMP's pairs are "
        "made from templates and are left out.\n"
    )
    yield from leaks_of(report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("vocabulary")
    parser.add_argument("--described", required=True, help="what the vocabulary is, for readers of the page")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "tasks.md")
    options = parser.parse_args()
    tasks = [TASKS.get(name) for name in TASKS.names()]
    look = Look(
        data_dir=options.data,
        tokenizer=load_tokenizer(options.vocabulary),
        on_split=lambda name: print(name, file=sys.stderr),
    )
    report = examine_data(tasks, look)
    text = "\n".join(page(tasks, report, options.described)).rstrip() + "\n"
    options.out.write_text(text, encoding="utf-8")
    for split in report.splits:
        if unexplained(TASKS.get(split.task), split):
            print(f"unexplained: {split.task}/{split.split}: {split.first_bad or split.num_without}", file=sys.stderr)
    sys.exit("**unexplained**" in text or "**bad rows**" in text)


if __name__ == "__main__":
    main()
