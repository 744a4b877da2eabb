"""Which task is heard at which position of the stream: every prefix holds each task to within one example of its rate.

Item j of a task with rate p may stand at positions (j - 1) / p to j / p, rounded outwards (counted from 1). If every
item stands in its window, the count of each task after n positions is n·p rounded down or up, for every n; this is the
fairness of "pfair" schedules. Serving the item with the earliest deadline first meets all windows, since the rates sum
to 1 and no position stays empty. That alone would have to be replayed from the beginning; so the stream is cut into
spans, and the counts at the cuts come from a closed formula.

At a cut some items are in the middle of their windows, one a task at most. Of these, a known number must stand before
the cut: the sum of the parts f that an exact mixture would have heard by then. Two conditions decide which sets will
do, and both only count over a chain of sets: not too many items that became free late, or they find no place before the
cut; not too few with early deadlines, or they find none after it. Taking f itself for "chosen" satisfies both, and two
chains make a totally unimodular system, so whole numbers satisfy it too. The sets that respect the first condition are
a matroid, in which going through the items by deadline and taking whatever still fits finds the set that is best for
the second. So the cuts cost no history, and between two cuts the earliest deadline decides.

**Source**: Baruah, Cohen, Plaxton, Varvel, "Proportionate progress", Algorithmica 1996 (windows). The cuts are ours.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import final

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
WHOLE = 1 << 40
"""Rates are kept as whole numbers of this: products with positions of a span fit into 64 bits."""
MIN_SPAN, MAX_SPAN = 1 << 10, 1 << 20
SPANS_KEPT = 3
RARE = 1.0 / MAX_SPAN


@dataclass(frozen=True, slots=True)
class _Span:
    """Positions of one span: the task of each, and how many of that task stood before."""

    tasks: Int64s
    draws: Int64s


@final
class Schedule:
    """Position → (task, draw), at once for any position; each prefix holds each task to within one example of its rate.

    Tasks rarer than one in a million positions would need longer spans: they share turns (with one more task where they
    are too few) and are dealt out of these by a schedule of their own, so that they may be off by less than two.
    """

    def __init__(self, rates: Sequence[float]) -> None:
        self.num_tasks = len(rates)
        parts = np.asarray(rates, np.float64) / np.sum(rates)
        self._rare: Schedule | None = None
        order = np.argsort(parts, kind="stable")
        num_rare = 0
        if len(parts) > 1 and parts[order[0]] < RARE:
            enough = 1 + int(np.searchsorted(np.cumsum(parts[order]), 2 * RARE))
            num_rare = min(max(enough, int((parts < RARE).sum())), len(parts) - 1)
        self._rare_tasks = order[:num_rare]
        self._common_tasks = np.sort(order[num_rare:])
        own = parts[self._common_tasks]
        if num_rare:
            self._rare = Schedule(parts[self._rare_tasks] / parts[self._rare_tasks].sum()) if num_rare > 1 else None
            own = np.append(own, parts[self._rare_tasks].sum())
        self._shares = _whole_shares(own)
        needed = WHOLE / max(1, int(self._shares.min()))
        self._span = MIN_SPAN
        while self._span < min(needed, MAX_SPAN):
            self._span *= 2
        self._kept: OrderedDict[int, _Span] = OrderedDict()
        self._lock = Lock()

    def __call__(self, positions: Int64s) -> tuple[Int64s, Int64s]:
        """([N] task numbers, [N] how many examples of that task stand before)."""
        positions = np.asarray(positions, np.int64)
        tasks, draws = np.zeros_like(positions), np.zeros_like(positions)
        if len(self._shares) == 2:
            return self._named(*_two(positions, int(self._shares[1])))
        numbers = positions // self._span
        for number in np.unique(numbers):
            here = np.flatnonzero(numbers == number)
            span, places = self._span_of(int(number)), positions[here] - number * self._span
            tasks[here], draws[here] = span.tasks[places], span.draws[places]
        return self._named(tasks, draws)

    def _named(self, tasks: Int64s, draws: Int64s) -> tuple[Int64s, Int64s]:
        """The caller's task numbers; a turn of the rare tasks becomes the one whose turn it is."""
        if not len(self._rare_tasks):
            return tasks, draws
        rare = tasks == len(self._common_tasks)
        names = np.append(self._common_tasks, self._rare_tasks[0])[tasks]
        if self._rare is not None and rare.any():
            inner, draws[rare] = self._rare(draws[rare])
            names[rare] = self._rare_tasks[inner]
        return names, draws

    def _span_of(self, number: int) -> _Span:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
            span = self._made(number)
            self._kept[number] = span
            while len(self._kept) > SPANS_KEPT:
                self._kept.popitem(last=False)
            return span

    def _made(self, number: int) -> _Span:
        """The items between two cuts, each at the free position that the earliest deadline gives it."""
        start = number * self._span
        left = self._left(start)
        before, after = self._counts(start), self._counts(start + self._span)
        nums = after - before
        tasks = np.repeat(np.arange(len(nums)), nums)
        nth = np.arange(len(tasks)) - np.repeat(np.cumsum(nums) - nums, nums)
        shares, left = self._shares[tasks], left[tasks]
        floors = np.array([start * int(share) // WHOLE for share in self._shares], np.int64)
        item = nth + (before - floors)[tasks]  # counted from what an exact mixture had heard in full
        free = np.maximum((item * WHOLE - left) // shares, 0)
        due = np.minimum(-((left - (item + 1) * WHOLE) // shares) - 1, self._span - 1)
        order = np.lexsort((tasks, due, free))
        placed = _earliest_deadline_first(free[order], due[order])
        by_place = np.empty(self._span, np.int64)
        by_place[placed] = order
        return _Span(tasks[by_place], (before[tasks] + nth)[by_place])

    def _left(self, position: int) -> Int64s:
        """The part of the item in progress that an exact mixture has heard by `position`, in 1 / WHOLE."""
        return np.array([position * int(share) % WHOLE for share in self._shares], np.int64)

    def _counts(self, position: int) -> Int64s:
        """How many items of each task stand before a cut."""
        floors = np.array([position * int(share) // WHOLE for share in self._shares], np.int64)
        left = self._left(position)
        num_chosen = position - int(floors.sum())
        torn = np.flatnonzero(left > 0)
        by_release = torn[np.argsort(-(-left[torn] // self._shares[torn]), kind="stable")]
        room = -(-np.cumsum(left[by_release]) // WHOLE)
        rank = np.empty(len(left), np.int64)
        rank[by_release] = np.arange(len(by_release))
        for task in torn[np.argsort(-((left[torn] - WHOLE) // self._shares[torn]), kind="stable")]:
            if not num_chosen:
                break
            if room[rank[task] :].min() > 0:
                room[rank[task] :] -= 1
                floors[task] += 1
                num_chosen -= 1
        assert not num_chosen, "no set of items fits the cut"
        return floors


def _two(positions: Int64s, share: int) -> tuple[Int64s, Int64s]:
    """Two tasks need no windows: the second has been heard n·p times, rounded to the nearest."""
    exact = positions.astype(object) * share + WHOLE // 2  # Python's numbers: the products have more than 64 bits
    second: Int64s = (exact // WHOLE).astype(np.int64)
    tasks: Int64s = ((exact + share) // WHOLE).astype(np.int64) - second
    return tasks, np.where(tasks == 1, second, positions - second)


def _whole_shares(parts: NDArray[np.float64]) -> Int64s:
    """Whole numbers, each at least 1, that sum to `WHOLE` and stand to each other as `parts` do."""
    shares: Int64s = np.maximum(np.rint(parts / parts.sum() * WHOLE).astype(np.int64), 1)
    shares[int(shares.argmax())] += WHOLE - int(shares.sum())
    return shares


def _earliest_deadline_first(free: Int64s, due: Int64s) -> Int64s:
    """The position of each item. `free` ascends; there are as many positions as items."""
    placed = np.empty(len(free), np.int64)
    starts, ends, waiting, at = free.tolist(), due.tolist(), list[int](), 0
    num = len(starts)
    for place in range(num):
        while at < num and starts[at] <= place:
            heapq.heappush(waiting, ends[at] * num + at)
            at += 1
        deadline, item = divmod(heapq.heappop(waiting), num)
        assert deadline >= place, "an item has missed its window"
        placed[item] = place
    return placed
