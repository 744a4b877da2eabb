"""Questions over sources with a reader that is made up: what is read, what is told, and where it stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from papers import pdf

from textfer.answered import Answer
from textfer.calibration import Calibration, Scale
from textfer.documents.index import Index, open_index
from textfer.documents.read import parse
from textfer.errors import ConfigError
from textfer.generate import Decoding
from textfer.merging import Heard, Named
from textfer.open_book import Reader, Weigher, ask, text_index
from textfer.tokenizers import load_tokenizer

CASTLE = "The castle of Aldon was built in 1203.\nIts owner, Maud Hale, gave the well to the town."
FILLER = "Nobody knows what the {} rook thinks of the weather in spring. "


class Finder:
    """Answers with what stands after "owner, ", as sure as it is told to be."""

    def __init__(self, sure: float = 0.9) -> None:
        self.sure = sure
        self.read: list[str] = []
        self.decodings: list[Decoding | None] = []

    def answer(self, question: list[str], *, context: list[str], decoding: Decoding | None = None) -> list[Answer]:
        assert len(question) == len(context)
        self.read += context
        self.decodings.append(decoding)
        return [self.one(text) for text in context]

    def one(self, text: str) -> Answer:
        found = re.search(r"owner, (\w+ \w+)", text)
        if not found:
            return Answer(text=None, score=0.97)
        return Answer(text=found[1], score=self.sure, start=found.start(1), end=found.end(1), evidence="unused")


class Scales:
    """Says several things of every passage."""

    def weigh(self, question: str, contexts: Sequence[str], *, decoding: Decoding | None = None) -> list[Heard]:
        return [
            Heard(
                candidates=tuple(
                    Named(text=match[0], log_odds=2.0 - number, start=match.start(), end=match.end())
                    for number, match in enumerate(re.finditer(r"[A-Z]\w+ [A-Z]\w+|\d{4}", text))
                )
            )
            for text in contexts
        ]


def index_of(*texts: str) -> Index:
    return text_index([parse(text.encode(), ".txt", name=f"{number}.txt") for number, text in enumerate(texts)])


def test_an_answer_with_its_place() -> None:
    reader = Finder()
    decoding = Decoding(beams=2)
    with index_of("Belm has a market.", CASTLE) as index:
        found = ask(reader, index, "Who owned the castle?", decoding=decoding)
    assert isinstance(reader, Reader)
    assert found.answer is not None
    assert (found.answer.text, found.answer.path, str(found.answer.place)) == ("Maud Hale", "1.txt", "line 2")
    assert CASTLE[found.answer.start : found.answer.end] == "Maud Hale"
    assert found.answer.evidence == "Its owner, Maud Hale, gave the well to the town."
    assert (found.num_read, found.num_passages, len(reader.read)) == (2, 2, 2)
    assert found.answer.score == pytest.approx(9 / (1 + 9 + 0.03 / 0.97))
    assert found.answer.score + found.no_answer < 1
    assert reader.decodings == [decoding]


def test_json() -> None:
    with index_of(CASTLE) as index:
        found = ask(Finder(), index, "Who?").as_dict()
        nothing = ask(Finder(), index, "Who?", min_score=0.95).as_dict()
    assert found == {
        "answer": "Maud Hale",
        "score": pytest.approx(0.9),
        "start": 50,
        "end": 59,
        "evidence": "Its owner, Maud Hale, gave the well to the town.",
        "path": "0.txt",
        "title": "0",
        "place": {"unit": "line", "first": 2, "last": 2},
        "num_places": 1,
        "no_answer": pytest.approx(0.1),
        "alternatives": [],
        "read": 1,
        "passages": 1,
        "calibrated": False,
    }
    assert (nothing["answer"], nothing["score"], nothing["place"]) == (None, pytest.approx(0.1), None)
    assert [one["answer"] for one in nothing["alternatives"]] == ["Maud Hale"]


def test_deep_inside_a_long_text(vocabulary: Path) -> None:
    tokenizer = load_tokenizer(str(vocabulary))
    text = "".join(FILLER.format(number) + "\n" * (number % 7 == 0) for number in range(300))
    at = len(text) // 2
    at = text.index("Nobody", at)
    text = f"{text[:at]}\n\n{CASTLE}\n\n{text[at:]}"
    reader = Finder()
    with text_index([parse(text.encode(), ".txt", name="long.txt")], tokenizer) as index:
        found = ask(reader, index, "Who owned the castle?", count=1000)
        part = ask(reader, index, "Who owned the castle of Aldon?", count=2)
    assert found.num_read == found.num_passages > 5
    for one in (found, part):
        assert one.answer is not None
        assert text[one.answer.start : one.answer.end] == "Maud Hale"
        assert one.answer.place.first == text[: one.answer.start].count("\n") + 1
        assert one.answer.num_places == 1  # though two windows hold it
    assert (part.num_read, part.num_passages) == (2, found.num_passages)
    assert max(len(tokenizer.encode(one)) for one in reader.read) <= 449


def test_no_answer() -> None:
    with index_of("Belm has a market.", "Rory Finch sells fish.") as index:
        found = ask(Finder(), index, "Who owned the castle?")
    assert (found.answer, found.alternatives, found.num_read) == (None, (), 2)
    assert found.no_answer == pytest.approx(1 / (1 + 2 * 0.03 / 0.97))


def test_nothing_is_found() -> None:
    reader = Finder()
    with index_of(*[f"Page {number}" for number in range(12)]) as index:
        found = ask(reader, index, "Who owned the castle?", count=5)
    assert (found.answer, found.no_answer, found.num_read, found.num_passages) == (None, 1.0, 0, 12)
    assert reader.read == []
    with index_of() as index:
        assert ask(reader, index, "Who?").num_passages == 0


def test_answers_that_agree_and_answers_that_do_not() -> None:
    others = [CASTLE.replace("Maud Hale", name) for name in ("Elin Moor", "Maud Hale", "Hild Ash")]
    with index_of(CASTLE, *others) as index:
        found = ask(Finder(), index, "Who owned the castle?")
    assert found.answer is not None
    assert (found.answer.text, found.answer.num_places, found.answer.path) == ("Maud Hale", 2, "0.txt")
    assert [(one.text, one.path) for one in found.alternatives] == [("Elin Moor", "1.txt"), ("Hild Ash", "3.txt")]
    assert found.answer.score == pytest.approx(18 / 37)


def test_a_reader_that_says_more_of_a_passage() -> None:
    assert isinstance(Scales(), Weigher)
    with index_of(CASTLE) as index:
        found = ask(Scales(), index, "Who owned the castle?")
    assert found.answer is not None
    assert found.answer.text == "1203"
    assert [one.text for one in found.alternatives] == ["Maud Hale"]


def test_an_answer_in_other_words() -> None:
    class Writer(Finder):
        def one(self, text: str) -> Answer:
            return Answer(text="two wells", score=0.5)

    with index_of("Line\n" + CASTLE) as index:
        found = ask(Writer(), index, "How many?")
    assert found.answer is not None
    assert (found.answer.start, found.answer.end, str(found.answer.place)) == (None, None, "lines 1–3")
    assert found.answer.evidence == " ".join(("Line\n" + CASTLE).split())


def test_pages_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.pdf").write_bytes(pdf(["The castle.", "Its owner, Maud Hale, left."], title="Deeds"))
    with open_index(tmp_path / "i.db", write=True) as index:
        index.refresh(tmp_path / "d")
        found = ask(Finder(), index, "Who owned the castle?")
    assert found.answer is not None
    assert (found.answer.path, str(found.answer.place), found.answer.title) == ("a.pdf", "page 2", "Deeds")


class Fitted(Scales):
    """Its shares mean something else."""

    calibration = Calibration(
        answer=Scale(temperature=2.0, bias=-1.0), no_answer=Scale(temperature=4.0), num_questions=9, fitted_on="squad"
    )


def test_scores_of_a_calibrated_reader() -> None:
    with index_of(CASTLE) as index:
        raw = ask(Scales(), index, "Who owned the castle?")
        found = ask(Fitted(), index, "Who owned the castle?")
        assert raw.answer is not None
        assert found.answer is not None
        least = found.answer.score
        drawn = ask(Fitted(), index, "Who?", decoding=Decoding(sample=True))
        kept = ask(Fitted(), index, "Who owned the castle?", min_score=least)
        refused = ask(Fitted(), index, "Who owned the castle?", min_score=least + 1e-6)
    assert (raw.calibrated, found.calibrated, drawn.calibrated) == (False, True, False)
    assert found.as_dict()["calibrated"] is True
    scale = Fitted.calibration.answer
    assert [one.score for one in (found.answer, *found.alternatives)] == [
        pytest.approx(scale(one.score)) for one in (raw.answer, *raw.alternatives)
    ]
    assert found.no_answer == pytest.approx(Scale(temperature=4.0)(raw.no_answer))
    assert kept.answer == found.answer
    assert refused.answer is None
    assert refused.calibrated
    assert least < raw.answer.score, "the bound is of the calibrated score"


def test_empty_question() -> None:
    with index_of(CASTLE) as index, pytest.raises(ConfigError, match=r"^ask: the question is empty\.$"):
        ask(Finder(), index, " ")
