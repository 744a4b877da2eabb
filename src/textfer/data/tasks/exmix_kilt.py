"""KILT: nine tasks that ask for knowledge of Wikipedia, answered from memory here (no page is given).

All configs share their columns: a text `input`, and a list `output` of answers and of where they stand. Entries of
`output` that only say where have an empty answer and do not count; test rows have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from textfer.batch import Example, Row
from textfer.data.fields import field, text_field, wrong
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import (
    UNKNOWN,
    Marking,
    answered,
    by_label,
    by_text,
    key_values,
    led_by,
    row_id,
    stripped,
)
from textfer.metrics import accuracy, exact_match, rouge, squad, token_f1

VERDICTS = ("SUPPORTS", "REFUTES")
SCHEMA = "code: huggingface/datasets:datasets/kilt_tasks/kilt_tasks.py"


class Part(NamedTuple):
    """What the tasks differ in."""

    config: str
    key: str
    """What the text is: its key in the input."""
    metrics: Marking
    summary: str
    sizes: tuple[int, int, int]
    """Rows of train, validation and test."""
    sample: tuple[tuple[str, tuple[str, ...]], ...]
    """(text, answers)."""


def answers_of(row: Row, origin: str) -> tuple[str, ...]:
    """The answers in `output`, in its order; those without text are left out."""
    outputs = field(row, "output", origin)
    if isinstance(outputs, str | Mapping) or not isinstance(outputs, Sequence):
        raise wrong(outputs, "output", origin, "a list of answers")
    answers = []
    for output in outputs:
        answer = output.get("answer") if isinstance(output, Mapping) else None
        if not isinstance(answer, str):
            raise wrong(output, "output", origin, "only entries with a text 'answer'")
        answers.append(answer)
    return tuple(answer for answer in answers if answer.strip())


def _texts(key: str, row: Row, origin: str) -> dict[str, str]:
    text = text_field(row, "input", origin)
    if not text.strip():  # the hub's TriviaQA rows hold ids only
        raise wrong(text, "input", origin, "a question. Join it in by id from trivia_qa")
    return {key: text}


def _verdict(row: Row, origin: str) -> Iterable[Example]:
    texts = _texts("claim", row, origin)
    answers = answers_of(row, origin)
    if answers and answers[0] not in VERDICTS:
        raise wrong(answers[0], "output", origin, " or ".join(VERDICTS))
    yield Example(
        inputs=key_values("kilt_fever", texts),
        targets=answers[0] if answers else UNKNOWN,
        origin=origin,
        facts=row_id(row),
        fields=texts,
    )


PARTS = (
    Part(
        "aidayago2",
        "mention",
        by_text(exact_match),
        "AIDA CoNLL-YAGO: the Wikipedia title of the name between [START_ENT] and [END_ENT]",
        (18_395, 4_784, 4_463),
        (
            ("[START_ENT] Aldon [END_ENT] beat Marwick 2-0 in the second round on Tuesday .", ("Aldon F.C.",)),
            ("The mayor of [START_ENT] Marwick [END_ENT] opened the new harbour .", ("Marwick, Northland",)),
        ),
    ),
    Part(
        "trex",
        "relation",
        by_text(squad),
        "T-REx: a subject and a relation, the object is asked for",
        (2_284_168, 5_000, 5_000),
        (
            ("Maud Hale [SEP] place of birth", ("Aldon", "Aldon-on-Sea")),
            ("Marwick Bridge [SEP] located on", ("River Orle",)),
        ),
    ),
    Part(
        "structured_zeroshot",
        "relation",
        by_text(squad),
        "Zero-shot RE: a subject and a relation not met in training, the object is asked for",
        (147_909, 3_724, 4_966),
        (("The Glass Orchard [SEP] publisher", ("Tarn Press",)), ("Orle Mill [SEP] built in", ("1843",))),
    ),
    Part(
        "nq",
        "question",
        by_text(squad),
        "Natural Questions, as KILT has them",
        (87_372, 2_837, 1_444),
        (("who built the bridge at marwick", ("Ada Thorn", "Thorn")), ("when was the orle mill closed", ("1911",))),
    ),
    Part(
        "hotpotqa",
        "question",
        by_text(squad),
        "HotpotQA: questions that take two pages to answer",
        (88_869, 5_600, 5_569),
        (
            ("Are Aldon and Marwick on the same river?", ("yes",)),
            ("In which town was the builder of Marwick Bridge born?", ("Aldon",)),
        ),
    ),
    Part(
        "triviaqa_support_only",
        "question",
        by_text(squad),
        "TriviaQA, as KILT has it; the hub's rows lack the questions, which must be joined in",
        (61_844, 5_359, 6_586),
        (
            ("Which river runs through Aldon?", ("River Orle", "the Orle")),
            ("Who wrote The Glass Orchard?", ("Maud Hale",)),
        ),
    ),
    Part(
        "eli5",
        "question",
        by_text(led_by("rougeL", rouge)),
        "ELI5: long answers to questions why and how",
        (272_634, 1_507, 600),
        (
            (
                "Why do bells ring for so long?",
                ("The metal loses little of its movement with each swing, so it goes on shaking the air.",),
            ),
            ("How does a lock lift a boat?", ("Water is let in until the boat stands as high as the upper river.",)),
        ),
    ),
    Part(
        "wow",
        "dialogue",
        by_text(token_f1),
        "Wizard of Wikipedia: the next thing said by the one who knows",
        (63_734, 3_054, 2_944),
        (
            (
                "I have just been to Aldon.\nDid you see the castle?\nNo, is it old?",
                ("It was built in 1203 and has a famous well.",),
            ),
            ("Do you keep bees?", ("I do not, but a hive may hold fifty thousand of them.",)),
        ),
    ),
)


def _rows(sample: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[Row, ...]:
    """Rows as the hub has them: the first with an entry that only says where, and one of the test split behind them."""
    place = {"wikipedia_id": "1203", "title": "Aldon"}
    rows = [
        {"id": f"aldon-{n}", "input": text, "output": [{"answer": answer, "provenance": []} for answer in answers]}
        for n, (text, answers) in enumerate(sample)
    ]
    rows[0]["output"] = [*rows[0]["output"], {"answer": "", "provenance": [place]}]
    return (*rows, {"id": "aldon-test", "input": sample[0][0], "output": []})


def _source(config: str) -> Source:
    return Source(name="facebook/kilt_tasks", config=config, columns=("id", "input", "output"))


register(
    Task(
        name="kilt_fever",
        source=_source("fever"),
        to_examples=_verdict,
        choices=VERDICTS,
        metrics=by_label(VERDICTS, accuracy),
        answer=stripped,
        family="knowledge",
        summary="FEVER, as KILT has it: is the claim right?",
        licence="MIT (annotations); Wikipedia text CC BY-SA 3.0",
        schema=SCHEMA,
        sizes={"train": 104_966, "validation": 10_444, "test": 10_100},
        sample=_rows(
            (("Aldon Castle was built in 1203.", ("SUPPORTS",)), ("Maud Hale never left Marwick.", ("REFUTES",)))
        ),
    )
)
for _part in PARTS:
    _name = f"kilt_{_part.config.removesuffix('_support_only')}"
    register(
        Task(
            name=_name,
            source=_source(_part.config),
            to_examples=answered(partial(key_values, _name), partial(_texts, _part.key), answers_of),
            metrics=_part.metrics,
            answer=stripped,
            family="knowledge",
            summary=_part.summary,
            licence="MIT (annotations); texts under their sources' terms",
            schema=SCHEMA,
            sizes=dict(zip(("train", "validation", "test"), _part.sizes, strict=True)),
            sample=_rows(_part.sample),
        )
    )
