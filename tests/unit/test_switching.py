"""Several runs' changes on one base: what is put on says what that run says, and the base stays what it was."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from textfer.adapt import make_method
from textfer.adapt.adapted import adapt, begin_changes, fill_changes, lay_changes, weights_digest
from textfer.adapt.switching import Switch
from textfer.answer import TextToText
from textfer.errors import CheckpointError, ConfigError
from textfer.generate import Decoding, Predictor
from textfer.models import load_model
from textfer.models.gpt import GPT
from textfer.models.t5 import T5
from textfer.testing.models import said, trial_batch, trial_examples
from textfer.tokenizers import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS: dict[str, dict[str, Any]] = {
    "qv": {"name": "lora", "rank": 2},
    "all": {"name": "lora", "rank": 3, "targets": ["q", "wi", "wo"]},
    "blocks": {"name": "adapters", "inner_dim": 3},
    "prompt": {"name": "soft_prompt", "num_vectors": 4},
    "norms": {"name": "frozen", "train": ["*norm.weight", "decoder.layers.1.*"]},
}
FAMILIES = {
    "t5": (T5, {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 2, "dropout": 0.1}),
    "gpt": (GPT, {"model_dim": 16, "num_heads": 2, "num_layers": 2, "context_len": 200, "dropout": 0.1}),
}
FOR_GPT = {
    "qkv": {"name": "lora", "rank": 2, "targets": ["qkv"]},
    "blocks": METHODS["blocks"],
    "layer": {"name": "frozen", "train": ["layers.1.*"]},
}
TEXTS = ["the lamp", "a view of the harbour", "keys", "who leaves the door"]


def base_of(folder: Path, family: str = "t5", *, seed: int = 1) -> Path:
    made, options = FAMILIES[family]
    torch.manual_seed(seed)
    made.make(options, vocab_size=load_tokenizer("bytes").vocab_size).save(folder)
    return folder


def changed(base: Path, folder: Path, section: dict[str, Any], *, seed: int) -> Path:
    """A run's changes: what training moves is moved at random."""
    adapted = adapt(load_model(base), make_method(section), num_steps=2, seed=seed, base=str(base))
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in adapted.model.named_parameters():
            if name in adapted.plan.saved:
                weight += 0.3 * torch.randn(weight.shape, generator=draws)
    adapted.save(folder)
    return folder


@pytest.fixture(params=["t5", "gpt"])
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def base(family: str, tmp_path: Path) -> Path:
    return base_of(tmp_path / "base", family)


@pytest.fixture
def runs(base: Path, family: str, tmp_path: Path) -> dict[str, Path]:
    sections = METHODS if family == "t5" else FOR_GPT
    return {
        name: changed(base, tmp_path / name, section, seed=number)
        for number, (name, section) in enumerate(sections.items())
    }


def reader_of(base: Path, runs: dict[str, Path]) -> TextToText:
    model: Any = load_model(base).eval()
    model.lay_for_generation()
    reader = TextToText(Predictor(model, load_tokenizer("bytes")), "base")
    for name, folder in runs.items():
        reader.add_adapter(name, folder)
    return reader


def outputs(model: Any) -> Tensor:
    return said(model, trial_batch(model, [trial_examples(model, {})]))


def test_under_each_name_the_model_says_what_that_run_says(base: Path, runs: dict[str, Path]) -> None:
    model: Any = load_model(base).eval()
    plain, before = outputs(model), weights_digest(model)
    switch = Switch(model)
    for name, folder in runs.items():
        switch.add(name, folder)
    assert torch.equal(outputs(model), plain), "adding changes nothing"
    for name in [*runs, *reversed(runs)]:
        alone: Any = load_model(base).eval()
        _, tensors, saved = begin_changes(runs[name], alone, before)
        fill_changes(runs[name], alone, tensors, saved)
        with switch.on(name):
            now = outputs(model)
        assert torch.equal(now, outputs(alone.eval()))
        folded = outputs(lay_changes(runs[name], load_model(base)).eval())
        assert (now - folded).abs().max() <= 1e-5 * folded.abs().max(), "LoRA folded into the weights: rounding"
        assert (now - plain).abs().max() > 0.01
        assert torch.equal(outputs(model), plain), "and leaves nothing behind"
    assert weights_digest(model) == before


