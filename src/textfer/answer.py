"""Questions answered by a model: from a text, or from what it remembers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias, final, overload

from textfer.choices import Choices, Normalise, Ranked
from textfer.data.tasks.squad import NO_ANSWER, closed_book_inputs, find_padded, squad_inputs
from textfer.errors import ConfigError
from textfer.generate import Decoding, Predictor

Texts: TypeAlias = list[str] | tuple[str, ...]
SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|\n+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, or none, and where it stands in the text that was read."""

    text: str | None
    """None = the model says that the text holds no answer."""
    score: float
    """The probability that the model gives to writing exactly this; not calibrated."""
    start: int | None = None
    """Where the answer stands in the context, in characters; None when it does not stand there word for word."""
    end: int | None = None
    evidence: str | None = None
    """The sentence around it."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@final
class TextToText:
    """A loaded model. One string in gives one result; a list gives a list."""

    def __init__(self, predictor: Predictor, name: str) -> None:
        self.predictor = predictor
        self.name = name

    def __repr__(self) -> str:
        num = sum(parameter.numel() for parameter in self.predictor.model.parameters())
        return f"TextToText({self.name!r}, {num:,} parameters)"

    @overload
    def answer(self, question: str, *, context: str | None = None, decoding: Decoding | None = None) -> Answer: ...
    @overload
    def answer(
        self, question: Texts, *, context: str | Texts | None = None, decoding: Decoding | None = None
    ) -> list[Answer]: ...
    def answer(
        self,
        question: str | Texts,
        *,
        context: str | Texts | None = None,
        decoding: Decoding | None = None,
    ) -> Answer | list[Answer]:
        """The answer to a question about `context`; from memory alone when that is None.

        Errors: ConfigError for an empty question or context, or lists of different lengths.
        """
        questions = [question] if isinstance(question, str) else list(question)
        contexts = [context] * len(questions) if context is None or isinstance(context, str) else list(context)
        if len(contexts) != len(questions):
            raise ConfigError(f"answer: got {len(questions)} questions and {len(contexts)} contexts, expected as many.")
        texts = []
        for one, text in zip(questions, contexts, strict=True):
            for what, value in (("question", one), ("context", text)):
                if value is not None and not value.strip():
                    raise ConfigError(f"answer: the {what} is empty.")
            texts.append(closed_book_inputs(one) if text is None else squad_inputs(one, text))
        made = self.predictor.generate(texts, decoding)
        answers = [_located(one.text, math.exp(one.log_prob), text) for one, text in zip(made, contexts, strict=True)]
        return answers[0] if isinstance(question, str) else answers

    @overload
    def generate(self, text: str, *, decoding: Decoding | None = None) -> str: ...
    @overload
    def generate(self, text: Texts, *, decoding: Decoding | None = None) -> list[str]: ...
    def generate(self, text: str | Texts, *, decoding: Decoding | None = None) -> str | list[str]:
        """What the model writes after the text, prefix words and all."""
        made = self.predictor.generate([text] if isinstance(text, str) else list(text), decoding)
        return made[0].text if isinstance(text, str) else [one.text for one in made]

    @overload
    def score(self, text: str, targets: Texts) -> list[float]: ...
    @overload
    def score(self, text: Texts, targets: Sequence[Texts]) -> list[list[float]]: ...
    def score(self, text: str | Texts, targets: Texts | Sequence[Texts]) -> list[float] | list[list[float]]:
        """The natural log of each target's probability after its text."""
        texts, wanted = ([text], [targets]) if isinstance(text, str) else (text, targets)
        lists: list[list[str]] = []
        for some in wanted:
            if isinstance(some, str) or not all(isinstance(target, str) for target in some):
                raise ConfigError("score: got targets of another shape, expected one list of texts for each text.")
            lists.append([str(target) for target in some])
        scores = self.predictor.score(list(texts), lists)
        return scores[0] if isinstance(text, str) else scores

    @overload
    def classify(self, text: str, *, choices: Sequence[str], normalise: Normalise = "none") -> Ranked: ...
    @overload
    def classify(self, text: Texts, *, choices: Choices, normalise: Normalise = "none") -> list[Ranked]: ...
    def classify(self, text: str | Texts, *, choices: Choices, normalise: Normalise = "none") -> Ranked | list[Ranked]:
        """The likeliest of the choices after the text, prefix words and all, and the share of every one.

        A list of texts takes the same choices for all, or one list for each. `normalise`: see `choices.normalised`.
        Errors: ConfigError for a text without choices, or a choice that stands twice.
        """
        found = self.predictor.rank([text] if isinstance(text, str) else list(text), choices, normalise=normalise)
        return found[0] if isinstance(text, str) else found


def _located(text: str, score: float, context: str | None) -> Answer:
    text = text.strip()
    if not text or text.lower() == NO_ANSWER:
        return Answer(text=None, score=score)
    place = find_padded(text, context) if context is not None else None
    if place is None or context is None:
        return Answer(text=text, score=score)
    start, end = place
    return Answer(
        text=context[start:end], score=score, start=start, end=end, evidence=sentence_around(context, start, end)
    )


def sentence_around(context: str, start: int, end: int) -> str:
    """The sentence (or sentences) of `context` that hold `start:end`."""
    cuts = [0, *(match.end() for match in SENTENCE_END.finditer(context)), len(context)]
    first = max(cut for cut in cuts if cut <= start)
    last = min(cut for cut in cuts if cut >= end)
    return context[first:last].strip()
