"""What the house's tests share: parsed sources, and a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "textfer"
TESTS = ROOT / "tests"
CALLS = {"__init__", "__call__"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One parsed file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return str(self.path.relative_to(SRC if self.path.is_relative_to(SRC) else ROOT))

    @property
    def module(self) -> str:
        parts = ["textfer", *self.path.relative_to(SRC).with_suffix("").parts]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def at(self, node: ast.AST, what: str) -> str:
        return f"{self.name}:{getattr(node, 'lineno', 1)}: {what}"


@cache
def sources(folder: Path = SRC) -> tuple[Source, ...]:
    paths = sorted(folder.rglob("*.py"))
    return tuple(Source(path, text := path.read_text(encoding="utf-8"), ast.parse(text)) for path in paths)


@cache
def modules() -> frozenset[str]:
    return frozenset(source.module for source in sources())


def none(found: Sequence[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def functions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, Function]]:
    """("Class.method", node) of all functions, nested ones too."""
    for node in ast.iter_child_nodes(tree):
        named = isinstance(node, Function | ast.ClassDef)
        name = f"{inside}{node.name}" if named else ""  # type: ignore[attr-defined]
        if isinstance(node, Function):
            yield name, node
        yield from functions(node, f"{name}." if named else inside)


def public_parts(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef | Function, ast.ClassDef | None]]:
    """(name, node, its class) of all public functions, classes and methods."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node, None
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, Function) and (not method.name.startswith("_") or method.name in CALLS):
                        yield f"{node.name}.{method.name}", method, node


def run_python(code: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands() -> dict[tuple[str, ...], click.Command]:
    """Every command of the command line by its words: ("tokenizer", "train")."""
    from textfer.cli import cli

    found: dict[tuple[str, ...], click.Command] = {}

    def walk(group: click.Group, words: tuple[str, ...]) -> None:
        for name, one in group.commands.items():
            found[(*words, name)] = one
            if isinstance(one, click.Group):
                walk(one, (*words, name))

    walk(cli, ())
    return found
