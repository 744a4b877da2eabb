"""The command that looks for what is missing or amiss: in the machine, or in the rows of tasks."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textfer.cli.parts import data_option, json_option, print_json
from textfer.errors import ConfigError, DataError, MachineError

if TYPE_CHECKING:
    from textfer.data.layout import Lens
    from textfer.data.leaks import Leak
    from textfer.doctor.data import DataReport, SplitReport

MAX_LABELS_SHOWN = 4
MAX_LABELS_TOLD = 100
MAX_LEAKS_SHOWN = 40


@click.command()
@click.argument("what", type=click.Choice(["machine", "data"]), default="machine")
@click.option("--task", "tasks", multiple=True, help="With `data`: a task, or a file with your own rows.")
@click.option("--mixture", "mixtures", multiple=True, help="With `data`: all tasks of a mixture.")
@click.option("--tokenizer", "vocabulary", help="With `data`: count in this vocabulary's tokens, not in characters.")
@click.option("--lens", metavar="INPUTS/TARGETS", help="With --tokenizer: the lengths to cut at.  [default: 512/114]")
@data_option
@json_option
def doctor(
    what: str,
    tasks: Sequence[str],
    mixtures: Sequence[str],
    vocabulary: str | None,
    lens: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Say what this machine has and what is missing; with `data`, what the rows of tasks are like.

    `doctor data` tells of each split: rows, examples, label balance, lengths, what would be cut, what stands twice; and
    what of the evaluation splits stands in the train splits of all these tasks, word for word or by 13 words in a row.
    Without --task and --mixture it looks at every task whose rows lie in --data.
    """
    if what == "data":
        _data(tasks, mixtures, vocabulary=vocabulary, lens=lens, data_dir=data_dir, as_json=as_json)
        return
    for option, value in (("task", tasks), ("mixture", mixtures), ("tokenizer", vocabulary), ("lens", lens)):
        if value:
            raise ConfigError(f"--{option}: cannot take effect without `data`: textfer doctor data --{option} …")
    from dataclasses import asdict

    from textfer.doctor.machine import examine

    findings = list(examine(data_dir))
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = click.style("ok ", fg="green") if finding.ok else click.style("NO ", fg="red")
            click.echo(f"{mark} {finding.name:20} {finding.value}{'' if finding.ok else f'  → {finding.hint}'}")
    sys.exit(0 if all(finding.ok for finding in findings) else MachineError.exit_code)


