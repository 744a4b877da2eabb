"""`ask` and `generate` as people meet them: what they print, where, and how they leave; damaged models too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest
from console import refused, write
from safetensors.torch import load_file, save_file

from textfer.data.tasks.reading import reading_row

CONTEXT = "Anna Hall lives in Rome. Bob Wood is a cook."
pytestmark = pytest.mark.usefixtures("one_thread")


# ---- ask


OWN = ["answer", "score", "start", "end", "evidence"]
REMEMBERED = [*OWN, "calibrated", "candidates", "num_read", "num_passages", "note"]
SOURCED = [*OWN, "path", "title", "place", "num_places", "no_answer", "calibrated", "alternatives", "read", "passages"]


def test_ask(call: Any, model: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt", CONTEXT)
    for place, keys, path in (
        (["--context", CONTEXT], SOURCED, "--context"),
        (["--file", file], SOURCED, str(file)),
        (["--closed-book"], REMEMBERED, None),
    ):
        done = call("ask", "Where does Anna Hall live?", *place, "--model", model)
        assert done.code == 0
        assert done.out.strip()
        found = call("ask", "Where does Anna Hall live?", *place, "--model", model, "--json")
        assert list(found.json) == keys
        assert found.out.count("\n") == 1
        assert found.err == ""
        assert 0 < found.json["score"] < 1
        assert found.json.get("path") == path


def test_ask_takes_several_files(call: Any, model: Path, tmp_path: Path) -> None:
    files = [write(tmp_path / f"{n}.txt", part) for n, part in enumerate(CONTEXT.split(". "))]
    both = [word for file in files for word in ("--file", file)]
    found = call("ask", "Who?", "--model", model, "--json", "--beams", 2, *both, "--file", files[0]).json
    assert (found["read"], found["passages"]) == (2, 2)
    assert {one["path"] for one in [found, *found["alternatives"]]} <= {str(file) for file in files}


def test_ask_reads_long_texts_in_passages(call: Any, model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "long.txt", "Bob Wood is a cook. " * 400 + CONTEXT)
    words = ("ask", "Where does Anna Hall live?", "--model", model, "--file", path)
    found = call(*words, "--json", "--passages", 2).json
    assert found["read"] == 1 < found["passages"] > 2  # where a word of the question stands
    said = call(*words, "--passages", 2).out
    assert f"read 1 of {found['passages']} passages: those that fit the question's words" in said
    whole = call(*words, "--json").json
    assert whole["read"] == whole["passages"] == found["passages"]


def test_ask_without_a_question_reads_them_line_by_line(call: Any, model: Path) -> None:
    words = ("ask", "--context", CONTEXT, "--model", model, "--json")
    done = call(*words, stdin="Where does Anna Hall live?\n\n  Who is a cook?\r\n")
    assert done.code == 0
    objects = [json.loads(line) for line in done.out.splitlines()]
    assert objects == [call(*words, question).json for question in ("Where does Anna Hall live?", "Who is a cook?")]
    assert call(*words, stdin="").out == ""


def test_ctrl_c_at_the_prompt(call: Any, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(prompt: str = "") -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("textfer.cli.prompt.stdin_lines", interrupted)
    done = call("ask", "--context", CONTEXT, "--model", model)
    assert (done.code, done.out, done.err) == (130, "", "\ntextfer: interrupted.\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["q"], 2, "ask: give exactly one of --context, --file, --docs and --closed-book."),
        (
            ["q", "--context", "a", "--closed-book"],
            2,
            "ask: give exactly one of --context, --file, --docs and --closed-book.",
        ),
        (
            ["q", "--docs", "a", "--file", "b"],
            2,
            "ask: give exactly one of --context, --file, --docs and --closed-book.",
        ),
        (["q", "--docs", "no/such"], 3, "no/such: no such folder."),
        (["q", "--context", "a", "--index", "i"], 2, "ask: --index cannot take effect without --docs. Drop it."),
        (["q", "--context", "a", "--passages", "0"], 2, "ask: Invalid value for '--passages': 0 is not in the range"),
        ([" ", "--context", "a"], 2, "ask: the question is empty."),
        (["q", "--context", " "], 2, "ask: the context is empty."),
        (["q", "--file", "no/such.txt"], 3, "no/such.txt: no such file."),
        (["q", "--context", "a", "--beams", "0"], 2, "ask: Invalid value for '--beams': 0 is not in the range x>=1."),
        (["q", "--context", "a", "--beam", "3"], 2, "ask: No such option '--beam'."),
        (["q", "--context", "a", "--model", "./nowhere"], 3, "./nowhere: no such folder."),
    ],
)
def test_ask_refuses(call: Any, words: Sequence[str], code: int, message: str) -> None:
    done = call("ask", *words, *([] if "--model" in words else ["--model", "unused"]))
    assert done.code == code
    assert done.out == ""
    assert done.err.startswith(f"textfer: {message}")
    assert done.err.count("\n") == 1


def test_files_that_are_no_text(call: Any, model: Path, tmp_path: Path) -> None:
    words = ("ask", "q", "--model", model, "--file")
    refused(call(*words, write(tmp_path / "empty.txt", "")), 3, f"{tmp_path}/empty.txt: empty, expected text.")
    refused(call(*words, write(tmp_path / "junk.bin", "a\0b")), 3, f"{tmp_path}/junk.bin: is binary, expected text.")
    path = tmp_path / "latin.txt"
    path.write_bytes(b"one\ncaf\xe9\n")
    done = call(*words, path)
    assert (done.code, done.err) == (0, f"note: {path}: 1 byte not UTF-8, shown as \ufffd\n")


def test_a_hub_name_without_network(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(name: str, **options: object) -> NoReturn:
        raise OSError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    done = call("ask", "q", "--context", "a", "--model", "google/t5-v1_1-small")
    refused(
        done,
        3,
        "google/t5-v1_1-small: no such folder, and the hub cannot be reached (Name or service not known).",
    )


# ---- damaged models


def broken(model: Path, folder: Path) -> Path:
    """A copy of the run's newest checkpoint as a hub folder, with its vocabulary."""
    newest = sorted(model.glob("step_*"))[-1]
    shutil.copytree(newest, folder / "copy")
    shutil.copytree(model / "tokenizer", folder / "copy" / "tokenizer")
    for name in ("state.json", "optimizer.safetensors"):
        (folder / "copy" / name).unlink()
    return folder / "copy"


