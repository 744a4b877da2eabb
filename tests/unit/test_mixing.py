"""How often each task of a mixture is heard."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textfer.data.mixing import Mixing, mixing_rates
from textfer.data.task import MIXTURES, TASKS, Mixture
from textfer.errors import ConfigError

# Rows of the training splits of the suites that T5 mixes, as counted by the data sets' own pages.
SIZES = {"m_mnli": 392_702, "m_qqp": 363_846, "m_squad": 87_599, "m_en_fr": 40_836_715, "m_rte": 2_490}


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """Tasks a to e and those of SIZES are known; what they are made of does not matter here."""
    with ExitStack() as stack:
        for name in [*"abcde", *SIZES]:
            stack.enter_context(TASKS.temporary(name, replace(TASKS.get("reading"), name=name)))
        yield


def rates(
    sizes: Mapping[str, int], parts: Mapping[str, float | None] | None = None, **said: float | None
) -> dict[str, float]:
    """The rates of one mixture of all of `sizes`, or of `parts`."""
    made = Mixture(name="made", parts=parts or dict.fromkeys(sizes), **said)
    with MIXTURES.temporary("made", made):
        return mixing_rates(["made"], sizes.__getitem__)


def test_proportional_to_the_number_of_examples() -> None:
    assert rates({"a": 30, "b": 10}) == {"a": 0.75, "b": 0.25}


def test_a_cap_makes_large_tasks_smaller() -> None:
    assert rates({"a": 1000, "b": 10}, max_examples=30) == {"a": 0.75, "b": 0.25}


def test_temperature_takes_the_root_after_the_cap() -> None:
    found = rates({"a": 1000, "b": 25}, max_examples=100, temperature=2)
    assert found == pytest.approx({"a": 10 / 15, "b": 5 / 15})


def test_infinite_temperature_is_equal_mixing() -> None:
    assert rates(SIZES, temperature=math.inf) == dict.fromkeys(SIZES, 0.2)


def test_a_weight_stands_for_a_number_of_examples() -> None:
    """It is a count like others: under the cap, and under the root."""
    parts = {"a": None, "b": 100.0}
    assert rates({"a": 300}, parts) == {"a": 0.75, "b": 0.25}
    assert rates({"a": 300}, parts, max_examples=100) == {"a": 0.5, "b": 0.5}
    assert rates({"a": 400}, parts, temperature=2) == pytest.approx({"a": 2 / 3, "b": 1 / 3})


@pytest.mark.parametrize(
    ("power", "expected"),
    # r = min(e, K) / Σ min(e, K), worked by hand for K = 2^16 … 2^21 (T5 §3.5.2, table 11's caps)
    [
        (16, {"m_mnli": 65536, "m_qqp": 65536, "m_squad": 65536, "m_en_fr": 65536, "m_rte": 2490}),
        (19, {"m_mnli": 392702, "m_qqp": 363846, "m_squad": 87599, "m_en_fr": 524288, "m_rte": 2490}),
        (21, {"m_mnli": 392702, "m_qqp": 363846, "m_squad": 87599, "m_en_fr": 2097152, "m_rte": 2490}),
    ],
)
def test_caps_of_t5(power: int, expected: dict[str, int]) -> None:
    total = sum(expected.values())
    exact = pytest.approx({name: count / total for name, count in expected.items()}, rel=1e-12)
    assert rates(SIZES, max_examples=2**power) == exact
    assert mixing_rates([*SIZES], SIZES.__getitem__, Mixing(max_examples=2**power)) == exact


def test_temperature_of_t5_with_its_cap() -> None:
    """T = 2, 4, 8 with K = 2^21: from proportional towards equal, in the same order."""
    shares = []
    for temperature in (1, 2, 4, 8):
        found = rates(SIZES, max_examples=2**21, temperature=temperature)
        assert sum(found.values()) == pytest.approx(1)
        assert sorted(found, key=lambda name: found[name]) == sorted(SIZES, key=SIZES.__getitem__)
        shares.append(found["m_en_fr"])
    assert shares == sorted(shares, reverse=True)
    roots = sum(math.sqrt(min(size, 2**21)) for size in SIZES.values())
    assert shares[1] == pytest.approx(math.sqrt(2**21) / roots, rel=1e-12)


# ---- mixtures in mixtures


@pytest.fixture
def inner() -> Iterator[Mixture]:
    one = Mixture(name="inner", parts={"a": None, "b": None}, max_examples=40)
    with MIXTURES.temporary("inner", one):
        yield one


INSIDE = {"a": 30, "b": 90, "c": 40}


def test_a_mixture_stands_for_its_tasks_and_keeps_its_cap(inner: Mixture) -> None:
    assert mixing_rates(["inner"], INSIDE.__getitem__) == pytest.approx({"a": 3 / 7, "b": 4 / 7})
    assert mixing_rates(["inner", "c"], INSIDE.__getitem__) == pytest.approx(
        {"a": 30 / 110, "b": 40 / 110, "c": 40 / 110}
    )


def test_what_the_recipe_says_is_in_force_inside(inner: Mixture) -> None:
    found = mixing_rates(["inner", "c"], INSIDE.__getitem__, Mixing(max_examples=60))
    assert found == pytest.approx({"a": 30 / 130, "b": 60 / 130, "c": 40 / 130})
    found = mixing_rates(["inner", "c"], INSIDE.__getitem__, Mixing(temperature=math.inf))
    assert found == pytest.approx(dict.fromkeys("abc", 1 / 3))
    found = mixing_rates(["inner", "c"], INSIDE.__getitem__, Mixing(max_examples=36, temperature=2))
    roots = {"a": math.sqrt(30), "b": 6, "c": 6}
    assert found == pytest.approx({name: root / sum(roots.values()) for name, root in roots.items()})


def test_a_mixture_with_a_temperature_keeps_it_and_counts_as_its_tasks_together() -> None:
    with MIXTURES.temporary("warm", Mixture(name="warm", parts={"a": None, "b": None}, temperature=2)):
        found = mixing_rates(["warm", "c"], {"a": 90, "b": 10, "c": 100}.__getitem__)
        assert found == pytest.approx({"a": 3 / 8, "b": 1 / 8, "c": 1 / 2})


def test_a_weighted_mixture_multiplies_through(inner: Mixture) -> None:
    assert rates(INSIDE, {"inner": 120.0, "c": None}) == pytest.approx({"a": 9 / 28, "b": 12 / 28, "c": 1 / 4})
    assert rates(INSIDE, {"inner": 3.0, "c": 1.0}) == pytest.approx({"a": 9 / 28, "b": 12 / 28, "c": 1 / 4})


# ---- what a recipe adds


def mix(sizes: Mapping[str, int], plain: str = "", **said: object) -> dict[str, float]:
    return mixing_rates([*sizes], sizes.__getitem__, Mixing(**said), plain=plain.__contains__)  # type: ignore[arg-type]


def test_weights_multiply_rates(inner: Mixture) -> None:
    assert mix({"a": 10, "b": 10}, weights={"a": 3.0}) == pytest.approx({"a": 0.75, "b": 0.25})
    found = mixing_rates(["inner", "c"], INSIDE.__getitem__, Mixing(weights={"inner": 2.0, "a": 2.0}))
    assert found == pytest.approx({"a": 120 / 240, "b": 80 / 240, "c": 40 / 240})


def test_the_ratio_of_ext5() -> None:
    """R = 2: two thirds are plain text, one third supervised, each shared as it would be alone (FACTS A.5)."""
    sizes = {"a": 500_000, "b": 250_000, "c": 1_000_000, "d": 3_000_000}
    found = mix(sizes, "cd", ratio=2.0, max_examples=300_000)
    assert found == pytest.approx({"a": 30 / 55 / 3, "b": 25 / 55 / 3, "c": 1 / 3, "d": 1 / 3})


def test_a_limit_of_epochs_hands_the_rest_to_the_others() -> None:
    found = mix({"a": 10, "b": 100, "c": 900}, temperature=math.inf, max_epochs=2.0, budget=900)
    # a may be heard 20 times, b 200 times; what they leave is c's, which may be heard 1,800 times.
    assert found == pytest.approx({"a": 20 / 900, "b": 200 / 900, "c": 680 / 900})


def test_what_is_freed_can_fill_the_next_task() -> None:
    found = mix({"a": 10, "b": 100, "c": 900}, temperature=math.inf, max_epochs=1.0, budget=300)
    assert found == pytest.approx({"a": 10 / 300, "b": 100 / 300, "c": 190 / 300})


def test_plain_text_has_no_limit_and_takes_what_is_free() -> None:
    found = mix({"a": 10, "b": 10}, "b", max_epochs=1.0, budget=1000)
    assert found == pytest.approx({"a": 0.01, "b": 0.99})


def test_with_a_ratio_the_supervised_tasks_keep_their_share() -> None:
    found = mix({"a": 10, "b": 1000, "c": 5}, "c", ratio=1.0, temperature=math.inf, max_epochs=1.0, budget=1000)
    assert found == pytest.approx({"a": 0.01, "b": 0.49, "c": 0.5})


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(1, 10**6), min_size=2, max_size=5),
    st.sampled_from([1.0, 2.0, math.inf]),
    st.floats(0.3, 1.0),
)
def test_a_limit_is_kept_exactly_and_takes_from_nobody_else(counts: list[int], temperature: float, part: float) -> None:
    sizes = dict(zip("abcde", counts, strict=False))
    budget = max(1, int(2 * sum(counts) * part))
    free = mix(sizes, temperature=temperature)
    found = mix(sizes, temperature=temperature, max_epochs=2.0, budget=budget)
    assert sum(found.values()) == pytest.approx(1)
    full = {name for name in sizes if found[name] * budget > 2 * sizes[name] * (1 - 1e-9)}
    assert all(found[name] * budget <= 2 * sizes[name] * (1 + 1e-9) for name in sizes)
    kept = [found[name] / free[name] for name in sizes if name not in full]
    assert kept == pytest.approx([kept[0]] * len(kept) if kept else [])
    assert all(found[name] / free[name] <= kept[0] * (1 + 1e-9) for name in full if kept)


# ---- what cannot be


@pytest.mark.parametrize("weight", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_must_be_positive_and_finite(weight: float) -> None:
    with pytest.raises(ConfigError, match=r"^mixture 'made': part 'b' has rate .*, expected more than 0\. "):
        rates({"a": 1}, {"a": None, "b": weight})
    with pytest.raises(ConfigError, match=r"^data\.weights\.b: got .*, expected more than 0\. "):
        mix({"a": 1, "b": 1}, weights={"b": weight})


def test_a_task_without_rows_is_told_of() -> None:
    with pytest.raises(ConfigError, match=r"^data\.tasks: part 'a' has rate 0, expected more than 0"):
        mix({"a": 0, "b": 1})


def test_a_mixture_may_not_hold_itself() -> None:
    ring = Mixture(name="ring", parts={"ring": None})
    with MIXTURES.temporary("ring", ring), pytest.raises(ConfigError, match=r"contains itself .ring → ring"):
        mixing_rates(["ring"], lambda name: 1)


def test_a_repeated_task_is_told_with_both_ways_to_it(inner: Mixture) -> None:
    with pytest.raises(ConfigError, match=r"^data\.tasks: task 'a' is in it twice, as 'inner → a' and 'a'\. "):
        mixing_rates(["inner", "a"], INSIDE.__getitem__)
    made = MIXTURES.temporary("made", Mixture(name="made", parts={"a": None}))
    top = MIXTURES.temporary("top", Mixture(name="top", parts={"a": None, "made": None}))
    with (
        made,
        top,
        pytest.raises(
            ConfigError, match=r"^mixture 'top': task 'a' is in it twice, as 'top → a' and 'top → made → a'\. "
        ),
    ):
        mixing_rates(["top"], INSIDE.__getitem__)


def test_an_unknown_task_is_told_with_the_mixture_it_is_in() -> None:
    with pytest.raises(ConfigError, match=r"^mixture 'made': unknown task 'm_skuad'\. Did you mean 'm_squad'\?$"):
        rates(SIZES, {"m_mnli": None, "m_skuad": None})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"weights": {"zz": 2.0}}, r"^data\.weights: 'zz' is not in data\.tasks\. Known: a, b\.$"),
        ({"ratio": 2.0}, r"^data\.ratio: cannot take effect, no plain text is in data\.tasks\. "),
        (
            {"max_epochs": 2.0, "budget": 1000},
            r"^data\.max_epochs: got 2, where 2 tasks have 22 examples; the run hears 1,000 supervised ones\. ",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(said: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mix({"a": 1, "b": 10}, **said)


def test_a_ratio_is_finite() -> None:
    with pytest.raises(ConfigError, match=r"^data\.ratio: got inf, expected a finite number\. "):
        mix({"a": 1, "b": 10}, "a", ratio=math.inf)


def test_a_ratio_needs_supervised_tasks_too() -> None:
    with pytest.raises(ConfigError, match=r"no supervised task is in data\.tasks"):
        mix({"a": 1, "b": 10}, "ab", ratio=2.0)
