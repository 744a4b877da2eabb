"""Every option has an effect, and every preset builds."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator

import pytest
from house import Source, none, sources

from textfer.config import PRESETS_DIR, load_layers, preset_names
from textfer.models import MODELS, model_options
from textfer.recipe import Recipe, load_recipe

UNREAD: dict[str, str] = {"Recipe.imports": "acted on before the recipe can be built, from the values of its layers"}
"""`Class.field` of options that need no reader → why. Empty is best."""
CHECKS = {"field_validator", "model_validator", "field_serializer", "model_serializer"}


# ---- options


def option_classes() -> dict[str, tuple[Source, ast.ClassDef]]:
    """All classes that descend from `Options`, by name."""
    classes = {
        node.name: (one, node) for one in sources() for node in ast.walk(one.tree) if isinstance(node, ast.ClassDef)
    }
    found: dict[str, tuple[Source, ast.ClassDef]] = {}
    grown = True
    while grown:
        grown = False
        for name, (source, node) in classes.items():
            bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
            if name not in found and bases & {"Options", *found}:
                found[name] = source, node
                grown = True
    return found


def fields_of(node: ast.ClassDef) -> Iterator[ast.AnnAssign]:
    """The fields of an options class; constants of the class are none."""
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and "ClassVar" not in ast.unparse(line.annotation):
            yield line


def is_check(node: ast.AST) -> bool:
    """Whether a function only judges values: being judged is no effect."""
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(one).split("(")[0].split(".")[-1] in CHECKS for one in decorators)


def reads(tree: ast.AST) -> Iterator[str]:
    """Names that are read as an attribute of some value: `options.lr`, not `torch.compile` or `run.keep(…)`."""
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }

    def walk(node: ast.AST, *, called: bool = False) -> Iterator[str]:
        if is_check(node):
            return
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            root: ast.AST = node
            while isinstance(root, ast.Attribute):
                root = root.value
            if not called and not (isinstance(root, ast.Name) and root.id in imported):
                yield node.attr
        if isinstance(node, ast.Call):
            yield from walk(node.func, called=True)
            if ast.unparse(node.func) == "getattr" and isinstance(node.args[1], ast.Constant):
                yield str(node.args[1].value)
            for part in [*node.args, *node.keywords]:
                yield from walk(part)
            return
        for part in ast.iter_child_nodes(node):
            yield from walk(part)

    yield from walk(tree)


def test_every_option_is_read() -> None:
    read = {name for source in sources() for name in reads(source.tree)}
    found = []
    for owner, (source, node) in option_classes().items():
        for line in fields_of(node):
            name = ast.unparse(line.target)
            if name not in read and f"{owner}.{name}" not in UNREAD:
                found.append(source.at(line, f"option {owner}.{name} is read nowhere: it has no effect"))
    none(found)


def test_the_reading_rule_itself() -> None:
    code = """
import torch
from pydantic import field_validator

class A(Options):
    @field_validator("judged")
    def check(cls, value): return value.judged
    def __call__(self): return self.own

def f(options, run):
    torch.compile(run)
    run.keep(options.lr)
    options.written = getattr(options, "named")
    return options.deep.inner.call(run)
"""
    assert set(reads(ast.parse(code))) == {"own", "lr", "named", "deep", "inner"}


def test_option_classes_are_found() -> None:
    assert {"Recipe", "DataSection", "TrainOptions", "T5Options", "SpanCorruption", "Decoding"} <= set(option_classes())


def test_every_option_that_needs_words_has_them() -> None:
    """An attribute docstring is the option's help; only a name and a section may speak for themselves."""
    found = []
    for owner, (source, node) in option_classes().items():
        for line, after in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(line, ast.AnnAssign) or line not in list(fields_of(node)):
                continue
            told = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
            if not told and ast.unparse(line.target) not in SPEAKING:
                found.append(source.at(line, f"option {owner}.{ast.unparse(line.target)} has no docstring"))
    none(found)


SPEAKING = {
    *("name", "summary", "seed", "device", "split", "batch_size", "max_new_tokens", "beams", "dropout"),
    *("tokenizer", "data", "training", "eval", "optimizer", "num_layers", "num_heads"),
}


# ---- presets


MADE_BY_COMMAND = {"quickstart": ['data.tasks=["sst2"]', 'eval.tasks=["sst2"]']}
"""What a preset's own command adds to the preset."""


def preset_command(name: str) -> list[str]:
    """The words of the command in a preset's opening comment."""
    for line in (PRESETS_DIR / f"{name}.toml").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("# textfer "):
            return shlex.split(line.removeprefix("# "))
    return []


def recipe_names() -> list[str]:
    """Presets that say how to train."""
    return [name for name in preset_names() if "training" in load_layers(name)]


def test_presets_exist() -> None:
    assert {"quickstart", "t5-small", "t5-mini"} <= set(preset_names())
    assert recipe_names()


@pytest.mark.parametrize("name", preset_names())
def test_preset_says_what_it_is(name: str) -> None:
    assert (PRESETS_DIR / f"{name}.toml").read_text(encoding="utf-8").startswith("# ")
    values = load_layers(name)
    assert values["summary"].strip()
    assert set(values) <= set(Recipe.model_fields)


@pytest.mark.parametrize("name", [name for name in preset_names() if "name" in load_layers(name).get("model", {})])
def test_preset_model_builds(name: str) -> None:
    model = load_layers(name)["model"]
    options = model_options(model, where="model")
    assert options.model_dump(mode="json", include=set(model) - {"name"}) == {
        key: model[key] for key in model if key != "name"
    }
    assert model["name"] in MODELS


@pytest.mark.parametrize("name", recipe_names())
def test_preset_recipe_loads_as_its_command_says(name: str) -> None:
    words = preset_command(name)
    assert words, f"{name}.toml does not begin with the command that runs it"
    given = [word for word in words if "=" in word and not word.startswith("-")]
    recipe = load_recipe(name, [*given, *MADE_BY_COMMAND.get(name, [])])
    assert recipe.training.num_steps > 0
    assert Recipe(**recipe.model_dump()) == recipe
