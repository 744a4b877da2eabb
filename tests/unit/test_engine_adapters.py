"""Runs with heads upon one base, asked through an engine and a server: each says what it says when asked directly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from serving import live
from textfer.adapt import make_method
from textfer.adapt.adapted import adapt
from textfer.engine import Engine
from textfer.errors import ConfigError
from textfer.heads import Head
from textfer.models import load_model
from textfer.models.bert import Bert
from textfer.models.headed import HeadOptions, with_heads
from textfer.parts import load
from textfer.read import HeadPredictor
from textfer.reader import TextReader
from textfer.serve.client import Client, ServerError
from textfer.serve.service import Service
from textfer.serve.shelf import Served, Shelf
from textfer.tokenizers import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

WAIT = 60.0
SHAPE = {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "max_positions": 64, "dropout": 0.0}
RUNS: dict[str, tuple[Head, dict[str, Any]]] = {
    "mood": (Head(name="mood", kind="class", labels=("bad", "good"), tasks=("mood",)), {"name": "lora", "rank": 2}),
    "topic": (
        Head(name="topic", kind="class", labels=("sea", "town", "sky"), tasks=("topic",)),
        {"name": "frozen", "train": ["*layers.1.*"]},
    ),
    "asked": (
        Head(name="span", kind="span", tasks=("asked",), threshold=0.0, max_len=48),
        {"name": "adapters", "inner_dim": 3},
    ),
}
TEXTS = ["Ann sings in the harbour", "the lamp", "Bob", "a view of the sky over the town"]
LONG = "Aldon lies on a hill. " * 6 + "The mill burnt down in 1203."


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> TextReader:
    """A base without heads, and three runs' changes moved at random."""
    folder, tokenizer = tmp_path_factory.mktemp("runs"), load_tokenizer("bytes")
    torch.manual_seed(1)
    Bert.make(SHAPE, vocab_size=tokenizer.vocab_size).save(folder / "base")
    tokenizer.save(folder / "base")
    runs: dict[str, str | Path] = {}
    for seed, (name, (head, section)) in enumerate(RUNS.items()):
        torch.manual_seed(seed)
        model = with_heads(load_model(folder / "base"), [head], HeadOptions())
        made = adapt(model, make_method(section), num_steps=2, seed=seed, base=str(folder / "base"))
        with torch.no_grad():
            for one, weight in made.model.named_parameters():
                if one in made.plan.saved:
                    weight.add_(0.5 * torch.randn(weight.shape))
        made.save(folder / name)
        runs[name] = folder / name
    found = load(str(folder / "base"), device="cpu", adapters=runs)
    assert isinstance(found, TextReader)
    return found


def test_requests_of_all_adapters_at_once(reader: TextReader) -> None:
    asked = [("When?", LONG), ("Who?", "Maud Hale."), ("What burnt down?", LONG)]
    with Engine(reader) as engine:
        labels = [(name, text, engine.classify(text, adapter=name)) for text in TEXTS for name in ("mood", "topic")]
        answers = [(one, engine.answer(*one, adapter="asked", candidates=2)) for one in asked]
        vectors = [(name, text, engine.embed(text, adapter=name)) for text in TEXTS for name in (None, *RUNS)]
        for name, text, ticket in labels:
            alone = reader.with_adapter(name).classify(text)
            assert ticket.result(WAIT).probs == pytest.approx(alone.probs, abs=1e-5)
        for (question, context), answer in answers:
            there = reader.with_adapter("asked").answer(question, context=context, candidates=2)
            found = answer.result(WAIT)
            assert (found.text, found.start, len(found.candidates)) == (there.text, there.start, len(there.candidates))
            assert found.score == pytest.approx(there.score, abs=1e-4)
        for one, text, vector in vectors:
            np.testing.assert_allclose(vector.result(WAIT), reader.with_adapter(one).embed(text), atol=1e-5)
    said = [set(ticket.result(WAIT).probs) for _, _, ticket in labels[:2]]
    assert said == [{"bad", "good"}, {"sea", "town", "sky"}]


