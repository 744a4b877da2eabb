"""What training makes small, returned as (sum, count): cross-entropy that never holds all logits, and heads' losses.

Letters: M target positions that count, D model width, V vocabulary, E examples, C classes, B rows, L tokens of a row.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.batch import NO_TARGET, Batch, Loss, Told
from textfer.errors import ConfigError
from textfer.models.layers import product
from textfer.models.sampled import Sample, sampled_cross_entropy

CHUNK_NUMBERS = 1 << 23
"""Logits held at once: 32 MiB in fp32."""


class Readable(Protocol):
    """What a model must offer to be trained on next or masked tokens."""

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(hidden [M, D], targets [M], weights [M]) of the positions that count."""
        ...

    def readout(self) -> tuple[Tensor, Tensor | None]:
        """(weight [V, D], bias [V] or None) that turn hidden states into logits."""
        ...


class Sampling(Readable, Protocol):
    """A model that tells a word from a sample of the others."""

    def draw_words(self) -> Sample | None:
        """The sample for one batch; None = all words."""
        ...


class HeadReadable(Readable, Protocol):
    """What a model with heads must offer besides."""

    def read(self, batch: Batch) -> Told:
        """What its heads say of the batch, and the states of the words that are named beside."""
        ...


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Σ w·(−log p(target) + z·log²Z). Gradients are made in the forward pass, chunk by chunk: no logits stay."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, weights: Tensor, z_loss: float
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and needs_bias else None
        total = torch.zeros(
            (), dtype=torch.float64 if hidden.dtype == torch.float64 else torch.float32, device=hidden.device
        )
        matrix = weight.to(hidden.dtype)
        chunk = max(16, CHUNK_NUMBERS // weight.shape[0])
        for start in range(0, hidden.shape[0], chunk):
            part, target, share = (tensor[start : start + chunk] for tensor in (hidden, targets, weights))
            logits = product(part, matrix)
            if bias is not None:
                logits = logits + bias
            logits = logits.to(total.dtype)
            log_z = logits.logsumexp(-1)
            chosen = logits.gather(-1, target[:, None])[:, 0]
            total += (share * (log_z - chosen + z_loss * log_z.square())).sum()
            if not (needs_hidden or needs_weight or needs_bias):
                continue
            slope = logits.sub_(log_z[:, None]).exp_()
            if z_loss:
                slope *= (1 + 2 * z_loss * log_z)[:, None]
            slope.scatter_add_(-1, target[:, None], torch.full_like(chosen, -1.0)[:, None])
            slope *= share[:, None]
            if grad_bias is not None:
                grad_bias += slope.sum(0)
            slope = slope.to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[start : start + chunk] = product(slope, matrix.t())
            if grad_weight is not None:
                if hidden.dtype == grad_weight.dtype:
                    grad_weight.addmm_(slope.T, part)
                else:
                    grad_weight += slope.T @ part
        ctx.grads = grad_hidden, grad_weight, grad_bias
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        assert ctx.grads is not None, "the gradients are scaled in place: one backward pass only"
        hidden, weight, bias = (None if part is None else part.mul_(grad.to(part.dtype)) for part in ctx.grads)
        ctx.grads = None
        return hidden, weight, bias, None, None, None


def loss_of(model: Readable, batch: Batch, *, z_loss: float = 0.0) -> Loss:
    """The batch's summed loss and what it is divided by: words by cross-entropy, heads each by their own.

    A head that names classes, or places, learns by cross-entropy; one that says numbers by squared error. Where words
    and heads learn together the sums are added: an example's heads weigh as much as its words (`Batch.head_weights`).
    """
    if not batch.heads:
        return cross_entropy(model, batch, z_loss=z_loss)
    told = cast(HeadReadable, model).read(batch)
    total = torch.stack([_head_loss(told.heads[name], wanted, batch) for name, wanted in batch.heads.items()]).sum()
    if told.states is not None:
        total = total + _words_loss(model, *told.states, z_loss)
    return Loss(total, total.new_tensor(batch.num_targets))


def cross_entropy(model: Readable, batch: Batch, *, z_loss: float = 0.0) -> Loss:
    """The batch's summed loss and summed weights.

    `z_loss`: weight of log²Z, which keeps the logits from drifting (t5x trains with 1e-4).
    """
    states, targets, weights = model.states(batch)
    return Loss(_words_loss(model, states, targets, weights, z_loss), weights.sum())


def _words_loss(model: Readable, states: Tensor, targets: Tensor, weights: Tensor, z_loss: float) -> Tensor:
    weight, bias = model.readout()
    sample = cast(Sampling, model).draw_words() if hasattr(model, "draw_words") else None
    if sample is not None and z_loss:
        raise ConfigError("training.z_loss: cannot take effect on a sample of the words. Drop it or model.num_sampled.")
    if torch.is_autocast_enabled(states.device.type):
        states = states.to(torch.get_autocast_dtype(states.device.type))
    with torch.autocast(states.device.type, enabled=False):
        if sample is not None:
            return sampled_cross_entropy(states, (weight, bias), targets, weights, sample)
        total: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            states, weight, bias, targets, weights.to(torch.float32), z_loss
        )
    return total


def _head_loss(said: Tensor, wanted: Tensor, batch: Batch) -> Tensor:
    """The sum over what is wanted: numbers [E], one of C classes [E], or one of them for every token [B, L]."""
    said = said.to(torch.promote_types(said.dtype, torch.float32))
    if wanted.dtype.is_floating_point:
        told = ~wanted.isnan()
        errors = torch.where(told, said - torch.where(told, wanted, 0), 0).square()
    else:
        errors = F.cross_entropy(said.flatten(0, -2), wanted.flatten(), ignore_index=NO_TARGET, reduction="none")
    if batch.head_weights is not None:
        assert errors.shape == batch.head_weights.shape, "beside words, heads say one thing an example"
        errors = errors * batch.head_weights
    return errors.sum()
