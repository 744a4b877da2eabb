"""Objectives on worked arrays, on all ways to choose, and on random texts put together again."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from textfer.batch import Ids, Int32, Specials
from textfer.draws import Draws, address
from textfer.errors import ConfigError
from textfer.objectives import OBJECTIVES, IidCorruption, LanguageModel, Objective, PrefixLanguageModel, SpanCorruption
from textfer.objectives.denoising import _corrupt

SPECIALS = Specials(pad=0, eos=1, sentinels=np.arange(32_099, 31_999, -1, dtype=np.int32))
FAR = 4.5
"""Standard deviations that a fixed seed's statistic may lie from its mean."""


def apply(objective: Objective, tokens: Int32, *, seed: int = 0, specials: Specials = SPECIALS) -> list[Ids]:
    return objective(tokens, specials, Draws(address(seed, "test", 0, np.arange(len(tokens)))))


def texts(num: int, length: int) -> Int32:
    """Rows of ordinary ids, no two alike within a row."""
    return np.tile(np.arange(100, 100 + length, dtype=np.int32), (num, 1))


def runs(tokens: Int32) -> tuple[list[int], list[list[int]]]:
    """(tokens before the first sentinel, the tokens after each); the sentinels must count from <extra_id_0>."""
    before: list[int] = []
    after: list[list[int]] = []
    for token in tokens.tolist():
        if token in SPECIALS.sentinels:
            assert token == SPECIALS.sentinels[len(after)]
            after.append([])
        else:
            (after[-1] if after else before).append(token)
    return before, after


def reassembled(ids: Ids) -> list[int]:
    """The text again: every sentinel of the inputs replaced by what the targets have after it."""
    text, kept = runs(ids.inputs)
    start, spans = runs(ids.targets)
    assert not start
    assert len(spans) == len(kept)
    for span, following in zip(spans, kept, strict=True):
        text = text + span + following
    return text


# ---- span corruption


def test_masked_runs_become_sentinels_in_order() -> None:
    # a b [c d] e f g [h] i  and  [a b] c [d]; written down by hand
    tokens = np.array([[10, 11, 12, 13, 14, 15, 16, 17, 18]], np.int32)
    mask = np.array([[0, 0, 1, 1, 0, 0, 0, 1, 0]], bool)
    (ids,) = _corrupt(tokens, mask, SPECIALS.sentinels)
    assert ids.inputs.tolist() == [10, 11, 32099, 14, 15, 16, 32098, 18]
    assert ids.targets.tolist() == [32099, 12, 13, 32098, 17, 32097]
    (ids,) = _corrupt(tokens[:, :4], np.array([[1, 1, 0, 1]], bool), SPECIALS.sentinels)
    assert ids.inputs.tolist() == [32099, 12, 32098]
    assert ids.targets.tolist() == [10, 11, 32099, 13]


@given(
    st.integers(2, 700),
    st.floats(0.01, 0.99),
    st.floats(1, 20),
    st.integers(0, 2**40),
)
@settings(max_examples=150, deadline=None)
def test_spans_put_together_give_the_text(length: int, density: float, mean: float, seed: int) -> None:
    objective = SpanCorruption(noise_density=density, mean_span_len=mean)
    specials = Specials(pad=0, eos=1, sentinels=np.arange(40_000, 39_000, -1, dtype=np.int32))
    tokens = texts(3, length)
    inputs_len, targets_len = objective.lens(length)
    for ids in apply(objective, tokens, seed=seed, specials=specials):
        assert (len(ids.inputs) + 1, len(ids.targets) + 1) == (inputs_len, targets_len)
        sentinels = [token for token in ids.inputs.tolist() if token > 39_000]
        assert sentinels == [40_000 - number for number in range(objective.num_sentinels(length))]
        assert [token for token in ids.targets.tolist() if token > 39_000] == sentinels
        assert ids.inputs[0] == tokens[0, 0]
        assert ids.inputs[-1] == sentinels[-1]
        assert ids.targets[0] == sentinels[0]
        assert ids.targets[-1] == tokens[0, -1]


@given(st.integers(2, 600), st.integers(0, 2**40))
@settings(max_examples=80, deadline=None)
def test_released_spans_put_together_give_the_text(length: int, seed: int) -> None:
    tokens = texts(3, length)
    for row, ids in zip(tokens, apply(SpanCorruption(), tokens, seed=seed), strict=True):
        assert reassembled(ids) == row.tolist()


def drawn_masks(objective: SpanCorruption, length: int, draws: Draws) -> np.ndarray:
    """[B, L] true for noise."""
    edges = objective.edges(length, draws)
    assert (np.diff(edges, axis=1) > 0).all()
    return (edges[:, :, None] <= np.arange(length)).sum(axis=1) % 2 == 0


