"""An answer and where it stands; and how what a model said of a text's windows becomes one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from textfer.calibration import Calibration
from textfer.data.tasks.squad import NO_ANSWER, find_padded
from textfer.generate import Generated
from textfer.merging import Heard, Merged, Weighed, heard, merge_windows

SENTENCE_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|\n+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An answer that may be right."""

    text: str
    score: float
    """As `Answer.score`, of this answer."""
    start: int | None
    """Where it stands in the context, in characters; None when it does not stand there word for word."""
    end: int | None
    evidence: str | None
    """The sentence around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, or none, and where it stands in the text that was read."""

    text: str | None
    """None = the model says that the text holds no answer."""
    score: float
    """Where `calibrated`, how likely this is right; else its share among all that the model could say."""
    start: int | None = None
    """Where the answer stands in the context, in characters; None when it does not stand there word for word."""
    end: int | None = None
    evidence: str | None = None
    """The sentence around it."""
    calibrated: bool = False
    """Whether the score was fitted to how often such answers are right, on questions kept for it."""
    candidates: tuple[Candidate, ...] = ()
    """As many as were asked for, likeliest first, the answer among them; where there is none, what it might be."""
    num_read: int = 1
    """Passages of the context that were read."""
    num_passages: int = 1
    """Passages that it has."""
    note: str | None = None
    """What was not read."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "candidates": [asdict(one) for one in self.candidates]}


def answer_of(
    merged: Merged,
    context: str | None,
    *,
    calibration: Calibration | None = None,
    candidates: int = 0,
    num_read: int = 1,
    note: str | None = None,
) -> Answer:
    """The best of what was said of a text's windows; its places are those of the text."""
    read: dict[str, Any] = {
        "candidates": tuple(_candidate(one, context, calibration) for one in merged.answers[:candidates]),
        "num_read": num_read,
        "num_passages": num_read,
        "note": note,
    }
    best = merged.best()
    if best is None:
        score, fitted = no_answer_score(merged, calibration)
        return Answer(text=None, score=score, calibrated=fitted, **read)
    one = _candidate(best, context, calibration)
    return Answer(
        text=one.text,
        score=one.score,
        start=one.start,
        end=one.end,
        evidence=one.evidence,
        calibrated=calibration is not None,
        **read,
    )


def answer_score(share: float, calibration: Calibration | None) -> float:
    """How likely an answer of this share is right; without a calibration the share itself."""
    return calibration.answer(share) if calibration is not None else share


def no_answer_score(merged: Merged, calibration: Calibration | None) -> tuple[float, bool]:
    """(how likely there is no answer, whether that is calibrated): where it is not, the share of "no answer"."""
    scale = calibration.no_answer if calibration is not None else None
    return (merged.no_answer, False) if scale is None else (scale(merged.no_answer), True)


def _candidate(one: Weighed, context: str | None, calibration: Calibration | None) -> Candidate:
    score = answer_score(one.share, calibration)
    if context is None or one.start is None or one.end is None:
        return Candidate(text=one.text, score=score, start=None, end=None, evidence=None)
    evidence = sentence_around(context, one.start, one.end)
    return Candidate(text=one.text, score=score, start=one.start, end=one.end, evidence=evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as a model that writes reads it."""

    context: str | None
    parts: tuple[tuple[int, str | None], ...]
    """(where it begins in the context, text) of every window."""
    texts: tuple[str, ...]
    """What is read, window by window."""
    calibration: Calibration | None = None
    """What the shares of its answers mean."""
    candidates: int = 0
    """How many answers are listed."""
    note: str | None = None
    """What is not read."""

    @property
    def starts(self) -> list[int]:
        """Where each window begins."""
        return [start for start, _ in self.parts]

    def said(self, made: Sequence[Generated]) -> list[Heard]:
        """What was written after each of the texts, window by window; not calibrated."""
        return [
            _located(one.text.strip(), math.exp(one.log_prob), text)
            for (_, text), one in zip(self.parts, made, strict=True)
        ]

    def answer(self, made: Sequence[Generated]) -> Answer:
        """What was written after each of the texts, as one answer."""
        return answer_of(
            merge_windows(self.said(made), self.starts),
            self.context,
            calibration=self.calibration,
            candidates=self.candidates,
            num_read=len(self.parts),
            note=self.note,
        )


def _located(text: str, probability: float, context: str | None) -> Heard:
    if not text or text.lower() == NO_ANSWER:
        return heard(None, probability)
    place = find_padded(text, context) if context is not None else None
    if place is None or context is None:
        return heard(text, probability)
    return heard(context[slice(*place)], probability, start=place[0], end=place[1])


def sentence_around(context: str, start: int, end: int) -> str:
    """The sentence (or sentences) of `context` that hold `start:end`."""
    cuts = [0, *(match.end() for match in SENTENCE_END.finditer(context)), len(context)]
    first = max(cut for cut in cuts if cut <= start)
    last = min(cut for cut in cuts if cut >= end)
    return context[first:last].strip()
