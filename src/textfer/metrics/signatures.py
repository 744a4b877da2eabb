"""What is told beside a number: the metric, its version, and how texts are prepared for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from inspect import getclosurevars, isfunction
from types import MappingProxyType
from typing import Any

from textfer.errors import ConfigError, nearest
from textfer.metrics.translation import NAMES as SACREBLEU
from textfer.metrics.translation import sacrebleu_signature

SQUAD_FORM = "lower case, no ASCII punctuation, no a/an/the, best over gold answers"
METRICS: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType(
    {
        "accuracy": (("accuracy",), "v1; equal to the gold answer"),
        "binary_f1": (("f1",), "v1; class 1; an invalid answer is the wrong class, as T5"),
        "macro_f1": (("macro_f1",), "v1; mean over classes, 0 for one never met"),
        "macro_recall": (("macro_recall",), "v1; mean over gold classes, as TweetEval"),
        "stance_f1": (("stance_f1",), "v1; mean F1 of against and favor, as TweetEval"),
        "matthews": (("matthews",), "v1; multi-class, an invalid answer is a class of its own"),
        "pearson": (("pearson",), "v1"),
        "spearman": (("spearman",), "v1; ties share their mean rank"),
        "auc": (("auc",), "v1; ROC, a tie counts half"),
        "multirc": (("f1a", "em"), "v1; f1a over all answers, em over questions; an invalid answer is wrong"),
        "gender_parity": (("gender_parity",), "v1; share of pairs answered alike"),
        "exact_match": (("exact_match",), "v1; to the letter, spaces at either end aside"),
        "token_f1": (("f1",), f"v1; bags of words; {SQUAD_FORM}"),
        "squad": (("em", "f1"), f"v1.1; {SQUAD_FORM}"),
        "squad_v2": (("exact", "f1"), f"v2.0; {SQUAD_FORM}; no answer is an empty one"),
        "trivia_qa": (
            ("em", "f1"),
            "v1; lower case, a space for punctuation, no a/an/the, best over gold answers",
        ),
        "record": (("f1", "em"), f"v1; {SQUAD_FORM}; one answer a query"),
        "wsc": (("accuracy",), "v1; T5's rule: lower case, no determiners, one's words all among the other's"),
        "rouge": (
            ("rouge1", "rouge2", "rougeL", "rougeLsum"),
            "v1; F-measure by rouge-score's rules, Porter stemmer, new line after ' . ', best over gold texts, mean",
        ),
        "bleu": (("bleu",), "sacrebleu, case:mixed|eff:no|tok:intl|smooth:exp"),
        "chrf": (("chrf",), "sacrebleu, case:mixed|eff:yes|nc:6|nw:0|space:no"),
        "entity_f1": (
            ("f1", "precision", "recall"),
            "v1; micro over entities, type and both ends right, lenient tags as conlleval",
        ),
        "edit_distance": (
            ("edit_similarity", "edit_distance"),
            "v1; words between non-word characters, lower case, nearest gold text",
        ),
    }
)
"""Function → the scores it makes, and its version and preparation."""
_MAKERS = Counter(score for scores, _ in METRICS.values() for score in scores)
SIGNATURES: Mapping[str, str] = MappingProxyType(
    {score: text for scores, text in METRICS.values() for score in scores if _MAKERS[score] == 1}
    | {name: text for name, (_, text) in METRICS.items()}
)
"""Function, or score that only one function makes → version and preparation. `f1` and `em` have several makers."""


def describe(name: str, *, num_golds: int | None = 1) -> str:
    """One line about a metric function or a score: name, version, preparation; for BLEU and chrF sacrebleu's own.

    `num_golds`: gold texts an example, None where they differ; only sacrebleu's signatures say it.

    **Errors**: ConfigError for an unknown name; MachineError without sacrebleu, for its two.
    """
    if name not in SIGNATURES:
        raise ConfigError(f"metric: no '{name}'.{nearest(name, SIGNATURES)}")
    text = sacrebleu_signature(name, num_golds) if name in SACREBLEU else SIGNATURES[name]
    return f"{name}: {text}"


def signature(score: str, marking: Callable[..., Any], *, num_golds: int | None = 1) -> str:
    """What to tell beside `score` of a task's marking function: a line on each metric function in it that makes it.

    A score that the task named itself gets the lines of all of them; `""` where no function of ours is used.
    """
    used = metric_names(marking)
    makers = [name for name in used if score in METRICS[name][0]] or used
    return " + ".join(describe(name, num_golds=num_golds) for name in makers)


def metric_names(marking: Callable[..., Any]) -> list[str]:
    """The names of the metric functions that a marking function calls or was given, sorted."""
    return sorted({name for name in _reached(marking, set()) if name in METRICS})


def _reached(value: object, seen: set[int]) -> Iterator[str]:
    """Names of our functions within reach: bound to it, in its closure, or named in it and made here."""
    if isinstance(value, partial):
        yield from _reached(value.func, seen)
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _reached(part, seen)
    elif isfunction(value) and id(value) not in seen and value.__module__.startswith("textfer."):
        seen.add(id(value))
        if value.__module__.startswith("textfer.metrics."):
            yield value.__qualname__.split(".")[0]
            return
        names = getclosurevars(value)
        for part in (*names.nonlocals.values(), *names.globals.values()):
            yield from _reached(part, seen)
