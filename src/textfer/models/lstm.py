"""LSTM layers whose states are projected down and held within bounds, over sequences of any lengths without padding.

Sequences stand step by step, the longest first: the entries of step t are those sequences that are longer than t, so
that every step is one product. Gradients are written out: per step only what the next one waits for is computed, and
the weights' gradients are one product each for all steps.

On one core (AMD, AVX-512), 16 sequences of 256 steps, 256 wide with 768 cells, forth and back: 6,900 entries a second,
with bounds 6,700, where lengths differ 6,600; torch.nn.LSTM 4,700, where lengths differ (packed) 480. So bounds cost
nothing here, and torch's kernel is used on a GPU alone, by layers without bounds.

Letters: N entries of all steps end to end, E sequences, T steps of the longest, D inputs, H cells, P states.
Source: Sak et al. 2014, arXiv 1402.1128; TensorFlow's LSTMCell for the order of clipping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from textfer.models.layers import BiasedLinear, product

Int64 = NDArray[np.int64]


@final
class Order:
    """Where sequences of these lengths stand, step by step; every length is 1 or more."""

    def __init__(self, lens: Sequence[int] | Int64) -> None:
        self.lens = np.asarray(lens, np.int64)
        assert len(self.lens) > 0
        assert self.lens.min() > 0, "a sequence has a step"
        self.longest_first: Int64 = np.argsort(-self.lens, kind="stable")
        self.ranks = np.empty_like(self.longest_first)
        """[E] the place of each sequence among them, the longest first."""
        self.ranks[self.longest_first] = np.arange(len(self.lens))
        ended = np.cumsum(np.bincount(self.lens, minlength=self.lens.max() + 1))[:-1]
        counts = len(self.lens) - ended
        self.sizes: tuple[int, ...] = tuple(counts.tolist())
        """How many sequences have a step t."""
        self.starts: Int64 = np.cumsum(counts) - counts
        """[T] where the entries of step t begin."""

    def entries(self) -> tuple[Int64, Int64]:
        """([N] sequence, [N] step) of every entry."""
        steps = np.repeat(np.arange(len(self.sizes)), self.sizes)
        return self.longest_first[np.arange(len(steps)) - self.starts[steps]], steps

    def places(self, sequences: Int64, steps: Int64) -> Int64:
        """The entry of each (sequence, step)."""
        return self.starts[steps] + self.ranks[sequences]

    def ends(self) -> Int64:
        """[E] the entry of each sequence's last step."""
        return self.places(np.arange(len(self.lens)), self.lens - 1)


class Memory(NamedTuple):
    """What a layer knows after its last step, sequence by sequence in their own order."""

    states: Tensor
    """[E, P]"""
    cells: Tensor
    """[E, H]"""


class Bounds(NamedTuple):
    """How large cells and projected states may be, either way; None = as they come."""

    cell: float | None
    state: float | None


