"""GPT's own invariances: packed = unpacked, ragged = dense, cached = full, and what its options and files refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from letters import TEXTS, Letters
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Batch, Ids, Specials
from textfer.config import PRESETS_DIR, build, read_toml
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError, ConfigError, DataError
from textfer.generate import Decoding, Predictor
from textfer.models import gpt, layers, load_model, model_options
from textfer.models.gpt import GPT, GPTOptions
from textfer.training.loss import cross_entropy

SPECIALS = Specials(pad=0, eos=1)
SMALL = {"model_dim": 18, "num_heads": 3, "num_layers": 2, "context_len": 90}
VOCAB = 40


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(*, vocab: int = VOCAB, sharp: float = 10.0, **values: object) -> GPT:
    """A random model; as drawn, all weights are so small that a wrong one would hardly show."""
    torch.manual_seed(5)
    model = GPT(build(GPTOptions, {**SMALL, "dropout": 0.0, **values}, where="model"), vocab)
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn_like(weight) * 0.1 if weight.dim() == 1 else weight * (sharp - 1)
    return model.eval()


def examples(count: int = 7, seed: int = 0) -> list[Ids]:
    draws = np.random.default_rng(seed)

    def ids(low: int, high: int) -> np.ndarray:
        return draws.integers(2, VOCAB, draws.integers(low, high)).astype(np.int32)

    return [Ids(ids(0, 20), ids(1, 9)) for _ in range(count)]


def batch_of(rows: Sequence[Sequence[Ids]], *, lens: Lens | None = None) -> Batch:
    return LAYOUTS["causal"].arrange(rows, lens or Lens(80, 40), SPECIALS, fixed=lens is not None)


def losses(model: GPT, batch: Batch) -> Tensor:
    states, targets, weights = model.states(batch)
    return F.cross_entropy(F.linear(states, model.readout()[0]), targets, reduction="none") * weights


def grads(model: GPT, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    losses(model, batch).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        scale = theirs[name].abs().max().item() + 1e-12
        assert (value - theirs[name]).abs().max().item() <= tolerance * scale, name


# ---- what a batch says


@pytest.mark.parametrize("form", ["ragged", "dense"])
def test_packed_rows_lose_what_their_examples_lose_alone(form: str) -> None:
    model = model_of()
    model.attention = form
    seen = examples()
    packed = batch_of([seen[:3], seen[3:6], seen[6:]])
    alone = [losses(model, batch_of([[one]])) for one in seen]
    torch.testing.assert_close(losses(model, packed), torch.cat(alone), rtol=1e-5, atol=1e-5)
    whole = grads(model, packed)
    assert whole.keys() == dict(model.named_parameters()).keys()
    parts = [grads(model, batch_of([[one]])) for one in seen]
    assert_same(whole, {name: sum(part[name] for part in parts) for name in whole})


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("activation", ["gelu_tanh", "gelu", "relu"])
def test_ragged_and_dense_agree(activation: str, tied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(tie_output=tied, activation=activation, scale_by_depth=tied)
    seen = examples()
    batch = batch_of([seen[:3], seen[3:4], seen[4:]], lens=Lens(90, 45))
    real = batch.decoder.segments > 0
    found = []
    for form, long in (("ragged", 512), ("ragged", 1), ("dense", 512)):
        model.attention = form
        monkeypatch.setattr(gpt, "LONG", long)
        found.append((model(batch).logits, losses(model, batch), grads(model, batch)))
        torch.testing.assert_close(found[-1][0][real], found[0][0][real], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[-1][1], found[0][1], rtol=1e-5, atol=1e-5)
        assert_same(found[-1][2], found[0][2])
        assert torch.isfinite(found[-1][0]).all()
        assert found[-1][0].shape == (3, batch.decoder.ids.shape[1], VOCAB)


def test_a_later_token_changes_nothing_before_it() -> None:
    model = model_of()
    one = examples(3)[0]
    other = Ids(one.inputs, np.append(one.targets[:-2], [3, 4]).astype(np.int32))
    ours, theirs = (model(batch_of([[ids]])).logits[0] for ids in (one, other))
    assert torch.equal(ours[: len(ours) - 1], theirs[: len(ours) - 1])
    assert not torch.equal(ours[-1], theirs[-1])


def test_the_chunked_loss_is_the_plain_one() -> None:
    model = model_of()
    batch = batch_of([examples(3), examples(2, seed=8)])
    loss = cross_entropy(model, batch)
    torch.testing.assert_close(loss.sum, losses(model, batch).sum())
    assert loss.count == batch.num_targets
    wanted = grads(model, batch)
    model.zero_grad()
    cross_entropy(model, batch).sum.backward()
    assert_same({name: weight.grad for name, weight in model.named_parameters()}, wanted)


def test_a_biased_product_has_the_gradient_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(layers, "FAST_PRODUCTS", True)
    part = layers.BiasedLinear(5, 3).double()
    with torch.no_grad():
        for weight in part.parameters():
            weight.normal_()
    x = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(part(x), F.linear(x, part.weight, part.bias))
    assert torch.autograd.gradcheck(layers._BiasedProduct.apply, (x, part.weight, part.bias))
    with torch.no_grad():
        torch.testing.assert_close(part(x), F.linear(x, part.weight, part.bias))


# ---- writing


def reading(lens: Sequence[int]) -> Batch:
    draws = np.random.default_rng(1)
    any_target = np.array([0], np.int32)
    return batch_of([[Ids(draws.integers(2, VOCAB, size).astype(np.int32), any_target)] for size in lens])


def logits_alone(model: GPT, batch: Batch, written: Tensor) -> Tensor:
    """[R, t, V] by full forward passes: every row's `written` after its own reading, in one go."""
    rows = []
    for row, tokens in enumerate(written.tolist()):
        read = batch.decoder.ids[row][batch.decoder.segments[row] > 0].numpy().astype(np.int32)[1:]
        whole = batch_of([[Ids(read, np.array([*tokens, 9], np.int32))]])
        rows.append(model(whole).logits[0, -len(tokens) :])
    return torch.stack(rows)


