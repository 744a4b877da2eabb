"""Recurring spans of plain text as questions: unlabelled text that teaches reading comprehension.

The examples have SQuAD's form to the letter (`question: … context: …`), its fields and places, so that models that
write and readers with a span head train on the same rows. How they are made: `textfer.data.recurring`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from textfer.batch import Example, Row
from textfer.data.fields import text_field
from textfer.data.recurring import Rules, find_recurring
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.squad import NO_ANSWER, mark, mark_v2, original_or_none, original_spelling, to_example

NO_ANSWER_SHARE = 0.25


def recurring_examples(rules: Rules, *, title: str = "") -> Callable[[Row, str], Iterable[Example]]:
    """What makes a row's `text` into questions; `title` is the column that names the text, "" = there is none."""

    def examples(row: Row, origin: str) -> Iterable[Example]:
        text = text_field(row, "text", origin)
        name = text_field(row, title, origin) if title else ""
        for number, found in enumerate(find_recurring(text, rules, title=name)):
            answers = {"text": [found.answer], "answer_start": [found.start]} if found.answer else {"text": []}
            made = {
                "id": f"{origin}#{number}",
                "question": found.question,
                "context": found.context,
                "answers": answers,
            }
            example = to_example(made, origin, unanswerable=NO_ANSWER)
            yield replace(example, facts={**example.facts, "kind": found.kind})

    return examples


def recurring_task(name: str, source: Source, rules: Rules, *, title: str = "", summary: str = "") -> Task:
    """A task of questions made of a source's texts, marked as SQuAD is (2.0 where some have no answer)."""
    v2 = rules.no_answer > 0
    return Task(
        name=name,
        source=source,
        to_examples=recurring_examples(rules, title=title),
        metrics=mark_v2 if v2 else mark,
        answer=original_or_none if v2 else original_spelling,
        family="self-supervised reading",
        summary=summary,
        drops="texts without a passage in which a name, date, number or phrase recurs as the rules ask",
    )


ARTICLE = (
    "Maud Hale (12 May 1880 – 3 June 1951) was a hydrologist from the valley of Aldon, where she measured springs "
    "for the Tarn Survey over thirty years. Hale was born in the mill house below Larch Hill and went to the "
    "village school until the flood of 1891 carried its roof away.\n"
    "Springs.\n"
    "The Tarn Survey was set up to measure every spring between the two rivers and to draw a map of the water "
    "below the hills. In her first summer Hale measured forty springs near Larch Hill, most of them hidden below "
    "the peat. She wrote a report on the hidden springs for the survey, which was printed in Aldon with maps by "
    "her brother. A second report was finished by Hale after the survey had been closed, and it was never "
    "printed. The map of the water below the hills hung in the village school for many years.\n"
)
"""Written for this project."""
OTHER = (
    "The Tarn Bridge crosses the upper river at Aldon, where a ferry had carried carts and cattle for three "
    "hundred years. The ferry was the only way over the river between the sea and the mountains. It was drawn by "
    "ropes. The masons came from the villages of the upper valley and worked for nine summers on the five arches. "
    "Ida Brook drew the plans of the bridge and watched over the masons in all their work. The last arch was "
    "closed on a day of heavy rain, and the whole valley came to see the first cart go over. The stones were paid "
    "for by a toll on salt, cloth and cattle. A tablet on the middle arch says that Ida Brook was twenty when her "
    "plans were chosen."
)
SAMPLE = (
    {"title": "Maud Hale", "text": ARTICLE},
    {"title": "Tarn Bridge", "text": OTHER},
    {"title": "Aldon", "text": "Aldon is a village."},
)
WIKIPEDIA = Source(
    name="wikimedia/wikipedia",
    config="20231101.en",
    folder="text/wikipedia_en",
    columns=("title", "text"),
    hold_out=0.005,
    hold_out_by=("id",),
)
"""The rows of `wikipedia_en`, with the same ones held out."""
FROM_WIKIPEDIA = {
    "licence": "CC BY-SA 3.0 / GFDL",
    "train_ok": True,
    "schema": "data card of wikimedia/wikipedia",
}

for _task in (
    recurring_task(
        "recurring_spans_wikipedia",
        WIKIPEDIA,
        Rules(),
        title="title",
        summary="Questions made of Wikipedia's own sentences: the answer stands twice in a passage",
    ),
    recurring_task(
        "recurring_spans_wikipedia_v2",
        WIKIPEDIA,
        Rules(no_answer=NO_ANSWER_SHARE),
        title="title",
        summary="The same; in a quarter of the passages the answer is left out, and there is none",
    ),
):
    register(replace(_task, sample=SAMPLE, **FROM_WIKIPEDIA))  # type: ignore[arg-type]
