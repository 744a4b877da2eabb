"""The training stream: exact mixing, order without tables, places instead of replays."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from textfer.batch import Batch, Ids, Int32, Specials
from textfer.data.layout import Lens
from textfer.data.stream import BLOCK, Cursor, Denoised, Stream, StreamOptions, Supervised, ended, prefetched
from textfer.data.tokens import TokenTable
from textfer.draws import Draws
from textfer.errors import DataError
from textfer.objectives import LanguageModel, Objective, SpanCorruption

SPECIALS = Specials(pad=0, eos=1, sentinels=np.arange(299, 199, -1, dtype=np.int32))
RATES = st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=107)


def table(name: str, inputs: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> TokenTable:
    sides = {"inputs": inputs, "targets": targets}
    flat = {side: np.array([token for one in every for token in one], np.uint16) for side, every in sides.items()}
    offsets = {side: np.cumsum([0, *map(len, every)]).astype(np.int64) for side, every in sides.items()}
    return TokenTable(Path(), name, flat, offsets, np.arange(len(targets), dtype=np.int64))


def supervised(name: str, count: int, lens: Lens) -> Supervised:
    """Example k has the ids k, k + 1, … of differing lengths."""
    inputs = [range(2 + k, 2 + k + 1 + k % 7) for k in range(count)]
    return Supervised(table(name, inputs, [[2 + k] * (1 + k % 3) for k in range(count)]), lens, SPECIALS.eos)


def text_part(lens_of_documents: Sequence[int], objective: Objective, lens: Lens) -> Denoised:
    """Tokens counted from 2 through all documents."""
    ends = np.cumsum(lens_of_documents)
    documents = [range(2 + end - size, 2 + end) for size, end in zip(lens_of_documents, ends, strict=True)]
    return Denoised(table("text/train", [[] for _ in documents], documents), objective, lens, SPECIALS)


OPTIONS = StreamOptions(seed=7, layout="encdec", lens=Lens(12, 6), specials=SPECIALS, batch_size=8)


def stream(**changes: object) -> Stream:
    options = replace(OPTIONS, **changes)  # type: ignore[arg-type]
    parts = [supervised("a/train", 300, options.lens), supervised("b/train", 41, options.lens)]
    return Stream(parts, [0.75, 0.25], options)


def shown(batch: Batch) -> tuple[list[object], ...]:
    sides = [part.ids for part in (batch.encoder, batch.decoder) if part is not None]
    return (*(part.tolist() for part in [*sides, batch.targets] if part is not None), list(batch.origins))


def first(one: Stream, count: int, cursor: Cursor | None = None) -> list[tuple[list[object], ...]]:
    return [shown(batch) for step in islice(one.steps(cursor or Cursor()), count) for batch in step.batches]


# ---- order


def test_each_epoch_holds_every_example_once() -> None:
    one = stream()
    seen: dict[tuple[int, int], list[int]] = {}
    for task, epoch, index in one.places(np.arange(2000)):
        seen.setdefault((task, epoch), []).append(index)
    whole = [(key, indices) for key, indices in seen.items() if len(indices) == len(one.parts[key[0]])]
    assert len(whole) >= 4 + 11
    for _, indices in whole:
        assert sorted(indices) == list(range(len(indices)))
    orders = [tuple(indices) for (task, _), indices in whole if task == 0]
    assert len(set(orders)) == len(orders), "every epoch has an order of its own"


def test_without_shuffling_examples_come_in_file_order() -> None:
    one = stream(shuffle=False)
    origins = [row[0].origin for row in one.block(0)]
    assert [origin for origin in origins if origin.startswith("a/")][:301] == [
        f"a/train:{index % 300}" for index in range(301)
    ]


def test_every_step_leaves_every_task_at_its_rate() -> None:
    """What is heard, counted by the origins of the examples in the batches: after each step within one of its rate."""
    rates = np.random.default_rng(0).lognormal(0, 1.2, 24)
    rates /= rates.sum()
    parts = [supervised(f"{number}/train", 50, OPTIONS.lens) for number in range(24)]
    steps = Stream(parts, rates.tolist(), OPTIONS).steps(Cursor())
    counts, heard = np.zeros(24), 0
    for step in islice(steps, 400):
        for origin in (origin for batch in step.batches for origin in batch.origins):
            counts[int(origin.split("/")[0])] += 1
            heard += 1
        assert np.abs(counts - heard * rates).max() < 1 + 1e-6
    assert heard == 400 * OPTIONS.batch_size


def test_a_block_holds_its_positions_and_no_others() -> None:
    for pack in (False, True):
        one = stream(pack=pack)
        for number in (0, 3):
            origins = Counter(ids.origin for row in one.block(number) for ids in row)
            places = one.places(np.arange(number * BLOCK, (number + 1) * BLOCK))
            assert origins == Counter(f"{'ab'[task]}/train:{index}" for task, _, index in places)


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    assert first(stream(), 5) == first(stream(), 5)
    assert first(stream(), 5) != first(stream(seed=8), 5)


@pytest.mark.parametrize("pack", [False, True])
def test_steps_from_any_place_are_those_of_an_unbroken_run(pack: bool) -> None:
    one = stream(pack=pack, batch_size=50)
    unbroken = list(islice(one.steps(Cursor()), 45))
    blocks = {step.cursor.block for step in unbroken}
    assert len(blocks) >= 2, "the run crosses blocks"
    for at in (0, 1, 17, 19, 20, 21, 43):
        after = first(one, 2 if at < 43 else 1, unbroken[at].cursor)
        assert after == [shown(step.batches[0]) for step in unbroken[at + 1 : at + 3]]


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_the_rows_of_one(world: int, pack: bool) -> None:
    alone = list(islice(stream(pack=pack).steps(Cursor()), 4))
    shares = [list(islice(stream(pack=pack).steps(Cursor(), rank=rank, world=world), 4)) for rank in range(world)]
    for number, step in enumerate(alone):
        origins = Counter(step.batches[0].origins)
        mine = [share[number] for share in shares]
        assert sum((Counter(one.batches[0].origins) for one in mine), Counter()) == origins
        assert {(one.cursor, one.num_targets, one.num_tokens) for one in mine} == {step[1:]}
        assert sum(one.batches[0].num_targets for one in mine) == step.num_targets == step.batches[0].num_targets
        assert sum(one.batches[0].num_tokens for one in mine) == step.num_tokens == step.batches[0].num_tokens


def test_micro_batches_hold_the_same_rows_in_the_same_order() -> None:
    whole, small = (next(stream(micro_batch_size=size).steps(Cursor())) for size in (None, 3))
    assert [len(batch.origins) for batch in small.batches] == [3, 3, 2]
    assert tuple(origin for batch in small.batches for origin in batch.origins) == whole.batches[0].origins
    assert small[1:] == whole[1:]


def test_packing_keeps_every_example() -> None:
    loose, packed = stream().block(0), stream(pack=True).block(0)
    assert len(packed) < len(loose) == BLOCK
    of = [sorted(ids.origin for row in rows for ids in row) for rows in (loose, packed)]
    assert of[0] == of[1]
    assert all(sum(len(ids.inputs) for ids in row) <= 12 for row in packed)
    assert all(sum(len(ids.targets) for ids in row) <= 6 for row in packed)


def test_fixed_batches_have_one_shape() -> None:
    for step in islice(stream(fixed=True, pack=True).steps(Cursor()), 5):
        batch = step.batches[0]
        assert batch.encoder is not None
        assert batch.targets is not None
        assert (batch.encoder.ids.shape, batch.targets.shape) == ((8, 12), (8, 6))


# ---- examples


def test_long_sides_lose_their_end_but_never_their_end_mark() -> None:
    part = Supervised(table("a/train", [[5] * 3, [5] * 4, [6] * 9], [[7], [8] * 2, [9] * 3]), Lens(5, 3), 1)
    made = part.ids([0, 1, 2], np.zeros(3, np.uint64))
    assert [ids.inputs.tolist() for ids in made] == [[5, 5, 5, 1], [5, 5, 5, 5, 1], [6, 6, 6, 6, 1]]
    assert [ids.targets.tolist() for ids in made] == [[7, 1], [8, 8, 1], [9, 9, 1]]
    assert part.num_cut() == (1, 1)
    assert ended(np.zeros(0, np.int32), 4, 1).tolist() == [1]


@dataclass(frozen=True)
class Whole:
    """An objective that writes what it is given, to see what that was."""

    joins: bool
    document_eos: bool
    size: int
    eos: ClassVar[tuple[bool, bool]] = (False, False)
    lossless: ClassVar[bool] = True
    in_place: ClassVar[bool] = False

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        return self.size

    def lens(self, raw_len: int) -> tuple[int, int]:
        return 0, raw_len

    def num_sentinels(self, raw_len: int) -> int:
        return 0

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        return [Ids(np.zeros(0, np.int32), row) for row in tokens]


def pieces(part: Denoised) -> list[list[int]]:
    made = part.ids(range(len(part)), np.zeros(len(part), np.uint64))
    return [ids.targets.tolist() for ids in made]


DOCUMENTS = st.lists(st.integers(0, 30), min_size=1, max_size=30).filter(lambda sizes: sum(sizes) >= 8)


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.integers(2, 9), st.booleans())
def test_joined_text_loses_and_doubles_nothing(sizes: list[int], raw_len: int, document_eos: bool) -> None:
    part = text_part(sizes, Whole(True, document_eos, raw_len), Lens(40, 40))
    tokens = iter(range(2, 2 + sum(sizes)))
    whole = [token for size in sizes for token in [*islice(tokens, size), *([1] if document_eos else [])]]
    found = [token for piece in pieces(part) for token in piece]
    rest = len(whole) % raw_len == 1  # a last piece of one token has nothing to be learnt from
    assert found == (whole[:-1] if rest else whole)
    assert {len(piece) for piece in pieces(part)[:-1]} <= {raw_len}


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS, st.integers(2, 9))
def test_documents_cut_one_by_one_never_share_a_piece(sizes: list[int], raw_len: int) -> None:
    part = text_part([*sizes, 5], Whole(False, False, raw_len), Lens(40, 40))
    starts = np.cumsum([0, *sizes, 5])
    expected = [
        list(range(2 + at, 2 + min(at + raw_len, stop)))
        for start, stop in pairwise(starts)
        for at in range(start, stop, raw_len)
        if min(at + raw_len, stop) - at > 1
    ]
    assert pieces(part) == expected


def test_the_end_of_a_document_is_marked_once() -> None:
    part = text_part([3, 2, 0, 4], Whole(True, True, 5), Lens(40, 40))
    assert pieces(part) == [[2, 3, 4, 1, 5], [6, 1, 1, 7, 8], [9, 10, 1]]
    alone = text_part([3, 2, 4], Whole(False, True, 3), Lens(40, 40))
    assert pieces(alone) == [[2, 3, 4], [5, 6, 1], [7, 8, 9], [10, 1]]


def test_language_model_pieces_have_no_end_mark_of_their_own() -> None:
    part = text_part([9, 5], LanguageModel(), Lens(8, 8))
    made = part.ids([0, 1], np.zeros(2, np.uint64))
    assert [ids.targets.tolist() for ids in made] == [[2, 3, 4, 5, 6, 7, 8, 9], [10, 1, 11, 12, 13, 14, 15, 1]]
    assert [ids.origin for ids in made] == ["text/train:token 0", "text/train:token 8"]


def test_noise_differs_between_epochs_and_not_between_runs() -> None:
    lens = Lens(32, 16)
    part = text_part([400], SpanCorruption(), lens)
    options = replace(OPTIONS, lens=lens, shuffle=False)

    def blocks() -> list[list[int]]:
        return [row[0].targets.tolist() for row in Stream([part], [1.0], options).block(0)]

    assert blocks() == blocks()
    epoch = len(part)
    assert blocks()[0] != blocks()[epoch], "the same text, other spans"
    assert all(row[-1] == 1 and len(row) <= 16 for row in blocks())


def test_what_is_drawn_does_not_depend_on_the_company() -> None:
    part = text_part([400], SpanCorruption(), Lens(32, 16))
    keys: NDArray[np.uint64] = np.arange(len(part), dtype=np.uint64) * np.uint64(77)
    together = part.ids(range(len(part)), keys)
    for index in (0, 3, len(part) - 1):
        alone = part.ids([index], keys[index : index + 1])[0]
        assert alone.targets.tolist() == together[index].targets.tolist()


def test_too_little_text_is_told() -> None:
    with pytest.raises(DataError, match=r"^text/train: too little text for one piece of \d+ tokens\."):
        text_part([1], SpanCorruption(), Lens(32, 16))


# ---- prefetching


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "textfer-prefetch"]


def test_prefetched_items_are_the_same_in_the_same_order() -> None:
    assert list(prefetched(iter(range(50)), ahead=3)) == list(range(50))
    assert threads() == []


def test_prefetching_runs_ahead_by_so_many() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    one = prefetched(items(), ahead=3)
    assert next(one) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert 4 <= len(made) <= 6
    one.close()
    assert threads() == []
    assert len(made) <= 7


def test_an_error_comes_where_its_item_would_stand() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise DataError("row 2: bad.")

    one = prefetched(items())
    assert next(one) == 1
    with pytest.raises(DataError, match="row 2"):
        next(one)
    assert threads() == []


def test_the_thread_ends_when_the_reader_fails() -> None:
    def read() -> None:
        for _ in prefetched(iter(int, 1), ahead=2):
            raise RuntimeError("reader")

    with pytest.raises(RuntimeError, match="reader"):
        read()
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() == []