class Layer(nn.Module):
    """One layer in one direction. Without projection where there are as many states as cells.

    Gates stand in the order input, forget, output, new; of the forget gate's bias 1 is there from the start.
    """

    def __init__(self, dim: int, num_cells: int, *, num_states: int, bounds: Bounds) -> None:
        super().__init__()
        assert num_states <= num_cells
        self.num_cells, self.num_states, self.bounds = num_cells, num_states, bounds
        self.way: Literal["auto", "own", "torch"] = "auto"
        """Who computes; `torch` knows no bounds."""
        self.wi = BiasedLinear(dim, 4 * num_cells)
        self.wh = nn.Parameter(torch.empty(4 * num_cells, num_states))
        self.wo = nn.Parameter(torch.empty(num_states, num_cells)) if num_states < num_cells else None

    @torch.no_grad()
    def initialise(self) -> None:
        """Draws the weights: Glorot's uniform over the product of inputs and states together; biases are 0."""
        columns = self.wi.in_features + self.num_states
        limit = (6 / (columns + 4 * self.num_cells)) ** 0.5
        nn.init.uniform_(self.wi.weight, -limit, limit)
        nn.init.uniform_(self.wh, -limit, limit)
        nn.init.zeros_(self.wi.bias)
        self.wi.bias[self.num_cells : 2 * self.num_cells] = 1.0
        if self.wo is not None:
            nn.init.xavier_uniform_(self.wo)

    def forward(self, x: Tensor, order: Order, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        """[N, D] entries in the order's → ([N, P] states, what is known at each sequence's end).

        `memory`: what was known before the first step; None = nothing.
        """
        begin = None
        if memory is not None:
            first = torch.from_numpy(order.longest_first).to(x.device)
            begin = Memory(memory.states[first], memory.cells[first])
        if self._is_torchs(x):
            return self._torchs(x, order, begin)
        gates = self.wi(x)
        gates = gates.to(torch.promote_types(gates.dtype, torch.float32))  # cells add up over all steps
        out, cells = _run(gates, self.wh, self.wo, order.sizes, (begin, self.bounds))
        ends = torch.from_numpy(order.ends()).to(x.device)
        return out.to(x.dtype), Memory(out.detach()[ends], cells[ends])

    def _is_torchs(self, x: Tensor) -> bool:
        if self.way == "auto":
            hooked = bool(self.wi._forward_hooks)  # what a way of transfer stands beside the product would go unheard
            return x.device.type == "cuda" and self.bounds == (None, None) and not hooked
        assert self.way == "own" or self.bounds == (None, None), "torch's kernel knows no bounds"
        return self.way == "torch"

    def _torchs(self, x: Tensor, order: Order, begin: Memory | None) -> tuple[Tensor, Memory]:
        """The same by torch's kernel, whose gates stand in the order input, forget, new, output."""
        count = order.sizes[0]
        if begin is None:
            begin = Memory(x.new_zeros(count, self.num_states), x.new_zeros(count, self.num_cells))
        turned = [_turned(part, self.num_cells) for part in (self.wi.weight, self.wh, self.wi.bias)]
        weights = [*turned, torch.zeros_like(turned[2]), *([] if self.wo is None else [self.wo])]
        hidden = [part[None].to(x.dtype) for part in begin]
        out, states, cells = torch._VF.lstm(
            x, torch.tensor(order.sizes), hidden, [part.to(x.dtype) for part in weights], True, 1, 0.0, False, False
        )
        ranks = torch.from_numpy(order.ranks).to(x.device)
        return out, Memory(states[0].detach()[ranks], cells[0].detach()[ranks])


def _turned(weight: Tensor, num_cells: int) -> Tensor:
    """Rows of input, forget, output, new → input, forget, new, output."""
    return torch.cat([weight[: 2 * num_cells], weight[3 * num_cells :], weight[2 * num_cells : 3 * num_cells]])


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _run(
    x: Tensor, wh: Tensor, wo: Tensor | None, sizes: tuple[int, ...], about: tuple[Memory | None, Bounds]
) -> tuple[Tensor, Tensor]:
    """[N, 4H] what the inputs say to the gates → ([N, P] states, [N, H] cells)"""
    out, cells = _Recurrence.apply(x, wh.to(x.dtype), None if wo is None else wo.to(x.dtype), sizes, about)  # type: ignore[no-untyped-call]
    return out, cells


class _Recurrence(torch.autograd.Function):
    """All steps of a layer. What a sequence remembers from before gets no gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        wh: Tensor,
        wo: Tensor | None,
        sizes: tuple[int, ...],
        about: tuple[Memory | None, Bounds],
    ) -> tuple[Tensor, Tensor]:
        begin, bounds = about
        num_cells, num_states = wh.shape[0] // 4, wh.shape[1]
        gates, cells = torch.empty_like(x), x.new_empty(len(x), num_cells)
        bent, out = torch.empty_like(cells), x.new_empty(len(x), num_states)
        if begin is None:
            begin = Memory(x.new_zeros(sizes[0], num_states), x.new_zeros(sizes[0], num_cells))
        state, cell = begin.states.to(x.dtype), begin.cells.to(x.dtype)
        by_columns = wh.t().contiguous().t(), None if wo is None else wo.t().contiguous().t()
        at = 0
        for count in sizes:
            here = slice(at, at + count)
            gate = torch.add(x[here], product(state[:count], by_columns[0]), out=gates[here])
            gate[:, : 3 * num_cells].sigmoid_()
            gate[:, 3 * num_cells :].tanh_()
            keep, forget, show, new = gate.chunk(4, 1)
            cell = torch.mul(forget, cell[:count], out=cells[here]).addcmul_(keep, new)
            if bounds.cell is not None:
                cell.clamp_(-bounds.cell, bounds.cell)
            state = show * torch.tanh(cell, out=bent[here])
            state = state if by_columns[1] is None else product(state, by_columns[1])
            if bounds.state is not None and wo is not None:
                state.clamp_(-bounds.state, bounds.state)
            out[here] = state
            at += count
        ctx.save_for_backward(wh, wo, gates, cells, bent, out, *begin)
        ctx.sizes, ctx.bounds = sizes, bounds
        ctx.mark_non_differentiable(cells)
        return out, cells

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        wh, wo, gates, cells, bent, out, *begin = ctx.saved_tensors
        sizes, bounds, num_cells = ctx.sizes, ctx.bounds, cells.shape[1]
        for_gates, for_states = torch.empty_like(gates), grads[0].clone()
        ends = np.cumsum(sizes).tolist()
        from_states = from_cells = None
        for step in range(len(sizes) - 1, -1, -1):
            count, here = sizes[step], slice(ends[step] - sizes[step], ends[step])
            state, gate, curve = for_states[here], gates[here], bent[here]
            if from_states is not None:
                state[: len(from_states)] += from_states
            if bounds.state is not None and wo is not None:
                state.mul_(out[here].abs() < bounds.state)
            keep, forget, show, new = gate.chunk(4, 1)
            slope = for_gates[here]
            to_keep, to_forget, to_show, to_new = slope.chunk(4, 1)
            cell = product(state, wo.t()) if wo is not None else state.clone()
            torch.mul(cell, curve, out=to_show)
            cell.mul_(show)
            cell.addcmul_(cell * curve, curve, value=-1)
            if from_cells is not None:
                cell[: len(from_cells)] += from_cells
            if bounds.cell is not None:
                cell.mul_(cells[here].abs() < bounds.cell)
            before = cells[here.start - sizes[step - 1] :][:count] if step else begin[1]
            torch.mul(cell, new, out=to_keep)
            torch.mul(cell, before, out=to_forget)
            torch.mul(cell, keep, out=to_new)
            squashed = gate[:, : 3 * num_cells]
            slope[:, : 3 * num_cells].mul_(squashed - squashed * squashed)
            to_new.addcmul_(to_new * new, new, value=-1)
            from_states = product(slope, wh.t()) if step else None
            from_cells = cell.mul_(forget)
        before_states = torch.cat(
            [begin[0], *(out[end - count :][:less] for end, count, less in zip(ends, sizes, sizes[1:], strict=False))]
        )
        for_wh = product(for_gates.t(), before_states.t())
        for_wo = None
        if wo is not None:
            shown = gates[:, 2 * num_cells : 3 * num_cells] * bent
            for_wo = product(for_states.t(), shown.t())
        return for_gates, for_wh, for_wo, None, None
