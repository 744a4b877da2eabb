"""Contexts of any length read by a model that writes: windows, one answer, exact places."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from textfer.answer import TextToText
from textfer.calibration import Calibration, Scale
from textfer.generate import Decoding, Generated, Predictor
from textfer.merging import merge_windows
from textfer.tokenizers import load_tokenizer

FILLER = "Nobody knows what the rook number {} thinks of the weather in spring. "
OWNER = "Its owner, Maud Hale, gave the well to the town. "


class Writer:
    """Writes the owner that stands in what it reads, else that there is none."""

    def __init__(self, vocabulary: Path, *, max_len: int | None = None, none: float = 0.99) -> None:
        self.tokenizer = load_tokenizer(str(vocabulary))
        self.max_len = max_len
        self.none = none
        self.ends_inputs = True
        self.read: list[str] = []

    def generate(self, texts: Sequence[str], decoding: Decoding | None = None) -> list[Generated]:
        self.read += texts
        found = [re.search(r"owner , (\w+ \w+)", text) for text in texts]
        return [
            Generated(one[1], math.log(0.8), 3) if one else Generated("unanswerable", math.log(self.none), 3)
            for one in found
        ]


def reader(writer: Any, calibration: Calibration | None = None) -> TextToText:
    return TextToText(cast(Predictor, writer), "writer", calibration=calibration)


def long_text(*owners: int, num: int = 120) -> str:
    lines = [FILLER.format(number) for number in range(num)]
    for at in owners:
        lines[at] += OWNER
    return "".join(lines)


def test_an_answer_deep_inside(vocabulary: Path) -> None:
    writer = Writer(vocabulary)
    text = long_text(70)
    found = reader(writer).answer("Who owned it?", context=text)
    assert len(writer.read) > 4
    assert found.text == "Maud Hale"
    assert text[found.start : found.end] == "Maud Hale"
    assert found.evidence == OWNER.strip()
    empty = sum("owner" not in one for one in writer.read)
    held = len(writer.read) - empty
    assert held in (1, 2)
    assert found.score == pytest.approx(4 / (1 + 4 + empty * 0.01 / 0.99))
    assert max(len(writer.tokenizer.encode(one)) for one in writer.read) <= 512


def test_no_answer_in_any_window(vocabulary: Path) -> None:
    writer = Writer(vocabulary)
    found = reader(writer).answer("Who owned it?", context=long_text())
    assert (found.text, found.start, found.evidence) == (None, None, None)
    assert found.score == pytest.approx(1 / (1 + len(writer.read) * 0.01 / 0.99))


def test_questions_keep_their_order_and_their_own_windows(vocabulary: Path) -> None:
    writer = Writer(vocabulary)
    texts = [long_text(3), "short", long_text(100), long_text()]
    found = reader(writer).answer(["a?", "b?", "c?", "d?"], context=texts)
    assert [one.text for one in found] == ["Maud Hale", None, "Maud Hale", None]
    assert [one.start for one in found] == [texts[0].index("Maud"), None, texts[2].index("Maud"), None]
    assert [one.score for one in found][1] == pytest.approx(0.99)
    assert sum("context: short" in one for one in writer.read) == 1


def test_a_text_that_fits_is_read_whole(vocabulary: Path) -> None:
    writer = Writer(vocabulary)
    text = long_text(2, num=8)
    assert len(writer.tokenizer.encode(text)) < 448 < len(text)
    found = reader(writer).answer("Who?", context=text)
    assert (found.start, len(writer.read)) == (text.index("Maud"), 1)
    assert found.score == pytest.approx(0.8)


def test_who_says_where_to_cut_gets_no_windows(vocabulary: Path) -> None:
    writer = Writer(vocabulary)
    found = reader(writer).answer("Who?", context=long_text(), decoding=Decoding(max_input_tokens=100))
    assert len(writer.read) == 1
    count = len(writer.tokenizer.encode(writer.read[0]))
    assert found.note == f"read the first 99 of {count:,} tokens, the question's among them"
    writer.ends_inputs = False
    found = reader(writer).answer("Who?", context=long_text(), decoding=Decoding(max_input_tokens=100))
    assert found.note == f"read the last 100 of {count:,} tokens, the question's among them"
    assert reader(writer).answer("Who?", context="Short.", decoding=Decoding(max_input_tokens=100)).note is None


def test_candidates_of_all_windows(vocabulary: Path) -> None:
    text = long_text(20) + "\n\n" + long_text(90).replace("Maud Hale", "Elin Moor")
    writer = Writer(vocabulary)
    found = reader(writer).answer(["Who?", "Whose?"], context=text, candidates=5)
    for one in found:
        assert [(some.text, some.start) for some in one.candidates] == [
            ("Maud Hale", text.index("Maud Hale")),
            ("Elin Moor", text.index("Elin Moor")),
        ]
        assert [text[some.start : some.end] for some in one.candidates] == ["Maud Hale", "Elin Moor"]
        assert one.candidates[1].evidence == OWNER.strip().replace("Maud Hale", "Elin Moor")
        assert (one.text, one.score, one.evidence) == (one.candidates[0].text, one.candidates[0].score, OWNER.strip())
        assert one.num_read == one.num_passages == len(writer.read) / 2
    assert reader(writer).answer("Who?", context=text, candidates=1).candidates == found[0].candidates[:1]
    assert [some["text"] for some in found[0].as_dict()["candidates"]] == ["Maud Hale", "Elin Moor"]


def test_what_scores_mean_is_said(vocabulary: Path) -> None:
    scale = Scale(temperature=2.0, bias=-0.5)
    known = Calibration(answer=scale, num_questions=50, fitted_on="squad")
    text = long_text(70)
    raw = reader(Writer(vocabulary)).answer("Who?", context=text, candidates=1)
    found = reader(Writer(vocabulary), known).answer("Who?", context=text, candidates=1)
    assert (raw.calibrated, found.calibrated, found.text) == (False, True, raw.text)
    assert found.score == found.candidates[0].score == pytest.approx(scale(raw.score))
    none = reader(Writer(vocabulary), known).answer("Who?", context=long_text())
    assert not none.calibrated, "nothing is known of no answer"
    whole = known.model_copy(update={"no_answer": Scale(temperature=3.0)})
    fitted = reader(Writer(vocabulary), whole).answer("Who?", context=long_text())
    assert fitted.calibrated
    assert fitted.score == pytest.approx(Scale(temperature=3.0)(none.score))
    drawn = reader(Writer(vocabulary), whole).answer("Who?", context=text, decoding=Decoding(sample=True))
    memory = reader(Writer(vocabulary), whole).answer("Who?")
    assert (drawn.calibrated, memory.calibrated) == (False, False)


def test_what_is_weighed_is_not_calibrated(vocabulary: Path) -> None:
    known = Calibration(answer=Scale(temperature=2.0), num_questions=50, fitted_on="squad")
    text = long_text(70)
    said = reader(Writer(vocabulary), known).weigh("Who?", [text, "Nothing here."])
    assert [(one.text, one.start) for one in said[0].candidates] == [("Maud Hale", text.index("Maud"))] * len(
        said[0].candidates
    )
    assert said[0].candidates[0].log_odds == pytest.approx(math.log(4))
    assert (said[0].none, said[1].none, said[1].candidates) == (False, True, ())
    merged = merge_windows(said[:1], [0])
    raw = reader(Writer(vocabulary)).answer("Who?", context=text)
    assert merged.answers[0].share == pytest.approx(raw.score)


def test_windows_fit_models_of_few_positions(vocabulary: Path) -> None:
    writer = Writer(vocabulary, max_len=160)
    text = long_text(70)
    found = reader(writer).answer("Who owned it?", context=text)
    assert max(len(writer.tokenizer.encode(one)) + 1 for one in writer.read) <= 160
    assert (found.text, found.start) == ("Maud Hale", text.index("Maud"))
