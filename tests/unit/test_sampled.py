"""Softmax over a sample: how classes are drawn and counted, and that it is the whole softmax on average."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.batch import Batch, Ids, Specials
from textfer.config import build
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import ConfigError
from textfer.models.elmo import Elmo, ElmoOptions
from textfer.models.sampled import Sample, draw_log_uniform, sampled_cross_entropy
from textfer.training.loss import cross_entropy

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES, DIM, ROWS = 40, 6, 12


def parts() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(states, table, bias, targets, weights), float64, with gradients."""
    draw = torch.Generator().manual_seed(3)
    states, table, bias = (
        torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_()
        for shape in ((ROWS, DIM), (CLASSES, DIM), (CLASSES,))
    )
    targets = torch.randint(CLASSES, (ROWS,), generator=draw)
    return states, table, bias, targets, torch.rand(ROWS, generator=draw)


def whole(states: Tensor, table: Tensor, bias: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    return (F.cross_entropy(states @ table.T + bias, targets, reduction="none") * weights).sum()


def as_told(states: Tensor, table: Tensor, bias: Tensor, targets: Tensor, sample: Sample) -> Tensor:
    """[M] losses row by row, as TensorFlow's documentation of `sampled_softmax_loss` says them."""
    losses = []
    for state, target in zip(states, targets.tolist(), strict=True):
        others = [number for number in sample.classes.tolist() if number != target]
        logits = [
            table[number] @ state + bias[number] - sample.log_expected(torch.tensor(number))
            for number in (target, *others)
        ]
        losses.append(torch.stack(logits).logsumexp(0) - logits[0])
    return torch.stack(losses)


def test_chances_and_counts_are_worked_by_hand() -> None:
    """Three classes: log 2, log 3/2 and log 4/3 over log 4; twice drawn, the first is there 3 times in 4."""
    sample = Sample(torch.tensor([0, 1]), 2.0, 3)
    chances = [math.log(2) / math.log(4), math.log(3 / 2) / math.log(4), math.log(4 / 3) / math.log(4)]
    assert sum(chances) == pytest.approx(1)
    expected = [1 - (1 - chance) ** 2 for chance in chances]
    assert expected[0] == 0.75
    torch.testing.assert_close(sample.log_expected(torch.arange(3)).exp(), torch.tensor(expected).double())


def test_drawn_classes_are_log_uniform_and_no_two_alike() -> None:
    torch.manual_seed(0)
    samples = [draw_log_uniform(5, 1000) for _ in range(3000)]
    assert all(len(set(one.classes.tolist())) == 5 for one in samples)
    assert all(one.tries >= 5 for one in samples)
    firsts = np.array([int(one.classes[0]) for one in samples])
    for low, high in ((0, 1), (1, 10), (10, 100), (100, 1000)):
        share = ((firsts >= low) & (firsts < high)).mean()
        assert abs(share - math.log((high + 1) / (low + 1)) / math.log(1001)) < 0.03
    assert np.mean([one.tries for one in samples]) > 5.2, "some came twice"
    torch.manual_seed(7)
    first = draw_log_uniform(5, 1000)
    torch.manual_seed(7)
    assert torch.equal(draw_log_uniform(5, 1000).classes, first.classes)


@pytest.mark.parametrize("count", [1, 7, 30, 39])
def test_loss_and_gradients_are_those_of_the_rule(count: int) -> None:
    torch.manual_seed(1)
    states, table, bias, targets, weights = parts()
    sample = draw_log_uniform(count, CLASSES)
    assert count < 30 or set(targets.tolist()) & set(sample.classes.tolist()), "some rows' own classes were drawn"
    told = (as_told(states, table, bias, targets, sample) * weights).sum()
    expected = torch.autograd.grad(told, (states, table, bias))
    loss = sampled_cross_entropy(states, (table, bias), targets, weights, sample)
    torch.testing.assert_close(loss, told)
    for ours, theirs in zip(torch.autograd.grad(loss * 1.0, (states, table, bias)), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    free = sampled_cross_entropy(states, (table, None), targets, weights, sample)
    torch.testing.assert_close(free, (as_told(states, table, bias * 0, targets, sample) * weights).sum())


@pytest.mark.parametrize("count", [CLASSES, CLASSES + 5])
def test_all_classes_drawn_are_the_whole_softmax(count: int) -> None:
    everything = parts()
    states, table, bias, targets, weights = everything
    sample = draw_log_uniform(count, CLASSES)
    loss = sampled_cross_entropy(states, (table, bias), targets, weights, sample)
    expected = whole(*everything)
    torch.testing.assert_close(loss, expected)
    found = torch.autograd.grad(loss, (states, table, bias))
    for ours, theirs in zip(found, torch.autograd.grad(expected, (states, table, bias)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_on_average_it_sums_what_the_whole_softmax_sums() -> None:
    """Σ exp over samples, corrected, is nearly Σ exp over all classes; losses come near as samples grow.

    Nearly: counts are expected from the draws that a sample took, and it always ends with a new class.
    """
    torch.manual_seed(5)
    states, table, bias, targets, weights = parts()
    logits = (states @ table.T + bias).detach()[0]
    samples = [draw_log_uniform(20, CLASSES) for _ in range(4000)]
    sums = [(logits[one.classes] - one.log_expected(one.classes)).exp().sum() for one in samples]
    assert torch.stack(sums).mean().item() == pytest.approx(logits.exp().sum().item(), rel=0.06)
    expected, distances = whole(states, table, bias, targets, weights), []
    for count in (5, 20, 36):
        losses = [
            sampled_cross_entropy(states, (table, bias), targets, weights, draw_log_uniform(count, CLASSES)).detach()
            for _ in range(300)
        ]
        distances.append(abs((torch.stack(losses).mean() - expected).item()) / expected.item())
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.02


def test_an_elmo_learns_from_a_sample_and_is_measured_on_all_words() -> None:
    ids = np.array([5, 9, 12, 7, 5], np.int32)
    batch: Batch = LAYOUTS["both_ways"].arrange([[Ids(ids, ids)]], Lens(8, 8), Specials(pad=0, eos=1))
    options = {"model_dim": 6, "num_cells": 9, "filters": [[1, 3]], "max_chars": 8, "dropout": 0.0}
    torch.manual_seed(0)
    sampling = Elmo(build(ElmoOptions, {**options, "num_sampled": 7}, where="model"), 30)
    torch.manual_seed(0)
    plain = Elmo(build(ElmoOptions, options, where="model"), 30)
    assert torch.equal(cross_entropy(sampling.eval(), batch).sum, cross_entropy(plain, batch).sum)
    sampling.train()
    first, second = cross_entropy(sampling, batch), cross_entropy(sampling, batch)
    assert not torch.equal(first.sum, second.sum)
    assert first.count == 5
    first.sum.backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in sampling.parameters())
    with pytest.raises(ConfigError, match=r"training\.z_loss: cannot take effect on a sample of the words"):
        cross_entropy(sampling, batch, z_loss=1e-4)
