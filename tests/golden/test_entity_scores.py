"""Entity F1, equal to that of seqeval's default mode, which computes the golden values here."""

from __future__ import annotations

import random

import pytest

from textfer.metrics import entities, entity_f1

seqeval = pytest.importorskip("seqeval.metrics", reason="needs seqeval")
labeling = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="needs seqeval")

pytestmark = pytest.mark.filterwarnings("ignore:.* seems not to be NE tag")  # seqeval's word on odd tags
IOB = ("O", "O", "B-PER", "I-PER", "B-LOC", "I-LOC")
IOBES = (*IOB, "E-PER", "S-LOC", "S-PER", "E-LOC")
ODD = (
    *IOBES,
    "I-",
    "B-",
    "B",
    "I",
    "E",
    "S",
    "foo",
    "f",
    "f_",
    ".",
    "PER",
    "b-PER",
    "I-A-B",
    "B-A-B",
    "中",
    "-",
    "I_X",
)


def sequences(draw: random.Random, tags: tuple[str, ...], lengths: list[int]) -> list[list[str]]:
    return [[draw.choice(tags) for _ in range(length)] for length in lengths]


@pytest.mark.parametrize(("gold_tags", "tags"), [(IOB, IOB), (IOBES, IOBES), (IOB, ODD), (ODD, ODD)])
def test_entities_and_their_scores(gold_tags: tuple[str, ...], tags: tuple[str, ...]) -> None:
    draw = random.Random(9)
    found = 0
    for _ in range(500):
        lengths = [draw.randint(0, 8) for _ in range(draw.randint(1, 4))]
        golds = sequences(draw, gold_tags, lengths)
        answers = [[tag if draw.random() < 0.6 else draw.choice(tags) for tag in row] for row in golds]
        assert list(entities(answers)) == labeling.get_entities(answers)
        scores = (seqeval.f1_score, seqeval.precision_score, seqeval.recall_score)
        theirs = [100 * float(score(golds, answers, zero_division=0)) for score in scores]
        assert list(entity_f1(answers, golds).values()) == pytest.approx(theirs)
        found += len(labeling.get_entities(answers))
    assert found >= 1000
