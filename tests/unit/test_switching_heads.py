"""Runs with heads of their own upon one base: each says what it says alone, and the base stays what it was."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from textfer.adapt import make_method
from textfer.adapt.adapted import adapt, lay_changes, weights_digest
from textfer.errors import CheckpointError, ConfigError
from textfer.heads import Head
from textfer.models import load_model
from textfer.models.bert import Bert
from textfer.models.gpt import GPT
from textfer.models.headed import Headed, HeadOptions, with_heads
from textfer.parts import load
from textfer.read import HeadPredictor
from textfer.reader import TextReader
from textfer.tokenizers import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

MOOD = Head(name="mood", kind="class", labels=("bad", "good"), tasks=("mood",))
TOPIC = Head(name="topic", kind="class", labels=("sea", "town", "sky"), tasks=("topic",))
SPAN = Head(name="span", kind="span", tasks=("asked",), threshold=0.0)
TAG = Head(name="tag", kind="tag", labels=("O", "B-who", "I-who"), tasks=("names",))
STARS = Head(name="stars", kind="number", tasks=("stars",))
RUNS: dict[str, tuple[list[Head], dict[str, Any], HeadOptions]] = {
    "mood": ([MOOD], {"name": "lora", "rank": 2, "targets": ["q", "v"]}, HeadOptions()),
    "topic": ([TOPIC, STARS], {"name": "frozen", "train": ["*layers.1.*"]}, HeadOptions(pooling="mean")),
    "asked": ([SPAN], {"name": "adapters", "inner_dim": 3}, HeadOptions()),
    "names": ([TAG], {"name": "features", "cache": False}, HeadOptions(layers="mix", body="mlp", hidden_dim=6)),
}
SHAPES: dict[str, Any] = {
    "bert": (
        Bert,
        {
            "model_dim": 16,
            "ff_dim": 24,
            "num_heads": 2,
            "num_layers": 2,
            "max_positions": 200,
            "dropout": 0.1,
            "pooler": True,
            "next_sentence": True,
        },
    ),
    "gpt": (GPT, {"model_dim": 16, "num_heads": 2, "num_layers": 2, "context_len": 200, "dropout": 0.1}),
}
TEXTS = ["Ann sings in the harbour", "the lamp", "Bob", "a view of the sky over the town"]
CONTEXT = "Ann sings. Bob is at sea."


@pytest.fixture(params=["bert", "gpt"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def changed(base: Path, folder: Path, name: str, *, family: str = "bert", seed: int = 0) -> Path:
    """A run's changes: what training moves is moved at random."""
    heads, section, options = RUNS[name]
    if family == "gpt" and section["name"] == "lora":
        section = {**section, "targets": ["qkv"]}
    torch.manual_seed(seed)
    model = with_heads(load_model(base), heads, options)
    adapted = adapt(model, make_method(section), num_steps=2, seed=seed, base=str(base))
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one, weight in adapted.model.named_parameters():
            if one in adapted.plan.saved:
                weight += 0.3 * torch.randn(weight.shape, generator=draws)
    adapted.save(folder)
    return folder


@pytest.fixture
def base(family: str, tmp_path: Path) -> Path:
    made, options = SHAPES[family]
    torch.manual_seed(1)
    made.make(options, vocab_size=tokenizer().vocab_size).save(tmp_path / "base")
    tokenizer().save(tmp_path / "base")
    return tmp_path / "base"


def tokenizer() -> Any:
    return load_tokenizer("bytes")


@pytest.fixture
def runs(base: Path, family: str, tmp_path: Path) -> dict[str, Path]:
    return {name: changed(base, tmp_path / name, name, family=family, seed=number) for number, name in enumerate(RUNS)}


def alone(base: Path, folder: Path) -> TextReader:
    model = lay_changes(folder, load_model(base)).eval()
    assert isinstance(model, Headed)
    return TextReader(HeadPredictor(model, tokenizer()), "alone")


def asked(reader: Any, name: str, **under: Any) -> Any:
    """What the heads of that run say."""
    if name == "asked":
        found = reader.answer(["Who sings?", "Where is Bob?"], context=CONTEXT, **under)
        return [value for one in found for value in (one.score, one.start or -1, one.end or -1)]
    if name == "names":
        return [len(some) + sum(one.start for one in some) for some in reader.tag(TEXTS, **under)]
    probs = [list(one.probs.values()) for one in reader.classify(TEXTS, **under)]
    return np.concatenate([np.ravel(probs), reader.rate(TEXTS, **under) if name == "topic" else []])


def test_under_each_name_it_says_what_that_run_says(base: Path, runs: dict[str, Path]) -> None:
    reader: Any = load(str(base), adapters=runs)
    assert isinstance(reader, TextReader)
    plain, before = reader.embed(TEXTS), weights_digest(reader.predictor.model)
    for name in [*runs, *reversed(runs)]:
        own = alone(base, runs[name])
        assert asked(reader, name, adapter=name) == pytest.approx(asked(own, name), abs=1e-4)
        np.testing.assert_allclose(reader.embed(TEXTS, adapter=name), own.embed(TEXTS), atol=1e-4)
        assert reader.with_adapter(name).heads == own.heads
        assert np.array_equal(reader.embed(TEXTS), plain), "and leaves nothing behind"
    assert np.abs(reader.embed(TEXTS, adapter="mood") - plain).max() > 0.01
    assert weights_digest(reader.predictor.model) == before
    assert reader.can == ["classify", "rate", "answer", "tag", "embed", "embed_tokens"]
    assert reader.adapters == list(RUNS)


