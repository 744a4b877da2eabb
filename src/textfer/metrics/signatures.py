"""What is told beside a number: the metric, its version, and how texts are prepared for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from textfer.errors import ConfigError, nearest
from textfer.metrics.translation import NAMES as SACREBLEU
from textfer.metrics.translation import sacrebleu_signature

SQUAD_FORM = "lower case, no ASCII punctuation, no a/an/the, best over gold answers"
TRIVIA_FORM = "lower case, a space for punctuation, no a/an/the, best over gold answers"
ROUGE_FORM = "F-measure, rouge-score's rules, Porter stemmer, best over gold texts, mean"

SIGNATURES: Mapping[str, str] = MappingProxyType(
    {
        "accuracy": "v1, equal to the gold answer; invalid answers are wrong",
        "binary_f1": "v1, F1 of class 1; invalid answers flipped to the wrong class, as T5",
        "macro_f1": "v1, unweighted mean of F1 over the classes; a class never met counts 0",
        "matthews": "v1, multi-class, invalid answers are a class of their own",
        "pearson": "v1, unparsable answers as the task says",
        "spearman": "v1, ties share their mean rank",
        "auc": "v1, area under the ROC curve, ties count half",
        "multirc": "v1, f1a over all answers, em over questions; invalid answers are wrong",
        "f1a": "v1, F1 over all answers; invalid answers flipped to the wrong class, as T5",
        "gender_parity": "v1, share of pairs answered alike",
        "exact_match": "v1, to the letter, spaces at either end aside",
        "token_f1": f"v1, bags of words; {SQUAD_FORM}",
        "squad": f"v1.1; {SQUAD_FORM}",
        "squad_v2": f"v2.0; {SQUAD_FORM}; no answer is ''",
        "trivia_qa": f"v1; {TRIVIA_FORM}",
        "record": f"v1; {SQUAD_FORM}; one answer a query",
        "wsc": "v1, T5's rule: lower case, no determiners, the words of one among those of the other",
        "rouge": f"v1, {ROUGE_FORM}; Lsum: newline after ' . '",
        "rouge1": f"v1, {ROUGE_FORM}",
        "rouge2": f"v1, {ROUGE_FORM}",
        "rougeL": f"v1, {ROUGE_FORM}",
        "rougeLsum": f"v1, {ROUGE_FORM}; sentences part at newlines and after ' . '",
        "bleu": "sacrebleu case:mixed|eff:no|tok:intl|smooth:exp",
        "chrf": "sacrebleu case:mixed|eff:yes|nc:6|nw:0|space:no",
        "entity_f1": "v1, micro over entities, lenient IOB as conlleval; type and both ends must be right",
        "edit_distance": "v1, words between non-word characters, lower case, least over gold texts; lower is better",
        "edit_similarity": "v1, 100 × (1 - edits / longer length), words, lower case, best over gold texts",
    }
)
"""Metric function or score → its version and how it prepares texts. `f1` and `em` are told by their function's name."""


def describe(name: str) -> str:
    """One line about a metric function or a score: its name, version and preparation; sacrebleu's own for its two.

    **Errors**: ConfigError for an unknown name.
    """
    if name not in SIGNATURES:
        raise ConfigError(f"metric: no '{name}'.{nearest(name, SIGNATURES)}")
    if name in SACREBLEU:
        return f"{name}: {sacrebleu_signature(name)}"
    return f"{name}: {SIGNATURES[name]}"
