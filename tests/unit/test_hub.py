"""Hub-format folders: shards, ties, reports, and one line for everything that can be wrong with a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from textfer.errors import CheckpointError, ConfigError
from textfer.models import load_model
from textfer.models.hub import find_model
from textfer.models.t5 import T5

SHAPE = {"model_dim": 8, "ff_dim": 12, "head_dim": 4, "num_heads": 2, "num_layers": 2, "num_buckets": 8}


def saved(folder: Path, **values: object) -> T5:
    torch.manual_seed(0)
    model = T5.make({**SHAPE, "max_distance": 16, **values}, vocab_size=20)
    model.save(folder)
    return model


def change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def change_tensors(folder: Path, added: dict[str, torch.Tensor], removed: tuple[str, ...] = ()) -> None:
    tensors = {**load_file(folder / "model.safetensors"), **added}
    save_file({name: tensor for name, tensor in tensors.items() if name not in removed}, folder / "model.safetensors")


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("arrangement", ["encdec", "causal", "prefix"])
@pytest.mark.parametrize("feed_forward", ["relu", "gated_gelu", "gated_silu"])
@pytest.mark.parametrize("tied", [True, False])
def test_what_is_saved_loads_the_same(arrangement: str, feed_forward: str, tied: bool, tmp_path: Path) -> None:
    model = saved(tmp_path, arrangement=arrangement, feed_forward=feed_forward, tie_output=tied, dropout=0.05)
    again = load_model(tmp_path)
    assert isinstance(again, T5)
    assert again.options == model.options
    assert again.vocab_size == 20
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(weight.requires_grad for weight in again.parameters())
    assert sorted(again.load_report.loaded.values()) == sorted(state)


def test_shards_are_written_read_and_replaced(tmp_path: Path) -> None:
    model = saved(tmp_path)
    model.save(tmp_path, max_shard_bytes=2000)
    assert not (tmp_path / "model.safetensors").exists()
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(shards) > 2
    assert all(sum(tensor.nbytes for tensor in load_file(tmp_path / name).values()) <= 2000 for name in shards)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in model.parameters())
    assert sorted(set(index["weight_map"].values())) == shards
    again = load_model(tmp_path)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())

    (tmp_path / shards[1]).unlink()
    assert "no such file. The copy is incomplete" in refused(tmp_path)
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_a_shard_without_what_the_index_promises_is_refused(tmp_path: Path) -> None:
    saved(tmp_path).save(tmp_path, max_shard_bytes=2000)
    path = tmp_path / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    first, second = sorted(set(index["weight_map"].values()))[:2]
    name = next(name for name, file in index["weight_map"].items() if file == first)
    index["weight_map"][name] = second
    path.write_text(json.dumps(index))
    assert f"lacks {name}, which the index says it holds" in refused(tmp_path)
    index["weight_map"][name] = "../elsewhere.safetensors"
    path.write_text(json.dumps(index))
    assert "has no weight_map" in refused(tmp_path)


def test_copies_of_the_table_are_ties_and_reported(tmp_path: Path) -> None:
    model = saved(tmp_path, tie_output=True)
    table = model.embedding.weight.detach()
    old = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    change_tensors(
        tmp_path, {"encoder.embed_tokens.weight": table, "lm_head.weight": table.clone(), old: torch.zeros(8, 2)}
    )
    report = load_model(tmp_path).load_report
    assert report.ties == {"encoder.embed_tokens.weight": "embedding.weight", "lm_head.weight": "embedding.weight"}
    assert report.ignored == (old,)
    lines = list(report.lines())
    assert "shared.weight → embedding.weight" in lines
    assert "lm_head.weight = embedding.weight (tied)" in lines
    assert f"{old}: ignored" in lines

    change_tensors(tmp_path, {"encoder.embed_tokens.weight": table + 1})
    assert "encoder.embed_tokens.weight differs from shared.weight" in refused(tmp_path)


@pytest.mark.parametrize("copy", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"])
def test_a_stack_s_own_table_serves_when_the_shared_one_is_not_there(copy: str, tmp_path: Path) -> None:
    model = saved(tmp_path)
    change_tensors(tmp_path, {copy: model.embedding.weight.detach()}, removed=("shared.weight",))
    again = load_model(tmp_path)
    assert torch.equal(again.embedding.weight, model.embedding.weight)
    assert torch.equal(again.output.weight, model.output.weight)
    assert not again.options.tie_output
    assert again.load_report.loaded[copy] == "embedding.weight"


def test_options_and_dtype_of_the_caller(tmp_path: Path) -> None:
    saved(tmp_path, dropout=0.1)
    model = load_model(tmp_path, {"dropout": 0.0}, dtype=torch.bfloat16)
    assert model.options.dropout == 0.0
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    with pytest.raises(ConfigError, match=r"model\.dropout"):
        load_model(tmp_path, {"dropout": 3.0})


def test_every_tensor_that_does_not_fit_is_named_in_one_line(tmp_path: Path) -> None:
    saved(tmp_path)
    change_tensors(tmp_path, {"shared.weight": torch.zeros(21, 8), "extra.weight": torch.zeros(1)}, ("lm_head.weight",))
    assert "lacks lm_head.weight" in refused(tmp_path)
    change_config(tmp_path, tie_word_embeddings=True)
    change_tensors(tmp_path, {}, ("encoder.final_layer_norm.weight",))
    message = refused(tmp_path)
    assert "lacks encoder.final_layer_norm.weight;" in message
    assert "holds unknown extra.weight;" in message
    assert "shared.weight is [21, 8], expected [20, 8]" in message


def test_long_lists_are_cut(tmp_path: Path) -> None:
    saved(tmp_path)
    change_config(tmp_path, num_layers=4, num_decoder_layers=2)
    assert "and 13 more" in refused(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "umt5"}, "model_type is 'umt5', expected one of "),
        ({"model_type": None}, "model_type is None"),
        ({"feed_forward_proj": "gated-tanh"}, "feed_forward_proj is 'gated-tanh'"),
        ({"d_model": "wide"}, "config.json.model_dim: got 'wide'"),
        ({"num_heads": 0}, "config.json.num_heads"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no'"),
    ],
)
def test_a_config_that_cannot_be_is_refused(values: dict[str, object], words: str, tmp_path: Path) -> None:
    saved(tmp_path)
    change_config(tmp_path, **values)
    assert words in refused(tmp_path)


@pytest.mark.parametrize("left", [0, 5, 200, -1])
def test_a_file_cut_short_is_refused(left: int, tmp_path: Path) -> None:
    saved(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:left])
    assert "damaged or cut short" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"7"])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
def test_broken_json_is_refused(file: str, content: bytes, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / file).write_bytes(content)
    assert file in refused(tmp_path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    assert "config.json: no such file" in refused(tmp_path)
    saved(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "has neither model.safetensors nor" in refused(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    message = refused(tmp_path)
    assert "has only pickled weights (pytorch_model.bin), and unpickling runs code" in message
    assert "save_pretrained" in message


def test_a_folder_is_found_and_a_wrong_path_is_said(tmp_path: Path) -> None:
    assert find_model(tmp_path) == tmp_path
    for name in (str(tmp_path / "nothing"), "./nothing", "one/two/three"):
        with pytest.raises(CheckpointError, match="no such folder"):
            find_model(name)


def test_a_loaded_model_outlives_its_file(tmp_path: Path) -> None:
    model = saved(tmp_path)
    again = load_model(tmp_path)
    size = (tmp_path / "model.safetensors").stat().st_size
    (tmp_path / "model.safetensors").write_bytes(b"\0" * size)
    assert torch.equal(again.embedding.weight, model.embedding.weight)