def test_texts_of_one_call_may_name_different_adapters(base: Path, runs: dict[str, Path]) -> None:
    reader: Any = load(str(base), adapters={name: runs[name] for name in ("mood", "topic")})
    names = ["mood", "topic", "mood", "topic"]
    mixed = reader.classify(TEXTS, adapter=names)
    assert [set(one.probs) for one in mixed] == [{"bad", "good"}, {"sea", "town", "sky"}] * 2
    for text, name, one in zip(TEXTS, names, mixed, strict=True):
        assert one.probs == pytest.approx(reader.classify(text, adapter=name).probs, abs=1e-5)
    vectors = reader.embed(TEXTS[:2], adapter=["topic", None])
    np.testing.assert_allclose(vectors, [reader.embed(TEXTS[0], adapter="topic"), reader.embed(TEXTS[1])], atol=1e-5)
    pieces, states = reader.embed_tokens("Bob", adapter="topic")
    assert len(pieces) == len(states)
    assert not np.allclose(states, reader.embed_tokens("Bob", adapter="mood")[1])


def test_the_base_is_in_memory_once(base: Path, runs: dict[str, Path]) -> None:
    reader: Any = load(str(base), adapters=runs)
    own = dict(reader.predictor.model.named_parameters())
    for name in runs:
        changes = reader._switch[name]
        shared = {one: weight for one, weight in changes.model.named_parameters() if one in own}
        assert shared, "the reader's parts"
        assert all(weight is own[one] for one, weight in shared.items())
    assert reader._switch["names"].num_bytes < sum(weight.nbytes for weight in own.values())


@pytest.mark.parametrize("family", ["bert"])
def test_a_base_with_heads_keeps_them(base: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = with_heads(load_model(base), [TOPIC], HeadOptions())
    whole.save(tmp_path / "whole")
    tokenizer().save(tmp_path / "whole")
    reader: Any = load(str(tmp_path / "whole"))
    before = reader.classify(TEXTS)
    reader.add_adapter("mood", changed(tmp_path / "whole", tmp_path / "mood", "mood"))
    own = alone(tmp_path / "whole", tmp_path / "mood")
    assert asked(reader, "mood", adapter="mood") == pytest.approx(asked(own, "mood"), abs=1e-4)
    assert reader.classify(TEXTS) == before
    assert reader.can[0] == "classify"


@pytest.mark.parametrize("family", ["bert"])
def test_threads_take_turns(base: Path, runs: dict[str, Path]) -> None:
    reader: Any = load(str(base), adapters=runs)
    expected = {name: asked(reader, name, adapter=name) for name in runs}
    plain, wrong = reader.embed(TEXTS), []

    def ask(name: str) -> None:
        wrong.extend([name] if list(asked(reader, name, adapter=name)) != list(expected[name]) else [])
        wrong.extend(["base"] if not np.array_equal(reader.embed(TEXTS), plain) else [])

    threads = [threading.Thread(target=ask, args=(name,)) for name in list(runs) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("family", ["bert"])
def test_what_does_not_belong_is_refused_and_leaves_the_base_alone(
    base: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    reader: Any = load(str(base))
    with pytest.raises(ConfigError, match="got 'mood', and the model has none"):
        reader.classify("a", adapter="mood")
    reader.add_adapter("mood", runs["mood"])
    before, plain = asked(reader, "mood", adapter="mood"), reader.embed(TEXTS)
    made, options = SHAPES["bert"]
    torch.manual_seed(9)
    made.make(options, vocab_size=tokenizer().vocab_size).save(tmp_path / "other")
    for folder, words in (
        (changed(tmp_path / "other", tmp_path / "of_other", "topic"), "lies upon other weights"),
        (base, "holds a whole model"),
    ):
        with pytest.raises(CheckpointError, match=words) as caught:
            reader.add_adapter("more", folder)
        assert "\n" not in str(caught.value)
    assert reader.adapters == ["mood"]
    for act, words in (
        (lambda: reader.classify("a", adapter="modo"), r"unknown adapter 'modo'\. Did you mean 'mood'|unknown adapter"),
        (lambda: reader.classify(["a", "b"], adapter=["mood"]), "got 1 names for 2 texts"),
        (lambda: reader.classify("a"), "needs a class head"),
        (lambda: reader.tag("a", adapter="mood"), "needs a tag head.*base with mood has a class head"),
    ):
        with pytest.raises(ConfigError, match=words):
            act()
    assert asked(reader, "mood", adapter="mood") == pytest.approx(before, abs=1e-6)
    assert np.array_equal(reader.embed(TEXTS), plain)


@pytest.mark.parametrize("family", ["gpt"])
def test_a_model_that_writes_takes_no_heads_beside_its_words(base: Path, runs: dict[str, Path]) -> None:
    writer: Any = load(str(base))
    with pytest.raises(CheckpointError, match="holds heads, and this base writes"):
        writer.add_adapter("mood", runs["mood"])
