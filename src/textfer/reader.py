"""Texts put to a model with heads: questions, classes, tags, numbers and choices, without a task's files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias, final, overload

import numpy as np

from textfer.answer import Texts
from textfer.answered import Answer, answer_of
from textfer.batch import Example, Float32
from textfer.calibration import SURE, Calibration
from textfer.choices import Ranked
from textfer.data.framing import MAX_QUESTION
from textfer.data.source import Source
from textfer.data.task import Task
from textfer.embed import Embedder, EmbedOptions
from textfer.errors import ConfigError
from textfer.generate import Decoding
from textfer.heads import Head, Kind
from textfer.merging import Heard, Named, merge_windows
from textfer.read import Found, HeadPredictor, told

Text: TypeAlias = str | tuple[str, ...]
"""One text, or a pair that is read together: premise and hypothesis, two sentences."""
NEEDS = {
    "span": "a span head, as training on squad gives",
    "class": "a class head, as training on sst2 gives",
    "tag": "a tag head, as training on wnut_17 gives",
    "number": "a number head, as training on stsb gives",
    "choice": "a choice head, as training on copa gives",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """Some words of a text, and what they are."""

    label: str
    text: str
    start: int
    """Where they stand, in characters."""
    end: int


@final
class TextReader:
    """A loaded model with heads. One text in gives one result; a list gives a list.

    `task` names the head where the model has several of a kind: a task that it was trained on.
    """

    def __init__(self, predictor: HeadPredictor, name: str, *, rule: EmbedOptions | None = None) -> None:
        """`rule`: how texts become vectors where nothing else is said."""
        self.predictor = predictor
        self.name = name
        self.rule = rule or EmbedOptions()

    def __repr__(self) -> str:
        num = sum(parameter.numel() for parameter in self.predictor.model.parameters())
        return f"TextReader({self.name!r}, {num:,} parameters, {told(self.heads)})"

    @property
    def heads(self) -> list[Head]:
        """What it can say."""
        return list(self.predictor.model.kinds.values())

    @property
    def calibration(self) -> Calibration | None:
        """What the shares of its answers mean; None where it was not fitted, or the model finds none."""
        return next((head.calibration for head in self.heads if head.kind == "span"), None)

    @overload
    def answer(
        self, question: str, *, context: str | None = None, decoding: Decoding | None = None, candidates: int = 0
    ) -> Answer: ...
    @overload
    def answer(
        self,
        question: Texts,
        *,
        context: str | Texts | None = None,
        decoding: Decoding | None = None,
        candidates: int = 0,
    ) -> list[Answer]: ...
    def answer(
        self,
        question: str | Texts,
        *,
        context: str | Texts | None = None,
        decoding: Decoding | None = None,
        candidates: int = 0,
    ) -> Answer | list[Answer]:
        """The stretch of `context` that answers the question; contexts of any length are read in windows.

        With `candidates` so many of the likeliest answers are listed, of different places.
        Errors: ConfigError without a context, for an empty question or context, lists of different lengths, or a way of
        writing (`decoding`), of which only `max_input_tokens` and `batch_size` mean something here.
        """
        questions = [question] if isinstance(question, str) else list(question)
        if context is None:
            raise ConfigError("answer: no context, and this model only finds answers in one. Give a text.")
        contexts = [context] * len(questions) if isinstance(context, str) else list(context)
        found = self._asked(questions, contexts, decoding)
        answers = [
            answer_of(
                merge_windows([heard_of(one)], [0]),
                text,
                calibration=self.calibration,
                candidates=candidates,
                num_read=one.num_windows,
                note=self._cut_off(question),
            )
            for question, one, text in zip(questions, found, contexts, strict=True)
        ]
        return answers[0] if isinstance(question, str) else answers

    def weigh(self, question: str, contexts: Sequence[str], *, decoding: Decoding | None = None) -> list[Heard]:
        """What it says of every passage, several answers each, in odds that compare across passages; see `merging`.

        Where "no answer" was never learnt, the odds are those of the raw scores, and "no answer" has next to no share.
        """
        found = self._asked([question] * len(contexts), list(contexts), decoding)
        top = max((one.spans[0].score for one in found if one.spans), default=0.0)
        return [heard_of(one, top=top) for one in found]

    def weigh_each(
        self, questions: Sequence[str], contexts: Sequence[str], *, decoding: Decoding | None = None
    ) -> list[Heard]:
        """The same of every question about its own context."""
        return [heard_of(one) for one in self._asked(list(questions), list(contexts), decoding)]

    def _cut_off(self, question: str) -> str | None:
        """What is not read of a question that is too long."""
        if len(question) <= MAX_QUESTION:
            return None
        count = len(self.predictor.tokenizer.encode_places(question)[0])
        return f"read the first {MAX_QUESTION} of the question's {count:,} tokens" if count > MAX_QUESTION else None

    def _asked(self, questions: list[str], contexts: list[str], decoding: Decoding | None) -> list[Found]:
        """What the head says of every question about its context."""
        head = self._head("span", None, "answer")
        ways = decoding or Decoding()
        if ways.beams > 1 or ways.sample:
            raise ConfigError("answer: beams and sampling cannot take effect, this model reads and writes nothing.")
        if len(contexts) != len(questions):
            raise ConfigError(f"answer: got {len(questions)} questions and {len(contexts)} contexts, expected as many.")
        examples = []
        for one, text in zip(questions, contexts, strict=True):
            for what, value in (("question", one), ("context", text)):
                if not value.strip():
                    raise ConfigError(f"answer: the {what} is empty.")
            examples.append(_example({"question": one, "context": text}))
        return self._found(head, examples, batch_size=ways.batch_size, max_len=ways.max_input_tokens)

    @overload
    def classify(self, text: Text, *, task: str | None = None) -> Ranked: ...
    @overload
    def classify(self, text: list[Text], *, task: str | None = None) -> list[Ranked]: ...
    def classify(self, text: Text | list[Text], *, task: str | None = None) -> Ranked | list[Ranked]:
        """The likeliest of the head's labels, and the share of every one.

        Errors: ConfigError where the model has no such head.
        """
        head = self._head("class", task, "classify")
        found = self._found(head, [_example(_fields(one)) for one in _many(text)])
        ranked = [_ranked(one, head.labels) for one in found]
        return ranked if isinstance(text, list) else ranked[0]

    @overload
    def rate(self, text: Text, *, task: str | None = None) -> float: ...
    @overload
    def rate(self, text: list[Text], *, task: str | None = None) -> list[float]: ...
    def rate(self, text: Text | list[Text], *, task: str | None = None) -> float | list[float]:
        """The number that the head gives. Errors: ConfigError where the model has no such head."""
        head = self._head("number", task, "rate")
        found = [float(one.text) for one in self._found(head, [_example(_fields(one)) for one in _many(text)])]
        return found if isinstance(text, list) else found[0]

    @overload
    def tag(self, text: str, *, task: str | None = None) -> list[Tagged]: ...
    @overload
    def tag(self, text: list[str], *, task: str | None = None) -> list[list[Tagged]]: ...
    def tag(self, text: str | list[str], *, task: str | None = None) -> list[Tagged] | list[list[Tagged]]:
        """The words that have a tag, in order; words of one entity together.

        Errors: ConfigError where the model has no such head.
        """
        texts = text if isinstance(text, list) else [text]
        found = self._found(self._head("tag", task, "tag"), [_example({"text": one}) for one in texts])
        tagged = [
            [
                Tagged(label=span.label, text=one[span.start : span.end], start=span.start, end=span.end)
                for span in spans
            ]
            for one, spans in zip(texts, (said.entities for said in found), strict=True)
        ]
        return tagged if isinstance(text, list) else tagged[0]

    @overload
    def choose(self, text: Text, *, options: Texts, task: str | None = None) -> Ranked: ...
    @overload
    def choose(self, text: list[Text], *, options: Sequence[Texts], task: str | None = None) -> list[Ranked]: ...
    def choose(
        self, text: Text | list[Text], *, options: Texts | Sequence[Texts], task: str | None = None
    ) -> Ranked | list[Ranked]:
        """The best of several answers or endings, and the share of every one; a list takes a list of options each.

        Errors: ConfigError where the model has no such head, for fewer than two options, or one that stands twice.
        """
        texts = _many(text)
        lists = [tuple(map(str, some)) for some in (options if isinstance(text, list) else [options])]
        if len(lists) != len(texts):
            raise ConfigError(f"choose: got {len(texts)} texts and {len(lists)} lists of options, expected as many.")
        for some in lists:
            if len(set(some)) < max(len(some), 2):
                raise ConfigError(
                    f"choose: got the options {', '.join(some) or 'none'}, expected two or more, all different."
                )
        examples = [
            _example(_fields(one), {"options": some, "choices": some}) for one, some in zip(texts, lists, strict=True)
        ]
        found = self._found(self._head("choice", task, "choose"), examples)
        ranked = [_ranked(one, some) for one, some in zip(found, lists, strict=True)]
        return ranked if isinstance(text, list) else ranked[0]

    def embed(self, text: str | Texts, *, options: EmbedOptions | None = None) -> Float32:
        """[D] the text as a vector; of several [E, D], in their order. Long texts lose their end."""
        return self._embedder(options).embed(text)

    def embed_tokens(self, text: str, *, options: EmbedOptions | None = None) -> tuple[list[str], Float32]:
        """(the pieces of a text with its marks, [L, D] what the model makes of each)"""
        return self._embedder(options).embed_tokens(text)

    def _embedder(self, options: EmbedOptions | None) -> Embedder:
        return Embedder(self.predictor.model, self.predictor.tokenizer, options or self.rule)

    def generate(self, text: str | Texts, *, decoding: Decoding | None = None) -> NoReturn:
        """Nothing. Errors: ConfigError: it reads, and has heads in place of words."""
        raise ConfigError(f"generate: {self.name} reads and writes nothing; it has {told(self.heads)}. Name another.")

    def _head(self, kind: Kind, task: str | None, where: str) -> Head:
        found = [head for head in self.heads if head.kind == kind and (task is None or task in head.tasks)]
        if not found:
            of = f" (for '{task}')" if task else ""
            raise ConfigError(f"{where}: needs {NEEDS[kind]}{of}; {self.name} has {told(self.heads)}.")
        if len(found) > 1:
            names = ", ".join(found[0].tasks[:1] + found[1].tasks[:1])
            raise ConfigError(f"{where}: {self.name} has several {kind} heads. Say which: task = one of {names}, ….")
        return found[0]

    def _found(
        self, head: Head, examples: Sequence[Example], *, batch_size: int = 32, max_len: int | None = None
    ) -> list[Found]:
        asked = Task(name="asked", source=Source(name="asked"), to_examples=lambda row, origin: ())
        predictor = self.predictor
        found = dict(predictor.said_each(head, asked, examples, batch_size=batch_size, max_len=max_len))
        return [found[number] for number in range(len(examples))]


def _example(fields: dict[str, str], facts: dict[str, tuple[str, ...]] | None = None) -> Example:
    return Example(inputs="", targets="", origin="asked", fields=fields, facts=facts or {})


def _many(text: Text | list[Text]) -> list[Text]:
    return text if isinstance(text, list) else [text]


def _fields(text: Text) -> dict[str, str]:
    texts = (text,) if isinstance(text, str) else text
    if not any(one.strip() for one in texts):
        raise ConfigError("the text is empty. Give some words.")
    return {f"text{number}": one for number, one in enumerate(texts, start=1)}


def _ranked(found: Found, words: Sequence[str]) -> Ranked:
    probs = np.exp(np.array(found.log_probs)).tolist()
    return Ranked(choice=found.text, probs=dict(zip(words, probs, strict=True)), log_probs=found.log_probs)


def heard_of(found: Found, *, top: float | None = None) -> Heard:
    """What was said of one passage; `top`: the best score of all passages that are compared, else of this one."""
    if not found.spans:
        return Heard(candidates=(), none=True)
    best = found.spans[0].score
    learnt_none = len(found.probs) > len(found.spans)
    zero = best + found.no_answer if learnt_none else (best if top is None else top) - SURE / 2
    return Heard(
        candidates=tuple(
            Named(text=one.text, log_odds=one.score - zero, start=one.start, end=one.end) for one in found.spans
        ),
        none=found.says_none,
    )
