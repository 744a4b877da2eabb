"""A BERT with one head in the reference's files, as transformers' `AutoModelFor…` classes write and read them.

The head's numbers lie among the others: `classifier`, or `qa_outputs` for spans; `config.json` names the class and the
labels. The reference has other dropout in places, which no file tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from textfer.errors import CheckpointError
from textfer.heads import Head, Kind
from textfer.models.bert_hub import RenamedFiles, config_of, theirs
from textfer.models.hub import file_tensors, match, write_model

if TYPE_CHECKING:
    from textfer.models.bert import Bert
    from textfer.models.headed import Headed

CLASSES: dict[Kind, str] = {
    "class": "BertForSequenceClassification",
    "number": "BertForSequenceClassification",
    "span": "BertForQuestionAnswering",
    "tag": "BertForTokenClassification",
    "choice": "BertForMultipleChoice",
}
POOLER = "bert.pooler.dense"
ONE_OF_THEM, A_NUMBER = "single_label_classification", "regression"
NUM_LABELS = 2
"""What the reference takes where a file says nothing."""


def part_of(kind: Kind) -> str:
    """What the tensors of a head of this kind begin with."""
    return "qa_outputs" if kind == "span" else "classifier"


def told_in(config: Mapping[str, Any], folder: Path) -> Head | None:
    """The head that a config.json tells of; None where it is of another class.

    Errors: CheckpointError for labels that are none, or several at once.
    """
    names = config.get("architectures") or [None]
    kinds = [kind for kind, name in CLASSES.items() if name == names[0]]
    if not kinds:
        return None
    place, kind = f"{folder}/config.json", kinds[0]
    if kind in ("span", "choice"):
        return Head(name=kind, kind=kind)
    table = config.get("id2label") or {str(number): f"LABEL_{number}" for number in range(NUM_LABELS)}
    try:
        labels = tuple(str(table[key]) for key in sorted(table, key=int))
    except (TypeError, ValueError, AttributeError):
        raise CheckpointError(f"{place}: id2label is {table!r}, expected numbers and their labels.") from None
    problem = config.get("problem_type")
    if problem not in (None, ONE_OF_THEM, A_NUMBER):
        raise CheckpointError(f"{place}: problem_type is {problem!r}, expected {ONE_OF_THEM} or {A_NUMBER}.")
    if kind == "class" and (problem == A_NUMBER or len(labels) == 1):
        if len(labels) > 1:
            raise CheckpointError(f"{place}: gives {len(labels)} numbers at once, expected one.")
        return Head(name="number", kind="number")
    if len(set(labels)) < len(labels):
        raise CheckpointError(f"{place}: id2label has a label twice. Give each once.")
    return Head(name=kind, kind=kind, labels=labels)


def has_a_class(model: Headed) -> bool:
    """Whether a class of the reference says the same: of one head on a BERT's last states, or its pooler."""
    if len(model.kinds) != 1 or not hasattr(model.reader, "pooler") or model.options.layers != "last":
        return False
    [head] = model.kinds.values()
    own = {name for name, _ in model.own_parameters()}
    twice = model.options.both_orders and head.kind in ("class", "number")
    whole = head.kind in ("class", "number", "choice")
    return own <= set(_names(head).values()) and not twice and (model.pooling == "first" or not whole)


def _names(head: Head) -> dict[str, str]:
    """The reference's tensor → our parameter, of the head and a dense layer before it."""
    part = {part_of(head.kind): f"heads.{head.name}", POOLER: "dense"}
    return {f"{theirs}.{last}": f"{ours}.{last}" for theirs, ours in part.items() for last in ("weight", "bias")}


def save_with(model: Headed, folder: Path) -> None:
    """Writes the reader and its one head."""
    [head] = model.kinds.values()
    reader = cast("Bert", model.reader)
    names = {name: theirs(name) for name in reader.file_names()}
    tensors = file_tensors(reader.named_parameters(), names, folder=folder, family="BERT")
    own = dict(model.own_parameters())
    tensors |= {theirs: own[ours] for theirs, ours in _names(head).items() if ours in own}
    labels = head.labels or tuple(
        f"LABEL_{number}" for number in range(head.num_outputs if head.kind != "choice" else 2)
    )
    config = {
        **config_of(reader),
        "architectures": [CLASSES[head.kind]],
        "classifier_dropout": model.options.dropout,
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
    if head.kind in ("class", "number"):
        config["problem_type"] = A_NUMBER if head.kind == "number" else ONE_OF_THEM
    write_model(folder, config, tensors)


def tensors_of(folder: Path, heads: Sequence[Head], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The parameters of heads, by our names and of these shapes, from among the tensors of the reference.

    Errors: CheckpointError where one is missing or misshapen.
    """
    files = RenamedFiles(folder)
    wanted = {theirs: ours for theirs, ours in _names(heads[0]).items() if ours in shapes}
    match(files, {name: (ours, shapes[ours]) for name, ours in wanted.items()}, frozenset(files.shapes))
    if lost := sorted(shapes.keys() - set(wanted.values())):
        raise CheckpointError(f"{folder}: lacks '{lost[0]}' of its heads. Copy it again.")
    return {ours: files.read(name).float() for name, ours in wanted.items()}
