"""T5's own invariances: packed = unpacked, ragged = dense, cached = full, and what its options refuse."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.batch import Batch, Ids, Run, Side, Specials
from textfer.config import PRESETS_DIR, build, read_toml
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import ConfigError
from textfer.models import attention, layers, load_model, model_options
from textfer.models.t5 import T5, T5Options

SPECIALS = Specials(pad=0, eos=1)
SMALL = {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 2}
SMALL |= {"num_buckets": 8, "max_distance": 12}
VOCAB = 40
ARRANGEMENTS = ["encdec", "causal", "prefix"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(arrangement: str = "encdec", **values: object) -> T5:
    torch.manual_seed(5)
    extra = {"num_decoder_layers": 3} if arrangement == "encdec" else {}
    options = build(T5Options, {**SMALL, **extra, "arrangement": arrangement, "dropout": 0.0, **values}, where="model")
    return T5(options, VOCAB).eval()


def examples(count: int = 7, seed: int = 0) -> list[Ids]:
    draws = np.random.default_rng(seed)

    def ids(low: int, high: int) -> np.ndarray:
        return draws.integers(2, VOCAB, draws.integers(low, high)).astype(np.int32)

    return [Ids(ids(1, 20), ids(1, 9)) for _ in range(count)]


def batch_of(arrangement: str, rows: Sequence[Sequence[Ids]], *, lens: Lens | None = None) -> Batch:
    return LAYOUTS[arrangement].arrange(rows, lens or Lens(80, 40), SPECIALS, fixed=lens is not None)


def losses(model: T5, batch: Batch) -> Tensor:
    states, targets, weights = model.states(batch)
    return F.cross_entropy(F.linear(states, model.readout()[0]), targets, reduction="none") * weights


def grads(model: T5, batch: Batch) -> dict[str, Tensor]:
    model.zero_grad()
    losses(model, batch).sum().backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        scale = theirs[name].abs().max().item() + 1e-12
        assert (value - theirs[name]).abs().max().item() <= tolerance * scale, name


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("form", ["ragged", "dense"])
def test_packed_rows_lose_what_their_examples_lose_alone(arrangement: str, form: str) -> None:
    model = model_of(arrangement)
    model.attention = form
    seen = examples()
    packed = batch_of(arrangement, [seen[:3], seen[3:6], seen[6:]])
    alone = [losses(model, batch_of(arrangement, [[one]])) for one in seen]
    torch.testing.assert_close(losses(model, packed), torch.cat(alone), rtol=1e-5, atol=1e-5)
    whole = grads(model, packed)
    parts = [grads(model, batch_of(arrangement, [[one]])) for one in seen]
    assert_same(whole, {name: sum(part[name] for part in parts) for name in whole})


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("tied", [True, False])
def test_ragged_and_dense_agree(arrangement: str, tied: bool) -> None:
    model = model_of(arrangement, tie_output=tied)
    seen = examples()
    batch = batch_of(arrangement, [seen[:3], seen[3:4], seen[4:]], lens=Lens(90, 45))
    found = {}
    for form in ("ragged", "dense"):
        model.attention = form
        found[form] = (model(batch).logits, losses(model, batch), grads(model, batch))
    real = batch.decoder.segments > 0
    torch.testing.assert_close(found["ragged"][0][real], found["dense"][0][real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found["ragged"][1], found["dense"][1], rtol=1e-5, atol=1e-5)
    assert_same(found["ragged"][2], found["dense"][2])
    assert all(torch.isfinite(value).all() for value in found["dense"][2].values())
    assert torch.isfinite(found["dense"][0]).all()
    assert found["ragged"][0].shape == (3, batch.decoder.ids.shape[1], VOCAB)


# Generation


def logits_alone(model: T5, batch: Batch, written: Tensor) -> Tensor:
    """[R, t, V] by full forward passes: every row's `written` after its own reading, in one go."""
    rows = []
    for row, tokens in enumerate(written.tolist()):
        if batch.encoder is not None:
            ids = batch.encoder.ids[row][batch.encoder.segments[row] > 0].numpy().astype(np.int32)
            one = Ids(ids, np.array([*tokens[1:], 9], np.int32))
        else:  # the layout moves a start mark in front and reads the inputs whole
            read = batch.decoder.ids[row][batch.decoder.segments[row] > 0].numpy().astype(np.int32)[1:]
            one = Ids(read, np.array([*tokens, 9], np.int32))
        whole = batch_of(model.layout, [[one]])
        rows.append(model(whole).logits[0, -len(tokens) :])
    return torch.stack(rows)


def reading(arrangement: str, lens: Sequence[int]) -> Batch:
    draws = np.random.default_rng(1)
    rows = [[Ids(draws.integers(2, VOCAB, size).astype(np.int32), np.array([0], np.int32))] for size in lens]
    batch = batch_of(arrangement, rows)
    return replace(batch, decoder=None) if batch.encoder is not None else batch


