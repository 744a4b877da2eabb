"""Models that only read learn tasks by heads, through the command line: they learn, resume, transfer and load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import one_step
import pytest
import torch
from safetensors.torch import load_file
from tiny import STOP_AT, Quiet, Stopped, Stopping, assert_equal, losses, parts_of, train
from toys import CLASSES, TOYS, toy_recipe, toys

from textfer.adapt import METHODS
from textfer.errors import ConfigError
from textfer.evaluate import constant_baseline, iter_examples, load_examples
from textfer.models import load_model
from textfer.models.bert import Bert
from textfer.models.headed import Headed
from textfer.parts import open_model, tokenizer_of
from textfer.read import HeadPredictor
from textfer.recipe import Recipe, load_recipe
from textfer.training.checkpoint import Run

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("class", "number", "span", "tag", "choice")
SCORES = {"class": 95.0, "number": 85.0, "span": 90.0, "tag": 85.0, "choice": 90.0}
"""What must at least be reached; what a constant answer scores is asserted to be far below."""
ALL = 'data.tasks=["toy_class", "toy_number", "toy_span", "toy_tag", "toy_choice"]'


@pytest.fixture(autouse=True, scope="module")
def _registered() -> Iterator[None]:
    with toys():
        yield


def recipe(folder: Path, kind: str, *words: str) -> Recipe:
    return load_recipe(str(toy_recipe(kind, folder)), list(words))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_head_learns_its_rule(kind: str, tmp_path: Path, call: Any) -> None:
    task, run = TOYS[kind], tmp_path / "run"
    made = call("train", toy_recipe(kind, tmp_path), "--run", run, "--quiet")
    assert made.code == 0, made.err
    done = call("eval", run, "--task", task.name, "--resamples", "0", "--json")
    assert done.code == 0, done.err
    scores = done.json
    lead = next(iter(scores))
    assert scores[lead] >= SCORES[kind]
    assert Run(run).records()[-1]["eval"][lead] == pytest.approx(scores[lead]), "as it was during training"
    if kind != "number":  # of a constant there is no correlation
        _, constant = constant_baseline(task, "validation", load_examples(task, "validation"))
        assert constant.scores[lead] < scores[lead] - 25
    if kind == "span":
        assert scores["NoAns_exact"] >= 60
        assert scores["HasAns_exact"] >= 90


def test_long_contexts_are_read_in_windows(tmp_path: Path) -> None:
    train(recipe(tmp_path, "span", "eval.tasks=[]"), tmp_path / "run")
    model = load_model(Run(tmp_path / "run").at(48)).eval()
    predictor = HeadPredictor(model, tokenizer_of(str(tmp_path / "run")))
    long = [one for one in iter_examples(TOYS["span"], "validation") if len(one.fields["context"].split()) > 24]
    found = predictor.find(TOYS["span"], long)
    assert len(long) > 8
    right = 0
    for example, one in zip(long, found, strict=True):
        text = example.fields["context"]
        assert all(text[span.start : span.end] == span.text for span in one.spans)
        right += one.text == example.targets
        if example.spans:
            right += one.spans[0].start == example.spans[0].start
    assert right >= 1.8 * len(long) * 0.9


def test_several_tasks_in_one_run_share_heads_where_they_agree(tmp_path: Path) -> None:
    words = (ALL.replace("]", ', "toy_again"]'), "training.num_steps=4", "eval.tasks=['toy_class', 'toy_span']")
    train(recipe(tmp_path, "class", *words), tmp_path / "run")
    model = load_model(Run(tmp_path / "run").at(4))
    assert isinstance(model, Headed)
    assert {name: head.tasks for name, head in model.kinds.items()} == {
        "class": ("toy_class", "toy_again"),
        **{kind: (f"toy_{kind}",) for kind in KINDS[1:]},
    }
    assert model.kinds["class"].labels == CLASSES
    assert model.kinds["tag"].labels == ("O", "B-person", "I-person", "B-place", "I-place")
    assert model.kinds["span"].threshold == 0.0, "some of its questions have no answer"
    assert {head.max_len for head in model.kinds.values()} == {24}


@pytest.mark.parametrize("words", [(), (ALL, "training.micro_batch_size=5")], ids=["one task", "five tasks"])
def test_resumed_is_unbroken_bit_for_bit(words: tuple[str, ...], tmp_path: Path) -> None:
    more = (*words, "training.num_steps=6", "training.save_every=3", "model.dropout=0.1")
    train(recipe(tmp_path, "span", *more), tmp_path / "whole")
    with pytest.raises(Stopped):
        train(recipe(tmp_path, "span", *more), tmp_path / "broken", Stopping(STOP_AT + 1))
    train(recipe(tmp_path, "span", *more), tmp_path / "broken")
    assert_equal(tmp_path / "broken", tmp_path / "whole")


def test_micro_batches_give_the_gradient_of_the_whole(tmp_path: Path) -> None:
    words = (ALL, "training.batch_size=20", "eval.tasks=[]", "head.dropout=0")
    whole = one_step.one_step(recipe(tmp_path, "class", *words), tmp_path / "a", doubled=True)
    parted = one_step.one_step(
        recipe(tmp_path, "class", *words, "training.micro_batch_size=3"), tmp_path / "b", doubled=True
    )
    assert whole.keys() == parted.keys()
    assert {f"heads.{kind}.weight" for kind in KINDS} <= whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(parted[name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_two_processes_take_the_step_of_one(tmp_path: Path) -> None:
    """One of them may hold no example of some head."""
    path = toy_recipe("tag", tmp_path)
    words = (ALL, "training.batch_size=6", "eval.tasks=[]", "head.dropout=0", "imports=['toys_registered']")
    alone = one_step.one_step(load_recipe(str(path), list(words[:-1])), tmp_path / "a")
    process = one_step.start(2, str(path), tmp_path / "b", *words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    for rank in (0, 1):
        found = one_step.read(tmp_path / "b", rank)
        for name, value in alone.items():
            torch.testing.assert_close(found[name].to(value.dtype), value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A BERT with the heads of its pre-training, never trained, and its vocabulary."""
    toy_recipe("class", tmp_path)
    torch.manual_seed(1)
    shape = {"model_dim": 32, "ff_dim": 48, "num_heads": 2, "num_layers": 2, "max_positions": 40, "dropout": 0.0}
    folder = tmp_path / "base"
    Bert.make(shape, vocab_size=24).save(folder)
    (folder / "vocab.txt").write_text((tmp_path / "vocab.txt").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


def from_base(base: Path, kind: str, *words: str) -> Recipe:
    """The toy recipe of a kind, begun from a folder."""
    text = toy_recipe(kind, base.parent).read_text(encoding="utf-8")
    start, end = text.index("[model]"), text.index("[data]")
    path = base.parent / f"from_{kind}.toml"
    path.write_text(f'init = "{base}"\n' + text[:start] + text[end:], encoding="utf-8")
    return load_recipe(str(path), list(words))


METHOD_WORDS = {
    "frozen": ["method.train=['reader.layers.1.*']"],
    "adapters": ["method.inner_dim=4"],
    "lora": ["method.rank=2"],
    "soft_prompt": ["method.num_vectors=3"],
}


def saved(run: Path) -> dict[str, torch.Tensor]:
    folder = Run(run).at(Run(run).steps()[-1])
    return {
        f"{one.name}/{name}": value for one in folder.glob("*.safetensors") for name, value in load_file(one).items()
    }


@pytest.mark.parametrize("method", METHODS.names())
def test_heads_under_every_way_of_transfer(method: str, base: Path, tmp_path: Path) -> None:
    words = [f"method.name={method}", *METHOD_WORDS.get(method, []), "training.num_steps=6", "training.save_every=3"]
    made = from_base(base, "class", *words)
    try:
        parts_of(made, tmp_path / "none")
    except ConfigError as error:
        assert method == "soft_prompt", error  # noqa: PT017  only this one is for models that write
        pytest.skip(str(error))
    train(made, tmp_path / "whole")
    with pytest.raises(Stopped):
        train(made, tmp_path / "broken", Stopping(5))
    display = Quiet()
    train(made, tmp_path / "broken", display)
    assert display.began == 3
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    ours, theirs = saved(tmp_path / "broken"), saved(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    model = open_model(Run(tmp_path / "whole").at(6)).eval()
    assert isinstance(model, Headed)
    examples = load_examples(TOYS["class"], "validation")
    found = HeadPredictor(model, tokenizer_of(str(tmp_path / "whole"))).find(TOYS["class"], examples)
    report = json.loads((tmp_path / "whole" / "predictions-toy_class-00000006.json").read_text())
    assert [one.text for one in found] == list(report.values())


def test_a_head_is_taken_over_by_a_later_run(base: Path, tmp_path: Path) -> None:
    train(from_base(base, "class", "training.num_steps=4"), tmp_path / "first")
    first = load_model(Run(tmp_path / "first").at(4)).state_dict()
    assert not (Run(tmp_path / "first").at(4) / "heads.safetensors").exists(), "the reference has a class for it"
    still = ("training.optimizer.lr=1e-30", "training.num_steps=1", "eval.tasks=[]")
    words = (ALL.replace("toy_class", "toy_again"), *still)
    train(from_base(base, "class", *words, f"init={tmp_path / 'first'}"), tmp_path / "second")
    second = load_file(Run(tmp_path / "second").at(1) / "heads.safetensors")
    assert torch.equal(first["heads.class.weight"], second["heads.class.weight"])
    assert {name.split(".")[1] for name in second} == set(KINDS)


def test_a_head_over_frozen_lora_loads_upon_its_base_only(base: Path, tmp_path: Path) -> None:
    train(from_base(base, "class", "method.name=lora", "method.rank=2", "training.num_steps=2"), tmp_path / "run")
    folder = Run(tmp_path / "run").at(2)
    assert not (folder / "model.safetensors").exists()
    assert {name.split(".")[0] for name in load_file(folder / "heads.safetensors")} == {"heads"}


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        ("free", [], "task 'toy_free': its answers are texts to be written, and no head says these. Name another"),
        ("class", ["eval.tasks=['toy_span']"], "task 'toy_span': needs a span head of toy_span, and the model has a"),
        ("class", ["eval.tasks=['sst2']"], "sst2"),
        ("choice", ["data.pack=true", "data.inputs_len=12"], "data.pack: 'toy_choice' is read several times an "),
        ("choice", ["data.fixed=true", "data.inputs_len=12"], "data.fixed: 'toy_choice' is read several times an "),
        ("class", ["data.inputs_len=64"], "data.inputs_len: is 64, and the model has 40 positions"),
        ("class", ["head.lm_weight=0.5"], "head.lm_weight: cannot take effect, a Bert names no next words"),
        ("span", ["head.pooling=mean"], "head.pooling: cannot take effect, its tasks ask of tokens and not of whole"),
        ("span", ["head.both_orders=true"], "head.both_orders: cannot take effect, no example is a pair of texts"),
        ("class", ["eval.loss_rows=8"], "eval.loss_rows: cannot take effect, heads have no log_prob"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(
    kind: str, words: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception) as caught:
        parts_of(recipe(tmp_path, kind, *words), tmp_path / "run")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_questions_held_out_choose_the_threshold_and_the_checkpoint(tmp_path: Path) -> None:
    words = ("head.dev_share=0.2", "eval.tasks=[]", "training.num_steps=6", "training.save_every=3")
    more = (*words, "training.eval_every=3")
    train(recipe(tmp_path, "span", *more), tmp_path / "whole")
    with pytest.raises(Stopped):
        train(recipe(tmp_path, "span", *more), tmp_path / "broken", Stopping(5))
    train(recipe(tmp_path, "span", *more), tmp_path / "broken")
    assert_equal(tmp_path / "broken", tmp_path / "whole")
    thresholds = []
    for run in ("whole", "broken"):
        records = [one["eval"] for one in Run(tmp_path / run).records() if "eval" in one]
        assert [list(one) for one in records] == [["held_out"], ["held_out"]]
        model = load_model(Run(tmp_path / run).at(6))
        assert isinstance(model, Headed)
        thresholds.append(model.kinds["span"].threshold)
    assert thresholds[0] == thresholds[1] != 0.0
    with pytest.raises(ConfigError, match=r"head\.dev_share: cannot take effect, every question of data\.tasks has an"):
        parts_of(recipe(tmp_path, "class", *words), tmp_path / "none")


def test_tune_writes_a_model_that_says_when_there_is_no_answer(tmp_path: Path, call: Any) -> None:
    train(recipe(tmp_path, "span", "training.num_steps=8", "eval.tasks=[]"), tmp_path / "run")
    words = ("tune", tmp_path / "run", "--task", "toy_span", "--split", "validation", "--out", tmp_path / "tuned")
    done = call(*words, "--json")
    assert done.code == 0, done.err
    before = call("eval", tmp_path / "run", "--task", "toy_span", "--resamples", "0", "--json").json
    after = call("eval", tmp_path / "tuned", "--task", "toy_span", "--resamples", "0", "--json").json
    assert after["f1"] == pytest.approx(done.json["f1"])
    assert {"ece_before", "ece_after", "brier_before", "brier_after", "calibration"} <= done.json.keys()
    told = call("eval", tmp_path / "tuned", "--task", "toy_span", "--resamples", "0", "--calibration", "--json").json
    assert told.keys() - after.keys() == {"ece", "ece_mass", "brier"}
    assert 0 <= told["ece"] <= 100
    assert after["f1"] >= before["f1"]
    assert load_model(tmp_path / "tuned").kinds["span"].threshold == done.json["threshold"]
    again = call(*words)
    assert again.code == 2
    assert again.err.strip().endswith("is there already. Name another folder.")
    run = str(tmp_path / "run")
    refusal = call("generate", "--model", run, "Hello.")
    assert refusal.code == 2
    assert "reads and writes nothing; it has a span head of toy_span" in refusal.err
    shares = tmp_path / "na.json"
    assert call("eval", run, "--task", "toy_span", "--na-probs", shares).code == 0
    told = json.loads(shares.read_text())
    assert list(told) == [one.facts["id"] for one in iter_examples(TOYS["span"], "validation")]
    assert all(0 <= share <= 1 for share in told.values())
    refusal = call("eval", run, "--task", "toy_span", "--beams", "4")
    assert refusal.code == 2
    assert "eval: beams cannot take effect, " in refusal.err
    signed = call("eval", run, "--task", "toy_span", "--out", tmp_path / "board").out
    assert signed
    assert "by heads, in readings of the length of training" in (tmp_path / "board" / "results.json").read_text()
    asked = call("ask", "--model", run, "--context", "mara walks to the mill .", "mara walks to ?", "--json")
    assert asked.code == 0, asked.err
    assert set(asked.json) >= {"answer", "score", "evidence"}
