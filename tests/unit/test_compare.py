"""A comparison's file, its cells, and what is made of their results. Nothing is trained here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from textfer.compare.cell import RESULT
from textfer.compare.comparing import Asked, outline_all
from textfer.compare.file import comparison_names, load_comparison
from textfer.compare.plan import Cell, plan, runs_of
from textfer.compare.plot import check_picture, draw, span
from textfer.compare.results import Found, Spot, gather, records_of
from textfer.compare.table import as_json, as_markdown, as_text, table_of, told
from textfer.compare.work import check_data, finished
from textfer.config import COMPARISONS_DIR
from textfer.errors import ConfigError, DataError

FILE = """
summary = "Two ways, two tasks"
seeds = [1, 2]
[budget]
max_rows = 50
max_seconds = 5
[base.tokenizer]
path = "bytes"
[stages.pretrain]
base = "pretrain-tiny"
seed = 7
[stages.finetune]
base = "finetune-tiny"
[stages.finetune.data]
tasks = ["<column>"]
[rows.full]
label = "all of it"
[rows.lora]
finetune.method = { name = "lora", rank = 2 }
[rows.fresh]
pretrain = false
finetune = { base = "t5-tiny" }
[columns.topic]
tasks = ["reading_topic"]
[columns.both]
tasks = ["reading_claim", "reading"]
every.training.num_steps = 9
[paper]
source = "A Table"
columns = ["A", "B"]
rows = { full = [1.5, nan] }
others = { "another row" = [3.0, 4.0] }
[small]
only_rows = ["full", "lora"]
seeds = [3]
stages.finetune.training.num_steps = 4
[small.columns]
claim = { tasks = ["reading_claim"] }
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "ways.toml"
    file.write_text(FILE, encoding="utf-8")
    return str(file)


def cells_of(path: str, *words: str, small: bool = False) -> dict[str, Cell]:
    return {cell.name: cell for cell in plan(load_comparison(path, words, small=small), Path("out"))}


# ---- the cells


def test_every_row_column_and_seed_is_a_cell(path: str) -> None:
    cells = cells_of(path)
    assert len(cells) == 3 * 2 * 2
    recipe = cells["lora · both · seed 2"].stages[-1].recipe
    assert (recipe.seed, recipe.data.tasks, recipe.data.limit) == (2, ("reading_claim", "reading"), 50)
    assert recipe.method["rank"] == 2
    assert recipe.training.num_steps == 9


def test_a_stage_begins_with_the_weights_of_the_one_before(path: str) -> None:
    words = ["base.model.dropout=0.2", "base.model.num_layers=1"]
    first, last = cells_of(path, *words)["full · topic · seed 1"].stages
    assert first.recipe.model["name"] == "t5"
    assert (first.recipe.init, last.recipe.init) == (None, str(first.folder))
    assert first.recipe.model["num_layers"] == 1
    assert last.recipe.model == {"dropout": 0.2}, "its shape is that of the weights"
    assert last.recipe.tokenizer is None


def test_equal_runs_are_shared_and_others_are_not(path: str) -> None:
    cells = cells_of(path)
    one, two = cells["full · topic · seed 1"], cells["full · topic · seed 2"]
    assert one.stages[0] == two.stages[0] == cells["lora · topic · seed 1"].stages[0], "its seed is fixed"
    assert one.stages[1].digest != two.stages[1].digest, "a seed of a base recipe fixes nothing"
    assert one.stages[0].digest != cells["full · both · seed 1"].stages[0].digest, "the column changes every stage"
    shared = len(runs_of(list(cells.values())))
    assert shared == 2 + 12, "a pre-training for each column, and the last run of each cell"


def test_a_row_may_go_without_a_stage(path: str) -> None:
    (only,) = cells_of(path)["fresh · topic · seed 1"].stages
    assert only.name == "finetune"
    assert only.recipe.model["model_dim"] == 64
    assert only.recipe.data.tasks == ("reading_topic",), "a base lies under what the stage says itself"


