"""Passages: whole sentences, nothing lost, nothing too long; and questions as queries."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textfer.documents import passages as cutting
from textfer.documents.passages import WINDOW_TOKENS, check_size, passages, token_measure, windows
from textfer.documents.query import MAX_TERMS, match_expression, spaced, unspaced
from textfer.documents.sentences import sentence_at, sentences
from textfer.errors import ConfigError, DataError
from textfer.tokenizers import load_tokenizer

PIECES = st.sampled_from(
    ["a ", "bc ", "Dr. ", "word. ", "Long! ", "\n", "\n\n", "longword", "東京。", "x" * 30, "- ", "1.5 "]
)
TEXTS = st.lists(PIECES, max_size=60).map("".join)


def told(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


# ---- sentences


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two!  “Three?” four", ["One.", "Two!", "“Three?”", "four"]),
        ("Dr. Reed paid $1.5 (in 1902). J. S. Bach, e.g. here. No. 5.", None),
        ("wrapped\nline. next\n\nparagraph\n\n\nlast", ["wrapped\nline.", "next", "paragraph", "last"]),
        ("Title\n- one\n- two\n1. three", ["Title", "- one", "- two", "1.", "three"]),
        ("東京は首都。大阪は？ はい", ["東京は首都。", "大阪は？", "はい"]),
        ("  \n ", []),
        ("", []),
    ],
)
def test_sentences(text: str, found: list[str] | None) -> None:
    expected = found or ["Dr. Reed paid $1.5 (in 1902).", "J. S. Bach, e.g. here.", "No. 5."]
    assert told(text) == (expected if text.strip() else [])


def test_the_sentence_around() -> None:
    text = "One two. Three four.\nFive."
    for part, expected in (("two", "One two."), ("Three", "Three four."), ("two. Three", "One two. Three four.")):
        start = text.index(part)
        assert text[slice(*sentence_at(text, start, start + len(part)))] == expected
    assert sentence_at("", 0, 0) == (0, 0)


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_sentences_hold_all_words_in_order(text: str) -> None:
    found = list(sentences(text))
    assert "".join("".join(text[start:end].split()) for start, end in found) == "".join(text.split())
    assert all(one[1] <= two[0] for one, two in pairwise(found))


# ---- passages


@given(TEXTS, st.integers(1, 40), st.integers(0, 39))
@example("word. a a a a word. a \n\n東京。a ", 21, 15)  # the end of a paragraph in what two passages share
@settings(max_examples=200, deadline=None)
def test_passages_hold_everything_within_their_size(text: str, size: int, overlap: int) -> None:
    overlap = min(overlap, size - 1)
    found = passages(text, size=size, overlap=overlap)
    covered = set()
    for start, end in found:
        assert 0 < end - start <= size
        assert text[start:end] == text[start:end].strip() != ""
        covered |= set(range(start, end))
    assert all(text[at].isspace() for at in set(range(len(text))) - covered)
    assert all(one.start < two.start and one.end < two.end for one, two in pairwise(found))
    for start, end in sentences(text):
        if end - start <= (overlap or size):
            assert any(one.start <= start and end <= one.end for one in found)


def test_neighbours_share_sentences() -> None:
    text = " ".join(f"Sentence number {number:02} is here." for number in range(20))  # 27 characters each
    found = [text[slice(*one)] for one in passages(text, size=120, overlap=60)]
    assert found[0].count("number") == 4
    assert found[1].startswith("Sentence number 02")
    assert all(one.count("number") == 4 for one in found[:-1])
    assert found[-1].endswith("19 is here.")
    alone = [text[slice(*one)] for one in passages(text, size=120, overlap=0)]
    assert " ".join(alone) == text


def test_paragraphs_are_kept_together() -> None:
    text = f"{'First part. ' * 6}\n\n{'Second part. ' * 8}"
    first, second = passages(text, size=110, overlap=0)
    assert text[slice(*first)] == ("First part. " * 6).strip()
    assert text[slice(*second)] == ("Second part. " * 8).strip()


def test_a_text_that_fits_is_one_passage() -> None:
    assert passages("  a b. c\n\nd ") == [(2, 11)]
    assert passages(" \n") == passages("") == []


def test_tokens_as_the_measure(vocabulary: Path) -> None:
    tokenizer = load_tokenizer(str(vocabulary))
    text = " ".join(f"Anna Hall lives in Rome number {number}." for number in range(30))
    found = passages(text, size=40, overlap=15, measure=token_measure(text, tokenizer))
    lens = [len(tokenizer.encode(text[slice(*one)])) for one in found]
    assert len(found) > 3
    assert max(lens) <= 41  # a text begun in its middle may be cut into one token more
    assert min(lens[:-1]) > 20


def test_long_texts_are_cut_block_by_block(vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(str(vocabulary))
    lines = [f"Anna Hall lives in Rome number {number}. " + "\n\n" * (number % 7 == 0) for number in range(400)]
    text = "".join(lines)
    whole = windows(text, tokenizer)
    monkeypatch.setattr(cutting, "BLOCK_CHARS", 4000)
    assert len(whole) > 8
    assert windows(text, tokenizer) == whole
    endless = "".join(f"word{number} " for number in range(3000))
    found = windows(endless, tokenizer)
    assert all(one.start < two.start <= one.end + 1 for one, two in pairwise(found)), "no word is left out"
    assert (found[0].start, found[-1].end) == (0, len(endless.rstrip()))
    assert max(len(tokenizer.encode(endless[slice(*one)])) for one in found) <= WINDOW_TOKENS + 1
    blank = " " * 9000
    held = [f"{blank}a b.{blank}"[slice(*one)].strip() for one in windows(f"{blank}a b.{blank}", tokenizer)]
    assert held == ["a b."]
    assert windows(blank, tokenizer) == [(0, len(blank))]


def test_what_would_take_days_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "MAX_CHARS", 5)
    check_size("12345", where="answer: context")
    with pytest.raises(DataError) as caught:
        check_size("123456", where="answer: context")
    assert str(caught.value).startswith("answer: context: the text has 6 characters, expected 5 at most. Cut it into")


@pytest.mark.parametrize(("size", "overlap"), [(10, 10), (0, 0), (5, -1)])
def test_sizes_that_cannot_be(size: int, overlap: int) -> None:
    with pytest.raises(ConfigError) as caught:
        passages("a", size=size, overlap=overlap)
    assert str(caught.value) == f"passages: got size {size} and overlap {overlap}, expected size > overlap ≥ 0."


@pytest.mark.parametrize("part", ["word ", "x", ".", '."', "\n- ", "\n ", ". ", "1."])
def test_a_long_text_is_cut_in_little_time(part: str) -> None:
    text = part * (600_000 // len(part)) + "x"
    began = time.process_time()
    found = passages(text)
    assert time.process_time() - began < 8
    assert max(end - start for start, end in found) <= 1000
    assert found[-1].end == len(text)


# ---- queries


@pytest.mark.parametrize(
    ("question", "expression"),
    [
        ('What is the "NOT" OR NEAR(x) AND don\'t?', '"NEAR(x" OR "don\'t"'),
        ("the of", '"the" OR "of"'),
        ("C++ U.S. ^foo* col:bar -x x", '"C" OR "U.S" OR "foo" OR "col:bar" OR "x"'),
        ("東京都 is?", '"東 京" OR "京 都"'),
        ("日", '"日"'),
        ("café? Ünder", '"café" OR "Ünder"'),
        (" ?!… ", None),
        ("", None),
        ("\x00\ud800a", '"a"'),
    ],
)
def test_questions_as_queries(question: str, expression: str | None) -> None:
    assert match_expression(question) == expression


@pytest.fixture(scope="module")
def empty() -> Iterator[sqlite3.Connection]:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE words USING fts5 (text)")
    yield database
    database.close()


@given(question=st.text(max_size=60) | TEXTS)
@settings(max_examples=200, deadline=None)
def test_no_question_is_a_syntax_error(empty: sqlite3.Connection, question: str) -> None:
    expression = match_expression(question)
    if expression is not None:
        assert empty.execute("SELECT * FROM words WHERE words MATCH ?", (expression,)).fetchall() == []


def test_long_questions_are_bounded() -> None:
    expression = match_expression(" ".join(f"w{number}" for number in range(1000))) or ""
    assert expression.count('"') == 2 * MAX_TERMS


@pytest.mark.parametrize("text", ["plain", "東京 is 大x阪", "かな", "é", ""])
def test_what_is_spaced_comes_back(text: str) -> None:
    assert unspaced(spaced(text)) == text
    assert re.search("[東-阪][^\x1f ]", spaced(text) + " ") is None
