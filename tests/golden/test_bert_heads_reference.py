"""A BERT with a head against transformers' `BertFor…` classes from one file: logits, losses, gradients, both ways.

Provenance: the oracle is the installed `transformers` itself (written against 5.23), run here on tiny shapes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textfer.batch import NO_TARGET, Ids, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError
from textfer.heads import Head
from textfer.models import load_model
from textfer.models.bert import Bert
from textfer.models.headed import Headed, HeadOptions, with_heads
from textfer.training.loss import loss_of

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
LENS = [17, 9, 4, 12]
LABELS = ("no", "maybe", "yes")
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "class": ("BertForSequenceClassification", {"id2label": dict(enumerate(LABELS))}),
    "number": ("BertForSequenceClassification", {"num_labels": 1, "problem_type": "regression"}),
    "span": ("BertForQuestionAnswering", {}),
    "tag": ("BertForTokenClassification", {"id2label": dict(enumerate(("O", "B-place", "I-place")))}),
    "choice": ("BertForMultipleChoice", {}),
}
SPECIALS = Specials(pad=0, eos=3, cls=2, sep=3)


def reference(kind: str) -> transformers.PreTrainedModel:
    """A random model whose norms and biases are not at their first values, which would hide a wrong place."""
    torch.manual_seed(3)
    family, more = CASES[kind]
    model = getattr(transformers, family)(transformers.BertConfig(**SHAPE, **more))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 1:
                weight.uniform_(0.5, 1.5) if "LayerNorm.weight" in name else weight.uniform_(-0.5, 0.5)
            else:
                weight.mul_(4)
    return model.eval()


def examples(kind: str) -> tuple[list[Ids], dict[str, Tensor]]:
    """Four texts, or two with two choices each; as ours, and as the reference's arguments."""
    draws = np.random.default_rng(4)
    texts = [draws.integers(5, 61, length).astype(np.int32) for length in LENS]
    types = [(np.arange(length) >= length // 2).astype(np.int32) for length in LENS]
    width = max(LENS)
    table = {
        "input_ids": padded(texts, 0),
        "token_type_ids": padded(types, 0),
        "attention_mask": torch.tensor([[1] * n + [0] * (width - n) for n in LENS]),
    }
    nothing = np.zeros(0, np.int32)
    told: list[dict[str, Any]]
    if kind == "choice":
        rows = [np.concatenate(texts[at : at + 2]) for at in (0, 2)]
        kinds = [np.concatenate(types[at : at + 2]) for at in (0, 2)]
        wanted = [1, 0]
        made = [
            Ids(row, nothing, types=some, heads={"choice": right}, cuts=(LENS[2 * at],))
            for at, (row, some, right) in enumerate(zip(rows, kinds, wanted, strict=True))
        ]
        return made, {name: value.view(2, 2, width) for name, value in table.items()} | {"labels": torch.tensor(wanted)}
    if kind == "class":
        told = [{"class": number} for number in (2, 0, 1, 1)]
        labels = {"labels": torch.tensor([2, 0, 1, 1])}
    elif kind == "number":
        told = [{"number": number} for number in (0.5, 2.0, -1.0, 3.0)]
        labels = {"labels": torch.tensor([0.5, 2.0, -1.0, 3.0])}
    elif kind == "span":
        starts, ends = [3, 1, 0, 5], [5, 1, 0, 11]
        told = [{"span.start": start, "span.end": end} for start, end in zip(starts, ends, strict=True)]
        labels = {"start_positions": torch.tensor(starts), "end_positions": torch.tensor(ends)}
    else:
        tags = [np.where(draws.random(n) < 0.4, NO_TARGET, draws.integers(0, 3, n)).astype(np.int32) for n in LENS]
        told = [{"tag": one} for one in tags]
        labels = {"labels": padded(tags, NO_TARGET)}
    rows_ = [Ids(a, nothing, types=b, heads=c) for a, b, c in zip(texts, types, told, strict=True)]
    return rows_, table | labels


def padded(rows: list[Any], pad: int) -> Tensor:
    return torch.tensor(np.stack([np.pad(one, (0, max(LENS) - len(one)), constant_values=pad) for one in rows])).long()


def loss_by_the_reference(kind: str, oracle: Any, arguments: dict[str, Tensor]) -> Tensor:
    """Its loss; of spans the mean over examples without padding, to which it would give a share of the softmax."""
    if kind != "span":
        return oracle(**arguments).loss
    alone = [
        {
            name: value[row : row + 1, :length] if value.dim() > 1 else value[row : row + 1]
            for name, value in arguments.items()
        }
        for row, length in enumerate(LENS)
    ]
    return torch.stack([oracle(**one).loss for one in alone]).mean()


def close(ours: Tensor, theirs: Tensor, what: str, *, floor: float = 1e-12) -> None:
    scale = max(theirs.abs().max().item(), floor)
    assert (ours - theirs).abs().max().item() <= 1e-5 * scale, what


def loaded(folder: Path) -> Headed:
    model = load_model(folder)
    assert isinstance(model, Headed)
    return model.eval()


def said(model: Headed, batch: Any) -> list[Tensor]:
    heads = model(batch).heads
    return [heads[name] for head in model.kinds.values() for name in head.outputs]


def logits(kind: str, output: Any, arguments: dict[str, Tensor]) -> list[Tensor]:
    """The reference's, as ours: no numbers where nothing stands."""
    if kind == "span":
        padding = arguments["attention_mask"] == 0
        return [one.masked_fill(padding, -torch.inf) for one in (output.start_logits, output.end_logits)]
    return [output.logits[:, 0] if kind == "number" else output.logits]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", CASES)
def test_logits_losses_and_gradients_are_the_reference_s(kind: str, packed: bool, tmp_path: Path) -> None:
    oracle = reference(kind)
    oracle.save_pretrained(tmp_path)
    model = loaded(tmp_path)
    made, arguments = examples(kind)
    rows = [made[:1], made[1:]] if packed else [[one] for one in made]
    batch = LAYOUTS["pair"].arrange(rows, Lens(64, 1), SPECIALS)
    expected = oracle(**arguments)
    for ours, theirs in zip(said(model, batch), logits(kind, expected, arguments), strict=True):
        if kind == "tag":
            real = arguments["attention_mask"] > 0
            placed = torch.cat([ours[row, start:end] for row, start, end in batch.encoder.runs])
            close(placed, theirs[real], "tags")
        else:
            inside = theirs.isfinite()
            assert torch.equal(ours.isfinite(), inside)
            close(ours[inside], theirs[inside], "logits")
    loss = loss_of(model, batch)
    expected_loss = loss_by_the_reference(kind, oracle, arguments)
    close(loss.sum / loss.count, expected_loss, "loss")
    (loss.sum / loss.count).backward()
    expected_loss.backward()
    theirs_of = {name.removeprefix("bert."): weight.grad for name, weight in oracle.named_parameters()}
    names = {ours: theirs.removeprefix("bert.") for ours, theirs in model.file_names().items()}
    for name, weight in model.named_parameters():
        last = name.rpartition(".")[2]
        theirs_name = names.get(name, f"{'qa_outputs' if kind == 'span' else 'classifier'}.{last}")
        if name.endswith("attention.k.bias"):  # adds the same to all scores of a query: the true gradient is zero
            assert weight.grad.abs().max().item() < 1e-7
        else:
            # what is added to every token alike moves no span: that true gradient is zero
            close(weight.grad, theirs_of.pop(theirs_name), name, floor=1e-2)
    assert all(name.endswith("key.bias") for name in theirs_of), "every parameter has its place"


@pytest.mark.parametrize("kind", CASES)
def test_what_we_save_the_reference_loads(kind: str, tmp_path: Path) -> None:
    reference(kind).save_pretrained(tmp_path / "theirs")
    model = loaded(tmp_path / "theirs")
    model.save(tmp_path / "ours")
    assert not (tmp_path / "ours" / "heads.safetensors").exists()
    again, told = getattr(transformers, CASES[kind][0]).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(told.values()), told
    made, arguments = examples(kind)
    batch = LAYOUTS["pair"].arrange([[one] for one in made], Lens(64, 1), SPECIALS)
    ours = said(model, batch)
    for left, right in zip(ours, logits(kind, again.eval()(**arguments), arguments), strict=True):
        inside = right.isfinite() if kind != "tag" else arguments["attention_mask"] > 0
        close(left[inside], right[inside], "logits")
    back = loaded(tmp_path / "ours")
    assert back.kinds == model.kinds
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in model.state_dict().items())
    if kind in ("class", "tag"):
        assert tuple(again.config.id2label.values()) == next(iter(model.kinds.values())).labels


@pytest.mark.parametrize("kind", CASES)
def test_heads_of_our_own_are_read_by_the_reference_and_by_us(kind: str, tmp_path: Path) -> None:
    """Upon a reader without a pooler the layer that we make takes the pooler's place in the file."""
    torch.manual_seed(5)
    shape = {"model_dim": 24, "ff_dim": 40, "num_heads": 4, "num_layers": 2, "max_positions": 32}
    reader = Bert.make({**shape, "pooler": False, "next_sentence": False}, vocab_size=61)
    labels = LABELS if kind in ("class", "tag") else ()
    head = Head(name="mine", kind=kind, labels=labels, tasks=("toy",), max_len=30)
    model = with_heads(reader, [head], HeadOptions(dropout=0.2)).eval()
    model.save(tmp_path)
    back = loaded(tmp_path)
    assert back.options == model.options
    assert back.kinds == {"mine": head}
    assert back.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, back.state_dict()[name]) for name, value in model.state_dict().items())
    theirs = getattr(transformers, CASES[kind][0]).from_pretrained(tmp_path).eval()
    assert theirs.config.classifier_dropout == 0.2
    made, arguments = examples(kind)
    made = [replace(one, heads={k.replace(kind, "mine", 1): v for k, v in one.heads.items()}) for one in made]
    loss = loss_of(back, LAYOUTS["pair"].arrange([[one] for one in made], Lens(64, 1), SPECIALS))
    close(loss.sum / loss.count, loss_by_the_reference(kind, theirs, arguments), "loss")


