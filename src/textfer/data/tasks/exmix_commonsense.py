"""The parts of Rainbow that no other file has: aNLI (what lies between?) and HellaSwag (what follows?)."""

from __future__ import annotations

from collections.abc import Sequence

from textfer.batch import Row
from textfer.data.fields import int_field, label_field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import CHOICES, by_label, multiple_choice, stripped
from textfer.metrics import accuracy

ENDINGS = 4


def _stories(row: Row, origin: str) -> Sequence[str]:
    return [text_field(row, f"hypothesis_{number}", origin) for number in (1, 2)]


def _story(row: Row, origin: str) -> int:
    """The hub counts from 1; its class 0 is never used."""
    number = label_field(row, "label", origin, num_labels=3)
    if number == 0:
        raise wrong(number, "label", origin, "1 or 2")
    return number - 1


def _endings(row: Row, origin: str) -> Sequence[str]:
    endings = texts_field(row, "endings", origin)
    if len(endings) != ENDINGS:
        raise wrong(endings, "endings", origin, f"{ENDINGS} texts")
    return endings


def _ending(row: Row, origin: str) -> int | None:
    """The hub's labels are texts; the test split has empty ones."""
    return None if row.get("label") == "" else int_field(row, "label", origin)


register(
    Task(
        name="alpha_nli",
        source=Source(
            name="allenai/art",
            config="anli",
            columns=("observation_1", "observation_2", "hypothesis_1", "hypothesis_2", "label"),
        ),
        to_examples=multiple_choice("alpha_nli", ("observation_1", "observation_2"), _stories, _story),
        choices=CHOICES[:2],
        metrics=by_label(CHOICES[:2], accuracy),
        answer=stripped,
        family="commonsense",
        summary="aNLI: which of two events may lie between two others?",
        licence="none stated",
        schema="code: huggingface/datasets:datasets/art/art.py",
        sizes={"train": 169_654, "validation": 1_532},
        sample=(
            {
                "observation_1": "Ida left the milk on the stove.",
                "observation_2": "She opened all the windows.",
                "hypothesis_1": "The milk burnt.",
                "hypothesis_2": "The milk was cold.",
                "label": 1,
            },
            {
                "observation_1": "Karl set out without a coat.",
                "observation_2": "He came home wet.",
                "hypothesis_1": "The sun shone all day.",
                "hypothesis_2": "It began to rain.",
                "label": 2,
            },
        ),
    )
)
register(
    Task(
        name="hellaswag",
        source=Source(name="Rowan/hellaswag", columns=("ctx", "activity_label", "endings", "label")),
        to_examples=multiple_choice("hellaswag", {"activity": "activity_label", "context": "ctx"}, _endings, _ending),
        choices=CHOICES[:ENDINGS],
        metrics=by_label(CHOICES[:ENDINGS], accuracy),
        answer=stripped,
        family="commonsense",
        summary="HellaSwag: which of four endings follows?",
        licence="MIT",
        train_ok=True,
        schema="code: huggingface/datasets:datasets/hellaswag/hellaswag.py",
        sizes={"train": 39_905, "validation": 10_042, "test": 10_003},
        sample=tuple(
            {
                "activity_label": "Baking bread",
                "ctx": "A woman kneads the dough. She",
                "endings": [*others[:place], "leaves it to rise.", *others[place:]],
                "label": label,
            }
            for others in [["paints it green.", "reads it a letter.", "throws it to the fish."]]
            for place, label in ((0, "0"), (1, "1"), (2, "2"), (3, "3"), (0, ""))
        ),
    )
)
