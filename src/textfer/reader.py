"""Texts put to a model with heads: questions, classes, tags, numbers and choices, without a task's files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeAlias, TypeVar, cast, final, overload

import numpy as np

from textfer.adapt.switching import Switch
from textfer.answer import Adapter, Texts
from textfer.answered import Answer, answer_of
from textfer.batch import Example, Float32
from textfer.calibration import SURE, Calibration
from textfer.choices import Ranked
from textfer.data.framing import MAX_QUESTION
from textfer.data.source import Source
from textfer.data.task import Task
from textfer.documents.passages import check_size
from textfer.embed import Embedder, EmbedOptions
from textfer.errors import ConfigError
from textfer.generate import Decoding
from textfer.heads import Head, Kind
from textfer.merging import Heard, Named, merge_windows
from textfer.models import Model
from textfer.models.headed import Headed
from textfer.models.int8 import num_weights
from textfer.read import Found, HeadPredictor, told

R = TypeVar("R")
Text: TypeAlias = str | tuple[str, ...]
"""One text, or a pair that is read together: premise and hypothesis, two sentences."""
NEEDS = {
    "span": "a span head, as training on squad gives",
    "class": "a class head, as training on sst2 gives",
    "tag": "a tag head, as training on wnut_17 gives",
    "number": "a number head, as training on stsb gives",
    "choice": "a choice head, as training on copa gives",
}


DOES: dict[Kind, str] = {"span": "answer", "class": "classify", "number": "rate", "tag": "tag", "choice": "choose"}


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

    `task` names the head where the model has several of a kind: a task that it was trained on. What other runs changed
    of the model, with heads of their own, may be put on request by request: see `add_adapter`. The model's own weights
    are in memory once; threads that use adapters take turns.
    """

    def __init__(
        self,
        predictor: HeadPredictor,
        name: str,
        *,
        rule: EmbedOptions | None = None,
        find: Callable[[str], tuple[Path, bool]] | None = None,
        whole: Model | None = None,
    ) -> None:
        """`rule`: how texts become vectors where nothing else is said. `find` says which folder a run's name stands
        for. `whole`: the model before its heads, or the lack of them, made parts of it useless.
        """
        self.predictor = predictor
        self.name = name
        self.rule = rule or EmbedOptions()
        self._find = find
        self._whole = whole
        self._switch: Switch | None = None
        self._on: Callable[[], AbstractContextManager[object]] = nullcontext

    def __repr__(self) -> str:
        num = num_weights(self.predictor.model)
        return f"TextReader({self.name!r}, {num:,} parameters, {told(self.heads)})"

    @property
    def heads(self) -> list[Head]:
        """What it can say."""
        return list(self.predictor.model.kinds.values())

    @property
    def can(self) -> list[str]:
        """The methods that its heads, or those of its adapters, have something to say by."""
        heads = [head for name in (None, *self.adapters) for head in self.with_adapter(name).heads]
        return [*dict.fromkeys(DOES[head.kind] for head in heads), "embed", "embed_tokens"]

    @property
    def adapters(self) -> list[str]:
        """Names under which changes can be put on."""
        return self._switch.names() if self._switch else []

    def add_adapter(self, name: str, path: str | Path) -> None:
        """Takes what the run `path` changed of this very model, and its heads; `adapter=name` then asks these.

        Errors: ConfigError for a name that is taken; CheckpointError for changes of other weights, or whole models.
        """
        switch = self._switch or Switch(self.predictor.model, reader=self._whole)
        switch.add(name, self._find(str(path))[0] if self._find else Path(path))
        self._switch, self._on = switch, partial(switch.on, None)

    def with_adapter(self, name: str | None) -> TextReader:
        """The same model under those changes, to be asked like any other; None = as it is.

        Errors: ConfigError for a name that is not there.
        """
        if name is None:
            return self
        if self._switch is None:
            raise ConfigError(f"adapter: got '{name}', and the model has none. Add it first (add_adapter).")
        model = cast(Headed, self._switch[name].model)
        made = TextReader(HeadPredictor(model, self.predictor.tokenizer), f"{self.name} with {name}", rule=self.rule)
        made._on = partial(self._switch.on, name)
        return made

    def _each(self, adapter: Adapter, count: int, act: Callable[[TextReader, list[int]], list[R]]) -> list[R]:
        """What `act` makes of the texts 0 … count − 1, each read under its adapter; in order."""
        names = [adapter] * count if adapter is None or isinstance(adapter, str) else list(adapter)
        if len(names) != count:
            raise ConfigError(f"adapter: got {len(names)} names for {count} texts, expected one for each.")
        readers = {name: self.with_adapter(name) for name in names}  # what is not there is said before any work
        found: dict[int, R] = {}
        for name, reader in readers.items():
            numbers = [number for number, one in enumerate(names) if one == name]
            found |= zip(numbers, act(reader, numbers), strict=True)
        return [found[number] for number in range(count)]

    @property
    def calibration(self) -> Calibration | None:
        """What the shares of its answers mean; None where it was not fitted, or the model finds none."""
        return next((head.calibration for head in self.heads if head.kind == "span"), None)

    @overload
    def answer(
        self,
        question: str,
        *,
        context: str | None = None,
        decoding: Decoding | None = None,
        adapter: str | None = None,
        candidates: int = 0,
    ) -> Answer: ...
    @overload
    def answer(
        self,
        question: Texts,
        *,
        context: str | Texts | None = None,
        decoding: Decoding | None = None,
        adapter: Adapter = None,
        candidates: int = 0,
    ) -> list[Answer]: ...
    def answer(
        self,
        question: str | Texts,
        *,
        context: str | Texts | None = None,
        decoding: Decoding | None = None,
        adapter: Adapter = None,
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
        if len(contexts) != len(questions):
            raise ConfigError(f"answer: got {len(questions)} questions and {len(contexts)} contexts, expected as many.")

        def act(reader: TextReader, numbers: list[int]) -> list[Answer]:
            some, texts = [questions[number] for number in numbers], [contexts[number] for number in numbers]
            return [
                answer_of(
                    merge_windows([heard_of(one)], [0]),
                    text,
                    calibration=reader.calibration,
                    candidates=candidates,
                    num_read=one.num_windows,
                    note=self._cut_off(asked),
                )
                for asked, one, text in zip(some, reader.find_each(some, texts, decoding), texts, strict=True)
            ]

        answers = self._each(adapter, len(questions), act)
        return answers[0] if isinstance(question, str) else answers

    def weigh(self, question: str, contexts: Sequence[str], *, decoding: Decoding | None = None) -> list[Heard]:
        """What it says of every passage, several answers each, in odds that compare across passages; see `merging`.

        Where "no answer" was never learnt, the odds are those of the raw scores, and "no answer" has next to no share.
        """
        found = self.find_each([question] * len(contexts), contexts, decoding)
        top = max((one.spans[0].score for one in found if one.spans), default=0.0)
        return [heard_of(one, top=top) for one in found]

    def weigh_each(
        self, questions: Sequence[str], contexts: Sequence[str], *, decoding: Decoding | None = None
    ) -> list[Heard]:
        """The same of every question about its own context."""
        return [heard_of(one) for one in self.find_each(questions, contexts, decoding)]

    def _cut_off(self, question: str) -> str | None:
        """What is not read of a question that is too long."""
        if len(question) <= MAX_QUESTION:
            return None
        count = len(self.predictor.tokenizer.encode_places(question)[0])
        return f"read the first {MAX_QUESTION} of the question's {count:,} tokens" if count > MAX_QUESTION else None

    def find_each(
        self, questions: Sequence[str], contexts: Sequence[str], decoding: Decoding | None = None
    ) -> list[Found]:
        """What the span head says of every question about its context, in raw scores; errors as those of `answer`."""
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
                check_size(value, where=f"answer: {what}")
            examples.append(_example({"question": one, "context": text}))
        return self._found(head, examples, batch_size=ways.batch_size, max_len=ways.max_input_tokens)

    @overload
    def classify(self, text: Text, *, task: str | None = None, adapter: str | None = None) -> Ranked: ...
    @overload
    def classify(self, text: list[Text], *, task: str | None = None, adapter: Adapter = None) -> list[Ranked]: ...
    def classify(
        self, text: Text | list[Text], *, task: str | None = None, adapter: Adapter = None
    ) -> Ranked | list[Ranked]:
        """The likeliest of the head's labels, and the share of every one.

        Errors: ConfigError where the model has no such head.
        """
        texts = _many(text)

        def act(reader: TextReader, numbers: list[int]) -> list[Ranked]:
            head = reader._head("class", task, "classify")
            found = reader._found(head, [_example(_fields(texts[number])) for number in numbers])
            return [_ranked(one, head.labels) for one in found]

        ranked = self._each(adapter, len(texts), act)
        return ranked if isinstance(text, list) else ranked[0]

    @overload
    def rate(self, text: Text, *, task: str | None = None, adapter: str | None = None) -> float: ...
    @overload
    def rate(self, text: list[Text], *, task: str | None = None, adapter: Adapter = None) -> list[float]: ...
    def rate(self, text: Text | list[Text], *, task: str | None = None, adapter: Adapter = None) -> float | list[float]:
        """The number that the head gives. Errors: ConfigError where the model has no such head."""
        texts = _many(text)

        def act(reader: TextReader, numbers: list[int]) -> list[float]:
            head = reader._head("number", task, "rate")
            return [float(one.text) for one in reader._found(head, [_example(_fields(texts[at])) for at in numbers])]

        rated = self._each(adapter, len(texts), act)
        return rated if isinstance(text, list) else rated[0]

    @overload
    def tag(self, text: str, *, task: str | None = None, adapter: str | None = None) -> list[Tagged]: ...
    @overload
    def tag(self, text: list[str], *, task: str | None = None, adapter: Adapter = None) -> list[list[Tagged]]: ...
    def tag(
        self, text: str | list[str], *, task: str | None = None, adapter: Adapter = None
    ) -> list[Tagged] | list[list[Tagged]]:
        """The words that have a tag, in order; words of one entity together.

        Errors: ConfigError where the model has no such head.
        """
        texts = text if isinstance(text, list) else [text]

        def act(reader: TextReader, numbers: list[int]) -> list[list[Tagged]]:
            some = [texts[number] for number in numbers]
            found = reader._found(reader._head("tag", task, "tag"), [_example({"text": one}) for one in some])
            return [
                [
                    Tagged(label=span.label, text=one[span.start : span.end], start=span.start, end=span.end)
                    for span in said.entities
                ]
                for one, said in zip(some, found, strict=True)
            ]

        tagged = self._each(adapter, len(texts), act)
        return tagged if isinstance(text, list) else tagged[0]

    @overload
    def choose(self, text: Text, *, options: Texts, task: str | None = None, adapter: str | None = None) -> Ranked: ...
    @overload
    def choose(
        self, text: list[Text], *, options: Sequence[Texts], task: str | None = None, adapter: Adapter = None
    ) -> list[Ranked]: ...
    def choose(
        self,
        text: Text | list[Text],
        *,
        options: Texts | Sequence[Texts],
        task: str | None = None,
        adapter: Adapter = None,
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

        def act(reader: TextReader, numbers: list[int]) -> list[Ranked]:
            found = reader._found(reader._head("choice", task, "choose"), [examples[number] for number in numbers])
            return [_ranked(one, lists[number]) for number, one in zip(numbers, found, strict=True)]

        ranked = self._each(adapter, len(texts), act)
        return ranked if isinstance(text, list) else ranked[0]

    def embed(self, text: str | Texts, *, options: EmbedOptions | None = None, adapter: Adapter = None) -> Float32:
        """[D] the text as a vector; of several [E, D], in their order. Long texts lose their end."""
        texts = [text] if isinstance(text, str) else list(text)
        if adapter is None or not texts:
            with self._on():
                return self._embedder(options).embed(text)

        def act(reader: TextReader, numbers: list[int]) -> list[Float32]:
            return list(reader.embed([texts[number] for number in numbers], options=options))

        found = self._each(adapter, len(texts), act)
        return np.stack(found)[0 if isinstance(text, str) else slice(None)]

    def embed_tokens(
        self, text: str, *, options: EmbedOptions | None = None, adapter: str | None = None
    ) -> tuple[list[str], Float32]:
        """(the pieces of a text with its marks, [L, D] what the model makes of each)"""
        reader = self.with_adapter(adapter)
        with reader._on():
            return reader._embedder(options).embed_tokens(text)

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
        with self._on():
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


def share_of(found: Found) -> float | None:
    """The share of what a span head said, as `answer` gives it; None of another head."""
    if not found.spans and not found.says_none:
        return None
    merged = merge_windows([heard_of(found)], [0])
    return merged.no_answer if found.says_none or not merged.answers else merged.answers[0].share


def heard_of(found: Found, *, top: float | None = None) -> Heard:
    """What was said of one passage; `top`: the best score of all passages that are compared, else of this one."""
    if not found.spans:
        return Heard(candidates=(), none=True)
    best = found.spans[0].score
    zero = best + found.no_answer if found.knows_none else (best if top is None else top) - SURE / 2
    return Heard(
        candidates=tuple(
            Named(text=one.text, log_odds=one.score - zero, start=one.start, end=one.end) for one in found.spans
        ),
        none=found.says_none,
    )
