"""A run's page: whole, self-contained, escaped, and its curves hold the numbers of the log."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textfer.training.checkpoint import Run
from textfer.training.curves import (
    MAX_POINTS,
    Curve,
    chart,
    linear_ticks,
    log_ticks,
    moving_mean,
    short,
    smoothing_width,
    thin,
)
from textfer.training.report import amount, duration, number, read_log, wall_time, write_report

VOID = {"meta", "line", "polyline", "br"}
EVIL = "<script>alert('&\"')</script>"


class Page(HTMLParser):
    """A page's elements, its text, and its charts by title."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.charts: dict[str, dict[str, Any]] = {}
        self._plot: dict[str, str | None] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), "an attribute is given twice"
        named = dict(attrs)
        self.elements.append((tag, named))
        if tag not in VOID:
            self.open.append(tag)
        if "data-x" in named:
            self._plot = named
        if tag == "svg":
            assert named["aria-label"] not in self.charts
            self.charts[str(named["aria-label"])] = {"lines": {}, "dots": [], **self._plot}
        if tag == "polyline":
            last = list(self.charts.values())[-1]
            last["lines"][named["class"]] = named["points"]
        if "dot" in str(named.get("class")).split():
            list(self.charts.values())[-1]["dots"].append(named)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def points(self, title: str, kind: str = "line") -> list[tuple[float, float]]:
        """A drawn line's points, in steps and values again."""
        plot = self.charts[title]
        (x0, x1), (y0, y1) = (tuple(map(float, plot[name].split(","))) for name in ("data-x", "data-y"))
        found = []
        for point in plot["lines"][kind].split():
            across, down = map(float, point.split(","))
            assert 0 <= across <= 1000
            assert 0 <= down <= 1000
            share = 1 - down / 1000
            value = y0 * (y1 / y0) ** share if plot["data-log"] == "1" else y0 + (y1 - y0) * share
            found.append((x0 + (x1 - x0) * across / 1000, value))
        return found


def line(step: int, **more: object) -> dict[str, object]:
    seconds = 0.5
    record = {"step": step, "tokens": 1000, "seconds": seconds, "loss": 3.0 + 1 / step, "lr": 1e-3, "grad_norm": 0.5}
    return {**record, "window_targets": 2000.0, "window_tokens": 10_000.0, "time": 1e9 + seconds * step, **more}


def make_run(folder: Path, records: Iterable[Mapping[str, object]], **files: object) -> Run:
    run = Run(folder)
    run.create()
    run.metrics_path.write_text("".join(json.dumps(record) + "\n" for record in records))
    for name, value in files.items():
        run.write_json(f"{name}.json", value)
    return run


def page_of(run: Run) -> Page:
    path = write_report(run)
    assert path == run.path / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def whole(page: Page) -> str:
    return re.sub(r"\s+", " ", " ".join(page.text))


