"""Answers of several passages: comparable shares, no answer, ties, the same place read twice."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textfer.calibration import SURE, log_odds
from textfer.merging import Heard, Merged, Named, Origin, heard, joined, merge, merge_windows


def alone(*said: Heard) -> Merged:
    """Passages of different documents."""
    return merge(said, [Origin(source=number, offset=0) for number in range(len(said))])


def spans(*found: tuple[str, float, int], none: bool = False, other: float = 0.0) -> Heard:
    """What a reader of spans says: (text, logit above that of "no answer", start)."""
    return Heard(
        candidates=tuple(
            Named(text=text, log_odds=above, start=start, end=start + len(text)) for text, above, start in found
        ),
        none=none,
        other=other,
    )


@given(st.floats(1e-6, 1 - 1e-6))
def test_one_passage_keeps_the_readers_own_share(probability: float) -> None:
    found = alone(heard("Rome", probability, start=0, end=4))
    assert found.answers[0].share == pytest.approx(probability, abs=1e-9)
    assert found.no_answer == pytest.approx(1 - probability, abs=1e-9)
    nothing = alone(heard(None, probability))
    assert (nothing.best(), nothing.no_answer) == (None, pytest.approx(probability, abs=1e-9))


def test_shares_of_several_answers_of_one_passage_are_its_softmax() -> None:
    logits = {"Rome": 3.0, "Oslo": 1.5}
    found = alone(spans(*((text, above, 10 * number) for number, (text, above) in enumerate(logits.items()))))
    whole = 1 + sum(math.exp(above) for above in logits.values())
    assert {one.text: one.share for one in found.answers} == {
        text: pytest.approx(math.exp(above) / whole) for text, above in logits.items()
    }
    assert found.no_answer == pytest.approx(1 / whole)


def test_a_passage_without_the_answer_cannot_win_by_its_own_normalisation() -> None:
    """Of its own stretches "noise" has a share of 0.999, "Rome" of 0.6 only; against "no answer" it is weaker."""
    empty = spans(("noise", -2.0, 0), ("other", -9.0, 20), none=True)
    good = spans(("Rome", 4.0, 0), ("Oslo", 3.6, 20))
    found = alone(empty, good)
    best = found.best()
    assert best is not None
    assert (best.text, best.passage) == ("Rome", 1)
    shares = {one.text: one.share for one in found.answers}
    assert shares["noise"] < 0.01 < shares["Oslo"] < shares["Rome"]


def test_many_passages_that_say_nothing_do_not_drown_one_that_does() -> None:
    found = alone(*[heard(None, 0.98) for _ in range(9)], heard("Rome", 0.9, start=0, end=4))
    best = found.best()
    assert best is not None
    assert best.share == pytest.approx(9 / (1 + 9 + 9 * 0.02 / 0.98))
    assert alone(*[heard(None, 0.98) for _ in range(9)]).best() is None


def test_no_answer_where_no_reader_offers_one() -> None:
    found = alone(spans(("Rome", -1.0, 0), none=True), spans(("Oslo", -3.0, 0), none=True))
    assert found.best() is None
    assert [one.text for one in found.answers] == ["Rome", "Oslo"]
    assert found.no_answer == pytest.approx(1 / (1 + math.exp(-1) + math.exp(-3)))


def test_a_likelier_alternative_does_not_displace_an_offered_answer() -> None:
    """A tuned threshold may refuse what is likelier than "no answer"; it is listed, not given."""
    best = alone(spans(("Oslo", 2.0, 0), none=True), spans(("Rome", 1.0, 0))).best()
    assert best is not None
    assert best.text == "Rome"


def test_least_score() -> None:
    found = alone(heard("Rome", 0.6, start=0, end=4))
    assert found.best(min_share=0.5) is not None
    assert found.best(min_share=0.7) is None


# ---- the same place, the same words


def test_the_same_place_in_two_windows_counts_once() -> None:
    origins = [Origin(source="a", offset=0), Origin(source="a", offset=50)]
    found = merge([spans(("Rome", 1.0, 60)), spans(("Rome", 2.0, 10))], origins)
    (one,) = found.answers
    assert (one.passage, one.start, one.num_places) == (1, 10, 1)
    assert one.share == pytest.approx(math.exp(2) / (1 + math.exp(2)))
    elsewhere = merge([spans(("Rome", 1.0, 60)), spans(("Rome", 2.0, 10))], [origins[0], Origin(source="b", offset=50)])
    assert elsewhere.answers[0].num_places == 2
    assert elsewhere.answers[0].share > one.share


def test_a_place_offered_in_one_window_is_offered() -> None:
    origins = [Origin(source="a", offset=0), Origin(source="a", offset=50)]
    for first, second in ((True, False), (False, True)):
        said = [spans(("Rome", 1.0, 60), none=first), spans(("Rome", 1.0, 10), none=second)]
        assert merge(said, origins).best() is not None
        louder = [spans(("Rome", 1.0, 60), none=first), spans(("Rome", 2.0, 10), none=second)]
        assert merge(louder, origins).best() is not None


def test_the_same_words_count_together() -> None:
    found = alone(heard("The Rome!", 0.5, start=0, end=9), heard("rome", 0.6, start=3, end=7), heard("Oslo", 0.6))
    assert [(one.text, one.num_places, one.passage) for one in found.answers] == [("rome", 2, 1), ("Oslo", 1, 2)]
    assert found.answers[0].share == pytest.approx((1 + 1.5) / (1 + 1 + 1.5 + 1.5))


def test_answers_that_overlap_a_likelier_one_are_left_out() -> None:
    found = alone(spans(("Maud Hale", 3.0, 10), ("Hale", 2.0, 15), ("Belm", 1.0, 40)))
    assert [one.text for one in found.answers] == ["Maud Hale", "Belm"]
    assert sum(one.share for one in found.answers) + found.no_answer < 1


def test_places_of_the_same_words_that_overlap_are_one() -> None:
    origins = [Origin(source="a", offset=0), Origin(source="a", offset=50), Origin(source="b", offset=0)]
    said = [spans(("the mill", 2.0, 10), ("mill", 1.0, 14)), spans(("a mill", 0.5, 0)), spans(("mill", 0.1, 14))]
    (one,) = merge(said, origins).answers
    assert (one.text, one.num_places) == ("the mill", 3)


def test_answers_without_a_place() -> None:
    found = alone(heard("yes", 0.5), heard("yes", 0.5), heard("§", 0.1), heard("%", 0.1))
    assert [(one.text, one.start, one.num_places) for one in found.answers] == [
        *(("yes", None, 2), ("§", None, 1), ("%", None, 1))
    ]


def test_ties_go_to_the_passage_found_first_and_to_the_earlier_place() -> None:
    same = [heard("Oslo", 0.5, start=9, end=13), heard("Rome", 0.5, start=0, end=4)]
    assert [one.text for one in alone(*same).answers] == ["Oslo", "Rome"]
    assert [one.text for one in alone(*reversed(same)).answers] == ["Rome", "Oslo"]
    assert [one.text for one in alone(spans(("b", 1.0, 7), ("a", 1.0, 2))).answers] == ["a", "b"]


# ---- numbers


@given(st.lists(st.lists(st.floats(-800, 800), max_size=4), min_size=1, max_size=5))
def test_shares_are_a_distribution(logits: list[list[float]]) -> None:
    said = [
        spans(*((f"{number} {place}", above, 100 * place) for place, above in enumerate(some)))
        for number, some in enumerate(logits)
    ]
    found = alone(*said)
    shares = [one.share for one in found.answers]
    assert sum(shares) + found.no_answer == pytest.approx(1)
    assert shares == sorted(shares, reverse=True)
    assert all(0 <= share <= 1 for share in shares)


def test_a_reader_that_leaves_nothing_to_no_answer_is_not_infinitely_sure() -> None:
    assert log_odds(1.0) == SURE
    assert log_odds(0.0) == -SURE
    assert log_odds(1.0 + 1e-9) == SURE
    assert alone(heard("Rome", 1.0), heard("Oslo", 1.0)).answers[0].share == pytest.approx(0.5)
    assert alone(heard(None, 0.0)).no_answer == pytest.approx(1e-9)


def test_nothing_was_read() -> None:
    found = merge([], [])
    assert (found.answers, found.no_answer, found.best()) == ((), 1.0, None)


# ---- windows of one text


def test_places_of_windows_are_places_of_the_text() -> None:
    said = [spans(("Rome", 1.0, 60)), spans(("Rome", 2.0, 10), ("Oslo", 0.0, 30)), heard("in two words", 0.3)]
    found = merge_windows(said, [0, 50, 90])
    assert [(one.text, one.start, one.end, one.num_places) for one in found.answers] == [
        ("Rome", 60, 64, 1),
        ("Oslo", 80, 84, 1),
        ("in two words", None, None, 1),
    ]
    once = merge([joined(said, [0, 50, 90])], [Origin(source=0, offset=0)])
    assert [(one.text, one.start, one.share) for one in once.answers] == [
        (one.text, one.start, pytest.approx(one.share)) for one in found.answers
    ]
    assert once.no_answer == pytest.approx(found.no_answer)


def test_windows_that_all_say_none_are_joined_to_none() -> None:
    none = joined([heard(None, 0.8), heard(None, 0.9)], [0, 40])
    assert none.none
    assert none.other == pytest.approx(0.25 + 1 / 9)
    assert not joined([heard(None, 0.8), heard("Rome", 0.9)], [0, 40]).none
