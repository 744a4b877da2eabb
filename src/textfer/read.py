"""What a model with heads answers to examples: the counterpart of `generate` for models that read.

Letters: E examples, L tokens of a row, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from textfer.batch import Batch, Example, Float32, Span
from textfer.data.framing import (
    SpanAnswer,
    Threshold,
    best_spans,
    decode_tags,
    null_score,
    probabilities,
    tune_threshold,
)
from textfer.data.headed import SENTENCE, Framing, Read, head_of, tagged_field, word_places
from textfer.data.layout import LAYOUTS, Lens
from textfer.data.task import Task, choices_of
from textfer.data.tasks.forms import UNKNOWN
from textfer.data.tasks.squad import NO_ANSWER
from textfer.data.tasks.tagging import BETWEEN, NO_ENTITY, entities_of, entities_text
from textfer.errors import ConfigError
from textfer.heads import Head
from textfer.models.headed import Headed
from textfer.tokenizers import Tokenizer

MAX_LEN = 384
"""Tokens of one reading, marks included, where nothing says how long those of training were.

**Source**: run_squad.py of BERT's release.
"""
LISTED = 8
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
    """The shares of `spans` among themselves and, last, of "no answer" where that may be said."""
    no_answer: float = 0.0
    """The score of "no answer" above that of the best answer."""
    no_answer_prob: float | None = None
    """The share of "no answer", where that may be said."""
    says_none: bool = False
    """Whether `text` is no text but says that there is no answer."""
    knows_none: bool = False
    """Whether a span head has learnt to say "no answer", though a task may have no use for it."""
    num_windows: int = 1
    """Windows in which a span head read the text."""
    entities: tuple[Span, ...] = ()
    """What a tag head found, in order."""


@final
class HeadPredictor:
    """A model with heads and its vocabulary."""

    def __init__(self, model: Headed, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def head_for(self, task: Task, examples: Sequence[Example]) -> Head:
        """The head that answers a task: the one trained on it, else one of the same kind that has its labels.

        Errors: ConfigError where there is none.
        """
        heads = list(self.model.kinds.values())
        try:
            wanted = head_of(task, [*samples_of(task), *examples])
        except ConfigError:
            said = {example.targets for example in examples} - {UNKNOWN}
            if fits := [head for head in heads if head.kind == "class" and said and said <= set(head.labels)]:
                return fits[0]  # a file of few rows, which do not show that they are labels
            raise
        same = [head for head in heads if head.kind == wanted.kind]
        fits = [head for head in same if set(wanted.labels) <= set(head.labels)]
        if own := [head for head in same if task.name in head.tasks and (head in fits or head.kind == "tag")]:
            return own[0]
        if fits:
            return fits[0]
        raise ConfigError(f"task '{task.name}': needs {told([wanted])}, and the model has {told(heads)}. Train one.")

    def len_for(self, head: Head) -> int:
        """The longest reading: as in training, as far as the model has places."""
        most = head.max_len or MAX_LEN
        return most if self.model.max_len is None else min(most, self.model.max_len)

    def find(
        self, task: Task, examples: Sequence[Example], *, batch_size: int = 32, max_len: int | None = None
    ) -> list[Found]:
        """What is said of every example, in order. Errors: ConfigError where the model has no head for the task."""
        found = dict(self.find_each(task, examples, batch_size=batch_size, max_len=max_len))
        return [found[number] for number in range(len(examples))]

    def find_each(
        self, task: Task, examples: Sequence[Example], *, batch_size: int = 32, max_len: int | None = None
    ) -> Iterator[tuple[int, Found]]:
        """(number of the example, what is said of it), batch by batch: the longest first."""
        yield from self.said_each(self.head_for(task, examples), task, examples, batch_size=batch_size, max_len=max_len)

    def tune(self, *asked: tuple[Task, Sequence[Example]], found: Sequence[Sequence[Found]] | None = None) -> Threshold:
        """How sure "no answer" must be, by these tasks' examples, to be said; from now on their head says it so.

        `found`: what it says of them, where that is known already. The score of an answer is its task's F1, or the
        leading score where it has none. Errors: ConfigError where a task's head finds no answers in texts, nothing
        marks it, or it has another head than the first.
        """
        gaps: list[float] = []
        scores: list[float] = []
        heads = [self.head_for(task, examples) for task, examples in asked]
        for head, (task, _) in zip(heads, asked, strict=True):
            if head.kind != "span" or task.metrics is None:
                raise ConfigError(f"task '{task.name}': has no answers to be found in texts and marked. Name another.")
            if head != heads[0]:
                raise ConfigError(f"task '{task.name}': has a head of its own. Tune it by itself.")
        if found is None:
            found = [self.find(task, examples) for task, examples in asked]
        for (task, examples), said in zip(asked, found, strict=True):
            assert task.metrics is not None
            gaps += [one.no_answer for one in said]
            for one, example in zip(said, examples, strict=True):
                text = one.spans[0].text if one.spans else ""
                marks = task.metrics([task.answer(text, example)], [example])
                scores.append(marks.get("f1", next(iter(marks.values()))) / 100)
        whole = [example for _, examples in asked for example in examples]
        has_answer = [example.targets != NO_ANSWER for example in whole]
        tuned = tune_threshold(gaps, scores, has_answer, [gap < np.inf for gap in gaps])
        self.model.kinds[heads[0].name] = heads[0].model_copy(update={"threshold": tuned.value})
        return tuned

    def said_each(
        self, head: Head, task: Task, examples: Sequence[Example], *, batch_size: int = 32, max_len: int | None = None
    ) -> Iterator[tuple[int, Found]]:
        """The same, said by this head."""
        if max_len is not None and self.model.max_len is not None and max_len > self.model.max_len:
            raise ConfigError(f"max_len: got {max_len}, and the model has {self.model.max_len} positions. Lower it.")
        framing = Framing(
            tokenizer=self.tokenizer,
            head=head,
            max_len=max_len or self.len_for(head),
            both_orders=self.model.options.both_orders,
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


def told(heads: Sequence[Head]) -> str:
    """The heads in words: `a class head (no, yes) of boolq`."""
    parts = []
    for head in heads:
        labels = f" ({', '.join(head.labels[:LISTED])}{', …' if len(head.labels) > LISTED else ''})"
        parts.append(f"a {head.kind} head{labels if head.labels else ''} of {', '.join(head.tasks) or 'its own'}")
    return "; ".join(parts) or "none"


@final
class Teller:
    """Turns what a head says into a task's own words."""

    def __init__(self, task: Task, head: Head) -> None:
        self.task, self.head = task, head
        samples = samples_of(task)
        self.may_be_none = head.threshold is not None and (
            not samples or any(example.targets == NO_ANSWER for example in samples)
        )
        """Whether the task has questions without an answer; of a file that is not known, and the head decides."""
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
            return self._tags(example, read, [one[name].argmax(-1) for one in said])
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
        text = (list(example.fields.values()) or [example.inputs])[-1]
        answers = best_spans(frames, starts, ends, text, max_answer=MAX_ANSWER)
        none = null_score(starts, ends)
        gap = none - answers[0].score if answers else np.inf
        threshold = self.head.threshold or 0.0
        says_none = not answers or (self.may_be_none and gap > threshold)
        probs = tuple(probabilities(answers, none if self.may_be_none else None).tolist())
        return Found(
            text=NO_ANSWER if says_none else answers[0].text,
            spans=tuple(answers),
            probs=probs,
            no_answer_prob=probs[-1] if self.may_be_none else None,
            no_answer=float(gap),
            says_none=says_none,
            knows_none=self.head.threshold is not None,
            num_windows=len(read),
        )

    def _tags(self, example: Example, read: Sequence[Read], said: Sequence[NDArray[np.int64]]) -> Found:
        field = tagged_field(example)
        text, number = example.fields[field], list(example.fields).index(field)
        places = word_places(text, blanks=field == SENTENCE)
        tags = decode_tags([one.frames[0] for one in read], said, places, self.head.labels, number)
        entities = entities_of([tag if tag[:2] in ("B-", "I-") or tag == "O" else f"B-{tag}" for tag in tags])
        spans = tuple(
            Span(field, int(places[start, 0]), int(places[end - 1, 1]), label) for label, start, end in entities
        )
        if self.tags_alone:
            said_text = " ".join(tag.partition("-")[2] or tag for tag in tags)
        elif field == SENTENCE:
            said_text = entities_text(text.split(" "), entities)
        else:
            said_text = BETWEEN.join(f"{span.label}: {text[span.start : span.end]}" for span in spans) or NO_ENTITY
        return Found(text=said_text, entities=spans)
