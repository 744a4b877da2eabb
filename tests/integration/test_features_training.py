"""Features through the command line: a reader that stands still, CBOW among them, and heads with bodies upon it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from console import refused, write
from safetensors.torch import load_file
from toys import TOYS, toy_recipe, toys

import textfer
from textfer.evaluate import load_examples
from textfer.models.bert import Bert
from textfer.training.checkpoint import Run

pytestmark = pytest.mark.usefixtures("one_thread")

BERT = {"model_dim": 32, "ff_dim": 48, "num_heads": 2, "num_layers": 2, "max_positions": 40, "dropout": 0.1}


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    with toys():
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """Never trained, with embeddings large enough to tell words apart."""
    toy_recipe("class", tmp_path)
    torch.manual_seed(1)
    model = Bert.make(BERT, vocab_size=24)
    with torch.no_grad():
        model.embedding.weight.mul_(20)
    model.save(tmp_path / "bert")
    write(tmp_path / "bert" / "vocab.txt", (tmp_path / "vocab.txt").read_text(encoding="utf-8"))
    return tmp_path / "bert"


def recipe_from(base: Path, kind: str) -> Path:
    """The toy recipe of a kind, begun from a folder."""
    text = toy_recipe(kind, base.parent).read_text(encoding="utf-8")
    start, end = text.index("[model]"), text.index("[data]")
    return write(base.parent / f"from_{kind}.toml", f'init = "{base}"\n' + text[:start] + text[end:])


@pytest.mark.parametrize(
    ("kind", "words", "least"),
    [
        ("class", ["head.pooling=mean"], 95),
        ("tag", ["head.body=bilstm", "head.hidden_dim=16", "head.layers=mix"], 75),
        ("class", ["head.body=mlp", "head.pooling=mean", "head.layers=[-1, 0]", "method.cache=false"], 95),
    ],
)
def test_heads_learn_from_a_reader_that_stands_still(
    kind: str, words: list[str], least: float, bert: Path, cache: Path, tmp_path: Path, call: Any
) -> None:
    run = tmp_path / "run"
    words = ["method.name=features", "training.num_steps=60", "training.optimizer.lr=0.02", *words]
    made = call("train", recipe_from(bert, kind), "--run", run, "--quiet", *words)
    assert made.code == 0, made.err
    done = call("eval", run, "--task", TOYS[kind].name, "--resamples", "0", "--json")
    assert done.code == 0, done.err
    assert next(iter(done.json.values())) >= least
    folder = Run(run).at(60)
    assert load_file(folder / "adapter_model.safetensors") == {}
    assert (folder / "heads.safetensors").exists()
    assert cache.exists() is ("method.cache=false" not in words)


def test_word_vectors_are_a_model_like_others(bert: Path, tmp_path: Path, call: Any) -> None:
    text = write(tmp_path / "text.txt", "\n".join(one.inputs for one in load_examples(TOYS["class"], "train")))
    cbow = tmp_path / "cbow"
    made = call("vectors", "train", cbow, "--task", text, "--tokenizer", tmp_path / "vocab.txt", "--set", "dim=16")
    assert made.code == 0, made.err
    recipe, run = recipe_from(cbow, "class"), tmp_path / "run"
    made = call("train", recipe, "--run", run, "--quiet", "training.optimizer.lr=0.05")
    assert made.code == 0, made.err
    done = call("eval", run, "--task", "toy_class", "--resamples", "0", "--json").json
    assert next(iter(done.values())) >= 95
    reader = textfer.load(str(run))
    assert reader.embed(["mara walks to the mill .", "odo ?"]).shape == (2, 16)
    assert set(load_file(Run(run).best() / "model.safetensors")) == {"embedding.weight"}

    plain = ("data.tasks=['" + str(text) + "']", "objective.name=masked_lm", "eval.tasks=[]")
    refused(
        call("train", recipe, "--run", tmp_path / "other", *plain),
        2,
        "objective: its targets are in place, and the answers of this model are by heads. Name tasks for them; "
        "`textfer vectors train --tokenizer` learns the vectors of a cbow.",
    )
