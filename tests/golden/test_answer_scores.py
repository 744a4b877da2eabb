"""Question answering and Winograd scores on odd texts, equal to the official rules told here a second time.

The rules are those of evaluate-v1.1.py and evaluate-v2.0.py of SQuAD, of TriviaQA's script and of T5's metrics and
post-processors, written for this test character by character and word by word. What the scripts themselves answer to a
smaller set of questions is in `squad_scores.json`.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from functools import cache

import pytest
from odd_texts import odd_pairs

from textfer.metrics import edit_distance, levenshtein, record, squad, squad_v2, trivia_qa, wsc_label

TEXTS, GOLDS = odd_pairs(1500, seed=11)


def normal(text: str, marks: str, instead: str) -> str:
    """Lower case, marks replaced, articles dropped, single spaces: in the scripts' order."""
    replaced = "".join(instead if letter in marks else letter for letter in text.lower())
    return " ".join(re.sub(r"\b(?:the|an|a)\b", " ", replaced).split())


def squad_form(text: str) -> str:
    return normal(text, string.punctuation, "")


def trivia_form(text: str) -> str:
    return normal(text, string.punctuation + "‘’´`_", " ")


def f1(answer: str, gold: str) -> float:
    """Bag-of-words F1, counted by crossing out."""
    ours, theirs = answer.split(), gold.split()
    left, shared = list(theirs), 0
    for word in ours:
        if word in left:
            left.remove(word)
            shared += 1
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0


def best(form: Callable[[str], str], score: Callable[[str, str], float]) -> list[float]:
    return [max(score(form(text), form(gold)) for gold in all_) for text, all_ in zip(TEXTS, GOLDS, strict=True)]


def same(text: str, gold: str) -> float:
    return float(text == gold)


@pytest.mark.parametrize(("metric", "form"), [(squad, squad_form), (trivia_qa, trivia_form)])
def test_answers(metric: Callable[..., dict[str, float]], form: Callable[[str], str]) -> None:
    each = [metric([text], [all_]) for text, all_ in zip(TEXTS, GOLDS, strict=True)]
    assert [one["em"] for one in each] == [100 * score for score in best(form, same)]
    assert [one["f1"] for one in each] == pytest.approx([100 * score for score in best(form, f1)])
    whole = metric(TEXTS, GOLDS)
    assert whole["em"] == pytest.approx(100 * sum(best(form, same)) / len(TEXTS))
    assert whole["f1"] == pytest.approx(100 * sum(best(form, f1)) / len(TEXTS))
    assert all(10 < score < 90 for score in whole.values())


def test_answers_or_none() -> None:
    golds = [all_ if number % 3 else [] for number, all_ in enumerate(GOLDS)]
    kept = [[squad_form(gold) for gold in all_ if squad_form(gold)] or [""] for all_ in golds]
    forms = [squad_form(text) for text in TEXTS]
    scores = squad_v2(TEXTS, golds)
    exact = [max(same(text, gold) for gold in all_) for text, all_ in zip(forms, kept, strict=True)]
    both = [
        max(f1(text, gold) if text and gold else same(text, gold) for gold in all_)
        for text, all_ in zip(forms, kept, strict=True)
    ]
    assert scores["exact"] == pytest.approx(100 * sum(exact) / len(exact))
    assert scores["f1"] == pytest.approx(100 * sum(both) / len(both))


def test_record_takes_the_first_answer_of_a_query() -> None:
    queries = [(number % 7, number // 14) for number in range(len(TEXTS))]  # every query twice
    firsts = [number for number, query in enumerate(queries) if query not in queries[:number]]
    exact, bags = best(squad_form, same), best(squad_form, f1)
    assert record(TEXTS, GOLDS, queries) == pytest.approx(
        {
            "f1": 100 * sum(bags[number] for number in firsts) / len(firsts),
            "em": 100 * sum(exact[number] for number in firsts) / len(firsts),
        }
    )
    assert len(firsts) < len(queries)


DETERMINERS = (
    *("a", "an", "the", "few", "each", "every", "many", "much", "some", "her", "his", "my", "our", "their", "your"),
    *("that", "these", "this", "those", "which", "whose"),
)


def named(text: str, referent: str) -> int:
    """T5's rule, told with lists."""
    ours, theirs = (
        [word for word in one.strip().lower().split(" ") if word not in DETERMINERS] for one in (text, referent)
    )
    if ours in ([], [""]):
        return -1
    if any("'" in word for word in ours) is not any("'" in word for word in theirs):
        return 0
    theirs = theirs or [""]
    return int(all(word in theirs for word in ours) or all(word in ours for word in theirs))


def test_referents() -> None:
    draw = random.Random(12)
    words = (
        *DETERMINERS,
        "The",
        *2 * ("Bob", "bob's", "hat", "fuzzy", "bunny", "city", "councilmen", "", ".", "Ö", "he", "its"),
    )
    pairs = [tuple(" ".join(draw.choices(words, k=draw.randint(0, 4))) for _ in "12") for _ in range(1500)]
    labels = [wsc_label(text, referent) for text, referent in pairs]
    assert labels == [named(text, referent) for text, referent in pairs]
    assert set(labels) == {-1, 0, 1}


def edits(ours: tuple[str, ...], theirs: tuple[str, ...]) -> int:
    """Levenshtein's distance by its definition."""

    @cache
    def rest(i: int, j: int) -> int:
        if i == len(ours) or j == len(theirs):
            return len(ours) - i + len(theirs) - j
        if ours[i] == theirs[j]:
            return rest(i + 1, j + 1)
        return 1 + min(rest(i + 1, j), rest(i, j + 1), rest(i + 1, j + 1))

    return rest(0, 0)


def test_edit_distances() -> None:
    parts = [
        [tuple(re.split(r"[^\w]", one.lower())) for one in (text, *all_)]
        for text, all_ in zip(TEXTS, GOLDS, strict=True)
    ]
    least = [min(edits(ours, gold) for gold in theirs) for ours, *theirs in parts]
    assert edit_distance(TEXTS, GOLDS)["edit_distance"] == pytest.approx(sum(least) / len(least))
    assert [levenshtein(ours, theirs) for ours, theirs, *_ in parts] == [edits(ours, gold) for ours, gold, *_ in parts]
