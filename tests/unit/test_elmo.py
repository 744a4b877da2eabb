"""ELMo: who sees what, however rows are laid; its character CNN in numpy; its files; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from textfer.adapt import make_method
from textfer.batch import Batch, Ids, Specials
from textfer.config import build
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError, ConfigError, DataError
from textfer.heads import Head
from textfer.models import as_generator, load_model
from textfer.models.characters import NO_CHARACTER, Characters, spelt, spelt_pieces, spelt_words
from textfer.models.elmo import Elmo, ElmoOptions
from textfer.models.headed import Headed
from textfer.models.mix import ScalarMix
from textfer.tokenizers import load_tokenizer
from textfer.training.loss import cross_entropy, loss_of

SMALL = {"model_dim": 6, "num_cells": 9, "char_dim": 4, "filters": [[1, 3], [2, 5]], "max_chars": 10}
VOCAB = 30
SPECIALS = Specials(pad=0, eos=1)
TEXTS = [[5, 9, 12, 7, 5], [8], [9, 9, 20, 4]]

pytestmark = pytest.mark.usefixtures("one_thread")


def model_of(**more: object) -> Elmo:
    """A random model whose states differ more than those of a new one."""
    torch.manual_seed(2)
    model = Elmo(build(ElmoOptions, {**SMALL, "dropout": 0.0, **more}, where="model"), VOCAB)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return model.eval()


def batch_of(*rows: list[list[int]], fixed: bool = False) -> Batch:
    examples = [[Ids(*(np.array(ids, np.int32) for _ in range(2)), origin="notes:1") for ids in row] for row in rows]
    return LAYOUTS["both_ways"].arrange(examples, Lens(16, 16), SPECIALS, fixed=fixed)


def by_side(states: Tensor) -> tuple[Tensor, Tensor]:
    """States [M, P] of the left side and of the right side, token by token."""
    return states[::2], states[1::2]


# ---- who sees what


def test_the_left_side_never_sees_what_follows_and_the_right_side_never_what_came() -> None:
    model, at = model_of(), 2
    plain = model.layer_states(batch_of([TEXTS[0]]))
    changed = model.layer_states(batch_of([[*TEXTS[0][:at], 25, *TEXTS[0][at + 1 :]]]))
    for ours, theirs in zip(plain, changed, strict=True):
        assert torch.equal(ours[0, :at, :6], theirs[0, :at, :6])
        assert torch.equal(ours[0, at + 1 :, 6:], theirs[0, at + 1 :, 6:])
    for ours, theirs in zip(plain[1:], changed[1:], strict=True):
        assert not (ours[0, at:, :6] == theirs[0, at:, :6]).all(1).any()
        assert not (ours[0, : at + 1, 6:] == theirs[0, : at + 1, 6:]).all(1).any()


def test_no_side_sees_the_token_that_it_guesses() -> None:
    model, at = model_of(), 2
    plain, targets, weights = model.states(batch_of([TEXTS[0]]))
    changed, others, _ = model.states(batch_of([[*TEXTS[0][:at], 25, *TEXTS[0][at + 1 :]]]))
    assert targets.tolist() == [id_ for id_ in TEXTS[0] for _ in range(2)]
    assert others.tolist()[2 * at] == 25
    assert weights.tolist() == [0.5] * 10
    (left, right), (left_too, right_too) = by_side(plain), by_side(changed)
    assert torch.equal(left[: at + 1], left_too[: at + 1])
    assert torch.equal(right[at:], right_too[at:])
    assert not torch.isclose(left[at + 1], left_too[at + 1]).all()
    assert not torch.isclose(right[at - 1], right_too[at - 1]).all()


def test_what_guesses_a_token_is_the_state_of_its_neighbour() -> None:
    model = model_of()
    hidden = model.hidden(batch_of([TEXTS[0]]))[0]
    left, right = by_side(model.states(batch_of([TEXTS[0]]))[0])
    torch.testing.assert_close(left[1:], hidden[:-1, :6])
    torch.testing.assert_close(right[:-1], hidden[1:, 6:])
    begun, ended = by_side(model.states(batch_of([[17]]))[0])
    torch.testing.assert_close(left[:1], begun, msg="before the first token stands the same mark in every text")
    torch.testing.assert_close(right[-1:], ended)


@pytest.mark.parametrize("kind", ["packed", "fixed"])
def test_rows_say_the_same_however_they_are_laid(kind: str) -> None:
    model = model_of()
    alone = [model.layer_states(batch_of([ids])) for ids in TEXTS]
    batch = (
        batch_of(TEXTS[:2], TEXTS[2:], fixed=True) if kind == "packed" else batch_of(*([t] for t in TEXTS), fixed=True)
    )
    found = model.layer_states(batch)
    assert batch.encoder is not None
    for number, (row, start, end) in enumerate(batch.encoder.runs):
        for layer, states in enumerate(found):
            torch.testing.assert_close(states[row, start:end], alone[number][layer][0])
    nothing = batch.encoder.segments == 0
    assert nothing.any()
    assert all(not states[nothing].any() for states in found)


def test_layers_are_the_token_twice_and_then_a_residual_stack() -> None:
    model = model_of(num_layers=3)
    states = model.layer_states(batch_of([TEXTS[0]]))
    assert [tuple(one.shape) for one in states] == [(1, 5, 12)] * 4
    assert torch.equal(states[0][..., :6], states[0][..., 6:])
    assert torch.equal(states[0][0, 0], states[0][0, 4]), "the same token twice"
    assert torch.equal(model.hidden(batch_of([TEXTS[0]])), states[-1])
    with torch.no_grad():
        for side in (model.layers[1].left, model.layers[1].right):
            side.wo.zero_()  # what a silent layer passes on is what it was given
    silent = model.layer_states(batch_of([TEXTS[0]]))
    assert torch.equal(silent[2], silent[1])


def test_a_text_in_parts_is_read_from_the_left_as_if_whole() -> None:
    model, rows = model_of(), [[5, 9, 12, 7, 5, 3], [8, 4, 4, 11]]
    whole = model.layer_states(batch_of(*([ids] for ids in rows)))
    cuts, carried, parts = (0, 1, 3, 4), None, []
    for start, end in zip(cuts, (1, 3, 4, 6), strict=True):
        pieces = [ids[start:end] or [2] for ids in rows]
        states, carried = model.stream_states(batch_of(*([ids] for ids in pieces)), carried)
        parts.append(states)
    for layer in range(3):
        for row, ids in enumerate(rows):
            joined = torch.cat([part[layer][row] for part in parts])[: len(ids)]
            torch.testing.assert_close(joined[:, :6], whole[layer][row, : len(ids), :6])
    assert torch.equal(parts[0][0], model.layer_states(batch_of([[5]], [[8]]))[0])
    with pytest.raises(DataError, match="stream: got 1 rows after 2, expected the same ones"):
        model.stream_states(batch_of([[5]]), carried)
    with pytest.raises(DataError, match="rows with several texts or none, expected one a row"):
        model.stream_states(batch_of([[5], [6]]), None)


# ---- characters


def test_words_are_spelt_as_in_the_release() -> None:
    """Worked by hand after `_convert_word_to_char_ids` in bilm/data.py: é is two bytes; 258, 259 and 260 are marks."""
    assert spelt(list("né".encode()), 7).tolist() == [258, 110, 195, 169, 259, 260, 260]
    assert spelt(list(b"herons"), 6).tolist() == [258, 104, 101, 114, 111, 259]
    words = spelt_words([["a", "fish"], ["o"]], 5)
    assert words.tolist() == [
        [[259, 98, 260, 261, 261], [259, 103, 106, 116, 260]],
        [[259, 112, 260, 261, 261], [0, 0, 0, 0, 0]],
    ]
    for texts in ([["a"], []], [[""]], [["a", 3]], []):
        with pytest.raises(DataError, match=r"^texts: got"):
            spelt_words(texts, 5)  # type: ignore[arg-type]


def test_pieces_are_spelt_by_their_bytes(vocabulary: Path) -> None:
    tokenizer = load_tokenizer(vocabulary)
    table = spelt_pieces(tokenizer, tokenizer.vocab_size, 16)
    names = tokenizer.pieces(range(tokenizer.vocab_size))
    assert len(table) == tokenizer.vocab_size + 2
    assert table[tokenizer.specials.eos, :3].tolist() == [258, 257, 259]
    assert table[-2:, :3].tolist() == [[258, 256, 259], [258, 257, 259]]
    at = next(number for number, name in enumerate(names) if name.startswith("▁") and len(name) > 3)
    assert bytes(table[at, 1 : len(names[at]) + 1].tolist()) == b" " + names[at][1:].encode()
    assert spelt_pieces(load_tokenizer("bytes"), 384, 5)[3 + 10, :4].tolist() == [258, 10, 259, 260], "<0x0A> is a byte"


def test_the_character_cnn_is_the_paper() -> None:
    """Against loops in numpy over all C characters, with no word cut short."""
    torch.manual_seed(4)
    part = Characters(4, ((1, 3), (2, 5), (3, 2)), num_highways=2, dim=6).double()
    part.initialise()
    with torch.no_grad():
        for weight in part.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    words = [spelt(list(word), 12) for word in (b"heron", b"a", b"estuaries!")]
    found = part(torch.from_numpy(np.stack(words))).detach().numpy()
    get = {name: weight.detach().numpy() for name, weight in part.named_parameters()}
    for word, ours in zip(words, found, strict=True):
        vectors = get["embedding.weight"][word]
        strongest: list[float] = []
        for number, (width, count) in enumerate(((1, 3), (2, 5), (3, 2))):
            for one in range(count):
                weight, bias = get[f"filters.{number}.weight"][one], get[f"filters.{number}.bias"][one]
                seen = [bias + (weight * vectors[at : at + width].T).sum() for at in range(12 - width + 1)]
                strongest.append(max(0.0, *seen))
        x = np.array(strongest)
        for number in range(2):
            at = f"highways.{number}"
            gate = 1 / (1 + np.exp(-(get[f"{at}.gate.weight"] @ x + get[f"{at}.gate.bias"])))
            x = gate * np.maximum(get[f"{at}.change.weight"] @ x + get[f"{at}.change.bias"], 0) + (1 - gate) * x
        np.testing.assert_allclose(ours, get["projection.weight"] @ x + get["projection.bias"], rtol=1e-10)


def test_words_by_their_own_characters_are_the_same_words() -> None:
    model = model_of()
    words = [["ibis", "nest", "ibis"], ["reed"]]
    with pytest.raises(ConfigError, match="knows its tokens by their numbers alone"):
        model.word_layer_states(spelt_words(words, 10))
    names = ["<pad>", "</s>", *(f"n{number}" for number in range(2, VOCAB))]
    names[5], names[9], names[12] = "ibis", "nest", "reed"
    model.spell(Named(names))
    found = model.word_layer_states(spelt_words(words, 10))
    expected = model.layer_states(batch_of([[5, 9, 5]], [[12]]))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert model.word_layer_states(spelt_words([["unheard-of"]], 10))[0].any()
    broken = spelt_words(words, 10)
    for wrong in (broken[:, :, :0], broken.flip(1), broken[1:].repeat(1, 2, 1).clamp(max=400) * 2, broken[:0]):
        with pytest.raises(DataError, match="expected what `spelt_words` makes"):
            model.word_layer_states(wrong)


class Named:
    """A vocabulary of these words."""

    specials = SPECIALS

    def __init__(self, names: list[str]) -> None:
        self.names, self.vocab_size = names, len(names)

    def pieces(self, ids: Any) -> list[str]:
        return [self.names[i] for i in ids]


# ---- the model as a part


def test_the_paper_has_93_6_million_parameters() -> None:
    """Counted by hand from the shapes in bilm/training.py: characters, filters, highways, projection, LSTM layers."""
    filters = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
    characters = 261 * 16 + sum(count * (16 * width + 1) for width, count in filters)
    highways, projection = 2 * 2 * (2048 * 2048 + 2048), 2048 * 512 + 512
    sides = 2 * 2 * (4 * 4096 * (512 + 512 + 1) + 512 * 4096)
    with torch.device("meta"):
        model = Elmo(ElmoOptions(lm=False), 100)
    found = sum(weight.numel() for weight in model.parameters())
    assert found == characters + highways + projection + sides
    assert round(found / 1e6, 1) == 93.6
    assert model.layout == "pair"
    assert model.state_dim == 1024


def test_first_weights_are_those_of_the_release() -> None:
    torch.manual_seed(0)
    model = Elmo(build(ElmoOptions, {**SMALL, "filters": [[1, 40], [3, 60]]}, where="model"), 4000)
    assert 0.99 < model.characters.embedding.weight.abs().max() <= 1
    assert 0.049 < model.characters.filters[1].weight.abs().max() <= 0.05
    gate = model.characters.highways[0].gate
    assert gate.bias.eq(-2).all()
    assert abs(gate.weight.std().item() - 0.1) < 0.005
    assert abs(model.readout()[0].std().item() - 6**-0.5) < 0.01
    assert not model.readout()[1].any()


def test_what_is_saved_is_loaded(tmp_path: Path, vocabulary: Path) -> None:
    tokenizer = load_tokenizer(vocabulary)
    model = Elmo.make({**SMALL, "cell_clip": None}, vocab_size=tokenizer.vocab_size).eval()
    model.spell(tokenizer)
    model.save(tmp_path)
    again = load_model(tmp_path, {"dropout": 0.3})
    assert isinstance(again, Elmo)
    again.eval()
    assert again.options == model.options.model_copy(update={"dropout": 0.3})
    assert again.is_spelt
    assert again.load_report is not None
    assert set(again.load_report.loaded) == {*dict(model.named_parameters()), "spellings"}
    batch, words = batch_of(TEXTS[:2], TEXTS[2:]), spelt_words([["heron"]], 10)
    assert torch.equal(again.hidden(batch), model.hidden(batch))
    assert torch.equal(again.word_layer_states(words)[-1], model.word_layer_states(words)[-1])
    assert again.training is False
    bare = load_model(tmp_path, {"lm": False})
    assert bare.load_report.ignored == ("output.bias", "output.weight")  # type: ignore[attr-defined]
    assert torch.equal(bare.eval().hidden(batch), model.hidden(batch))  # type: ignore[attr-defined]


def test_half_precision_is_near(tmp_path: Path) -> None:
    model, batch = model_of(), batch_of(TEXTS[:2], TEXTS[2:])
    model.save(tmp_path)
    half: Any = load_model(tmp_path, dtype=torch.bfloat16).eval()
    assert half.spellings.dtype == torch.int32
    found, expected = half.hidden(batch), model.hidden(batch)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(model.hidden(batch).float(), expected, rtol=0.1, atol=0.1)
        cross_entropy(model, batch).sum.backward()


def test_heads_stand_upon_both_sides(tmp_path: Path) -> None:
    head = Head(name="kind", kind="class", labels=("bird", "fish", "reed"))
    model = Headed(model_of(), [head]).eval()
    examples = [Ids(np.array(ids, np.int32), np.zeros(0, np.int32), heads={"kind": 1}) for ids in TEXTS]
    batch = LAYOUTS[model.layout].arrange([examples[:2], examples[2:]], Lens(16, 0), SPECIALS)
    loss_of(model, batch).sum.backward()
    assert not any("output" in name for name, _ in model.named_parameters()), "nothing that could not learn"
    assert all(weight.grad is not None and weight.grad.any() for weight in model.parameters())
    assert model.heads["kind"].weight.shape == (3, 12)
    model.save(tmp_path)
    assert torch.equal(load_model(tmp_path).eval()(batch).heads["kind"], model(batch).heads["kind"])


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model_of().save(tmp_path)
    config, file = tmp_path / "config.json", tmp_path / "model.safetensors"
    values, tensors = json.loads(config.read_text(encoding="utf-8")), load_file(file)
    for changed, message in (
        ({"num_cells": 4}, "num_cells is 4, expected model_dim"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
        ({"num_cells": 12}, "has misshapen"),
        ({"num_layers": 1}, "holds unknown layers.1"),
        ({"wide": 1}, "wide"),
    ):
        config.write_text(json.dumps({**values, **changed}), encoding="utf-8")
        with pytest.raises(CheckpointError, match=message) as caught:
            load_model(tmp_path)
        assert "\n" not in str(caught.value)
    config.write_text(json.dumps(values), encoding="utf-8")
    save_file({**tensors, "spellings": tensors["spellings"] + 200}, file)
    with pytest.raises(CheckpointError, match="spellings holds numbers that are no characters"):
        load_model(tmp_path)


def test_all_parameters_are_a_layers_and_thaw_from_the_top() -> None:
    model = model_of(num_layers=2)
    groups = model.depth()
    assert sorted(name for group in groups for name in group) == sorted(dict(model.named_parameters()))
    assert {name.split(".")[0] for name in groups[0]} == {"characters"}
    assert groups[1][0] == "layers.0.left.wh"
    assert groups[2][-1] == "output.bias"
    plan = make_method({"name": "gradual", "variant": "ulmfit"}).plan(model, num_steps=3)
    assert plan.trainable(0) == frozenset(groups[2])
    assert plan.trainable(1) == frozenset(groups[2] + groups[1])
    assert plan.trainable(2) == frozenset(dict(model.named_parameters()))


def test_dropout_is_drawn_for_every_place_in_training_alone() -> None:
    model = model_of(dropout=0.3)
    batch = batch_of([[5, 5, 5]])
    assert torch.equal(model.hidden(batch), model.hidden(batch))
    model.train()
    torch.manual_seed(1)
    first = cross_entropy(model, batch).sum
    assert not torch.equal(cross_entropy(model, batch).sum, first)
    torch.manual_seed(1)
    assert torch.equal(cross_entropy(model, batch).sum, first)


def test_what_it_cannot_do_is_refused_in_one_line() -> None:
    for options, message in (
        ({"num_cells": 3}, "expected model_dim (6) at least"),
        ({"filters": []}, "expected pairs of a width and a count"),
        ({"filters": [[0, 3]]}, "expected pairs of a width and a count"),
        ({"filters": [[11, 3]]}, "max_chars is 10, expected 11 at least"),
        ({"num_sampled": 30}, "expected fewer than the vocabulary's 30 rows"),
        ({"num_sampled": 3, "lm": False}, "expected none without an output layer"),
        ({"cell_clip": 0}, "cell_clip"),
    ):
        with pytest.raises(ConfigError) as caught:
            model_of(**options)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    bare = model_of().bare()
    for act in (bare.readout, lambda: bare.states(batch_of([[5]]))):
        with pytest.raises(ConfigError, match="has no output layer for words"):
            act()
    with pytest.raises(ConfigError, match="names 30 words, its vocabulary has 31"):
        model_of().spell(Named(["a"] * 31))
    with pytest.raises(ConfigError, match="got a Elmo, which reads but does not write"):
        as_generator(model_of(), where="eval.tasks")
    assert (spelt([], 3) == [258, 259, NO_CHARACTER]).all()


# ---- the mix of layers


def test_the_mix_is_worked_by_hand() -> None:
    """Shares of ln 1, ln 2, ln 5 are 1/8, 2/8 and 5/8; times γ = 4."""
    mix = ScalarMix(3)
    layers = [torch.tensor([[[8.0, 0.0]]]), torch.tensor([[[4.0, 4.0]]]), torch.tensor([[[0.8, -8.0]]])]
    torch.testing.assert_close(mix(layers), torch.stack(layers).mean(0), msg="it begins as the mean")
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([1.0, 2.0, 5.0]).log())
        mix.scale.fill_(4.0)
    torch.testing.assert_close(mix(layers), torch.tensor([[[10.0, -16.0]]]))


def test_the_norm_of_the_mix_counts_tokens_alone() -> None:
    """Worked by hand: 1 and 3 have mean 2 and variance 1; what is masked is scaled, and counts for nothing."""
    mix = ScalarMix(1, norm=True)
    layer, mask = torch.tensor([[[1.0, 3.0], [7.0, 2.0]]]), torch.tensor([[1, 0]])
    torch.testing.assert_close(mix([layer], mask), torch.tensor([[[-1.0, 1.0], [5.0, 0.0]]]))
    torch.testing.assert_close(mix([layer]).mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(mix([layer]).var(correction=0), torch.tensor(1.0))
