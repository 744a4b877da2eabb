"""Scores of answers against gold answers: plain functions that return {name: value}, in 0 … 100 unless said otherwise.

All are local code; only `bleu` and `chrf` ask sacrebleu. Without any answer a score is not a number (nan); the names
are there all the same. As many answers as gold answers are expected.
"""

from textfer.metrics.answers import (
    bag_f1,
    exact_match,
    normalise_answer,
    normalise_trivia,
    record,
    squad,
    squad_v2,
    token_f1,
    trivia_qa,
)
from textfer.metrics.correlations import pearson, spearman
from textfer.metrics.edits import edit_distance, levenshtein
from textfer.metrics.intervals import bootstrap, bootstrap_mean
from textfer.metrics.labels import (
    accuracy,
    auc,
    binary_f1,
    gender_parity,
    macro_f1,
    macro_recall,
    matthews,
    multirc,
    stance_f1,
)
from textfer.metrics.referents import wsc, wsc_label, wsc_match
from textfer.metrics.signatures import SIGNATURES, describe, metric_names, signature
from textfer.metrics.stemming import stem
from textfer.metrics.summaries import rouge
from textfer.metrics.tagging import entities, entity_f1
from textfer.metrics.translation import bleu, chrf, sacrebleu_signature

__all__ = [
    "SIGNATURES",
    "accuracy",
    "auc",
    "bag_f1",
    "binary_f1",
    "bleu",
    "bootstrap",
    "bootstrap_mean",
    "chrf",
    "describe",
    "edit_distance",
    "entities",
    "entity_f1",
    "exact_match",
    "gender_parity",
    "levenshtein",
    "macro_f1",
    "macro_recall",
    "matthews",
    "metric_names",
    "multirc",
    "normalise_answer",
    "normalise_trivia",
    "pearson",
    "record",
    "rouge",
    "sacrebleu_signature",
    "signature",
    "spearman",
    "squad",
    "squad_v2",
    "stance_f1",
    "stem",
    "token_f1",
    "trivia_qa",
    "wsc",
    "wsc_label",
    "wsc_match",
]
