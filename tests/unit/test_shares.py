"""What a mixture comes to at a budget, and where each number is from."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from textfer.data.mixing import Mixing
from textfer.data.shares import shares, where_found
from textfer.data.shares_plot import Panel, draw
from textfer.data.source import Made, Source
from textfer.data.task import MIXTURES, TASKS, Mixture
from textfer.data.tasks.files import file_task
from textfer.data.tokens import prepare
from textfer.errors import ConfigError, DataError, MachineError
from textfer.tokenizers import Bytes

MISSING = Source(name="nobody/nothing")


@pytest.fixture
def mixture(tmp_path: Path) -> Iterator[str]:
    """Three tasks: 40 rows on disk, 120 rows that were only published, and one nobody knows anything of."""
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"inputs": "ab" * 10, "targets": "cd"}) + "\n" for _ in range(40)))
    here = replace(file_task(str(path), hold_out=0.0), name="here")
    here = replace(here, source=replace(here.source, hold_out=0.0))
    tasks = [here, replace(here, name="far", source=MISSING, sizes={"train": 120}), replace(here, name="dark")]
    tasks[2] = replace(tasks[2], source=MISSING, sizes={"validation": 7})
    with ExitStack() as stack:
        for task in tasks:
            stack.enter_context(TASKS.temporary(task.name, task))
        parts = dict.fromkeys(task.name for task in tasks)
        stack.enter_context(MIXTURES.temporary("three", Mixture(name="three", parts=parts)))
        yield "three"


def test_rows_here_and_published_rows(mixture: str) -> None:
    far, here, dark = shares(mixture, Mixing(budget=1600))
    assert (far.task, far.examples, far.counted, far.tokens) == ("far", 120, "published", None)
    assert (far.rate, far.epochs) == pytest.approx((0.75, 10.0))
    assert (here.task, here.examples, here.counted) == ("here", 40, "rows")
    assert (here.rate, here.epochs) == pytest.approx((0.25, 10.0))
    assert (dark.task, dark.examples, dark.counted, dark.rate, dark.epochs) == ("dark", 0, "unknown", 0.0, None)


def test_tokens_are_estimated_until_a_table_tells(mixture: str) -> None:
    def of(one: Mixing, tokenizer: Bytes | None) -> tuple[float | None, str, str]:
        row = next(row for row in shares(mixture, one, tokenizer=tokenizer) if row.task == "here")
        return row.tokens, row.measured, row.counted

    budget, vocabulary = Mixing(budget=1600), Bytes()
    by_characters = 400 * ((20 + 2) / 4.2 + 2)
    assert of(budget, None) == (pytest.approx(by_characters), "characters", "rows")
    assert of(budget, vocabulary) == (pytest.approx(400 * 24), "estimated", "rows")
    prepare(TASKS.get("here"), "train", vocabulary)
    assert of(budget, vocabulary) == (pytest.approx(400 * 24), "cached", "examples")
    assert of(Mixing(), vocabulary) == (None, "", "examples")


def test_strategies_in_place_of_the_mixtures_own(mixture: str) -> None:
    assert [row.rate for row in shares(mixture, Mixing(max_examples=80))] == pytest.approx([2 / 3, 1 / 3, 0])
    assert [row.rate for row in shares(mixture, Mixing(temperature=math.inf))] == pytest.approx([0.5, 0.5, 0])


def test_a_mixture_of_which_nothing_is_known_is_refused(mixture: str) -> None:
    dark = MIXTURES.temporary("darkness", Mixture(name="darkness", parts={"dark": None}))
    with dark, pytest.raises(DataError, match=r"^mixture 'darkness': no task has rows here or a published size\. "):
        shares("darkness", Mixing())


def test_where_rows_would_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = TASKS.get("reading")
    monkeypatch.delenv("TEXTFER_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert isinstance(reading.source.made, Made)
    assert where_found(reading) == "made"
    assert where_found(replace(reading, source=Source(name="x", files={"train": ("x.csv",)}))) == "files"
    hub = replace(reading, source=Source(name="space/set", config="small", folder="text/set"))
    assert where_found(hub, tmp_path) == ""
    (tmp_path / "hub" / "datasets--space--set").mkdir(parents=True)
    assert where_found(hub, tmp_path) == "hub cache"
    (tmp_path / "space/set/small").mkdir(parents=True)
    assert where_found(hub, tmp_path) == "data folder"
    (tmp_path / "text/set").mkdir(parents=True)
    monkeypatch.setenv("TEXTFER_DATA", str(tmp_path))
    assert where_found(hub) == "data folder"


# ---- the picture


def test_a_picture_of_a_hundred_tasks_names_them_all(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    examples = {f"task_{n}": 10 + n**3 for n in range(100)}
    panels = [Panel(title=f"strategy {n}", rates=dict.fromkeys(examples, 0.01)) for n in range(3)]
    draw(tmp_path / "rates.svg", "a mixture", examples, panels)
    text = (tmp_path / "rates.svg").read_text()
    assert all(f"<!-- task_{n}  {10 + n**3:,} -->" in text for n in range(100))
    assert all(f"<!-- strategy {n} -->" in text for n in range(3))
    draw(tmp_path / "rates.png", "a mixture", {"task_1": 11}, panels[:1])
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = Panel(title="equal", rates={"a": 1.0})
    with pytest.raises(ConfigError, match=r"^--plot: .*rates\.xls is an unknown kind of picture\. Known: \.png, "):
        draw(tmp_path / "rates.xls", "", {"a": 1}, [panel])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MachineError, match=r"^--plot: matplotlib is not installed\. pip install 'textfer\[plot\]'$"):
        draw(tmp_path / "rates.png", "", {"a": 1}, [panel])
