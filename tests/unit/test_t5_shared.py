"""One stack that reads and writes: `share_stacks` is an encoder-decoder whose two stacks are the same parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.adapt.adapted import adapt
from textfer.adapt.choosing import Gradual
from textfer.batch import Batch, Ids, Specials
from textfer.config import build
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError, ConfigError
from textfer.models import load_model
from textfer.models.t5 import T5, T5Options

SMALL = {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 2, "dropout": 0.0}
VOCAB = 40


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shared_model(**values: object) -> T5:
    torch.manual_seed(3)
    return T5(build(T5Options, {**SMALL, "share_stacks": True, **values}, where="model"), VOCAB).eval()


def unshared_twin(model: T5) -> T5:
    """Two stacks that hold the shared one's numbers, each a copy of its own."""
    options = T5Options(**{**model.options.model_dump(), "share_stacks": False})
    twin = T5(options, VOCAB).eval()
    source = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in twin.named_parameters():
            weight.copy_(source[name.replace("encoder.", "decoder.", 1)])
    return twin


def batch() -> Batch:
    draws = np.random.default_rng(0)

    def ids(low: int, high: int) -> np.ndarray:
        return draws.integers(2, VOCAB, draws.integers(low, high)).astype(np.int32)

    rows = [[Ids(ids(30, 50), ids(3, 9)), Ids(ids(1, 9), ids(2, 9))], [Ids(ids(5, 20), ids(2, 9))]]
    return LAYOUTS["encdec"].arrange(rows, Lens(80, 40), Specials(pad=0, eos=1))


def loss(model: T5) -> Tensor:
    states, targets, _ = model.states(batch())
    return F.cross_entropy(F.linear(states, model.readout()[0]), targets, reduction="sum")


@pytest.mark.parametrize("form", ["ragged", "dense"])
def test_a_shared_weight_s_gradient_is_the_sum_of_both_uses(form: str) -> None:
    model = shared_model()
    twin = unshared_twin(model)
    model.attention = twin.attention = form
    ours, theirs = loss(model), loss(twin)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    ours.backward()
    theirs.backward()
    uses: dict[str, list[Tensor]] = {}
    for name, weight in twin.named_parameters():
        uses.setdefault(name.replace("encoder.", "decoder.", 1), []).append(weight.grad)
    assert uses.keys() == {name for name, _ in model.named_parameters()}
    twice = {name for name, parts in uses.items() if len(parts) == 2}
    assert twice == {name for name in uses if name.startswith("decoder.") and ".cross" not in name}
    for name, weight in model.named_parameters():
        expected = torch.stack(uses[name]).sum(0)
        assert (weight.grad - expected).norm() <= 1e-5 * expected.norm(), name


def test_half_of_the_parameters_and_each_of_them_once() -> None:
    """Table 2's P against 2P: besides what the paper does not count, the attention to the encoder and the table."""
    model = shared_model()
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    cross = sum(size for name, size in sizes.items() if ".cross" in name)
    outside = sum(size for name, size in sizes.items() if not name.startswith("decoder."))
    stack = sum(sizes.values()) - cross - outside
    whole = sum(weight.numel() for weight in unshared_twin(model).parameters())
    assert whole == 2 * stack + cross + outside
    assert sizes.keys() == model.state_dict().keys()
    assert not any(name.startswith("encoder") for name in sizes)


def test_depth_and_gradual_unfreezing_name_each_parameter_once() -> None:
    model = shared_model(num_layers=3)
    groups = model.depth()
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert len(groups) == 1 + 3
    adapted = adapt(model, Gradual(), num_steps=9, seed=0, base=None)
    first = adapted.plan.trainable(0)
    assert {name for name in names if name.startswith("decoder.layers.2")} <= first
    assert not any(name.startswith("decoder.layers.1") for name in first)
    assert adapted.plan.trainable(8) == frozenset(names)


def test_the_file_says_it_and_loads_again(tmp_path: Path) -> None:
    model = shared_model(tie_output=True)
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "textfer_t5"
    assert config["share_stacks"] is True
    again = load_model(tmp_path)
    assert again.options == model.options
    assert torch.equal(loss(again.eval()), loss(model))
    config["share_stacks"] = False
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="lacks encoder"):
        load_model(tmp_path)


@torch.no_grad()
def test_cached_steps_say_what_a_full_pass_says() -> None:
    model, seen = shared_model(), batch()
    one = LAYOUTS["encdec"].arrange(
        [[Ids(seen.encoder.ids[1, :12].numpy().astype(np.int32), np.arange(5, 11, dtype=np.int32))]],
        Lens(80, 40),
        Specials(pad=0, eos=1),
    )
    whole = model(one).logits[0]
    cache = model.begin(Batch(encoder=one.encoder))
    for at in range(len(whole)):
        torch.testing.assert_close(model.step(one.decoder.ids[:, at : at + 1], cache)[0], whole[at])


@torch.no_grad()
def test_the_encoder_sees_both_ways() -> None:
    model, side = shared_model(), batch().encoder
    before = model.hidden(Batch(encoder=side))
    side.ids[1, side.runs[-1].end - 1] = 39
    after = model.hidden(Batch(encoder=side))
    assert (after - before)[1, 0].abs().max() > 1e-3, "the first token sees the last"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"arrangement": "prefix"}, "share_stacks goes with arrangement 'encdec', got 'prefix'"),
        ({"num_decoder_layers": 3}, r"num_decoder_layers is 3, expected num_layers \(2\)"),
    ],
)
def test_what_cannot_be_shared_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        shared_model(**values)
