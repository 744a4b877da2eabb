"""`textfer embed`: vectors of texts and tokens, from arguments and from stdin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from console import refused

from textfer.models.bert import Bert, BertOptions

pytestmark = pytest.mark.usefixtures("one_thread")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "heron", "fish", "waits"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    folder = tmp_path / "bert"
    Bert(BertOptions(model_dim=8, ff_dim=8, num_heads=2, num_layers=2, max_positions=16), 9).save(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return folder


def numbers(line: str) -> Any:
    return np.array([float(part) for part in line.split()])


def test_vectors_as_lines_and_as_json(call: Any, model: Path) -> None:
    done = call("embed", "the heron waits", "the fish", "--model", model)
    assert done.code == 0, done.err
    first, second = map(numbers, done.out.splitlines())
    assert first.shape == second.shape == (8,)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    found = call("embed", "the heron waits", "the fish", "--model", model, "--json").json
    assert (found["dim"], found["options"]["pooling"]) == (8, "mean")
    assert [one["text"] for one in found["vectors"]] == ["the heron waits", "the fish"]
    np.testing.assert_allclose(found["vectors"][0]["vector"], first, atol=1e-6)
    raw = call("embed", "the fish", "--model", model, "--pooling", "first", "--layers", "0,-1", "--raw", "--json").json
    tokens = call("embed", "the fish", "--model", model, "--tokens", "--layers", "0,-1", "--json").json["texts"][0]
    assert tokens["tokens"] == ["[CLS]", "the", "fish", "[SEP]"]
    np.testing.assert_allclose(raw["vectors"][0]["vector"], tokens["vectors"][0], atol=1e-5)
    lines = call("embed", "the fish", "--model", model, "--tokens").out.splitlines()
    assert [line.partition("\t")[0] for line in lines] == ["[CLS]", "the", "fish", "[SEP]", ""]


def test_lines_of_stdin(call: Any, model: Path) -> None:
    piped = call("embed", "--model", model, stdin="the fish\n\nthe heron\n")
    given = call("embed", "the fish", "", "the heron", "--model", model)
    assert piped.out == given.out
    assert len(piped.out.splitlines()) == 3


def test_what_is_refused(call: Any, model: Path) -> None:
    refused(call("embed", "", "--model", model), 2, "embed: no text. Give some, or lines on stdin.")
    said = "--layers: got 'top', expected numbers with commas between, such as -1,-2."
    refused(call("embed", "x", "--model", model, "--layers", "top"), 2, said)
    said = "embed: layers: got 5, and the model's layers are 0 (the embeddings) to 2."
    refused(call("embed", "x", "--model", model, "--layers", "5"), 2, said)
    said = "--tokens: every token has its own vector; --pooling and --raw cannot take effect. Drop them."
    refused(call("embed", "x", "--model", model, "--tokens", "--raw"), 2, said)
