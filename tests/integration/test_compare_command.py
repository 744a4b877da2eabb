"""`textfer compare` from its words to its table: cells in processes of their own, resumed, stopped, failed."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

FILE = """
summary = "Tiny"
seeds = [1, 2]
answers = "rank"
limit = 8
[budget]
max_rows = 60
[base.tokenizer]
path = "bytes"
[stages.pretrain]
base = "pretrain-tiny"
seed = 1
[stages.pretrain.model]
model_dim = 16
ff_dim = 16
num_layers = 1
[stages.pretrain.training]
num_steps = 3
batch_size = 4
[stages.finetune]
base = "finetune-tiny"
[stages.finetune.data]
tasks = ["<column>"]
[stages.finetune.training]
num_steps = 4
batch_size = 4
save_every = 1
[rows.full]
[rows.lora]
finetune.method = { name = "lora", rank = 2 }
[columns.topic]
tasks = ["reading_topic"]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]


def written(out: Path) -> dict[str, int]:
    """When each run's log was last written to."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("runs/*/metrics.jsonl")}


def test_a_comparison_runs_and_what_is_finished_is_not_run_again(call: Any, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call("compare", file, "--out", out, "--jobs", 2, "seeds=1", "--json")
    assert done.code == 0, done.err
    rows = done.json["rows"]
    assert [row["name"] for row in rows] == ["full", "lora"]
    for row in rows:
        spot = row["columns"]["topic"]
        assert (spot["state"], len(spot["values"]), spot["spread"]) == ("done", 1, None)
        assert set(row["seconds"]) == {"pretrain", "finetune"}
        assert row["peak_bytes"] > 50 * 2**20
    assert rows[1]["trainable"][0] < rows[0]["trainable"][0] == rows[0]["parameters"]
    assert 0 < done.json["baseline"]["topic"] < 100
    before = written(out)
    assert len(before) == 3, "one pre-training for both"

    done = call("compare", file, "--out", out, "--plot", tmp_path / "t.svg")
    assert done.code == 0, done.err
    after = written(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == 5
    assert re.search(r"full +\d+\.\d\d ± \d+\.\d\d", done.out)
    assert (tmp_path / "t.svg").stat().st_size > 1000
    assert (out / "table.md").read_text(encoding="utf-8").count("±") >= 3
    assert [one["state"] for one in records(out)] == ["done"] * 4

    done = call("compare", file, "--out", out, "limit=6")
    assert done.code == 0, done.err
    assert written(out) == after, "measured anew on other examples, trained no more"
    assert {one["num_examples"]["reading_topic"] for one in records(out)} == {6}


def test_a_stopped_comparison_goes_on(call: Any, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("compare", file, "--out", out, "rows=full", "seeds=1", "stages.finetune.training.num_steps=300")

    def stop() -> None:
        until = time.monotonic() + 120
        while not list(out.glob("runs/finetune-*/step_*")) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    stopper = threading.Thread(target=stop)
    stopper.start()
    done = call(*words)
    stopper.join()
    assert done.code == 130, done.err
    assert "Stopped by SIGINT. The same command goes on." in done.err
    assert "…" in done.out
    (run,) = out.glob("runs/finetune-*")
    stopped_at = int(max(path.name for path in run.glob("step_*")).removeprefix("step_"))
    assert 0 < stopped_at < 300
    assert [one["state"] for one in records(out)] == ["waiting"]

    done = call(*words, "stages.finetune.training.save_every=300")
    assert done.code == 0, done.err
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["step"] for one in log if one.get("resumed")] == [stopped_at]
    assert records(out)[0]["steps"]["finetune"] == 300


def test_a_cell_that_fails_or_cannot_be_leaves_the_others_alone(call: Any, file: Path, tmp_path: Path) -> None:
    with file.open("a", encoding="utf-8") as more:
        more.write("[rows.wide]\nfinetune.method = { name = 'lora', rank = 99 }\n")
        more.write("[rows.wild]\nfinetune.training.optimizer = { name = 'adamw', lr = 1e30 }\n")
    out = tmp_path / "out"
    done = call("compare", file, "--out", out, "rows=full,wide,wild", "seeds=1")
    assert done.code == 1, done.err
    assert {one["row"]: one["state"] for one in records(out)} == {
        "full": "done",
        "wide": "impossible",
        "wild": "failed",
    }
    assert "wide × topic –: method.rank: got 99" in done.out
    assert re.search(r"wild × topic failed: step \d: the (loss|gradient) is not finite", done.out)


def test_a_run_that_has_used_its_seconds_is_measured_as_it_is(call: Any, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("rows=full", "seeds=1", "budget.max_seconds=0.3", "stages.finetune.training.num_steps=100000")
    done = call("compare", file, "--out", out, *words)
    assert done.code == 0, done.err
    (one,) = records(out)
    assert "finetune" in one["out_of_time"]
    assert 0 < one["steps"]["finetune"] < 100_000
    assert 0.3 < one["seconds"]["finetune"] < 30
    assert "in 1 cells a run had used its seconds before its last step." in done.out
    assert call("compare", file, "--out", out, *words).code == 0
    assert records(out) == [one]


def test_word_vectors_are_a_first_stage_of_their_own(call: Any, file: Path, tmp_path: Path) -> None:
    with file.open("a", encoding="utf-8") as more:
        more.write("[rows.cbow]\npretrain.vectors = { dim = 8, epochs = 1, min_count = 1 }\n")
    done = call("compare", file, "--out", tmp_path / "out", "rows=cbow", "seeds=1")
    assert done.code == 0, done.err
    (one,) = records(tmp_path / "out")
    assert one["state"] == "done"
    assert one["answered"]["reading_topic"].startswith("by heads")


def test_the_five_models_of_the_ladder_run_side_by_side(call: Any, tmp_path: Path) -> None:
    """The preset at its small setting with fewer steps: CBOW, ELMo, GPT and BERT answer by heads, T5 writes."""
    fewer = [f"stages.{stage}.training.num_steps=12" for stage in ("pretrain", "finetune")]
    warm = ["stages.pretrain.training.optimizer.warmup_steps=2"]
    done = call("compare", "ladder", "--small", "--out", tmp_path / "out", "--json", "limit=12", *fewer, *warm)
    assert done.code == 0, done.err
    rows = {row["name"]: row for row in done.json["rows"]}
    assert list(rows) == ["cbow_features", "elmo_features", "gpt", "bert", "t5"]
    assert {spot["state"] for row in rows.values() for spot in row["columns"].values()} == {"done"}
    assert all(max(rows[name]["trainable"]) < 1000 < rows[name]["parameters"] for name in rows if "features" in name)
    ways = {one["row"]: set(one["answered"].values()) for one in records(tmp_path / "out")}
    assert all(("by heads" in str(way)) is (name != "t5") for name, way in ways.items())


def test_a_dry_run_runs_nothing(call: Any, file: Path, tmp_path: Path) -> None:
    done = call("compare", file, "--out", tmp_path / "out", "--dry-run")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 4
    begins = r"full · topic · seed 1  [\d,]+ parameters, [\d,]+ trained  pretrain-\w{12} \(3 steps, at most"
    assert re.match(begins, done.out)
    assert not (tmp_path / "out").exists()