def masks(length: int, spans: int, noise: int) -> set[tuple[bool, ...]]:
    """All masks that start with kept tokens, end in a span and have so many spans and noise tokens."""
    found = set()
    for places in combinations(range(1, length), noise):
        mask = tuple(place in places for place in range(length))
        starts = sum(mask[place] and not mask[place - 1] for place in range(1, length))
        if mask[-1] and starts == spans:
            found.add(mask)
    return found


@pytest.mark.parametrize(("length", "density", "mean"), [(12, 0.4, 2.0), (14, 0.5, 1.5), (9, 0.3, 1.0)])
def test_all_segmentations_are_equally_likely(length: int, density: float, mean: float) -> None:
    objective = SpanCorruption(noise_density=density, mean_span_len=mean)
    spans = objective.num_sentinels(length)
    noise = objective.lens(length)[1] - spans - 1
    possible = masks(length, spans, noise)
    num = 60 * len(possible)
    drawn = Counter(map(tuple, drawn_masks(objective, length, Draws(address(1, "test", 0, np.arange(num)))).tolist()))
    assert set(drawn) == possible
    statistic = sum((drawn[mask] - 60) ** 2 / 60 for mask in possible)
    freedom = len(possible) - 1
    assert abs(statistic - freedom) < FAR * (2 * freedom) ** 0.5


def test_far_from_the_ends_all_places_are_cut_out_equally_often() -> None:
    mask = drawn_masks(SpanCorruption(), 568, Draws(address(2, "test", 0, np.arange(4000))))
    assert not mask[:, 0].any()
    assert mask[:, -1].all()
    assert (mask.sum(axis=1) == 85).all()
    share = mask[:, 60:-60].mean(axis=0)
    spread = (0.15 * 0.85 / 4000) ** 0.5
    assert np.abs(share - share.mean()).max() < FAR * spread


def test_tiny_texts() -> None:
    # One token: the mask of two, kept and noise, loses its second half. Two: one kept, one noise.
    (one,) = apply(SpanCorruption(), texts(1, 1))
    assert (one.inputs.tolist(), one.targets.tolist()) == ([100], [32099])
    assert SpanCorruption().lens(1) == (2, 2)
    (two,) = apply(SpanCorruption(), texts(1, 2))
    assert (two.inputs.tolist(), two.targets.tolist()) == ([100, 32099], [32099, 101])
    (three,) = apply(SpanCorruption(), texts(1, 3))
    assert (three.inputs.tolist(), three.targets.tolist()) == ([100, 101, 32099], [32099, 102])


def test_no_more_spans_than_kept_tokens() -> None:
    objective = SpanCorruption(noise_density=0.9, mean_span_len=1)
    (ids,) = apply(objective, texts(1, 10))
    assert ids.inputs.tolist() == [100, 32099]
    assert ids.targets.tolist() == [32099, *range(101, 110)]


def test_raw_len_is_the_longest_that_fits() -> None:
    objective = SpanCorruption()
    for inputs_len in range(3, 700):
        raw = objective.raw_len(inputs_len, 700)
        assert objective.lens(raw)[0] <= inputs_len
        # where float32 rounds the noise up, one more might fit; the released length stands
        assert objective.lens(raw + 1)[0] > inputs_len or objective.lens(raw + 2)[0] > inputs_len


def test_raw_len_refuses_targets_that_would_lose_their_end() -> None:
    assert SpanCorruption().raw_len(512, 114) == 568
    with pytest.raises(
        ConfigError, match=r"span_corruption: inputs of 512 tokens need targets of 114, got 113\. Allow"
    ):
        SpanCorruption().raw_len(512, 113)
    with pytest.raises(ConfigError, match=r"got inputs of 1 tokens, expected at least 2\."):
        SpanCorruption().raw_len(1, 100)


def test_too_few_sentinels_are_refused() -> None:
    # 2048 inputs: the released code would go on counting down into ordinary ids
    objective = SpanCorruption()
    assert objective.num_sentinels(objective.raw_len(2048, 456)) == 114
    with pytest.raises(ConfigError, match="a piece has 114 spans, but the vocabulary only 100 sentinels"):
        apply(objective, texts(1, 2274))


@pytest.mark.parametrize(
    "options", [{"noise_density": 0}, {"noise_density": 1}, {"mean_span_len": 0.5}, {"mean_length": 3}]
)
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SpanCorruption(**options)


# ---- i.i.d. corruption


def test_iid_lengths_are_the_released_ones() -> None:
    assert IidCorruption().raw_len(512, 192) == 511
    assert IidCorruption().lens(511) == (512, 192)
    assert IidCorruption().num_sentinels(511) <= 100
    with pytest.raises(ConfigError, match="need targets of 192, got 191"):
        IidCorruption().raw_len(512, 191)


