"""When a model says that there is no answer, and what its scores mean: chosen on questions that are kept for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from textfer.answer import TextToText
from textfer.answered import answer_score, no_answer_score
from textfer.batch import Example
from textfer.calibration import Calibration, Scale, fit_scale
from textfer.data.framing import Threshold
from textfer.data.task import Task
from textfer.data.tasks.squad import NO_ANSWER
from textfer.errors import ConfigError, DataError
from textfer.generate import Decoding
from textfer.merging import Merged, merge_windows
from textfer.metrics.calibration import calibration as errors_of
from textfer.read import Found
from textfer.reader import TextReader, heard_of

PARTS = 5
"""Scores are judged on one of so many parts of the questions and fitted on the others; a context is in one of them."""
BATCH_SIZE = 32
EXACT = ("em", "exact", "exact_match", "accuracy")
"""Scores of a task that say whether an answer is right, the first that it has; else its leading one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a model said of a question, and whether that is right."""

    merged: Merged
    context: str
    text: str | None
    """What it said; None = no answer."""
    right: bool
    """Whether that is right."""
    best_right: bool
    """Whether the likeliest answer is right, whether or not it was given."""
    has_answer: bool

    def score(self, calibration: Calibration | None) -> float:
        """The score of what it said."""
        best = self.merged.best()
        return answer_score(best.share, calibration) if best else no_answer_score(self.merged, calibration)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What was chosen, and what it is worth."""

    threshold: Threshold | None
    """On "no answer", and the F1 that it gives; None where the model has none, or no question lacks an answer."""
    calibration: Calibration | None
    """None where all answers are right, or none."""
    right: tuple[bool, ...]
    """Whether each answer is right."""
    before: tuple[float, ...]
    """The score of each answer without the calibration."""
    after: tuple[float, ...]
    """With one that was fitted on other contexts' questions."""

    def errors(self) -> dict[str, float]:
        """Calibration errors before and after: `ece_before`, `ece_after` and the like."""
        names = {"before": self.before, "after": self.after}
        return {
            f"{name}_{when}": value
            for when, scores in names.items()
            for name, value in errors_of(scores, self.right).items()
        }


def tune(reader: TextReader | TextToText, asked: Sequence[tuple[Task, Sequence[Example]]], *, fitted_on: str) -> Tuned:
    """The threshold and the calibration that suit these tasks' examples best; from now on the model answers by them.

    A threshold is chosen where there are questions without an answer, and the model points at its answers. `fitted_on`
    tells of the examples. Errors: ConfigError for a task that asks nothing about a text, or that nothing marks.
    """
    for task, examples in asked:
        if task.metrics is None or not all({"question", "context"} <= one.fields.keys() for one in examples):
            raise ConfigError(f"task '{task.name}': has no questions about a text, or nothing marks it. Name another.")
    threshold = None
    if isinstance(reader, TextReader):
        threshold, merged = _read(reader, asked)
    else:
        merged = _written(reader, asked)
    judged = judge(merged, asked)
    calibration = fit(judged, fitted_on=fitted_on)
    if isinstance(reader, TextReader):
        head = reader.predictor.head_for(*asked[0])
        reader.predictor.model.kinds[head.name] = head.model_copy(update={"calibration": calibration})
    else:
        reader.calibration = calibration
    return Tuned(
        threshold=threshold,
        calibration=calibration,
        right=tuple(one.right for one in judged),
        before=tuple(one.score(None) for one in judged),
        after=tuple(_apart(judged)),
    )


def judge(merged: Sequence[Merged], asked: Sequence[tuple[Task, Sequence[Example]]]) -> list[Judged]:
    """What was said of every example of these tasks, one after the other, marked by them."""
    whole = [(task, example) for task, examples in asked for example in examples]
    return [_judged(one, task, example) for one, (task, example) in zip(merged, whole, strict=True)]


