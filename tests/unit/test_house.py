"""The house's rules, held by machine: who may import whom, what is public, what a file may hold."""

from __future__ import annotations

import ast
import inspect
import io
import re
import tokenize
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any

import pytest
from house import (
    ROOT,
    SRC,
    TESTS,
    Function,
    Source,
    commands,
    functions,
    modules,
    none,
    public_parts,
    run_python,
    sources,
)

import textfer

RANKS: dict[str, float] = {
    **dict.fromkeys(("batch", "config", "errors", "draws", "heads", "calibration"), 0),
    **dict.fromkeys(("tokenizers", "metrics", "objectives"), 1),
    **dict.fromkeys(("data", "models"), 2),
    "choices": 2.5,  # what answers are chosen from
    **dict.fromkeys(("adapt", "embed", "generate", "read", "documents", "merging"), 3),
    **dict.fromkeys(
        ("training", "evaluate", "suites", "answer", "writing", "open_book", "reader", "answered", "tuning", "corpus"),
        4,
    ),
    **dict.fromkeys(
        (
            "recipe",
            "run",
            "parts",
            "analyse",
            "testing",
            "trace",
            "doctor",
            "engine",
            "quickstart",
            "shipping",
            "listing",
            "portable",
            "taught",
            "verify",
        ),
        5,
    ),
    **dict.fromkeys(("scoreboard", "submit", "export"), 5.2),  # they load models by name
    "compare": 5.3,  # it trains and measures
    "__init__": 5.5,  # `import textfer` offers what lies below it; only the front ends may ask the package itself
    **dict.fromkeys(("serve", "cli", "display", "__main__"), 6),
}
"""By file or folder of src/textfer. An import goes to a lower rank, or to the same rank within one folder."""
SIDEWAYS = {("cli", "serve"), ("cli", "display"), ("__main__", "cli")}
"""Imports between folders of one rank: a command starts what it is the command of."""

PUBLIC = ["Answer", "Decoding", "TextReader", "TextToText", "load"]
"""`textfer.__all__`. A name is added here when users may rely on it, and never taken away without a major version."""

MAX_FILE_LINES = 450
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
EXCEPTIONS: dict[str, str] = {}
"""`file:function` → why it may be longer or take more than the others. Empty is best."""
NO_NAMES = {"utils", "util", "common", "core", "helpers", "misc"}
MAY_PRINT = {"display.py"}

# ---- who may import whom


def unit_of(module: str) -> str:
    """The file or folder of src/textfer that a module belongs to."""
    _, _, rest = module.partition(".")
    unit = rest.split(".")[0] or "__init__"
    return "tokenizers" if unit.startswith("tokenizer_") else unit


def resolve(name: str) -> str | None:
    """The module of ours that a dotted name reaches into."""
    while name.startswith("textfer"):
        if name in modules():
            return name
        name = name.rpartition(".")[0]
    return None


