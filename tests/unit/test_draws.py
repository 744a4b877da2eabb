"""Randomness by address: SplitMix64 to the bit, permutations that are bijections, subsets all equally likely."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textfer.draws import Draws, address, below, permute, stem

FAR = 4.5
"""Standard deviations that a fixed seed's statistic may lie from its mean."""


def chi_square(counts: list[int]) -> float:
    """Pearson's statistic for equal chances, in standard deviations from its mean."""
    expected = sum(counts) / len(counts)
    statistic = sum((count - expected) ** 2 / expected for count in counts)
    freedom = len(counts) - 1
    return (statistic - freedom) / (2 * freedom) ** 0.5


def keys(num: int, *, seed: int = 0) -> np.ndarray:
    return address(seed, "test", 0, np.arange(num))


def test_bits_are_splitmix64() -> None:
    # The published sequence for seed 1234567: rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert Draws(np.array([1234567], np.uint64)).bits(5).tolist() == [published]


def test_address_separates_everything() -> None:
    index = np.arange(1000)
    keys = np.concatenate(
        [
            address(seed, name, epoch, index)
            for seed in (0, 1, 2**40)
            for name in ("a", "b", "1/a", "")
            for epoch in (0, 1, 999)
        ]
    )
    assert keys.dtype == np.uint64
    assert len(np.unique(keys)) == len(keys) == 36_000
    assert address(1, "1/a", 0, 0) != address(11, "/a", 0, 0)


def test_address_takes_an_epoch_for_each_index() -> None:
    epochs, index = np.array([3, 0, 3]), np.array([5, 5, 6])
    one_by_one = [address(7, "task", epoch, place)[0] for epoch, place in zip(epochs, index, strict=True)]
    assert address(7, "task", epochs, index).tolist() == one_by_one


def test_address_stays_what_it_is() -> None:
    # Our own numbers, from the first version: another value would change the noise of every saved run.
    assert address(42, "c4", 1, [0, 1, 10**12]).tolist() == ADDRESSES


ADDRESSES = [15599674033143924442, 11841741118847529924, 1991351576918838807]


def test_rows_do_not_know_each_other() -> None:
    many = Draws(keys(5))
    drawn = [many.uniform(3), many.integers(10, 4), many.subset(40, 9), many.subset(40, 30), many.bits(2)]
    for row in range(5):
        alone = Draws(keys(5)[row : row + 1])
        again = [alone.uniform(3), alone.integers(10, 4), alone.subset(40, 9), alone.subset(40, 30), alone.bits(2)]
        for ours, theirs in zip(drawn, again, strict=True):
            np.testing.assert_array_equal(ours[row : row + 1], theirs)


def test_some_rows_go_on_where_all_stand() -> None:
    many, same = Draws(keys(5)), Draws(keys(5))
    assert np.array_equal(many.bits(3), same.bits(3))
    assert np.array_equal(many.rows([4, 1]).bits(2), same.bits(2)[[4, 1]])


def test_uniform_is_uniform_along_rows_and_keys() -> None:
    drawn = Draws(keys(400)).uniform(500)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(chi_square(np.bincount((drawn.ravel() * 100).astype(int), minlength=100).tolist())) < FAR
    for left, right in ((drawn[:, 1:], drawn[:, :-1]), (drawn[1:], drawn[:-1])):
        correlation = np.corrcoef(left.ravel(), right.ravel())[0, 1]
        assert abs(correlation) < FAR / left.size**0.5


def test_integers_stay_below_their_bound() -> None:
    high = np.array([[1], [7], [2**40]])
    drawn = Draws(keys(3)).integers(high, 7000)
    assert (drawn >= 0).all()
    assert (drawn < high).all()
    assert not drawn[0].any()
    assert abs(chi_square(np.bincount(drawn[1], minlength=7).tolist())) < FAR
    assert len(np.unique(drawn[2])) == 7000


@given(st.integers(0, 60), st.data(), st.integers(0, 2**63))
@settings(max_examples=80, deadline=None)
def test_subset_is_ascending_and_without_repetition(n: int, data: st.DataObject, key: int) -> None:
    k = data.draw(st.integers(0, n))
    chosen = Draws(address(key, "subset", 0, np.arange(4))).subset(n, k)
    assert chosen.shape == (4, k)
    assert (np.diff(chosen, axis=1) > 0).all()
    assert not chosen.size or (chosen.min() >= 0 and chosen.max() < n)


