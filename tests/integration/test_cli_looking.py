"""`trace`, `show`, `tokenizer`, `doctor`, and the process itself as people meet them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from console import refused, write

from textfer.data.tasks.reading import reading_row

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- trace, show, tokenizer, doctor


def test_trace_of_a_recipe(call: Any, recipe: Path, tmp_path: Path) -> None:
    stages = call("trace", recipe, "--example", 2, "--json").json["stages"]
    names = [stage["name"] for stage in stages]
    assert names == ["place in the stream", "row", "example", "ids", "layout encdec", "output"]
    assert stages[-1]["lines"][0].startswith("logits [1, ")
    text = call("trace", recipe, "--example", 2).out
    assert all(line in text for stage in stages for line in stage["lines"])
    plain = write(tmp_path / "plain.txt", "\n".join(f"Line {n} tells of Anna Hall and of Rome." for n in range(60)))
    words = [f"data.tasks={plain}", "objective.name=span_corruption", "eval.tasks=[]", "data.pack=true"]
    done = call("trace", recipe, *words)
    assert done.code == 0, done.err
    assert [f"{n}. " in done.out for n in (1, 7)] == [True, False]
    assert "raw text" in done.out
    assert "<extra_id_0>" in done.out


def test_trace_of_a_task(call: Any) -> None:
    row = reading_row("validation", 3)
    done = call("trace", "--task", "reading", "--split", "validation", "--example", 3)
    assert f"   context: {row['context']}\n" in done.out
    assert f"   origin: reading/validation:3\n" in done.out  # noqa: F541
    refused(
        call("trace", "--task", "reading", "--example", 50_000),
        2,
        "--example: got 50000, expected 0 to 49999 (reading/train).",
    )
    refused(call("trace"), 2, "trace: give a RECIPE or --task.")
    refused(
        call("trace", "quickstart", "--split", "x"),
        2,
        "--split: cannot take effect with a RECIPE. Say data.split=… instead.",
    )


@pytest.mark.parametrize("what", ["tasks", "mixtures", "models", "objectives", "methods", "presets", "comparisons"])
def test_show_lists(call: Any, what: str) -> None:
    rows = call("show", what, "--json").json[what]
    own, _, _ = call("show", what).out.partition("Embedded weights:")
    shown = [line for line in own.splitlines() if line and not line.startswith("No weights are")]
    assert len(shown) == len(rows)
    for row in rows[:2]:
        singular = what.removesuffix("s")
        assert call("show", singular, row["name"], "--json").json[what] == [row]
        assert row["name"] in call("show", singular, row["name"]).out


def test_show_a_mixture(call: Any, tmp_path: Path) -> None:
    words = ["show", "mixture", "glue", "--steps", 1000, "--batch-size", 10, "--max-examples", 50_000]
    rows = {row["task"]: row for row in call(*words, "--json").json["tasks"]}
    assert sum(row["rate"] for row in rows.values()) == pytest.approx(1)
    assert rows["mnli"]["rate"] == rows["qqp"]["rate"] == pytest.approx(50_000 / (4 * 50_000 + 20_458))
    assert rows["cola"]["epochs"] == pytest.approx(10_000 * rows["cola"]["rate"] / rows["cola"]["examples"])
    lines = call(*words).out.splitlines()
    assert next(line for line in lines if line.startswith("cola ")).split()[1:3] == ["8,551*", "0.038787"]
    assert "* no rows here: as many as were published" in lines
    done = call("show", "mixture", "glue", "--plot", tmp_path / "glue.svg")
    assert done.code == 0, done.err
    assert "T = 2, K = 2^21" in (tmp_path / "glue.svg").read_text()


def test_show_a_recipe(call: Any, recipe: Path) -> None:
    shown = call("show", recipe, "seed=9", "training.batch_size=2").json
    assert (shown["seed"], shown["training"]["batch_size"], shown["data"]["tasks"]) == (9, 2, ["reading"])
    assert call("show", "t5-small").json["model"]["name"] == "t5"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["taks"], "unknown list or recipe 'taks'. Did you mean 'tasks'?"),
        (
            ["zzzzz"],
            "unknown list or recipe 'zzzzz'. Lists: tasks, mixtures, models, objectives, methods, presets, "
            "comparisons. Else give a recipe's name or file.",
        ),
        (["task", "sqad"], "unknown task 'sqad'. Did you mean 'squad'?"),
        (["task"], "show task: which one? Give its name, or list them with `textfer show tasks`."),
        (
            ["tasks", "--steps", "5"],
            "--steps: cannot take effect here, only with `textfer show mixture NAME`. Drop it.",
        ),
        (
            ["mixture", "glue", "--steps", "5"],
            "show mixture: a budget needs both --steps and --batch-size. Give both or none.",
        ),
        (
            ["mixture", "glue", "--max-examples", "9", "--temperature", "inf"],
            "--max-examples: cannot take effect with --temperature inf, which makes all tasks equal.",
        ),
        (
            ["mixture", "glue", "--max-examples", "nan"],
            "show mixture: got nan, expected numbers for --max-examples and --temperature.",
        ),
        (
            ["mixture", "glue", "--tokenizer", "bytes"],
            "--tokenizer: cannot take effect without a budget. Give --steps and --batch-size too.",
        ),
        (["tasks", "squad", "more"], "show tasks: got 2 names, expected one."),
    ],
)
def test_show_refuses(call: Any, words: Sequence[str], message: str) -> None:
    refused(call("show", *words), 2, message)


def test_tokenizer(call: Any, tmp_path: Path, model: Path) -> None:
    file = write(tmp_path / "t.txt", "\n".join(f"The cook of number {n} lives in Rome." for n in range(300)))
    folder = tmp_path / "made"
    done = call("tokenizer", "train", folder, "--task", file, "--set", "vocab_size=300", "--json")
    assert done.code == 0, done.err
    assert done.json["num_pieces"] == 300
    for name in (folder, "bytes", model):
        shown = call("tokenizer", "inspect", name, "Rome", "--json").json["texts"]
        assert [one["text"] for one in shown] == ["Rome"]
        assert all(set(piece) == {"piece", "id", "kind"} for piece in shown[0]["pieces"])
    shown = call("tokenizer", "inspect", "bytes", stdin="a\n").out
    assert shown == "'a' is seen as 'a', 1 tokens\n      100  a                         byte\n"
    words = ("--set", "algorithm=wordpiece", "--set", "lowercase=false", "--set", "vocab_size=90")
    done = call("tokenizer", "train", tmp_path / "words", "--task", file, *words)
    assert done.code == 0, done.err
    assert (tmp_path / "words" / "vocab.txt").is_file()
    done = call("tokenizer", "train", folder, "--task", file, "--set", "vocab_siz=300")
    refused(done, 2, "--set.vocab_siz: unknown option. Did you mean 'vocab_size'?")
    done = call("tokenizer", "inspect", "nowhere", "x")
    refused(done, 2, "nowhere: no such file or folder, expected a tokenizer or the name 'bytes'. Check the path.")


def test_doctor(call: Any, tmp_path: Path) -> None:
    done = call("doctor", "--data", tmp_path, "--json")
    findings = {one["name"]: one for one in done.json["findings"]}
    assert {"python", "torch", "cache", "free disk", "data"} <= set(findings)
    assert findings["data"]["value"] == str(tmp_path)
    assert done.code == (0 if all(one["ok"] for one in findings.values()) else 4)
    missing = call("doctor", "--data", tmp_path / "nowhere")
    assert missing.code == 4
    assert "NO  data" in missing.out


# ---- the process


def shell(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "textfer", *words], capture_output=True, text=True, timeout=60, **options
    )


def test_as_a_process() -> None:
    done = shell("show", "tasks", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert "squad" in [row["name"] for row in json.loads(done.stdout)["tasks"]]
    done = shell("frob")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "textfer: No such command 'frob'. See textfer --help.\n"
    done = shell()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: textfer [OPTIONS] COMMAND [ARGS]...\n")
    done = shell("show", "taks", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_a_reader_that_has_seen_enough() -> None:
    code = f"{sys.executable} -m textfer show presets; echo $? >&2"
    done = subprocess.run(["bash", "-c", f"({code}) | true"], capture_output=True, text=True, timeout=60)
    assert done.stderr == "1\n", "nothing but the exit code"
