"""BERT: one and the same number however rows are laid, what it needs and refuses, and vectors of texts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from textfer.batch import Batch, Ids, Specials
from textfer.config import build
from textfer.data.layout import LAYOUTS, Lens
from textfer.embed import Embedder, EmbedOptions, rule_of
from textfer.errors import CheckpointError, ConfigError, DataError
from textfer.models import as_generator, bert_blocks
from textfer.models.bert import Bert, BertOptions
from textfer.tokenizers import load_tokenizer
from textfer.training.loss import cross_entropy

SMALL = {"model_dim": 24, "ff_dim": 40, "num_heads": 4, "num_layers": 2, "max_positions": 20, "dropout": 0.0}
SPECIALS = Specials(pad=0, eos=2, cls=1, sep=2, mask=3, num_ids=50)
VOCAB = 50
FORMS = ["ragged", "padded attention", "dense"]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "rain", "##s", "heron", "the", "stands", "fish", ".")

pytestmark = pytest.mark.usefixtures("one_thread")


def model_of(**more: object) -> Bert:
    """A random model whose words differ more than those of a new one."""
    torch.manual_seed(2)
    model = Bert(build(BertOptions, {**SMALL, **more}, where="model"), VOCAB)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return model.eval()


def example(length: int, *, seed: int = 0, second: int = 0) -> Ids:
    draw = np.random.default_rng([seed, length])
    tokens = draw.integers(4, VOCAB, length).astype(np.int32)
    weights = np.zeros(length, np.float32)
    weights[:: max(2, length // 3)] = 1.0
    inputs = np.where(weights > 0, 3, tokens).astype(np.int32)
    types = np.repeat(np.array([0, 1], np.int32), [length - second, second])
    return Ids(inputs, tokens, weights, types=types, heads={"next_sentence": length % 2})


EXAMPLES = [example(length, second=length // 2) for length in (9, 1, 14, 4)]


def batch_of(rows: list[list[Ids]], *, fixed: bool = False) -> Batch:
    return LAYOUTS["masked"].arrange(rows, Lens(20, 20), SPECIALS, fixed=fixed)


def measured(model: Bert, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(loss, answers of the sentence head, gradients)"""
    model.zero_grad()
    loss = cross_entropy(model, batch)
    following = model(batch).heads["next_sentence"]
    (loss.sum / loss.count + following.square().sum()).backward()
    grads = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return loss.sum.detach() / loss.count, following.detach(), grads


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["alone", "packed", "fixed"])
def test_rows_say_the_same_however_they_are_laid(form: str, kind: str) -> None:
    model = model_of()
    model.attention = "ragged"
    expected = measured(model, batch_of([[one] for one in EXAMPLES]))
    model.attention = form
    rows = [EXAMPLES[:2], EXAMPLES[2:]] if kind == "packed" else [[one] for one in EXAMPLES]
    found = measured(model, batch_of(rows, fixed=kind == "fixed"))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-5, atol=1e-5)
    assert found[2].keys() == expected[2].keys() == dict(model.named_parameters()).keys()
    for name, grad in found[2].items():
        torch.testing.assert_close(grad, expected[2][name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("form", FORMS)
def test_dropout_is_drawn_in_training_alone_and_keeps_the_mean(form: str) -> None:
    model = model_of(dropout=0.2)
    model.attention = form
    batch = batch_of([[one] for one in EXAMPLES])
    assert torch.equal(model.hidden(batch), model.hidden(batch))
    model.train()
    torch.manual_seed(1)
    first, second = model.hidden(batch), model.hidden(batch)
    torch.manual_seed(1)
    assert torch.equal(model.hidden(batch), first)
    assert not torch.equal(first, second)


def test_a_word_depends_on_its_place_its_sentence_and_its_example_alone() -> None:
    model = model_of()
    one = EXAMPLES[0]
    batch = batch_of([[one, EXAMPLES[1]]])
    other = batch_of([[one, replace(EXAMPLES[1], inputs=np.array([44], np.int32))]])
    plain = batch_of([[replace(one, types=None), replace(EXAMPLES[1], types=None)]])
    length = len(one.inputs)
    hidden = model.hidden(batch)
    torch.testing.assert_close(model.hidden(other)[:, :length], hidden[:, :length])
    assert not torch.allclose(model.hidden(other)[:, length:], hidden[:, length:])
    assert not torch.allclose(model.hidden(plain)[:, 0], hidden[:, 0])
    turned = replace(one, inputs=one.inputs[::-1].copy(), types=None)
    assert not torch.allclose(model.hidden(batch_of([[turned]]))[0].flip(0), model.hidden(plain)[0, :length])


def test_layers_stand_in_order_and_the_last_is_what_is_read() -> None:
    model = model_of()
    batch = batch_of([[one] for one in EXAMPLES])
    states = model.layer_states(batch)
    assert len(states) == 3
    assert torch.equal(states[-1], model.hidden(batch))
    groups = model.depth()
    assert [len(group) for group in groups] == [5, 16, 16 + 2 + 5 + 2]
    assert sorted(name for group in groups for name in group) == sorted(dict(model.named_parameters()))


def test_first_weights_are_those_of_the_release() -> None:
    torch.manual_seed(0)
    model = Bert(build(BertOptions, {**SMALL, "model_dim": 64}, where="model"), 400)
    table = model.embedding.weight
    assert table.abs().max() <= 0.04
    assert abs(table.std().item() - 0.0176) < 0.0005, "0.02, cut off at two deviations"
    assert not any(weight.any() for name, weight in model.named_parameters() if name.endswith("bias"))
    assert all((weight == 1).all() for name, weight in model.named_parameters() if name.endswith("norm.weight"))


def test_heads_are_there_when_asked_for() -> None:
    bare = model_of(masked_lm=False, pooler=False, next_sentence=False)
    batch = batch_of([[one] for one in EXAMPLES])
    output = bare(batch)
    assert (output.logits, dict(output.heads), bare.layout) == (None, {}, "pair")
    assert model_of().layout == "masked"
    with pytest.raises(ConfigError, match="has no head that guesses words"):
        bare.states(batch)
    with pytest.raises(ConfigError, match="without a pooler"):
        bare.pooled(output.hidden, batch.encoder.runs)
    with pytest.raises(ConfigError, match="next_sentence is true, expected a pooler"):
        model_of(pooler=False)
    with pytest.raises(ConfigError, match="expected a multiple of num_heads"):
        model_of(num_heads=5)


def test_what_it_cannot_do_is_refused_in_one_line() -> None:
    model = model_of()
    long = replace(example(21), origin="notes/train:7")
    with pytest.raises(DataError, match="notes/train:7: is 21 tokens long, expected at most 20"):
        model.hidden(batch_of([[long]]))
    with pytest.raises(ConfigError, match=r"eval\.tasks: got a Bert, which reads but does not write"):
        as_generator(model, where="eval.tasks")


# ---- vectors


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS), encoding="utf-8")
    return path


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_vectors_do_not_depend_on_their_company(vocabulary: Path, pooling: str) -> None:
    options = EmbedOptions(pooling=pooling, max_len=6)
    embedder = Embedder(model_of(), load_tokenizer(vocabulary), options)
    texts = ["the heron stands", "", "rains", "the fish the fish the fish"]
    found = embedder.vectors(texts, batch_size=3)
    assert found.shape == (4, 24)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, found, strict=True):
        assert np.allclose(embedder.vectors([text])[0], vector, atol=1e-5)
        pieces, states = embedder.embed_tokens(text)
        assert len(pieces) == len(states) <= 6
        mean = states.mean(0) if pooling == "mean" else states[0]
        assert np.allclose(mean / np.linalg.norm(mean), vector, atol=1e-5)
    assert embedder.embed_tokens("rains")[0] == ["[CLS]", "rain", "##s", "[SEP]"]
    free = Embedder(embedder.model, embedder.tokenizer, EmbedOptions(pooling=pooling, normalise=False))
    lengths = np.linalg.norm(free.vectors(texts), axis=1)
    assert not np.allclose(lengths, 1, atol=1e-2)
    assert free.vectors([]).shape[0] == 0


