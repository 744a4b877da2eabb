"""LSTM layers with projected, bounded states: torch's own, a loop in float64, and gradients by differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from textfer.models.framed import Framed
from textfer.models.lstm import Bounds, Layer, Memory, Order

pytestmark = pytest.mark.usefixtures("one_thread")

LENS = [4, 1, 6, 4]
DIM, CELLS, STATES = 5, 7, 3
FREE = Bounds(None, None)


def layer_of(bounds: Bounds = FREE, *, states: int = STATES, scale: float = 1.0) -> Layer:
    torch.manual_seed(3)
    layer = Layer(DIM, CELLS, num_states=states, bounds=bounds).double()
    layer.initialise()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn_like(weight) * scale)
    return layer


def inputs(lens: list[int] = LENS) -> Tensor:
    """[N, D] sequences end to end."""
    return torch.randn(sum(lens), DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def in_order(order: Order) -> Tensor:
    """[N] where each entry stands among sequences laid end to end."""
    starts = np.cumsum(order.lens) - order.lens
    sequences, steps = order.entries()
    return torch.from_numpy(starts[sequences] + steps)


def one_by_one(layer: Layer, x: Tensor, lens: list[int]) -> Tensor:
    """[N, P] by numpy, a sequence and a step at a time, as the equations are written."""
    wi, bias, wh = (part.detach().numpy() for part in (layer.wi.weight, layer.wi.bias, layer.wh))
    wo = None if layer.wo is None else layer.wo.detach().numpy()
    cells, states = layer.bounds
    found, at = [], 0
    for length in lens:
        state, cell = np.zeros(wh.shape[1]), np.zeros(wh.shape[0] // 4)
        for step in range(length):
            keep, forget, show, new = np.split(wi @ x[at + step].numpy() + bias + wh @ state, 4)
            cell = cell / (1 + np.exp(-forget)) + np.tanh(new) / (1 + np.exp(-keep))
            cell = cell if cells is None else np.clip(cell, -cells, cells)
            state = np.tanh(cell) / (1 + np.exp(-show))
            if wo is not None:
                state = wo @ state
                state = state if states is None else np.clip(state, -states, states)
            found.append(state)
        at += length
    return torch.from_numpy(np.stack(found))


def test_entries_stand_step_by_step_the_longest_first() -> None:
    order = Order([2, 3, 1])
    assert order.sizes == (3, 2, 1)
    assert order.starts.tolist() == [0, 3, 5]
    sequences, steps = order.entries()
    assert sequences.tolist() == [1, 0, 2, 1, 0, 1]
    assert steps.tolist() == [0, 0, 0, 1, 1, 2]
    assert order.ends().tolist() == [4, 5, 2]


def test_frames_say_who_reads_what_when() -> None:
    """Worked by hand: a b | c between marks is < a b > < c >, places 0 to 6."""
    framed, device = Framed([2, 1]), torch.device("cpu")
    assert framed.between_marks(torch.tensor([5, 6, 7]), 10).tolist() == [10, 5, 6, 11, 10, 7, 11]
    left, right = framed.steps(device)
    assert left.tolist() == [0, 4, 1, 5, 2], "< <, a c, b"
    assert right.tolist() == [3, 6, 2, 5, 1], "> >, b c, a"
    assert [part.tolist() for part in framed.own(device)] == [[2, 4, 3], [4, 2, 3]]
    assert [part.tolist() for part in framed.neighbours(device)] == [[0, 2, 1], [2, 0, 1]]
    going_on = Framed([2, 1], goes_on=True)
    assert going_on.steps(device)[0].tolist() == [1, 5, 2]
    assert going_on.own(device)[0].tolist() == [0, 2, 1]


@pytest.mark.parametrize("states", [STATES, CELLS])
@pytest.mark.parametrize("bounds", [FREE, Bounds(0.4, None), Bounds(None, 0.3), Bounds(0.5, 0.2)])
def test_it_is_the_equations(bounds: Bounds, states: int) -> None:
    layer, x, order = layer_of(bounds, states=states), inputs(), Order(LENS)
    places = in_order(order)
    out, memory = layer(x[places], order)
    expected = one_by_one(layer, x, LENS)
    torch.testing.assert_close(out, expected[places], rtol=1e-12, atol=1e-12)
    last = np.cumsum(LENS) - 1
    torch.testing.assert_close(memory.states, expected[torch.from_numpy(last)], rtol=1e-12, atol=1e-12)


def test_bounds_bind() -> None:
    x, order = inputs(), Order(LENS)
    places = in_order(order)
    out, memory = layer_of(Bounds(0.4, 0.3))(x[places], order)
    assert out.abs().max() == 0.3
    assert memory.cells.abs().max() == 0.4
    free, known = layer_of()(x[places], order)
    assert free.abs().max() > 0.3
    assert known.cells.abs().max() > 0.4


@pytest.mark.parametrize("bounds", [FREE, Bounds(0.4, 0.3)])
@pytest.mark.parametrize("states", [STATES, CELLS])
def test_gradients_are_those_of_differences(bounds: Bounds, states: int) -> None:
    layer, order = layer_of(bounds, states=states), Order([3, 1, 2])
    x = inputs([3, 1, 2])[in_order(order)].requires_grad_()
    names, weights = zip(*layer.named_parameters(), strict=True)
    before = Memory(*(torch.randn(3, size, dtype=torch.float64) * 0.2 for size in (states, CELLS)))

    def run(x: Tensor, *values: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, order, before))[0]
        return out

    assert torch.autograd.gradcheck(run, (x, *weights), atol=1e-7)


@pytest.mark.parametrize("states", [STATES, CELLS])
def test_torchs_kernel_says_the_same(states: int) -> None:
    layer, x, order = layer_of(states=states), inputs(), Order(LENS)
    x = x[in_order(order)]
    before = Memory(*(torch.randn(len(LENS), size, dtype=torch.float64) for size in (states, CELLS)))
    found = []
    for way in ("own", "torch"):
        layer.way = way
        layer.zero_grad()
        out, memory = layer(x, order, before)
        (out * torch.arange(out.shape[1])).sum().backward()
        found.append([out.detach(), *memory, *(weight.grad.clone() for weight in layer.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_it_is_torchs_module_with_the_same_weights() -> None:
    """`nn.LSTM(proj_size=…)` keeps gates in the order input, forget, new, output."""
    layer, x = layer_of(), inputs([6])
    theirs = nn.LSTM(DIM, CELLS, proj_size=STATES).double()

    def turned(weight: Tensor) -> Tensor:
        keep, forget, show, new = weight.chunk(4)
        return torch.cat([keep, forget, new, show])

    with torch.no_grad():
        for name, weight in (("weight_ih", layer.wi.weight), ("weight_hh", layer.wh), ("bias_ih", layer.wi.bias)):
            getattr(theirs, f"{name}_l0").copy_(turned(weight))
        theirs.bias_hh_l0.zero_()
        theirs.weight_hr_l0.copy_(layer.wo)
        expected = theirs(x)[0]
    torch.testing.assert_close(layer(x, Order([6]))[0], expected, rtol=1e-12, atol=1e-12)


def test_what_is_remembered_goes_on() -> None:
    layer, x = layer_of(Bounds(0.5, 0.4)), inputs([5, 3])
    lens, cuts = [5, 3], [3, 1]
    order = Order(lens)
    whole = torch.empty(8, STATES, dtype=torch.float64)
    whole[in_order(order)] = layer(x[in_order(order)], order)[0].detach()
    rows = list(x.split(lens))
    first, second = Order(cuts), Order([2, 2])
    heads = torch.cat([row[:cut] for row, cut in zip(rows, cuts, strict=True)])
    tails = torch.cat([row[cut:] for row, cut in zip(rows, cuts, strict=True)])
    _, memory = layer(heads[in_order(first)], first)
    found = torch.empty(4, STATES, dtype=torch.float64)
    found[in_order(second)] = layer(tails[in_order(second)], second, memory)[0].detach()
    expected = torch.cat([row[cut:] for row, cut in zip(whole.split(lens), cuts, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_first_weights_forget_little() -> None:
    layer = Layer(64, 32, num_states=16, bounds=FREE)
    torch.manual_seed(0)
    layer.initialise()
    assert layer.wi.bias.chunk(4)[1].eq(1).all()
    assert layer.wi.bias.sum() == 32
    limit = (6 / (64 + 16 + 128)) ** 0.5
    assert 0.95 * limit < layer.wi.weight.abs().max() <= limit
    assert 0.95 * limit < layer.wh.abs().max() <= limit
    assert layer.wo.abs().max() <= (6 / (32 + 16)) ** 0.5
