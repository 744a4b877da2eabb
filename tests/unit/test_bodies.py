"""What stands between a reader and heads: layers chosen or mixed, small networks; heads learn through all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from textfer.adapt import make_method
from textfer.adapt.adapted import adapt
from textfer.batch import Batch, Ids, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import ConfigError
from textfer.heads import Head
from textfer.models import MODELS, load_model
from textfer.models.bodies import BiLstm, Mlp, Runs, num_layers_of
from textfer.models.headed import Headed, HeadOptions, with_heads
from textfer.training.loss import loss_of

pytestmark = pytest.mark.usefixtures("one_thread")

BERT = {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "max_positions": 32, "dropout": 0.0}
HEADS = [
    Head(name="kind", kind="class", labels=("x", "y", "z")),
    Head(name="tag", kind="tag", labels=("O", "B")),
    Head(name="span", kind="span"),
]
NOTHING = np.zeros(0, np.int32)
CLOSE = 1e-6


def reader() -> Any:
    torch.manual_seed(1)
    return MODELS.get("bert").make(BERT, vocab_size=40)


def headed(**options: Any) -> Headed:
    model = reader()
    torch.manual_seed(2)
    return Headed(model, HEADS, HeadOptions(**{"dropout": 0.0, **options}))


def example(seed: int, length: int) -> Ids:
    draws = np.random.default_rng(seed)
    told = {
        "kind": seed % 3,
        "tag": draws.integers(0, 2, length).astype(np.int32),
        "span.start": 0,
        "span.end": length - 1,
    }
    return Ids(draws.integers(4, 40, length).astype(np.int32), NOTHING, heads=told)


def batch(*rows: list[Ids]) -> Batch:
    return LAYOUTS["pair"].arrange(rows, Lens(24, 1), Specials(pad=0, eos=1, cls=2, sep=3))


def said(model: Headed, rows: Batch) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(model.eval()(rows).heads)


BODIES: list[dict[str, Any]] = [
    {"body": "mlp", "hidden_dim": 6},
    {"body": "bilstm", "hidden_dim": 5},
    {"layers": "mix"},
    {"layers": (-1, 0)},
    {"layers": "mix", "body": "bilstm", "hidden_dim": 5, "pooling": "mean"},
]


@pytest.mark.parametrize("options", BODIES, ids=str)
def test_what_is_said_does_not_depend_on_what_stands_beside(options: dict[str, Any]) -> None:
    model, texts = headed(**options), [example(0, 5), example(1, 2), example(2, 9)]
    together = said(model, batch([texts[0], texts[1]], [texts[2]]))
    for number, text in enumerate(texts):
        alone = said(model, batch([text]))
        torch.testing.assert_close(together["kind"][number], alone["kind"][0], rtol=CLOSE, atol=CLOSE)
        row, start = ((0, 0), (0, 5), (1, 0))[number]
        length = len(text.inputs)
        tags = together["tag"][row, start : start + length]
        torch.testing.assert_close(tags, alone["tag"][0], rtol=CLOSE, atol=CLOSE)
        torch.testing.assert_close(
            together["span.start"][number, :length], alone["span.start"][0], rtol=CLOSE, atol=CLOSE
        )


@pytest.mark.parametrize("options", BODIES, ids=str)
def test_everything_learns_and_comes_back_from_a_file(options: dict[str, Any], tmp_path: Path) -> None:
    model, rows = headed(**options), batch([example(0, 5), example(1, 4)], [example(2, 9)])
    loss_of(model, rows).sum.backward()
    still = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert {name for name in still if not name.endswith(("attention.k.bias",))} == set()
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert isinstance(loaded, Headed)
    assert loaded.options == model.options
    for one, other in zip(said(model, rows).values(), said(loaded, rows).values(), strict=True):
        assert torch.equal(one, other)
    again = with_heads(loaded, HEADS, None)
    assert torch.equal(said(again, rows)["kind"], said(model, rows)["kind"])


def test_layers_side_by_side_are_those_layers() -> None:
    model, rows = headed(layers=(-1, 0)), batch([example(0, 5)])
    layers = model.base.layer_states(rows)  # type: ignore[attr-defined]
    with torch.no_grad():
        assert torch.equal(model.chosen(model.chosen.read(model.base, rows)), torch.cat([layers[2], layers[0]], -1))
    assert num_layers_of(model.reader) == 3
    assert headed(layers="mix").chosen.dim == 16


def test_a_mix_begins_as_the_mean() -> None:
    model, rows = headed(layers="mix"), batch([example(0, 5)])
    layers = model.base.layer_states(rows)  # type: ignore[attr-defined]
    seen = model(rows).hidden
    assert seen is not None
    torch.testing.assert_close(seen, torch.stack(layers).mean(0))


def test_the_bilstm_is_torch_s_own() -> None:
    """Of two runs of one row, each by itself."""
    torch.manual_seed(0)
    body = BiLstm(4, 3, dropout=0.0)
    oracle = nn.LSTM(4, 3, num_layers=2, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for number, sides in enumerate(body.layers):
            for side, suffix in zip(sides, ("", "_reverse"), strict=True):  # type: ignore[call-overload]
                for ours, theirs in ((side.wi.weight, "weight_ih"), (side.wh, "weight_hh"), (side.wi.bias, "bias_ih")):
                    first, forget, output, new = ours.chunk(4)
                    turned = torch.cat([first, forget, new, output])
                    oracle.get_parameter(f"{theirs}_l{number}{suffix}").copy_(turned)
                oracle.get_parameter(f"bias_hh_l{number}{suffix}").zero_()
    rows = batch([example(0, 5), example(1, 2)])
    assert rows.encoder is not None
    x = torch.randn(1, 7, 4)
    expected = torch.cat([oracle(x[:, :5])[0], oracle(x[:, 5:])[0]], 1)
    torch.testing.assert_close(body(x, Runs.of(rows.encoder)), expected, rtol=1e-5, atol=1e-6)


def test_a_body_stands_after_pooling_or_before() -> None:
    model, rows = headed(body="mlp", hidden_dim=6, pooling="mean"), batch([example(0, 5)])
    with torch.no_grad():
        states = model.base.hidden(rows)[0].mean(0)
        assert isinstance(model.body, Mlp)
        expected = model.heads["kind"](model.body(states))
    torch.testing.assert_close(said(model, rows)["kind"][0], expected)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"layers": (3,)}, "head.layers: got 3, and the model's layers are 0 (the embeddings) to 2."),
        ({"layers": (-4,)}, "head.layers: got -4, and the model's layers are 0 (the embeddings) to 2."),
        (
            {"layers": (2, -1)},
            "head.layers: got [2, -1], expected layers, each once. 0 = the embeddings, -1 = the top.",
        ),
        ({"layers": ()}, "head.layers: got [], expected layers, each once. 0 = the embeddings, -1 = the top."),
    ],
)
def test_layers_that_are_not_there(options: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        headed(**options)
    assert str(caught.value) == line


@pytest.mark.parametrize("options", [{"hidden_dim": 5}, {"lm_weight": 0.5, "layers": "mix"}])
def test_options_without_effect_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="cannot take effect"):
        HeadOptions(**options)


def test_dropout_rests_in_use() -> None:
    model, rows = headed(body="bilstm", dropout=0.5), batch([example(0, 5)])
    assert torch.equal(said(model, rows)["kind"], said(model, rows)["kind"])
    model.train()
    with torch.no_grad():
        assert not torch.equal(model(rows).heads["kind"], model(rows).heads["kind"])
    assert isinstance(model.body, nn.Module)


def test_lora_stands_beside_the_reader_s_products_alone() -> None:
    model = headed(body="bilstm", hidden_dim=5)
    adapted = adapt(model, make_method({"name": "lora", "rank": 2, "targets": ["wi"]}), num_steps=1, seed=0, base="b")
    pairs = {name for name, _ in model.named_parameters() if ".lora." in name}
    assert pairs
    assert all(name.startswith("reader.") for name in pairs)
    assert adapted.plan.saved == pairs | {name for name, _ in model.own_parameters()}