def test_the_rule_of_a_folder_is_read(tmp_path: Path) -> None:
    assert rule_of(tmp_path) == EmbedOptions()
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Pooling"}]))
    (tmp_path / "1_Pooling").mkdir()
    config = tmp_path / "1_Pooling" / "config.json"
    config.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 128}))
    assert rule_of(tmp_path) == EmbedOptions(pooling="first", normalise=False, max_len=128)
    config.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(CheckpointError, match="pools by max_tokens, expected mean or cls"):
        rule_of(tmp_path)


# ---- padding that is worked on


def read_forward(model: Bert, batch: Batch) -> tuple[Tensor, list[int]]:
    """([B, L, D] last states, how many tokens each layer worked on)"""
    sizes: list[int] = []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[-2]))
    with torch.no_grad():
        return model.layer_states(batch)[-1], sizes


def test_tokens_are_worked_on_in_steps_where_padding_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of([[one] for one in EXAMPLES])
    assert batch.encoder is not None
    counts = {}
    for step in (1, 8, 16, 64):
        monkeypatch.setattr(bert_blocks, "TOKENS_STEP", step)
        states, sizes = read_forward(model_of(), batch)
        counts[step] = (states, sizes)
    tokens = sum(end - start for _, start, end in batch.encoder.runs)
    assert tokens % 8
    assert set(counts[1][1]) == {tokens}
    assert set(counts[8][1]) == {tokens + -tokens % 8}
    assert set(counts[16][1]) == {tokens + -tokens % 16}
    assert set(counts[64][1]) == {batch.encoder.ids.numel()}  # all padding there is, which is less than asked
    for states, _ in counts.values():
        torch.testing.assert_close(states, counts[1][0], atol=2e-6, rtol=1e-5)
        assert not states[batch.encoder.segments == 0].any()


def test_no_padding_is_made_where_there_is_none() -> None:
    batch = batch_of([[example(9)]])
    _, sizes = read_forward(model_of(), batch)
    assert batch.encoder is not None
    assert set(sizes) == {batch.encoder.ids.numel()}