def test_the_digest_is_of_all_that_decides_the_numbers(path: str) -> None:
    def digests(*words: str) -> list[str]:
        return [stage.digest for stage in cells_of(path, *words)["full · topic · seed 1"].stages]

    before = digests()
    for free in ("base.device=cpu", "limit=3", "answers=rank", "rows.full.label=x", "base.training.keep=3"):
        assert digests(free) == before, free
    for word in ("stages.pretrain.training.num_steps=3", "stages.pretrain.seed=8", "budget.max_seconds=6"):
        assert all(a != b for a, b in zip(digests(word), before, strict=True)), word
    changed = digests("stages.finetune.training.num_steps=3")
    assert changed[0] == before[0]
    assert changed[1] != before[1]


def test_small_settings_choose_rows_and_replace_columns(path: str) -> None:
    cells = cells_of(path, small=True)
    assert list(cells) == ["full · claim · seed 3", "lora · claim · seed 3"]
    assert cells["full · claim · seed 3"].stages[-1].recipe.training.num_steps == 4


def test_words_choose(path: str) -> None:
    assert list(cells_of(path, "rows=lora", "columns=[both]", "seeds=5,6")) == [
        "lora · both · seed 5",
        "lora · both · seed 6",
    ]


def test_a_pair_that_cannot_be_is_told_with_its_reason(path: str) -> None:
    plain = 'columns.topic.finetune={data = {tasks = ["reading_text"]}}'
    cells = cells_of(path, plain, "rows.lora.finetune.objective.name=lm")
    assert "objective: missing, and 'reading_text' is plain text" in cells["full · topic · seed 1"].reason
    assert "objective: cannot take effect" in cells["lora · both · seed 1"].reason
    assert not cells["full · both · seed 1"].reason
    assert runs_of([cells["full · topic · seed 1"]]) == {}


