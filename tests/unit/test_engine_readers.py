"""An engine over readers of each kind: answers, heads, adapters; and text that is told piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from textfer.adapt import make_method
from textfer.adapt.adapted import adapt
from textfer.answer import TextToText
from textfer.embed import EmbedOptions
from textfer.engine import Engine, EngineOptions
from textfer.errors import ConfigError
from textfer.generate import Decoding, Predictor
from textfer.heads import Head
from textfer.models import load_model
from textfer.models.bert import Bert
from textfer.models.headed import HeadOptions, with_heads
from textfer.models.t5 import T5
from textfer.read import HeadPredictor
from textfer.reader import TextReader
from textfer.tokenizers import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

BYTES = load_tokenizer("bytes")
SHORT = Decoding(max_new_tokens=9)
WAIT = 60.0
"""Seconds after which a test has failed."""


def pointer() -> TextReader:
    """A random BERT that finds answers and names classes."""
    torch.manual_seed(2)
    shape = {"model_dim": 16, "ff_dim": 16, "num_heads": 2, "num_layers": 1, "max_positions": 64, "dropout": 0.0}
    heads = [
        Head(name="class", kind="class", labels=("bad", "good", "so so"), tasks=("reviews",)),
        Head(name="span", kind="span", tasks=("questions",), threshold=0.0, max_len=48),
    ]
    made = with_heads(Bert.make(shape, vocab_size=BYTES.vocab_size), heads, HeadOptions(dropout=0.0))
    with torch.no_grad():
        for name, weight in made.own_parameters():
            weight.normal_(std=0.5) if "heads" in name else weight
    return TextReader(HeadPredictor(made.eval(), BYTES), "pointer", rule=EmbedOptions())


def bytes_writer() -> TextToText:
    torch.manual_seed(1)
    shape = {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 2, "dropout": 0.0}
    return TextToText(Predictor(T5.make(shape, vocab_size=BYTES.vocab_size).eval(), BYTES), "bytes")


@pytest.mark.parametrize("way", [None, SHORT, Decoding(max_new_tokens=5, beams=2)], ids=["none", "greedy", "beams"])
def test_answers_are_those_of_the_reader(way: Decoding | None) -> None:
    reader, long = bytes_writer(), "Anna Hall lives in Rome. " * 30
    wishes = [("Who?", "Anna Hall."), ("Where does she live?", long), ("When?", None), ("Who?", "Anna Hall.")]
    with Engine(reader) as engine:
        tickets = [engine.answer(question, context, decoding=way) for question, context in wishes]
        for ticket, (question, context) in zip(tickets, wishes, strict=True):
            alone = reader.answer(question, context=context, decoding=way)
            answer = ticket.result(WAIT)
            assert (answer.text, answer.start, answer.evidence) == (alone.text, alone.start, alone.evidence)
            assert answer.score == pytest.approx(alone.score, abs=1e-4)


def test_a_model_with_heads() -> None:
    reader, long = pointer(), "Aldon lies on a hill. " * 9 + "The mill burnt down in 1203."
    with Engine(reader, EngineOptions(max_batch_tokens=200)) as engine:
        asked = [("When?", long), ("Who?", "Maud Hale."), ("What burnt down?", long)]
        tickets = [engine.answer(question, context) for question, context in asked]
        for ticket, (question, context) in zip(tickets, asked, strict=True):
            alone, answer = reader.answer(question, context=context), ticket.result(WAIT)
            assert (answer.text, answer.start) == (alone.text, alone.start)
        for text in ("fine", "not so fine"):
            assert engine.classify(text).result(WAIT).probs == pytest.approx(reader.classify(text).probs, abs=1e-5)
            np.testing.assert_allclose(engine.embed(text).result(WAIT), reader.embed(text), atol=1e-5)
        for ticket, message in (
            (engine.generate("a"), "reads and writes nothing"),
            (engine.answer("Who?"), "no context"),
            (engine.answer("Who?", " "), "the context is empty"),
            (engine.classify("a", ["b", "c"]), "choices cannot take effect"),
            (engine.embed("a", adapter="x"), "got 'x', and the model has none"),
        ):
            with pytest.raises(ConfigError, match=message):
                ticket.result(WAIT)
        assert engine.load["num_failed"] == 5


@pytest.fixture
def adapted(tmp_path: Path) -> TextToText:
    """A base with two runs' changes, moved at random."""
    reader = bytes_writer()
    reader.predictor.model.save(tmp_path / "base")
    for seed, section in enumerate([{"name": "lora", "rank": 2}, {"name": "soft_prompt", "num_vectors": 4}]):
        made = adapt(load_model(tmp_path / "base"), make_method(section), num_steps=2, seed=seed, base="base")
        with torch.no_grad():
            for name, weight in made.model.named_parameters():
                if name in made.plan.saved:
                    weight += 0.5 * torch.randn(weight.shape)
        made.save(tmp_path / section["name"])
        reader.add_adapter(str(section["name"]), tmp_path / str(section["name"]))
    return reader


def test_adapters_are_written_side_by_side(adapted: TextToText) -> None:
    names = [None, "lora", "soft_prompt", "lora", None, "soft_prompt"]
    with Engine(adapted, EngineOptions(slots=4)) as engine:
        tickets = [engine.generate(f"text {at}", SHORT, adapter=name) for at, name in enumerate(names * 2)]
        ranked = [engine.classify("some text", ["a", "bc"], adapter=name) for name in names]
        unknown = engine.generate("text", SHORT, adapter="lore")
        made = [ticket.result(WAIT).text for ticket in tickets]
        shares = [ticket.result(WAIT).log_probs for ticket in ranked]
        with pytest.raises(ConfigError, match=r"unknown adapter 'lore'. Did you mean 'lora'"):
            unknown.result(WAIT)
    alone = [adapted.generate(f"text {at}", decoding=SHORT, adapter=name) for at, name in enumerate(names * 2)]
    assert made == alone
    for name, some in zip(names, shares, strict=True):
        wanted = adapted.classify("some text", choices=["a", "bc"], adapter=name).log_probs
        assert some == pytest.approx(wanted, abs=1e-4)
    assert len({shares[at] for at in range(3)}) == 3, "the adapters should say different things"
