"""The parts of DialoGLUE that no other file has: slots of Restaurant8k and DSTC8, and TOP's trees.

Slots are said as in the tagging tasks: `date: August 23rd; people: 9`, in the order of the list, or `none`. What the
system has just asked for goes in as `requested: …`. F1 is over all slots here; DialoGLUE's is a mean over their kinds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from textfer.batch import Example, Row, Span
from textfer.data.fields import field, int_field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import ToExamples, by_text, key_values, stripped, written
from textfer.metrics import entity_f1, exact_match

NO_SLOT = "none"
BETWEEN = "; "


def slots_of(text: str) -> tuple[str, ...]:
    """The parts `slot: value` of a text, each once."""
    parts = (part.strip() for part in text.split(BETWEEN.strip()))
    return tuple(dict.fromkeys(part for part in parts if part and part != NO_SLOT))


def mark_slots(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`f1`, `precision` and `recall` over the slots of all examples; one counts when slot and value are gold."""
    found, golds = [], []
    for answer, example in zip(answers, examples, strict=True):
        said, gold = slots_of(str(answer)), slots_of(example.targets)
        both = list(dict.fromkeys((*gold, *said)))
        found.append(["B-slot" if part in said else "O" for part in both])
        golds.append(["B-slot" if part in gold else "O" for part in both])
    return entity_f1(found, golds)


def _spans(row: Row, text: str, origin: str) -> tuple[Span, ...]:
    """The places of the slots. Rows without slots lack `labels`; a `startIndex` of 0 is left out."""
    labels = row.get("labels")
    labels = () if labels is None else labels
    if isinstance(labels, str | Mapping) or not isinstance(labels, Sequence):
        raise wrong(labels, "labels", origin, "a list of slots")
    spans, at = [], f"{origin}: field 'labels'"
    for label in labels:
        if not isinstance(label, Mapping):
            raise wrong(label, "labels", origin, "only entries with slot and valueSpan")
        slot, place = text_field(label, "slot", at), field(label, "valueSpan", at)
        start = 0 if place.get("startIndex") is None else int_field(place, "startIndex", at)
        end = int_field(place, "endIndex", at)
        if not 0 <= start < end <= len(text):
            raise wrong((start, end), "labels", origin, f"places in the text of {len(text)} characters")
        spans.append(Span("text", start, end, slot))
    return tuple(spans)


def _slotted(name: str) -> ToExamples:
    def examples(row: Row, origin: str) -> Iterable[Example]:
        text = text_field(row, "userInput.text", origin)
        spans = _spans(row, text, origin)
        requested = row.get("context") and row["context"].get("requestedSlots")
        asked = {"requested": ", ".join(texts_field(row, "context.requestedSlots", origin))} if requested else {}
        yield Example(
            inputs=key_values(name, {"text": text, **asked}),
            targets=BETWEEN.join(f"{span.label}: {text[span.start : span.end]}" for span in spans) or NO_SLOT,
            origin=origin,
            fields={"text": text, **asked},
            spans=spans,
        )

    return examples


SENTENCE = "A table for 9 people on August 23rd, please."
ROWS: tuple[Row, ...] = (
    {
        "userInput": {"text": SENTENCE},
        "context": None,
        "labels": [
            {"slot": "people", "valueSpan": {"startIndex": 12, "endIndex": 20}},
            {"slot": "date", "valueSpan": {"startIndex": 24, "endIndex": 35}},
        ],
    },
    {
        "userInput": {"text": "Tonight would be best."},
        "context": {"requestedSlots": ["date", "time"]},
        "labels": [{"slot": "date", "valueSpan": {"endIndex": 7}}],
    },
    {"userInput": {"text": "Do you have a garden?"}, "context": {"requestedSlots": None}, "labels": None},
)
for _name, _config, _licence, _sizes, _what in (
    ("restaurant8k", "restaurant8k", "CC BY 4.0", {"train": 7_244, "test": 3_731}, "a restaurant's guests"),
    ("dstc8_slots", "dstc8", "CC BY-SA 4.0", {"train": 5_023}, "people who book buses, tickets, cars and visits"),
):
    register(
        Task(
            name=_name,
            source=Source(
                name="PolyAI-LDN/task-specific-datasets",
                config=_config,
                columns=("userInput", "context", "labels"),
                splits={"validation": "val"},
            ),
            to_examples=_slotted(_name),
            metrics=mark_slots,
            answer=stripped,
            family="dialogue",
            summary=f"the slots that a sentence of {_what} fills; rows as DialoGLUE cuts them",
            licence=_licence,
            train_ok=True,
            schema=f"code: PolyAI-LDN/task-specific-datasets:span_extraction/{_config}",
            sizes=_sizes,
            sample=ROWS,
        )
    )
register(
    Task(
        name="top",
        source=Source(name="facebook/top", columns=("utterance", "tokens", "tree"), splits={"validation": "eval"}),
        to_examples=written(
            lambda row, origin: key_values("top", {"utterance": text_field(row, "tokens", origin)}),
            lambda row, origin: text_field(row, "tree", origin),
            key="utterance",
        ),
        metrics=by_text(exact_match),
        answer=stripped,
        family="dialogue",
        summary="TOP: a request as a tree of intents and slots",
        licence="CC BY-SA (as DialoGLUE states)",
        train_ok=True,
        schema="code: alexa/dialoglue:data_utils/process_top.py (three columns without header: their names are ours)",
        sizes={"train": 31_279},
        sample=(
            {
                "utterance": "Is the road to Aldon free",
                "tokens": "Is the road to Aldon free",
                "tree": "[IN:GET_INFO_TRAFFIC Is the road to [SL:DESTINATION Aldon ] free ]",
            },
            {
                "utterance": "Plays on Sunday",
                "tokens": "Plays on Sunday",
                "tree": "[IN:GET_EVENT [SL:CATEGORY_EVENT Plays ] [SL:DATE_TIME on Sunday ] ]",
            },
        ),
    )
)
