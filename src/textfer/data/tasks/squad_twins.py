"""SQuAD 1.1's questions beside twins without an answer: rows that teach a reader when to say that there is none.

A set in which only some articles have unanswerable questions teaches which articles those are. Here questions
with and without an answer are put to every paragraph. How they are made: `data.unanswerable`.
"""

from __future__ import annotations

from collections.abc import Iterable

from textfer.batch import Example, Row
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.squad import CASTLE, COLUMNS, GROUP, NO_ANSWER, SAMPLE, mark_v2, original_or_none, to_example
from textfer.data.unanswerable import unanswered


def to_twins(row: Row, origin: str) -> Iterable[Example]:
    """The row as SQuAD has it, and its question changed until it has no answer, where a rule applies."""
    own = to_example(row, origin)
    yield own
    question, context = own.fields["question"], own.fields["context"]
    made = unanswered(question, context, [answer for answer in own.facts["answers"] if answer.strip()])
    if made is not None:
        number = f"{own.facts['id']}-{made.kind}"
        changed = {"id": number, "question": made.question, "context": made.context, "answers": {"text": []}}
        yield to_example(changed, origin, unanswerable=NO_ANSWER)


register(
    Task(
        name="squad_twins",
        source=Source(name="rajpurkar/squad", config="plain_text", columns=COLUMNS, group=GROUP),
        to_examples=to_twins,
        metrics=mark_v2,
        answer=original_or_none,
        family="reading comprehension",
        summary="SQuAD 1.1's questions, each beside a twin that the paragraph does not answer",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema="data card of rajpurkar/squad",
        sizes={"train": 87_599, "validation": 10_570},
        sample=(
            *SAMPLE,
            {
                "id": "aldon-5",
                "context": CASTLE + " Ida Brook drew the towers of the castle when Aldon was besieged in 1310.",
                "question": "What did Maud Hale give to the town?",
                "answers": {"text": ["the well"], "answer_start": [65]},
            },
        ),
    )
)
