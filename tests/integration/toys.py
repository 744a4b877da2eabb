"""Five toy tasks, one for each kind of head, whose rules a tiny reader learns in a second; and recipes for them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from textfer.batch import Example, Row
from textfer.data.source import Made, Source
from textfer.data.task import TASKS, Scores, Task
from textfer.data.tasks.forms import by_label, by_text, labelled, multiple_choice, written
from textfer.data.tasks.squad import NO_ANSWER, mark_v2, original_or_none, to_example
from textfer.data.tasks.tagging import mark_entities, sentence_example
from textfer.metrics import accuracy, pearson, token_f1

NAMES = ("mara", "odo", "lena", "tibor")
WET, DRY = ("harbour", "lake", "river"), ("mill", "orchard", "quarry")
PLACES = (*WET, *DRY)
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *NAMES, *PLACES, "walk", "##s", "to", "the", "old", ".", "?")
CLASSES = ("wet", "dry")
NUM_ROWS = {"train": 240, "validation": 48, "test": 16}
LONG = 30
"""Words before the place in the longest contexts: more than a window holds."""

Made_ = Callable[[random.Random], Row]


def _walk(draw: random.Random) -> Row:
    """Somebody walks somewhere: what it says of the place is the class, and its number."""
    place = draw.choice(PLACES)
    return {
        "text": f"{draw.choice(NAMES)} walks to the {place} .",
        "other": f"{draw.choice(NAMES)} ?",
        "label": int(place in DRY),
        "number": float(PLACES.index(place)),
    }


def _asked(draw: random.Random) -> Row:
    """A context with one place, or none: then the question has no answer. Many are longer than a window."""
    words = [draw.choice((*NAMES, "walks", "to", "the")) for _ in range(draw.choice((4, 9, LONG)))]
    place = draw.choice((*PLACES, None))
    if place is not None:
        words.insert(draw.randrange(len(words) + 1), place)
    context = " ".join(words)
    found = {"text": [], "answer_start": []}
    if place is not None:
        found = {"text": [place], "answer_start": [context.index(place)]}
    return {"id": str(draw.random()), "question": "mara walks to ?", "context": context, "answers": found}


def _tagged(draw: random.Random) -> Row:
    """Names are persons; a place, with `old` before it or without, is a place."""
    tokens, tags = [], []
    for _ in range(draw.randrange(1, 4)):
        tokens += [draw.choice(NAMES), "walks", "to"]
        tags += ["B-person", "O", "O"]
        old = draw.random() < 0.5
        tokens += ["old"] * old + [draw.choice(PLACES)]
        tags += ["B-place"] + ["I-place"] * old
    return {"tokens": tokens, "tags": tags}


def _chosen(draw: random.Random) -> Row:
    """Of two or three places one is wet."""
    options = draw.sample(DRY, draw.choice((1, 2)))
    place = draw.randrange(len(options) + 1)
    options.insert(place, draw.choice(WET))
    return {"question": f"{draw.choice(NAMES)} ?", "options": [f"the {one}" for one in options], "label": place}


def _numbered(row: Row, origin: str) -> Iterable[Example]:
    texts = {"text": str(row["text"]), "other": str(row["other"])}
    number = float(row["number"])
    yield Example(inputs=texts["text"], targets=f"{number:g}", origin=origin, fields=texts, number=number)


def _pearson(answers: object, examples: object) -> Scores:
    return pearson([float(one) for one in answers], [one.number for one in examples])  # type: ignore[attr-defined]


def _asked_examples(row: Row, origin: str) -> Iterable[Example]:
    yield to_example(row, origin, unanswerable=NO_ANSWER)


def _tagged_examples(row: Row, origin: str) -> Iterable[Example]:
    yield sentence_example("toy_tag", row["tokens"], row["tags"], origin, facts={})


def _task(name: str, row: Made_, **parts: object) -> Task:
    def made(split: str, index: int) -> Row:
        return row(random.Random(f"{name}/{split}/{index}"))

    source = Source(name=name, made=Made(row=made, num_rows=NUM_ROWS))
    return Task(name=name, source=source, sample=tuple(made("train", at) for at in range(12)), **parts)


TOYS = {
    "class": _task(
        "toy_class",
        _walk,
        to_examples=labelled("toy_class", ("text", "other"), CLASSES),
        choices=CLASSES,
        metrics=by_label(CLASSES, accuracy),
    ),
    "number": _task("toy_number", _walk, to_examples=_numbered, metrics=_pearson),
    "span": _task("toy_span", _asked, to_examples=_asked_examples, metrics=mark_v2, answer=original_or_none),
    "tag": _task("toy_tag", _tagged, to_examples=_tagged_examples, metrics=mark_entities),
    "choice": _task(
        "toy_choice",
        _chosen,
        to_examples=multiple_choice(
            "toy_choice", ("question",), lambda row, origin: row["options"], lambda row, _: row["label"]
        ),
        metrics=by_label(("choice1", "choice2", "choice3"), accuracy),
    ),
}
TOYS["free"] = _task(
    "toy_free",
    _walk,
    to_examples=written(lambda row, origin: str(row["text"]), lambda row, origin: str(row["other"])),
    metrics=by_text(token_f1),
)
TOYS["again"] = replace(TOYS["class"], name="toy_again", source=replace(TOYS["class"].source, name="toy_again"))

RECIPE = """
seed = 3
[model]
name = "bert"
model_dim = 32
ff_dim = 48
num_heads = 2
num_layers = 1
max_positions = 40
dropout = 0.0
[tokenizer]
path = "{vocabulary}"
[data]
tasks = ["toy_{kind}"]
inputs_len = 24
[training]
num_steps = 48
batch_size = 16
log_every = 1
[training.optimizer]
name = "adamw"
lr = 5e-3
[eval]
tasks = ["toy_{kind}"]
"""


@contextmanager
def toys() -> Iterator[None]:
    """The toy tasks, registered for the length of a `with` block."""
    with ExitStack() as stack:
        for task in TOYS.values():
            stack.enter_context(TASKS.temporary(task.name, task))
        yield


def toy_recipe(kind: str, folder: Path) -> Path:
    """The file of a recipe that trains a tiny BERT on the toy task of a kind."""
    vocabulary, path = folder / "vocab.txt", folder / f"{kind}.toml"
    vocabulary.write_text("\n".join(WORDS), encoding="utf-8")
    path.write_text(RECIPE.format(vocabulary=vocabulary, kind=kind), encoding="utf-8")
    return path
