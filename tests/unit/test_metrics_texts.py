"""Scores of texts, tags and referents: small cases worked by hand, and edges."""

from __future__ import annotations

import math
import sys

import pytest

from textfer.errors import MachineError
from textfer.metrics import (
    bleu,
    chrf,
    edit_distance,
    entities,
    entity_f1,
    levenshtein,
    normalise_trivia,
    record,
    rouge,
    stem,
    trivia_qa,
    wsc,
    wsc_label,
    wsc_match,
)
from textfer.metrics.translation import _metric

# ---- answers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("U.S.-based", "u s based"),
        ("the_x’s", "x s"),
        ("‘An´ `A`", ""),
        ("1,000", "1 000"),
        ("a-one", "one"),
        ("", ""),
    ],
)
def test_trivia_qa_parts_words_at_punctuation(text: str, expected: str) -> None:
    assert normalise_trivia(text) == expected


def test_trivia_qa() -> None:
    assert trivia_qa(["The X-ray", "no"], [["x ray", "y"], ["yes", "yes sir"]]) == {"em": 50.0, "f1": 50.0}
    assert trivia_qa(["x ray tube"], [["x-ray"]]) == {"em": 0.0, "f1": pytest.approx(80.0)}
    assert trivia_qa(["x"], [[]]) == {"em": 0.0, "f1": 0.0}


def test_record_counts_a_query_once() -> None:
    texts = ["Ann Lee", "Bo", "Bo Ray"]
    golds = [["Ann Lee", "Lee"], ["Ann Lee"], ["Ray"]]
    assert record(texts, golds, [1, 1, 2]) == {"f1": pytest.approx(100 * (1 + 2 / 3) / 2), "em": 50.0}


# ---- referents


@pytest.mark.parametrize(
    ("text", "referent", "label"),
    [
        ("the Fuzzy bunny", "bunny", 1),
        ("bunny", "their fuzzy bunny", 1),
        ("Bob", "Bob's hat", 0),
        ("Bob's", "bob's hat", 1),
        ("cat", "dog", 0),
        ("red cat", "black cat", 0),
        ("", "dog", -1),
        (" the ", "dog", -1),
    ],
)
def test_winograd_referents(text: str, referent: str, label: int) -> None:
    assert wsc_label(text, referent) == label
    assert wsc_match(text, referent) is (label == 1)


def test_an_empty_text_is_wrong_whatever_the_pronoun_means() -> None:
    assert wsc(["the dog", "cat", "", ""], ["dog", "dog", "dog", "dog"], [1, 0, 1, 0]) == {"accuracy": 50.0}


# ---- summaries


def test_rouge_by_hand() -> None:
    scores = rouge(["the cat sat"], [["the cat ran"]])
    third = 100 / 3
    assert scores == pytest.approx({"rouge1": 2 * third, "rouge2": 50.0, "rougeL": 2 * third, "rougeLsum": 2 * third})
    assert rouge(["Running RUNS"], [["runs, running!"]])["rouge1"] == 100.0
    assert rouge(["he runs home"], [["running"]])["rouge1"] == 50.0  # 1 of 3 words and 1 of 1
    assert rouge(["ads"], [["ad"]])["rouge1"] == 0.0  # words of three letters are not stemmed
    assert rouge(["he runs home"], [["running"]], stemmed=False)["rouge1"] == 0.0


def test_rouge_takes_the_best_gold_text_for_each_score() -> None:
    scores = rouge(["a b c d"], [["d c b a", "a b x y z"]])
    assert scores["rouge1"] == 100.0
    assert scores["rouge2"] == pytest.approx(100 * 2 / 7)


def test_lines_are_sentences_for_rouge_lsum_only() -> None:
    text, gold = "b c\na d", "a d\nb c"
    assert rouge([text], [[gold]]) == {"rouge1": 100.0, "rouge2": pytest.approx(200 / 3), "rougeL": 50.0} | {
        "rougeLsum": 100.0
    }
    parted = [text.replace("\n", " . ") for text in (text, gold)]
    assert rouge(parted[:1], [parted[1:]])["rougeLsum"] == 100.0
    assert rouge(parted[:1], [parted[1:]], sentences=False)["rougeLsum"] == 50.0


