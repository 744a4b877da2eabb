"""`textfer vectors`: learn, look, convert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from console import refused, write

from textfer.models.cbow_model import Cbow, piece_vectors
from textfer.tokenizers import load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

TOLD = ("Red and blue are colours.", "Anna walks to Aldon with a cat and a dog.", "The cat sees the dog.")
LINES = [f"{line} {number}" for number in range(40) for line in TOLD]
"""15 words that occur often, and numbers too rare to be kept."""
SETTINGS = ("--set", "dim=8", "--set", "epochs=2", "--set", "min_count=10")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    return write(tmp_path / "plain.txt", "\n".join(LINES))


def test_learn_look_and_convert(call: Any, text: Path, tmp_path: Path) -> None:
    made = tmp_path / "made" / "vectors.bin"
    done = call("vectors", "train", made, "--task", text, *SETTINGS)
    assert done.code == 0, done.err
    assert done.out.startswith(f"{made}: 15 words, 8 numbers each, from ")
    assert [line.partition(":")[0] for line in done.err.splitlines()] == ["epoch 1", "epoch 2"]
    again = call("vectors", "train", tmp_path / "again.safetensors", "--task", text, *SETTINGS, "--json").json
    assert (again["words"], again["dim"], again["epochs"]) == (15, 8, 2)

    near = call("vectors", "near", made, "cat", "dog", "--count", 3, "--json").json["near"]
    assert list(near) == ["cat", "dog"]
    assert len(near["cat"]) == 3
    best = near["cat"][0]
    assert f"  {best['cosine']:6.3f}  {best['word']}\n" in call("vectors", "near", made, "cat").out
    found = call("vectors", "analogy", made, "cat", "dog", "red", "--count", 2)
    assert [line.split()[1] for line in found.out.splitlines()] == [
        one["word"] for one in call("vectors", "analogy", made, "cat", "dog", "red", "--json").json["analogy"][:2]
    ]

    few = tmp_path / "few.vec"
    assert call("vectors", "convert", made, few, "--limit", 4).out == f"{few}: 4 words, 8 numbers each\n"
    assert few.read_text(encoding="utf-8").startswith("4 8\n")


def test_a_vocabulary_s_pieces_make_a_model(call: Any, text: Path, tmp_path: Path) -> None:
    made = tmp_path / "cbow"
    done = call("vectors", "train", made, "--task", text, *SETTINGS, "--tokenizer", "bytes")
    assert done.code == 0, done.err
    learnt = len(piece_vectors(Cbow.load(made), load_tokenizer(str(made))))
    assert 20 < learnt <= len(set("".join(LINES)))
    assert done.out.startswith(f"{made}: {learnt} pieces, 8 numbers each, from ")
    assert {path.name for path in made.iterdir()} >= {"config.json", "model.safetensors"}
    near = call("vectors", "near", made, "c", "--json").json["near"]["c"]
    assert len(near) == 10
    few = tmp_path / "few.vec"
    assert call("vectors", "convert", made, few, "--limit", 4).out == f"{few}: 4 words, 8 numbers each\n"

    refused(
        call("vectors", "train", made, "--task", text, "--tokenizer", "bytes", "--set", "cut=spaces"),
        2,
        "--set cut: cannot take effect, --tokenizer cuts the text. Drop one of them.",
    )
    out = tmp_path / "v.bin"
    refused(
        call("vectors", "train", out, "--task", text, "--tokenizer", "bytes"),
        2,
        f"{out}: with --tokenizer a folder is written, expected the name of one.",
    )


def test_what_is_refused(call: Any, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.bin"
    refused(
        call("vectors", "train", out, "--task", text, "--set", "dims=8"),
        2,
        "--set.dims: unknown option. Did you mean 'dim'?",
    )
    said = call("vectors", "train", tmp_path / "v.model", "--task", text)
    assert (said.code, said.out) == (2, "")
    assert "v.model: the suffix is '.model', not one of vectors. Known: " in said.err
    said = call("vectors", "train", out, "--task", text, "--set", "min_count=9999")
    assert (said.code, said.out) == (3, "")
    assert "words occur 9999 times or more" in said.err
    refused(call("vectors", "near", out, "cat"), 3, f"{out}: no such file.")
    call("vectors", "train", out, "--task", text, *SETTINGS)
    refused(call("vectors", "near", out, "catt"), 3, "word vectors: no vector for 'catt'. Did you mean 'cat'?")
    assert call("vectors", "analogy", out, "cat", "dog").code == 2