def test_iid_cuts_tokens_independently() -> None:
    tokens = texts(4000, 200)
    cut = np.zeros((4000, 200), bool)
    for row, ids in enumerate(apply(IidCorruption(), tokens)):
        written = ids.targets[ids.targets < 30_000]
        cut[row, written - 100] = True
    spread = (0.15 * 0.85 / 4000) ** 0.5
    assert np.abs(cut.mean(axis=0) - 0.15).max() < FAR * spread
    assert abs(cut.mean() - 0.15) < FAR * spread / 200**0.5
    correlation = np.corrcoef(cut[:, 1:].ravel(), cut[:, :-1].ravel())[0, 1]
    assert abs(correlation) < FAR / cut.size**0.5


def test_iid_targets_follow_the_kept_runs() -> None:
    for row, ids in zip(texts(300, 40), apply(IidCorruption(noise_density=0.4), texts(300, 40)), strict=True):
        before, kept = runs(ids.inputs)
        start, spans = runs(ids.targets)
        # a text that starts in a span: the span comes first, its sentinel after it, as in the released code
        spans, kept = ([start, *spans], kept) if start else (spans, [before, *kept])
        text: list[int] = []
        for number in range(max(len(spans), len(kept))):
            order = (spans, kept) if start else (kept, spans)
            text += [token for part in order for token in (part[number] if number < len(part) else [])]
        assert text == row.tolist()


@pytest.mark.parametrize("density", [0.15, 0.5, 0.9])
def test_iid_never_outgrows_its_lengths_and_loses_nothing(density: float) -> None:
    objective = IidCorruption(noise_density=density)
    for length in (1, 2, 3, 5, 17, 64, 150):
        specials = Specials(
            pad=0, eos=1, sentinels=SPECIALS.sentinels[: objective.num_sentinels(length)].copy()
        )  # as few as are allowed
        inputs_len, targets_len = objective.lens(length)
        for ids in apply(objective, texts(3000, length), specials=specials):
            assert len(ids.inputs) + 1 <= inputs_len
            assert len(ids.targets) + 1 <= targets_len
            together = np.concatenate([ids.inputs, ids.targets])
            assert sorted(together[together < 30_000]) == list(range(100, 100 + length))


def test_iid_bounds_touch_few_pieces() -> None:
    tokens, objective = texts(20_000, 511), IidCorruption()
    draws = Draws(address(3, "test", 0, np.arange(20_000)))
    mask = draws.uniform(511) < 0.15
    changed = (objective._bounded(mask.copy(), 100) != mask).any(axis=1).mean()
    assert 0 < changed < 5e-4
    made = objective(tokens[:200], SPECIALS, Draws(address(3, "test", 0, np.arange(200))))
    lens = np.array([len(ids.targets) + 1 for ids in made])
    # 76.65 noise tokens, 65.9 kept runs, one end mark; standard deviation 14 by the formula of `lens`
    assert abs(lens.mean() - 143.5) < FAR * 14 / 200**0.5


# ---- prefix LM and LM


def test_prefix_lm_cuts_everywhere_inside_alike() -> None:
    made = apply(PrefixLanguageModel(), texts(9000, 10))
    cuts = Counter(len(ids.inputs) for ids in made)
    assert set(cuts) == set(range(1, 10))
    assert sum((cuts[cut] - 1000) ** 2 / 1000 for cut in cuts) < 8 + FAR * 16**0.5
    for ids in made[:50]:
        assert np.concatenate([ids.inputs, ids.targets]).tolist() == list(range(100, 110))


def test_prefix_lm_lengths() -> None:
    objective = PrefixLanguageModel()
    assert objective.raw_len(512, 512) == 512
    assert objective.raw_len(512, 114) == 114
    (one,) = apply(objective, texts(1, 1))
    assert (one.inputs.tolist(), one.targets.tolist()) == ([], [100])
    assert not objective.joins


def test_lm_writes_the_piece() -> None:
    objective = LanguageModel()
    assert (objective.joins, objective.document_eos, objective.eos) == (True, True, (False, False))
    assert objective.raw_len(0, 512) == 512
    assert objective.lens(512) == (0, 512)
    (ids,) = apply(objective, texts(1, 5))
    assert (ids.inputs.tolist(), ids.targets.tolist()) == ([], [100, 101, 102, 103, 104])


def test_the_registry_names_what_the_options_name() -> None:
    denoising = {"span_corruption", "iid_corruption", "prefix_lm", "lm", "bert_style", "deshuffling", "dropped_tokens"}
    assert {*OBJECTIVES.names()} == denoising | {"masked_lm", "both_ways"}
    for name in OBJECTIVES.names():
        assert OBJECTIVES.get(name).model_fields["name"].default == name  # type: ignore[attr-defined]
