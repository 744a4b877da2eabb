"""Our T5 against transformers' from one random state dict: logits, loss, gradients, buckets, files both ways.

Provenance: the oracle is the installed `transformers` itself (written against 5.23), run here on tiny shapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.batch import Batch, Run, Side
from textfer.models import load_model
from textfer.models.attention import relative_buckets
from textfer.models.t5 import T5

transformers = pytest.importorskip("transformers")

SHAPES = {
    "v1.0": {"feed_forward_proj": "relu", "num_layers": 3},
    "v1.1": {"feed_forward_proj": "gated-gelu", "num_layers": 3, "tie_word_embeddings": False},
    "mt5": {"feed_forward_proj": "gated-gelu", "num_layers": 2, "num_heads": 3, "d_kv": 6, "vocab_size": 97},
    "flan": {"feed_forward_proj": "gated-gelu", "num_layers": 2, "num_heads": 2, "d_kv": 16, "d_ff": 40},
    "byt5": {"feed_forward_proj": "gated-gelu", "num_layers": 6, "num_decoder_layers": 2, "d_model": 24},
}
UNTIED = {"v1.1", "mt5", "flan", "byt5"}
COMMON = {"vocab_size": 64, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "dropout_rate": 0.0}
BUCKETS = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 10}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reference(kind: str) -> transformers.PreTrainedModel:
    """A random model. transformers 5 ties whatever the config says, so an untied one gets an output layer by hand."""
    torch.manual_seed(3)
    untied = {"tie_word_embeddings": False} if kind in UNTIED else {}
    values = {**COMMON, **BUCKETS, **SHAPES[kind], **untied, "decoder_start_token_id": 0}
    config, family = transformers.T5Config, transformers.T5ForConditionalGeneration
    if kind == "mt5":
        config, family = transformers.MT5Config, transformers.MT5ForConditionalGeneration
    model = family(config(**values))
    if kind in UNTIED:
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.shared.weight) * 0.3)
        model.config.tie_word_embeddings = False
    with torch.no_grad():  # norms are ones at birth, which would hide a wrong place
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.uniform_(0.5, 1.5)
    return model.eval()


def side(ids: Tensor, lens: list[int]) -> Side:
    count = torch.arange(ids.shape[1]).expand_as(ids)
    segments = (count < torch.tensor(lens)[:, None]).long()
    return Side(ids * segments, segments, count * segments, tuple(Run(row, 0, end) for row, end in enumerate(lens)))


def example(vocab: int) -> tuple[Batch, dict[str, Tensor]]:
    """Three rows of different lengths, as ours and as the reference's arguments."""
    torch.manual_seed(4)
    inputs, targets = (
        side(torch.randint(2, vocab, (3, 23)), [23, 9, 1]),
        side(torch.randint(2, vocab, (3, 7)), [2, 7, 5]),
    )
    shifted = torch.cat([torch.zeros(3, 1, dtype=torch.long), targets.ids[:, :-1]], 1)
    decoder = Side(shifted * targets.segments, targets.segments, targets.positions, targets.runs)
    batch = Batch(encoder=inputs, decoder=decoder, targets=targets.ids, weights=targets.segments.float())
    labels = targets.ids.masked_fill(targets.segments == 0, -100)
    return batch, {"input_ids": inputs.ids, "attention_mask": inputs.segments, "labels": labels}


def close(ours: Tensor, theirs: Tensor, what: str) -> None:
    scale = theirs.abs().max().item() + 1e-12
    assert (ours - theirs).abs().max().item() <= 1e-5 * scale, what


@pytest.mark.parametrize("form", ["ragged", "dense"])
@pytest.mark.parametrize("kind", SHAPES)
def test_logits_loss_and_gradients_are_the_reference_s(kind: str, form: str, tmp_path: Path) -> None:
    oracle = reference(kind)
    oracle.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert isinstance(model, T5)
    assert model.options.tie_output == (kind not in UNTIED)
    model.attention = form
    model.eval()
    batch, arguments = example(oracle.config.vocab_size)
    expected = oracle(**arguments)
    real = batch.weights > 0
    close(model(batch).logits[real], expected.logits[real], "logits")

    states, targets, _ = model.states(batch)
    loss = F.cross_entropy(F.linear(states, model.readout()[0]), targets)
    close(loss, expected.loss, "loss")

    loss.backward()
    expected.loss.backward()
    theirs = dict(oracle.named_parameters())
    places = {ours: name for name, ours in model.load_report.loaded.items()}
    assert len(places) == len(theirs)
    for ours, weight in model.named_parameters():
        close(weight.grad, theirs[places[ours]].grad, ours)


@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 10), (64, 512)])
def test_buckets_are_the_reference_s(both_ways: bool, buckets: int, distance: int) -> None:
    offsets = torch.arange(-600, 601)
    oracle = transformers.models.t5.modeling_t5.T5Attention._relative_position_bucket
    ours = relative_buckets(offsets, both_ways=both_ways, num_buckets=buckets, max_distance=distance)
    theirs = oracle(offsets, bidirectional=both_ways, num_buckets=buckets, max_distance=distance)
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("max_shard_bytes", [10**9, 8000])
def test_what_we_save_the_reference_loads(kind: str, max_shard_bytes: int, tmp_path: Path) -> None:
    reference(kind).save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "theirs").eval()
    model.save(tmp_path / "ours", max_shard_bytes=max_shard_bytes)
    loaded, told = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(told.values()), told
    batch, arguments = example(model.vocab_size)
    real = batch.weights > 0
    close(loaded.eval()(**arguments).logits[real], model(batch).logits[real], "logits")
    assert loaded.num_parameters() == sum(weight.numel() for weight in model.parameters())
    again = load_model(tmp_path / "ours")
    assert again.options == model.options
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


# (flags of the file, whether it has an output layer of its own) → (tied, scaled). Written by: 4.x v1.0, 4.x v1.1,
# 5.x v1.0, 5.x v1.1 trained tied, 5.x v1.1 with its own layer, 4.x untied by hand under default flags.
FLAGS = [
    ({"tie_word_embeddings": True}, False, (True, True)),
    ({}, False, (True, True)),
    ({"tie_word_embeddings": False}, True, (False, False)),
    ({"tie_word_embeddings": True, "scale_decoder_outputs": True}, False, (True, True)),
    ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, False, (True, False)),
    ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, True, (False, False)),
    ({"tie_word_embeddings": True}, True, (False, True)),
]


@pytest.mark.parametrize(("flags", "own", "expected"), FLAGS)
def test_flags_of_both_generations(
    flags: dict[str, bool], own: bool, expected: tuple[bool, bool], tmp_path: Path
) -> None:
    reference("v1.1" if own else "v1.0").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("tie_word_embeddings", "scale_decoder_outputs"):
        config.pop(key, None)
    (tmp_path / "config.json").write_text(json.dumps({**config, **flags}))
    model = load_model(tmp_path).eval()
    assert (model.options.tie_output, model.options.scales_output) == expected
    oracle = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    batch, arguments = example(model.vocab_size)
    real = batch.weights > 0
    close(model(batch).logits[real], oracle(**arguments).logits[real], "logits")
    model.save(tmp_path / "again")
    assert load_model(tmp_path / "again").options == model.options
    oracle = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path / "again").eval()
    close(model(batch).logits[real], oracle(**arguments).logits[real], "logits after saving")