def fit(judged: Sequence[Judged], *, fitted_on: str) -> Calibration | None:
    """The likeliest calibration; None where all answers are right, or none."""
    told = [one for one in judged if one.merged.answers]
    answer = fit_scale([one.merged.answers[0].share for one in told], [one.best_right for one in told])
    none = fit_scale([one.merged.no_answer for one in judged], [not one.has_answer for one in judged])
    if answer is None:
        return None
    return Calibration(answer=answer, no_answer=none, num_questions=len(judged), fitted_on=fitted_on)


def _judged(merged: Merged, task: Task, example: Example) -> Judged:
    has_answer = example.targets != NO_ANSWER
    best = merged.best()
    first = merged.answers[0] if merged.answers else None
    best_right = first is not None and has_answer and is_right(first.text, task, example)
    right = not has_answer
    if best is not None:
        right = best_right if best is first else has_answer and is_right(best.text, task, example)
    return Judged(
        merged=merged,
        context=example.fields["context"],
        text=best.text if best else None,
        right=right,
        best_right=best_right,
        has_answer=has_answer,
    )


def is_right(text: str, task: Task, example: Example) -> bool:
    """Whether the task takes the text for right, to the letter as its exact match compares."""
    assert task.metrics is not None
    scores = task.metrics([task.answer(text, example)], [example])
    return scores[next((name for name in EXACT if name in scores), next(iter(scores)))] >= 100.0 - 1e-6


def _read(reader: TextReader, asked: Sequence[tuple[Task, Sequence[Example]]]) -> tuple[Threshold | None, list[Merged]]:
    """(the new threshold, what is said under it)"""
    found = [_found(reader, examples) for _, examples in asked]
    threshold = None
    if any(example.targets == NO_ANSWER for _, examples in asked for example in examples):
        knew_none = reader.predictor.head_for(*asked[0]).threshold is not None
        threshold = reader.predictor.tune(*asked, found=found)
        if not knew_none:  # shares of "no answer" were not told before
            found = [_found(reader, examples) for _, examples in asked]
        else:
            found = [
                [replace(one, says_none=not one.spans or one.no_answer > threshold.value) for one in some]
                for some in found
            ]
    return threshold, [merge_windows([heard_of(one)], [0]) for some in found for one in some]


def _found(reader: TextReader, examples: Sequence[Example]) -> list[Found]:
    return reader.find_each(*_texts(examples), Decoding(batch_size=BATCH_SIZE))


def _written(reader: TextToText, asked: Sequence[tuple[Task, Sequence[Example]]]) -> list[Merged]:
    heard = [
        one
        for _, examples in asked
        for one in reader.weigh_each(*_texts(examples), decoding=Decoding(batch_size=BATCH_SIZE))
    ]
    return [merge_windows([one], [0]) for one in heard]


def _texts(examples: Sequence[Example]) -> tuple[list[str], list[str]]:
    """(questions, contexts). Errors: DataError for one without words."""
    for example in examples:
        if not example.fields["question"].strip() or not example.fields["context"].strip():
            raise DataError(f"{example.origin}: the question or its text is empty. Leave it out.")
    return [one.fields["question"] for one in examples], [one.fields["context"] for one in examples]


def _apart(judged: Sequence[Judged]) -> list[float]:
    """Each answer's score by a calibration of other contexts' questions; as it is where nothing can be fitted."""
    scores = [0.0] * len(judged)
    parts = [crc32(one.context.encode()) % PARTS for one in judged]
    for part in range(PARTS):
        others = [one for one, place in zip(judged, parts, strict=True) if place != part]
        calibration = fit(others, fitted_on="")
        for number, one in enumerate(judged):
            if parts[number] == part:
                scores[number] = one.score(calibration)
    return scores


def told(scale: Scale) -> str:
    """The scale in words, by what it makes of a share of 0.9."""
    shift = f" {scale.bias:+.2f}" if scale.bias else ""
    return f"log odds / {scale.temperature:.2f}{shift} (0.90 becomes {scale(0.9):.2f})"