def imports(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Every module of ours that is imported, or named in a string for a later import."""
    for node in ast.walk(tree):
        found: list[str | None] = []
        if isinstance(node, ast.Import):
            found = [resolve(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole module"
            found = [resolve(f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = re.fullmatch(r"(textfer(?:\.\w+)+)(?::\w+)?", node.value)
            found = [named[1]] if named and named[1] in modules() else []
        yield from ((node, name) for name in found if name)


def allowed(importer: str, imported: str) -> bool:
    """Whether one module may import another."""
    ours, theirs = unit_of(importer), unit_of(imported)
    if ours == theirs or (ours, theirs) in SIDEWAYS:
        return True
    in_root = not any((SRC / unit).is_dir() for unit in (ours, theirs))
    return RANKS[theirs] < RANKS[ours] or (RANKS[theirs] == RANKS[ours] and in_root)


def test_every_file_has_a_rank() -> None:
    none([source.name for source in sources() if unit_of(source.module) not in RANKS])


def test_imports_go_down() -> None:
    found = []
    for source in sources():
        for node, imported in imports(source.tree):
            if not (
                unit_of(source.module) in RANKS and unit_of(imported) in RANKS and allowed(source.module, imported)
            ):
                found.append(source.at(node, f"{source.module} imports {imported}"))
    none(found)


@pytest.mark.parametrize(
    ("importer", "imported", "fine"),
    [
        ("textfer.data.stream", "textfer.data.tokens", True),
        ("textfer.data.stream", "textfer.tokenizers.base", True),
        ("textfer.data.stream", "textfer.objectives", True),
        ("textfer.objectives", "textfer.data.layout", False),
        ("textfer.tokenizers.base", "textfer.data.source", False),
        ("textfer.config", "textfer.errors", True),
        ("textfer.run", "textfer.recipe", True),
        ("textfer.display", "textfer.run", True),
        ("textfer.run", "textfer.display", False),
        ("textfer.run", "textfer", False),
        ("textfer.cli", "textfer", True),
        ("textfer", "textfer.cli", False),
    ],
)
def test_the_rank_rule_itself(importer: str, imported: str, fine: bool) -> None:
    assert allowed(importer, imported) is fine


def test_no_import_cycle() -> None:
    graph: dict[str, set[str]] = {}
    for source in sources():
        body = [node for node in source.tree.body if not isinstance(node, ast.If)]  # TYPE_CHECKING does not run
        at_import = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        found = {name for node in at_import for _, name in imports(node)}
        graph[source.module] = found - {source.module}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


HEAVY = "sorted({'torch', 'transformers', 'pandas', 'tensorboard'} & set(sys.modules))"


def test_importing_textfer_does_not_import_torch() -> None:
    assert run_python(f"import sys, textfer; print({HEAVY})").strip() == "[]"


def test_help_does_not_import_torch() -> None:
    code = f"""
import sys, click
from textfer.cli import main
sys.argv = ["textfer", "--help"]
try:
    main()
except SystemExit as left:
    assert not left.code, left.code
print({HEAVY})
"""
    *shown, heavy = run_python(code).strip().splitlines()
    assert "Commands:" in shown
    assert heavy == "[]"


def test_help_of_every_command_does_not_import_torch() -> None:
    words = [["textfer", *path, "--help"] for path in commands()]
    code = f"""
import sys
from textfer.cli import main
for sys.argv in {words!r}:
    try:
        main()
    except SystemExit as left:
        assert not left.code, (sys.argv, left.code)
print({HEAVY})
"""
    assert run_python(code).strip().splitlines()[-1] == "[]"


# ---- what is public


def test_public_surface() -> None:
    assert sorted(textfer.__all__) == PUBLIC
    for name in PUBLIC:
        assert inspect.getdoc(getattr(textfer, name)), f"textfer.{name} has no docstring"


def test_version_is_that_of_the_package() -> None:
    assert project()["version"] == textfer.__version__
    assert project()["scripts"] == {"textfer": "textfer.cli:main"}


def project() -> dict[str, Any]:
    return dict(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def test_changelog_tells_of_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(rf"^## \[?{re.escape(textfer.__version__)}\b.*?\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert section, f"no section '## {textfer.__version__}'"
    assert section[1].strip()


def test_public_functions_swallow_nothing() -> None:
    found = []
    for source in sources():
        for name, node, _ in public_parts(source.tree):
            if isinstance(node, ast.ClassDef):
                continue
            if node.args.kwarg:
                found.append(source.at(node, f"{name}(**{node.args.kwarg.arg})"))
            if (rest := node.args.vararg) and (rest.arg in {"args", "a"} or vague(rest.annotation)):
                found.append(source.at(node, f"{name}(*{rest.arg})"))
    none(found)


def vague(annotation: ast.expr | None) -> bool:
    """Whether a type says nothing."""
    return annotation is None or ast.unparse(annotation) in {"Any", "object"}


def test_everything_public_is_documented() -> None:
    documented, missing = set(), []
    for source in sources():
        for name, node, owner in public_parts(source.tree):
            if ast.get_docstring(node):
                documented.add(node.name)
            elif owner is None or not is_stub(node):
                missing.append((source, name, node, owner))
    none(
        [
            source.at(node, name)
            for source, name, node, owner in missing
            # a method may rely on the docstring of its protocol or base; constructors on that of their class
            if owner is None or (node.name != "__init__" and node.name not in documented)
        ]
    )


def is_stub(node: ast.AST) -> bool:
    """Whether a function's body is `...`: a protocol's method, told of in the protocol's docstring."""
    body = getattr(node, "body", [])
    return len(body) == 1 and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)


# ---- what a file may hold


def test_files_are_short() -> None:
    found = []
    for source in (*sources(), *sources(TESTS)):
        count = len(source.text.splitlines())
        if count > MAX_FILE_LINES and source.name not in EXCEPTIONS:
            found.append(f"{source.name}: {count} lines, at most {MAX_FILE_LINES}")
    none(found)