RECIPE = {
    "summary": f"Reads {EVIL}",
    "init": None,
    "data": {"tasks": ["squad_v1", "squad_v2"], "max_examples": math.inf, "pack": True},
    "training": {"num_steps": 60, "optimizer": {"name": "adafactor", "lr": 0.01}},
    "eval": {},
}
MACHINE = {"versions": {"torch": "2.13.0", "textfer": "0.1.0"}, "device": "cpu", "command": ["train", EVIL]}
EVALS = [(20, 40.0, 30.0), (40, 61.5, 51.0), (60, 61.5, 52.0)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    records = [line(step) for step in range(10, 61, 10)]
    for step, f1, em in EVALS:
        place = next(place for place, record in enumerate(records) if record["step"] == step)
        records.insert(place + 1, {"step": step, "eval": {"f1": f1, "em": em}, "time": 1e9 + step / 2 + 1})
    return make_run(tmp_path / "a<b>&c", records, recipe=RECIPE, run=MACHINE)


def test_page_needs_nothing_beside_it(run: Run) -> None:
    text = write_report(run).read_text(encoding="utf-8")
    assert not re.search(r"https?://|//\w+\.|@import|url\(", text)
    for tag, attributes in Page(text).elements:
        assert tag not in {"img", "link", "iframe", "object", "embed", "a", "base", "form"}
        assert not {"src", "href", "xlink:href", "srcset", "data", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)


def test_text_of_others_is_escaped(run: Run) -> None:
    sample = {"step": 60, "inputs": f"question {EVIL}", "targets": EVIL, "answer": f"{EVIL}\u2028\n</dd>"}
    (run.path / "samples.jsonl").write_text(json.dumps(sample) + "\n")
    run.log({"step": 60, "eval": {EVIL: 1.0}, "time": 1e9 + 40})
    run.write_json("run.json", {EVIL: {EVIL: EVIL}})
    page = page_of(run)
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert whole(page).count(re.sub(r"\s+", " ", EVIL)) >= 8
    assert page.text.count("a<b>&c") == 2  # title and heading
    assert EVIL in page.charts


def test_curves_hold_the_points_of_the_log(run: Run) -> None:
    page = page_of(run)
    steps = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    expected = {
        "Loss": [(step, 3.0 + 1 / step) for step in steps],
        "Learning rate": [(step, 1e-3) for step in steps],
        "Gradient norm": [(step, 0.5) for step in steps],
        "Tokens per second": [(step, 2000.0) for step in steps],
        "f1": [(step, f1) for step, f1, _ in EVALS],
        "em": [(step, em) for step, _, em in EVALS],
    }
    assert set(page.charts) == set(expected)
    for title, points in expected.items():
        low, high = map(float, page.charts[title]["data-y"].split(","))
        drawn = page.points(title)
        np.testing.assert_allclose([x for x, _ in drawn], [x for x, _ in points], atol=60 / 1000)
        np.testing.assert_allclose([y for _, y in drawn], [y for _, y in points], atol=(high - low) / 1000)
        assert set(page.charts[title]["lines"]) == {"line"}


def test_best_is_marked_where_the_trainer_sees_it(run: Run) -> None:
    page = page_of(run)  # 61.5 at 40 comes first: the trainer wants more than that, not as much
    for title, value in (("f1", "61.5"), ("em", "51")):
        assert [dot["title"] for dot in page.charts[title]["dots"] if "title" in dot] == [
            f"best checkpoint: {value} at step 40"
        ]
        assert len(page.charts[title]["dots"]) == 3
    rows = [attributes for tag, attributes in page.elements if tag == "tr" and attributes.get("class") == "best"]
    assert len(rows) == 1
    assert "Best f1 61.50 at step 40 Last f1 61.50 at step 60" in whole(page)


def test_outcome_recipe_and_machine(run: Run) -> None:
    text = whole(page_of(run))
    assert "Finished at step 60 of 60." in text
    assert "Tokens seen 60 k" in text
    assert "Speed 2 k/s" in text
    assert "Time 31 s 3 s of it evaluating" in text
    assert "tasks squad_v1, squad_v2 max_examples inf pack yes" in text
    assert "optimizer.name adafactor optimizer.lr 0.01" in text
    assert "versions torch 2.13.0 textfer 0.1.0" in text
    assert "init none" in text


def test_unfinished_run_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", [line(10)], recipe=RECIPE)
    assert "Stopped, or still running at step 10 of 60." in whole(page_of(run))


def test_one_point(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "r", [line(1)]))
    assert set(page.charts) == {"Loss", "Learning rate", "Gradient norm", "Tokens per second"}
    for title in page.charts:
        assert len(page.points(title)) == 1
        assert len(page.charts[title]["dots"]) == 1  # a line of one point is not to be seen


def test_one_evaluation_and_nothing_else(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "r", [{"step": 0, "eval": {"f1": 0.0}, "time": 1e9}]))
    assert page.points("f1") == [(0.0, pytest.approx(0.0, abs=0.01))]
    assert "Best f1 0 at step 0" in whole(page)


def test_no_finite_loss(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "r", [line(10, loss=math.nan)]))
    assert "Loss" not in page.charts
    assert "Training loss nan" in whole(page)


@pytest.mark.parametrize("exists", [True, False])
def test_empty_run(tmp_path: Path, exists: bool) -> None:
    run = make_run(tmp_path / "r", [])
    if not exists:
        run.metrics_path.unlink()
    page = page_of(run)
    assert page.charts == {}
    assert "No line was logged yet." in whole(page)


def test_numbers_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [
        line(10, loss=4.0),
        line(20, grad_norm=math.inf, loss=math.nan),
        line(30, seconds=0.0),
    ]
    records += [{"step": 30, "eval": {"f1": math.nan}, "time": 1e9}, {"step": 40, "eval": {"f1": 1.0}, "time": 1e9}]
    page = page_of(make_run(tmp_path / "r", records))
    assert [round(x) for x, _ in page.points("Loss")] == [10, 30]
    assert [round(x) for x, _ in page.points("Gradient norm")] == [10, 30]
    assert [round(x) for x, _ in page.points("Tokens per second")] == [10, 20]
    assert [round(x) for x, _ in page.points("f1")] == [40]
    assert "Best f1 1 at step 40" in whole(page)
    assert "lowest 3.033, first 4" in whole(page)
    assert "nan" not in "".join(str(chart) for chart in page.charts.values())


def test_long_run_is_thinned_and_keeps_its_spikes(tmp_path: Path) -> None:
    count = 30_000
    records = (line(step, loss=50.0 if step == 12_345 else 3.0 + 6 / step) for step in range(1, count + 1))
    run = make_run(tmp_path / "r", records)
    page = page_of(run)
    raw = page.points("Loss", "raw")
    assert len(raw) <= MAX_POINTS
    assert (round(raw[0][0]), round(raw[-1][0])) == pytest.approx((1, count), abs=count / 1000)
    assert max(y for _, y in raw) == pytest.approx(50.0, rel=0.01)
    assert min(y for _, y in raw) == pytest.approx(3.0, rel=0.01)
    assert len(page.points("Loss")) <= MAX_POINTS
    assert (run.path / "report.html").stat().st_size < 150_000


