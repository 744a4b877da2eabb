"""Our GPT against transformers' GPT-2 from one random state dict: logits, loss, gradients, what is written, files.

Provenance: the oracle is the installed `transformers` itself (written against 5.23), run here on tiny shapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from textfer.batch import Batch, Ids, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.generate import Decoding, Predictor
from textfer.models import load_model
from textfer.models.gpt import GPT

transformers = pytest.importorskip("transformers")

COMMON = {"vocab_size": 61, "n_embd": 24, "n_head": 3, "n_layer": 3, "n_positions": 48}
COMMON |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "narrow": {"n_inner": 20, "n_layer": 1, "n_head": 1, "layer_norm_epsilon": 1e-3},
    "mistral": {"scale_attn_by_inverse_layer_idx": True, "reorder_and_upcast_attn": True},
    "untied": {"tie_word_embeddings": False, "activation_function": "relu"},
    "exact": {"activation_function": "gelu", "n_head": 4},
}
LENS = (23, 9, 2, 14, 5)
SPECIALS = Specials(pad=0, eos=1)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reference(kind: str) -> transformers.PreTrainedModel:
    """A random model whose biases and norms are not what they are at birth, which would hide a wrong place."""
    torch.manual_seed(3)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**{**COMMON, **SHAPES[kind]}))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "ln_" in name and name.endswith("weight"):
                weight.uniform_(0.5, 1.5)
            else:
                weight.normal_(std=0.3 if name.endswith("bias") else 0.2)
    return model.eval()


def sequences() -> list[np.ndarray]:
    draws = np.random.default_rng(4)
    return [draws.integers(2, COMMON["vocab_size"], size).astype(np.int32) for size in LENS]


def packed() -> Batch:
    """Five texts in three rows, to be written whole."""
    one, two, three, four, five = (Ids(np.zeros(0, np.int32), ids) for ids in sequences())
    return LAYOUTS["causal"].arrange([[one, two], [three], [four, five]], Lens(10, 30), SPECIALS)


def expected(oracle: transformers.PreTrainedModel) -> tuple[Tensor, Tensor]:
    """(the reference's logits of all tokens of the texts, one after the other; its mean loss), each text alone"""
    logits = []
    for ids in sequences():
        read = torch.tensor([[SPECIALS.pad, *ids[:-1].tolist()]])
        logits.append(oracle(input_ids=read).logits[0])
    targets = torch.from_numpy(np.concatenate(sequences()).astype(np.int64))
    return torch.cat(logits), F.cross_entropy(torch.cat(logits), targets)


def close(ours: Tensor, theirs: Tensor, what: str) -> None:
    scale = theirs.abs().max().item() + 1e-12
    assert (ours - theirs).abs().max().item() <= 1e-5 * scale, what


@pytest.mark.parametrize("form", ["ragged", "dense"])
@pytest.mark.parametrize("kind", SHAPES)
def test_logits_loss_and_gradients_are_the_reference_s(kind: str, form: str, tmp_path: Path) -> None:
    oracle = reference(kind)
    oracle.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    assert isinstance(model, GPT)
    model.attention = form
    model.eval()
    batch = packed()
    logits, loss = expected(oracle)
    close(model(batch).logits[batch.decoder.segments > 0], logits, "logits")

    states, targets, _ = model.states(batch)
    ours = F.cross_entropy(F.linear(states, model.readout()[0]), targets)
    close(ours, loss, "loss")

    ours.backward()
    loss.backward()
    theirs = dict(oracle.named_parameters())
    places = {mine: name for name, mine in model.load_report.loaded.items()}
    assert len(places) == len(theirs)
    for name, weight in model.named_parameters():
        grad = theirs[places[name]].grad
        turned = places[name].split(".")[-2] in {"c_attn", "c_proj", "c_fc"} and weight.dim() == 2
        close(weight.grad, grad.t() if turned else grad, name)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("max_shard_bytes", [10**9, 8000])
def test_what_we_save_the_reference_loads(kind: str, max_shard_bytes: int, tmp_path: Path) -> None:
    reference(kind).save_pretrained(tmp_path / "theirs")
    model = load_model(tmp_path / "theirs").eval()
    model.save(tmp_path / "ours", max_shard_bytes=max_shard_bytes)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 1 or max_shard_bytes > 8000
    loaded, told = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(told.values()), told
    batch = packed()
    close(model(batch).logits[batch.decoder.segments > 0], expected(loaded.eval())[0], "logits")
    assert loaded.num_parameters() == sum(weight.numel() for weight in model.parameters())
    again = load_model(tmp_path / "ours")
    assert again.options == model.options
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_files_of_every_age_say_the_same(named: bool, head: bool, tmp_path: Path) -> None:
    """With or without `transformer.`, with or without the tied layer's copy, with the masks of old files."""
    oracle = reference("gpt2")
    oracle.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    prefix = "transformer." if named else ""
    tensors = {f"{prefix}{name.removeprefix('transformer.')}": tensor for name, tensor in tensors.items()}
    masks = {}
    for layer in range(COMMON["n_layer"]):
        masks[f"{prefix}h.{layer}.attn.bias"] = torch.ones(1, 1, 48, 48).tril()
        masks[f"{prefix}h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    own = {"lm_head.weight": tensors[f"{prefix}wte.weight"].clone()} if head else {}
    save_file({**tensors, **masks, **own}, tmp_path / "model.safetensors", {"format": "pt"})
    model = load_model(tmp_path).eval()
    assert model.options.tie_output
    assert sorted(model.load_report.ignored) == sorted(masks)
    assert model.load_report.ties == dict.fromkeys(own, "embedding.weight")
    batch = packed()
    close(model(batch).logits[batch.decoder.segments > 0], expected(oracle)[0], "logits")


def test_a_layer_of_its_own_counts_under_default_flags(tmp_path: Path) -> None:
    reference("untied").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.pop("tie_word_embeddings")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert not load_model(tmp_path).options.tie_output


class Numbers:
    """Texts are token ids in words."""

    specials = SPECIALS
    vocab_size = COMMON["vocab_size"]

    def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(text.split(), np.int32) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_written_is_what_the_reference_writes(kind: str, beams: int, tmp_path: Path) -> None:
    oracle = reference(kind)
    with torch.no_grad():  # as drawn, the end mark may be the likeliest after everything
        oracle.lm_head.weight[SPECIALS.eos] *= 0.5
    oracle.save_pretrained(tmp_path)
    predictor = Predictor(load_model(tmp_path).eval(), Numbers())
    texts = [" ".join(map(str, ids)) for ids in sequences()]
    wanted = []
    for ids in sequences():
        read = torch.tensor([[SPECIALS.pad, *ids.tolist(), SPECIALS.eos]])
        options = {"length_penalty": 0.0, "early_stopping": False} if beams > 1 else {}
        out = oracle.generate(
            read,
            attention_mask=torch.ones_like(read),
            max_new_tokens=12,
            num_beams=beams,
            do_sample=False,
            eos_token_id=SPECIALS.eos,
            pad_token_id=SPECIALS.pad,
            **options,
        )[0, read.shape[1] :].tolist()
        wanted.append(" ".join(map(str, out[: out.index(1) + 1] if 1 in out else out)))
    decoding = Decoding(max_new_tokens=12, batch_size=3, beams=beams, **({"length_penalty": 0.0} if beams > 1 else {}))
    assert [one.text for one in predictor.generate(texts, decoding)] == wanted
    assert len(set(wanted)) >= 3


@pytest.mark.parametrize("kind", SHAPES)
def test_a_prompt_is_gone_on_with_to_the_last_position(kind: str, tmp_path: Path) -> None:
    """Plain language modelling: no end mark after the prompt, and as many tokens as there are positions to read at."""
    oracle = reference(kind)
    with torch.no_grad():
        oracle.lm_head.weight[SPECIALS.eos] *= 0.5
    oracle.save_pretrained(tmp_path)
    predictor = Predictor(load_model(tmp_path).eval(), Numbers(), ends_inputs=False)
    wanted = []
    for ids in sequences():
        read = torch.tensor([[SPECIALS.pad, *ids.tolist()]])
        out = oracle.generate(
            read,
            attention_mask=torch.ones_like(read),
            max_length=COMMON["n_positions"] + 1,
            do_sample=False,
            eos_token_id=SPECIALS.eos,
            pad_token_id=SPECIALS.pad,
        )[0, read.shape[1] :].tolist()
        wanted.append(" ".join(map(str, out[: out.index(1) + 1] if 1 in out else out)))
    texts = [" ".join(map(str, ids)) for ids in sequences()]
    made = predictor.generate(texts, Decoding(max_new_tokens=100, batch_size=3))
    assert [one.text for one in made] == wanted
    rooms = [COMMON["n_positions"] - len(ids) for ids in sequences()]
    assert any(one.num_tokens == room for one, room in zip(made, rooms, strict=True)), "none was cut off"


def test_scores_are_the_reference_s_log_probabilities(tmp_path: Path) -> None:
    oracle = reference("gpt2")
    oracle.save_pretrained(tmp_path)
    predictor = Predictor(load_model(tmp_path).eval(), Numbers())
    text, targets = "7 8 9 10", ["5 6", "11", "30 31 32 33"]
    wanted = []
    for target in targets:
        ids = [*map(int, target.split()), SPECIALS.eos]
        read = [SPECIALS.pad, *map(int, text.split()), SPECIALS.eos, *ids]
        with torch.no_grad():
            shares = oracle(input_ids=torch.tensor([read])).logits[0].log_softmax(-1)
        wanted.append(sum(shares[len(read) - len(ids) - 1 + at, one].item() for at, one in enumerate(ids)))
    assert predictor.score([text], [targets])[0] == pytest.approx(wanted, rel=1e-5)