def test_a_row_or_column_in_which_nothing_can_be_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"lora · topic · seed 1: .*adds to trained weights"):
        cells_of(path, "rows.lora.pretrain=false", "rows.lora.finetune.base=t5-tiny")
    with pytest.raises(ConfigError, match=r"full · topic · seed 1: objective: missing"):
        cells_of(path, 'columns.topic.finetune={data = {tasks = ["reading_text"]}}')


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rows=fulll"], "rows: unknown row 'fulll'. Did you mean 'full'?"),
        (["columns=topics"], "columns: unknown column 'topics'. Did you mean 'topic'?"),
        (["seeds=one"], "seeds: got 'one', expected whole numbers"),
        (["seeds=1,1"], "seeds: [1, 1] names one twice"),
        (["sumary=x"], "sumary: unknown option. Did you mean 'summary'?"),
        (["stages.finetune.data.inputs_le=3"], "stages.finetune.data.inputs_le: unknown option. Did you mean"),
        (["rows.full.fintune.seed=2"], "rows.full.fintune: unknown stage or option. Did you mean 'finetune'?"),
        (["rows.full.finetune=2"], "rows.full.finetune: got 2, expected recipe values, or false"),
        (["rows.fresh.finetune=false"], "rows.fresh: leaves out every stage"),
        (["paper.rows.full=[1.0]"], "paper.rows.full: got 1 numbers, expected 2"),
        (["stages.finetune.method.name=lroa"], "full · topic · seed 1: method.name: unknown method 'lroa'"),
        (["answers=guess"], "answers: got 'guess', expected"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(path: str, words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        cells_of(path, *words)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_names_and_files_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match=r"unknown comparison 'finetunign'. Did you mean 'finetuning'\?"):
        load_comparison("finetunign")
    with pytest.raises(ConfigError, match=r"no/such.toml: no such file"):
        load_comparison("no/such.toml")


def test_a_file_without_small_settings_says_so(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(FILE.partition("[small]")[0], encoding="utf-8")
    with pytest.raises(ConfigError, match=r"has no \[small\] settings"):
        load_comparison(str(file), small=True)


# ---- the presets


@pytest.mark.parametrize("small", [False, True], ids=["full", "small"])
@pytest.mark.parametrize("name", comparison_names())
def test_every_cell_of_a_preset_has_recipes(name: str, small: bool) -> None:
    made = load_comparison(name, small=small)
    assert made.summary
    cells = plan(made, Path("out"))
    assert {cell.name: cell.reason for cell in cells if cell.reason} == {}
    assert (COMPARISONS_DIR / f"{name}.toml").read_text(encoding="utf-8").startswith("# ")
    if small:
        assert made.budget.max_rows is not None
        assert made.budget.max_rows <= 2000
        assert made.budget.max_seconds is not None
        assert made.budget.max_seconds <= 90


@pytest.mark.parametrize("name", comparison_names())
def test_every_model_and_method_of_a_small_preset_builds(name: str) -> None:
    """`ladder` is run as a whole by tests/integration."""
    rows = outline_all(Asked(name=name, small=True, words=("seeds=1",)))
    assert [row["cell"] for row in rows if "reason" in row] == []
    assert all(row["parameters"] < 500_000 for row in rows)


def test_the_paper_of_finetuning_has_its_misprint_corrected() -> None:
    """T5's Table 10 prints the row of d = 128 twice; the true one of d = 2048 stands in its Table 16."""
    paper = load_comparison("finetuning").paper
    assert paper is not None
    assert paper.rows["adapters_128"] == (81.51, 16.62, 79.47, 63.03, 19.83, 27.50, 22.63)
    assert paper.rows["adapters_2048"] == (82.62, 18.30, 79.40, 68.61, 25.64, 36.92, 26.93)


# ---- what is made of results


def result(value: float | None, **more: Any) -> dict[str, Any]:
    scores = {"accuracy": value}
    return {
        "state": "done",
        "trained": True,
        "parameters": 100,
        "trainable": 40,
        "seconds": 2.0,
        "step": 9,
        "num_steps": 9,
        "peak_bytes": 2**20,
        "scores": [{"asked": {}, "scores": scores, "baseline": {"accuracy": 25.0}, "num_examples": 8, "answered": "x"}],
        **more,
    }


def found_of(path: str, values: Mapping[str, Any]) -> Found:
    """The comparison with a result for each cell's last run: a number, or a whole result."""
    made = load_comparison(path, ["columns=topic"])
    cells = plan(made, Path("out"))
    results: dict[str, dict[str, Any]] = {}
    for cell in cells:
        given = values.get(f"{cell.row} {cell.seed}", {})
        one = result(given) if isinstance(given, float) else dict(given)
        if one.get("scores"):
            asked = [{"task": m.task, "split": m.split, "how": m.how, "limit": m.limit} for m in cell.measures]
            one["scores"] = [{**one["scores"][0], "asked": asked[0]}]
        for stage in cell.stages[:-1]:
            results[stage.digest] = {"state": "done", "trained": True, "seconds": 10.0, "step": 5, "num_steps": 5}
        results[cell.stages[-1].digest] = one
    return gather("ways", made, records_of(cells, results, made))


def test_mean_and_spread_are_over_seeds(path: str) -> None:
    found = found_of(path, {"full 1": 60.0, "full 2": 64.0, "lora 1": 50.0, "lora 2": 50.0})
    spot = found.spots["full", "topic"]
    assert spot.mean == 62.0
    assert spot.spread == pytest.approx(math.sqrt(8))  # (2² + 2²) / (2 - 1)
    assert told(spot) == "62.00 ± 2.83"
    assert told(found.spots["lora", "topic"]) == "50.00 ± 0.00"
    assert found.baseline == {"topic": 25.0}
    cost = found.costs["full"]
    assert (dict(cost.seconds), cost.trainable) == ({"pretrain": 10.0, "finetune": 2.0}, (40,))


def test_one_seed_has_no_spread() -> None:
    assert told(Spot(values=(61.234,))) == "61.23"


def test_what_has_no_number_says_why(path: str) -> None:
    bad = {"state": "failed", "reason": "step 3: the loss is not finite"}
    none = {"state": "impossible", "reason": "the model has no head for it"}
    found = found_of(path, {"full 1": 60.0, "full 2": bad, "lora 1": none, "lora 2": none})
    assert [told(found.spots[row, "topic"]) for row in ("full", "lora", "fresh")] == ["failed", "–", "…"]
    assert found.num_failed == 1
    text = as_text(found)
    assert "full × topic failed: step 3: the loss is not finite" in text
    assert "lora × topic –: the model has no head for it" in text
    assert "the same command goes on" in text


def test_a_score_that_is_no_number_is_a_failure(path: str) -> None:
    found = found_of(path, {"full 1": result(None), "full 2": 60.0})
    assert found.spots["full", "topic"].failed
    assert "no score 'accuracy'" in found.spots["full", "topic"].reason


def test_the_table_says_all(path: str) -> None:
    found = found_of(path, {f"{row} {seed}": 50.0 + seed for row in ("full", "lora", "fresh") for seed in (1, 2)})
    head, constant, full, _, fresh = table_of(found)
    assert head == ["", "topic (accuracy)", "trained", "seconds", "memory"]
    assert constant == ["constant answer", "25.00", "", "", ""]
    assert full == ["all of it", "51.50 ± 0.71", "40", "10.0 + 2.0", "1 MiB"]
    assert fresh[3] == "– + 2.0", "it goes without the first stage"
    page = as_markdown(found)
    assert "| all of it | 51.50 ± 0.71 | 40 | 10.0 + 2.0 | 1 MiB |" in page
    assert "| all of it | 1.50 |  |" in page, "the paper's numbers, and nothing where it has none"
    assert "| another row | 3.00 | 4.00 |" in page
    assert "at most 50 training rows of each task and 5 s of training" in page
    plain = json.loads(json.dumps(as_json(found), allow_nan=False))
    assert plain["rows"][0]["columns"]["topic"]["values"] == [51.0, 52.0]
    assert plain["paper"]["rows"]["full"] == [1.5, None]


def test_the_picture_is_drawn(path: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = found_of(path, {"full 1": 60.0, "full 2": 64.0, "lora 1": {"state": "failed", "reason": "x"}})
    draw(found, tmp_path / "t.svg")
    text = (tmp_path / "t.svg").read_text(encoding="utf-8")
    assert text.count("<path") > 10
    assert span(40.0, 60.0) == (40.0, 60.0)
    assert span(0.0, 1.4e-17) == (-0.5, 0.5), "what differs by rounding alone does not fill the picture"
    with pytest.raises(ConfigError, match="unknown kind of picture"):
        check_picture(tmp_path / "t.gif")
    with pytest.raises(ConfigError, match="is no folder"):
        check_picture(tmp_path / "no" / "t.png")


def test_a_run_is_finished_when_all_that_is_asked_was_measured(path: str) -> None:
    cell = cells_of(path)["full · both · seed 1"]
    asked = [{"task": m.task, "split": m.split, "how": m.how, "limit": m.limit} for m in cell.measures]
    assert not finished({}, cell.measures)
    assert not finished({"trained": True, "scores": [{"asked": asked[0]}]}, cell.measures)
    assert finished({"trained": True, "scores": [{"asked": one} for one in asked]}, cell.measures)
    assert not finished({"scores": [{"asked": one} for one in asked]}, cell.measures)


def test_data_that_is_not_there_is_told_before_anything_is_run(path: str, tmp_path: Path) -> None:
    """It was told by the cell that came to it, after its pre-training."""
    made = load_comparison(path, ["rows=full", "columns=topic,both", 'columns.both.tasks=["squad"]'])
    cells = plan(made, tmp_path / "out")
    with pytest.raises(DataError, match=r"rajpurkar/squad: no folder .*expected train.parquet"):
        check_data(cells, data_dir=tmp_path)
    assert not (tmp_path / "out").exists()
    check_data([cell for cell in cells if cell.column == "topic"], data_dir=tmp_path)

    for cell in cells:  # what is finished reads nothing any more
        for stage in cell.stages:
            stage.folder.mkdir(parents=True, exist_ok=True)
            told = {"trained": True, "scores": [{"asked": asdict(one)} for one in cell.measures]}
            (stage.folder / RESULT).write_text(json.dumps(told), encoding="utf-8")
    check_data(cells, data_dir=tmp_path)


def test_the_example_of_the_docs_is_a_comparison(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text(encoding="utf-8")
    file = tmp_path / "example.toml"
    file.write_text(page.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
    for small, num_cells in ((False, 3 * 2 * 3), (True, 2 * 2)):
        cells = plan(load_comparison(str(file), small=small), Path("out"))
        assert len(cells) == num_cells
        assert not any(cell.reason for cell in cells)