def test_several_heads_or_other_poolings_have_files_of_their_own(tmp_path: Path) -> None:
    torch.manual_seed(5)
    shape = {"model_dim": 24, "ff_dim": 40, "num_heads": 4, "num_layers": 1, "max_positions": 32}
    head = Head(name="class", kind="class", labels=LABELS)
    several = [head, Head(name="span", kind="span")]
    for heads, options in ((several, {}), ([head], {"pooling": "mean"}), ([head], {"both_orders": True})):
        model = with_heads(Bert.make(shape, vocab_size=61), heads, HeadOptions(**options))
        model.save(tmp_path)
        assert (tmp_path / "heads.safetensors").exists()
        assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertModel"]
        assert loaded(tmp_path).kinds == model.kinds
    with_heads(Bert.make(shape, vocab_size=61), [head], None).save(tmp_path)
    assert not (tmp_path / "heads.safetensors").exists(), "what lay there before is gone"
    assert list(loaded(tmp_path).kinds) == ["class"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"problem_type": "multi_label_classification"},
            "problem_type is 'multi_label_classification', expected single",
        ),
        ({"problem_type": "regression"}, "gives 3 numbers at once, expected one"),
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, "id2label has a label twice"),
        ({"id2label": ["a", "b"]}, "id2label is"),
        ({"id2label": {"0": "a", "1": "b"}}, "has misshapen classifier"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    reference("class").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
