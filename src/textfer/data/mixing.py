"""How often each task of a mixture is heard.

A part of a mixture counts as a number of examples: a task as many as it has (examples, or pieces of plain text), a part
with a weight as many as the weight says. A part's rate is min(count, K)^(1/T), divided by the sum over all parts: the
cap K first, then the root (T5 §3.5.2, seqio's `mixing_rate_num_examples`). T = 1 is examples-proportional mixing, T = ∞
equal mixing.

A mixture inside a mixture, without a weight, stands for its tasks. Where the outer one says T, its tasks count as if
they were listed there; else the inner one keeps its own T, and counts as its tasks together. With a weight it counts as
that many examples, and its tasks share what it gets by the rates among them (seqio multiplies through in the same way).
An outer K or T, and above all the recipe's, is in force for everything inside.

The recipe's other words come after this, in this order: `weights` multiply rates; `ratio` fixes the share of plain
text; `max_epochs` lowers what would be heard too often and hands the rest to the others, in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from textfer.data.named import routes
from textfer.data.task import MIXTURES, Mixture
from textfer.errors import ConfigError, nearest

WHOLE = "data.tasks"
"""What the mixture of all that a recipe names is called in messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """What is said about rates beyond the mixtures themselves."""

    max_examples: float | None = None
    """The cap K in all mixtures; None = each one's own."""
    temperature: float | None = None
    """T in all mixtures; None = each one's own."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Task or mixture → factor on the rates of its tasks."""
    ratio: float | None = None
    """Examples of plain text for each example of the supervised tasks."""
    max_epochs: float | None = None
    """The most times that an example of a supervised task is heard in `budget`."""
    budget: int | None = None
    """Examples in the whole run."""


class _Leaf(NamedTuple):
    """What shares in a mixture by one count: a task, or a mixture's tasks by their shares."""

    examples: float
    shares: Mapping[str, float]


def mixing_rates(
    names: Sequence[str],
    num_examples: Callable[[str], int],
    mixing: Mixing | None = None,
    *,
    plain: Callable[[str], bool] = lambda task: False,
) -> dict[str, float]:
    """{task: rate}, summing to 1, of the tasks under `names`, which together are one mixture.

    `num_examples` is asked for tasks only; `plain` says which ones are plain text.
    **Errors**: ConfigError where a name is unknown or repeated, a rate would be 0, or `mixing` asks for what cannot be.
    """
    mixing = mixing or Mixing()
    ways = routes(names)
    whole = Mixture(
        name=WHOLE,
        parts=dict.fromkeys(names),
        max_examples=mixing.max_examples,
        temperature=mixing.temperature,
    )
    rates = _shares(*_leaves(whole, None, None, num_examples))
    rates = _weighted(rates, mixing.weights, ways)
    is_plain = {task: plain(task) for task in rates}
    if mixing.ratio is not None:
        rates = _in_ratio(rates, mixing.ratio, is_plain)
    if mixing.max_epochs is not None:
        assert mixing.budget is not None, "a limit of epochs needs a budget"
        most = {task: math.inf if is_plain[task] else mixing.max_epochs * num_examples(task) for task in rates}
        rates = _limited(rates, most, mixing, is_plain)
    return rates


def weight_names(ways: Mapping[str, Sequence[str]]) -> set[str]:
    """What a weight may be given to: every task, and every mixture on the way to one."""
    return {*ways, *(mixture for way in ways.values() for mixture in way)}


def _leaves(
    mixture: Mixture, cap: float | None, temperature: float | None, num_examples: Callable[[str], int]
) -> tuple[list[_Leaf], float]:
    """The leaves of a mixture and its T, where `cap` and `temperature` come from outside and go first."""
    cap = mixture.max_examples if cap is None else cap
    temperature = mixture.temperature if temperature is None else temperature
    most = math.inf if cap is None else cap
    leaves: list[_Leaf] = []
    for part, weight in mixture.parts.items():
        if part not in MIXTURES:
            count = _positive(float(num_examples(part)) if weight is None else weight, mixture, part)
            leaves.append(_Leaf(min(count, most), {part: 1.0}))
            continue
        inner, own = _leaves(MIXTURES.get(part), cap, temperature, num_examples)
        if weight is None and temperature is not None:
            leaves += inner
        elif weight is None:
            leaves.append(_Leaf(math.fsum(leaf.examples for leaf in inner), _shares(inner, own)))
        else:
            leaves.append(_Leaf(min(_positive(weight, mixture, part), most), _shares(inner, own)))
    return leaves, 1.0 if temperature is None else temperature