def test_functions_are_short() -> None:
    found = []
    for source in sources():
        for name, node in functions(source.tree):
            count = (node.end_lineno or 0) - node.lineno + 1
            if count > MAX_FUNCTION_LINES and f"{source.name}:{name}" not in EXCEPTIONS:
                found.append(source.at(node, f"{name} has {count} lines, at most {MAX_FUNCTION_LINES}"))
    none(found)


def test_functions_take_few_parameters() -> None:
    found = []
    for source in sources():
        free = listed_elsewhere(source)
        for name, node in functions(source.tree):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(one.arg not in {"self", "cls"} for one in given)
            if count > MAX_PARAMETERS and id(node) not in free and f"{source.name}:{name}" not in EXCEPTIONS:
                found.append(source.at(node, f"{name} takes {count} parameters, at most {MAX_PARAMETERS}"))
    none(found)


def listed_elsewhere(source: Source) -> set[int]:
    """Functions whose parameters others list: options of a command, and what autograd hands to `forward`."""
    found = set()
    for node in ast.walk(source.tree):
        if isinstance(node, Function) and source.name.startswith("cli/"):
            found |= {id(node)} if any("command(" in ast.unparse(one) for one in node.decorator_list) else set()
        if isinstance(node, ast.ClassDef) and any("autograd.Function" in ast.unparse(base) for base in node.bases):
            found |= {id(one) for one in node.body if isinstance(one, Function) and one.name == "forward"}
    return found


def test_exceptions_are_needed() -> None:
    known = {f"{source.name}:{name}" for source in sources() for name, _ in functions(source.tree)}
    known |= {source.name for source in (*sources(), *sources(TESTS))}
    none([name for name in EXCEPTIONS if name not in known])


def test_names_of_files_say_something() -> None:
    none([source.name for source in sources() if NO_NAMES & set(source.module.split("."))])


def test_annotations_are_not_evaluated() -> None:
    line = "from __future__ import annotations"
    annotated = (Function, ast.AnnAssign)
    everything = (*sources(), *sources(TESTS))
    found = [one for one in everything if any(isinstance(node, annotated) for node in ast.walk(one.tree))]
    none([one.name for one in found if line not in one.text])


def test_only_the_front_prints() -> None:
    found = []
    for source in sources():
        if source.name not in MAY_PRINT:
            calls = (node for node in ast.walk(source.tree) if isinstance(node, ast.Call))
            found += [source.at(call, "print()") for call in calls if ast.unparse(call.func) == "print"]
    none(found)


UNSAFE_CALLS = {"eval", "exec", "__import__", "torch.load", "torch.save", "torch.hub.load", "os.system"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_SWITCHES = {"allow_pickle", "trust_remote_code", "shell"}


def test_nothing_that_is_read_is_executed() -> None:
    found = []
    for source in sources():
        for node in ast.walk(source.tree):
            name = ast.unparse(node.func if isinstance(node, ast.Call) else node) if called_or_named(node) else ""
            if name in UNSAFE_CALLS:
                found.append(source.at(node, name))
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
                found += [source.at(node, name) for name in names if name.split(".")[0] in UNSAFE_MODULES]
            if isinstance(node, ast.keyword) and node.arg in UNSAFE_SWITCHES and ast.unparse(node.value) != "False":
                found.append(source.at(node.value, f"{node.arg}="))
    none(found)


def called_or_named(node: ast.AST) -> bool:
    """Whether it is a call, or a dotted name that may be called later."""
    return isinstance(node, ast.Call | ast.Attribute)


def comments(source: Source) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_no_assertion_is_commented_out() -> None:
    pattern = re.compile(r"#\s*(assert\b|with pytest\.raises|np\.testing|torch\.testing)")
    everything = (*sources(), *sources(TESTS))
    none([f"{one.name}:{line}: {text}" for one in everything for line, text in comments(one) if pattern.match(text)])


def test_nothing_is_left_to_do() -> None:
    pattern = re.compile("|".join(rf"\b{word}\b" for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")))
    paths = [path for folder in ("src", "tests", "docs", "benchmarks") for path in (ROOT / folder).rglob("*")]
    found = []
    for path in [*paths, ROOT / "README.md"]:
        if path.suffix in {".py", ".toml", ".md", ".html", ".js", ".css"}:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                found += [f"{path.relative_to(ROOT)}:{number}: {line.strip()}"] if pattern.search(line) else []
    none(found)