def test_rouge_of_texts_without_a_word_is_zero() -> None:
    assert set(rouge(["", "...", "中文"], [["a"], [""], ["中文"]]).values()) == {0.0}
    assert set(rouge(["a"], [[]]).values()) == {0.0}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *(("relational", "relat"), ("skies", "sky"), ("flies", "fli"), ("dies", "die"), ("spied", "spi")),
        *(("hopping", "hop"), ("falling", "fall"), ("filing", "file"), ("agreed", "agre"), ("feed", "feed")),
        *(("happily", "happili"), ("enjoy", "enjoy"), ("adoption", "adopt"), ("controlling", "control")),
        *(("geology", "geolog"), ("hopefully", "hope"), ("radically", "radic"), ("ss", "ss"), ("news", "news")),
    ],
)
def test_stems(word: str, expected: str) -> None:
    assert stem(word) == expected


# ---- tags


def test_entities_are_found_leniently() -> None:
    assert list(entities([["B-PER", "I-PER", "O", "I-LOC"], ["I-PER", "I-LOC", "B-LOC"]])) == [
        ("PER", 0, 1),
        ("LOC", 3, 3),
        ("PER", 5, 5),
        ("LOC", 6, 6),
        ("LOC", 7, 7),
    ]


def test_entity_f1() -> None:
    golds = [["B-PER", "I-PER", "O"], ["B-LOC"]]
    answers = [["B-PER", "I-PER", "B-LOC"], ["B-PER"]]
    assert entity_f1(answers, golds) == {"f1": pytest.approx(40.0), "precision": pytest.approx(100 / 3), "recall": 50.0}
    assert entity_f1([["O"]], [["O"]]) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}


def test_tags_that_are_too_few_too_many_or_none() -> None:
    golds = [["B-PER", "I-PER"], ["O", "B-LOC"]]
    whole = {"f1": 100.0, "precision": 100.0, "recall": 100.0}
    assert entity_f1([["B-PER", "I-PER", "B-LOC"], ["O", "B-LOC"]], golds) == whole
    assert entity_f1([["", "nonsense"], []], golds) == {"f1": 0.0, "precision": 0.0, "recall": 0.0}
    assert entity_f1([["B-PER"], ["O", "B-LOC"]], golds) == {"f1": 50.0, "precision": 50.0, "recall": 50.0}


# ---- edits


def test_edit_distances() -> None:
    assert [levenshtein(*pair) for pair in (("kitten", "sitting"), ("", "abc"), ("abc", ""), ("", ""))] == [3, 3, 3, 0]
    scores = edit_distance(["The cat sat", "x"], [["a dog sat down", "the cat sits"], ["x"]])
    assert scores == {"edit_similarity": pytest.approx(100 * (2 / 3 + 1) / 2), "edit_distance": 0.5}
    assert list(scores) == ["edit_similarity", "edit_distance"]  # the first leads, and more of it is better
    assert edit_distance(["kitten"], [["sitting"]], unit="characters")["edit_distance"] == 3
    assert edit_distance([""], [[""]]) == {"edit_similarity": 100.0, "edit_distance": 0.0}


# ---- translation


def test_without_sacrebleu_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    _metric.cache_clear()
    for score in (bleu, chrf):
        with pytest.raises(MachineError, match=r"^\w+: needs sacrebleu.*pip install 'textfer\[eval\]'$"):
            score(["a"], [["a"]])


def test_translations() -> None:
    pytest.importorskip("sacrebleu", reason="needs sacrebleu")
    line = "a b c d e"
    assert bleu([line, "x y"], [[line, "q"], ["x y"]])["bleu"] == pytest.approx(100.0)
    assert bleu([line], [[line.upper()]])["bleu"] == 0.0
    assert bleu([""], [[]])["bleu"] == 0.0
    assert chrf([line], [["", line]])["chrf"] == pytest.approx(100.0)
    assert chrf(["x"], [[]])["chrf"] == 0.0


# ---- none


def test_scores_of_nothing_are_no_numbers_but_have_names() -> None:
    for scores, names in (
        (trivia_qa([], []), ["em", "f1"]),
        (record([], [], []), ["f1", "em"]),
        (wsc([], [], []), ["accuracy"]),
        (rouge([], []), ["rouge1", "rouge2", "rougeL", "rougeLsum"]),
        (entity_f1([], []), ["f1", "precision", "recall"]),
        (edit_distance([], []), ["edit_similarity", "edit_distance"]),
    ):
        assert list(scores) == names
        assert all(math.isnan(value) for value in scores.values()), names