def test_a_copy_of_a_checkpoint_answers_the_same(call: Any, model: Path, tmp_path: Path) -> None:
    words = ("ask", "Who?", "--context", CONTEXT, "--json", "--model")
    assert call(*words, broken(model, tmp_path)).json == call(*words, model).json


def test_a_truncated_checkpoint(call: Any, model: Path, tmp_path: Path) -> None:
    folder = broken(model, tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    done = call("ask", "Who?", "--context", CONTEXT, "--model", folder)
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert done.err.startswith(f"textfer: {weights}: is damaged or cut short (")
    assert done.err.endswith("Copy it again.\n")


def test_a_tensor_of_another_shape(call: Any, model: Path, tmp_path: Path) -> None:
    folder = broken(model, tmp_path)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["shared.weight"] = tensors["shared.weight"][:-1].clone()
    save_file(tensors, weights, {"format": "pt"})
    done = call("ask", "Who?", "--context", CONTEXT, "--model", folder)
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert "has misshapen shared.weight is [" in done.err
    assert done.err.endswith("Is config.json that of these weights?\n")


def test_another_vocabulary(call: Any, model: Path, tmp_path: Path) -> None:
    from textfer.tokenizers import TokenizerOptions, train_sentencepiece

    folder = broken(model, tmp_path)
    shutil.rmtree(folder / "tokenizer")
    texts = (str(reading_row("train", index)["context"]) for index in range(300))
    options = TokenizerOptions(vocab_size=240, num_sentinels=300, byte_fallback=False)
    train_sentencepiece(texts, folder / "tokenizer", options)
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    refused(
        call("ask", "Who?", "--context", CONTEXT, "--model", folder),
        3,
        f"{folder}: the model has {rows} token rows, its tokenizer 640 ids. "
        "Give the tokenizer that the weights were trained with.",
    )


# ---- generate


def test_generate(call: Any, model: Path) -> None:
    words = ("generate", "--model", model, "--max-new-tokens", 5)
    done = call(*words, "a b", "c", "--json")
    outputs = done.json["outputs"]
    assert [one["input"] for one in outputs] == ["a b", "c"]
    assert call(*words, "a b", "c").out == "".join(f"{one['output']}\n" for one in outputs)
    assert done.err == ""
    lines = call(*words, stdin="a b\r\n\nc\n").out
    assert lines == f"{outputs[0]['output']}\n\n{outputs[1]['output']}\n"
    prefixed = call(*words, "b", "--task", "a", "--json").json["outputs"]
    assert prefixed == [{"input": "b", "output": outputs[0]["output"]}]


def test_generate_draws_by_seed(call: Any, model: Path) -> None:
    words = ("generate", "a", "--model", model, "--sample", "--top-k", 50, "--temperature", 3, "--json", "--seed")
    assert call(*words, 1).json == call(*words, 1).json
    assert call(*words, 1).json != call(*words, 2).json


@pytest.mark.parametrize(
    ("words", "stdin", "code", "message"),
    [
        ([], "", 2, "generate: no text. Give some, or lines on stdin."),
        ([], "\n \n", 2, "generate: no text. Give some, or lines on stdin."),
        ([], b"a\n\xff\n", 3, "stdin:"),
        (["a", "--top-k", "3"], "", 2, "generate: top_k cannot take effect without sample. Drop it."),
        (
            ["a", "--length-penalty", "1"],
            "",
            2,
            "generate: length_penalty cannot take effect without beams > 1. Drop it.",
        ),
        (["a", "--sample", "--beams", "2"], "", 2, "generate: sample cannot go with beams > 1. Choose one."),
        (["a", "--top-p", "2"], "", 2, "generate: Invalid value for '--top-p': 2.0 is not in the range 0<x<=1."),
        (["\ud800"], "", 3, "text '\\ud800': got half a surrogate pair"),
    ],
)
def test_generate_refuses(
    call: Any, model: Path, words: Sequence[str], stdin: str | bytes, code: int, message: str
) -> None:
    done = call("generate", *words, "--model", model, stdin=stdin)
    assert done.code == code
    assert done.err.startswith(f"textfer: {message}")
    assert (done.out, done.err.count("\n")) == ("", 1)
