"""What every model that reads must keep to: the states of a text are its own, wherever it stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textfer.batch import Batch, Ids, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.models import MODELS, Model
from textfer.models.headed import width_of

VOCAB = 40
LENS = (5, 2, 8, 1)
CLOSE = 1e-5
READERS: dict[str, dict[str, Any]] = {
    "t5": {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 2, "num_layers": 2, "num_decoder_layers": 3},
    "t5 shared": {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 2, "num_layers": 2, "share_stacks": True},
    "t5 causal": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "arrangement": "causal"},
    "t5 prefix": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "arrangement": "prefix"},
    "gpt": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "context_len": 32},
    "bert": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "max_positions": 32},
}
"""A family, and what makes it small. One that is not listed is tried as it comes."""
NAMES = [*READERS, *(name for name in MODELS.names() if name not in READERS)]
BLIND = {"t5 causal", "gpt", "cbow"}
"""Their tokens see nothing of what comes after."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def reader(name: str) -> Any:
    torch.manual_seed(3)
    model: Model = MODELS.get(name.split()[0]).make(READERS.get(name, {}), vocab_size=VOCAB)
    return model.eval()


def texts() -> list[Ids]:
    draws = np.random.default_rng(5)
    return [Ids(draws.integers(4, VOCAB, length).astype(np.int32), np.zeros(0, np.int32)) for length in LENS]


def batch(*rows: list[Ids], fixed: bool = False) -> Batch:
    return LAYOUTS["pair"].arrange(rows, Lens(24, 1), Specials(pad=0, eos=1, cls=2, sep=3), fixed=fixed)


@torch.no_grad()
def states(reader: Any, rows: Batch) -> list[Tensor]:
    """The states of every text of the batch: [layers, tokens, D] each."""
    assert rows.encoder is not None
    layers = torch.stack(reader.layer_states(rows))
    return [layers[:, row, start:end] for row, start, end in rows.encoder.runs]


def test_a_text_has_the_same_states_alone_padded_and_packed(reader: Any) -> None:
    first, second, third, fourth = texts()
    alone = [states(reader, batch([text]))[0] for text in texts()]
    padded = states(reader, batch([first], [second], [third], [fourth], fixed=True))
    packed = states(reader, batch([first, second], [third, fourth]))
    for one, other, shared in zip(alone, padded, packed, strict=True):
        torch.testing.assert_close(other, one, rtol=CLOSE, atol=CLOSE)
        torch.testing.assert_close(shared, one, rtol=CLOSE, atol=CLOSE)


def test_the_last_layer_is_what_heads_see(reader: Any) -> None:
    rows = batch([texts()[0], texts()[1]], [texts()[2]])
    assert rows.encoder is not None
    with torch.no_grad():
        layers, last = reader.layer_states(rows), reader.hidden(rows)
    assert {tuple(layer.shape) for layer in layers} == {(*rows.encoder.ids.shape, width_of(reader))}
    for row, start, end in rows.encoder.runs:
        assert torch.equal(layers[-1][row, start:end], last[row, start:end])


def test_padded_products_give_the_same_states(reader: Any) -> None:
    if not hasattr(reader, "attention"):
        pytest.skip("this family has one form only")
    rows = batch([texts()[0], texts()[1]], [texts()[2]])
    expected = states(reader, rows)
    reader.attention = "dense"
    for one, other in zip(expected, states(reader, rows), strict=True):
        torch.testing.assert_close(other, one, rtol=CLOSE, atol=CLOSE)


def test_which_tokens_are_seen(reader: Any, name: str) -> None:
    text = texts()[2]
    other = Ids(np.append(text.inputs[:-1], text.inputs[-1] - 1 or 5).astype(np.int32), text.targets)
    [one], [changed] = states(reader, batch([text])), states(reader, batch([other]))
    assert not torch.allclose(one[:, -1], changed[:, -1]), "every token sees itself"
    sees_later = name not in BLIND
    assert torch.allclose(one[-1, 0], changed[-1, 0], atol=1e-7) is not sees_later


def test_states_carry_gradients_to_the_reader(reader: Any) -> None:
    reader.hidden(batch([texts()[0]])).sum().backward()
    assert any(weight.grad is not None and bool(weight.grad.any()) for weight in reader.parameters())
