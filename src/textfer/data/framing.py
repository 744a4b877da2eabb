"""How an encoder reads an example's fields, and how places in a text become places in what it reads, and back.

One field is `[CLS]` A `[SEP]`, two are `[CLS]` A `[SEP]` B `[SEP]` with types 0 and 1. Of more than two, all but the
last are A, a `[SEP]` behind each. A reader without such marks has others: `Marks`.

Letters: S tokens of a frame with its marks, F fields, W words, n tokens of a field.

Source: `_truncate_seq_pair` in run_classifier.py, `convert_examples_to_features` and `write_predictions` in
run_squad.py of BERT's release; `find_best_thresh` in SQuAD's evaluate-v2.0.py. Places here are of characters, so that
answers are cut from the text as it was written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from textfer.batch import NO_TARGET, Float32, Int32, Specials
from textfer.errors import ConfigError
from textfer.tokenizers import Places

Encoded: TypeAlias = tuple[Int32, Places]
"""One field, as `encode_places` returns it."""
Bools: TypeAlias = NDArray[np.bool_]
Int64: TypeAlias = NDArray[np.int64]
MARK = -1
"""The field of a token that belongs to none."""
MAX_QUESTION = 64
"""Tokens that are read of what stands before a text that is read in windows; from run_squad.py, too."""
OUTSIDE = "O"
"""The tag of a word that was cut off."""
_NO_END = np.iinfo(np.int64).max


class Marks(NamedTuple):
    """The ids around and between fields: `begin` A `between` B `end`."""

    begin: int
    between: int
    end: int


@dataclass(frozen=True, slots=True)
class Frame:
    """What a model reads at once: all fields of an example, or all but the last and a window of that."""

    inputs: Int32
    """[S] marks included"""
    types: Int32
    """[S] 1 in the last of several fields and its mark, else 0"""
    parts: Int32
    """[S] which field a token is from; −1 = a mark"""
    places: Places
    """[S, 2] characters within that field; (0, 0) for marks"""
    best: Bools
    """[S] whether no other frame of the example shows more around the token; never for marks"""
    reach: Int64
    """[F, 2] the characters of each field of which no token was cut off here: start and end, end exclusive"""

    @property
    def last_field(self) -> int:
        """The number of the last field: the one that is cut into windows, and that answers are found in."""
        return len(self.reach) - 1


class SpanAnswer(NamedTuple):
    """A stretch of the last field's text: `text[start:end]`."""

    text: str
    start: int
    end: int
    score: float


class Threshold(NamedTuple):
    """By how much "no answer" may exceed the best answer before it is said, and the score (0…100) that this gives."""

    value: float
    score: float


def marks_of(specials: Specials) -> Marks:
    """What a vocabulary frames texts with: the first of these that it has.

    1. `[CLS]` and `[SEP]` (BERT). 2. A start mark before, the end mark between and behind. 3. The last two sentinels
    before and between (they are the rarest in pre-training), the end mark behind (T5). 4. The end mark everywhere
    (GPT-2).
    """
    cls, sep, bos, eos = specials.cls, specials.sep, specials.bos, specials.eos
    if cls is not None and sep is not None:
        return Marks(cls, sep, sep)
    if bos is not None:
        return Marks(bos, eos, eos)
    if len(specials.sentinels) >= 2:
        return Marks(int(specials.sentinels[-1]), int(specials.sentinels[-2]), eos)
    return Marks(eos, eos, eos)


def frames(
    fields: Sequence[Encoded],
    marks: Marks,
    *,
    max_len: int,
    stride: int | None = None,
    max_question: int = MAX_QUESTION,
) -> list[Frame]:
    """One frame of at most `max_len` tokens; or with a `stride`, one for each window of the last field.

    Without a stride fields that are too long lose tokens at their ends, always the longest of them (of equally long
    ones the last), until all fit. With one, the fields before the last are cut to `max_question` tokens together, and
    the last into windows that fill what is left and begin `stride` tokens apart (fewer where a window is shorter).

    Errors: ConfigError where `max_len` leaves no room.
    """
    assert fields, "an example has a field"
    assert stride is None or stride >= 1, "windows move on"
    room = max_len - len(fields) - 1
    lens = [len(ids) for ids, _ in fields]
    kept = _longest_first(lens, max(room, 0)) if stride is None else _longest_first(lens[:-1], max_question)
    left = room - (sum(kept) if stride else 0)
    if left < 1:
        raise ConfigError(
            f"max_len: got {max_len}, expected more than {max_len - left} tokens: {len(fields) + 1} marks"
            f"{f' and {sum(kept)} tokens before the last field' if stride and sum(kept) else ''}. Raise it."
        )
    if stride is None:
        return [_frame(fields, [(0, count) for count in kept], marks, None)]
    windows = list(_windows(lens[-1], left, stride))
    best = _best(windows, lens[-1])
    head = [(0, count) for count in kept]
    return [
        _frame(fields, [*head, window], marks, None if best is None else best[window[0] : window[1]] == number)
        for number, window in enumerate(windows)
    ]


