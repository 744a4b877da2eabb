"""Softmax over a sample of the classes: cheap where there are a great many, and near the whole one in training.

Classes are drawn log-uniformly, common (small) numbers more often, until a given count of different ones is there; each
logit loses the log of how often its class was to be expected among them, so that Σ exp over the sample is on average
nearly Σ exp over all classes (the draws that it took are counted, and the last always brings a new class). A row's own
class is always there, and is left out where the sample has it too. That rarer classes have larger numbers makes it
precise; it is right without.

Letters: M rows, D width, V classes, S classes of the sample.
Source: Jean et al. 2015, arXiv 1412.2007; TensorFlow's `sampled_softmax_loss` and `log_uniform_candidate_sampler`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textfer.models.layers import apply_typed, product

CHUNK_NUMBERS = 1 << 23
"""Logits held at once: 32 MiB in fp32."""


class Sample(NamedTuple):
    """Classes drawn for all rows of a batch."""

    classes: Tensor
    """[S] int64, no two alike."""
    tries: float
    """Draws that it took; infinite where the sample is all there is."""
    num_classes: int
    """V"""

    def log_expected(self, classes: Tensor) -> Tensor:
        """[…] class numbers → […] float64, the log of how often each is to be expected in the sample."""
        number = classes.double()
        chance = torch.log1p(1 / (number + 1)) / np.log(self.num_classes + 1)
        return torch.log(-torch.expm1(self.tries * torch.log1p(-chance)))


def draw_log_uniform(count: int, num_classes: int) -> Sample:
    """`count` different classes by torch's default generator; all of them where there are no more."""
    if count >= num_classes:
        return Sample(torch.arange(num_classes), np.inf, num_classes)
    drawn: NDArray[np.int64] = np.zeros(0, np.int64)
    size = 2 * count
    while True:
        shares = torch.rand(size, dtype=torch.float64).numpy()
        more = np.exp(shares * np.log(num_classes + 1)).astype(np.int64) - 1
        drawn = np.append(drawn, np.minimum(more, num_classes - 1))
        _, first = np.unique(drawn, return_index=True)
        if len(first) >= count:
            first = np.sort(first)[:count]
            return Sample(torch.from_numpy(drawn[first]), float(first[-1] + 1), num_classes)
        size = len(drawn)


def sampled_cross_entropy(
    states: Tensor, readout: tuple[Tensor, Tensor | None], targets: Tensor, weights: Tensor, sample: Sample
) -> Tensor:
    """Σ weight · −log p(target), p over each row's own class and the sample.

    Shapes: states [M, D], readout ([V, D], [V] or None), targets [M], weights [M] → a number.
    """
    table, bias = readout
    shift = torch.zeros(len(table), dtype=torch.float32, device=table.device) if bias is None else bias
    classes = sample.classes.to(states.device)
    known = (classes, sample.log_expected(classes), sample.log_expected(targets))
    return apply_typed(_SampledCrossEntropy, (states, table, shift, targets, weights.float(), known))


class _SampledCrossEntropy(torch.autograd.Function):
    """Gradients are made in the forward pass, chunk by chunk: no logits stay."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        table: Tensor,
        bias: Tensor,
        targets: Tensor,
        weights: Tensor,
        known: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        classes, log_expected, log_own = known
        wide = torch.promote_types(states.dtype, torch.float32)
        rows = table[classes].to(states.dtype)
        shift = (bias[classes] - log_expected).to(wide)
        own_shift = (bias[targets] - log_own).to(wide)
        place = torch.full((len(table),), -1, device=classes.device)
        place[classes] = torch.arange(len(classes), device=classes.device)
        total = torch.zeros((), dtype=wide, device=states.device)
        for_states = torch.empty_like(states)
        for_rows, for_shift = torch.zeros_like(rows, dtype=wide), torch.zeros_like(shift)
        for_table, for_bias = torch.zeros_like(table, dtype=wide), torch.zeros_like(bias, dtype=wide)
        size = max(16, CHUNK_NUMBERS // len(classes))
        for start in range(0, len(states), size):
            here = slice(start, start + size)
            part, target, share = states[here], targets[here], weights[here].to(wide)
            logits = product(part, rows).to(wide) + shift
            hits = (place[target] >= 0).nonzero().squeeze(1)
            logits[hits, place[target][hits]] = -torch.inf
            own_rows = table[target].to(states.dtype)
            own = (part * own_rows).sum(1).to(wide) + own_shift[here]
            log_z = torch.logaddexp(logits.logsumexp(1), own)
            total += (share * (log_z - own)).sum()
            slope = logits.sub_(log_z[:, None]).exp_().mul_(share[:, None])
            own_slope = torch.expm1(own - log_z) * share
            for_shift += slope.sum(0)
            for_bias.index_add_(0, target, own_slope)
            slope, own_slope = slope.to(states.dtype), own_slope.to(states.dtype)
            for_rows += product(slope.t(), part.t()).to(wide)
            for_states[here] = product(slope, rows.t()) + own_slope[:, None] * own_rows
            for_table.index_add_(0, target, (own_slope[:, None] * part).to(wide))
        for_table.index_add_(0, classes, for_rows)
        for_bias.index_add_(0, classes, for_shift)
        ctx.grads = for_states, for_table.to(table.dtype), for_bias.to(bias.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.grads is not None, "the gradients are scaled in place: one backward pass only"
        found = [part.mul_(grads[0].to(part.dtype)) for part in ctx.grads]
        ctx.grads = None
        return *found, None, None, None
