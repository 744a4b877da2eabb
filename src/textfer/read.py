"""What a model with heads answers to examples: the counterpart of `generate` for models that read.

Letters: E examples, L tokens of a row, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from textfer.batch import Batch, Example, Float32
from textfer.data.framing import (
    SpanAnswer,
    best_spans,
    decode_tags,
    null_score,
    probabilities,
)
from textfer.data.headed import Framing, Read, head_of, word_places
from textfer.data.layout import LAYOUTS, Lens
from textfer.data.task import Task, choices_of
from textfer.data.tasks.squad import NO_ANSWER
from textfer.data.tasks.tagging import entities_of, entities_text
from textfer.errors import ConfigError
from textfer.heads import Head
from textfer.models.headed import Headed
from textfer.tokenizers import Tokenizer

MAX_LEN = 384
"""Tokens of one reading, marks included, where the model takes more. **Source**: run_squad.py of BERT's release."""
MAX_ANSWER = 30
"""Tokens of the longest answer; from the same place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a head says of one example."""

    text: str
    """In the task's own form: a label word, a number, an answer, entities."""
    log_probs: tuple[float, ...] = ()
    """Of the example's choices, where the head weighs them."""
    spans: tuple[SpanAnswer, ...] = ()
    """The best answers of a span head, best first."""
    probs: tuple[float, ...] = ()
    """The shares of `spans` among themselves and, last, "no answer"."""
    no_answer: float = 0.0
    """The score of "no answer" above that of the best answer."""


@final
class HeadPredictor:
    """A model with heads and its vocabulary."""

    def __init__(self, model: Headed, tokenizer: Tokenizer, *, max_len: int | None = None) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_len = min(one for one in (max_len, model.max_len, None if max_len else MAX_LEN) if one is not None)

    def head_for(self, task: Task, examples: Sequence[Example]) -> Head:
        """The head that answers a task: the one trained on it, else one of the same kind with the same labels.

        Errors: ConfigError where there is none.
        """
        heads = list(self.model.kinds.values())
        if own := [head for head in heads if task.name in head.tasks]:
            return own[0]
        wanted = head_of(task, [*samples_of(task), *examples])
        if fits := [head for head in heads if head.kind == wanted.kind and set(wanted.labels) <= set(head.labels)]:
            return fits[0]
        there = ", ".join(f"{head.kind} ({', '.join(head.tasks)})" for head in heads)
        raise ConfigError(f"task '{task.name}': needs a {wanted.kind} head, and the model has {there}. Train one.")

    def find(self, task: Task, examples: Sequence[Example], *, batch_size: int = 32) -> list[Found]:
        """What is said of every example, in order. Errors: ConfigError where the model has no head for the task."""
        found = dict(self.find_each(task, examples, batch_size=batch_size))
        return [found[number] for number in range(len(examples))]

    def find_each(
        self, task: Task, examples: Sequence[Example], *, batch_size: int = 32
    ) -> Iterator[tuple[int, Found]]:
        """(number of the example, what is said of it), batch by batch: the longest first."""
        head = self.head_for(task, examples)
        framing = Framing(
            tokenizer=self.tokenizer, head=head, max_len=self.max_len, both_orders=self.model.options.both_orders
        )
        read = framing(examples)
        lens = [sum(len(one.ids.inputs) for one in some) for some in read]
        order = sorted(range(len(read)), key=lambda number: -lens[number])
        teller = Teller(task, head)
        for start in range(0, len(order), batch_size):
            numbers = order[start : start + batch_size]
            for number, said in zip(numbers, self._said([read[number] for number in numbers], head), strict=True):
                yield number, teller(examples[number], read[number], said)

    def _said(self, read: Sequence[Sequence[Read]], head: Head) -> list[list[Mapping[str, Float32]]]:
        """What the head says of each reading of each example: [S] or [S, C] of a token, or [C] of it all."""
        rows = [[replace(one.ids, heads={})] for some in read for one in some]
        lens = Lens(max(len(row[0].inputs) for row in rows), 0)
        told = self._told(LAYOUTS["pair"].arrange(rows, lens, self.tokenizer.specials))
        arrays = {name: told[name].float().cpu().numpy() for name in head.outputs}
        by_token = head.kind in ("span", "tag")
        each = iter(
            {name: array[at, : len(ids.inputs)] if by_token else array[at] for name, array in arrays.items()}
            for at, (ids,) in enumerate(rows)
        )
        return [[next(each) for _ in some] for some in read]

    @torch.inference_mode()
    def _told(self, batch: Batch) -> Mapping[str, Tensor]:
        assert not self.model.training, "reading needs model.eval()"
        heads: Mapping[str, Tensor] = self.model(batch.to(next(self.model.parameters()).device)).heads
        return heads


def samples_of(task: Task) -> list[Example]:
    """The examples of the task's own sample rows."""
    return [example for row in task.sample for example in task.to_examples(row, f"{task.name}/sample")]


@final
class Teller:
    """Turns what a head says into a task's own words."""

    def __init__(self, task: Task, head: Head) -> None:
        self.task, self.head = task, head
        samples = samples_of(task)
        self.may_be_none = any(example.targets == NO_ANSWER for example in samples)
        """Whether the task has questions without an answer."""
        self.tags_alone = bool(samples) and all(
            example.targets == " ".join(span.label for span in example.spans) for example in samples
        )
        """Whether its text is one tag a word, and no list of entities."""

    def __call__(self, example: Example, read: Sequence[Read], said: Sequence[Mapping[str, Float32]]) -> Found:
        """What is said of one example."""
        name, first = self.head.name, said[0]
        if self.head.kind == "number":
            return Found(text=f"{float(first[name]):.6g}")
        if self.head.kind == "span":
            return self._span(example, read, said)
        if self.head.kind == "tag":
            return self._tags(example, read[0], first[name])
        words = choices_of(self.task, example) or self.head.labels
        labels = example.facts["choices"] if self.head.kind == "choice" else self.head.labels
        scores = first[name][: len(labels)].astype(np.float64)
        shares = scores - scores.max()
        shares -= np.log(np.exp(shares).sum())
        by_word = dict(zip(labels, shares.tolist(), strict=True))
        if not set(words) <= by_word.keys():
            raise ConfigError(
                f"{example.origin}: the head says {', '.join(labels[:8])}, expected {', '.join(words[:8])}."
            )
        return Found(text=max(words, key=by_word.__getitem__), log_probs=tuple(by_word[word] for word in words))

    def _span(self, example: Example, read: Sequence[Read], said: Sequence[Mapping[str, Float32]]) -> Found:
        frames = [one.frames[0] for one in read]
        starts, ends = ([one[output] for one in said] for output in self.head.outputs)
        text = list(example.fields.values())[-1]
        answers = best_spans(frames, starts, ends, text, max_answer=MAX_ANSWER)
        none = null_score(starts, ends)
        gap = none - answers[0].score if answers else np.inf
        threshold = self.head.threshold or 0.0
        says_none = not answers or (self.may_be_none and gap > threshold)
        return Found(
            text=NO_ANSWER if says_none else answers[0].text,
            spans=tuple(answers),
            probs=tuple(probabilities(answers, none).tolist()),
            no_answer=float(gap),
        )

    def _tags(self, example: Example, read: Read, said: Float32) -> Found:
        tags = decode_tags(read.frames, [said.argmax(-1)], word_places(example), self.head.labels)
        if self.tags_alone:
            return Found(text=" ".join(tag.partition("-")[2] or tag for tag in tags))
        words = example.fields["sentence"].split(" ")
        return Found(text=entities_text(words, entities_of(tags)))
