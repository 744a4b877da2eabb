"""Whether an end mark stands between a text and its answer: as the model's own run taught it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import textfer
from textfer.adapt import make_method
from textfer.adapt.adapted import adapt
from textfer.errors import CheckpointError
from textfer.generate import Decoding
from textfer.models import load_model
from textfer.models.gpt import GPT
from textfer.taught import ends_inputs, was_taught_ends
from textfer.tokenizers import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

LM, SPANS = {"name": "lm"}, {"name": "span_corruption"}


@pytest.mark.parametrize(
    ("objective", "tasks", "layout", "ends"),
    [
        (None, ["squad"], "causal", True),
        (LM, ["wikipedia_en"], "causal", False),
        (LM, ["wikipedia_en"], "prefix", False),
        (LM, ["wikipedia_en"], "encdec", True),
        (LM, ["wikipedia_en", "squad"], "causal", True),
        (SPANS, ["wikipedia_en"], "causal", True),
        (LM, ["gone.txt"], "causal", False),
        ({"name": "not_imported"}, ["wikipedia_en"], "causal", False),
    ],
)
def test_what_recipes_teach(objective: dict[str, Any] | None, tasks: list[str], layout: str, ends: bool) -> None:
    assert ends_inputs(objective, tasks, layout) is ends


def run_of(folder: Path, objective: dict[str, Any] | None, tasks: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    values = {"objective": objective, "data": {"tasks": dict.fromkeys(tasks, 1.0)}}
    (folder / "recipe.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


def test_a_model_s_own_recipe_says_it(tmp_path: Path) -> None:
    assert was_taught_ends(str(tmp_path), "encdec"), "a hub's T5"
    assert not was_taught_ends(str(tmp_path), "causal"), "a hub's GPT-2"
    run = run_of(tmp_path / "run", None, ["squad"])
    assert was_taught_ends(str(run), "causal")
    assert was_taught_ends(str(run / "step_00000004"), "causal")
    run_of(run, LM, ["wikipedia_en"])
    assert not was_taught_ends(str(run), "causal")
    (run / "recipe.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is no recipe") as caught:
        was_taught_ends(str(run), "causal")
    assert "\n" not in str(caught.value)


def test_loaded_by_name_and_under_an_adapter_that_was_taught_tasks(tmp_path: Path) -> None:
    torch.manual_seed(1)
    vocabulary = load_tokenizer("bytes")
    shape = {"model_dim": 16, "num_heads": 2, "num_layers": 2, "context_len": 64, "dropout": 0.0}
    base, changes = tmp_path / "base", run_of(tmp_path / "changes", None, ["squad"])
    GPT.make(shape, vocab_size=vocabulary.vocab_size).save(base)
    vocabulary.save(base / "tokenizer")
    adapted = adapt(load_model(base), make_method({"name": "adapters"}), num_steps=1, seed=0, base=str(base))
    adapted.save(changes)
    reader = textfer.load(str(base), adapters={"tasks": changes})
    assert isinstance(reader, textfer.TextToText)
    assert not reader.predictor.ends_inputs
    ends, read = vocabulary.specials.eos, []
    begin = reader.predictor.model.begin

    def remembered(batch: Any) -> Any:
        read.append(ends in batch.decoder.ids.tolist()[0])
        return begin(batch)

    reader.predictor.model.begin = remembered  # type: ignore[method-assign]
    reader.generate(["the lamp", "keys"], decoding=Decoding(max_new_tokens=2), adapter=[None, "tasks"])
    assert read == [False, True]
    assert not reader.predictor.ends_inputs