def test_texts_of_one_batch_may_name_different_adapters(base: Path, runs: dict[str, Path]) -> None:
    reader = reader_of(base, runs)
    short = Decoding(max_new_tokens=6)
    names = [None, *list(runs)[:2], None]
    mixed = reader.generate(TEXTS, decoding=short, adapter=names)
    alone = [reader.generate(text, decoding=short, adapter=name) for text, name in zip(TEXTS, names, strict=True)]
    assert mixed == alone
    assert mixed[0] == reader.generate(TEXTS[0], decoding=short)
    scores = reader.score(TEXTS, [["ab", "c"]] * len(TEXTS), adapter=names)
    for number, name in enumerate(names):
        assert scores[number] == pytest.approx(reader.score(TEXTS[number], ["ab", "c"], adapter=name), abs=1e-4)
    ranked = reader.classify(TEXTS, choices=["ab", "c"], adapter=names)
    assert ranked[1].log_probs == pytest.approx(scores[1], abs=1e-4)
    answers = reader.answer(["Who?", "Who?"], context="Ann sings.", decoding=short, adapter=[None, next(iter(runs))])
    assert answers[0] == reader.answer("Who?", context="Ann sings.", decoding=short)
    assert answers[0] != answers[1]


def test_the_base_is_in_memory_once(base: Path, runs: dict[str, Path]) -> None:
    model: Any = load_model(base).eval()
    whole = sum(weight.nbytes for weight in model.parameters())
    places = {name: weight.data_ptr() for name, weight in model.named_parameters()}
    switch = Switch(model)
    for name, folder in runs.items():
        switch.add(name, folder)
        saved = sum(one.nbytes for one in file_numbers(folder))
        assert switch[name].num_bytes == saved, "each adapter costs what its file holds"
        assert saved < whole / 2
        with switch.on(name):
            others = {one: part.data_ptr() for one, part in model.named_parameters() if one in places}
            changed = switch[name].changed.keys()
            assert {one for one, place in others.items() if place != places[one]} == changed
    assert sum(weight.nbytes for weight in model.parameters()) == whole


def file_numbers(folder: Path) -> list[Tensor]:
    from safetensors.torch import load_file

    return list(load_file(folder / "adapter_model.safetensors").values())


def test_threads_take_turns(base: Path, runs: dict[str, Path]) -> None:
    reader = reader_of(base, runs)
    names = [None, *runs] * 3
    short = Decoding(max_new_tokens=5)
    alone = {name: reader.generate(TEXTS, decoding=short, adapter=name) for name in {*names}}
    found: list[tuple[str | None, list[str]]] = []

    def ask(name: str | None) -> None:
        found.append((name, reader.generate(TEXTS, decoding=short, adapter=name)))

    threads = [threading.Thread(target=ask, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(names)
    assert all(said == alone[name] for name, said in found)


@pytest.mark.parametrize("family", ["t5"])
def test_what_does_not_belong_is_refused_and_leaves_the_base_alone(
    base: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    reader = reader_of(base, runs)
    before = reader.generate(TEXTS)
    other = changed(base_of(tmp_path / "other", seed=2), tmp_path / "of_other", METHODS["norms"], seed=0)
    damaged = changed(base, tmp_path / "damaged", METHODS["blocks"], seed=0)
    (damaged / "adapter_model.safetensors").write_bytes((other / "adapter_model.safetensors").read_bytes())
    for folder, words in (
        (other, "lies upon other weights"),
        (tmp_path / "base", "holds a whole model"),
        (damaged, "lacks"),
    ):
        with pytest.raises(CheckpointError, match=words) as caught:
            reader.add_adapter("more", folder)
        assert "\n" not in str(caught.value)
        assert reader.adapters == list(runs)
        assert reader.generate(TEXTS) == before
    with pytest.raises(ConfigError, match="the name 'qv' is taken"):
        reader.add_adapter("qv", runs["qv"])
    with pytest.raises(ConfigError, match=r"unknown adapter 'vq'\. Known: all, blocks"):
        reader.generate("the lamp", adapter="vq")
    with pytest.raises(ConfigError, match="got 1 names for 2 texts"):
        reader.generate(["a", "b"], adapter=["qv"])
    with pytest.raises(ConfigError, match="got 'qv', and the model has none"):
        reader_of(base, {}).generate("a", adapter="qv")
    merged = lay_changes(runs["blocks"], load_model(base))
    with pytest.raises(ConfigError, match="expected whole weights"):
        Switch(merged)


def test_an_error_within_takes_the_changes_off(base: Path, runs: dict[str, Path]) -> None:
    model: Any = load_model(base).eval()
    plain, switch = outputs(model), Switch(model)
    name, folder = next(iter(runs.items()))
    switch.add(name, folder)
    with pytest.raises(RuntimeError, match="left"), switch.on(name):
        raise RuntimeError("left")
    assert torch.equal(outputs(model), plain)
