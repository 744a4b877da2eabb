"""Sets of single texts with one class each, as rows of a table: most of text classification looks like this."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import by_label, labelled, stripped
from textfer.metrics import accuracy

LabelScore = Callable[[Sequence[int], Sequence[int]], Scores]
NO_HUB = "a data folder that lays it out like a hub data set; the hub has none of this name and layout"
"""The `schema` of sets that were never seen on the hub."""


class TextSet(NamedTuple):
    """One set with the columns `text` and `label`, the index of a class."""

    name: str
    source: str
    words: tuple[str, ...]
    """The classes in the order of their indices."""
    summary: str
    licence: str
    texts: tuple[str, ...]
    """Sample texts written for this project: text n is of class n."""
    config: str = "default"
    train_ok: bool = False
    scores: tuple[LabelScore, ...] = (accuracy,)
    """The first leads."""
    sizes: Mapping[str, int] = MappingProxyType({})
    schema: str = ""
    """Empty = the hub's data card."""


def declare(family: str, *sets: TextSet) -> None:
    """Registers a task for every set: `name text: …` in, the class's word out."""
    for one in sets:
        register(
            Task(
                name=one.name,
                source=Source(name=one.source, config=one.config, columns=("text", "label")),
                to_examples=labelled(one.name, ("text",), one.words),
                choices=one.words,
                metrics=by_label(one.words, *one.scores),
                answer=stripped,
                family=family,
                summary=one.summary,
                licence=one.licence,
                train_ok=one.train_ok,
                schema=one.schema or f"data card of {one.source}",
                sizes=one.sizes,
                sample=tuple({"text": text, "label": number} for number, text in enumerate(one.texts)),
            )
        )


def readable(ids: str) -> tuple[str, ...]:
    """Class ids, separated by blanks, as words: `"book_flight tip"` → `("book flight", "tip")`."""
    return tuple(word.replace("_", " ") for word in ids.split())
