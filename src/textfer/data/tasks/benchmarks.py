"""Benchmarks of knowledge and reasoning that nothing is trained on: MMLU and the 27 sets of BIG-Bench Hard.

BIG-Bench Hard asks in its own words, which stand here after the set's name; the answers are `(A)`, `Yes`, a number or
a text, told to the letter. Its data carry a canary: keep them out of training.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from textfer.batch import Example, Row
from textfer.data.fields import text_field, wrong
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import by_text, multiple_choice, stripped, written
from textfer.data.tasks.multiple_choice import by_index, chosen, in_list
from textfer.metrics import exact_match

FAMILY = "knowledge benchmark"
LETTERED = re.compile(r"^(\([A-Z]\)) ", re.MULTILINE)
LICENCE = "MIT; carries the BIG-bench canary: keep out of training"

WORDS: dict[str, tuple[str, ...]] = {
    "boolean_expressions": ("True", "False"),
    "causal_judgement": ("Yes", "No"),
    "formal_fallacies": ("valid", "invalid"),
    "navigate": ("Yes", "No"),
    "sports_understanding": ("yes", "no"),
    "web_of_lies": ("Yes", "No"),
}
"""Sets with two answers, always the same ones."""
FREE = ("dyck_languages", "multistep_arithmetic_two", "object_counting", "word_sorting")
"""Sets without answers to choose from."""
OPTIONS = (
    "date_understanding",
    "disambiguation_qa",
    "geometric_shapes",
    "hyperbaton",
    "logical_deduction_five_objects",
    "logical_deduction_seven_objects",
    "logical_deduction_three_objects",
    "movie_recommendation",
    "penguins_in_a_table",
    "reasoning_about_colored_objects",
    "ruin_names",
    "salient_translation_error_detection",
    "snarks",
    "temporal_sequences",
    "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects",
)
"""Sets whose questions list lettered answers."""
FEWER = {"causal_judgement": 187, "penguins_in_a_table": 146, "snarks": 178}
"""Rows where there are not 250."""


def _hard(name: str) -> Callable[[Row, str], Iterable[Example]]:
    """The questions of a set; where they list lettered answers, these are what an answer may be.

    A few rows have an answer that is none of their letters (the list was cut at commas): these may say anything.
    """
    form = written(
        lambda row, origin: f"bbh_{name} {text_field(row, 'input', origin)}",
        lambda row, origin: text_field(row, "target", origin),
    )

    def examples(row: Row, origin: str) -> Iterable[Example]:
        for example in form(row, origin):
            if name in WORDS and example.targets not in WORDS[name]:
                raise wrong(example.targets, "target", origin, " or ".join(WORDS[name]))
            letters = tuple(LETTERED.findall(example.inputs)) if name in OPTIONS else ()
            if example.targets not in letters:
                yield example
            else:
                facts = {**example.facts, "choices": letters}
                yield Example(
                    inputs=example.inputs,
                    targets=example.targets,
                    origin=origin,
                    facts=facts,
                    fields=example.fields,
                )

    return examples


def _sample(name: str) -> tuple[Row, ...]:
    if name in OPTIONS:
        return (
            {"input": "Which of these is a fruit?\nOptions:\n(A) pear\n(B) spoon\n(C) cloud", "target": "(A)"},
            {"input": "Which of these is a tool?\nOptions:\n(A) pear\n(B) spoon\n(C) cloud", "target": "(B)"},
        )
    if name in WORDS:
        return tuple({"input": f"Is this a made-up row? Say {word}.", "target": word} for word in WORDS[name])
    return (
        {"input": "Close the brackets: ( [", "target": "] )"},
        {"input": "How many legs has a stool?", "target": "3"},
    )


register(
    Task(
        name="mmlu",
        source=Source(name="cais/mmlu", config="all", columns=("question", "subject", "choices", "answer")),
        to_examples=multiple_choice("mmlu", ("question", "subject"), in_list("choices"), by_index("answer", 4)),
        metrics=chosen,
        answer=stripped,
        family=FAMILY,
        summary="MMLU: exams in 57 subjects, 4 answers",
        licence="MIT",
        schema="data card of cais/mmlu",
        sizes={"dev": 285, "validation": 1_531, "test": 14_042},
        sample=(
            {
                "question": "What does a barometer measure?",
                "subject": "conceptual_physics",
                "choices": ["Wind", "Pressure of the air", "Rain", "Light"],
                "answer": 1,
            },
        ),
    )
)
for _name in sorted([*WORDS, *FREE, *OPTIONS]):
    register(
        Task(
            name=f"bbh_{_name}",
            source=Source(name="lukaemon/bbh", config=_name, columns=("input", "target")),
            to_examples=_hard(_name),
            choices=WORDS.get(_name, ()),
            metrics=by_text(exact_match),
            answer=stripped,
            family=FAMILY,
            summary=f"BIG-Bench Hard: {_name.replace('_', ' ')}",
            licence=LICENCE,
            schema="data card of lukaemon/bbh",
            sizes={"test": FEWER.get(_name, 250)},
            sample=_sample(_name),
        )
    )
