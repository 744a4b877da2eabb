"""Answers and where they stand in the text: offsets, evidence, no answer, lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import pytest

from textfer.answer import Answer, TextToText, sentence_around
from textfer.errors import ConfigError
from textfer.generate import Decoding, Generated, Predictor

CONTEXT = "Anna Hall lives in Rome. Dr. Reed paid $1.5 (in 1902)!  “Is Oslo nice?” asked Żaneta."


class Scripted:
    """A predictor that writes what it was told to and remembers what it read."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.read: list[str] = []
        self.decodings: list[Decoding | None] = []

    def generate(self, texts: Sequence[str], decoding: Decoding | None = None) -> list[Generated]:
        self.read += texts
        self.decodings.append(decoding)
        return [Generated(text, math.log(0.25), 3) for text, _ in zip(self.texts, texts, strict=True)]

    def score(self, texts: Sequence[str], targets: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[-float(len(target)) for target in some] for some in targets]


def reader(*texts: str) -> tuple[TextToText, Scripted]:
    scripted = Scripted(*texts)
    return TextToText(cast(Predictor, scripted), "scripted"), scripted


@pytest.mark.parametrize(
    ("written", "text", "evidence"),
    [
        ("Rome", "Rome", "Anna Hall lives in Rome."),
        ("Anna Hall", "Anna Hall", "Anna Hall lives in Rome."),
        (" $ 1 . 5 ", "$1.5", "Reed paid $1.5 (in 1902)!"),
        ("1902 ) !", "1902)!", "Reed paid $1.5 (in 1902)!"),
        ("Oslo nice ?", "Oslo nice?", "“Is Oslo nice?”"),
        ("Żaneta", "Żaneta", "asked Żaneta."),
        ("Rome . Dr", "Rome. Dr", "Anna Hall lives in Rome. Dr."),
    ],
)
def test_place_and_evidence(written: str, text: str, evidence: str) -> None:
    qa, _ = reader(written)
    answer = qa.answer("What?", context=CONTEXT)
    start = CONTEXT.index(text)
    expected = Answer(text=text, score=answer.score, start=start, end=start + len(text), evidence=evidence)
    assert answer == expected
    assert CONTEXT[answer.start : answer.end] == answer.text
    assert answer.score == pytest.approx(0.25)


def test_an_answer_that_is_not_in_the_text_has_no_place() -> None:
    qa, _ = reader("in Paris")
    assert qa.answer("Where?", context=CONTEXT) == Answer(text="in Paris", score=pytest.approx(0.25))


@pytest.mark.parametrize("written", ["unanswerable", " Unanswerable ", "", "  "])
def test_no_answer(written: str) -> None:
    qa, _ = reader(written)
    answer = qa.answer("Where?", context=CONTEXT)
    assert answer == Answer(text=None, score=pytest.approx(0.25))
    nowhere = {"start": None, "end": None, "evidence": None, "calibrated": False, "candidates": [], "note": None}
    assert answer.as_dict() == {"text": None, "score": answer.score, "num_read": 1, "num_passages": 1, **nowhere}


def test_what_the_model_reads() -> None:
    qa, scripted = reader("a")
    decoding = Decoding(beams=2)
    qa.answer("Who (exactly)?", context="It was Bob.", decoding=decoding)
    qa.answer("Who?")
    assert scripted.read == [
        "question: Who ( exactly ) ?  context: It was Bob . ".replace("  ", " "),
        "squad trivia question: Who ? ",
    ]
    assert scripted.decodings == [decoding, None]


def test_a_list_in_gives_a_list_out() -> None:
    qa, scripted = reader("Rome", "Oslo")
    one = qa.answer(["a?", "b?"], context=CONTEXT)
    assert [answer.text for answer in one] == ["Rome", "Oslo"]
    each = qa.answer(("a?", "b?"), context=["In Rome.", "Oslo it is. No."])
    assert [(answer.start, answer.end, answer.evidence) for answer in each] == [
        (3, 7, "In Rome."),
        (0, 4, "Oslo it is."),
    ]
    assert len(scripted.read) == 4
    nobody, _ = reader()
    assert nobody.answer([]) == []


@pytest.mark.parametrize(
    ("question", "context", "message"),
    [
        ("", "text", "answer: the question is empty."),
        ("  ", None, "answer: the question is empty."),
        ("Who?", " \n", "answer: the context is empty."),
        (["a?", "b?"], ["one"], "answer: got 2 questions and 1 contexts, expected as many."),
        (["a?", ""], "one", "answer: the question is empty."),
    ],
)
def test_refused(question: Any, context: Any, message: str) -> None:
    qa, scripted = reader("x")
    with pytest.raises(ConfigError) as caught:
        qa.answer(question, context=context)
    assert str(caught.value) == message
    assert not scripted.read


def test_generate_and_score_take_one_or_many() -> None:
    qa, scripted = reader("out")
    assert qa.generate("in") == "out"
    assert qa.generate(["in"]) == ["out"]
    assert scripted.read == ["in", "in"]
    assert qa.score("in", ["a", "bcd"]) == [-1.0, -3.0]
    assert qa.score(["in", "on"], [["a"], ("bc", "")]) == [[-1.0], [-2.0, 0.0]]


@pytest.mark.parametrize(("text", "targets"), [(["in"], ["target"]), ("in", [["target"]])])
def test_targets_of_another_shape(text: Any, targets: Any) -> None:
    qa, _ = reader()
    with pytest.raises(ConfigError, match="score: got targets of another shape, expected one list of texts for each"):
        qa.score(text, targets)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("b", "b c."),
        ("d e", "d e!"),
        ("c. d", "b c. d e!"),
        ("f", "f"),
        ("g", "g"),
    ],
)
def test_sentence_around(part: str, sentence: str) -> None:
    text = "b c. d e! f\ng"
    start = text.index(part)
    assert sentence_around(text, start, start + len(part)) == sentence
