"""The first command a user runs: on tiny models, in a few steps, with every socket closed."""

from __future__ import annotations

import csv
import json
import re
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import textfer.models.packed as packed
from textfer.display import Terminal
from textfer.errors import CheckpointError
from textfer.heads import Head
from textfer.models import MODELS
from textfer.models.headed import HeadOptions, with_heads
from textfer.quickstart import NEW, SAMPLES, SHOP, run_quickstart

SHORT = ["training.num_steps=4", "training.eval_every=4", "data.limit=40", "eval.limit=10"]
SIZES = {"model_dim": 32, "ff_dim": 64, "num_heads": 2, "num_layers": 1}


@pytest.fixture
def home(vocabulary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a tiny reader and a tiny writer, on a machine that can connect to nothing."""
    from textfer.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(str(vocabulary))
    torch.manual_seed(1)
    bert = MODELS.get("bert").make({**SIZES, "pooler": False, "next_sentence": False}, vocab_size=tokenizer.vocab_size)
    reader = with_heads(bert, [Head(name="span", kind="span", tasks=("squad",), threshold=0.0)], HeadOptions())
    writer = MODELS.get("t5").make({**SIZES, "head_dim": 16}, vocab_size=tokenizer.vocab_size)
    monkeypatch.setattr(packed, "EMBEDDED_DIR", tmp_path / "embedded")
    (tmp_path / "embedded").mkdir()
    for name, model in (("starter-reader", reader), ("starter-t5", writer)):
        model.save(tmp_path / name)
        learnt = {"data": {"squad": "", "rotten_tomatoes": ""}}
        packed.pack_model(tmp_path / name, tmp_path / "embedded" / name, tokenizer=vocabulary, about=learnt)

    def closed(*words: Any, **named: Any) -> None:
        raise AssertionError(f"the network was asked for: {words}")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, closed)
    return tmp_path / "embedded"


def test_quickstart_asks_learns_marks_and_asks_and_again(home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run = tmp_path / "quick"
    for _ in range(2):  # the second time nothing is left to train
        with Terminal(quiet=True) as display:
            assert run_quickstart(run, display=display, say=said.append, overrides=SHORT) == 0
    text = "\n".join(said)
    assert text.count("Question: ") == 8
    assert (text.count("    starter-reader: "), text.count("    starter-t5:     ")) == (8, 8)
    assert text.count("right: no answer") == 2
    assert text.count("rotten_tomatoes text: ") == 2
    assert "banking77" not in text  # which this writer has not learnt
    assert text.count("Held out: 10 messages. The commonest department as the answer to all:  accuracy") == 2
    assert text.count("After 4 steps on other messages, on the same:  accuracy") == 2
    assert all(text.count(message) == 2 for message in NEW)
    assert text.count("Next:\n  textfer ask") == 2
    assert (run / "report.html").read_text().count("<svg") > 0
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 4
    assert steps == sorted(steps)


def test_a_package_without_the_writer(home: Path, tmp_path: Path) -> None:
    (home / "starter-t5" / packed.MANIFEST).unlink()
    said: list[str] = []
    with Terminal(quiet=True) as display:
        assert run_quickstart(tmp_path / "quick", display=display, say=said.append, overrides=SHORT) == 0
    assert "starter-t5" not in "\n".join(said)


def test_a_package_without_models_says_so(home: Path, tmp_path: Path) -> None:
    (home / "starter-reader" / packed.MANIFEST).unlink()
    with (
        Terminal(quiet=True) as display,
        pytest.raises(CheckpointError, match=r"starter-reader: is not in this copy of textfer.*textfer pack runs/"),
    ):
        run_quickstart(tmp_path / "quick", display=display, say=lambda text: None)
    assert not (tmp_path / "quick").exists()


def test_again_begins_anew_and_leaves_other_files_alone(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "quick"
    run.mkdir()
    (run / "mine.txt").write_text("keep")
    with Terminal(quiet=True) as display:
        for overrides in (SHORT, ["seed=2", *SHORT]):  # other settings than before: only anew
            assert run_quickstart(run, display=display, say=lambda text: None, again=True, overrides=overrides) == 0
    assert (run / "mine.txt").exists()
    assert json.loads((run / "recipe.json").read_text())["seed"] == 2


# ---- what it reads


def messages(name: str) -> list[tuple[str, str]]:
    with (SHOP / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["message"], row["department"]) for row in csv.DictReader(file)]


def test_no_sentence_of_the_shop_stands_twice() -> None:
    train, held = messages("train"), messages("validation")
    assert (len(train), len(held)) == (224, 80)
    sentences = Counter(
        re.sub(r"\W+", " ", sentence.lower()).strip()
        for message, _ in (*train, *held, *((text, "") for text in NEW))
        for sentence in re.split(r"(?<=[.!?])\s+", message)
    )
    assert [sentence for sentence, count in sentences.items() if count > 1] == []
    assert set(Counter(department for _, department in train).values()) == {28}
    assert set(Counter(department for _, department in held).values()) == {10}


def test_right_answers_stand_in_the_passages() -> None:
    passages = json.loads((SAMPLES / "passages.json").read_text(encoding="utf-8"))
    asked = [(passage["text"], one["answers"]) for passage in passages for one in passage["questions"]]
    assert len(passages) >= 3
    assert sum(not answers for _, answers in asked) == 1
    assert all(answer in text for text, answers in asked for answer in answers)
