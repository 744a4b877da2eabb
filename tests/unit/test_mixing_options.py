"""What a recipe may say about rates: it takes effect, or it is refused in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from textfer.data.task import MIXTURES, TASKS, Mixture
from textfer.data.tokens import TokenTable
from textfer.errors import ConfigError
from textfer.parts import build_stream, build_tokenizer
from textfer.recipe import Recipe, load_recipe
from textfer.run import check_same_recipe
from textfer.training.checkpoint import STATE, Run

RECIPE = """
[model]
name = "t5"
model_dim = 32
ff_dim = 48
head_dim = 8
num_heads = 4
num_layers = 1
[tokenizer]
path = "{vocabulary}"
[data]
tasks = ["pair"]
[training]
num_steps = 100
batch_size = 10
[training.optimizer]
name = "adamw"
lr = 3e-3
"""
OBJECTIVE = "objective.name=span_corruption"
SIZES = {"one": 5000, "two": 200, "text": 4000}


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    with ExitStack() as stack:
        for name in SIZES:
            like = TASKS.get("wikipedia_en" if name == "text" else "reading")
            stack.enter_context(TASKS.temporary(name, replace(like, name=name)))
        stack.enter_context(MIXTURES.temporary("pair", Mixture(name="pair", parts={"one": None, "two": None})))
        yield


@pytest.fixture
def path(vocabulary: Path, tmp_path: Path) -> str:
    file = tmp_path / "mixed.toml"
    file.write_text(RECIPE.format(vocabulary=vocabulary), encoding="utf-8")
    return str(file)


def stream_rates(recipe: Recipe) -> dict[str, float]:
    """The rates of a stream over tables as long as SIZES says."""
    tables = {}
    for name in recipe_names(recipe):
        size = SIZES[name] * (256 if name == "text" else 1)
        ends = np.arange(0, size + 1, 256 if name == "text" else 1)
        none = np.zeros_like(ends)
        tables[name] = TokenTable(
            Path(),
            f"{name}/train",
            {"inputs": np.zeros(0, np.uint16), "targets": np.zeros(size, np.uint16)},
            {"inputs": none, "targets": ends},
            np.arange(len(ends) - 1),
        )
    built = build_stream(recipe, tables, build_tokenizer(recipe).specials, "encdec")
    return {part.name.removesuffix("/train"): rate for part, rate in zip(built.parts, built.rates, strict=True)}


def recipe_names(recipe: Recipe) -> list[str]:
    return [name for task in recipe.data.tasks for name in (MIXTURES.get(task).parts if task in MIXTURES else [task])]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"one": 25 / 26, "two": 1 / 26}),
        (["data.max_examples=600"], {"one": 0.75, "two": 0.25}),
        (["data.temperature=2"], {"one": 5 / 6, "two": 1 / 6}),
        (["data.temperature=inf"], {"one": 0.5, "two": 0.5}),
        (["data.weights.two=25"], {"one": 0.5, "two": 0.5}),
        (["data.weights={two=4}", "data.max_examples=800"], {"one": 0.5, "two": 0.5}),
        (["data.max_epochs=0.1", "training.num_steps=52"], {"one": 500 / 520, "two": 20 / 520}),
    ],
)
def test_every_word_changes_the_rates_inside_a_lone_mixture(
    path: str, words: list[str], expected: dict[str, float]
) -> None:
    assert stream_rates(load_recipe(path, words)) == pytest.approx(expected)


def test_a_limit_that_all_tasks_reach_is_told_with_the_examples_there_are(path: str) -> None:
    with pytest.raises(ConfigError, match=r"^data\.max_epochs: got 0\.1, where 2 tasks have 520 examples; .* 1,000"):
        stream_rates(load_recipe(path, ["data.max_epochs=0.1"]))


def test_the_ratio_stands_between_text_and_tasks(path: str) -> None:
    words = ['data.tasks=["text","pair"]', "data.ratio=2", OBJECTIVE, "data.inputs_len=200", "data.targets_len=60"]
    rates = stream_rates(load_recipe(path, words))
    assert rates == pytest.approx({"text": 2 / 3, "one": 25 / 26 / 3, "two": 1 / 26 / 3})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["data.tasks=one", "data.max_examples=9"],
            r"data\.max_examples: cannot take effect, there is one task\. Drop",
        ),
        (["data.tasks=one", "data.temperature=2"], r"data\.temperature: cannot take effect, there is one task\."),
        (["data.tasks=one", "data.weights.one=2"], r"data\.weights: cannot take effect, there is one task\."),
        (
            ["data.temperature=inf", "data.max_examples=9"],
            r"data\.max_examples: cannot take effect, data\.temperature = inf makes all tasks equal\.",
        ),
        (["data.weights.pair=2"], r"data\.weights: cannot take effect, it changes no task's rate\. Drop it\."),
        (["data.weights.one=0"], r"data\.weights\.one: got 0, expected more than 0\."),
        (["data.weights.three=2"], r"data\.weights: 'three' is not in data\.tasks\. Known: one, pair, two\."),
        (["data.ratio=2"], r"data\.ratio: cannot take effect, no plain text is in data\.tasks\."),
        (["data.tasks=text", OBJECTIVE, "data.ratio=2"], r"data\.ratio: cannot take effect, no supervised task is"),
        (["data.tasks=text", OBJECTIVE, "data.max_epochs=2"], r"data\.max_epochs: cannot take effect, data\.tasks are"),
        (["data.max_epochs=2", "data.pack=true"], r"data\.max_epochs: cannot be kept with data\.pack"),
        (['data.tasks=["one","pair"]'], r"data\.tasks: task 'one' is in it twice, as 'one' and 'pair → one'\."),
        (['data.tasks=["one","one"]'], r"data\.tasks: task 'one' is in it twice, as 'one' and 'one'\."),
        (["data.tasks=ones"], r"data\.tasks: unknown task 'ones'\. Did you mean 'one'\?"),
        (["data.max_examples=nan"], r"data\.max_examples: got nan, expected: greater than 0"),
        (["data.temperature=nan"], r"data\.temperature: got nan, expected: greater than or equal to 1"),
        (["data.max_epochs=nan"], r"data\.max_epochs: got nan, expected: greater than 0"),
        (["data.ratio=0"], r"data\.ratio: got 0, expected: greater than 0"),
        (["data.temperature=0.5"], r"data\.temperature: got 0\.5, expected: greater than or equal to 1"),
    ],
)
def test_what_cannot_take_effect_is_refused(path: str, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{message}") as found:
        load_recipe(path, words)
    assert "\n" not in str(found.value)


def test_what_says_nothing_is_no_mistake(path: str) -> None:
    """A sweep may pass through T = 1 and no cap."""
    recipe = load_recipe(path, ["data.tasks=one", "data.temperature=1", "data.max_examples=inf"])
    assert (recipe.data.temperature, recipe.data.max_examples) == (1, math.inf)


def test_a_weight_in_a_mixture_without_counts_leaves_nothing_to_cap(path: str) -> None:
    fixed = Mixture(name="fixed", parts={"one": 1.0, "two": 1.0})
    with MIXTURES.temporary("fixed", fixed), pytest.raises(ConfigError, match="temperature: cannot take effect"):
        load_recipe(path, ["data.tasks=fixed", "data.temperature=2"])


def test_a_run_from_before_these_words_goes_on(path: str, tmp_path: Path) -> None:
    """Its recipe says `inf` and 1 where nothing was meant; said today, these overrule what a mixture says itself."""
    recipe, run = load_recipe(path), Run(tmp_path / "run")
    checkpoint = run.at(5)
    checkpoint.mkdir(parents=True)
    (checkpoint / STATE).write_text("{}")
    values = recipe.model_dump(mode="json")
    kept = {key: value for key, value in values["data"].items() if key not in ("ratio", "weights", "max_epochs")}
    before = {**values, "data": {**kept, "max_examples": math.inf, "temperature": 1.0}}
    (run.path / "recipe.json").write_text(json.dumps(before))
    check_same_recipe(recipe, run)
    (run.path / "recipe.json").write_text(json.dumps({**before, "data": {**before["data"], "max_examples": 9.0}}))
    with pytest.raises(ConfigError, match=r"data\.max_examples: 9\.0 → None"):
        check_same_recipe(recipe, run)
    (run.path / "recipe.json").write_text(json.dumps({**values, "data": {**values["data"], "max_examples": math.inf}}))
    with pytest.raises(ConfigError, match=r"data\.max_examples: inf → None"):
        check_same_recipe(recipe, run)
