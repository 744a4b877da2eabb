"""Models that lie in the package: small on disk, the same numbers in every family, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import textfer.models.packed as packed
from textfer.cli import cli
from textfer.errors import CheckpointError, ConfigError
from textfer.models import MODELS, load_model
from textfer.models.hub import TensorFiles, find_model
from textfer.models.packed import MANIFEST, SCALES, pack_model, restored, squeezed
from textfer.parts import load

SIZES = {"model_dim": 64, "ff_dim": 128, "num_heads": 2, "num_layers": 1}


@pytest.fixture(scope="module")
def model(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny T5 in the hub's format, its vocabulary beside it."""
    from textfer.tokenizers import load_tokenizer

    folder = tmp_path_factory.mktemp("model")
    tokenizer = load_tokenizer(str(vocabulary))
    torch.manual_seed(3)
    made = MODELS.get("t5").make({**SIZES, "head_dim": 32}, vocab_size=tokenizer.vocab_size)
    made.save(folder)
    tokenizer.save(folder / "tokenizer")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for models of the package."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    monkeypatch.setattr(packed, "EMBEDDED_DIR", folder)
    return folder


@pytest.mark.parametrize("shape", [(100, 128), (70, 100)])
def test_eight_bits_are_near(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) * torch.logspace(-3, 1, shape[0])[:, None]
    stored = squeezed("w", matrix, 8)
    back = restored(stored["w"], stored[f"w{SCALES}"])
    block = packed.BLOCK if shape[1] % packed.BLOCK == 0 else shape[1]
    most = matrix.view(shape[0], -1, block).abs().amax(-1, keepdim=True)
    far = (back - matrix).view(shape[0], -1, block).abs()
    assert (far <= most * (0.5 / 127) * 1.02).all()  # half a step of the block's scale, which is rounded up
    assert sum(tensor.nbytes for tensor in stored.values()) < matrix.nbytes * 0.27
    assert torch.equal(restored(*squeezed("w", torch.zeros(64, 64), 8).values()), torch.zeros(64, 64))


def test_what_is_small_or_no_matrix_stays() -> None:
    for tensor in (torch.randn(5000), torch.randn(10, 10), torch.arange(10_000).view(100, 100)):
        assert squeezed("w", tensor, 8) == {"w": tensor}
    assert squeezed("w", torch.randn(100, 100), 16)["w"].dtype == torch.bfloat16


@pytest.mark.parametrize(("bits", "near", "smaller"), [(8, 0.02, 0.32), (16, 0.02, 0.56)])
def test_a_packed_model_says_nearly_the_same(
    model: Path, tmp_path: Path, bits: int, near: float, smaller: float
) -> None:
    size = pack_model(model, tmp_path / "small", bits=bits)  # type: ignore[arg-type]
    assert size == sum(path.stat().st_size for path in (tmp_path / "small").rglob("*") if path.is_file())
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "small", model)]
    assert sizes[0] < smaller * sizes[1]
    ours, theirs = (dict(load_model(folder).named_parameters()) for folder in (tmp_path / "small", model))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        assert weight.dtype == torch.float32
        assert (weight - theirs[name]).abs().max() <= near * theirs[name].abs().max(), name
    assert TensorFiles(tmp_path / "small").shapes == TensorFiles(model).shapes


def test_a_model_of_the_package_is_found_by_its_name(model: Path, home: Path) -> None:
    pack_model(model, home / "tiny-writer", about={"summary": "For tests", "licence": "Apache-2.0"})
    assert find_model("tiny-writer") == home / "tiny-writer"
    loaded = load("tiny-writer", device="cpu")
    assert loaded.generate(["question: who?"]) == load(str(home / "tiny-writer"), device="cpu").generate(
        ["question: who?"]
    )  # type: ignore[union-attr]
    shown = CliRunner().invoke(cli, ["show", "models", "--json"])
    (row,) = json.loads(shown.output)["embedded"]
    assert (row["name"], row["bits"], row["licence"]) == ("tiny-writer", 8, "Apache-2.0")
    assert row["num_parameters"] == sum(weight.numel() for weight in load_model(model).parameters())
    text = CliRunner().invoke(cli, ["show", "models"]).output
    assert "Embedded weights:\ntiny-writer" in text
    assert "For tests" in CliRunner().invoke(cli, ["show", "model", "tiny-writer"]).output


def test_none_is_embedded(home: Path) -> None:
    shown = CliRunner().invoke(cli, ["show", "models"])
    assert "No weights are embedded in this version." in shown.output
    assert json.loads(CliRunner().invoke(cli, ["show", "models", "--json"]).output)["embedded"] == []


def test_damage_is_told(model: Path, home: Path) -> None:
    pack_model(model, home / "tiny")
    weights = home / "tiny" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged .*Install textfer again"):
        load("tiny", device="cpu")
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: missing"):
        load("tiny", device="cpu")
    (home / "tiny" / MANIFEST).write_text("{")
    with pytest.raises(CheckpointError, match=r"packed\.json: cannot be read"):
        load("tiny", device="cpu")


def test_heads_are_packed_too(tmp_path: Path, vocabulary: Path) -> None:
    from textfer.heads import Head
    from textfer.models.headed import HeadOptions, with_heads
    from textfer.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(str(vocabulary))
    torch.manual_seed(1)
    reader = MODELS.get("bert").make(
        {**SIZES, "pooler": False, "next_sentence": False}, vocab_size=tokenizer.vocab_size
    )
    made = with_heads(reader, [Head(name="span", kind="span", tasks=("squad",), threshold=0.0)], HeadOptions())
    made.save(tmp_path / "model")
    pack_model(
        tmp_path / "model", tmp_path / "small", tokenizer=vocabulary if vocabulary.is_dir() else vocabulary.parent
    )
    ours, theirs = (dict(load_model(tmp_path / name).named_parameters()) for name in ("small", "model"))
    assert ours.keys() == theirs.keys()
    assert any(name.startswith("heads") or "span" in name for name in ours)


def test_a_model_that_is_too_large_is_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MAX_BYTES", 10_000)
    with pytest.raises(ConfigError, match=r"bytes in 8 bits, expected at most 10,000"):
        pack_model(model, tmp_path / "small")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "small").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        pack_model(model, tmp_path / "small")
