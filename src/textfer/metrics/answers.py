"""Scores of texts against gold texts: exact match, and question answering by the rules of its official scripts."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Hashable, Sequence

from textfer.metrics.means import mean

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
SPACED_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "‘’´`", " "))


def exact_match(answers: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """Share of texts that are one of their gold texts to the letter, spaces at either end aside."""
    hits = [answer.strip() in {gold.strip() for gold in all_} for answer, all_ in zip(answers, golds, strict=True)]
    return {"exact_match": mean(hits)}


def token_f1(answers: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """Mean over examples of the best bag-of-words F1 over the gold texts, both normalised as SQuAD does."""
    return {"f1": mean(_best(answers, golds, lambda answer, gold: bag_f1(answer.split(), gold.split())))}


def squad(answers: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """`em` and `f1` of SQuAD v1.1: the best over the gold answers of each question, averaged.

    A text without any word left (punctuation or articles only) has no F1, even against its like: that is v1.1's rule.

    **Source**: the official evaluate-v1.1.py.
    """
    return {
        "em": mean(_best(answers, golds, lambda answer, gold: answer == gold)),
        **token_f1(answers, golds),
    }


def squad_v2(
    answers: Sequence[str],
    golds: Sequence[Sequence[str]],
    *,
    no_answer_probs: Sequence[float] | None = None,
    threshold: float = 1.0,
) -> dict[str, float]:
    """The numbers of SQuAD v2.0 under their official names; `""` is the answer "there is none".

    An example without gold answers is unanswerable. With `no_answer_probs`, an answer whose probability is above
    `threshold` is taken for `""`, and the best scores over all thresholds are told too. HasAns_… (NoAns_…) are left out
    where no question has (lacks) an answer. `total` and `…_total` are counts, `…_thresh` probabilities. Equal
    probabilities are taken in the order given.

    **Source**: the official evaluate-v2.0.py.
    """
    has_answer = [bool(texts) for texts in golds]
    kept = [[text for text in texts if normalise_answer(text)] or [""] for texts in golds]
    raw = {
        "exact": [float(score) for score in _best(answers, kept, lambda answer, gold: answer == gold)],
        "f1": _best(answers, kept, lambda answer, gold: bag_f1(answer.split(), gold.split(), both_empty=1.0)),
    }
    probs = no_answer_probs if no_answer_probs is not None else [0.0] * len(answers)
    scores = {
        name: [
            float(not has) if prob > threshold else score
            for score, prob, has in zip(values, probs, has_answer, strict=True)
        ]
        for name, values in raw.items()
    }
    result = {**{name: mean(values) for name, values in scores.items()}, "total": len(answers)}
    for prefix, wanted in (("HasAns", True), ("NoAns", False)):
        part = [index for index, has in enumerate(has_answer) if has is wanted]
        if part:
            result |= {f"{prefix}_{name}": mean([values[n] for n in part]) for name, values in scores.items()}
            result[f"{prefix}_total"] = len(part)
    if no_answer_probs is not None:
        for name, values in raw.items():
            result[f"best_{name}"], result[f"best_{name}_thresh"] = _best_threshold(answers, values, probs, has_answer)
    return result


def trivia_qa(answers: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """`em` and `f1` of TriviaQA: as SQuAD's, but a punctuation mark parts words instead of vanishing.

    **Source**: `trivia_qa` of t5/evaluation/metrics.py, after the official script.
    """
    normal = [normalise_trivia(answer) for answer in answers]
    gold = [[normalise_trivia(text) for text in texts] for texts in golds]
    return {
        "em": mean(_best_of(normal, gold, lambda answer, text: answer == text)),
        "f1": mean(_best_of(normal, gold, lambda answer, text: bag_f1(answer.split(), text.split()))),
    }


def record(answers: Sequence[str], golds: Sequence[Sequence[str]], queries: Sequence[Hashable]) -> dict[str, float]:
    """`f1` and `em` of ReCoRD: SQuAD's, the best over the gold answers; of examples of one query the first counts.

    **Source**: `deduplicate_metric` over `squad` of t5/evaluation/metrics.py.
    """
    first = {query: index for index, query in reversed(list(enumerate(queries)))}
    kept = sorted(first.values())
    assert len(answers) == len(golds) == len(queries), "one answer, one list of gold answers and one query an example"
    scores = squad([answers[index] for index in kept], [golds[index] for index in kept])
    return {"f1": scores["f1"], "em": scores["em"]}


def _best_threshold(
    answers: Sequence[str], scores: Sequence[float], probs: Sequence[float], has_answer: Sequence[bool]
) -> tuple[float, float]:
    """(best mean score, its threshold): questions are answered one by one, the surest first, starting from none."""
    score = best = float(sum(not has for has in has_answer))
    best_threshold = 0.0
    for index in sorted(range(len(probs)), key=lambda n: probs[n]):
        if has_answer[index]:
            score += scores[index]
        elif answers[index]:
            score -= 1
        if score > best:
            best, best_threshold = score, probs[index]
    return (100.0 * best / len(scores) if scores else math.nan), best_threshold


def normalise_answer(text: str) -> str:
    """SQuAD's form for comparing: lower case, no ASCII punctuation, no a/an/the as whole words, single spaces."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION)).split())


def normalise_trivia(text: str) -> str:
    """TriviaQA's form for comparing: as SQuAD's, with a space for every punctuation mark, ‘ ’ ´ ` among them."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(SPACED_PUNCTUATION)).split())


def bag_f1(answer: Sequence[str], gold: Sequence[str], *, both_empty: float = 0.0) -> float:
    """F1 in 0 … 1 of two bags of words; 0 when one is empty, `both_empty` when both are."""
    if not answer and not gold:
        return both_empty
    shared = sum((Counter(answer) & Counter(gold)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(answer), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def _best(answers: Sequence[str], golds: Sequence[Sequence[str]], score: Callable[[str, str], float]) -> list[float]:
    """For every answer its best score over the gold texts, all normalised as SQuAD does."""
    normal = [normalise_answer(answer) for answer in answers]
    return _best_of(normal, [[normalise_answer(text) for text in texts] for texts in golds], score)


def _best_of(answers: Sequence[str], golds: Sequence[Sequence[str]], score: Callable[[str, str], float]) -> list[float]:
    return [
        max((score(answer, text) for text in texts), default=0.0) for answer, texts in zip(answers, golds, strict=True)
    ]