@pytest.mark.parametrize("form", ["ragged", "dense"])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("lens", [(5, 5), (2, 17, 9)])
@torch.no_grad()
def test_cached_steps_say_what_a_full_pass_says(arrangement: str, lens: tuple[int, ...], form: str) -> None:
    model = model_of(arrangement)
    batch = reading(arrangement, lens)
    written = torch.randint(2, VOCAB, (len(lens), 40))  # more than the first room
    if arrangement == "encdec":
        written[:, 0] = 0
    expected = logits_alone(model, batch, written)
    model.attention = form
    cache = model.begin(batch)
    assert (cache.logits is None) == (arrangement == "encdec")
    for at in range(written.shape[1]):
        got = model.step(written[:, at : at + 1], cache)
        torch.testing.assert_close(got, expected[:, at], rtol=1e-4, atol=1e-5)
        assert cache.logits is got
    cache = model.begin(batch)  # several at once, then one, then several
    got = [model.follow(written[:, :3], cache), model.step(written[:, 3:4], cache)[:, None]]
    got.append(model.follow(written[:, 4:], cache))
    torch.testing.assert_close(torch.cat(got, 1), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_reading_decoder_says_what_comes_after_its_last_token() -> None:
    model = model_of("prefix")
    batch = reading("prefix", (3, 8))
    expected = [
        model(batch_of("prefix", [[Ids(ids, np.array([4], np.int32))]])).logits[0, -1] for ids in inputs_of(batch)
    ]
    torch.testing.assert_close(model.begin(batch).logits, torch.stack(expected), rtol=1e-4, atol=1e-5)


def inputs_of(batch: Batch) -> list[np.ndarray]:
    rows = zip(batch.decoder.ids, batch.decoder.segments, strict=True)
    return [ids[segments > 0].numpy().astype(np.int32)[1:] for ids, segments in rows]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@torch.no_grad()
def test_beams_share_the_encoder_and_follow_their_order(arrangement: str) -> None:
    model = model_of(arrangement)
    batch = reading(arrangement, (4, 11, 6))
    cache = model.begin(batch)
    start = torch.zeros(3, 1, dtype=torch.long)
    model.step(start, cache)
    cross = [part.data_ptr() for part in cache.cross_keys]
    cache.expand(2)
    assert cache.logits.shape == (6, VOCAB)
    first = torch.tensor([[5], [6], [7], [8], [9], [10]])
    model.step(first, cache)
    order = torch.tensor([1, 1, 2, 3, 5, 4])
    cache.reorder(order)
    got = model.step(torch.full((6, 1), 12), cache)
    assert [part.data_ptr() for part in cache.cross_keys] == cross  # no copies of what the inputs share
    histories = torch.cat([torch.zeros(6, 1, dtype=torch.long), first[order], torch.full((6, 1), 12)], 1)
    alone = logits_alone(model, rows_of(batch, [0, 0, 1, 1, 2, 2]), histories)
    torch.testing.assert_close(got, alone[:, -1], rtol=1e-4, atol=1e-5)
    cache.keep(torch.tensor([0, 2]))
    got = model.step(torch.full((4, 1), 13), cache)
    histories = torch.cat([histories[[0, 1, 4, 5]], torch.full((4, 1), 13)], 1)
    alone = logits_alone(model, rows_of(batch, [0, 0, 2, 2]), histories)
    torch.testing.assert_close(got, alone[:, -1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_columns_change_no_number(tmp_path: Path) -> None:
    model, batch = model_of(), reading("encdec", (4, 11))
    start = torch.zeros(2, 1, dtype=torch.long)
    expected, before = model.step(start, model.begin(batch)), {k: v.clone() for k, v in model.state_dict().items()}
    model.lay_for_generation()
    assert model.output.weight.stride() == (1, VOCAB)
    torch.testing.assert_close(model.step(start, model.begin(batch)), expected, rtol=1e-5, atol=1e-6)
    model.save(tmp_path)
    after = load_model(tmp_path).state_dict()
    assert all(torch.equal(value, after[name]) and after[name].is_contiguous() for name, value in before.items())


def rows_of(batch: Batch, rows: list[int]) -> Batch:
    def taken(side: Side | None) -> Side | None:
        if side is None:
            return None
        runs = tuple(Run(at, side.runs[row].start, side.runs[row].end) for at, row in enumerate(rows))
        return Side(side.ids[rows], side.segments[rows], side.positions[rows], runs)

    return Batch(encoder=taken(batch.encoder), decoder=taken(batch.decoder))


# Parts


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_ragged_attention_has_the_gradient_it_says(with_bias: bool, dropout: float) -> None:
    torch.manual_seed(0)
    spans = ((0, 3, 0, 4), (3, 4, 4, 9), (4, 8, 9, 10))
    q, k, v = (torch.randn(size, 2, 3, dtype=torch.float64, requires_grad=True) for size in (8, 10, 10))
    bias = torch.randn(2, 6, 6, dtype=torch.float64, requires_grad=True) if with_bias else None

    def attend(*tensors: Tensor) -> Tensor:
        torch.manual_seed(7)  # the same elements are dropped every time
        return attention._RaggedAttention.apply(*tensors, *(() if with_bias else (None,)), spans, None, dropout)

    assert torch.autograd.gradcheck(attend, (q, k, v, *((bias,) if with_bias else ())))


def test_an_example_without_inputs_reads_zeros_in_both_forms() -> None:
    model = model_of()
    empty = Ids(np.zeros(0, np.int32), np.array([4, 1], np.int32))
    batch = batch_of("encdec", [[examples(1)[0], empty], [empty]])
    found = []
    for form in ("ragged", "dense"):
        model.attention = form
        found.append((losses(model, batch), grads(model, batch)))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    assert_same(found[0][1], found[1][1])


@pytest.mark.parametrize("dim", [1, 7])
def test_norm_has_the_gradient_it_says(dim: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 2, dim, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(dim, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *both: layers._RMSNorm.apply(*both, 1e-6), (x, weight))
    expected = F.rms_norm(x, (dim,), weight, 1e-6)
    torch.testing.assert_close(layers._RMSNorm.apply(x, weight, 1e-6), expected)


def test_dropout_drops_its_share_repeats_by_seed_and_scales_what_stays() -> None:
    x = torch.ones(1000, 77)
    torch.manual_seed(1)
    dropped = layers.drop(x, 0.1)
    torch.manual_seed(1)
    assert torch.equal(dropped, layers.drop(x, 0.1))
    assert not torch.equal(dropped, layers.drop(x, 0.1))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert dropped.max().item() == pytest.approx(1 / 0.9, rel=1e-4)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.005)
    neighbours = (dropped[:, 1:] == 0) & (dropped[:, :-1] == 0)
    assert neighbours.float().mean().item() == pytest.approx(0.01, abs=0.002)  # four elements share a draw, not a fate


def test_dropout_s_gradients() -> None:
    x, y = torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)

    def seeded(*both: Tensor) -> Tensor:
        torch.manual_seed(2)
        return layers.add_dropped(*both, 0.4) + layers.drop(both[0], 0.2)

    assert torch.autograd.gradcheck(seeded, (x.requires_grad_(), y.requires_grad_()))


@pytest.mark.parametrize("form", ["ragged", "dense"])
def test_dropout_changes_training_and_not_reading(form: str) -> None:
    model = model_of(dropout=0.2)
    model.attention = form
    batch = batch_of("encdec", [examples(3)])
    calm = losses(model, batch)
    assert torch.equal(calm, losses(model, batch))
    model.train()
    torch.manual_seed(1)
    first = losses(model, batch)
    torch.manual_seed(1)
    assert torch.equal(first, losses(model, batch))
    assert not torch.allclose(first, calm)
    assert all(torch.isfinite(value).all() for value in grads(model, batch).values())


def test_toeplitz_reads_the_difference_of_places() -> None:
    values = torch.arange(10.0)[None]  # differences 0…4, unused, −4…−1
    assert attention.toeplitz(values, 5)[0].tolist() == [
        [0, 1, 2, 3, 4],
        [9, 0, 1, 2, 3],
        [8, 9, 0, 1, 2],
        [7, 8, 9, 0, 1],
        [6, 7, 8, 9, 0],
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("form", ["ragged", "dense"])
def test_half_precision_stays_finite_and_near(dtype: torch.dtype, arrangement: str, form: str) -> None:
    model = model_of(arrangement)
    model.attention = form
    batch = batch_of(arrangement, [examples(3)])
    with torch.no_grad():
        expected = losses(model, batch)
        with torch.autocast("cpu", dtype):
            mixed = losses(model, batch)
            cache = model.begin(replace(reading(arrangement, (3, 5))))
            assert torch.isfinite(model.step(torch.zeros(2, 1, dtype=torch.long), cache)).all()
        torch.testing.assert_close(mixed.float(), expected, rtol=0.1, atol=0.1)
        half = losses(model.to(dtype), batch)
        cache = model.begin(reading(arrangement, (3, 5)))
        assert torch.isfinite(model.step(torch.zeros(2, 1, dtype=torch.long), cache)).all()
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("form", ["ragged", "dense"])
def test_gradients_under_autocast_are_finite_and_near(form: str) -> None:
    model = model_of()
    model.attention = form
    batch = batch_of("encdec", [examples(3)])
    expected = grads(model, batch)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = losses(model, batch).sum()
    loss.backward()
    got = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    assert F.cosine_similarity(got, torch.cat([grad.flatten() for grad in expected.values()]), 0).item() > 0.99


def test_feed_forward_outputs_beyond_float16_survive() -> None:
    part = layers.FeedForward(4, 4, kind="relu", dropout=0.0).half()
    with torch.no_grad():
        part.wi.weight.fill_(50.0)
        part.wo.weight.fill_(50.0)
        out = part(torch.full((1, 4), 10.0, dtype=torch.float16))
    assert out.dtype == torch.float32
    assert out.tolist() == [[400_000.0] * 4]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_the_dense_form_compiles_without_a_break(arrangement: str) -> None:
    model = model_of(arrangement)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    batch = batch_of(arrangement, [examples(3)])
    model.attention = "dense"
    expected = model(batch).logits
    model.attention = "auto"
    torch.testing.assert_close(compiled(batch).logits, expected)
    with torch.compiler.set_stance("fail_on_recompile"):  # other examples of the same shape need no new graph
        compiled(batch_of(arrangement, [examples(3, seed=0)[::-1]]))


def test_first_loss_is_near_that_of_guessing() -> None:
    model = model_of(model_dim=64, head_dim=16, num_heads=4, ff_dim=128)
    assert losses(model, batch_of("encdec", [examples(20)])).mean().item() == pytest.approx(
        np.log(VOCAB) + 0.5, abs=0.4
    )


def test_weights_are_drawn_by_the_reference_s_rules() -> None:
    model = model_of(model_dim=64, head_dim=16, num_heads=4, ff_dim=256, num_layers=4)
    block = model.decoder.layers[1]
    expected = {
        model.embedding.weight: 1.0,
        block.attention.q.weight: (64 * 16) ** -0.5,
        block.cross.k.weight: 64**-0.5,
        block.attention.o.weight: 64**-0.5,
        block.feed_forward.gate.weight: 64**-0.5,
        block.feed_forward.wo.weight: 256**-0.5,
        model.output.weight: 64**-0.5,
    }
    for weight, std in expected.items():
        assert weight.std().item() == pytest.approx(std, rel=0.06)
    assert torch.equal(block.cross_norm.weight, torch.ones(64))


def test_depth_names_every_parameter_once_bottom_to_top() -> None:
    model = T5(T5Options(**SMALL, num_decoder_layers=1), VOCAB)
    groups = model.depth()
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert sorted(groups[0]) == ["decoder.relative_bias.weight", "embedding.weight", "encoder.relative_bias.weight"]
    assert {name.rsplit(".", 3)[0] for name in groups[1]} <= {"encoder.layers.0", "encoder.layers"}
    assert {"decoder.norm.weight", "encoder.norm.weight", "output.weight", "decoder.layers.0.cross.q.weight"} <= set(
        groups[2]
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"arrangement": "causal", "num_decoder_layers": 2}, "expected no num_decoder_layers"),
        ({"max_distance": 16, "num_buckets": 32}, "max_distance is 16"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"num_heads": 0}, "model.num_heads"),
        ({"feed_forward": "swish"}, "model.feed_forward"),
        ({"num_layer": 2}, "Did you mean 'num_layers'"),
    ],
)
def test_options_refuse_what_cannot_be(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        model_options({"name": "t5", **values}, where="model")
    assert "\n" not in str(caught.value)


def test_a_frozen_part_gets_no_gradient() -> None:
    model = model_of()
    for name, weight in model.named_parameters():
        weight.requires_grad_(name.endswith("cross.q.weight"))
    found = grads(model, batch_of("encdec", [examples(3)]))
    assert sorted(found) == [f"decoder.layers.{layer}.cross.q.weight" for layer in range(3)]


SIZES = sorted(path for path in PRESETS_DIR.glob("*t5-*.toml") if "vocabulary of" in path.read_text())


@pytest.mark.parametrize("path", SIZES, ids=lambda path: path.stem)
def test_presets_have_the_parameters_they_say(path: Path) -> None:
    said, unit, vocab = re.match(
        r"# ([\d.]+) ([MB]) parameters with .*vocabulary of ([\d,]+)", path.read_text()
    ).groups()
    with torch.device("meta"):
        options = model_options(read_toml(path)["model"], where="model")
        model = T5.make(options.model_dump(), vocab_size=int(vocab.replace(",", "")))
    count = sum(weight.numel() for weight in model.parameters())
    assert f"{count / {'M': 1e6, 'B': 1e9}[unit]:.1f}" == said


def test_released_sizes_are_there() -> None:
    sizes = {"t5": 7, "t5-v1_1": 6, "mt5": 5, "byt5": 5}  # t5-mini and t5-tiny are ours
    assert {family: sum(path.stem.rpartition("-")[0] == family for path in SIZES) for family in sizes} == sizes