@pytest.mark.parametrize("lens", [(5, 5), (2, 17, 9), (0, 4)])
@torch.no_grad()
def test_cached_steps_say_what_a_full_pass_says(lens: tuple[int, ...]) -> None:
    model = model_of(scale_by_depth=True)
    batch = reading(lens)
    written = torch.randint(2, VOCAB, (len(lens), 40))  # more than the first room
    expected = logits_alone(model, batch, written)
    cache = model.begin(batch)
    for at in range(written.shape[1]):
        got = model.step(written[:, at : at + 1], cache)
        torch.testing.assert_close(got, expected[:, at], rtol=1e-4, atol=1e-4)
        assert cache.logits is got
    cache = model.begin(batch)  # several at once, then one, then several
    parts = [model.follow(written[:, start:end], cache) for start, end in ((0, 7), (7, 8), (8, 40))]
    torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-4, atol=1e-4)


def test_answers_do_not_depend_on_the_batch_and_keep_to_the_choices() -> None:
    predictor = Predictor(model_of(vocab=10, sharp=20), Letters())
    for decoding in (Decoding(max_new_tokens=9), Decoding(max_new_tokens=9, beams=3)):
        together = predictor.generate(TEXTS, decoding)
        alone = [predictor.generate([text], decoding)[0] for text in TEXTS]
        assert [one.text for one in together] == [one.text for one in alone]
        assert len({one.text for one in together}) > 1
        ended = [at for at, one in enumerate(together) if one.text.endswith("|") and "." not in one.text]
        assert ended
        scores = predictor.score([TEXTS[at] for at in ended], [[together[at].text[:-1]] for at in ended])
        assert [score for (score,) in scores] == pytest.approx([together[at].log_prob for at in ended], rel=1e-4)
    assert {one.text for one in predictor.generate(TEXTS, choices=["ab", "ba", "c"])} <= {"ab", "ba", "c"}


def test_lying_for_generation_changes_no_number(tmp_path: Path) -> None:
    model = model_of()
    batch = reading((3, 6))
    before = model.begin(batch).logits
    model.lay_for_generation()
    torch.testing.assert_close(model.begin(batch).logits, before, rtol=1e-5, atol=1e-5)
    model.save(tmp_path)
    assert torch.equal(load_model(tmp_path).layers[0].attention.qkv.weight, model.layers[0].attention.qkv.weight)


def test_a_text_beyond_the_positions_is_refused_in_one_line() -> None:
    model = model_of(context_len=12)
    ids = Ids(np.full(9, 5, np.int32), np.full(4, 6, np.int32), origin="made/train:3")
    for form in ("ragged", "dense"):
        model.attention = form
        with pytest.raises(DataError, match=r"made/train:3: is 13 tokens long .* expected 12") as caught:
            losses(model, batch_of([[ids]]))
        assert "\n" not in str(caught.value)
    cache = model.begin(reading((11, 2)))  # and a start mark each
    with pytest.raises(DataError, match="a text: is 13 tokens"):
        model.step(torch.zeros(2, 1, dtype=torch.long), cache)
    cache.keep(torch.tensor([1]))  # the shorter one goes on
    for _ in range(12 - 3):
        model.step(torch.zeros(1, 1, dtype=torch.long), cache)
    with pytest.raises(DataError, match="a text: is 13 tokens"):
        model.step(torch.zeros(1, 1, dtype=torch.long), cache)


