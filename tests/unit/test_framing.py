"""Frames, targets in them and answers out of them, against brute force."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from textfer.batch import NO_TARGET, Specials
from textfer.data.framing import (
    Encoded,
    Frame,
    Marks,
    SpanAnswer,
    best_spans,
    decode_tags,
    first_pieces,
    frames,
    marks_of,
    null_score,
    probabilities,
    span_target,
    tag_targets,
    tune_threshold,
)
from textfer.errors import ConfigError

MARKS = Marks(begin=101, between=102, end=103)


def encoded(text: str, cut: int = 3) -> Encoded:
    """Pieces of at most `cut` characters of each word; ids count from 1."""
    places = []
    at = 0
    for word in text.split(" "):
        places += [[at + n, min(at + n + cut, at + len(word))] for n in range(0, len(word), cut)]
        at += len(word) + 1
    return np.arange(1, len(places) + 1, dtype=np.int32), np.array(places, np.int64).reshape(-1, 2)


def specials(**ids: int) -> Specials:
    sentinels = np.array([59, 58, 57, 56], np.int32) if ids.pop("sentinels", 0) else np.zeros(0, np.int32)
    return Specials(pad=0, eos=1, unk=2, sentinels=sentinels, num_ids=60, **ids)


def test_marks_of_vocabularies() -> None:
    assert marks_of(specials(cls=5, sep=6, bos=7, sentinels=4)) == (5, 6, 6)
    assert marks_of(specials(bos=7, cls=5, sentinels=4)) == (7, 1, 1)
    assert marks_of(specials(sentinels=4)) == (56, 57, 1)
    assert marks_of(specials()) == (1, 1, 1)


def test_one_two_and_three_fields() -> None:
    one, two, three = encoded("abcd ef"), encoded("gh"), encoded("ijklm")
    (frame,) = frames([one], MARKS, max_len=20)
    assert frame.inputs.tolist() == [101, 1, 2, 3, 103]
    assert frame.types.tolist() == [0] * 5
    assert frame.parts.tolist() == [-1, 0, 0, 0, -1]
    assert frame.places.tolist() == [[0, 0], [0, 3], [3, 4], [5, 7], [0, 0]]
    assert frame.best.tolist() == [False, True, True, True, False]
    (frame,) = frames([one, two], MARKS, max_len=20)
    assert frame.inputs.tolist() == [101, 1, 2, 3, 102, 1, 103]
    assert frame.types.tolist() == [0, 0, 0, 0, 0, 1, 1]
    (frame,) = frames([one, two, three], MARKS, max_len=20)
    assert frame.inputs.tolist() == [101, 1, 2, 3, 102, 1, 102, 1, 2, 103]
    assert frame.types.tolist() == [0] * 7 + [1] * 3
    assert frame.parts.tolist() == [-1, 0, 0, 0, -1, 1, -1, 2, 2, -1]
    assert frame.last_field == 2


def test_the_longest_loses_tokens_first() -> None:
    """As `_truncate_seq_pair`: of equally long ones the second."""
    rng = random.Random(0)
    for _ in range(300):
        lens = [rng.randint(0, 12) for _ in range(rng.randint(1, 4))]
        max_len = rng.randint(len(lens) + 2, 30)
        fields = [(np.arange(n, dtype=np.int32), np.zeros((n, 2), np.int64)) for n in lens]
        (frame,) = frames(fields, MARKS, max_len=max_len)
        kept = list(lens)
        while sum(kept) > max_len - len(lens) - 1:
            longest = max(n for n, size in enumerate(kept) if size == max(kept))
            kept[longest] -= 1
        assert [(frame.parts == n).sum() for n in range(len(lens))] == kept
        assert len(frame.inputs) == sum(kept) + len(lens) + 1 <= max_len


def test_windows_and_where_a_token_is_seen_best() -> None:
    """As `_check_is_max_context` of run_squad: the score of each window that holds a token, the first highest wins."""
    rng = random.Random(2)
    for _ in range(200):
        question, count = rng.randint(0, 6), rng.randint(0, 60)
        fields = [(np.arange(n, dtype=np.int32), np.zeros((n, 2), np.int64)) for n in (question, count)]
        max_len, stride, most = rng.randint(12, 30), rng.randint(1, 12), rng.randint(1, 6)
        found = frames(fields, MARKS, max_len=max_len, stride=stride, max_question=most)
        room = max_len - 3 - min(question, most)
        windows = []
        start = 0
        while True:
            length = min(count - start, room)
            windows.append((start, length))
            if start + length == count:
                break
            start += min(length, stride)
        assert [frame.inputs[frame.parts == 1].tolist() for frame in found] == [[*range(a, a + n)] for a, n in windows]
        assert all((frame.parts == 0).sum() == min(question, most) for frame in found)
        for token in range(count):
            scores = [
                min(token - a, a + n - 1 - token) + 0.01 * n if a <= token < a + n else -math.inf for a, n in windows
            ]
            seen = [bool(frame.best[(frame.parts == 1) & (frame.inputs == token)].sum()) for frame in found]
            assert seen == [n == scores.index(max(scores)) for n in range(len(windows))]


def test_no_room() -> None:
    fields = [encoded("abc def ghi"), encoded("jkl")]
    with pytest.raises(ConfigError, match=r"^max_len: got 3, expected more than 3 tokens: 3 marks. Raise it.$"):
        frames(fields, MARKS, max_len=3)
    message = r"^max_len: got 6, expected more than 6 tokens: 3 marks and 3 tokens before the last field. Raise it.$"
    with pytest.raises(ConfigError, match=message):
        frames(fields, MARKS, max_len=6, stride=2)
    with pytest.raises(ConfigError, match=r"^max_len: got 1, expected more than 3 tokens: 3 marks. Raise it.$"):
        frames(fields, MARKS, max_len=1, stride=2, max_question=0)


def test_spans_become_tokens() -> None:
    """Against a search over all tokens of the whole text: none of those that hold the span may be outside."""
    rng = random.Random(4)
    text = "abcdefg hi jklmnop qrs tuvw xyzabcdef gh ijk lmnopq"
    question, context = encoded("what is it"), encoded(text)
    found = frames([question, context], MARKS, max_len=16, stride=4)
    assert len(found) > 2
    inside = 0
    for _ in range(500):
        start = rng.randrange(len(text))
        end = rng.randint(start + 1, min(start + 15, len(text)))
        held = [n for n, (a, b) in enumerate(context[1].tolist()) if a < end and b > start]
        for frame in found:
            at = [int(i) - 1 for i in frame.inputs[frame.parts == 1]]
            offset = int(np.flatnonzero(frame.parts == 1)[0])
            whole = bool(held) and set(held) <= set(at)
            expected = (at.index(held[0]) + offset, at.index(held[-1]) + offset) if whole else None
            assert span_target(frame, 1, start, end) == expected
            inside += whole
    assert 200 < inside < 1800
    assert span_target(found[0], 0, 0, 4) == (1, 2)
    assert span_target(found[0], 1, 7, 8) is None  # a space


def test_empty_places_hold_nothing() -> None:
    ids, places = np.array([7, 8, 9], np.int32), np.array([[0, 0], [0, 2], [3, 3]], np.int64)
    (frame,) = frames([(ids, places)], MARKS, max_len=9)
    assert span_target(frame, 0, 0, 2) == (2, 2)
    assert first_pieces(frame, 0, np.array([[0, 2]])).tolist() == [2]
    logits = np.array([0.0, 9.0, 1.0, 9.0, 0.0], np.float32)
    assert [answer.text for answer in best_spans([frame], [logits], [logits], "ab ")] == ["ab"]


def test_tags_stand_at_first_pieces() -> None:
    text = "abcdefg hi jklm"
    words = np.array([[0, 7], [8, 10], [11, 15]])
    (frame,) = frames([encoded(text)], MARKS, max_len=20)
    assert tag_targets(frame, 0, words, [4, 5, 6]).tolist() == [
        *(NO_TARGET, 4, NO_TARGET, NO_TARGET, 5, 6, NO_TARGET, NO_TARGET)
    ]
    (cut,) = frames([encoded(text)], MARKS, max_len=6)
    assert tag_targets(cut, 0, words, [4, 5, 6]).tolist() == [NO_TARGET, 4, NO_TARGET, NO_TARGET, 5, NO_TARGET]
    assert decode_tags([cut], [np.array([0, 1, 0, 0, 2, 0])], words, ["O", "B-x", "I-x"]) == ["B-x", "I-x", "O"]
    assert tag_targets(frame, 0, np.zeros((0, 2)), []).tolist() == [NO_TARGET] * 8
    # a token of two words is the first one's
    assert first_pieces(frame, 0, np.array([[0, 1], [1, 4], [8, 15]])).tolist() == [1, -1, 4]


def test_tags_over_windows_are_those_seen_best() -> None:
    rng = random.Random(6)
    text = " ".join("abcdefgh"[: rng.randint(1, 8)] for _ in range(40))
    starts = np.cumsum([0] + [len(word) + 1 for word in text.split(" ")])[:-1]
    words = np.stack([starts, starts + [len(word) for word in text.split(" ")]], axis=1)
    ids, places = encoded(text)
    found = frames([(ids, places)], MARKS, max_len=17, stride=6)
    labels = [f"{window} {token}" for window in range(len(found)) for token in range(len(ids) + 1)]
    predicted = [
        np.where(frame.parts == 0, number * (len(ids) + 1) + frame.inputs, 0) for number, frame in enumerate(found)
    ]
    tags = decode_tags(found, predicted, words, labels)
    for word, tag in zip(words.tolist(), tags, strict=True):
        token = int(np.flatnonzero(places[:, 0] == word[0])[0]) + 1
        (best,) = [n for n, frame in enumerate(found) if frame.best[frame.inputs == token].any()]
        assert tag == f"{best} {token}"
    with_targets = np.zeros(len(words), np.int64)
    for frame in found:
        given = tag_targets(frame, 0, words, np.arange(len(words)))
        for token, word in zip(frame.inputs, given, strict=True):
            if word != NO_TARGET:
                assert places[token - 1, 0] == words[word, 0]
                with_targets[word] += 1
    assert (with_targets >= 1).all()


def brute_spans(
    found: list[Frame], start: list[np.ndarray], end: list[np.ndarray], text: str, max_answer: int, n_best: int
) -> list[SpanAnswer]:
    every = []
    for frame, s, e in zip(found, start, end, strict=True):
        for i in range(len(s)):
            for j in range(i, min(i + max_answer, len(s))):
                if frame.parts[i] == frame.parts[j] == frame.last_field and frame.best[i]:
                    a, b = int(frame.places[i, 0]), int(frame.places[j, 1])
                    every.append(SpanAnswer(text[a:b], a, b, float(s[i]) + float(e[j])))
    every.sort(key=lambda answer: -answer.score)
    return [one for n, one in enumerate(every) if one.text not in {other.text for other in every[:n]}][:n_best]


def test_best_spans_against_all_spans() -> None:
    rng = np.random.default_rng(0)
    text = "ab cdefgh ab ijk lmnop ab cdefgh qr ab st"
    fields = [encoded("who"), encoded(text)]
    for most, n_best in ((30, 20), (1, 5), (3, 40), (2, 500)):
        found = frames(fields, MARKS, max_len=12, stride=3)
        start, end = ([rng.standard_normal(len(f.inputs)).astype(np.float32) for f in found] for _ in range(2))
        answers = best_spans(found, start, end, text, max_answer=most, n_best=n_best)
        assert answers == brute_spans(found, start, end, text, most, n_best)
        assert [answer.text for answer in answers] == [text[answer.start : answer.end] for answer in answers]
        assert null_score(start, end) == min(float(s[0]) + float(e[0]) for s, e in zip(start, end, strict=True))


def test_no_context_has_no_answers() -> None:
    found = frames([encoded("who"), encoded("")], MARKS, max_len=12, stride=3)
    assert len(found) == 1
    logits = [np.zeros(len(found[0].inputs), np.float32)]
    assert best_spans(found, logits, logits, "") == []
    assert probabilities([]).tolist() == []
    assert probabilities([], null=3.0).tolist() == [1.0]


def test_probabilities() -> None:
    answers = [SpanAnswer("a", 0, 1, 2.0), SpanAnswer("b", 1, 2, 1.0)]
    expected = np.exp([2.0, 1.0, 0.5]) / np.exp([2.0, 1.0, 0.5]).sum()
    assert probabilities(answers, null=0.5) == pytest.approx(expected)
    assert probabilities(answers).sum() == pytest.approx(1)
    assert probabilities([SpanAnswer("a", 0, 1, 5000.0)]).tolist() == [1.0]


def test_threshold_against_all_thresholds() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        count = int(rng.integers(1, 12))
        differences = rng.standard_normal(count) * 3
        has, answered = rng.random(count) < 0.6, rng.random(count) < 0.9
        scores = np.where(has & answered, rng.random(count).round(2), 0.0)

        def mean(limit: float) -> float:
            given = differences <= limit  # noqa: B023
            return 100 * float(np.where(given & answered, scores, ~has).mean())  # noqa: B023

        found = tune_threshold(differences, scores, has, answered)
        every = [-math.inf, *differences.tolist()]
        assert found.score == pytest.approx(max(mean(limit) for limit in every))
        assert mean(found.value) == pytest.approx(found.score)
    assert tune_threshold([0.5, 0.7], [0.0, 0.0], [False, False], [True, True]) == (0.0, 100.0)
    assert tune_threshold([], [], [], []) == (0.0, 0.0)
