"""The test kit finds what is broken: one fault a part, each named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from textfer.adapt import METHODS, Method, Plan, one_stage
from textfer.batch import Batch, Output, Run
from textfer.models import MODELS
from textfer.models.gpt import GPT
from textfer.testing import check_method, check_model

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = {"model_dim": 16, "num_layers": 2, "num_heads": 2, "ff_dim": 24, "context_len": 32}


class Forgetful(GPT):
    """Saves a table that is not its own."""

    def save(self, folder: Path, *, max_shard_bytes: int = 10**9) -> None:
        with torch.no_grad():
            self.embedding.weight[5] += 1
        super().save(folder, max_shard_bytes=max_shard_bytes)
        with torch.no_grad():
            self.embedding.weight[5] -= 1


class Topless(GPT):
    """Says nothing of its last norm."""

    def depth(self) -> list[list[str]]:
        return [[name for name in group if name != "norm.weight"] for group in super().depth()]


class Eager(GPT):
    """`forward` is not what `states` says."""

    def forward(self, batch: Batch) -> Output:
        out = super().forward(batch)
        assert out.logits is not None
        return Output(logits=out.logits * 1.01, hidden=out.hidden)


class Restless(GPT):
    """Drops in eval too."""

    def eval(self) -> Restless:
        return self.train(bool(self.options.dropout))


class Endless(GPT):
    """Takes what it has no positions for."""

    def _side(self, batch: Batch) -> Any:
        return batch.decoder


class Careless(GPT):
    """Reads across the examples of a row."""

    def _side(self, batch: Batch) -> Any:
        side = super()._side(batch)
        ends = {run.row: run.end for run in side.runs}
        return replace(side, runs=tuple(Run(row, 0, end) for row, end in ends.items()))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Forgetful, "loaded weights are not those that were saved"),
        (Topless, r"depth\(\) names twice \[\], not \['norm.weight'\]"),
        (Eager, "forward and states disagree"),
        (Restless, "dropout does not rest in eval"),
        (Endless, "a text beyond max_len ends in a IndexError, not in a DataError"),
        (Careless, "packed examples say other than alone"),
    ],
    ids=lambda part: part.__name__ if isinstance(part, type) else "",
)
def test_a_broken_model_is_found(
    broken: type[GPT], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS._parts, "gpt", broken)
    with pytest.raises(AssertionError, match=words):
        check_model("gpt", TINY, tmp_path)


class Loud(Method):
    """Says that it moves the first norm, and moves nothing."""

    def plan(self, model: Any, *, num_steps: int) -> Plan:
        names = [name for name, _ in model.named_parameters()]
        return Plan(stages=((0, frozenset(names[-2:])), (num_steps, frozenset(names[:2]))), saved=frozenset())


class Loose(Method):
    """Says that it saves a part, and saves the whole model."""

    partial = True

    def plan(self, model: Any, *, num_steps: int) -> Plan:
        return one_stage(name for name, _ in model.named_parameters())


class Whole(Method):
    """Leaves most as it is, and begins with its table moved."""

    def install(self, model: Any, *, seed: int) -> None:
        with torch.no_grad():
            model.embedding.weight.add_(torch.randn(()))

    def plan(self, model: Any, *, num_steps: int) -> Plan:
        return one_stage(["norm.weight"])


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (Loud, r"moves \['norm.bias', 'norm.weight'\] and does not save them"),
        (Loose, r"saves \d+ numbers, the whole model has \d+"),
        (Whole, "the same seed begins otherwise"),
    ],
    ids=lambda part: part.__name__ if isinstance(part, type) else "",
)
def test_a_broken_method_is_found(broken: Callable[[], Method], words: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    GPT.make({**TINY, "dropout": 0.0}, vocab_size=40).save(tmp_path / "base")
    with METHODS.temporary("broken", broken), pytest.raises(AssertionError, match=words):  # type: ignore[arg-type]
        check_method(broken(), tmp_path / "base", tmp_path)
