"""Who shares a row, and how a row sits: worked arrays and what holds for all lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textfer.batch import Batch, Ids, Run, Side, Specials
from textfer.data.layout import LAYOUTS, MAX_OPEN_ROWS, Lens, pack

SPECIALS = Specials(pad=0, eos=1)


def ids(inputs: Sequence[int], targets: Sequence[int], weights: Sequence[float] | None = None, origin: str = "") -> Ids:
    share = None if weights is None else np.array(weights, np.float32)
    return Ids(np.array(inputs, np.int32), np.array(targets, np.int32), share, origin)


def side(one: Side | None) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    assert one is not None
    return one.ids.tolist(), one.segments.tolist(), one.positions.tolist()


def arranged(layout: str, rows: Sequence[Sequence[Ids]], lens: Lens | None = None) -> Batch:
    return LAYOUTS[layout].arrange(rows, lens or Lens(99, 99), SPECIALS, fixed=lens is not None)


# ---- packing

LENGTHS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 7)), max_size=300)


def test_packing_worked_by_hand() -> None:
    lens = Lens(10, 5)
    assert pack([6, 6, 4], [2, 2, 3], lens, together=False) == [[0, 2], [1]]
    assert pack([6, 6, 4], [2, 2, 3], lens, together=True) == [[0, 2], [1]]
    assert pack([6, 4, 4], [2, 4, 3], lens, together=False) == [[0, 2], [1]], "the targets must fit too"
    assert pack([6, 4, 4], [2, 3, 0], lens, together=True) == [[0, 1], [2]], "together only the sum counts"
    assert pack([10, 10], [5, 5], lens, together=False) == [[0], [1]]
    assert pack([], [], lens, together=False) == []


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.booleans())
def test_every_example_is_packed_once_and_no_row_is_too_long(lengths: list[tuple[int, int]], together: bool) -> None:
    first, second = [a for a, _ in lengths], [b for _, b in lengths]
    lens = Lens(12, 7)
    groups = pack(first, second, lens, together=together)
    assert sorted(number for group in groups for number in group) == list(range(len(lengths)))
    assert all(group == sorted(group) for group in groups)
    for group in groups:
        inputs, targets = sum(first[n] for n in group), sum(second[n] for n in group)
        assert inputs + targets <= 19 if together else (inputs <= 12 and targets <= 7)


def test_a_row_is_closed_after_many_others_were_opened() -> None:
    lens = Lens(10, 10)
    inputs = [9] * (MAX_OPEN_ROWS + 1) + [1, 1]
    groups = pack(inputs, [1] * len(inputs), lens, together=False)
    last = MAX_OPEN_ROWS
    assert groups[0] == [0], "the oldest row is closed by then"
    assert sorted(map(len, groups)) == [1] * (last - 1) + [2, 2]


@pytest.mark.parametrize(("inputs", "targets", "together"), [([11], [1], False), ([1], [6], False), ([8], [8], True)])
def test_an_example_longer_than_a_row_is_our_mistake(inputs: list[int], targets: list[int], together: bool) -> None:
    with pytest.raises(AssertionError, match="longer than a row"):
        pack(inputs, targets, Lens(10, 5), together=together)


# ---- layouts: the arrays of the feature converters' documentation in seqio


def test_encoder_decoder_as_seqio_packs_it() -> None:
    rows = [[ids([7, 8, 5, 1], [3, 9, 1], origin="a"), ids([8, 4, 9, 3, 1], [4, 1], origin="b")]]
    batch = arranged("encdec", rows, Lens(10, 7))
    assert side(batch.encoder) == (
        [[7, 8, 5, 1, 8, 4, 9, 3, 1, 0]],
        [[1, 1, 1, 1, 2, 2, 2, 2, 2, 0]],
        [[0, 1, 2, 3, 0, 1, 2, 3, 4, 0]],
    )
    assert side(batch.decoder) == (
        [[0, 3, 9, 0, 4, 0, 0]],
        [[1, 1, 1, 2, 2, 0, 0]],
        [[0, 1, 2, 0, 1, 0, 0]],
    )
    assert batch.targets is not None
    assert batch.weights is not None
    assert batch.targets.tolist() == [[3, 9, 1, 4, 1, 0, 0]]
    assert batch.weights.tolist() == [[1, 1, 1, 1, 1, 0, 0]]
    assert batch.encoder is not None
    assert batch.decoder is not None
    assert batch.encoder.runs == (Run(0, 0, 4), Run(0, 4, 9))
    assert batch.decoder.runs == (Run(0, 0, 3), Run(0, 3, 5))
    assert batch.origins == ("a", "b")
    assert batch.num_targets == 5
    assert batch.num_tokens == 14


def test_language_model_as_seqio_packs_it() -> None:
    batch = arranged("causal", [[ids([], [3, 9, 1]), ids([], [4, 1])]], Lens(1, 5))
    assert side(batch.decoder) == ([[0, 3, 9, 0, 4, 0]], [[1, 1, 1, 2, 2, 0]], [[0, 1, 2, 0, 1, 0]])
    assert batch.encoder is None
    assert batch.targets is not None
    assert batch.targets.tolist() == [[3, 9, 1, 4, 1, 0]]
    assert batch.weights is not None
    assert batch.weights.tolist() == [[1, 1, 1, 1, 1, 0]]


def test_causal_reads_inputs_and_loses_only_on_targets() -> None:
    batch = arranged("causal", [[ids([9, 4], [3, 1], [0.5, 2])], [ids([7], [6, 5, 1])]])
    assert side(batch.decoder)[0] == [[0, 9, 4, 3], [0, 7, 6, 5]]
    assert batch.targets is not None
    assert batch.targets.tolist() == [[9, 4, 3, 1], [7, 6, 5, 1]]
    assert batch.weights is not None
    assert batch.weights.tolist() == [[0, 0, 0.5, 2], [0, 1, 1, 1]]
    assert batch.prefix is None


def test_prefix_reaches_one_place_beyond_the_inputs_as_in_seqio() -> None:
    batch = arranged("prefix", [[ids([9, 4, 6, 1], [3, 9, 1])]], Lens(5, 3))
    assert side(batch.decoder)[0] == [[0, 9, 4, 6, 1, 3, 9, 0]]
    assert batch.targets is not None
    assert batch.targets.tolist() == [[9, 4, 6, 1, 3, 9, 1, 0]]
    assert batch.weights is not None
    assert batch.weights.tolist() == [[0, 0, 0, 0, 1, 1, 1, 0]]
    assert batch.prefix is not None
    assert batch.prefix.tolist() == [[True] * 5 + [False] * 3]


def test_each_segment_has_its_own_prefix_and_none_without_inputs() -> None:
    batch = arranged("prefix", [[ids([9], [3, 1]), ids([], [4, 1]), ids([8, 7], [1])]])
    assert batch.prefix is not None
    assert batch.prefix.int().tolist() == [[1, 1, 0, 0, 0, 1, 1, 1]]


def test_rows_are_padded_to_the_longest_unless_fixed() -> None:
    rows = [[ids([5, 6, 1], [4, 1])], [ids([5, 1], [4, 3, 2, 1])]]
    loose, fixed = arranged("encdec", rows), arranged("encdec", rows, Lens(8, 6))
    for batch, shape in ((loose, (3, 4)), (fixed, (8, 6))):
        assert batch.encoder is not None
        assert batch.decoder is not None
        assert (batch.encoder.ids.shape[1], batch.decoder.ids.shape[1]) == shape
        for tensor in (batch.encoder.ids, batch.encoder.segments, batch.encoder.positions, batch.targets):
            assert tensor is not None
            assert tensor.dtype == torch.int64
    assert loose.weights is not None
    assert loose.weights.dtype == torch.float32


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 5)), min_size=1, max_size=4), min_size=1, max_size=5)
)
def test_every_token_of_every_example_is_found_where_its_run_says(shape: list[list[tuple[int, int]]]) -> None:
    draws = np.random.default_rng(0)
    rows = [[ids(draws.integers(2, 90, a), draws.integers(2, 90, b)) for a, b in row] for row in shape]
    batch = arranged("encdec", rows)
    assert batch.encoder is not None
    assert batch.decoder is not None
    assert batch.targets is not None
    examples = [one for row in rows for one in row]
    for one, reads, writes in zip(examples, batch.encoder.runs, batch.decoder.runs, strict=True):
        assert batch.encoder.ids[reads.row, reads.start : reads.end].tolist() == one.inputs.tolist()
        assert batch.targets[writes.row, writes.start : writes.end].tolist() == one.targets.tolist()
        assert batch.decoder.ids[writes.row, writes.start : writes.end].tolist() == [0, *one.targets[:-1].tolist()]
        assert batch.decoder.positions[writes.row, writes.start : writes.end].tolist() == list(range(len(one.targets)))
    inside = sum(a for row in shape for a, _ in row)
    assert int((batch.encoder.segments > 0).sum()) == inside
    assert int((batch.encoder.ids != 0).sum()) == inside


# ---- what stands in place, and what heads learn


def test_masked_targets_stand_where_the_inputs_do() -> None:
    rows = [[ids([7, 9, 8], [7, 5, 8], [0, 1, 0])], [ids([4], [6], [2]), ids([7, 9], [7, 3], [0, 1])]]
    batch = arranged("masked", rows)
    assert side(batch.encoder) == (
        [[7, 9, 8], [4, 7, 9]],
        [[1, 1, 1], [1, 2, 2]],
        [[0, 1, 2], [0, 0, 1]],
    )
    assert batch.decoder is None
    assert batch.encoder is not None
    assert batch.encoder.types is None
    assert batch.targets is not None
    assert batch.weights is not None
    assert batch.targets.tolist() == [[7, 5, 8], [6, 7, 3]]
    assert batch.weights.tolist() == [[0, 1, 0], [2, 0, 1]]
    assert (batch.num_targets, batch.num_tokens) == (4.0, 6)
    assert side(arranged("masked", rows, Lens(5, 1)).encoder)[0] == [[7, 9, 8, 0, 0], [4, 7, 9, 0, 0]]


def test_a_pair_has_types_and_targets_of_heads_example_by_example() -> None:
    nothing = np.zeros(0, np.int32)
    first = Ids(np.array([2, 7, 3, 8, 8, 3], np.int32), nothing, types=np.array([0, 0, 0, 1, 1, 1], np.int32))
    second = Ids(np.array([2, 9, 3], np.int32), nothing)
    tags = np.array([-100, 4, -100, 0, 0, -100]), np.array([-100, 1, -100])
    heads = [{"class": 2, "number": 0.5, "tag": tags[0]}, {"class": 0, "number": 3.0, "tag": tags[1]}]
    examples = [replace(one, heads=some) for one, some in zip((first, second), heads, strict=True)]
    batch = arranged("pair", [[one] for one in examples])
    assert batch.encoder is not None
    assert batch.encoder.types is not None
    assert batch.encoder.types.tolist() == [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]]
    assert batch.targets is None
    assert batch.heads["class"].tolist() == [2, 0]
    assert batch.heads["class"].dtype == torch.int64
    assert batch.heads["number"].tolist() == [0.5, 3.0]
    assert batch.heads["tag"].tolist() == [[-100, 4, -100, 0, 0, -100], [-100, 1, -100, -100, -100, -100]]
    packed = arranged("pair", [examples])
    assert packed.encoder is not None
    assert packed.encoder.segments.tolist() == [[1] * 6 + [2] * 3]
    assert packed.heads["class"].tolist() == [2, 0]
    assert packed.heads["tag"].tolist() == [[-100, 4, -100, 0, 0, -100, -100, 1, -100]]


def test_all_of_a_batch_moves_to_another_device() -> None:
    types = np.array([0, 1], np.int32)
    one = Ids(np.array([2, 3], np.int32), np.zeros(0, np.int32), types=types, heads={"class": 1})
    moved = arranged("pair", [[one]]).to("meta")
    assert moved.encoder is not None
    assert moved.encoder.types is not None
    assert {part.device.type for part in (moved.encoder.ids, moved.encoder.types, moved.heads["class"])} == {"meta"}
