"""BLEU and chrF, as sacrebleu computes them (extra `eval`), with its signature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from textfer.errors import MachineError

NAMES = ("bleu", "chrf")
ORDERS = 4
Counts = tuple[int, ...]


def bleu(texts: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """`bleu` of the whole corpus as T5 has it: tokenizer `intl`, exponential smoothing, cased.

    Examples may have different numbers of gold texts; one without any has the empty text.

    **Errors**: MachineError without sacrebleu.

    **Source**: `bleu` of t5/evaluation/metrics.py; sacrebleu (Post, 2018).
    """
    metric = _metric("bleu")
    counts = [_counts(text, tuple(golds_)) for text, golds_ in zip(texts, golds, strict=True)]
    if not counts:
        return {"bleu": math.nan}
    sums = [sum(column) for column in zip(*counts, strict=True)]
    matches, totals, (length, gold_length) = sums[:ORDERS], sums[ORDERS : 2 * ORDERS], sums[2 * ORDERS :]
    found = metric.compute_bleu(matches, totals, length, gold_length, smooth_method=metric.smooth_method)
    return {"bleu": min(100.0, float(found.score))}


def chrf(texts: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """`chrf` of the whole corpus: character n-grams up to 6, beta 2 (chrF2).

    **Errors**: MachineError without sacrebleu.

    **Source**: Popović, chrF, 2015, through sacrebleu.
    """
    assert len(texts) == len(golds), (len(texts), len(golds))
    metric = _metric("chrf")
    if not texts:
        return {"chrf": math.nan}
    width = max(1, *(len(golds_) for golds_ in golds))
    filled = [golds_ or [""] for golds_ in golds]
    streams = [[golds_[n] if n < len(golds_) else None for golds_ in filled] for n in range(width)]
    return {"chrf": float(metric.corpus_score(list(texts), streams).score)}


def sacrebleu_signature(name: str, num_golds: int | None = 1) -> str:
    """sacrebleu's signature of `bleu` or `chrf`, to be told beside the number. `num_golds` None: examples differ in it.

    **Errors**: MachineError without sacrebleu.
    """
    metric = _metric(name)
    metric.num_refs = -1 if num_golds is None else num_golds
    return str(metric.get_signature().format(short=False))


@lru_cache(maxsize=1 << 15)
def _counts(text: str, golds: tuple[str, ...]) -> Counts:
    """BLEU's statistics of one example: matches and totals of n-grams, both lengths. Kept for the bootstrap."""
    found = _metric("bleu").corpus_score([text], [[gold] for gold in golds or ("",)])
    return (*found.counts, *found.totals, found.sys_len, found.ref_len)


@cache
def _metric(name: str) -> Any:
    assert name in NAMES, name
    try:
        sacrebleu = import_module("sacrebleu.metrics")
    except ImportError as error:
        raise MachineError(f"{name}: needs sacrebleu, which is not there. pip install 'textfer[eval]'") from error
    if name == "chrf":
        return sacrebleu.CHRF()
    return sacrebleu.BLEU(tokenize="intl", smooth_method="exp", lowercase=False, force=True)