def is_cut(frame: Frame) -> bool:
    """Whether some token of a field is not in the frame."""
    return bool((frame.reach[:, 0] > 0).any() or (frame.reach[:, 1] < _NO_END).any())


def _longest_first(lens: Sequence[int], room: int) -> list[int]:
    """What is left of each length when the longest (of equals the last) is cut by one until the sum fits."""
    if sum(lens) <= room:
        return list(lens)
    level = bisect_right(range(room + 1), room, key=lambda cap: sum(min(n, cap) for n in lens)) - 1
    spare = room - sum(min(n, level) for n in lens)
    kept = []
    for n in lens:
        kept.append(min(n, level + (spare > 0)))
        spare -= n > level
    return kept


def _windows(count: int, room: int, stride: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start + room < count:
        yield start, start + room
        start += min(room, stride)
    yield start, count


def _best(windows: Sequence[tuple[int, int]], count: int) -> Int64 | None:
    """[n] the window that shows most on a token's poorer side, longer windows before shorter; None = there is one."""
    if len(windows) == 1:
        return None
    at = np.arange(count)
    starts, ends = np.array(windows).T[:, :, None]
    score = np.minimum(at - starts, ends - 1 - at) + 0.01 * (ends - starts)
    best: Int64 = np.where((at >= starts) & (at < ends), score, -np.inf).argmax(axis=0)
    return best


def _frame(
    fields: Sequence[Encoded], spans: Sequence[tuple[int, int]], marks: Marks, best_of_last: Bools | None
) -> Frame:
    """The fields' tokens `spans` with marks around them."""
    size = 1 + sum(end - start + 1 for start, end in spans)
    inputs = np.full(size, marks.between, np.int32)
    types, parts = np.zeros(size, np.int32), np.full(size, MARK, np.int32)
    places, best = np.zeros((size, 2), np.int64), np.zeros(size, np.bool_)
    reach = np.zeros((len(fields), 2), np.int64)
    inputs[0] = marks.begin
    at = 1
    for number, ((ids, where), (start, end)) in enumerate(zip(fields, spans, strict=True)):
        stop = at + end - start
        inputs[at:stop], parts[at:stop], places[at:stop], best[at:stop] = ids[start:end], number, where[start:end], True
        reach[number] = where[start - 1, 1] if start else 0, where[end, 0] if end < len(ids) else _NO_END
        at = stop + 1
    inputs[-1] = marks.end
    if len(fields) > 1:
        types[size - 1 - (spans[-1][1] - spans[-1][0]) :] = 1
    if best_of_last is not None:
        best[size - 1 - len(best_of_last) : -1] = best_of_last
    return Frame(inputs, types, parts, places, best, reach)


def span_target(frame: Frame, field_index: int, start: int, end: int) -> tuple[int, int] | None:
    """The first and the last token, both included, that hold some of the characters `start:end` of a field.

    None where a token of them was cut off, or there is none.
    """
    from_, to = frame.reach[field_index]
    if from_ > start or to < end:
        return None
    held = (frame.parts == field_index) & (frame.places[:, 0] < end) & (frame.places[:, 1] > start)
    at = np.flatnonzero(held & (frame.places[:, 0] < frame.places[:, 1]))
    return (int(at[0]), int(at[-1])) if at.size else None


def tag_targets(frame: Frame, field_index: int, words: Places, tags: Sequence[int] | Int64) -> Int32:
    """[S] the tag of each word at its first piece, `NO_TARGET` elsewhere. Words that are cut off have none.

    Shapes: words [W, 2] characters of the field, in order; tags [W].
    """
    at = first_pieces(frame, field_index, words)
    found = np.full(len(frame.inputs), NO_TARGET, np.int32)
    found[at[at >= 0]] = np.asarray(tags, np.int32)[at >= 0]
    return found


def first_pieces(frame: Frame, field_index: int, words: Places) -> Int64:
    """[W] the position of each word's first token, −1 where that is not in the frame.

    A token that holds some of several words is the first of them's; the others have none.
    """
    words = np.asarray(words, np.int64).reshape(-1, 2)
    held = (frame.parts == field_index) & (frame.places[:, 0] < frame.places[:, 1])
    at = np.flatnonzero(held)
    if not at.size or not len(words):
        return np.full(len(words), -1, np.int64)
    starts, ends = frame.places[at].T
    number = np.searchsorted(ends, words[:, 0], side="right")
    number[number == len(at)] = 0  # a word behind the last token does not begin before the first one's end
    seen = (starts[number] < words[:, 1]) & (ends[number] > words[:, 0]) & (frame.reach[field_index, 0] <= words[:, 0])
    found = np.where(seen, at[number], -1)
    found[1:][found[1:] == found[:-1]] = -1
    return found


def best_spans(
    frames: Sequence[Frame],
    start_logits: Sequence[Float32],
    end_logits: Sequence[Float32],
    text: str,
    *,
    max_answer: int = 30,
    n_best: int = 20,
) -> list[SpanAnswer]:
    """The likeliest stretches of the last field over all its windows, best first, no text twice.

    One begins and ends at tokens that stand for something, has at most `max_answer` tokens, and begins where its
    window is the best one. Its score is the sum of two logits. Empty where the field is. Shapes: one [S] a frame.
    """
    found = [_scores(*one, max_answer) for one in zip(frames, start_logits, end_logits, strict=True)]
    score = np.concatenate([scores.ravel() for scores in found])
    owner = np.repeat(np.arange(len(frames)), [scores.size for scores in found])
    before = np.concatenate([[0], np.cumsum([scores.size for scores in found])])
    for count in (4 * n_best, score.size):  # the same text may be found in several windows, seldom often
        few = np.argpartition(-score, count)[:count] if count < score.size else np.arange(score.size)
        answers: dict[str, SpanAnswer] = {}
        for number in few[np.argsort(-score[few], kind="stable")].tolist():
            if score[number] == -np.inf or len(answers) == n_best:
                return list(answers.values())
            frame = frames[owner[number]]
            first, more = divmod(number - int(before[owner[number]]), max_answer)
            first += _first_of(frame)
            start, end = int(frame.places[first, 0]), int(frame.places[first + more, 1])
            answers.setdefault(text[start:end], SpanAnswer(text[start:end], start, end, float(score[number])))
        if len(answers) == n_best:
            break
    return list(answers.values())


def _first_of(frame: Frame) -> int:
    """The position of the last field's first token."""
    return len(frame.inputs) - 1 - int((frame.parts == frame.last_field).sum())


def _scores(frame: Frame, start: Float32, end: Float32, max_answer: int) -> NDArray[np.float64]:
    """[n, max_answer] of spans that begin at each token and have 1, 2, … tokens; −∞ = not allowed."""
    tokens = slice(_first_of(frame), len(frame.inputs) - 1)
    stands = frame.places[tokens, 0] < frame.places[tokens, 1]
    begins = np.where(stands & frame.best[tokens], np.asarray(start, np.float64)[tokens], -np.inf)
    ends = np.where(stands, np.asarray(end, np.float64)[tokens], -np.inf)
    if not len(begins):
        return np.zeros((0, max_answer))
    ahead = np.lib.stride_tricks.sliding_window_view(np.append(ends, np.full(max_answer - 1, -np.inf)), max_answer)
    scores: NDArray[np.float64] = begins[:, None] + ahead
    return scores


def null_score(start_logits: Sequence[Float32], end_logits: Sequence[Float32]) -> float:
    """The score of "no answer": the lowest over all windows of the sum at the first token."""
    return min(float(start[0]) + float(end[0]) for start, end in zip(start_logits, end_logits, strict=True))


def probabilities(answers: Sequence[SpanAnswer], null: float | None = None) -> NDArray[np.float64]:
    """[answers] each one's share among all of them; [answers + 1] with that of "no answer" last, where it may be."""
    scores = np.array([answer.score for answer in answers] + ([] if null is None else [null]), np.float64)
    if not scores.size:
        return scores
    shares: NDArray[np.float64] = np.exp(scores - scores.max())
    shares /= shares.sum()
    return shares


def tune_threshold(
    differences: Sequence[float], scores: Sequence[float], has_answer: Sequence[bool], answered: Sequence[bool]
) -> Threshold:
    """The threshold on "no answer" − best answer with the highest mean score over questions.

    `scores` (0…1) are those of the best answers, `answered` says whether they are not empty. Questions are answered in
    the order of their differences, and the first best place is taken. An answer is given up to the threshold itself.
    Where none is worth giving, it is 0, or below all differences where that would give some.
    """
    order = np.argsort(np.asarray(differences, np.float64), kind="stable")
    ranked = np.asarray(differences, np.float64)[order]
    answerable = np.asarray(has_answer, np.bool_)
    wrong = np.where(np.asarray(answered, np.bool_), -1.0, 0.0)
    gains = np.where(answerable, np.asarray(scores, np.float64), wrong)[order]
    nothing = float((~answerable).sum())
    total = max(len(ranked), 1)
    sums = nothing + np.cumsum(gains)
    if not len(ranked) or sums.max() <= nothing:
        below = float(np.nextafter(ranked[0], -np.inf)) if len(ranked) else 0.0
        return Threshold(min(0.0, below), 100 * nothing / total)
    at = int(sums.argmax())
    return Threshold(float(ranked[at]), 100 * float(sums[at]) / total)


def decode_tags(
    frames: Sequence[Frame], predicted: Sequence[Int64], words: Places, labels: Sequence[str], field_index: int = 0
) -> list[str]:
    """[W] a tag for each word: that of its first piece, where most is seen around it; "O" where it was cut off.

    Shapes: predicted one [S] of label numbers a frame; words [W, 2] characters of the field, in order.
    """
    found = [OUTSIDE] * len(words)
    for frame, numbers in zip(frames, predicted, strict=True):
        at = first_pieces(frame, field_index, words)
        for word in np.flatnonzero((at >= 0) & frame.best[at]).tolist():
            found[word] = labels[int(numbers[at[word]])]
    return found
