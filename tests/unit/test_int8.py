"""Products with int8 weights: near the learnt numbers, the same on every machine, row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import textfer
from textfer.adapt.switching import Switch
from textfer.batch import Ids
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import ConfigError
from textfer.heads import Head
from textfer.models import int8
from textfer.models.bert import Bert
from textfer.models.gpt import GPT
from textfer.models.headed import Headed
from textfer.models.int8 import FULL, Int8Linear, Int8Table, holds_int8, lay_int8, num_weights, quantised
from textfer.models.layers import BiasedLinear, Linear, Table
from textfer.models.t5 import T5
from textfer.tokenizers import load_tokenizer

SHAPE = {"model_dim": 32, "ff_dim": 48, "head_dim": 8, "num_heads": 4, "num_layers": 2, "dropout": 0.0}


@pytest.fixture(params=["here", "float32"])
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """This machine's products, and what stands in for them where there are none."""
    if request.param == "float32":
        monkeypatch.setattr(int8, "steps", lambda: 0)
    elif not int8.steps():
        pytest.skip("torch has no int8 products here")
    return int8.steps()


def filled(layer: Any) -> Any:
    with torch.no_grad():
        for weight in layer.parameters():
            weight.normal_()
    return layer


def by_hand(x: Tensor, weight: Tensor, steps: int) -> Tensor:
    """The same product in float64, written down from its definition."""
    whole, scales = quantised(weight)
    size = x.abs().amax(-1, keepdim=True).clamp_min(1e-30).double()
    told = (x / size * steps).round() * size / steps
    return told @ (whole.double() * scales.double()[:, None]).t()


def test_weights_are_the_nearest_whole_numbers() -> None:
    weight = torch.tensor([[-2.54, 1.0, 0.011], [0.0, 0.0, 0.0]])
    whole, scales = quantised(weight)
    assert whole.tolist() == [[-127, 50, 1], [0, 0, 0]]
    assert scales[0].item() == pytest.approx(0.02)


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (1, 1), (2, 1, 3)])
@pytest.mark.usefixtures("one_thread")
def test_the_product_is_that_of_its_definition(shape: tuple[int, ...], steps: int) -> None:
    torch.manual_seed(0)
    parts = [filled(BiasedLinear(24, width)) for width in (40, 8)]
    layer = Int8Linear(parts)
    x = torch.randn(*shape, 24) * torch.rand(*shape, 1) * 100
    for made, part in zip(layer.split(x), parts, strict=True):
        exact = by_hand(x, part.weight, steps or FULL) + part.bias.double()
        torch.testing.assert_close(made.double(), exact, rtol=1e-4, atol=1e-2)
        near = x.double() @ part.weight.double().t() + part.bias.double()
        assert (made - near).norm() < 0.02 * near.norm()


@pytest.mark.usefixtures("one_thread")
def test_a_row_does_not_depend_on_the_others(steps: int) -> None:
    torch.manual_seed(0)
    layer = Int8Linear([filled(Linear(64, 16))])
    x = torch.randn(6, 64) * torch.tensor([1e-3, 1.0, 1e3, 0.0, 5.0, 1e-6])[:, None]
    whole = layer(x)
    assert torch.equal(whole[3], torch.zeros(16))
    for row in range(6):
        torch.testing.assert_close(layer(x[row : row + 1])[0], whole[row], rtol=1e-5, atol=1e-5 * float(x[row].norm()))
        assert torch.equal(layer(x[[row, 2]])[0], whole[row])
    x[1] = torch.nan
    assert layer(x)[1].isnan().all()
    assert torch.equal(layer(x)[0], whole[0])
    assert layer(x[1:2]).isnan().all()


def test_rows_of_a_table() -> None:
    torch.manual_seed(0)
    table = filled(Table(10, 64))
    ids = torch.tensor([[3, 9], [0, 3]])
    near = table(ids)
    assert (Int8Table(table)(ids) - near).abs().max() <= near.abs().max() / FULL / 2 * 1.001


def rows(*lens: int) -> Any:
    """A batch for generation: rows of these lengths."""
    torch.manual_seed(1)
    ids = [torch.randint(3, 60, (length,)).numpy().astype("int32") for length in lens]
    tokenizer = load_tokenizer("bytes")
    one = torch.zeros(1, dtype=torch.int32).numpy()
    batch = LAYOUTS["encdec"].arrange([[Ids(some, one)] for some in ids], Lens(max(lens), 1), tokenizer.specials)
    return type(batch)(encoder=batch.encoder)


