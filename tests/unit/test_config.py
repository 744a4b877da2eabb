"""Options from layers and words: the base chain, another name, overrides, and every complaint in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import Field, field_validator

from textfer.config import (
    Options,
    Registry,
    apply_overrides,
    build,
    find_recipe,
    load_layers,
    merge,
    preset_names,
    read_toml,
)
from textfer.errors import ConfigError


class Inner(Options):
    """A section."""

    size: int = Field(3, gt=0)
    rate: float | None = None
    names: tuple[str, ...] = ()


class Outer(Options):
    """A whole."""

    title: str
    inner: Inner = Inner()
    maybe: Inner | None = None

    @field_validator("title")
    @classmethod
    def _short(cls, title: str) -> str:
        if len(title) > 5:
            raise ValueError(f"got {len(title)} letters, expected 5 at most.")
        return title


def complaint(act: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- build


def test_values_become_options() -> None:
    built = build(Outer, {"title": "a", "inner": {"size": 4, "rate": 1, "names": ["x", "y"]}}, where="")
    assert built == Outer(title="a", inner=Inner(size=4, rate=1.0, names=("x", "y")))
    assert build(Outer, built.model_dump(), where="") == built
    assert build(Outer, json.loads(built.model_dump_json()), where="") == built


def test_one_text_is_a_list_of_one() -> None:
    assert build(Inner, {"names": "squad"}, where="").names == ("squad",)
    assert Inner(names=("a", "b")).names == ("a", "b")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "title: missing. Give it a value"),
        ({"title": "a", "iner": {}}, "iner: unknown option. Did you mean 'inner'?"),
        ({"title": "a", "inner": {"siz": 1}}, "inner.siz: unknown option. Did you mean 'size'?"),
        ({"title": "a", "maybe": {"siz": 1}}, "maybe.siz: unknown option. Did you mean 'size'?"),
        ({"title": "a", "zzz": 1}, "zzz: unknown option. Known: inner, maybe, title."),
        ({"title": "a", "inner": {"size": 0}}, "inner.size: got 0, expected: greater than 0"),
        (
            {"title": "a", "inner": {"size": "big"}},
            "inner.size: got 'big', expected: a valid integer, unable to parse string as an integer",
        ),
        ({"title": "abcdef"}, "title: got 6 letters, expected 5 at most."),
        ({"title": 3, "inner": {"size": 0}}, "title: got 3, expected: a valid string; inner.size: got 0, expected: "),
    ],
)
def test_complaints(values: dict[str, Any], message: str) -> None:
    assert complaint(lambda: build(Outer, values, where="")).startswith(message)
    told = complaint(lambda: build(Outer, values, where="here"))
    assert told.startswith(f"here.{message.split(';')[0]}")


def test_options_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Inner().size = 4  # type: ignore[misc]


# ---- layers


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def test_the_base_chain(tmp_path: Path) -> None:
    write(
        tmp_path,
        low='seed = 1\n[model]\nname = "t5"\nwidth = 2\ndepth = 2\n',
        side="[model]\ndepth = 5\n[data]\nsplit = 'x'\n",
        top='base = ["low.toml", "side.toml"]\n[model]\nwidth = 3\n',
        over=f'base = "{tmp_path}/top.toml"\nseed = 2\n',
    )
    assert load_layers(str(tmp_path / "over.toml")) == {
        "seed": 2,
        "model": {"name": "t5", "width": 3, "depth": 5},
        "data": {"split": "x"},
    }


def test_a_base_may_be_a_preset_or_a_run_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.json").write_text('{"seed": 9, "summary": "s"}')
    write(tmp_path, one='base = ["t5-small", "run"]\n')
    values = load_layers(str(tmp_path / "one.toml"))
    assert values == {**load_layers("t5-small"), "seed": 9, "summary": "s"}
    assert load_layers(str(tmp_path / "run")) == {"seed": 9, "summary": "s"}


def test_another_name_drops_the_old_options() -> None:
    under = {"optimizer": {"name": "adamw", "beta": 0.9, "deep": {"x": 1}}, "seed": 1}
    assert merge(under, {"optimizer": {"name": "adafactor", "lr": 1}}) == {
        "optimizer": {"name": "adafactor", "lr": 1},
        "seed": 1,
    }
    assert merge(under, {"optimizer": {"name": "adamw", "lr": 1, "deep": {"y": 2}}}) == {
        "optimizer": {"name": "adamw", "beta": 0.9, "lr": 1, "deep": {"x": 1, "y": 2}},
        "seed": 1,
    }
    assert merge(under, {"optimizer": {"lr": 1}})["optimizer"]["beta"] == 0.9
    assert merge({"a": 1}, {"a": {"b": 2}}) == {"a": {"b": 2}}
    assert under["optimizer"]["deep"] == {"x": 1}, "what is merged is left as it was"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "other.toml"', "other.toml: no such file."),
        ('base = "one.toml"', "one.toml: its base chain leads back to itself."),
        ("base = 3", "one.toml: base is 3, expected a recipe's name or a list of names."),
        ("base = [3]", "one.toml: base is [3], expected a recipe's name or a list of names."),
        ('base = "quikstart"', "unknown recipe 'quikstart'. Did you mean 'quickstart'?"),
        ("seed = ", "one.toml: Invalid value (at end of document)."),
        ("[a]\nx = 1\n[a]\n", "one.toml: Cannot declare ('a',) twice (at line 3, column 3)."),
    ],
)
def test_bad_layers(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, one=text)
    assert complaint(lambda: load_layers(str(tmp_path / "one.toml"))).endswith(message)


def test_files_that_are_no_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1]")
    assert complaint(lambda: read_toml(path)) == f"{path}: got a list, expected an object of settings."
    path.write_text("{")
    assert complaint(lambda: read_toml(path)).startswith(f"{path}: Expecting property name")
    path.write_bytes(b"\xff\xfe")
    assert complaint(lambda: read_toml(path)).startswith(f"{path}: cannot be read (")
    assert complaint(lambda: read_toml(tmp_path)).startswith(f"{tmp_path}: cannot be read (")


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    assert complaint(lambda: find_recipe("nosuchthing")) == (
        "unknown recipe 'nosuchthing'. Give a file, a run folder or a preset (`textfer show presets`)."
    )
    assert complaint(lambda: find_recipe("a/b")) == "a/b: no such file."
    assert complaint(lambda: find_recipe(str(tmp_path))) == (
        f"{tmp_path}: this folder holds no recipe.json. Name a run folder, a file or a preset."
    )
    assert all(find_recipe(name).stem == name for name in preset_names())


# ---- words


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a.b=3", 3),
        ("a.b=1e4", 1e4),
        ("a.b=-.5", -0.5),
        ("a.b=1_000", 1000),
        ("a.b=inf", float("inf")),
        ("a.b=true", True),
        ("a.b=True", True),
        ("a.b=none", None),
        ('a.b="none"', "none"),
        ('a.b="3"', "3"),
        ("a.b=squad", "squad"),
        ("a.b=my file.csv", "my file.csv"),
        ("a.b=/tmp/x=y", "/tmp/x=y"),
        ("a.b=['x', \"y\"]", ["x", "y"]),
        ("a.b=", ""),
        (" a . b =3", 3),
    ],
)
def test_overrides(word: str, value: object) -> None:
    assert apply_overrides({"c": 1}, [word]) == {"c": 1, "a": {"b": value}}


def test_overrides_are_laid_on_in_order() -> None:
    values = {"model": {"name": "t5", "width": 2}, "seed": 1}
    words = ["model.width=3", "seed=2", "model.depth=4", "model.width=5"]
    assert apply_overrides(values, words) == {"model": {"name": "t5", "width": 5, "depth": 4}, "seed": 2}
    assert apply_overrides(values, ["model.name=gpt"]) == {"model": {"name": "gpt"}, "seed": 1}
    assert values == {"model": {"name": "t5", "width": 2}, "seed": 1}


@pytest.mark.parametrize("word", ["seed", "=3", "a.=3", ".a=3", "a..b=3", "--seed"])
def test_words_that_set_nothing(word: str) -> None:
    assert complaint(lambda: apply_overrides({}, [word])) == (f"'{word}': got no setting, expected section.key=value.")


# ---- registries


def test_names_are_taken_once() -> None:
    registry: Registry[int] = Registry("part")
    assert registry.add("one", 1) == 1
    assert registry.named("two")(2) == 2
    assert registry.names() == ["one", "two"]
    assert complaint(lambda: registry.add("one", 3)) == "part 'one': the name is taken. Choose another."
    assert complaint(lambda: registry.get("onn")) == "unknown part 'onn'. Did you mean 'one'?"
    assert complaint(lambda: registry.get("x", where="a.b")) == "a.b: unknown part 'x'. Known: one, two."


def test_a_part_for_a_while() -> None:
    registry: Registry[int] = Registry("part")
    with registry.temporary("one", 1):
        assert "one" in registry
    assert "one" not in registry
    with pytest.raises(RuntimeError), registry.temporary("one", 1):
        raise RuntimeError
    assert "one" not in registry, "a test that fails leaves nothing behind"


def test_modules_are_imported_no_further_than_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[int] = Registry("number", ["parts_one", "parts_two"])
    monkeypatch.setitem(sys.modules, "parts_shared", SimpleNamespace(registry=registry))
    for number, name in enumerate(("one", "two"), start=1):
        code = f"from parts_shared import registry\nregistry.add('{name}', {number})\n"
        (tmp_path / f"parts_{name}.py").write_text(code, encoding="utf-8")
    assert registry.get("one") == 1
    assert next(registry.each()) == 1
    assert "parts_two" not in sys.modules
    assert list(registry.each()) == [1, 2]
    assert registry.names() == ["one", "two"]
