"""T5's objectives that write the whole text, or what was dropped from it: worked by hand, and counted."""

from __future__ import annotations

import numpy as np
import pytest

from textfer.batch import Int32, Specials
from textfer.config import build
from textfer.draws import Draws, address
from textfer.errors import ConfigError
from textfer.objectives import BertStyle, Deshuffling, DroppedTokens

SENTINELS = np.arange(1099, 1095, -1, dtype=np.int32)
SPECIALS = Specials(pad=0, eos=1, unk=2, num_ids=1100, sentinels=SENTINELS)
FAR = 4.5
"""Standard deviations that a fixed seed's statistic may lie from its mean."""


def texts(num: int, length: int) -> Int32:
    return np.tile(np.arange(10, 10 + length, dtype=np.int32), (num, 1))


def draws(num: int) -> Draws:
    return Draws(address(3, "test", 0, np.arange(num)))


def near(count: int, of: int, share: float) -> bool:
    return abs(count - of * share) < FAR * np.sqrt(of * share * (1 - share))


def test_bert_style_hides_tokens_behind_one_sentinel_and_writes_all() -> None:
    tokens = texts(400, 100)
    made = BertStyle()(tokens, SPECIALS, draws(400))
    read = np.stack([ids.inputs for ids in made])
    assert all(ids.targets.tolist() == tokens[0].tolist() for ids in made)
    changed = read != tokens
    masked = read == SENTINELS[0]
    assert near(int(masked.sum()), tokens.size, 0.15 * 0.9)
    assert near(int((changed & ~masked).sum()), tokens.size, 0.15 * 0.1 * (1 - 1 / 1093))
    others = read[changed & ~masked]
    assert not set(others.tolist()) & {0, 1, 2, *SENTINELS.tolist()}
    assert others.min() < 60
    assert others.max() > 1000


def test_mass_style_is_without_random_tokens() -> None:
    tokens = texts(50, 100)
    for ids in BertStyle(random_share=0.0)(tokens, SPECIALS, draws(50)):
        assert set(ids.inputs[ids.inputs != tokens[0]].tolist()) == {1099}


def test_bert_style_needs_a_sentinel() -> None:
    with pytest.raises(ConfigError, match="has no sentinel"):
        BertStyle()(texts(1, 5), Specials(pad=0, eos=1, num_ids=50), draws(1))


def test_deshuffling_reads_every_order_as_often() -> None:
    made = Deshuffling()(texts(6000, 3), SPECIALS, draws(6000))
    orders, counts = np.unique(np.stack([ids.inputs for ids in made]), axis=0, return_counts=True)
    assert len(orders) == 6
    assert all(near(int(count), 6000, 1 / 6) for count in counts)
    assert all(ids.targets.tolist() == [10, 11, 12] for ids in made)


def test_dropped_tokens_leave_no_trace_and_are_written_in_order() -> None:
    made = DroppedTokens()(texts(400, 100), SPECIALS, draws(400))
    for ids in made:
        assert sorted(ids.inputs.tolist() + ids.targets.tolist()) == list(range(10, 110))
        assert ids.targets.tolist() == sorted(ids.targets.tolist())
        assert ids.inputs.tolist() == sorted(ids.inputs.tolist())
    assert near(sum(len(ids.targets) for ids in made), 400 * 100, 0.15)


def test_something_is_always_dropped_and_never_too_much() -> None:
    made = DroppedTokens(noise_density=0.01)(texts(2000, 4), SPECIALS, draws(2000))
    assert {len(ids.targets) for ids in made} == {1}, "two of four at one in a hundred is beyond the bound"
    first = np.array([ids.targets[0] for ids in made])
    assert all(near(int((first == token).sum()), 2000, 1 / 4) for token in (10, 11, 12, 13))


def test_the_released_lengths() -> None:
    """gin objectives/iid_15_d_d: inputs of 512 have targets of 104 at the 99.9th percentile; the bound lies beside."""
    raw = DroppedTokens().raw_len(512, 512)
    assert raw == 511
    assert abs(DroppedTokens().lens(raw)[1] - 104) <= 2
    assert BertStyle().raw_len(512, 512) == 511
    assert BertStyle().raw_len(512, 100) == 99


@pytest.mark.parametrize(
    ("options", "lens", "said"),
    [
        (DroppedTokens, (512, 60), "objective dropped_tokens: inputs of 512 tokens need targets of 105, got 60"),
        (BertStyle, (512, 1), "objective bert_style: got lengths of 512 and 1 tokens, expected 2 or more"),
        (Deshuffling, (1, 9), "objective deshuffling: got lengths of 1 and 9 tokens"),
    ],
)
def test_lengths_that_hold_nothing_are_refused(options: type, lens: tuple[int, int], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        options().raw_len(*lens)
    assert said in str(error.value)


def test_shares_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"objective.random_share: got 2"):
        build(BertStyle, {"random_share": 2}, where="objective")
