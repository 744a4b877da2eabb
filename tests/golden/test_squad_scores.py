"""SQuAD's scores, equal to those of the official scripts.

`squad_scores.json` says which scripts made its numbers, and holds the questions they were made of: articles only,
punctuation only, empty, Unicode, hyphens, doubled words, unanswerable. All of it was written for this project.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from textfer.metrics import squad, squad_v2

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("squad_scores.json").read_text(encoding="utf-8"))
QUESTIONS: list[dict[str, Any]] = GOLDEN["questions"]


def taken(questions: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    return [question["prediction"] for question in questions], [question["gold"] for question in questions]


def same(scores: dict[str, float], golden: dict[str, float]) -> None:
    assert list(scores) == list(golden)
    assert list(scores.values()) == pytest.approx(list(golden.values()), rel=1e-14)  # Python 3.12 adds up more exactly


def test_squad_1_1() -> None:
    answered = [question for question in QUESTIONS if question["gold"]]
    same(squad(*taken(answered)), {"em": GOLDEN["v1.1"]["exact_match"], "f1": GOLDEN["v1.1"]["f1"]})
    each = {question["id"]: list(squad(*taken([question])).values()) for question in answered}
    assert each == GOLDEN["v1.1_each"]


def test_squad_2_0() -> None:
    same(squad_v2(*taken(QUESTIONS)), GOLDEN["v2.0"])
    each = {q["id"]: [squad_v2(*taken([q]))[name] for name in ("exact", "f1")] for q in QUESTIONS}
    assert each == GOLDEN["v2.0_each"]


@pytest.mark.parametrize(
    ("name", "threshold"), [("v2.0_with_probabilities", 1.0), ("v2.0_with_probabilities_threshold_0.5", 0.5)]
)
def test_squad_2_0_with_probabilities_of_no_answer(name: str, threshold: float) -> None:
    probs = [question["no_answer_probability"] for question in QUESTIONS]
    same(squad_v2(*taken(QUESTIONS), no_answer_probs=probs, threshold=threshold), GOLDEN[name])
