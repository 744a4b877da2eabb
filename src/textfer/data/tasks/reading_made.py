"""More tasks of the made-up paragraphs of `reading`: their text alone, what a sentence is about, whether it was said.

Like `reading` they need no file and few words: for comparisons and tests without data. People of the validation split
are never met in training.
"""

from __future__ import annotations

from random import Random

from textfer.batch import Row
from textfer.data.source import Made, Source
from textfer.data.task import Task, register
from textfer.data.tasks.corpora import plain_text
from textfer.data.tasks.forms import by_label, labelled, stripped
from textfer.data.tasks.reading import FACTS, reading_row
from textfer.metrics import accuracy

SIZES = {"train": 20_000, "validation": 500}
TOPICS = ("home", "job", "birth", "things")
"""What a sentence is about, in the order of `reading.FACTS`."""
CLAIMS = ("false", "true")


def text_row(split: str, index: int) -> Row:
    """A paragraph. A pure function of its arguments."""
    return {"text": reading_row(split, index)["context"]}


def topic_row(split: str, index: int) -> Row:
    """One sentence of a paragraph, and the kind of what it says."""
    draw = Random(f"reading_topic/{split}/{index}")
    sentence = _pick(draw, _sentences(split, index))
    return {"id": f"{split}-{index}", "sentence": sentence, "label": _kind(sentence)}


def claim_row(split: str, index: int) -> Row:
    """A paragraph and a sentence that is one of its own, or one of them with another value."""
    draw = Random(f"reading_claim/{split}/{index}")
    sentences = _sentences(split, index)
    claim = _pick(draw, sentences)
    label = int(draw.random() < 0.5)
    if not label:
        values = FACTS[_kind(claim)].values
        said = next(word for word in _words(claim) if word in values)
        claim = claim.replace(said, _pick(draw, [value for value in values if value != said]))
    return {"id": f"{split}-{index}", "paragraph": " ".join(sentences), "claim": claim, "label": label}


def _sentences(split: str, index: int) -> list[str]:
    text = str(reading_row(split, index)["context"])
    return [f"{part.strip(' .')}." for part in text.split(". ")]


def _words(sentence: str) -> list[str]:
    return [word.strip(".,") for word in sentence.split()]


def _kind(sentence: str) -> int:
    """Which fact a sentence tells: by its value, as no value is of two kinds."""
    words = set(_words(sentence))
    return next(kind for kind, fact in enumerate(FACTS) if words & set(fact.values))


def _pick(draw: Random, options: list[str]) -> str:
    return options[int(draw.random() * len(options))]  # only random() is promised to stay the same for ever


register(
    Task(
        name="reading_text",
        source=Source(name="reading_text", made=Made(row=text_row, num_rows=SIZES)),
        to_examples=plain_text,
        family="plain text",
        summary="the paragraphs of `reading` alone: made-up text for pre-training",
        licence="Apache-2.0",
        train_ok=True,
        schema="this file",
        sizes=SIZES,
        plain=True,
        sample=(text_row("train", 0), text_row("validation", 1)),
    )
)

for name, choices, columns, row, summary in (
    ("reading_topic", TOPICS, ("sentence",), topic_row, "what a made-up sentence is about: home, job, birth or things"),
    ("reading_claim", CLAIMS, ("paragraph", "claim"), claim_row, "whether a sentence was said in a made-up paragraph"),
):
    register(
        Task(
            name=name,
            source=Source(name=name, made=Made(row=row, num_rows=SIZES)),
            to_examples=labelled(name, columns, choices),
            choices=choices,
            metrics=by_label(choices, accuracy),
            answer=stripped,
            family="made-up text",
            summary=f"{summary}; made on the fly",
            licence="Apache-2.0",
            train_ok=True,
            schema="this file",
            sizes=SIZES,
            sample=tuple(row("train", index) for index in range(16)),
        )
    )