@pytest.mark.parametrize(("n", "k"), [(6, 3), (5, 4), (12, 2), (12, 3), (16, 4)])
def test_all_subsets_are_equally_likely(n: int, k: int) -> None:
    possible = list(combinations(range(n), k))
    drawn = Counter(map(tuple, Draws(keys(40 * len(possible))).subset(n, k).tolist()))
    assert set(drawn) <= set(possible)
    assert abs(chi_square([drawn[chosen] for chosen in possible])) < FAR


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_permute_is_a_bijection(n: int, key: int) -> None:
    assert np.array_equal(np.sort(permute(np.arange(n), n, key)), np.arange(n))


def test_permute_gives_single_places_as_it_gives_all() -> None:
    whole = permute(np.arange(1001), 1001, 99)
    assert [int(permute(place, 1001, 99)) for place in (0, 17, 1000)] == whole[[0, 17, 1000]].tolist()
    assert permute(np.array([[0, 17], [1000, 0]]), 1001, np.uint64(99)).shape == (2, 2)
    assert permute(np.zeros(0, np.int64), 1001, 99).shape == (0,)


@pytest.mark.parametrize("n", [2**31 - 1, 2**33 + 7, 2**40])
def test_permute_reaches_everywhere_in_large_ranges(n: int) -> None:
    places = permute(np.arange(20_000), n, 3)
    assert len(np.unique(places)) == 20_000
    assert places.min() >= 0
    assert places.max() < n
    assert abs(chi_square(np.bincount(places * 50 // n, minlength=50).tolist())) < FAR


def test_permute_takes_a_size_and_a_key_for_each_place() -> None:
    """Places of many permutations at once come out as each does alone."""
    draws = np.random.default_rng(0)
    sizes, keys = draws.integers(1, 5000, 300), draws.integers(0, 1 << 62, 300)
    places = draws.integers(0, sizes)
    alone = [int(permute(place, size, key)) for place, size, key in zip(places, sizes, keys, strict=True)]
    assert permute(places, sizes, keys).tolist() == alone


def test_addresses_of_many_names_at_once() -> None:
    stems = np.array([stem(7, name) for name in ("a", "b", "a")])
    keys = below(stems, np.array([0, 1, 2]), np.array([5, 6, 7]))
    alone = [address(7, name, epoch, index)[0] for name, epoch, index in (("a", 0, 5), ("b", 1, 6), ("a", 2, 7))]
    assert keys.tolist() == alone


def test_permute_refuses_places_outside() -> None:
    with pytest.raises(AssertionError):
        permute([5], 5, 0)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_all_permutations_are_equally_likely(n: int) -> None:
    seeds = address(0, "keys", 0, np.arange(3000))
    drawn = Counter(tuple(permute(np.arange(n), n, key).tolist()) for key in seeds)
    assert abs(chi_square([drawn[order] for order in permutations(range(n))])) < FAR


def test_permute_leaves_no_trace_of_the_order() -> None:
    n = 997
    orders = np.stack([permute(np.arange(n), n, key) for key in address(1, "keys", 0, np.arange(200))])
    for column in (0, 1, 500, 996):  # one place, over many keys
        assert abs(chi_square(np.bincount(orders[:, column] * 10 // n, minlength=10).tolist())) < FAR
    correlation = np.corrcoef(orders[:, 1:].ravel(), orders[:, :-1].ravel())[0, 1]
    assert abs(correlation + 1 / n) < FAR / orders.size**0.5
    assert abs(np.corrcoef(orders.ravel(), np.tile(np.arange(n), 200))[0, 1]) < FAR / orders.size**0.5
    steps = (np.diff(orders, axis=1) % n).ravel()  # neighbours' distance takes all values alike
    assert abs(chi_square(np.bincount(steps, minlength=n)[1:].tolist())) < FAR
    still = (orders == np.arange(n)).sum()  # places left where they were: one a permutation
    assert abs(still - 200) < FAR * 200**0.5
