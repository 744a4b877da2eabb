"""Plain text for pre-training: nothing is read, the text is the target, and an objective makes examples of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from textfer.batch import Example, Row
from textfer.data.fields import text_field
from textfer.data.source import Source
from textfer.data.task import Task, register


def plain_text(row: Row, origin: str) -> Iterable[Example]:
    """The row's `text`; nothing for a blank one."""
    text = text_field(row, "text", origin)
    if text.strip():
        yield Example(inputs="", targets=text, origin=origin)


def plain_task(name: str, source: Source, *, summary: str = "") -> Task:
    """A task of texts for pre-training."""
    return Task(
        name=name,
        source=source,
        to_examples=plain_text,
        family="plain text",
        summary=summary,
        drops="rows whose text is blank",
        plain=True,
    )


register(
    replace(
        plain_task(
            "wikipedia_en",
            Source(
                name="wikimedia/wikipedia",
                config="20231101.en",
                folder="text/wikipedia_en",
                columns=("text",),
                hold_out=0.005,
                hold_out_by=("id",),
            ),
            summary="English Wikipedia articles; 1 in 200 is held out for validation",
        ),
        licence="CC BY-SA 3.0 / GFDL",
        train_ok=True,
        schema="data card of wikimedia/wikipedia",
        sample=(
            {"text": "Larch Hill\nLarch Hill is a hill above the village of Aldon. A stone tower stands on top."},
            {"text": "  "},
        ),
    )
)
register(
    replace(
        plain_task(
            "english_novels",
            Source(
                name="english_novels",
                folder="text/english_novels",
                columns=("text",),
                hold_out=0.05,
                hold_out_by=("title",),
            ),
            summary="100 English novels, published 1839 to 1930; about 1 in 20 is held out for validation",
        ),
        licence="public domain (a few later ones may still be protected outside the US)",
        train_ok=True,
        schema="the files' own columns; the hub has no such set",
        sample=({"text": "The rain had stopped before Aldon woke.\nNobody was about."}, {"text": "  "}),
    )
)