def _positive(rate: float, mixture: Mixture, part: str) -> float:
    if not rate > 0 or not math.isfinite(rate):
        where = WHOLE if mixture.name == WHOLE else f"mixture '{mixture.name}'"
        raise ConfigError(f"{where}: part '{part}' has rate {rate:g}, expected more than 0. Drop it or add rows.")
    return rate


def _shares(leaves: Sequence[_Leaf], temperature: float) -> dict[str, float]:
    """{task: rate} of leaves, summing to 1. Counts are divided by the largest first: 10^300 is a weight too."""
    largest = max(leaf.examples for leaf in leaves)
    rates = [(leaf.examples / largest) ** (1.0 / temperature) for leaf in leaves]
    total = math.fsum(rates)
    return {
        task: rate / total * share
        for rate, leaf in zip(rates, leaves, strict=True)
        for task, share in leaf.shares.items()
    }


def _weighted(
    rates: Mapping[str, float], weights: Mapping[str, float], ways: Mapping[str, tuple[str, ...]]
) -> dict[str, float]:
    known = weight_names(ways)
    for name, factor in weights.items():
        if name not in known:
            raise ConfigError(f"data.weights: '{name}' is not in data.tasks.{nearest(name, known)}")
        if not factor > 0 or not math.isfinite(factor):
            raise ConfigError(f"data.weights.{name}: got {factor:g}, expected more than 0. Leave the task out instead.")
    raised = {
        task: rate * math.prod(weights.get(name, 1.0) for name in (*ways[task], task)) for task, rate in rates.items()
    }
    total = math.fsum(raised.values())
    return {task: rate / total for task, rate in raised.items()}


def _in_ratio(rates: Mapping[str, float], ratio: float, plain: Mapping[str, bool]) -> dict[str, float]:
    """Plain text in all at R / (R + 1). **Source**: ExT5 (Aribandi et al. 2022), §3.3."""
    if len(set(plain.values())) < 2:
        kind = "plain text" if not any(plain.values()) else "supervised task"
        raise ConfigError(f"data.ratio: cannot take effect, no {kind} is in data.tasks. Add one, or drop the ratio.")
    if not math.isfinite(ratio):
        raise ConfigError(
            f"data.ratio: got {ratio:g}, expected a finite number. Leave the supervised tasks out instead."
        )
    wanted = {True: ratio / (ratio + 1), False: 1 / (ratio + 1)}
    total = {kind: math.fsum(rate for task, rate in rates.items() if plain[task] == kind) for kind in wanted}
    return {task: rate / total[plain[task]] * wanted[plain[task]] for task, rate in rates.items()}


def _limited(
    rates: Mapping[str, float], most: Mapping[str, float], mixing: Mixing, plain: Mapping[str, bool]
) -> dict[str, float]:
    """Rates where no task is heard more often than `most` in the budget; what that frees goes to the others.

    With a ratio, the supervised tasks keep their share among themselves; else plain text may take what is free.
    """
    assert mixing.budget is not None
    group = [task for task in rates if mixing.ratio is None or not plain[task]]
    whole = math.fsum(rates[task] for task in group)
    limits = {task: most[task] / mixing.budget for task in group}
    full: set[str] = set()
    while True:
        open_ = [task for task in group if task not in full]
        left = whole - math.fsum(limits[task] for task in full)
        if not open_:
            if left > 1e-9 * whole:
                raise _too_few(whole * mixing.budget, math.fsum(most[task] for task in group), len(group), mixing)
            return {**rates, **limits}
        scale = left / math.fsum(rates[task] for task in open_)
        over = {task for task in open_ if rates[task] * scale > limits[task] * (1 + 1e-12)}
        if not over:
            return {**rates, **{task: limits[task] if task in full else rates[task] * scale for task in group}}
        full |= over


def _too_few(wanted: float, there: float, num_tasks: int, mixing: Mixing) -> ConfigError:
    return ConfigError(
        f"data.max_epochs: got {mixing.max_epochs:g}, where {num_tasks} tasks have {there:,.0f} examples; "
        f"the run hears {wanted:,.0f} supervised ones. Raise it, shorten the run or add tasks."
    )
