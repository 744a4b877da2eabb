"""Ways of transfer: schedules, what is refused, LoRA's arithmetic and PEFT's files, prompts in packed rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from textfer.adapt import Plan, make_method
from textfer.adapt.adapted import adapt, base_of, holds_changes, lay_changes
from textfer.batch import Ids, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError, ConfigError
from textfer.models import load_model
from textfer.models.t5 import T5
from textfer.parts import open_model
from textfer.recipe import load_recipe

SHAPE = {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 3, "dropout": 0.0}
VOCAB = 40


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(**values: object) -> Any:
    torch.manual_seed(3)
    return T5.make({**SHAPE, **values}, vocab_size=VOCAB)


def planned(model: Any, num_steps: int = 12, **section: object) -> Plan:
    method = make_method(section)
    method.install(model, seed=0)
    return method.plan(model, num_steps=num_steps)


def batch(*packed: int) -> Any:
    """Rows of so many examples each."""
    draws = np.random.default_rng(1)
    count = sum(packed)
    seen = [Ids(*(draws.integers(2, VOCAB, draws.integers(2, 9)).astype(np.int32) for _ in "it")) for _ in range(count)]
    rows = [[seen.pop(0) for _ in range(many)] for many in packed]
    return LAYOUTS["encdec"].arrange(rows, Lens(60, 60), Specials(pad=0, eos=1), fixed=False)


def states(model: Any, seen: Any) -> Tensor:
    with torch.no_grad():
        out: Tensor = model.eval().states(seen)[0]
    return out


# ---- gradual unfreezing


def layers_of(names: frozenset[str]) -> set[str]:
    """`encoder.1`, … of the blocks in a stage."""
    return {f"{found[1]}.{found[2]}" for name in names if (found := re.match(r"(\w+)\.layers\.(\d+)\.", name))}


def test_t5_unfreezes_one_layer_of_both_stacks_an_episode_and_its_tables_always() -> None:
    model = model_of(num_decoder_layers=2)
    plan = planned(model, num_steps=10, name="gradual")
    assert [first for first, _ in plan.stages] == [0, 4, 7], "three episodes: ⌈10/3⌉ and ⌈20/3⌉"
    found = [layers_of(names) for _, names in plan.stages]
    assert found[0] == {"encoder.2", "decoder.1"}
    assert found[1] == found[0] | {"encoder.1", "decoder.0"}
    assert found[2] == found[1] | {"encoder.0"}
    always = {"embedding.weight", "output.weight", "encoder.norm.weight", "decoder.norm.weight"}
    assert all(always <= names for _, names in plan.stages)
    biases = {"encoder.relative_bias.weight", "decoder.relative_bias.weight"}
    assert [biases <= names for _, names in plan.stages] == [False, False, True]
    assert plan.stages[-1][1] == plan.saved == {name for name, _ in model.named_parameters()}


def test_twelve_layers_make_the_papers_twelve_episodes() -> None:
    num_steps = 2**18
    plan = planned(model_of(num_layers=12), num_steps=num_steps, name="gradual")
    firsts = [first for first, _ in plan.stages]
    assert len(firsts) == 12
    assert {later - first for first, later in pairwise([*firsts, num_steps])} == {21_845, 21_846}, "2^18 / 12"
    for episode, (_, names) in enumerate(plan.stages):
        opened = range(11 - episode, 12)
        assert layers_of(names) == {f"{stack}.{layer}" for stack in ("encoder", "decoder") for layer in opened}


def test_a_step_belongs_to_the_stage_that_began_last() -> None:
    one, two = frozenset("a"), frozenset("ab")
    plan = Plan(stages=((0, one), (4, two)), saved=two)
    assert [plan.trainable(step) for step in (0, 3, 4, 9)] == [one, one, two, two]
    assert plan.trainable(1) is plan.trainable(2)


def test_ulmfit_thaws_the_embeddings_last() -> None:
    plan = planned(model_of(), num_steps=8, name="gradual", variant="ulmfit")
    assert [first for first, _ in plan.stages] == [0, 2, 4, 6]
    assert ["embedding.weight" in names for _, names in plan.stages] == [False, False, False, True]
    assert "output.weight" in plan.stages[0][1]


def test_fewer_episodes_thaw_several_layers_at_once() -> None:
    plan = planned(model_of(num_layers=4), name="gradual", num_episodes=2)
    assert [len(layers_of(names)) for _, names in plan.stages] == [4, 8]


# ---- what is refused


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "method.name: missing"),
        ({"name": "lorra"}, "method.name: unknown method 'lorra'. Did you mean 'lora'"),
        ({"name": "full", "rank": 2}, "method.rank: unknown option"),
        ({"name": "frozen"}, "method.train: missing"),
        ({"name": "frozen", "train": []}, "method.train: "),
        ({"name": "frozen", "train": ["decoder.*", "head*"]}, "method.train: 'head*' matches no parameter. Names are"),
        ({"name": "frozen", "train": "*"}, "method.train: matches every parameter"),
        ({"name": "gradual", "num_episodes": 1}, "method.num_episodes: "),
        ({"name": "gradual", "num_episodes": 4}, "method.num_episodes: got 4, and the model thaws in 3 parts"),
        ({"name": "adapters", "inner_dim": 0}, "method.inner_dim: "),
        ({"name": "lora", "rank": 0}, "method.rank: got 0"),
        ({"name": "lora", "rank": 17}, "method.rank: got 17, and a target's own rank is at most 16"),
        ({"name": "lora", "alpha": 0}, "method.alpha: "),
        (
            {"name": "lora", "targets": ["q", "query"]},
            "method.targets: 'query' matches no product. There are gate, k, o,",
        ),
        ({"name": "lora", "targets": ["output"]}, "method.targets: 'output' matches no product"),
        ({"name": "soft_prompt", "num_vectors": 0}, "method.num_vectors: "),
    ],
)
def test_what_cannot_take_effect_is_told_in_one_line(section: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(model_of(), **section)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_gradual_needs_layers_and_steps() -> None:
    with pytest.raises(ConfigError, match="the model has one layer"):
        planned(model_of(num_layers=1), name="gradual")
    with pytest.raises(ConfigError, match=r"training\.num_steps: got 2, expected at least one step for each of 3"):
        planned(model_of(), num_steps=2, name="gradual")


def test_a_prompt_stands_before_the_input_of_an_encoder() -> None:
    with pytest.raises(ConfigError, match="takes none before its input"):
        planned(model_of(arrangement="prefix"), name="soft_prompt")


def test_a_method_upon_anothers_additions_is_refused() -> None:
    adapted = adapt(model_of(), make_method({"name": "adapters"}), num_steps=1, seed=0, base="somewhere")
    with pytest.raises(ConfigError, match=r"init: 'run' holds 'encoder.layers.0.adapter"):
        adapt(adapted.model, make_method({"name": "lora"}), num_steps=1, seed=0, base="run")


def test_what_was_added_is_not_written_as_if_it_were_t5s(tmp_path: Path) -> None:
    adapted = adapt(model_of(), make_method({"name": "lora"}), num_steps=1, seed=0, base="somewhere")
    with pytest.raises(CheckpointError, match=r"no place for 'encoder.layers.0.attention.q.lora.a.weight'"):
        adapted.model.save(tmp_path)


def test_a_recipe_says_its_method_with_all_options(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    path = str(tiny_recipe())
    assert load_recipe(path).method == {"name": "full"}
    gradual = load_recipe(path, ["method.name=gradual"]).method
    assert gradual == {"name": "gradual", "variant": "t5", "num_episodes": None}
    with pytest.raises(ConfigError, match=r"method.name: got lora, which adds to trained weights"):
        load_recipe(path, ["method.name=lora"])


# ---- LoRA


def lora(folder: Path, **section: object) -> Any:
    """A base in `folder`/base and a pair of numbers beside it, not zero."""
    model_of().save(folder / "base")
    method = make_method({"name": "lora", "rank": 2, "alpha": 6, **section})
    adapted = adapt(load_model(folder / "base"), method, num_steps=1, seed=0, base=str(folder / "base"))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in adapted.model.named_parameters():
            if name.endswith("lora.b.weight"):
                weight.normal_()
    return adapted


def test_lora_adds_alpha_over_rank_times_its_product(tmp_path: Path) -> None:
    adapted = lora(tmp_path, targets=["wo"])
    part = adapted.model.get_submodule("decoder.layers.1.feed_forward.wo")
    x = torch.randn(5, 24)
    expected = x @ part.weight.T + (x @ part.lora.a.weight.T) @ part.lora.b.weight.T * 3
    torch.testing.assert_close(part(x), expected, rtol=1e-5, atol=1e-5)
    assert part.lora.a.weight.shape == (2, 24)
    assert part.lora.a.weight.abs().max() <= 24**-0.5, "uniform within D^-0.5, as PEFT draws it"


def test_merged_is_unmerged_and_is_a_plain_model(tmp_path: Path) -> None:
    adapted = lora(tmp_path, targets=["q", "v", "wo", "decoder.layers.0.cross.k"])
    unmerged = states(adapted.model, batch(2, 1))
    adapted.method.merge(adapted.model)
    torch.testing.assert_close(states(adapted.model, batch(2, 1)), unmerged, rtol=1e-4, atol=1e-4)
    assert not [name for name, _ in adapted.model.named_parameters() if "lora" in name]
    adapted.model.save(tmp_path / "merged")
    torch.testing.assert_close(states(load_model(tmp_path / "merged"), batch(2, 1)), unmerged, rtol=1e-4, atol=1e-4)


def test_lora_drops_inputs_in_training_only(tmp_path: Path) -> None:
    part = lora(tmp_path, targets=["q"], dropout=0.5).model.get_submodule("encoder.layers.0.attention.q")
    x = torch.randn(50, 16)
    assert not torch.equal(part.train()(x), part(x))
    assert torch.equal(part.eval()(x), part(x))


def test_peft_finds_its_names_and_settings(tmp_path: Path) -> None:
    """Names as `PeftModel.save_pretrained` of PEFT 0.21 writes them for a T5."""
    lora(tmp_path, targets=["q", "decoder.layers.2.cross.v"]).save(tmp_path / "lora")
    names = set(load_file(tmp_path / "lora" / "adapter_model.safetensors"))
    assert len(names) == 2 * (3 * 3 + 1)
    assert "base_model.model.encoder.block.0.layer.0.SelfAttention.q.lora_A.weight" in names
    assert "base_model.model.decoder.block.2.layer.1.EncDecAttention.v.lora_B.weight" in names
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["target_modules"][0] == "encoder.block.0.layer.0.SelfAttention.q", "no short list says the same"
    assert {key: config[key] for key in ("peft_type", "task_type", "r", "lora_alpha", "bias")} == {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM",
        "r": 2,
        "lora_alpha": 6.0,
        "bias": "none",
    }
    lora(tmp_path).save(tmp_path / "short")
    assert json.loads((tmp_path / "short" / "adapter_config.json").read_text())["target_modules"] == ["q", "v"]


def foreign(folder: Path, **settings: object) -> Path:
    """The folder that PEFT would have written: no record of ours."""
    adapted = lora(folder)
    adapted.save(folder / "peft")
    (folder / "peft" / "method.json").unlink()
    config = folder / "peft" / "adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **settings}))
    return folder / "peft"


def test_a_folder_of_peft_is_laid_upon_the_base_it_names(tmp_path: Path) -> None:
    folder = foreign(tmp_path)
    assert holds_changes(folder)
    assert base_of(folder).digest is None
    expected = states(lora(tmp_path).model, batch(3))
    torch.testing.assert_close(states(open_model(folder), batch(3)), expected, rtol=1e-4, atol=1e-4)


def test_rank_stabilised_scale(tmp_path: Path) -> None:
    folder = foreign(tmp_path, use_rslora=True, lora_alpha=6 / 2**0.5)
    expected = states(lora(tmp_path).model, batch(3))
    torch.testing.assert_close(states(open_model(folder), batch(3)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3', expected 'LORA'"),
        ({"use_dora": True}, "use_dora is True, expected False"),
        ({"bias": "all"}, "bias is 'all', expected 'none'"),
        ({"rank_pattern": {"q": 4}}, "rank_pattern is {'q': 4}"),
        ({"r": 0}, "r is 0 and lora_alpha 6.0"),
        ({"r": 3}, "misshapen decoder.layers.0.attention.q.lora.a.weight is [2, 16], expected [3, 16]"),
        ({"base_model_name_or_path": None}, "names no base"),
        ({"base_model_name_or_path": "/nowhere/at/all"}, "its base is not there"),
    ],
)
def test_what_is_not_read_of_peft_is_refused(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    folder = foreign(tmp_path, **settings)
    with pytest.raises(CheckpointError, match=re.escape(message)) as caught:
        open_model(folder)
    assert "\n" not in str(caught.value)


def test_damaged_changes_are_told_in_one_line(tmp_path: Path) -> None:
    lora(tmp_path).save(tmp_path / "lora")
    file = tmp_path / "lora" / "adapter_model.safetensors"
    tensors = load_file(file)
    first = next(iter(tensors))
    save_file({name: value for name, value in tensors.items() if name != first}, file)
    with pytest.raises(CheckpointError, match=r"lacks .*lora.a.weight"):
        open_model(tmp_path / "lora")
    file.write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_model(tmp_path / "lora")
    (tmp_path / "lora" / "method.json").write_text('{"format": 9}')
    with pytest.raises(CheckpointError, match="format is 9, expected 1"):
        lay_changes(tmp_path / "lora", load_model(tmp_path / "base"))


# ---- soft prompts


def test_packed_rows_hear_the_prompt_as_each_example_alone_does() -> None:
    model = model_of()
    planned(model, name="soft_prompt", num_vectors=5)
    torch.testing.assert_close(
        states(model, batch(3, 1, 2)), states(model, batch(1, 1, 1, 1, 1, 1)), rtol=1e-4, atol=1e-5
    )
    ragged = states(model, batch(3, 1, 2))
    model.attention = "dense"
    torch.testing.assert_close(states(model, batch(3, 1, 2)), ragged, rtol=1e-4, atol=1e-5)


def test_a_prompt_of_known_pieces_is_these_pieces() -> None:
    model, seen = model_of(), batch(1)
    planned(model, name="soft_prompt", num_vectors=2)
    pieces = torch.tensor([7, 11])
    with torch.no_grad():
        model.prompt.weight.copy_(model.embedding.weight[pieces])
    with_prompt = states(model, seen)
    model.prompt = None
    side = seen.encoder
    said = Ids(torch.cat([pieces, side.ids[0]]).numpy().astype(np.int32), seen.targets[0].numpy().astype(np.int32))
    longer = LAYOUTS["encdec"].arrange([[said]], Lens(60, 60), Specials(pad=0, eos=1), fixed=False)
    torch.testing.assert_close(states(model, longer), with_prompt, rtol=1e-5, atol=1e-5)
