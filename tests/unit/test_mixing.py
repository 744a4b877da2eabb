"""How often each task of a mixture is heard."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from textfer.data.task import MIXTURES, Mixture, flatten, mixing_rates
from textfer.errors import ConfigError

# Rows of the training splits of the suites that T5 mixes, as counted by the data sets' own pages.
SIZES = {"mnli": 392_702, "qqp": 363_846, "squad": 87_599, "en_fr": 40_836_715, "rte": 2_490}


def mixture(*names: str, max_examples: float = math.inf, temperature: float = 1.0, **weights: float) -> Mixture:
    parts = {**dict.fromkeys(names), **weights}
    return Mixture(name="made", parts=parts, max_examples=max_examples, temperature=temperature)


@pytest.fixture
def inner() -> Iterator[Mixture]:
    one = Mixture(name="inner", parts={"a": None, "b": None})
    with MIXTURES.temporary("inner", one):
        yield one


def test_proportional_to_the_number_of_examples() -> None:
    assert mixing_rates({"a": 30, "b": 10}, mixture("a", "b")) == {"a": 0.75, "b": 0.25}


def test_a_cap_makes_large_tasks_smaller() -> None:
    assert mixing_rates({"a": 1000, "b": 10}, mixture("a", "b", max_examples=30)) == {"a": 0.75, "b": 0.25}


def test_temperature_takes_the_root_after_the_cap() -> None:
    rates = mixing_rates({"a": 1000, "b": 25}, mixture("a", "b", max_examples=100, temperature=2))
    assert rates == pytest.approx({"a": 10 / 15, "b": 5 / 15})


def test_infinite_temperature_is_equal_mixing() -> None:
    assert mixing_rates(SIZES, mixture(*SIZES, temperature=math.inf)) == dict.fromkeys(SIZES, 0.2)


def test_fixed_weights_stand_beside_counted_examples() -> None:
    assert mixing_rates({"a": 30, "b": 7}, mixture("a", b=10.0)) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("power", "expected"),
    # r = min(e, K) / Σ min(e, K), worked by hand for K = 2^16 … 2^21 (T5 §3.5.2, table 11's caps)
    [
        (16, {"mnli": 65536, "qqp": 65536, "squad": 65536, "en_fr": 65536, "rte": 2490}),
        (19, {"mnli": 392702, "qqp": 363846, "squad": 87599, "en_fr": 524288, "rte": 2490}),
        (21, {"mnli": 392702, "qqp": 363846, "squad": 87599, "en_fr": 2097152, "rte": 2490}),
    ],
)
def test_caps_of_t5(power: int, expected: dict[str, int]) -> None:
    total = sum(expected.values())
    rates = mixing_rates(SIZES, mixture(*SIZES, max_examples=2**power))
    assert rates == pytest.approx({name: count / total for name, count in expected.items()}, rel=1e-12)


def test_temperature_of_t5_with_its_cap() -> None:
    """T = 2, 4, 8 with K = 2^21: from proportional towards equal, in the same order."""
    shares = []
    for temperature in (1, 2, 4, 8, math.inf):
        rates = mixing_rates(SIZES, mixture(*SIZES, max_examples=2**21, temperature=temperature))
        assert sum(rates.values()) == pytest.approx(1)
        assert sorted(rates, key=lambda name: rates[name]) == sorted(SIZES, key=SIZES.__getitem__) or math.isinf(
            temperature
        )
        shares.append(rates["en_fr"])
    assert shares == sorted(shares, reverse=True)
    assert shares[1] == pytest.approx(
        math.sqrt(2**21) / sum(math.sqrt(min(size, 2**21)) for size in SIZES.values()), rel=1e-12
    )


@pytest.mark.parametrize("weight", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_must_be_positive_and_finite(weight: float) -> None:
    with pytest.raises(ConfigError, match=r"^mixture 'made': part 'b' has rate .*, expected more than 0\. "):
        mixing_rates({"a": 1, "b": 1}, mixture("a", b=weight))


def test_a_task_without_rows_is_told_of() -> None:
    with pytest.raises(ConfigError, match="part 'a' has rate 0"):
        mixing_rates({"a": 0, "b": 1}, mixture("a", "b"))


def test_nested_mixtures_multiply_through(inner: Mixture) -> None:
    sizes = {"a": 30, "b": 10, "c": 40}
    assert flatten(inner, sizes.__getitem__) == {"a": 0.75, "b": 0.25}
    assert flatten(mixture("inner", "c"), sizes.__getitem__) == {"a": 0.375, "b": 0.125, "c": 0.5}


def test_the_cap_holds_for_the_nested_mixture_as_one(inner: Mixture) -> None:
    sizes = {"a": 30, "b": 10, "c": 40}
    rates = flatten(mixture("inner", "c", max_examples=20), sizes.__getitem__)
    assert rates == pytest.approx({"a": 0.375, "b": 0.125, "c": 0.5})


def test_a_task_reached_twice_adds_up(inner: Mixture) -> None:
    rates = flatten(mixture("inner", "a"), {"a": 30, "b": 10}.__getitem__)
    assert rates == pytest.approx({"a": 40 / 70 * 0.75 + 30 / 70, "b": 10 / 70})


def test_a_mixture_may_not_hold_itself() -> None:
    ring = Mixture(name="ring", parts={"ring": None})
    with MIXTURES.temporary("ring", ring), pytest.raises(ConfigError, match=r"contains itself .ring → ring"):
        flatten(ring, lambda name: 1)