# ---- training


@pytest.mark.parametrize("form", ["ragged", "dense"])
@pytest.mark.parametrize("place", ["dropout", "attention_dropout", "embedding_dropout"])
def test_dropout_changes_training_and_not_reading(place: str, form: str) -> None:
    model = model_of(**{"dropout": 0.0, place: 0.2})
    assert (model.options.attention_rate, model.options.embedding_rate) != (0.0, 0.0)
    model.attention = form
    batch = batch_of([examples(3)])
    calm = losses(model, batch)
    assert torch.equal(calm, losses(model, batch))
    model.train()
    torch.manual_seed(1)
    first = losses(model, batch)
    torch.manual_seed(1)
    assert torch.equal(first, losses(model, batch))
    assert not torch.allclose(first, calm)
    assert all(torch.isfinite(value).all() for value in grads(model, batch).values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", ["ragged", "dense"])
def test_half_precision_stays_finite_and_near(dtype: torch.dtype, form: str) -> None:
    model = model_of(sharp=3)
    model.attention = form
    batch = batch_of([examples(3)])
    with torch.no_grad():
        expected = losses(model, batch)
        with torch.autocast("cpu", dtype):
            mixed = losses(model, batch)
            cache = model.begin(reading((3, 5)))
            assert torch.isfinite(model.step(torch.zeros(2, 1, dtype=torch.long), cache)).all()
        torch.testing.assert_close(mixed.float(), expected, rtol=0.1, atol=0.1)
        half = losses(model.to(dtype), batch)
        cache = model.begin(reading((3, 5)))
        assert torch.isfinite(model.step(torch.zeros(2, 1, dtype=torch.long), cache)).all()
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)


def test_gradients_under_autocast_are_finite_and_near() -> None:
    model = model_of(sharp=3)
    batch = batch_of([examples(3)])
    expected = grads(model, batch)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = losses(model, batch).sum()
    loss.backward()
    got = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    assert F.cosine_similarity(got, torch.cat([grad.flatten() for grad in expected.values()]), 0).item() > 0.99


def test_the_dense_form_compiles_without_a_break() -> None:
    model = model_of()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    batch = batch_of([examples(3)])
    model.attention = "dense"
    expected = model(batch).logits
    model.attention = "auto"
    torch.testing.assert_close(compiled(batch).logits, expected)
    with torch.compiler.set_stance("fail_on_recompile"):  # other examples of the same shape need no new graph
        compiled(batch_of([examples(3)[::-1]]))


def test_weights_are_drawn_by_the_reference_s_rules() -> None:
    torch.manual_seed(0)
    model = GPT(GPTOptions(model_dim=64, num_heads=4, num_layers=8, context_len=128), 500)
    block = model.layers[1]
    expected = {
        model.embedding.weight: 0.02,
        model.positions.weight: 0.01,
        block.attention.qkv.weight: 0.02,
        block.attention.o.weight: 0.02 / 4,
        block.feed_forward.wi.weight: 0.02,
        block.feed_forward.wo.weight: 0.02 / 4,
    }
    for weight, std in expected.items():
        assert weight.std().item() == pytest.approx(std, rel=0.05)
    assert torch.equal(block.attention_norm.weight, torch.ones(64))
    assert not any(weight.any() for name, weight in model.named_parameters() if name.endswith("bias"))
    assert losses(model.eval(), batch_of([examples(9)])).mean().item() == pytest.approx(np.log(500), abs=0.05)


def test_depth_names_every_parameter_once_bottom_to_top() -> None:
    groups = model_of(tie_output=False).depth()
    assert len(groups) == 3
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in model_of(tie_output=False).named_parameters())
    assert groups[0] == ["embedding.weight", "positions.weight"]
    assert all(name.startswith("layers.0.") for name in groups[1])
    assert {"norm.weight", "norm.bias", "output.weight", "layers.1.attention.o.bias"} <= set(groups[2])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_dim": 100, "num_heads": 12}, "model_dim is 100, expected a multiple of num_heads"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"context_len": 0}, "model.context_len"),
        ({"activation": "swish"}, "model.activation"),
        ({"num_layer": 2}, "Did you mean 'num_layers'"),
    ],
)
def test_options_refuse_what_cannot_be(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        model_options({"name": "gpt", **values}, where="model")
    assert "\n" not in str(caught.value)


SIZES = sorted(PRESETS_DIR.glob("gpt*.toml"))


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path.stem)
def test_presets_have_the_parameters_they_say(path: Path) -> None:
    said, unit, vocab = re.match(
        r"# ([\d.]+) ([MB]) parameters with .*vocabulary of ([\d,]+)", path.read_text()
    ).groups()
    with torch.device("meta"):
        options = model_options(read_toml(path)["model"], where="model")
        model = GPT.make(options.model_dump(), vocab_size=int(vocab.replace(",", "")))
    count = sum(weight.numel() for weight in model.parameters())
    assert f"{count / {'M': 1e6, 'B': 1e9}[unit]:.1f}" == said


