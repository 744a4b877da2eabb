"""Summaries and translations of texts of any length: cut at sentence ends, written part by part, put together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Protocol

from textfer.data.layout import LAYOUTS
from textfer.data.tasks.translation import LANGUAGES
from textfer.documents.passages import (
    WINDOW_SLACK,
    WINDOW_TOKENS,
    Passage,
    check_size,
    passages,
    token_measure,
)
from textfer.documents.sentences import sentences
from textfer.errors import ConfigError, DataError
from textfer.generate import Decoding, Generated, Predictor

BEAMS = 4
SUMMARY = Decoding(max_new_tokens=200, beams=BEAMS)
"""How summaries are written where nothing else is said.

**Source**: Raffel et al. 2020, arXiv 1910.10683, §3.7: four beams, α = 0.6; 200 tokens as in the hub's T5 files.
"""
PARTIAL_SHARE = 4
"""A part's own summary has at most this fraction of what is read at once, so that every round is shorter."""


class Write(Protocol):
    """What a model writes after texts; `whose` says to which text of the request each of them belongs."""

    def __call__(self, texts: list[str], whose: list[int], decoding: Decoding) -> list[Generated]: ...


def summaries(
    texts: Sequence[str], write: Write, predictor: Predictor, *, prefix: str, decoding: Decoding | None
) -> list[str]:
    """One summary a text. A text that is longer than what models read at once becomes the summary of its summaries.

    Errors: ConfigError for an empty text; DataError where the parts' summaries are no shorter than the parts.
    """
    _check(texts, "summarize")
    ways = decoding or SUMMARY
    room = _room(predictor, prefix)
    partial = ways.model_copy(update={"max_new_tokens": min(ways.max_new_tokens, max(1, room // PARTIAL_SHARE))})
    done: dict[int, Generated] = {}
    open_ = dict(enumerate(texts))
    while open_:
        parts = {
            number: [text] if ways.max_input_tokens is not None else _long_parts(text, predictor, room)
            for number, text in open_.items()
        }
        short = [number for number, some in parts.items() if len(some) == 1]
        written = write([prefix + parts[number][0] for number in short], short, ways) if short else []
        done |= zip(short, written, strict=True)
        long = [number for number in parts if number not in done]
        whose = [number for number in long for _ in parts[number]]
        said = write([prefix + part for number in long for part in parts[number]], whose, partial) if long else []
        each = iter(said)
        joined = {number: " ".join(next(each).text.strip() for _ in parts[number]).strip() for number in long}
        for number, text in joined.items():
            if not text:
                raise DataError(f"summarize: text {number + 1} of {len(texts)}: the model writes nothing of its parts.")
            if _length(text, predictor) >= _length(open_[number], predictor):
                raise DataError(
                    f"summarize: text {number + 1} of {len(texts)}: the summaries of its {len(parts[number])} parts "
                    "are no shorter than the text. Is this model taught to summarize? Else give shorter texts."
                )
        open_ = joined
    found = [done[number] for number in range(len(texts))]
    _tell_cut("summarize", found, ways)
    return [one.text.strip() for one in found]


def translations(
    texts: Sequence[str], write: Write, predictor: Predictor, *, languages: tuple[str, str], decoding: Decoding | None
) -> list[str]:
    """One translation a text, sentence by sentence, with the white space between sentences as it was.

    `languages`: from and to, as the model learnt their names; the codes of WMT's stand for these.
    Errors: ConfigError for an empty text, or a language without a name.
    """
    _check(texts, "translate")
    source, target = (LANGUAGES.get(one.strip().lower(), one.strip()) for one in languages)
    if not source or not target:
        raise ConfigError("translate: a language has no name. Give both, such as English and German.")
    prefix = f"translate {source} to {target}: "
    room = _room(predictor, prefix)
    whole = decoding is not None and decoding.max_input_tokens is not None
    places = [[Passage(0, len(text))] if whole else _sentences(text, predictor, room) for text in texts]
    parts = [text[start:end] for text, some in zip(texts, places, strict=True) for start, end in some]
    whose = [number for number, some in enumerate(places) for _ in some]
    longest = max((_length(part, predictor) for part in parts), default=0)
    ways = decoding or Decoding(max_new_tokens=2 * longest + WINDOW_SLACK, beams=BEAMS)
    written = write([prefix + part for part in parts], whose, ways) if parts else []
    _tell_cut("translate", written, ways)
    each = iter(written)
    found = []
    for text, some in zip(texts, places, strict=True):
        made, at = "", 0
        for start, end in some:
            made += text[at:start] + next(each).text.strip()
            at = end
        found.append(made + text[at:])
    return found


def _check(texts: Sequence[str], where: str) -> None:
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            which = "the text" if len(texts) == 1 else f"text {number} of {len(texts)}"
            raise ConfigError(f"{where}: {which} is empty.")
        check_size(text, where=where)


def _room(predictor: Predictor, prefix: str) -> int:
    """Tokens of a text that are read at once beside its prefix."""
    most = predictor.max_len
    if most is None:
        return WINDOW_TOKENS
    if LAYOUTS[predictor.layout].together:
        most //= 2  # what is written needs positions too
    return max(1, min(WINDOW_TOKENS, most - len(predictor.tokenizer.encode(prefix)) - 1 - WINDOW_SLACK))


def _length(text: str, predictor: Predictor) -> int:
    return len(predictor.tokenizer.encode(text))


def _long_parts(text: str, predictor: Predictor, room: int) -> list[str]:
    """The text, or parts of it that end where paragraphs or sentences do; nothing stands in two."""
    if _length(text, predictor) <= room + WINDOW_SLACK:
        return [text]
    measure = token_measure(text, predictor.tokenizer)
    return [text[start:end] for start, end in passages(text, size=room, overlap=0, measure=measure)]


def _sentences(text: str, predictor: Predictor, room: int) -> list[Passage]:
    """The places of all sentences; of one that is longer than what is read at once, those of its parts."""
    found = []
    for start, end in sentences(text):
        sentence = text[start:end]
        if _length(sentence, predictor) <= room + WINDOW_SLACK:
            found.append(Passage(start, end))
            continue
        measure = token_measure(sentence, predictor.tokenizer)
        cut = passages(sentence, size=room, overlap=0, measure=measure)
        found += [Passage(start + first, start + last) for first, last in cut]
    return found


def _tell_cut(where: str, written: Sequence[Generated], decoding: Decoding) -> None:
    """Warns where the model did not come to an end by itself: nothing is lost silently."""
    if count := sum(one.num_tokens >= decoding.max_new_tokens for one in written):
        warnings.warn(
            f"{where}: {count} of {len(written)} pieces written reached max_new_tokens ({decoding.max_new_tokens}), "
            "and may lack their end. Raise it, or ask a model that has learnt this.",
            stacklevel=4,
        )
