"""A tiny trained reader of spans over many passages: it finds the one place deep inside, or says that there is none."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny import train
from toys import NAMES, PLACES, toy_recipe, toys

from textfer.documents.index import Index, open_index
from textfer.documents.passages import passages
from textfer.documents.read import parse
from textfer.open_book import ask, text_index
from textfer.parts import load
from textfer.reader import TextReader
from textfer.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("one_thread")
QUESTION = "mara walks to ?"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("span")
    with toys():
        train(load_recipe(str(toy_recipe("span", folder)), ["eval.tasks=[]"]), folder / "run")
        yield folder / "run"


@pytest.fixture(scope="module")
def reader(run: Path) -> TextReader:
    found = load(str(run))
    assert isinstance(found, TextReader)
    return found


def long_text(seed: int, place: str | None, *, num: int = 40) -> str:
    """Paragraphs of names that walk; deep inside one of them names a place."""
    draw = random.Random(seed)
    lines = [" ".join(draw.choice((*NAMES, "walks", "to", "the")) for _ in range(9)) for _ in range(num)]
    if place is not None:
        at = draw.randrange(num // 2, num)
        lines[at] += f" {place} {draw.choice(NAMES)}"
    return "\n\n".join(lines)


def cut_up(*texts: str) -> Index:
    """Many small overlapping passages."""
    index = open_index(Path(":memory:"), write=True)
    for number, text in enumerate(texts):
        index.add(parse(text.encode(), ".txt", name=f"{number}.txt"), cut=passages(text, size=120, overlap=60))
    return index


def test_one_place_among_many_passages(reader: TextReader) -> None:
    right = 0
    for seed, place in enumerate(PLACES * 2):
        text = long_text(seed, place)
        with cut_up(text) as index:
            found = ask(reader, index, QUESTION, count=1000)
        assert found.num_read == found.num_passages > 15
        if found.answer is not None:
            assert found.answer.start is not None
            assert text[found.answer.start : found.answer.end] == found.answer.text
            assert found.answer.place.first == text[: found.answer.start].count("\n") + 1
            right += found.answer.text == place
    assert right >= 11, "of 12"


def test_windows_of_the_model_and_passages_agree(reader: TextReader) -> None:
    """Read as one text, in windows of 24 tokens, and as passages: the same answers at the same places."""
    for seed, place in enumerate(PLACES):
        text = long_text(100 + seed, place)
        whole = reader.answer(QUESTION, context=text)
        with text_index([parse(text.encode(), ".txt", name="t")]) as index, cut_up(text) as small:
            for one in (index, small):
                found = ask(reader, one, QUESTION, count=1000)
                assert found.answer is not None
                assert (found.answer.text, found.answer.start) == (whole.text, whole.start)


def test_one_passage_keeps_the_readers_share(reader: TextReader) -> None:
    text = "odo walks to the mill tibor"
    alone = reader.answer(QUESTION, context=text)
    with cut_up(text) as index:
        found = ask(reader, index, QUESTION)
    assert found.answer is not None
    assert (found.answer.text, found.answer.start) == (alone.text, alone.start)
    assert alone.score <= found.answer.score <= alone.score + 1e-3  # "the mill" counts as "mill"
    assert found.answer.num_places == 1


def test_no_place_at_all(reader: TextReader) -> None:
    said = []
    for seed in range(6):
        with cut_up(long_text(200 + seed, None, num=4)) as index:
            said.append(ask(reader, index, QUESTION, count=1000).answer)
    assert sum(one is None for one in said) >= 5, said


def test_a_reader_that_never_learnt_to_say_none_still_compares(reader: TextReader) -> None:
    heads = reader.predictor.model.kinds
    head = heads["span"]
    text = long_text(7, "quarry")
    try:
        heads["span"] = head.model_copy(update={"threshold": None})
        with cut_up(text) as index:
            found = ask(reader, index, QUESTION, count=1000)
    finally:
        heads["span"] = head
    assert found.answer is not None
    assert found.answer.text == "quarry"
    assert found.no_answer < 1e-3


def test_the_command_line(run: Path, tmp_path: Path, call: Any) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number, place in enumerate((None, "harbour", None)):
        (docs / f"{number}.txt").write_text(long_text(number, place, num=6).replace(" walks", " walks mara"))
    done = call("ask", QUESTION, "--docs", docs, "--index", tmp_path / "i.db", "--model", run, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["answer"], found["path"]) == ("harbour", "1.txt")
    assert found["read"] == found["passages"]
    shown = call("ask", QUESTION, "--file", docs / "1.txt", "--model", run).out
    assert shown.startswith("harbour  (")
    assert f"{docs / '1.txt'}, line " in shown
