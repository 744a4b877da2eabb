"""Runs as the server tells of them; names; which keys open it; where texts are cut."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from serving import puppets
from textfer.errors import ConfigError
from textfer.serve.completions import Cut
from textfer.serve.names import name_of
from textfer.serve.problems import Problem, printable
from textfer.serve.runs import MAX_CHARS, curve_of, runs_in, thinned
from textfer.serve.service import Service
from textfer.serve.shelf import Shelf


def write_run(folder: Path, lines: list[str], *, modified: float = 0.0) -> Path:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    os.utime(folder / "metrics.jsonl", (modified, modified))
    return folder


def test_runs_are_the_folders_with_a_log(tmp_path: Path) -> None:
    write_run(tmp_path / "old", [], modified=5.0)
    write_run(tmp_path / "new", [], modified=9.0)
    write_run(tmp_path / ".hidden", [])
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert [(run.name, run.modified) for run in runs_in(tmp_path)] == [("new", 9.0), ("old", 5.0)]
    assert runs_in(None) == runs_in(tmp_path / "nowhere") == []


def test_a_curve_is_the_log_with_nothing_that_json_cannot_say(tmp_path: Path) -> None:
    lines = [
        '{"step": 1, "loss": NaN, "lr": 0.1, "grad_norm": Infinity, "tokens": 5, "seconds": 2.0, "time": 7.0, "x": 1}',
        '{"step": 1, "eval": {"f1": 2.5, "em": NaN}, "time": 8.0}',
        '{"step": 1, "resumed": true}',
        '{"step": 2, "loss": 3.5, "time": 9.0}',
    ]
    folder = write_run(tmp_path / "run", lines)
    long = {"step": 2, "inputs": "a" * 5000, "targets": "b", "answer": "c"}
    (folder / "samples.jsonl").write_text(json.dumps(long) + '\n{"step": 3, "inp', encoding="utf-8")
    (folder / "recipe.json").write_text('{"summary": "words", "training": {"num_steps": 10}}', encoding="utf-8")
    curve = curve_of(folder)
    assert curve.points == [
        {"step": 1, "loss": None, "lr": 0.1, "grad_norm": None, "tokens": 5, "seconds": 2.0},
        {"step": 2, "loss": 3.5},
        {"step": 1, "eval": {"f1": 2.5, "em": None}},
    ]
    assert (curve.step, curve.num_steps, curve.summary) == (2, 10, "words")
    assert len(curve.samples[0]["inputs"]) == MAX_CHARS + 2
    json.loads(curve.model_dump_json(), parse_constant=pytest.fail)


@pytest.mark.parametrize("line", ["no json", '{"loss": 1.0}', '{"step": "x", "loss": 1.0}', '{"step": 1, "eval": 5}'])
def test_a_damaged_log_is_said(tmp_path: Path, line: str) -> None:
    folder = write_run(tmp_path / "run", [line, '{"step": 1, "loss": 1.0}'])
    with pytest.raises(Problem, match="damaged") as raised:
        curve_of(folder)
    assert str(folder) not in raised.value.detail


def test_thinned_points_keep_both_ends() -> None:
    points = [{"step": step} for step in range(1000)]
    kept = [one["step"] for one in thinned(points, 11)]
    assert (kept[0], kept[-1], len(kept)) == (0, 999, 11)
    assert max(after - before for before, after in pairwise(kept)) <= 101
    assert thinned(points[:11], 11) == points[:11]


@pytest.mark.parametrize(
    ("place", "name"), [("runs/mine", "mine"), ("runs/mine/", "mine"), ("google/flan-t5", "flan-t5")]
)
def test_a_model_is_called_by_its_last_part(place: str, name: str) -> None:
    assert name_of(place) == name


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "..", ".hidden", "-x", "a b", "ä", "a\n", "a" * 101])
def test_names_that_are_none(name: str) -> None:
    served = next(iter(puppets()))
    with pytest.raises(ConfigError, match="cannot be a name"):
        Shelf([type(served)(name=name, engine=served.engine, reader=served.reader, created=0)])


def test_a_shelf_has_models_of_different_names() -> None:
    with pytest.raises(ConfigError, match="no model"):
        Shelf([])
    with pytest.raises(ConfigError, match="two models are called 'a'"):
        puppets("a", "b", "a")


def test_keys_open_only_as_a_whole() -> None:
    service = Service(puppets(), keys=["one-long-key-of-all", "another-long-key"])
    for key in (
        None,
        "",
        "one-long-key-of-al",
        "one-long-key-of-all ",
        "one-long-key-of-allanother-long-key",
        "\udcff",
    ):
        assert not service.admits(key), key
    assert service.admits("another-long-key")
    assert Service(puppets()).admits(None)


@pytest.mark.parametrize("width", [1, 2, 3, 100])
def test_a_text_is_cut_the_same_however_it_comes(width: int) -> None:
    for text, stops, wanted in (
        ("abcabcabd", ["abd"], "abcabc"),
        ("aaab", ["aab"], "a"),
        ("abc", ["x", "bc", "c"], "a"),
        ("abc", ["cd"], "abc"),
        ("abc", [], "abc"),
        ("abc", ["a"], ""),
    ):
        cut, shown = Cut(stops), ""
        for at in range(0, len(text), width):
            shown += cut.push(text[at : at + width])
            if cut.ended:
                break
        assert shown + cut.rest() == wanted
        assert cut.ended == (wanted != text)


def test_messages_can_be_sent_and_shown() -> None:
    assert printable("a\nb\ud800") == "a b?"
    assert len(printable("a" * 5000)) < 1100
