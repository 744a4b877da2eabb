"""Position → task: every prefix is exact to one example, and any place is answered without what came before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textfer.data.schedule import MAX_SPAN, RARE, WHOLE, Schedule

RATES = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=107)


def most_off(rates: Sequence[float], num: int = 3000, start: int = 0) -> float:
    """By how many examples the count of any task differs from its rate, in any prefix from `start` on."""
    schedule = Schedule(rates)
    tasks, draws = schedule(np.arange(start, start + num))
    exact = np.array(rates) / np.sum(rates)
    most = 0.0
    for task, rate in enumerate(exact):
        heard = tasks == task
        if heard.any():
            counts = np.cumsum(heard) + draws[heard][0]
            most = max(most, float(np.abs(counts - np.arange(start + 1, start + num + 1) * rate).max()))
    return most


@settings(max_examples=60, deadline=None)
@given(RATES)
def test_every_prefix_is_exact_to_one_example(rates: list[float]) -> None:
    assert most_off(rates) < 1 + 1e-6


@settings(max_examples=30, deadline=None)
@given(RATES, st.integers(0, 10**7))
def test_and_so_is_a_prefix_that_ends_far_on(rates: list[float], start: int) -> None:
    """Rates are kept to 1 in 2^40: after ten million examples that makes up to 0.00001 of one."""
    assert most_off(rates, start=start) < 1 + 1e-4


def test_it_holds_across_many_cuts() -> None:
    """Over a hundred spans, so over a hundred closed formulas that have to fit each other."""
    draws = np.random.default_rng(0)
    for num_tasks in (2, 3, 24, 107):
        assert most_off(draws.lognormal(0, 0.6, num_tasks).tolist(), 120_000) < 1 + 1e-6


def test_rates_that_differ_a_thousandfold() -> None:
    draws = np.random.default_rng(1)
    for _ in range(3):
        assert most_off(draws.lognormal(0, 1.8, 107).tolist(), 150_000) < 1 + 1e-6


def test_many_small_tasks_that_come_due_together() -> None:
    """A hundred tasks in step with each other: no rounding of one by one would do."""
    assert most_off([0.45, 0.45, *[0.001] * 100], 50_000) < 1 + 1e-6


@settings(max_examples=30, deadline=None)
@given(RATES, st.integers(0, WHOLE))
def test_draws_of_a_task_are_consecutive_from_any_place(rates: list[float], start: int) -> None:
    tasks, draws = Schedule(rates)(np.arange(start, start + 3000))
    for task in np.unique(tasks):
        mine = draws[tasks == task]
        assert (np.diff(mine) == 1).all()
        assert start or mine[0] == 0


def test_any_place_is_what_it_is_in_the_whole() -> None:
    rates = np.random.default_rng(2).lognormal(0, 1, 30).tolist()
    tasks, draws = Schedule(rates)(np.arange(40_000))
    places = np.random.default_rng(3).integers(0, 40_000, 200)
    some, of_them = Schedule(rates)(places)
    assert some.tolist() == tasks[places].tolist()
    assert of_them.tolist() == draws[places].tolist()


def test_equal_rates_take_turns() -> None:
    tasks, draws = Schedule([1.0] * 4)(np.arange(12))
    assert [sorted(tasks[at : at + 4]) for at in (0, 4, 8)] == [[0, 1, 2, 3]] * 3
    assert draws.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_a_lone_task_has_every_place() -> None:
    tasks, draws = Schedule([3.0])(np.arange(5000, 5010))
    assert tasks.tolist() == [0] * 10
    assert draws.tolist() == list(range(5000, 5010))


@pytest.mark.parametrize("rates", [[1.0, 0.3 * RARE], [1.0, 0.3, 0.5 * RARE, 0.25 * RARE, 0.1 * RARE, 0.01]])
def test_the_rarest_share_turns_and_are_off_by_less_than_two(rates: list[float]) -> None:
    schedule, num = Schedule(rates), 10_000
    exact = np.array(rates) / np.sum(rates)
    for start in (0, MAX_SPAN - num // 2, 41 * MAX_SPAN):
        tasks, draws = schedule(np.arange(start, start + num))
        for task in np.unique(tasks):
            mine = draws[tasks == task]
            assert mine.tolist() == list(range(mine[0], mine[0] + len(mine)))
            counts = np.cumsum(tasks == task) + mine[0]
            off = np.abs(counts - np.arange(start + 1, start + num + 1) * exact[task]).max()
            assert off < (1 + 1e-4 if rates[task] > 0.1 else 2)