def _data(
    tasks: Sequence[str],
    mixtures: Sequence[str],
    *,
    vocabulary: str | None,
    lens: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    if lens and not vocabulary:
        raise ConfigError("--lens: cannot take effect without --tokenizer, which counts the tokens.")
    match = re.fullmatch(r"(\d+)/(\d+)", lens or "512/114")
    if match is None or "0" in match.groups():
        raise ConfigError(f"--lens: got '{lens}', expected INPUTS/TARGETS, such as 512/114.")
    if not (tasks or mixtures or data_dir):
        raise ConfigError("doctor data: which rows? Give --task, --mixture or --data.")

    from textfer.data.layout import Lens
    from textfer.data.task import MIXTURES, TASKS
    from textfer.doctor.data import Look, examine_data
    from textfer.recipe import find_task, task_names
    from textfer.tokenizers import load_tokenizer

    for name in mixtures:
        MIXTURES.get(name)
    for name in tasks:
        find_task(name)
    chosen = task_names([*tasks, *mixtures]) or [name for name in TASKS.names() if TASKS.get(name).source.made is None]
    look = Look(
        data_dir=data_dir,
        tokenizer=load_tokenizer(vocabulary) if vocabulary else None,
        lens=Lens(int(match[1]), int(match[2])),
        on_split=_say_on_terminal,
    )
    report = examine_data([find_task(name) for name in chosen], look)
    if not report.splits:
        first = next(iter(report.missing.values()))
        raise DataError(f"{first}" if len(report.missing) == 1 else f"none of {len(chosen)} tasks has rows. {first}")
    everything = not (tasks or mixtures)
    if as_json:
        print_json(_plain(report))
    else:
        for line in _lines(report, look.lens, tokens=look.tokenizer is not None, everything=everything):
            click.echo(line)
    amiss = any(split.num_bad for split in report.splits) or any(name in report.missing for name in tasks)
    sys.exit(DataError.exit_code if amiss else 0)


def _say_on_terminal(name: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[Kreading {name}", nl=False, err=True)


def _plain(report: DataReport) -> dict[str, Any]:
    from dataclasses import asdict, replace

    splits = []
    for split in report.splits:
        most = dict(list(split.labels.items())[:MAX_LABELS_TOLD])
        row = asdict(replace(split, labels=most)) | {
            "largest_share": split.largest_share,
            "num_labels": len(split.labels),
        }
        row |= {side: getattr(split, side)._asdict() for side in ("inputs", "targets")}
        splits.append(row)
    return {
        "splits": splits,
        "missing": report.missing,
        "leaks": [asdict(leak) for leak in report.leaks],
        "one_in": report.one_in,
    }


def _lines(report: DataReport, lens: Lens, *, tokens: bool, everything: bool) -> Iterator[str]:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    unit = "tokens" if tokens else "characters"
    titles = ["task/split", "rows", "examples", "none", "bad", "twice", f"input {unit}", "cut", f"target {unit}", "cut"]
    rows = [titles, *(_cells(split) for split in report.splits)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, split in zip(rows, [None, *report.splits], strict=True):
        first, *others = row
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        yield f"{'  '.join(cells)}  {_labels(split) if split else 'labels'}".rstrip()
    cut = f"Cut at {lens.inputs}/{lens.targets}." if tokens else "Cut: give --tokenizer."
    yield f"Lengths: median / 99 of 100 / longest. {cut}"
    for split in report.splits:
        if split.num_bad:
            yield f"bad rows in {split.task}/{split.split}: {split.num_bad:,}, the first: {split.first_bad}"
    if report.missing and everything:
        yield f"no rows here: {len(report.missing)} other tasks"
    elif report.missing:
        yield from (f"no rows: {name}: {why}" for name, why in report.missing.items())
    yield from _leak_lines(report)


def _cells(split: SplitReport) -> list[str]:
    def lengths(side: str) -> str:
        found = getattr(split, side)
        return f"{found.median:,} / {found.p99:,} / {found.longest:,}"

    counts = [split.num_rows, split.num_examples, split.num_without, split.num_bad, split.num_doubled]
    cut = ["" if count is None else f"{count:,}" for count in (split.cut_inputs, split.cut_targets)]
    name = f"{split.task}/{split.split}"
    return [name, *(f"{count:,}" for count in counts), lengths("inputs"), cut[0], lengths("targets"), cut[1]]


def _labels(split: SplitReport) -> str:
    total = sum(split.labels.values())
    if not total:
        return "unlabelled" if split.num_examples and not split.num_learnt else ""
    shown = [f"{word} {count / total:.1%}" for word, count in list(split.labels.items())[:MAX_LABELS_SHOWN]]
    if len(split.labels) > MAX_LABELS_SHOWN:
        shown = [f"{len(split.labels):,} different, the first {shown[0]}"]
    if split.num_contradicting:
        shown.append(f"{split.num_contradicting:,} inputs twice with different targets")
    return " · ".join(shown)


def _leak_lines(report: DataReport) -> Iterator[str]:
    if not report.leaks:
        yield "Leaks: none found."
        return
    sampled = f" (one stretch in {report.one_in} was looked for)" if report.one_in > 1 else ""
    yield f"Leaks: what of evaluation splits stands in train splits, {len(report.leaks)} pairs{sampled}."
    for leak in report.leaks[:MAX_LEAKS_SHOWN]:
        yield _leak_line(leak)
        yield from (f"    {train} ~ {evaluation}: {text}" for train, evaluation, text in leak.samples[:2])
    if len(report.leaks) > MAX_LEAKS_SHOWN:
        yield f"… and {len(report.leaks) - MAX_LEAKS_SHOWN} more pairs; --json shows all."


def _leak_line(leak: Leak) -> str:
    share = (leak.same + leak.overlapping) / leak.num_evaluation
    return (
        f"  {leak.evaluation}: {leak.same:,} the same and {leak.overlapping:,} with 13 words in a row, of "
        f"{leak.num_evaluation:,} ({share:.1%}), in {leak.num_train:,} examples of {leak.train}"
    )
