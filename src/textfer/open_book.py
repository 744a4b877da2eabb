"""Questions answered from sources: passages are found, read by the model, and their answers put together.

A few passages are all read. Of more, those that fit the question's words best, and how many that were is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from textfer.answered import Answer, answer_score, no_answer_score
from textfer.calibration import Calibration
from textfer.documents.document import Document, Place
from textfer.documents.index import Hit, Index, open_index
from textfer.documents.passages import windows
from textfer.documents.sentences import sentence_at
from textfer.errors import ConfigError
from textfer.generate import Decoding
from textfer.merging import Heard, Merged, Origin, Weighed, heard, merge
from textfer.tokenizers import Tokenizer

FOUND_PASSAGES = 10
"""Read of an index's many."""
TEXT_PASSAGES = 64
"""Read of a text that was given: some 40 printed pages."""
MAX_ALTERNATIVES = 4
MIN_ALTERNATIVE = 0.01
"""Less likely answers are not listed."""


@runtime_checkable
class Reader(Protocol):
    """A model that answers a question from a text; its scores leave a share to "no answer"."""

    def answer(self, question: list[str], *, context: list[str], decoding: Decoding | None = None) -> list[Answer]: ...


@runtime_checkable
class Weigher(Protocol):
    """A reader that can say more of a passage than one answer."""

    def weigh(self, question: str, contexts: Sequence[str], *, decoding: Decoding | None = None) -> list[Heard]:
        """What it says of every context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """An answer and where it stands."""

    text: str
    score: float
    """Where the reading is `calibrated`, how likely it is right; else its share among all answers of all passages read,
    and "no answer"."""
    path: str
    title: str
    place: Place
    """Pages or lines of the answer; of its passage where it does not stand there word for word."""
    start: int | None
    """In the document's text, in characters."""
    end: int | None
    evidence: str
    """The sentence around it; the passage where it does not stand there word for word."""
    num_places: int
    """Places that say the same."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        place = {"unit": self.place.unit, "first": self.place.first, "last": self.place.last}
        return {
            "answer": self.text,
            "score": self.score,
            "start": self.start,
            "end": self.end,
            "evidence": self.evidence,
            "path": self.path,
            "title": self.title,
            "place": place,
            "num_places": self.num_places,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of a question."""

    answer: Sourced | None
    """None = no answer in what was read."""
    no_answer: float
    """How likely there is none, or where that is not calibrated the share of "no answer"."""
    alternatives: tuple[Sourced, ...]
    num_read: int
    num_passages: int
    """All that there are."""
    calibrated: bool = False
    """Whether the score of what is said was fitted to how often such answers are right."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        nothing = dict.fromkeys(("start", "end", "evidence", "path", "title", "place"))
        best = self.answer.as_dict() if self.answer else {"answer": None, "score": self.no_answer, **nothing}
        return {
            **best,
            "no_answer": self.no_answer,
            "calibrated": self.calibrated,
            "alternatives": [one.as_dict() for one in self.alternatives],
            "read": self.num_read,
            "passages": self.num_passages,
        }


def text_index(documents: Iterable[Document], tokenizer: Tokenizer | None = None) -> Index:
    """An index in memory of texts that were given, cut into windows by the model's own tokens."""
    index = open_index(Path(":memory:"), write=True)
    for document in documents:
        cut = windows(document.text, tokenizer) if tokenizer is not None else None
        index.add(document, cut=cut)
    return index


def ask(
    reader: Reader | Weigher,
    index: Index,
    question: str,
    *,
    count: int = FOUND_PASSAGES,
    min_score: float = 0.0,
    decoding: Decoding | None = None,
) -> Reading:
    """The answer of an index's passages: of all of them where they are at most `count`, else of those found by words.

    An answer that is less likely than `min_score` is not given. Scores are calibrated where the reader's are.
    Errors: ConfigError for an empty question.
    """
    if not question.strip():
        raise ConfigError("ask: the question is empty.")
    num_passages = index.num_passages
    hits = index.everything() if num_passages <= count else index.search(question, count=count)
    said = _read(reader, question, hits, decoding)
    merged = merge(said, [Origin(source=hit.path, offset=hit.start) for hit in hits])
    calibration = _calibration(reader, decoding) if hits else None
    best = merged.best()
    if best is not None and answer_score(best.share, calibration) < min_score:
        best = None
    no_answer, none_fitted = no_answer_score(merged, calibration)
    return Reading(
        answer=_sourced(best, hits, calibration) if best else None,
        no_answer=no_answer,
        alternatives=_alternatives(merged, best, hits, calibration),
        num_read=len(hits),
        num_passages=num_passages,
        calibrated=calibration is not None if best else none_fitted,
    )


def _calibration(reader: Reader | Weigher, decoding: Decoding | None) -> Calibration | None:
    """What the shares of the reader's answers mean; of answers that are drawn at random nothing is known."""
    found = getattr(reader, "calibration", None)
    drawn = decoding is not None and decoding.sample
    return found if isinstance(found, Calibration) and isinstance(reader, Weigher) and not drawn else None


def _read(reader: Reader | Weigher, question: str, hits: Sequence[Hit], decoding: Decoding | None) -> list[Heard]:
    if not hits:
        return []
    contexts = [hit.text for hit in hits]
    if isinstance(reader, Weigher):
        return reader.weigh(question, contexts, decoding=decoding)
    answers = reader.answer([question] * len(contexts), context=contexts, decoding=decoding)
    return [heard(one.text, one.score, start=one.start, end=one.end) for one in answers]


def _alternatives(
    merged: Merged, best: Weighed | None, hits: Sequence[Hit], calibration: Calibration | None
) -> tuple[Sourced, ...]:
    others = [one for one in merged.answers if one is not best and one.share >= MIN_ALTERNATIVE]
    return tuple(_sourced(one, hits, calibration) for one in others[:MAX_ALTERNATIVES])


def _sourced(one: Weighed, hits: Sequence[Hit], calibration: Calibration | None) -> Sourced:
    hit = hits[one.passage]
    if one.start is None or one.end is None:
        place, evidence = hit.place(), hit.text
        start = end = None
    else:
        place = hit.place(one.start, one.end)
        evidence = hit.text[slice(*sentence_at(hit.text, one.start, one.end))]
        start, end = hit.start + one.start, hit.start + one.end
    return Sourced(
        text=one.text,
        score=answer_score(one.share, calibration),
        path=hit.path,
        title=hit.title,
        place=place,
        start=start,
        end=end,
        evidence=" ".join(evidence.split()),
        num_places=one.num_places,
    )