@pytest.mark.parametrize("options", [{}, {"tie_output": True, "feed_forward": "relu"}, {"share_stacks": True}])
@pytest.mark.usefixtures("one_thread", "steps")
def test_a_t5_writes_nearly_the_same(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = T5.make({**SHAPE, **options}, vocab_size=64).eval()
    batch = rows(9, 4, 7)
    written = torch.randint(3, 60, (3, 5))
    with torch.inference_mode():
        near = model.follow(written, model.begin(batch))
        count = num_weights(model)
        lay_int8(model)
        cache = model.begin(batch)
        made = model.follow(written, cache)
        cache = model.begin(batch)
        steps = torch.stack([model.step(written[:, at : at + 1], cache) for at in range(5)], 1)
    assert holds_int8(model)
    assert num_weights(model) == count
    assert not any(weight.requires_grad or weight.dim() > 1 for weight in model.decoder.layers.parameters())
    torch.testing.assert_close(steps, made, rtol=1e-3, atol=1e-3)
    assert 0 < (made - near).norm() < 0.1 * near.norm()
    model.lay_for_generation()  # nothing is left to lay


@pytest.mark.usefixtures("one_thread", "steps")
def test_a_reader_says_nearly_the_same() -> None:
    torch.manual_seed(0)
    bert = Bert.make({"model_dim": 32, "ff_dim": 64, "num_heads": 2, "num_layers": 2, "dropout": 0.0}, vocab_size=64)
    model = Headed(bert, [Head(name="span", kind="span", tasks=("squad",))]).eval()
    encoder = rows(9, 4, 7).encoder
    batch = type(rows(3))(encoder=encoder)
    with torch.inference_mode():
        near = bert.hidden(batch)
        count = num_weights(model)
        lay_int8(model)
        made = bert.hidden(batch)
    assert num_weights(model) == count
    assert isinstance(bert.layers[0].attention.joined, Int8Linear)
    assert 0 < (made - near).norm() < 0.1 * near.norm()


def test_what_cannot_be_laid_is_refused() -> None:
    model = T5.make(SHAPE, vocab_size=64)
    model.decoder.layers[0].adapter = torch.nn.Linear(4, 4)
    with pytest.raises(ConfigError, match=r"^weights: int8 takes whole weights, and 'decoder.layers.0.adapter.weight'"):
        lay_int8(model)
    with pytest.raises(ConfigError, match=r"^weights: int8 serves T5 and BERT, got a GPT\. Drop it\.$"):
        lay_int8(GPT.make({"model_dim": 16, "num_heads": 2, "num_layers": 1}, vocab_size=64))
    model = T5.make(SHAPE, vocab_size=64)
    lay_int8(model)
    with pytest.raises(ConfigError, match=r"^adapters: the base has int8 weights"):
        Switch(model)


@pytest.mark.usefixtures("one_thread")
def test_a_model_is_loaded_in_int8(vocabulary: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = load_tokenizer(vocabulary)
    T5.make(SHAPE, vocab_size=tokenizer.vocab_size).save(tmp_path)
    tokenizer.save(tmp_path)
    plain, small = textfer.load(str(tmp_path)), textfer.load(str(tmp_path), weights="int8")
    assert holds_int8(small.predictor.model)
    assert not holds_int8(plain.predictor.model)
    assert repr(small) == repr(plain)
    targets = ["Anna", "the river", "in 1950"]
    wanted = plain.score("Who ?", targets)
    assert small.score("Who ?", targets) == pytest.approx(wanted, rel=0.02)
    assert isinstance(small.generate("Who ?", decoding=textfer.Decoding(max_new_tokens=3)), str)
    with pytest.raises(ConfigError, match=r"^weights: int8 takes no adapters\."):
        textfer.load(str(tmp_path), weights="int8", adapters={"mine": tmp_path})
    with pytest.raises(ConfigError, match=r"^weights: got 'int4', expected one of float32, int8\.$"):
        textfer.load(str(tmp_path), weights="int4")  # type: ignore[arg-type]