def test_a_cut_off_last_line_is_left_out(run: Run) -> None:
    with run.metrics_path.open("a") as file:
        file.write('{"step": 70, "lo')
    assert [round(x) for x, _ in page_of(run).points("Loss")] == [10, 20, 30, 40, 50, 60]


def test_page_is_replaced_whole(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write_report(run).read_text(encoding="utf-8")

    def refuse(*paths: object) -> None:
        raise RuntimeError

    run.log(line(70))
    monkeypatch.setattr("textfer.training.report.os.replace", refuse)
    with pytest.raises(RuntimeError):
        write_report(run)
    assert (run.path / "report.html").read_text(encoding="utf-8") == first


def test_samples_show_the_last_answer_and_what_came_before(run: Run) -> None:
    answers = [(20, "the quay"), (30, "the quay"), (40, "Ada"), (50, "Ada Holm"), (60, "Ada Holm")]
    lines = [{"step": s, "inputs": "Who wired it?", "targets": "ada holm", "answer": answer} for s, answer in answers]
    (run.path / "samples.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    page = page_of(run)
    assert "step 60 input Who wired it? gold ada holm answer Ada Holm before step 20: the quay step 40: Ada " in whole(
        page
    )
    assert sum(attributes.get("class") == "answer same" for _, attributes in page.elements) == 1


def test_newest_predictions_stand_in_for_samples(run: Run) -> None:
    for step in (20, 60):
        run.write_json(f"predictions-my-task-{step:08d}.json", {f"id{n}": f"answer {n} of {step}" for n in range(40)})
    text = whole(page_of(run))
    assert "my-task, step 60: 12 of 40 answers id0 answer 0 of 60" in text
    assert "of 20" not in text


def test_pauses_are_not_time_at_work() -> None:
    records: list[dict[str, object]] = [line(step) for step in range(1, 11)]
    records += [line(step, time=1e9 + 10_000 + step / 2) for step in range(11, 21)]
    records.insert(10, {"step": 10, "resumed": True, "time": 1e9 + 10_005})
    told = read_log(records)
    assert list(told.pauses) == [10_000.0]
    assert wall_time(told) == (pytest.approx(10.0), 1, 10_000.0)
    guessed = read_log([one for one in records if "resumed" not in one])
    assert list(guessed.pauses) == []
    assert wall_time(guessed) == (pytest.approx(9.5), 1, 10_000.5)


def test_thin_keeps_ends_and_extremes() -> None:
    values = np.sin(np.arange(10_000) / 40)
    values[[77, 5000]] = 9, -9
    kept = thin(values, 100)
    assert len(kept) <= 100
    assert {0, 77, 5000, 9999} <= set(kept.tolist())
    assert thin(values[:100], 100).tolist() == list(range(100))


def test_moving_mean() -> None:
    assert moving_mean(np.array([1.0, 2.0, 3.0, 10.0]), 3).tolist() == [1.5, 2.0, 5.0, 6.5]
    assert smoothing_width(20) == 3
    assert smoothing_width(2000) == 67


def test_ticks() -> None:
    assert linear_ticks(0, 20_000) == [0, 5000, 10_000, 15_000, 20_000]
    assert linear_ticks(0.13, 0.87) == [0.2, 0.4, 0.6, 0.8]
    assert linear_ticks(-3, 3) == [-2, 0, 2]
    assert log_ticks(1.6, 12) == [2, 5, 10]
    assert log_ticks(1e-5, 3) == [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]
    for low, high in ((1.0, 4.2), (0.3, 1.3), (1e-9, 1e9), (3.1, 3.2)):
        ticks = log_ticks(low, high)
        assert 2 <= len(ticks) <= 7
        assert all(low <= tick <= high for tick in ticks)


def test_words_for_numbers() -> None:
    assert [short(value) for value in (0.0, 0.25, 3e-4, 2.5e-5, 1500, 20_000, 1e6, 2.5e9)] == [
        *("0", "0.25", "3e-4", "2.5e-5", "1.5k", "20k", "1M", "2.5G")
    ]
    assert [number(value) for value in (84.4821, 0.84482, 3.0, -12.3456)] == ["84.48", "0.8448", "3", "-12.35"]
    assert [amount(value) for value in (12, 9999, 1_050_000, 3e9)] == ["12", "10 k", "1.05 M", "3 G"]
    assert [duration(value) for value in (0.2, 12, 200, 3900, 97_200)] == [
        *("0.2 s", "12 s", "3 min 20 s", "1 h 5 min", "1 d 3 h")
    ]


def test_log_scale_only_where_values_allow_it() -> None:
    steps = np.arange(1.0, 4.0)
    falling, negative = np.array([10.0, 3.0, 1.0]), np.array([10.0, 0.0, -1.0])
    for values, log in ((falling, "1"), (negative, "0"), (falling / 10 + 3, "0")):
        drawn = chart(Curve(title="t", points=(steps, values), log=True), last_step=3)
        assert f'data-log="{log}"' in drawn
