"""Salient span masking: sentences of Wikipedia with one name or date masked, T5's training for closed-book answers.

`nem: The castle of _X_ was built in 1203.` → `Aldon`. One example for every span of a sentence.

**Source**: `mask_salient_spans` of google-research's t5_closed_book_qa/t5_cbqa/preprocessors.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textfer.batch import Example, Row
from textfer.data.fields import field, text_field, wrong
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import by_text, stripped
from textfer.metrics import exact_match

BLANK = "_X_"


def masked_span(text: str, start: int, limit: int) -> tuple[str, str]:
    """(the text with bytes `start:limit` of it masked, what stood there). Places count bytes of UTF-8, as the data do.

    Errors: ValueError where the place is outside the text, empty, or cuts a character.
    """
    data = text.encode()
    if not 0 <= start < limit <= len(data):
        raise ValueError(f"{start}:{limit} is not a place in {len(data)} bytes")
    return f"{data[:start].decode()}{BLANK}{data[limit:].decode()}", data[start:limit].decode()


def _examples(row: Row, origin: str) -> Iterable[Example]:
    text = text_field(row, "text", origin)
    starts, limits = (_places(row, f"spans.{name}", origin) for name in ("start", "limit"))
    if len(starts) != len(limits):
        raise wrong(list(limits), "spans.limit", origin, f"{len(starts)} numbers, as spans.start has")
    for number, (start, limit) in enumerate(zip(starts, limits, strict=True)):
        try:
            masked, span = masked_span(text, start, limit)
        except ValueError:
            raise wrong([start, limit], "spans.start", origin, "bytes of whole characters of the text") from None
        if span.strip():
            yield Example(
                inputs=f"nem: {masked}",
                targets=span,
                origin=origin,
                facts={"answers": (span,), "span": number},
                fields={"text": masked},
            )


def _places(row: Row, name: str, origin: str) -> Sequence[int]:
    values = field(row, name, origin)
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise wrong(values, name, origin, "a list of whole numbers")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong(value, name, origin, "only whole numbers in it")
    return values


register(
    Task(
        name="salient_span_masked_wikipedia",
        source=Source(name="salient_span_wikipedia", config="sentences", columns=("text", "spans")),
        to_examples=_examples,
        metrics=by_text(exact_match),
        answer=stripped,
        family="closed-book QA",
        summary="Wikipedia sentences with a name or date masked, to be filled from memory",
        licence="CC BY-SA 3.0 / GFDL",
        train_ok=True,
        schema="code: tensorflow/datasets:tensorflow_datasets/text/salient_span_wikipedia/salient_span_wikipedia.py; "
        "the hub has no such set",
        sizes={"train": 82_291_706},
        drops="sentences without a span",
        sample=(
            {
                "text": "Maud Håle gave the well to Aldon in 1990.",
                "spans": {"start": [0, 28, 37], "limit": [10, 33, 41], "type": ["PER", "LOC", "DATE"]},
            },
            {"text": "It was dry.", "spans": {"start": [], "limit": [], "type": []}},
        ),
    )
)
