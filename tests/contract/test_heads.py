"""What models with heads make of every registered task: a head that reads, learns and answers it, or one line.

Nothing is listed here: the registry is walked through, each task on its own sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from textfer.batch import NO_TARGET, Example
from textfer.data.headed import Framing, Read, head_of
from textfer.data.layout import LAYOUTS, Lens
from textfer.data.task import TASKS, Task
from textfer.data.tasks.forms import UNKNOWN
from textfer.errors import ConfigError
from textfer.heads import Head
from textfer.models.bert import Bert
from textfer.models.headed import Headed
from textfer.read import HeadPredictor, Teller, samples_of
from textfer.tokenizers import load_tokenizer
from textfer.training.loss import loss_of

MAX_LEN = 256
SURE = 9.0
NAMES = [name for name in TASKS.names() if not TASKS.get(name).plain]
BYTES = load_tokenizer("bytes")
SHAPE = {"model_dim": 8, "ff_dim": 8, "num_heads": 1, "num_layers": 1, "max_positions": MAX_LEN, "dropout": 0.0}


def headed(task: Task, examples: Sequence[Example]) -> Head | None:
    """The task's head; None where there is none."""
    try:
        return head_of(task, examples)
    except ConfigError:
        return None


@pytest.fixture(scope="module")
def reader() -> Bert:
    torch.manual_seed(0)
    return Bert.make(SHAPE, vocab_size=BYTES.vocab_size)


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_learns_and_answers_it(name: str, reader: Bert) -> None:
    task = TASKS.get(name)
    examples = samples_of(task)
    head = headed(task, examples)
    if head is None:
        with pytest.raises(ConfigError, match=f"^task '{name}': .*Name another task, or a model that writes.*$"):
            head_of(task, examples)
        return
    read = Framing(tokenizer=BYTES, head=head, max_len=MAX_LEN)(examples)
    rows = [[one.ids] for some, ex in zip(read, examples, strict=True) if task.learnt(ex) for one in some]
    rows = [row for row in rows if row[0].num_targets]
    assert rows, "no example of its sample teaches the head anything"
    model = Headed(reader, [head])
    model.zero_grad()
    batch = LAYOUTS["pair"].arrange(rows, Lens(MAX_LEN, 0), BYTES.specials)
    loss = loss_of(model, batch)
    assert float(loss.count) == sum(row[0].num_targets for row in rows)
    (loss.sum / loss.count).backward()
    grads = [weight.grad for _, weight in model.own_parameters()]
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in grads)
    assert any(bool(grad.any()) for grad in grads if grad is not None)
    for found, example in zip(HeadPredictor(model.eval(), BYTES).find(task, examples), examples, strict=True):
        answer = task.answer(found.text, example)
        assert isinstance(str(answer), str)
        if head.kind in ("class", "choice"):
            assert found.text in (task.choices or example.facts["choices"])


@pytest.mark.parametrize("name", NAMES)
def test_a_head_that_is_right_gets_full_marks(name: str) -> None:
    """What the heads should have learnt, said by them with certainty, is as good as the gold targets."""
    task = TASKS.get(name)
    examples = [example for example in samples_of(task) if task.learnt(example) and example.targets != UNKNOWN]
    head = headed(task, samples_of(task))
    if head is None or task.metrics is None:
        return
    read = Framing(tokenizer=BYTES, head=head, max_len=MAX_LEN)(examples)
    teller = Teller(task, head)
    said = [
        teller(example, some, [sure(head, one) for one in some]) for example, some in zip(examples, read, strict=True)
    ]
    ours = task.metrics([task.answer(one.text, ex) for one, ex in zip(said, examples, strict=True)], examples)
    gold = task.metrics([task.answer(ex.targets, ex) for ex in examples], examples)
    lead = next(iter(gold))
    room = 0.1 if head.kind == "number" else 1e-6  # target texts are rounded
    assert ours[lead] == pytest.approx(gold[lead], abs=room, nan_ok=True), [one.text for one in said]


def sure(head: Head, read: Read) -> Mapping[str, Any]:
    """What a head says that is sure of what it should say."""
    told = read.ids.heads
    if head.kind == "number":
        return {head.name: np.float32(told[head.name])}
    if head.kind == "tag":
        numbers = np.where(told[head.name] == NO_TARGET, 0, told[head.name])
        return {head.name: SURE * np.eye(len(head.labels), dtype=np.float32)[numbers]}
    if head.kind == "span":
        return {out: SURE * np.eye(len(read.ids.inputs), dtype=np.float32)[told[out]] for out in head.outputs}
    count = len(head.labels) if head.kind == "class" else len(read.frames)
    return {head.name: SURE * np.eye(count, dtype=np.float32)[told[head.name]]}
