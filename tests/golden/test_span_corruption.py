"""Span corruption against the released one: its lengths, its rounding, its masks turned into ids.

Provenance of the numbers: `random_spans_helper` of t5/data/preprocessors.py evaluated with Python's own rounding for
the lengths (568 → 512/114 is what the released gin files call 512/114), and TensorFlow 2.21's float32 rounding of
`length * 0.15` for the noise counts. `reference_*` below says the released mask and sentinel rules once more, slowly.
"""

from __future__ import annotations

import numpy as np
import pytest

from textfer.batch import Specials
from textfer.draws import Draws, address
from textfer.objectives import SpanCorruption

SPECIALS = Specials(pad=0, eos=1, sentinels=np.arange(32_099, 31_999, -1, dtype=np.int32))


@pytest.mark.parametrize(
    ("inputs_len", "mean_span_len", "raw_len", "targets_len"),
    [
        (128, 3, 141, 29),
        (256, 3, 284, 58),
        (512, 3, 568, 114),
        (1024, 3, 1137, 229),
        (2048, 3, 2274, 456),
        (512, 2, 552, 126),
        (512, 5, 581, 105),
        (512, 10, 591, 99),
        (1024, 20, 1193, 189),  # ByT5's lengths
    ],
)
def test_lengths(inputs_len: int, mean_span_len: float, raw_len: int, targets_len: int) -> None:
    objective = SpanCorruption(mean_span_len=mean_span_len)
    assert objective.raw_len(inputs_len, targets_len) == raw_len
    assert objective.lens(raw_len) == (inputs_len, targets_len)


def test_half_density_makes_both_sides_equal() -> None:
    # UL2's denoisers of density 0.5: 767 raw tokens and 513 targets before the correction, one less of both after it
    objective = SpanCorruption(noise_density=0.5)
    assert objective._planned_lens(767) == (512, 513)
    assert objective.raw_len(512, 512) == 766
    assert objective.lens(766) == (512, 512)


def test_noise_is_counted_in_float32() -> None:
    objective = SpanCorruption()
    counts = {length: objective._counts(length)[0] for length in range(2, 5001)}
    differing = [length for length, noise in counts.items() if noise != max(round(length * 0.15), 1)]
    assert len(differing) == 39
    assert differing[:3] == [190, 350, 390]


def reference_mask(kept_lens: list[int], noise_lens: list[int]) -> list[bool]:
    """Kept and noise stretches in turns, beginning with kept ones."""
    mask: list[bool] = []
    for kept, noise in zip(kept_lens, noise_lens, strict=True):
        mask += [False] * kept + [True] * noise
    return mask


def reference_ids(tokens: list[int], mask: list[bool]) -> list[int]:
    """The first token of each masked run becomes a sentinel, counted down from the top of the vocabulary."""
    ids: list[int] = []
    sentinel = 32_100
    for place, (token, masked) in enumerate(zip(tokens, mask, strict=True)):
        if not masked:
            ids.append(token)
        elif place == 0 or not mask[place - 1]:
            sentinel -= 1
            ids.append(sentinel)
    return ids


@pytest.mark.parametrize("length", [2, 3, 10, 190, 568])
def test_ids_follow_the_released_rules(length: int) -> None:
    tokens = np.tile(np.arange(5, 5 + length, dtype=np.int32), (20, 1))
    keys = address(9, "c4", 0, np.arange(20))
    objective = SpanCorruption()
    noise = min(max(int(np.rint(np.float32(length) * np.float32(0.15))), 1), length - 1)
    spans = max(int(np.rint(np.float32(noise) / np.float32(3.0))), 1)
    examples, edges = objective(tokens, SPECIALS, Draws(keys)), objective.edges(length, Draws(keys))
    for row, ids, lens in zip(tokens.tolist(), examples, np.diff(edges, axis=1).tolist(), strict=True):
        kept_lens, noise_lens = lens[::2], lens[1::2]
        assert (len(kept_lens), len(noise_lens)) == (spans, spans)
        assert (sum(kept_lens), sum(noise_lens)) == (length - noise, noise)
        assert min(lens) > 0
        mask = reference_mask(kept_lens, noise_lens)
        assert ids.inputs.tolist() == reference_ids(row, mask)
        assert ids.targets.tolist() == reference_ids(row, [not masked for masked in mask])


def test_the_noise_of_saved_runs_stays() -> None:
    # Our own arrays, from the first version: another result would break the resuming of every saved run.
    (ids,) = SpanCorruption()(
        np.arange(10, 40, dtype=np.int32)[None], SPECIALS, Draws(address(42, "c4", 0, np.array([7])))
    )
    assert ids.inputs.tolist() == INPUTS
    assert ids.targets.tolist() == TARGETS


INPUTS = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 32099]
TARGETS = [32099, 36, 37, 38, 39]