def test_those_of_one_adapter_are_read_together(reader: TextReader, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[str, int]] = []
    said_each = HeadPredictor.said_each

    def counted(self: HeadPredictor, head: Head, task: Any, examples: Any, **others: Any) -> Any:
        sizes.append((head.name, len(examples)))
        return said_each(self, head, task, examples, **others)

    monkeypatch.setattr(HeadPredictor, "said_each", counted)
    assert reader._switch is not None
    with Engine(reader) as engine:
        with reader._switch.on(None):  # the engine waits for its turn, and requests for the engine
            first = engine.classify(TEXTS[0], adapter="mood")
            while engine.load["waiting"]:
                pass
            others = [engine.classify(text, adapter=name) for text in TEXTS for name in ("mood", "topic")]
        for ticket in (first, *others):
            ticket.result(WAIT)
    assert sizes == [("mood", 1), ("mood", 4), ("topic", 4)]


def test_what_is_not_there_is_said_by_the_ticket(reader: TextReader) -> None:
    with Engine(reader) as engine:
        for ticket, words in (
            (engine.classify("a", adapter="modo"), r"^adapter: unknown adapter 'modo'\. Did you mean 'mood'"),
            (engine.classify("a"), "^classify: needs a class head"),
            (engine.classify("a", adapter="asked"), "^classify: needs a class head.*base with asked has a span head"),
            (engine.answer("Who?", "Bob.", adapter="mood"), "^answer: needs a span head"),
            (engine.generate("a", adapter="mood"), "reads and writes nothing"),
        ):
            with pytest.raises(ConfigError, match=words) as caught:
                ticket.result(WAIT)
            assert "\n" not in str(caught.value)
        assert engine.classify("a", adapter="mood").result(WAIT).probs


@pytest.fixture(scope="module")
def url(reader: TextReader) -> Iterator[str]:
    with live(Service(Shelf([Served(name="base", engine=Engine(reader), reader=reader, created=1)]))) as place:
        yield place


def test_a_server_gives_each_adapter(reader: TextReader, url: str) -> None:
    with Client(url, adapter="mood") as mood, Client(url, model="base:asked") as asked:
        for found, text in zip(mood.classify(TEXTS), TEXTS, strict=True):
            assert found.probs == pytest.approx(reader.with_adapter("mood").classify(text).probs, abs=1e-5)
        np.testing.assert_allclose(mood.embed("Bob"), reader.with_adapter("mood").embed("Bob"), atol=1e-5)
        answer, alone = asked.answer("When?", context=LONG), reader.with_adapter("asked").answer("When?", context=LONG)
        assert (answer.text, answer.start) == (alone.text, alone.start)
        (told,) = mood.models()
        assert (told.can, told.adapters, told.labels) == (("embed",), ("mood", "topic", "asked"), {})
        assert told.under["topic"].labels == {"topic": ("sea", "town", "sky")}
        assert [told.under[name].can for name in told.adapters] == [
            ("classify", "embed"),
            ("classify", "embed"),
            ("answer", "embed"),
        ]
        with pytest.raises(ServerError, match=r"The model 'base:asked' cannot classify; it can answer, embed\.") as no:
            asked.classify("a")
        assert (no.value.status, no.value.code) == (422, "cannot")
    with Client(url, adapter="modo") as wrong, pytest.raises(ServerError, match=r"has no adapter 'modo'.*'mood'") as no:
        wrong.classify("a")
    assert (no.value.status, no.value.code) == (404, "unknown_adapter")
    plain = httpx.post(f"{url}/v1/classify", json={"text": "a"}, trust_env=False)
    assert (plain.status_code, plain.json()["error"]["message"]) == (
        422,
        "The model 'base' cannot classify; it can embed.",
    )
