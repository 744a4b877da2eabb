"""What the docs say is so: their Python compiles or runs, their commands are commands, their links lead somewhere.

A block opened with ```python run is executed, all such blocks of a page one after the other in an empty folder; other
```python blocks are compiled. A block opened with ```LANGUAGE file NAME is first written to that folder, and ```sh run
blocks are executed in it at the end. `textfer …` lines of shell blocks are parsed as the command line parses them; in
running text and in other blocks, where arguments may be left out, command and option names must exist.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from house import ROOT, commands

from textfer.config import PRESETS_DIR

SHELLS = {"bash", "sh", "shell", "console"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
END = {"|", "||", "&&", ";", ">", ">>", "<", "&", "2>"}


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    line: int
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, with the line that their text begins at."""
    found: list[Block] = []
    opened: tuple[int, str, str] | None = None
    kept: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        fence = re.match(r"\s*(```+|~~~+)\s*(.*)$", line)
        if opened is None and fence:
            opened, kept = (number + 1, fence[1], fence[2].strip()), []
        elif opened is not None and fence and fence[1].startswith(opened[1]) and not fence[2]:
            found.append(Block(opened[0], opened[2], "\n".join(kept) + "\n"))
            opened = None
        elif opened is not None:
            kept.append(line)
    assert opened is None, f"line {opened[0]}: a fence is never closed"
    return found


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^\s*```.*?^\s*```\s*$", "", text, flags=re.M | re.S)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


