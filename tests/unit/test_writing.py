"""Summaries and translations of texts of any length: what is read, in which parts, and what comes of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from textfer.answer import TextToText
from textfer.documents.passages import WINDOW_SLACK, WINDOW_TOKENS
from textfer.errors import ConfigError, DataError
from textfer.generate import Decoding, Generated, Predictor
from textfer.tokenizers import load_tokenizer
from textfer.writing import SUMMARY

SENTENCE = "Ann number {} sings in the choir of the town."


class Writer:
    """Writes what `say` makes of a text, and remembers what it read."""

    def __init__(self, vocabulary: Path, say: Callable[[str], str], *, max_len: int | None = None) -> None:
        self.tokenizer = load_tokenizer(str(vocabulary))
        self.max_len, self.layout, self.foreign = max_len, "encdec", False
        self.say = say
        self.read: list[str] = []
        self.decodings: list[Decoding | None] = []

    def generate(self, texts: Sequence[str], decoding: Decoding | None = None) -> list[Generated]:
        assert decoding is not None
        self.read += texts
        self.decodings.append(decoding)
        said = [self.say(text) for text in texts]
        return [Generated(one, -1.0, min(len(self.tokenizer.encode(one)) + 1, decoding.max_new_tokens)) for one in said]


def model(writer: Writer) -> TextToText:
    return TextToText(cast(Predictor, writer), "writer")


def first_number(text: str) -> str:
    return f" {re.findall('[0-9]+', text)[0]} . "


def long_text(count: int = 120) -> str:
    return " ".join(SENTENCE.format(number) for number in range(count))


# ---- summaries


def test_a_short_text_is_read_whole(vocabulary: Path) -> None:
    writer = Writer(vocabulary, first_number)
    assert model(writer).summarize(SENTENCE.format(7)) == "7 ."
    assert writer.read == ["summarize: " + SENTENCE.format(7)]
    assert writer.decodings == [SUMMARY]
    assert model(writer).summarize([SENTENCE.format(1), SENTENCE.format(2)], prefix="tl;dr: ") == ["1 .", "2 ."]
    assert writer.read[1:] == ["tl;dr: " + SENTENCE.format(1), "tl;dr: " + SENTENCE.format(2)]
    assert model(writer).summarize([]) == []


def test_a_long_text_is_the_summary_of_its_parts(vocabulary: Path) -> None:
    writer = Writer(vocabulary, first_number)
    text = long_text()
    assert model(writer).summarize(text) == "0 ."
    *parts, last = [one.removeprefix("summarize: ") for one in writer.read]
    assert len(parts) > 4
    assert " ".join(parts) == text, "every word is read, and none twice"
    assert all(part.endswith(".") for part in parts)
    lengths = [len(writer.tokenizer.encode(part)) for part in parts]
    assert max(lengths) <= WINDOW_TOKENS + WINDOW_SLACK
    assert last == " ".join(first_number(part).strip() for part in parts)
    assert [one.max_new_tokens for one in writer.decodings if one] == [WINDOW_TOKENS // 4, SUMMARY.max_new_tokens]


def test_summaries_of_summaries_until_they_fit(vocabulary: Path) -> None:
    writer = Writer(vocabulary, lambda text: text[11:91])
    found = model(writer).summarize([long_text(400), SENTENCE.format(3)])
    assert found == [long_text(400)[:80].strip(), SENTENCE.format(3)]
    assert len(writer.decodings) > 3, "three rounds at least, and the short text in the first"


def test_a_model_that_does_not_summarize_comes_to_an_end(vocabulary: Path) -> None:
    with pytest.raises(DataError, match=r"summaries of its [0-9]+ parts are no shorter than the text") as caught:
        model(Writer(vocabulary, lambda text: text)).summarize(long_text())
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="writes nothing of its parts"):
        model(Writer(vocabulary, lambda _: " ")).summarize(long_text())


def test_who_says_where_to_cut_gets_one_part(vocabulary: Path) -> None:
    writer = Writer(vocabulary, first_number)
    ways = Decoding(max_input_tokens=50)
    model(writer).summarize(long_text(), decoding=ways)
    model(writer).translate(long_text(), decoding=ways)
    assert [len(one) for one in writer.read] == [len(long_text()) + len(one) for one in ("summarize: ", WMT)]
    assert writer.decodings == [ways, ways]


def test_parts_fit_models_of_few_positions(vocabulary: Path) -> None:
    writer = Writer(vocabulary, lambda text: first_number(text) if re.search("[0-9]", text) else "x", max_len=128)
    model(writer).summarize(long_text(30))
    model(writer).translate("word " * 300)
    assert max(len(writer.tokenizer.encode(one)) + 1 for one in writer.read) <= 128


# ---- translations

WMT = "translate English to German: "


def german(text: str) -> str:
    return " " + text.partition(": ")[2].upper() + " "


def test_sentence_by_sentence_with_the_space_between(vocabulary: Path) -> None:
    writer = Writer(vocabulary, german)
    text = "  Ann sings. Mr. Bob, who is deaf,\nlistens!\n\n* A list\n* of two\n"
    assert model(writer).translate(text) == text.upper()
    assert writer.read == [
        f"{WMT}{one}" for one in ("Ann sings.", "Mr. Bob, who is deaf,\nlistens!", "* A list", "* of two")
    ]
    assert model(writer).translate(["One.", "Two. Three."]) == ["ONE.", "TWO. THREE."]


def test_languages(vocabulary: Path) -> None:
    writer = Writer(vocabulary, german)
    for source, target in (("German", "English"), ("de", "EN"), (" German ", "English")):
        model(writer).translate("Ja.", source=source, target=target)
    assert writer.read == ["translate German to English: Ja."] * 3
    with pytest.raises(ConfigError, match="a language has no name"):
        model(writer).translate("Ja.", target=" ")


def test_there_is_room_for_a_translation_of_every_sentence(vocabulary: Path) -> None:
    writer = Writer(vocabulary, german)
    long = "Ann and Bob and " * 40 + "Eve."
    model(writer).translate(["Yes.", long])
    (ways,) = writer.decodings
    assert ways is not None
    assert ways.max_new_tokens > 1.5 * len(writer.tokenizer.encode(long))


def test_an_endless_sentence_is_cut_between_words(vocabulary: Path) -> None:
    writer = Writer(vocabulary, lambda text: text.partition(": ")[2])
    text = "word " * 2000
    assert model(writer).translate(text).split() == ["word"] * 2000
    assert len(writer.read) > 3
    assert max(len(writer.tokenizer.encode(one)) for one in writer.read) <= WINDOW_TOKENS + WINDOW_SLACK + 20


# ---- both


@pytest.mark.parametrize("act", ["summarize", "translate"])
def test_what_is_cut_off_is_said(vocabulary: Path, act: str) -> None:
    writer = Writer(vocabulary, german)
    with pytest.warns(UserWarning, match=f"{act}: 1 of 2 pieces written reached max_new_tokens \\(20\\)"):
        getattr(model(writer), act)(
            ["Ann sings in the choir of the town, and Bob too", "Yes."], decoding=Decoding(max_new_tokens=20)
        )


@pytest.mark.parametrize("act", ["summarize", "translate"])
@pytest.mark.parametrize(("text", "words"), [(" \n", "the text is empty"), (["a", ""], "text 2 of 2 is empty")])
def test_nothing_to_write_of(vocabulary: Path, act: str, text: Any, words: str) -> None:
    writer = Writer(vocabulary, german)
    with pytest.raises(ConfigError, match=f"{act}: {words}"):
        getattr(model(writer), act)(text)
    assert not writer.read


def test_adapters_follow_their_texts(vocabulary: Path) -> None:
    with pytest.raises(ConfigError, match="got 1 names for 2 texts"):
        model(Writer(vocabulary, german)).translate(["a", "b"], adapter=["x"])
    reader = model(Writer(vocabulary, german))
    asked: list[Any] = []

    def made(texts: list[str], decoding: Decoding, adapter: list[str | None]) -> list[Generated]:
        asked.extend(zip(texts, adapter, strict=True))
        return [Generated("x", math.log(0.5), 2) for _ in texts]

    reader._made = made  # type: ignore[assignment,method-assign]
    reader.translate(["Aha. Bah.", "Co."], adapter=["one", None])
    assert asked == [(f"{WMT}Aha.", "one"), (f"{WMT}Bah.", "one"), (f"{WMT}Co.", None)]


def test_what_it_can(vocabulary: Path) -> None:
    reader = model(Writer(vocabulary, german))
    assert {"answer", "summarize", "translate", "generate", "classify", "embed"} <= set(reader.can)
    assert all(callable(getattr(reader, name)) for name in reader.can)
