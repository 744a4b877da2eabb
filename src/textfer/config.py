"""Registries of named parts, and options read from TOML and `section.key=value` words.

A named part is a frozen class whose fields are its options; nothing else holds a default.
"""

from __future__ import annotations

import ast
import importlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from textfer.errors import ConfigError, nearest

T = TypeVar("T")
O = TypeVar("O", bound="Options")
PRESETS_DIR = Path(__file__).parent / "presets"
COMPARISONS_DIR = PRESETS_DIR / "comparisons"


class Options(BaseModel):
    """A set of options: frozen, typed, and refusing what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=True)

    @model_validator(mode="before")
    @classmethod
    def _one_name_is_a_list(cls, values: Any) -> Any:
        """A lone text where a list of texts is expected: `data.tasks=squad`."""
        if not isinstance(values, dict):
            return values
        lists = {name for name, part in cls.model_fields.items() if part.annotation == tuple[str, ...]}
        return {key: (value,) if key in lists and isinstance(value, str) else value for key, value in values.items()}


class Registry(Generic[T]):
    """Parts that users choose by name. `modules` are imported at the first look-up."""

    def __init__(self, kind: str, modules: Sequence[str] = ()) -> None:
        self.kind = kind
        self._modules = list(modules)
        self._parts: dict[str, T] = {}

    def add(self, name: str, part: T) -> T:
        """Registers `part` and returns it. A name is taken once and for ever."""
        if name in self._parts:
            raise ConfigError(f"{self.kind} '{name}': the name is taken. Choose another.")
        self._parts[name] = part
        return part

    def named(self, name: str) -> Callable[[T], T]:
        """The same as a decorator."""
        return lambda part: self.add(name, part)

    def get(self, name: str, *, where: str = "") -> T:
        """The part of that name, or a ConfigError with the nearest one."""
        while name not in self._parts and self._modules:  # no further than needed: a module may be slow to import
            self._load_next()
        if name not in self._parts:
            place = f"{where}: " if where else ""
            raise ConfigError(f"{place}unknown {self.kind} '{name}'.{nearest(name, self._parts)}")
        return self._parts[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        self._load()
        return sorted(self._parts)

    def each(self) -> Iterator[T]:
        """All parts; modules are imported as they are come to."""
        seen: set[str] = set()
        while True:
            for name in [name for name in self._parts if name not in seen]:
                seen.add(name)
                yield self._parts[name]
            if not self._modules:
                return
            self._load_next()

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._parts

    @contextmanager
    def temporary(self, name: str, part: T) -> Iterator[T]:
        """Registers `part` for the length of a `with` block: for tests."""
        try:
            yield self.add(name, part)
        finally:
            del self._parts[name]

    def _load(self) -> None:
        while self._modules:
            self._load_next()

    def _load_next(self) -> None:
        importlib.import_module(self._modules.pop(0))


def build(options: type[O], values: Mapping[str, Any], *, where: str) -> O:
    """`options(**values)`, with every complaint in one line that names the place and the nearest known key."""
    try:
        return options(**values)
    except ValidationError as error:
        raise ConfigError("; ".join(_complaint(options, problem, where) for problem in error.errors())) from None


def _complaint(options: type[BaseModel], problem: Any, where: str) -> str:
    path = [part for part in problem["loc"] if not (isinstance(part, str) and "[" in part)]
    place = ".".join([where, *map(str, path)]) if where else ".".join(map(str, path))
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown option.{nearest(str(path[-1]), _fields_at(options, path[:-1]))}"
    if problem["type"] == "missing":
        return f"{place}: missing. Give it a value"
    if problem["type"] == "value_error":  # our own validators write whole sentences
        return f"{place}: {problem['ctx']['error']!s}"
    return f"{place}: got {problem['input']!r}, expected: {problem['msg'].removeprefix('Input should be ')}"


def _fields_at(options: Any, path: Sequence[object]) -> list[str]:
    for part in path:
        annotation = options.model_fields[part].annotation if part in options.model_fields else None
        candidates = [annotation, *get_args(annotation)] if get_origin(annotation) else [annotation]
        options = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if options is None:
            return []
    return list(options.model_fields)


def read_toml(path: Path) -> dict[str, Any]:
    """One TOML file, or the JSON that a run saved, as a dictionary."""
    try:
        text = path.read_text(encoding="utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}).") from None
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: got a {type(values).__name__}, expected an object of settings.")
    return values


def preset_names() -> list[str]:
    """The recipes and sizes that come with the package."""
    return sorted(path.stem for path in PRESETS_DIR.glob("*.toml"))


def find_recipe(name: str, *, beside: Path | None = None) -> Path:
    """A path as given (or relative to `beside`), a run folder's recipe, or a preset of that name."""
    for path in [Path(name), *([beside / name] if beside else [])]:
        if path.is_dir() and (path / "recipe.json").exists():
            return path / "recipe.json"
        if path.is_file():
            return path
    if (preset := PRESETS_DIR / f"{name}.toml").exists():
        return preset
    if Path(name).is_dir():
        raise ConfigError(f"{name}: this folder holds no recipe.json. Name a run folder, a file or a preset.")
    if name.endswith((".toml", ".json")) or "/" in name:
        raise ConfigError(f"{name}: no such file.")
    hint = nearest(name, preset_names())
    hint = hint if "Did you mean" in hint else " Give a file, a run folder or a preset (`textfer show presets`)."
    raise ConfigError(f"unknown recipe '{name}'.{hint}")


def load_layers(name: str, *, beside: Path | None = None, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's values with its `base` chain (a name or a list, later ones win) laid under them."""
    path = find_recipe(name, beside=beside).resolve()
    if path in seen:
        raise ConfigError(f"{path}: its base chain leads back to itself.")
    values = read_toml(path)
    bases = values.pop("base", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{path}: base is {bases!r}, expected a recipe's name or a list of names.")
    merged: dict[str, Any] = {}
    for base in bases:
        merged = merge(merged, load_layers(base, beside=path.parent, seen=(*seen, path)))
    return merge(merged, values)


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`, table by table. Another `name` for a part drops the old part's options."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            other = "name" in value and value["name"] != old.get("name", value["name"])
            merged[key] = dict(value) if other else merge(old, value)
        else:
            merged[key] = value
    return merged


def apply_overrides(values: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """`section.key=value` words laid on `values`. Values are read as TOML reads them, and `none` as no value."""
    merged: dict[str, Any] = dict(values)
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise ConfigError(f"'{word}': got no setting, expected section.key=value.")
        nested: Any = _value(text)
        for part in reversed(key.split(".")):
            nested = {part.strip(): nested}
        merged = merge(merged, nested)
    return merged


def _value(text: str) -> Any:
    if text.strip().lower() == "none":  # TOML has no word for it
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        pass
    try:  # 1e4 and -.5 are numbers to people, if not to TOML
        value = ast.literal_eval(text)
        return value if isinstance(value, int | float) else text
    except (ValueError, SyntaxError):
        return text