def test_released_sizes_are_there() -> None:
    assert {path.stem for path in SIZES} == {"gpt-mini", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl"}


# ---- files


def change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def change_tensors(folder: Path, added: dict[str, Tensor], removed: tuple[str, ...] = ()) -> None:
    tensors = {**load_file(folder / "model.safetensors"), **added}
    save_file({name: tensor for name, tensor in tensors.items() if name not in removed}, folder / "model.safetensors")


def refused(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"tie_output": False, "ff_dim": 20, "activation": "gelu"},
        {"dropout": 0.2, "attention_dropout": 0.0, "embedding_dropout": 0.1, "norm_eps": 1e-6},
        {"activation": "relu", "scale_by_depth": True, "dropout": 0.05},
    ],
)
def test_what_is_saved_loads_the_same(values: dict[str, object], tmp_path: Path) -> None:
    model = model_of(**values)
    model.marks = {"bos_token_id": 1, "eos_token_id": 1}
    model.save(tmp_path, max_shard_bytes=4000)
    again = load_model(tmp_path)
    assert isinstance(again, GPT)
    assert (again.options, again.vocab_size, again.marks) == (model.options, VOCAB, model.marks)
    state = again.state_dict()
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(weight.requires_grad and weight.is_contiguous() for weight in again.parameters())
    assert sorted(again.load_report.loaded.values()) == sorted(state)
    assert load_model(tmp_path, {"dropout": 0.3}).options.dropout == 0.3


def test_wrong_files_are_refused_in_one_line(tmp_path: Path) -> None:
    qkv, table = "transformer.h.1.attn.c_attn.weight", "transformer.wte.weight"
    model = model_of()

    def fresh() -> Path:
        model.save(tmp_path)
        return tmp_path

    change_tensors(fresh(), {}, removed=(qkv,))
    assert f"lacks {qkv}" in refused(tmp_path)
    change_tensors(fresh(), {"transformer.h.0.crossattention.c_attn.weight": torch.zeros(2)})
    assert "holds unknown transformer.h.0.crossattention.c_attn.weight" in refused(tmp_path)
    change_tensors(fresh(), {qkv: torch.zeros(54, 18)})  # the other way round than the reference has it
    assert f"has misshapen {qkv} is [54, 18], expected [18, 54]" in refused(tmp_path)
    change_tensors(fresh(), {}, removed=(table,))
    assert f"lacks {table}" in refused(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"activation_function": "swish"}, "activation_function is 'swish'"),
        ({"activation_function": ["relu"]}, "activation_function is ['relu']"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False, expected true"),
        ({"add_cross_attention": True}, "add_cross_attention is True, expected false"),
        ({"tie_word_embeddings": False}, "lacks lm_head.weight, and config.json says tie_word_embeddings = false"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no'"),
        ({"vocab_size": "40"}, "vocab_size is '40'"),
        ({"vocab_size": 41}, "has misshapen transformer.wte.weight is [40, 18], expected [41, 18]"),
        ({"n_head": 7}, "model_dim is 18, expected a multiple of num_heads (7). Is config.json that of a GPT-2?"),
        ({"n_layer": "two"}, "Is config.json that of a GPT-2?"),
    ],
)
def test_a_config_that_cannot_be_is_refused(values: dict[str, object], words: str, tmp_path: Path) -> None:
    model_of().save(tmp_path)
    change_config(tmp_path, **values)
    assert words in refused(tmp_path)


def test_a_model_with_something_added_is_not_saved_as_gpt2(tmp_path: Path) -> None:
    model = model_of()
    model.layers[0].adapter = nn.Linear(18, 18)
    with pytest.raises(CheckpointError, match=r"no place for 'layers\.0\.adapter\.weight'"):
        model.save(tmp_path)
    assert torch.isfinite(losses(model, batch_of([examples(2)]))).all()
    assert not list(tmp_path.iterdir())
