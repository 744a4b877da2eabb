"""Randomness by address: what is drawn for an example depends on where it stands, never on what came before it.

A key is a 64-bit number made from (seed, name, epoch, index). Draw number c of a key is `mix(key + c * golden)`, which
is the SplitMix64 generator read at any place, so rows need no state and a batch draws exactly what its rows draw alone.

Source of the mixing constants: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import isqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Int64: TypeAlias = NDArray[np.int64]
UInt64: TypeAlias = NDArray[np.uint64]
Float64: TypeAlias = NDArray[np.float64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_REDRAW = np.uint64(0xD1B54A32D192ED03)
"""Added to a key before `subset` draws again, so that those draws never meet the ordinary ones."""
_NUM_ROUNDS = 10


def address(seed: int, name: str, epoch: ArrayLike, index: ArrayLike) -> UInt64:
    """One key per index, uint64. Another seed, name, epoch or index gives an unrelated key.

    Shapes: `epoch` and `index` are whole numbers or arrays of them that broadcast to [B].
    """
    return below(stem(seed, name), epoch, index)


def stem(seed: int, name: str) -> np.uint64:
    """What all keys of a seed and a name are made from."""
    start = hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]
    return np.uint64(int.from_bytes(start, "little"))


def below(stems: ArrayLike, epoch: ArrayLike, index: ArrayLike) -> UInt64:
    """The keys of `address`, of many names at once. Shapes: all three broadcast to [B]."""
    keys = mix(np.asarray(stems, np.uint64) ^ mix(_unsigned(epoch) + _GOLDEN))
    return mix(keys ^ mix(_unsigned(index) + _GOLDEN))


def later(keys: UInt64, counts: ArrayLike) -> UInt64:
    """The keys whose first draw is the one after the first `counts` draws of these. Shapes: both broadcast to [B]."""
    return keys + np.asarray(counts, np.uint64) * _GOLDEN


def permute(index: ArrayLike, n: ArrayLike, key: ArrayLike) -> Int64:
    """`index` shuffled: where each place of range(n) comes to lie, without a table and in constant memory.

    A Feistel network on pairs (left < width, right < height) with width * height just above n; a result outside
    range(n) walks on along its cycle. For one key it is a bijection on range(n); every key gives another.

    Shapes: [N] int64 → [N] int64; `n` (up to 2^40) and `key` are one number or [N].
    """
    places = np.atleast_1d(np.asarray(index, np.int64)).astype(np.uint64)
    sizes, at = np.unique(np.asarray(n, np.int64), return_inverse=True)
    assert sizes[0] >= 1, f"n is {sizes[0]}"
    assert sizes[-1] <= 1 << 40, f"n is {sizes[-1]}"
    widths = [2 * (isqrt(max(size, 4) - 1) // 2 + 1) for size in sizes.tolist()]  # even: odd permutations are reached
    shape = np.array([[width, -(-size // width), size] for width, size in zip(widths, sizes.tolist(), strict=True)])
    width, height, ends = (np.broadcast_to(one[at.reshape(-1)], places.shape) for one in shape.astype(np.uint64).T)
    assert (places < ends).all(), "an index lies outside range(n)"
    keys = Draws(np.asarray(key, np.uint64).reshape(-1)).bits(_NUM_ROUNDS).T
    keys = np.broadcast_to(keys, (_NUM_ROUNDS, len(places)))
    places = _feistel(places, width, height, keys)
    while (outside := np.flatnonzero(places >= ends)).size:
        places[outside] = _feistel(places[outside], width[outside], height[outside], keys[:, outside])
    return places.astype(np.int64).reshape(np.shape(index))


class Draws:
    """A row of random numbers for every key. Row i depends on keys[i] and on how many numbers were drawn before."""

    def __init__(self, keys: UInt64) -> None:
        self.keys = np.ascontiguousarray(keys, np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return len(self.keys)

    def rows(self, numbers: Sequence[int]) -> Draws:
        """The same draws of only these rows, going on where these stand."""
        chosen = Draws(self.keys[np.asarray(numbers, np.int64)])
        chosen._count = self._count
        return chosen

    def bits(self, n: int) -> UInt64:
        """[B, n] uint64, all 64 bits random."""
        counts = np.arange(self._count + 1, self._count + n + 1, dtype=np.uint64)
        self._count += n
        return mix(self.keys[:, None] + counts * _GOLDEN)

    def uniform(self, n: int) -> Float64:
        """[B, n] float64 in [0, 1), in steps of 2^-53."""
        return _unit(self.bits(n))

    def integers(self, high: ArrayLike, n: int) -> Int64:
        """[B, n] int64 in range(high); `high` up to 2^40, one number or one for each row [B, 1]."""
        return (self.uniform(n) * np.asarray(high, np.float64)).astype(np.int64)

    def subset(self, n: int, k: int) -> Int64:
        """[B, k] int64: k different members of range(n), ascending; all such sets equally likely.

        Many of few: the k members with the smallest of n numbers, which all differ. Few of many: k are drawn, and the
        double ones drawn again until none is left; what is added never depends on which members are there, only on
        how many, so no member is favoured.
        """
        assert 0 <= k <= n, f"no {k} different members in range({n})"
        if 4 * k > n:
            bits = self.bits(n)
            chosen = bits <= np.partition(bits, k - 1, axis=1)[:, k - 1 : k]
            return (np.flatnonzero(chosen) % n).reshape(len(self), k)
        return self._subset_of_many(n, k)

    def _subset_of_many(self, n: int, k: int) -> Int64:
        chosen = np.sort(self.integers(n, k), axis=1)
        again = mix((self.keys + _REDRAW) ^ np.uint64(self._count))
        count = 0
        rows = np.arange(len(self))
        while rows.size:
            part = chosen[rows]
            row, place = np.nonzero(part[:, 1:] == part[:, :-1])
            if not row.size:
                break
            counts = (place + (count + 1)).astype(np.uint64)
            part[row, place + 1] = (_unit(mix(again[rows[row]] + counts * _GOLDEN)) * n).astype(np.int64)
            double = np.unique(row)
            rows, count = rows[double], count + k
            chosen[rows] = np.sort(part[double], axis=1)
        return chosen


def _unit(bits: UInt64) -> Float64:
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _unsigned(values: ArrayLike) -> UInt64:
    return np.atleast_1d(np.asarray(values)).astype(np.int64).view(np.uint64)


def mix(bits: UInt64) -> UInt64:
    """SplitMix64's finaliser: every bit of the result depends on every bit of the argument."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _feistel(places: UInt64, width: UInt64, height: UInt64, keys: UInt64) -> UInt64:
    left, right = places % width, places // width
    for number, key in enumerate(keys):
        if number % 2 == 0:
            left = _turned(left, right, width, key)
        else:
            right = _turned(right, left, height, key)
    return right * width + left


def _turned(half: UInt64, by: UInt64, size: UInt64, key: UInt64) -> UInt64:
    amount = ((mix(by ^ key) >> np.uint64(32)) * size) >> np.uint64(32)
    turned = half + amount
    return np.where(turned >= size, turned - size, turned)
