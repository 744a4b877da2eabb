"""What every registered objective must keep to. Nothing is listed here: the registry is walked through."""

from __future__ import annotations

import numpy as np
import pytest

from textfer.batch import Ids, Int32, Specials
from textfer.config import build
from textfer.draws import Draws, address
from textfer.objectives import OBJECTIVES, Objective

MARKS = {"pad": 0, "eos": 1, "cls": 2, "sep": 3, "mask": 4}
SPECIALS = Specials(**MARKS, num_ids=32_100, sentinels=np.arange(32_099, 31_899, -1, dtype=np.int32))
LENGTHS = (1, 2, 3, 7, 64, 300)


@pytest.fixture(params=OBJECTIVES.names())
def objective(request: pytest.FixtureRequest) -> Objective:
    """Each objective as a recipe without options builds it."""
    return build(OBJECTIVES.get(request.param), {}, where="objective")  # type: ignore[type-var, return-value]


def text(num: int, length: int) -> Int32:
    """Rows of ordinary ids in random order, no two alike within a row."""
    shuffler = np.random.default_rng(5)
    return np.stack([shuffler.permutation(np.arange(100, 100 + length, dtype=np.int32)) for _ in range(num)])


def keys(num: int, *, seed: int = 1) -> np.ndarray:
    return address(seed, "contract", 0, np.arange(num))


def same(left: Ids, right: Ids) -> bool:
    weights = (np.zeros(0) if one.weights is None else one.weights for one in (left, right))
    pairs = ((left.inputs, right.inputs), (left.targets, right.targets), tuple(weights))
    return all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("length", LENGTHS)
def test_result_depends_on_key_and_tokens_alone(objective: Objective, length: int) -> None:
    tokens = text(9, length)
    before = tokens.copy()
    batch = objective(tokens, SPECIALS, Draws(keys(9)))
    assert np.array_equal(tokens, before)
    assert len(batch) == 9
    assert all(map(same, batch, objective(tokens, SPECIALS, Draws(keys(9)))))
    for row in range(9):
        (alone,) = objective(tokens[row : row + 1], SPECIALS, Draws(keys(9)[row : row + 1]))
        assert same(alone, batch[row])
    backwards = objective(tokens[::-1], SPECIALS, Draws(keys(9)[::-1]))
    assert all(map(same, batch, backwards[::-1]))


@pytest.mark.parametrize("length", LENGTHS)
def test_lens_bound_every_piece(objective: Objective, length: int) -> None:
    inputs_len, targets_len = objective.lens(length)
    for ids in objective(text(500, length), SPECIALS, Draws(keys(500))):
        assert len(ids.inputs) + objective.eos[0] <= inputs_len
        assert len(ids.targets) + objective.eos[1] <= targets_len
        assert ids.inputs.dtype == ids.targets.dtype == np.int32
        assert ids.targets.size
        marks = {SPECIALS.pad, SPECIALS.eos}
        assert not marks & {*ids.inputs.tolist(), *ids.targets.tolist()}


@pytest.mark.parametrize("length", LENGTHS)
def test_no_token_is_lost(objective: Objective, length: int) -> None:
    if not objective.lossless:
        pytest.skip("loses tokens by design")
    tokens = text(50, length)
    for row, ids in zip(tokens, objective(tokens, SPECIALS, Draws(keys(50))), strict=True):
        places = {token: place for place, token in enumerate(row.tolist())}
        sides = [[places[token] for token in side.tolist() if token in places] for side in (ids.inputs, ids.targets)]
        assert all(side == sorted(side) for side in sides)
        assert sorted(sides[0] + sides[1]) == list(range(length))


@pytest.mark.parametrize("inputs_len", [8, 64, 128, 512])
def test_raw_len_fits_the_lengths_it_was_asked_for(objective: Objective, inputs_len: int) -> None:
    raw_len = objective.raw_len(inputs_len, inputs_len)
    inputs, targets = objective.lens(raw_len)
    assert inputs <= inputs_len
    assert targets <= inputs_len


@pytest.mark.parametrize("length", LENGTHS)
def test_targets_in_place_are_the_text_and_only_some_of_them_count(objective: Objective, length: int) -> None:
    if not objective.in_place or objective.in_sight:
        pytest.skip("targets are written, or all of them are seen")
    tokens = text(50, length)
    for row, ids in zip(tokens, objective(tokens, SPECIALS, Draws(keys(50))), strict=True):
        assert ids.weights is not None
        assert len(ids.inputs) == len(ids.targets) == len(ids.weights) == len(row) + 2
        assert ids.targets[1:-1].tolist() == row.tolist()
        assert ids.weights.any()
        changed = ids.inputs != ids.targets
        assert (ids.weights[changed] > 0).all()


@pytest.mark.parametrize("length", LENGTHS)
def test_targets_in_sight_are_the_inputs_and_all_count(objective: Objective, length: int) -> None:
    if not objective.in_sight:
        pytest.skip("something is hidden")
    assert objective.in_place
    tokens = text(50, length)
    for row, ids in zip(tokens, objective(tokens, SPECIALS, Draws(keys(50))), strict=True):
        assert ids.inputs.tolist() == ids.targets.tolist() == row.tolist()
        assert ids.weights is None


def test_no_rows_give_no_examples(objective: Objective) -> None:
    assert objective(np.zeros((0, 20), np.int32), SPECIALS, Draws(keys(0))) == []


def test_other_keys_give_other_noise(objective: Objective) -> None:
    tokens = text(4, 300)
    first, second = (objective(tokens, SPECIALS, Draws(keys(4, seed=seed))) for seed in (1, 2))
    random = objective.lens(300)[0] > 0 and not objective.in_sight  # else nothing is read, or nothing hidden
    assert any(map(same, first, second)) is not random


def test_as_many_sentinels_as_it_asks_for_are_enough(objective: Objective) -> None:
    needed = objective.num_sentinels(300)
    specials = Specials(**MARKS, num_ids=31_899, sentinels=SPECIALS.sentinels[:needed].copy())
    for ids in objective(text(200, 300), specials, Draws(keys(200))):
        used = [token for token in ids.inputs.tolist() if token >= 31_899]
        wanted = specials.sentinels[: len(used)] if needed > 1 else specials.sentinels.repeat(len(used))
        assert used == wanted.tolist()


def test_a_saved_recipe_builds_the_same_again(objective: Objective) -> None:
    values = objective.model_dump()  # type: ignore[attr-defined]
    assert build(type(objective), values, where="objective") == objective  # type: ignore[type-var]
