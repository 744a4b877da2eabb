"""`eval`, `score`, `train` and `verify-resume` as people meet them: numbers, wrong rows, wrong words, a full disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from console import refused, write

from textfer.evaluate import load_examples
from textfer.recipe import find_task

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- eval, score


def test_eval_and_score_agree(call: Any, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "predictions.json"
    words = ("eval", model, "--task", "reading", "--max-new-tokens", 4)
    done = call(*words, "--predictions", path, "--json")
    assert done.code == 0
    assert list(done.json) == ["em", "f1"]
    assert done.err == ""
    scored = call("score", "--task", "reading", "--predictions", path, "--json")
    assert scored.json == done.json
    shown = call("score", "--task", "reading", "--predictions", path)
    assert shown.out.split() == ["reading", "em", f"{done.json['em']:.2f}", "f1", f"{done.json['f1']:.2f}"]


def test_eval_of_own_rows_and_of_several_tasks(call: Any, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    write(file, "question,context,answer\n" + "".join(f"Who {n}?,It is {n}.,{n}\n" for n in range(40)))
    done = call("eval", model, "--task", file, "--task", "reading", "--limit", 3, "--max-new-tokens", 2, "--json")
    assert [one["task"] for one in done.json["results"]] == [str(file), "reading"]
    assert {"em", "f1"} <= set(done.json["results"][1]["scores"])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--task", "raeding"], 2, "unknown task 'raeding'. Did you mean 'reading'?"),
        (["--task", "no/such.csv"], 3, "no/such.csv: "),
        (["--task", "reading", "--split", "tset"], 3, "reading-2-2-False-0: no split 'tset'."),
        (["--task", "wikipedia_en"], 2, "task 'wikipedia_en': has no metric, it is for training only. Name another."),
        (
            ["--task", "reading", "--task", "squad", "--predictions", "p"],
            2,
            "eval: --predictions takes one --task and one MODEL.",
        ),
        (
            ["--task", "reading", "--predictions", "no/dir/p.json"],
            2,
            "--predictions: no/dir is no folder. Make it first.",
        ),
        ([], 2, "eval: no task. Give --task or --suite. See textfer eval --help."),
    ],
)
def test_eval_refuses(call: Any, model: Path, words: Sequence[str], code: int, message: str) -> None:
    done = call("eval", model, *words)
    assert done.code == code
    assert done.err.startswith(f"textfer: {message}")
    assert (done.out, done.err.count("\n")) == ("", 1)


def predictions() -> dict[str, str]:
    return {example.facts["id"]: "x" for example in load_examples(find_task("reading"), "validation")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lambda p: {**p, "more": "x"}, "'more' is none of the 500 questions. Is it the right split?"),
        (
            lambda p: dict(list(p.items())[2:]),
            "no entry for 'validation-0' (and 1 more), expected a prediction for all",
        ),
        (lambda p: [1], "got a list, expected an object {id: …}."),
        (lambda p: {**p, "validation-7": None}, "the prediction of 'validation-7' is None, expected text."),
        ('{"a": "b", "a": "c"}', "'a' stands twice in one object, expected once."),
        ("{", "not JSON ("),
        (b"\xff", "byte 0xff is not UTF-8. Save the file as UTF-8."),
        (None, "no such file."),
    ],
)
def test_score_refuses(call: Any, tmp_path: Path, text: Any, message: str) -> None:
    path = tmp_path / "p.json"
    if text is not None:
        text = json.dumps(text(predictions())) if callable(text) else text
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = call("score", "--task", "reading", "--predictions", path)
    assert done.code == 3
    assert message in done.err
    assert done.err.startswith(f"textfer: {path}")
    assert (done.out, done.err.count("\n")) == ("", 1)


# ---- rows that are wrong


GOOD = '{"inputs": "a b", "targets": "c"}'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.jsonl", f"{GOOD}\n{{bad\n", "bad.jsonl:2: not JSON ("),
        ("list.jsonl", f"{GOOD}\n[1]\n", "list.jsonl:2: got a list, expected an object {…}."),
        (
            "train.jsonl",
            f'{GOOD}\n{{"inputs": {{"a": 1}}, "targets": "c"}}\n',
            "field 'inputs' is {'a': 1}, expected text or a number.",
        ),
        ("train.jsonl", f'{GOOD}\n{{"inputs": "a"}}\n', "no field 'targets'"),
        ("latin.jsonl", b'{"inputs": "caf\xe9", "targets": "c"}\n', "latin.jsonl:1: byte 16 (0xe9) is not UTF-8."),
        ("nothing.jsonl", "", "nothing.jsonl: "),
        ("one.csv", "only\nx\n", "one.csv: columns only, expected one to read and one to write."),
        ("broken.parquet", "PAR1xxx", "broken.parquet: not a readable Parquet file ("),
    ],
)
def test_train_on_wrong_rows(
    call: Any, recipe: Path, tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if name == "train.jsonl":
        write(tmp_path / "validation.jsonl", f"{GOOD}\n")  # else a row may be held out, and not be read
        path = tmp_path
    done = call("train", recipe, f"data.tasks={path}", "eval.tasks=[]", "data.limit=none", "--run", tmp_path / "run")
    assert done.code == 3
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("textfer: ")
    assert message in last
    assert done.out == ""
    assert not (tmp_path / "run").exists()


def test_a_line_of_ten_megabytes_is_read(call: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "long.jsonl", json.dumps({"inputs": "word " * 2_000_000, "targets": "c"}) + f"\n{GOOD}\n")
    done = call("trace", "--task", path)
    assert done.code == 0
    assert "(10,000,000 characters)" in done.out


# ---- train, verify-resume


def test_train_shows_what_it_is_about_to_do_and_trains_nothing(call: Any, recipe: Path, tmp_path: Path) -> None:
    done = call("train", recipe, "--run", tmp_path / "run", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert "reading/train" in done.err
    assert not (tmp_path / "run").exists()


def test_a_finished_run_says_so_and_its_folder_is_a_recipe(call: Any, recipe: Path, model: Path) -> None:
    for words in ([recipe, "--run", model], [model], [model / "recipe.json"]):
        done = call("train", *words, "--quiet")
        assert (done.code, done.out) == (0, "")
        assert f"{model}: step 4, loss " in done.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["quikstart"], 2, "unknown recipe 'quikstart'. Did you mean 'quickstart'?"),
        (["no/such.toml"], 2, "no/such.toml: no such file."),
        (["RECIPE", "data.task=x"], 2, "data.task: unknown option. Did you mean 'tasks'?"),
        (["RECIPE", "training.num_steps=many"], 2, "training.num_steps: got 'many', expected: a valid integer"),
        (["RECIPE", "model.name=t6"], 2, "model.name: unknown model 't6'."),
        (["RECIPE", "seed"], 2, "'seed': got no setting, expected section.key=value."),
        (["RECIPE", "data.tasks=[]"], 2, "data.tasks: got [], expected: "),
        (["RECIPE", "tokenizer.path=nowhere"], 2, "nowhere: no such file or folder"),
        (["RECIPE", "device=tpu"], 2, "device: "),
        (["RECIPE", "--run", "RECIPE"], 2, "--run: RECIPE is a file, expected a folder. Name another."),
    ],
)
def test_train_refuses(call: Any, recipe: Path, words: Sequence[str], code: int, message: str) -> None:
    done = call("train", *(word.replace("RECIPE", str(recipe)) for word in words))
    assert done.code == code
    assert done.err.splitlines()[-1].startswith(f"textfer: {message.replace('RECIPE', str(recipe))}")
    assert done.out == ""


def test_numbers_that_are_not_finite(call: Any, recipe: Path, tmp_path: Path) -> None:
    done = call("train", recipe, "training.optimizer.lr=1e30", "eval.tasks=[]", "--run", tmp_path / "run", "--quiet")
    assert done.code == 5
    assert done.out == ""
    assert done.err.startswith("textfer: ")


def test_a_full_disk(call: Any, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("textfer.training.checkpoint.save_file", full)
    done = call("train", recipe, "--run", tmp_path / "run", "--quiet")
    assert (done.code, done.out) == (4, "")
    assert "the disk is full. What was saved before is untouched; free some room and run again." in done.err


def test_verify_resume(call: Any, recipe: Path) -> None:
    done = call("verify-resume", recipe, "--steps", 3, "--stop-at", 2, "--json")
    assert done.code == 0
    assert done.json["equal"] is True
    refused(call("verify-resume", recipe, "--steps", 3, "--stop-at", 3), 2, "--stop-at: got 3, expected 1 to 2.")
