"""What is told beside a number: every metric has a signature, and a task's marking function leads to it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from textfer import metrics
from textfer.batch import Example
from textfer.data.tasks.forms import by_label, by_text
from textfer.errors import ConfigError
from textfer.metrics import (
    SIGNATURES,
    accuracy,
    binary_f1,
    describe,
    entity_f1,
    macro_f1,
    metric_names,
    rouge,
    signature,
    squad,
    token_f1,
)
from textfer.metrics.signatures import METRICS

NO_SCORES = {
    *("bag_f1", "levenshtein", "normalise_answer", "normalise_trivia", "stem", "entities", "wsc_label", "wsc_match"),
    *("bootstrap", "bootstrap_mean", "describe", "metric_names", "signature", "sacrebleu_signature", "SIGNATURES"),
}


def test_every_metric_has_a_signature_with_its_scores() -> None:
    assert set(METRICS) == set(metrics.__all__) - NO_SCORES
    made: dict[str, dict[str, float]] = {
        "accuracy": accuracy([0], [0]),
        "macro_f1": macro_f1(2)([0], [0]),
        "squad": squad(["a"], [["a"]]),
        "rouge": rouge(["a"], [["a"]]),
        "entity_f1": entity_f1([["O"]], [["O"]]),
        "edit_distance": metrics.edit_distance(["a"], [["a"]]),
        "multirc": metrics.multirc([0], [0], [0]),
        "record": metrics.record(["a"], [["a"]], [0]),
        "trivia_qa": metrics.trivia_qa(["a"], [["a"]]),
    }
    assert {name: tuple(scores) for name, scores in made.items()} == {name: METRICS[name][0] for name in made}


def test_a_metric_is_described_by_its_name_or_by_a_score_of_its_own() -> None:
    assert describe("rougeLsum") == f"rougeLsum: {SIGNATURES['rouge']}"
    assert describe("matthews").startswith("matthews: v1; ")
    assert "f1" not in SIGNATURES  # several make it
    with pytest.raises(ConfigError, match=r"^metric: no 'rogue'\. Did you mean 'rouge'\?$"):
        describe("rogue")


def test_sacrebleu_tells_its_own() -> None:
    sacrebleu = pytest.importorskip("sacrebleu", reason="needs sacrebleu")
    expected = f"bleu: nrefs:2|case:mixed|eff:no|tok:intl|smooth:exp|version:{sacrebleu.__version__}"
    assert describe("bleu", num_golds=2) == expected
    assert signature("bleu", by_text(metrics.bleu), num_golds=2) == expected


def mark_here(answers: Sequence[object], examples: Sequence[Example]) -> dict[str, float]:
    raise NotImplementedError


def test_signatures_of_a_tasks_scores() -> None:
    marking = by_label(("no", "yes"), accuracy, macro_f1(2), binary_f1)
    assert metric_names(marking) == ["accuracy", "binary_f1", "macro_f1"]
    assert signature("f1", marking) == describe("binary_f1")
    assert signature("macro_f1", marking) == describe("macro_f1")
    assert signature("f1", by_text(token_f1)) == describe("token_f1")
    assert signature("own_name", marking) == " + ".join(map(describe, metric_names(marking)))
    assert metric_names(partial(by_text(rouge), examples=())) == ["rouge"]
    assert signature("own", mark_here) == ""


def test_every_task_that_uses_our_metrics_has_a_line_for_each_of_its_scores() -> None:
    from textfer.data.task import TASKS

    found = {name: task.metrics for name in TASKS.names() if (task := TASKS.get(name)).metrics}
    assert metric_names(found["squad"]) == ["squad"]
    without = [name for name, marking in found.items() if not metric_names(marking)]
    assert len(without) < len(found) / 10, without