# ---- Python


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_compiles(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language.split()[:1] == ["python"]:
            compile("\n" * (block.line - 1) + block.text, page.name, "exec")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_what_is_to_be_run_runs(page: Path, tmp_path: Path) -> None:
    found = blocks(page.read_text(encoding="utf-8"))
    for block in found:
        if block.language.split()[1:2] == ["file"]:
            (tmp_path / block.language.split()[2]).write_text(block.text, encoding="utf-8")
    python, shell = (
        "\n".join(one.text for one in found if one.language.split() == [language, "run"])
        for language in ("python", "sh")
    )
    scripts = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": scripts, "OMP_NUM_THREADS": "1"}
    for command, text in (([sys.executable, "-c"], python), (["bash", "-euc"], shell)):
        if text:
            done = subprocess.run(
                [*command, text], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
            )
            assert done.returncode == 0, done.stderr


# ---- commands


def complaint(words: list[str], *, strict: bool) -> str:
    """What is wrong with the words after `textfer`; empty when nothing is."""
    known = commands()
    path: tuple[str, ...] = ()
    rest = [word for word in words if word != "--debug"]
    while rest[:1] == ["--import"]:
        rest = rest[2:]
    while rest and (*path, rest[0]) in known:
        path, rest = (*path, rest[0]), rest[1:]
    if not path:
        wanted = (
            not rest or rest[0] in {"--help", "-h", "--version"} or (not strict and not re.match(r"[a-z]", rest[0]))
        )
        return "" if wanted else f"no command '{rest[0]}'"
    command = known[path]
    if isinstance(command, click.Group):
        return (
            ""
            if not rest or rest[0] in {"--help", "-h"} or not strict
            else f"no command '{' '.join([*path, rest[0]])}'"
        )
    context = click.Context(command, info_name=" ".join(path), help_option_names=["-h", "--help"])
    try:
        values, extra, _ = command.make_parser(context).parse_args(args=list(rest))
    except click.UsageError as error:
        return "" if not strict and "requires an argument" in error.message else error.message
    if not strict or values.get("help"):
        return ""
    if extra:
        return f"too many arguments: {' '.join(extra)}"
    missing = [one.name for one in command.params if one.required and not given(values.get(str(one.name)))]
    return f"missing: {', '.join(map(str, missing))}" if missing else ""


def given(value: object) -> bool:
    """Whether the parser found a value: it leaves None, () or a mark of its own."""
    return isinstance(value, str | bool | int) or (isinstance(value, list | tuple) and len(value) > 0)


def shell_commands(block: Block) -> Iterator[tuple[int, list[str]]]:
    """(line, words after `textfer`) of every call in a shell block, over continued lines and pipes."""
    whole, first = "", 0
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        first = first if whole else number
        if line.endswith("\\"):
            whole += line[:-1] + " "
            continue
        whole += line
        words = shlex.split(whole.strip().removeprefix("$ "), comments=True)
        whole = ""
        starts = [at for at, word in enumerate(words) if word == "textfer" and starts_command(words[:at])]
        for at in starts:
            stop = next((n for n in range(at, len(words)) if words[n] in END), len(words))
            yield first, words[at + 1 : stop]


def starts_command(before: list[str]) -> bool:
    """Whether a word after these is a command: at the start, after `|` or `&&`, after `NAME=value`, `time`, `nice`."""
    return not before or before[-1] in END or "=" in before[-1] or before[-1] in {"time", "nice", "exec", "-m"}


def named_commands(text: str) -> Iterator[list[str]]:
    """Words after `textfer` of every piece of inline code, synopsis marks taken off."""
    for code in re.findall(r"`(textfer [^`\n]+)`", prose(text)):
        words = re.sub(r"[\[\]…|()]|\.\.\.", " ", code).replace("·", " ").split()
        yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_in_pages_parse(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = []
    for block in blocks(text):
        language = (block.language.split() or [""])[0]
        if language in SHELLS:
            calls = [(line, words, True) for line, words in shell_commands(block)]
        elif language in {"", "text"}:
            lines = enumerate(block.text.splitlines(), start=block.line)
            marks = re.compile(r"[\[\]…|()\"']|\.\.\.")
            calls = [
                (number, marks.sub(" ", line).split()[1:], False)
                for number, line in lines
                if line.startswith("textfer ")
            ]
        else:
            continue
        for number, words, strict in calls:
            if said := complaint(words, strict=strict):
                found.append(f"{page_id(page)}:{number}: textfer {' '.join(words)}: {said}")
    told = ((words, complaint(words, strict=False)) for words in named_commands(text))
    found += [f"{page_id(page)}: `textfer {' '.join(words)}`: {said}" for words, said in told if said]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("path", sorted(PRESETS_DIR.glob("*.toml")), ids=lambda path: path.stem)
def test_commands_in_presets_parse(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# textfer "):
            words = shlex.split(line.removeprefix("# textfer "))
            assert complaint(words, strict=True) == ""


def test_the_parsing_rule_itself() -> None:
    assert complaint(["train", "t5-mini", "training.num_steps=3", "--run", "runs/x"], strict=True) == ""
    assert complaint(["train"], strict=True) == "missing: recipe"
    assert complaint(["train"], strict=False) == ""
    assert "No such option" in complaint(["train", "t5-mini", "--runs", "x"], strict=True)
    assert "No such option" in complaint(["train", "--runs", "x"], strict=False)
    assert complaint(["fine-tune", "x"], strict=True) == "no command 'fine-tune'"
    assert complaint(["--version"], strict=True) == ""
    assert complaint(["--import", "mine", "show", "tasks"], strict=True) == ""
    assert complaint(["tokenizer", "lern"], strict=True) == "no command 'tokenizer lern'"
    assert complaint(["doctor", "data", "more"], strict=True) == "too many arguments: more"
    assert complaint(["eval", "--task", "x"], strict=True) == "missing: models"
    assert complaint(["eval", "--task"], strict=False) == ""
    text = (
        "$ echo hi | textfer generate \\\n  --model M  # so\nTEXTFER_DATA=d textfer doctor && textfer show tasks > f\n"
    )
    assert list(shell_commands(Block(5, "sh", text))) == [
        (5, ["generate", "--model", "M"]),
        (7, ["doctor"]),
        (7, ["show", "tasks"]),
    ]
    page = "a\n```sh\nx\n```\n`textfer train RECIPE [k.k=v …]`\n"
    assert blocks(page) == [Block(3, "sh", "x\n")]
    assert list(named_commands(page)) == [["train", "RECIPE", "k.k=v"]]


# ---- links


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    found = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text(encoding="utf-8"))):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        goal = (page.parent / path).resolve() if path else page
        if not goal.exists():
            found.append(f"{page_id(page)}: {target}: no such file")
        elif anchor and goal.suffix == ".md":
            titles = re.findall(r"^#+\s+(.*)$", goal.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            if anchor not in anchors:
                found.append(f"{page_id(page)}: {target}: no such heading")
    assert not found, "\n" + "\n".join(found)


# ---- pages that programs make


def test_the_page_of_tasks_lists_every_task() -> None:
    from textfer.data.task import TASKS

    listed = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8"), re.M))
    assert set(TASKS.names()) - listed == set(), "make the page anew: benchmarks/tasks_page.py"
