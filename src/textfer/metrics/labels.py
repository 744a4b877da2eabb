"""Scores of classes: accuracy, F1, recall, Matthews correlation, MultiRC, gender parity, area under the ROC curve.

Classes are numbers from 0; an answer that is none of the labels is -1, which is never right.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

import numpy as np

from textfer.metrics.correlations import ranks
from textfer.metrics.means import mean


def accuracy(answers: Sequence[object], golds: Sequence[object]) -> dict[str, float]:
    """Share of answers equal to their gold answer, as they are."""
    return {"accuracy": mean([answer == gold for answer, gold in zip(answers, golds, strict=True)])}


def binary_f1(answers: Sequence[int], golds: Sequence[int]) -> dict[str, float]:
    """F1 of class 1 of two; an answer that is neither 0 nor 1 counts as the wrong one of them.

    It is 0 where class 1 is neither given nor gold.

    **Source**: `f1_score_with_invalid` of t5/evaluation/metrics.py.
    """
    if not golds:
        return {"f1": math.nan}
    valid = [answer if answer in (0, 1) else 1 - gold for answer, gold in zip(answers, golds, strict=True)]
    return {"f1": 100.0 * _class_f1(valid, golds, 1)}


def macro_f1(num_classes: int) -> Callable[[Sequence[int], Sequence[int]], dict[str, float]]:
    """The score function `macro_f1`: the unweighted mean of the F1 of classes 0 … num_classes - 1.

    A class that is neither given nor gold has an F1 of 0, as in T5 and in CB's official score.

    **Source**: `mean_multiclass_f1` of t5/evaluation/metrics.py.
    """

    def score(answers: Sequence[int], golds: Sequence[int]) -> dict[str, float]:
        assert len(answers) == len(golds), (len(answers), len(golds))
        return {
            "macro_f1": mean([_class_f1(answers, golds, number) for number in range(num_classes)])
            if golds
            else math.nan
        }

    return score


def macro_recall(answers: Sequence[int], golds: Sequence[int]) -> dict[str, float]:
    """The mean over the gold classes of the share of their examples that is found.

    **Source**: TweetEval (Barbieri et al., 2020), sentiment.
    """
    assert len(answers) == len(golds), (len(answers), len(golds))
    found, wanted = Counter(gold for answer, gold in zip(answers, golds, strict=True) if answer == gold), Counter(golds)
    return {"macro_recall": mean([found[number] / wanted[number] for number in wanted])}


def stance_f1(answers: Sequence[int], golds: Sequence[int]) -> dict[str, float]:
    """The mean of the F1 of classes 1 (against) and 2 (favor); class 0 (none) counts only where it is mistaken.

    **Source**: TweetEval (Barbieri et al., 2020), stance.
    """
    assert len(answers) == len(golds), (len(answers), len(golds))
    return {"stance_f1": mean([_class_f1(answers, golds, number) for number in (1, 2)]) if golds else math.nan}


def matthews(answers: Sequence[int], golds: Sequence[int]) -> dict[str, float]:
    """100 × the Matthews correlation, for any number of classes; -1 is a class of its own. In -100 … 100.

    It is 0 where all answers or all gold answers are of one class.

    **Source**: Gorodkin, Comparing two K-category assignments, 2004; as scikit-learn's `matthews_corrcoef`.
    """
    if not golds:
        return {"matthews": math.nan}
    count = len(golds)
    right = sum(answer == gold for answer, gold in zip(answers, golds, strict=True))
    given, wanted = Counter(answers), Counter(golds)
    together = right * count - sum(given[number] * wanted[number] for number in given)
    spread = (count**2 - sum(n * n for n in given.values())) * (count**2 - sum(n * n for n in wanted.values()))
    return {"matthews": 100.0 * together / math.sqrt(spread) if spread else 0.0}


def multirc(answers: Sequence[int], golds: Sequence[int], questions: Sequence[Hashable]) -> dict[str, float]:
    """`f1a`, the F1 over all answers, and `em`, the share of questions all of whose answers are marked right.

    `questions` says which question an example belongs to: (paragraph, question), as numbers start anew.

    **Source**: `multirc_f1_over_all_answers` and `mean_group_metric(all_match)` of t5/evaluation/metrics.py.
    """
    right: dict[Hashable, bool] = defaultdict(lambda: True)
    for answer, gold, question in zip(answers, golds, questions, strict=True):
        right[question] &= answer == gold
    return {"f1a": binary_f1(answers, golds)["f1"], "em": mean(right.values())}


def gender_parity(answers: Sequence[object], pairs: Sequence[Hashable]) -> dict[str, float]:
    """Share of pairs both of whose examples got the same answer, right or wrong.

    `pairs` says which pair an example belongs to. An example whose partner is missing is left out.

    **Source**: SuperGLUE (Wang et al., 2019), AX-g, after Winogender (Rudinger et al., 2018).
    """
    found: dict[Hashable, list[object]] = defaultdict(list)
    for answer, pair in zip(answers, pairs, strict=True):
        found[pair].append(answer)
    whole = [both for both in found.values() if len(both) > 1]
    return {"gender_parity": mean([all(answer == both[0] for answer in both) for both in whole])}


def auc(scores: Sequence[float], golds: Sequence[int]) -> dict[str, float]:
    """100 × the area under the ROC curve: how often class 1 scores above another class; a tie counts half.

    Not a number where only one class is gold, or where a score is not a number.
    """
    assert len(scores) == len(golds), (len(scores), len(golds))
    values, positive = np.asarray(scores, np.float64), np.asarray(golds) == 1
    num_positive = int(positive.sum())
    num_pairs = num_positive * (len(values) - num_positive)
    if not num_pairs or bool(np.isnan(values).any()):
        return {"auc": math.nan}
    above = float(ranks(values)[positive].sum()) - num_positive * (num_positive + 1) / 2
    return {"auc": 100.0 * above / num_pairs}


def _class_f1(answers: Sequence[int], golds: Sequence[int], number: int) -> float:
    """F1 in 0 … 1 of one class; 0 where it is neither given nor gold."""
    shared = sum(answer == gold == number for answer, gold in zip(answers, golds, strict=True))
    total = sum(answer == number for answer in answers) + sum(gold == number for gold in golds)
    return 2 * shared / total if total else 0.0
