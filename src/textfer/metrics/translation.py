"""BLEU and chrF, as sacrebleu computes them (extra `eval`), with its signature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from textfer.errors import MachineError

NAMES = ("bleu", "chrf")


def bleu(texts: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """`bleu` of the whole corpus as T5 has it: tokenizer `intl`, exponential smoothing, cased.

    **Errors**: MachineError without sacrebleu.
    """
    return {"bleu": _score("bleu", texts, golds)}


def chrf(texts: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """`chrf` of the whole corpus: character n-grams up to 6, beta 2 (chrF2).

    **Errors**: MachineError without sacrebleu.
    """
    return {"chrf": _score("chrf", texts, golds)}


def sacrebleu_signature(name: str, num_golds: int = 1) -> str:
    """sacrebleu's signature of `bleu` or `chrf` for so many gold texts: what must be told beside the number.

    **Errors**: MachineError without sacrebleu.
    """
    metric = _metric(name)
    metric.corpus_score(["a"], [["a"]] * num_golds)  # the number of gold texts is known only once it has scored
    return str(metric.get_signature().format(short=False))


def _score(name: str, texts: Sequence[str], golds: Sequence[Sequence[str]]) -> float:
    assert len(texts) == len(golds), (len(texts), len(golds))
    metric = _metric(name)
    if not texts:
        return math.nan
    width = max(1, *(len(golds_) for golds_ in golds))
    streams = [[golds_[number] if number < len(golds_) else "" for golds_ in golds] for number in range(width)]
    return float(metric.corpus_score(list(texts), streams).score)


def _metric(name: str) -> Any:
    try:
        sacrebleu = import_module("sacrebleu.metrics")
    except ImportError as error:
        raise MachineError(f"{name}: needs sacrebleu. pip install 'textfer[eval]'") from error
    assert name in NAMES, name
    if name == "chrf":
        return sacrebleu.CHRF()
    return sacrebleu.BLEU(tokenize="intl", smooth_method="exp", lowercase=False, force=True)
