"""A mixture shown: its tasks' examples, rates, expected epochs and tokens, as a table, as JSON and as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textfer.errors import ConfigError

if TYPE_CHECKING:
    from textfer.data.mixing import Mixing
    from textfer.data.shares import Share

PLOT_CAP = 2.0**19
PLOT_TEMPERATURE = 2.0
PLOT_TEMPERATURE_CAP = 2.0**21
"""What T5 compares (§3.5.2) where nothing else is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked about a mixture."""

    steps: int | None
    batch_size: int | None
    max_examples: float | None
    temperature: float | None
    tokenizer: str | None
    plot: Path | None
    data_dir: Path | None

    def given(self) -> list[str]:
        """The options that only a mixture takes, as they were written."""
        return [
            f"--{name.replace('_', '-')}"
            for name in ("steps", "batch_size", "max_examples", "temperature", "tokenizer", "plot")
            if getattr(self, name) is not None
        ]


def table(name: str, asked: Asked) -> list[dict[str, Any]]:
    """The rows of the mixture's table; writes the picture that was asked for."""
    from textfer.data.mixing import Mixing
    from textfer.data.shares import shares
    from textfer.tokenizers import load_tokenizer

    if (asked.steps is None) != (asked.batch_size is None):
        raise ConfigError("show mixture: a budget needs both --steps and --batch-size. Give both or none.")
    budget = None if asked.steps is None or asked.batch_size is None else asked.steps * asked.batch_size
    if asked.tokenizer and budget is None:
        raise ConfigError("--tokenizer: cannot take effect without a budget. Give --steps and --batch-size too.")
    if any(value is not None and math.isnan(value) for value in (asked.max_examples, asked.temperature)):
        raise ConfigError("show mixture: got nan, expected numbers for --max-examples and --temperature.")
    if asked.temperature == math.inf and asked.max_examples is not None and asked.plot is None:
        raise ConfigError("--max-examples: cannot take effect with --temperature inf, which makes all tasks equal.")
    mixing = Mixing(max_examples=asked.max_examples, temperature=asked.temperature, budget=budget)
    vocabulary = load_tokenizer(asked.tokenizer) if asked.tokenizer else None
    rows = shares(name, mixing, data_dir=asked.data_dir, tokenizer=vocabulary)
    if asked.plot is not None:
        _plot(name, asked.plot, rows, mixing)
    return [asdict(row) for row in rows]


def _plot(name: str, path: Path, rows: Sequence[Share], mixing: Mixing) -> None:
    from textfer.data.mixing import Mixing
    from textfer.data.shares import known_rates
    from textfer.data.shares_plot import Panel, draw
    from textfer.data.task import MIXTURES

    own = MIXTURES.get(name)
    cap = mixing.max_examples or own.max_examples or PLOT_CAP
    warmth = next((t for t in (mixing.temperature, own.temperature) if t and 1 < t < math.inf), PLOT_TEMPERATURE)
    warm_cap = mixing.max_examples or PLOT_TEMPERATURE_CAP
    strategies = {
        f"examples-proportional, K = {_number(cap)}": Mixing(max_examples=cap, temperature=1.0),
        f"temperature T = {warmth:g}, K = {_number(warm_cap)}": Mixing(max_examples=warm_cap, temperature=warmth),
        "equal": Mixing(max_examples=cap, temperature=math.inf),
    }
    examples = {row.task: row.examples for row in rows if row.examples}
    panels = [
        Panel(title=title, rates=known_rates(name, [*examples], examples, how)) for title, how in strategies.items()
    ]
    total = f"{len(examples)} tasks, {sum(examples.values()):,} examples"
    draw(path, f"{name}: {total}", examples, panels)
    click.echo(f"drawn in {path}", err=True)


def _number(value: float) -> str:
    """A cap as people write it: a power of two, or in full."""
    if math.isinf(value):
        return "∞"
    power = math.log2(value)
    return f"2^{power:.0f}" if power == int(power) and power > 10 else f"{value:,.0f}"


def show_table(rows: Sequence[dict[str, Any]]) -> None:
    """Prints the rows, aligned, and says what the marks in them mean."""
    budget = rows[0]["epochs"] is not None
    width = max(len(row["task"]) for row in rows)
    head = f"{'task':{width}}  {'examples':>12}  {'rate':>9}"
    click.echo(head + (f"  {'epochs':>8}  {'tokens':>15}" if budget else ""))
    for row in rows:
        line = f"{row['task']:{width}}  {row['examples']:>12,}{MARKS[row['counted']]} {row['rate']:>9.6f}"
        if budget:
            epochs = "–" if row["epochs"] is None else f"{row['epochs']:,.2f}"
            tokens = "–" if row["tokens"] is None else f"{row['tokens']:,.0f}"
            line += f"  {epochs:>8}  {tokens:>15}{MARKS[row['measured']]}"
        click.echo(line.rstrip())
    total = f"{f'{len(rows)} tasks':{width}}  {sum(row['examples'] for row in rows):>12,}  {1:>9.6f}"
    if budget:
        total += f"  {'':>8}  {sum(row['tokens'] or 0 for row in rows):>15,.0f}"
    click.echo(total)
    used = {row["counted"] for row in rows} | {row["measured"] for row in rows}
    for name, said in NOTES.items():
        if name in used:
            click.echo(f"{MARKS[name]} {said}".strip())


MARKS = {
    "examples": " ",
    "rows": " ",
    "published": "*",
    "unknown": "?",
    "cached": " ",
    "estimated": "~",
    "characters": "≈",
    "": " ",
}
NOTES = {
    "published": "no rows here: as many as were published",
    "unknown": "no rows here and no published number: left out of the rates",
    "estimated": "estimated from the task's first rows; exact once its token table is made",
    "characters": "estimated from the characters of the task's first rows; --tokenizer counts tokens",
}
