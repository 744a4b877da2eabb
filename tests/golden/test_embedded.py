"""The package's models on questions and texts written for this: answers and scores as seen when they were packed.

Provenance: embedded_questions.json and embedded_prefixes.json were written for this project, with invented facts;
embedded_answers.json is written by record_embedded.py, on a CPU.
"""

from __future__ import annotations

import json

import pytest
from embedded import MODELS, PINNED, RECORDED, ask, prefixed, questions, weights_of

from textfer.metrics import squad_v2
from textfer.models.packed import check_digests, embedded_folder

RECORD_THEM = "run python tests/golden/record_embedded.py and look at what changed"


def test_the_questions_are_twenty_and_five_have_no_answer() -> None:
    rows = questions()
    assert len({row["id"] for row in rows}) == len(rows) == 20
    assert sum(not row["answers"] for row in rows) == 5
    for row in rows:
        # a preposition before an answer is accepted too
        assert all(answer.removeprefix("in ") in row["context"] for answer in row["answers"]), row["id"]


@pytest.mark.parametrize("name", MODELS)
def test_answers_and_scores_are_those_recorded(name: str) -> None:
    folder = embedded_folder(name)
    if folder is None:
        pytest.skip(f"{name} is not in this copy of textfer")
    check_digests(folder)
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    assert name in recorded, f"no values of {name}: {RECORD_THEM}"
    assert recorded[name]["weights"] == weights_of(name), f"{name} has other weights than were recorded: {RECORD_THEM}"
    assert ask(name) == recorded[name]


def test_the_reader_beats_saying_nothing() -> None:
    if embedded_folder("starter-reader") is None:
        pytest.skip("starter-reader is not in this copy of textfer")
    nothing = squad_v2([""] * 20, [row["answers"] for row in questions()])
    assert nothing["exact"] == 25
    scores = json.loads(RECORDED.read_text(encoding="utf-8"))["starter-reader"]["scores"]
    assert set(scores) == set(PINNED)
    assert scores["exact"] >= 2 * nothing["exact"]


def test_the_writer_knows_intents() -> None:
    if embedded_folder("starter-t5") is None:
        pytest.skip("starter-t5 is not in this copy of textfer")
    scores = json.loads(RECORDED.read_text(encoding="utf-8"))["starter-t5"]["scores"]
    assert set(scores) == {row["task"] for row in prefixed()}
    for task in ("snips_intent", "banking77", "clinc_oos"):  # 7, 77 and 150 classes
        assert scores[task] >= 80


def test_records_are_of_models_that_are_here() -> None:
    recorded = json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}
    assert [name for name in recorded if embedded_folder(name) is None] == []
