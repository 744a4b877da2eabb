"""What any way of transfer must keep to, on any model that it is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from textfer.adapt import Method, make_method, method_section
from textfer.adapt.adapted import Adapted, adapt, holds_changes, lay_changes, take_up, weights_digest
from textfer.batch import Batch
from textfer.errors import CheckpointError
from textfer.models import Model, load_model
from textfer.testing.models import (
    CLOSE,
    check_writing,
    near,
    numbers,
    refused,
    said,
    same,
    trial_batch,
    trial_examples,
)
from textfer.training.loss import loss_of
from textfer.training.optim import OptimOptions, make_optimizer

LR = 0.05
SEED = 7


def check_method(
    method: Method, base: Path, folder: Path, *, num_steps: int = 6, heads: Mapping[str, int] | None = None
) -> None:
    """Checks a way of transfer on the small model in the folder `base`, which stays as it is; writes into `folder`.

    Checked: its section makes it again; the same seed begins the same; what moves is what the plan says, and nothing
    else moves or costs an optimiser's memory; what is saved holds all that moved, is smaller than the model where the
    method is `partial`, and gives the same outputs when it is laid upon the base; another base is refused in one line;
    a run taken up again is the unbroken one; and of a model that writes, token by token is the whole pass.

    Errors: AssertionError that says what is wrong; ConfigError where the method is not for this model.
    """
    adapted = _begun(method, base, num_steps)
    at = f"method {method_section(method)['name']}"
    assert make_method(method_section(method)) == method, f"{at}: its section makes another method"
    assert same(numbers(adapted.model), numbers(_begun(method, base, num_steps).model)), (
        f"{at}: the same seed begins otherwise"
    )
    batch = _batch(adapted.model, heads)
    _check_moves(adapted, batch, num_steps, at)
    changed = said(adapted.model.eval(), batch)
    assert not near(changed, said(load_model(base).eval(), batch)), f"{at}: training has no effect"
    _check_saved(adapted, base, folder / "saved", changed, batch)
    if method.partial:
        _check_other_base(base, folder, at)
    _check_resumed(method, base, folder / "halfway", num_steps, batch)
    if hasattr(adapted.model, "begin"):
        check_writing(adapted.model, at)


def _begun(method: Method, base: Path, num_steps: int) -> Adapted:
    return adapt(load_model(base), method, num_steps=num_steps, seed=SEED, base=str(base))


def _batch(model: Model, heads: Mapping[str, int] | None) -> Batch:
    examples = trial_examples(model, heads or {})
    return trial_batch(model, [examples[:1], examples[1:3], examples[3:]])


def _step(adapted: Adapted, optimizer: torch.optim.Optimizer, step: int, batch: Batch) -> None:
    trainable = adapted.plan.trainable(step)
    for name, weight in adapted.model.named_parameters():
        weight.requires_grad_(name in trainable)
    torch.autograd.backward(loss_of(adapted.model, batch).sum)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _check_moves(adapted: Adapted, batch: Batch, num_steps: int, at: str) -> None:
    """All steps, and what they moved."""
    model, plan = adapted.model, adapted.plan
    before = numbers(model)
    optimizer = make_optimizer(list(model.named_parameters()), OptimOptions(name="adamw", lr=LR))
    for step in range(num_steps):
        _step(adapted, optimizer, step, batch)
    declared: frozenset[str] = frozenset().union(*(plan.trainable(step) for step in range(num_steps)))
    moved = {name for name, value in numbers(model).items() if not torch.equal(value, before[name])}
    assert moved <= declared, f"{at}: moves {sorted(moved - declared)}, which the plan leaves alone"
    assert declared <= moved, f"{at}: leaves {sorted(declared - moved)} alone, which the plan moves"
    assert declared <= plan.saved, f"{at}: moves {sorted(declared - plan.saved)} and does not save them"
    assert plan.saved <= before.keys(), f"{at}: saves {sorted(plan.saved - before.keys())}, which the model lacks"
    remembered = {name for name, weight in model.named_parameters() if weight in optimizer.state}
    assert remembered <= declared, f"{at}: {sorted(remembered - declared)} stand still and cost memory"


def _check_saved(adapted: Adapted, base: Path, folder: Path, changed: Tensor, batch: Batch) -> None:
    at = f"method {method_section(adapted.method)['name']}"
    partial = adapted.method.partial
    before = weights_digest(load_model(base))
    adapted.save(folder)
    assert weights_digest(load_model(base)) == before, f"{at}: saving changed the base"
    assert holds_changes(folder) is partial, f"{at}: partial is {partial}, and its files say otherwise"
    if partial:
        ours = sum(weight.numel() for name, weight in adapted.model.named_parameters() if name in adapted.plan.saved)
        whole = sum(weight.numel() for weight in load_model(base).parameters())
        assert ours < whole, f"{at}: saves {ours} numbers, the whole model has {whole}"
    again = lay_changes(folder, load_model(base)) if partial else load_model(folder)
    difference = (said(again.eval(), batch) - changed).abs().max().item()
    assert difference <= CLOSE * (1 + changed.abs().max().item()), f"{at}: loaded it says otherwise, by {difference}"


def _check_other_base(base: Path, folder: Path, at: str) -> None:
    other = load_model(base)
    with torch.no_grad():
        next(iter(other.parameters())).view(-1)[0] += 1
    refused(lambda: lay_changes(folder / "saved", other), CheckpointError, f"{at}: another base")


def _check_resumed(method: Method, base: Path, folder: Path, num_steps: int, batch: Batch) -> None:
    """A run of plain descent, left and taken up again half-way, ends where the unbroken one ends."""
    half, ends = num_steps // 2, []
    for breaks in (False, True):
        adapted = _begun(method, base, num_steps)
        for step in range(num_steps):
            if breaks and step == half:
                adapted.save(folder)
                under = base if method.partial else folder
                adapted = adapt(load_model(under), method, num_steps=num_steps, seed=SEED, base=str(base))
                if method.partial:
                    take_up(folder, adapted)
            _step(adapted, torch.optim.SGD(list(adapted.model.parameters()), lr=LR / 10), step, batch)
        ends.append(numbers(adapted.model))
    assert same(*ends), f"method {method_section(method)['name']}: taken up half-way it ends elsewhere"
