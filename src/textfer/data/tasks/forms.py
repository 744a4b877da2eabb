"""The few forms in which rows are said as text: key-value texts with a label, with choices, with a free answer.

T5's general form (`glue` of t5/data/preprocessors.py) is `name key1: text1 key2: text2 …`, keys in alphabetical order,
and a word for the label. Multiple choice follows COPA: `choice1: … choice2: …` go in, the word `choice2` comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from textfer.batch import Example, Row
from textfer.data.fields import field, label_field, text_field, wrong
from textfer.data.task import Scores

ToExamples = Callable[[Row, str], Iterable[Example]]
Marking = Callable[[Sequence[object], Sequence[Example]], Scores]
UNKNOWN = "<unk>"
"""The target of an unlabelled row, as T5 has it."""
CHOICES = tuple(f"choice{number}" for number in range(1, 11))
"""The words for the answers of a multiple choice; a task takes as many as it has."""


def key_values(name: str, texts: Mapping[str, str]) -> str:
    """`name key1: text1 key2: text2 …` with the keys in alphabetical order. **Source**: T5's `glue`."""
    return " ".join([name, *(f"{key}: {texts[key]}" for key in sorted(texts))])


def labelled(
    name: str,
    columns: Sequence[str] | Mapping[str, str],
    choices: Sequence[str],
    *,
    label: str = "label",
    values: Sequence[object] = (),
    unlabelled: object = -1,
) -> ToExamples:
    """Rows with a class: T5's general form in, the class's word out.

    `columns` are the texts, in the order in which encoders read them; a mapping gives key → column where they differ.
    The column `label` holds the index of the class, or one of `values` (in the order of `choices`). Rows that hold
    `unlabelled` there have the target `<unk>`.
    """
    keys = dict(columns) if isinstance(columns, Mapping) else {column: column for column in columns}

    def examples(row: Row, origin: str) -> Iterable[Example]:
        texts = {key: text_field(row, column, origin) for key, column in keys.items()}
        number = _class(row, label, origin, num=len(choices), values=values, unlabelled=unlabelled)
        yield Example(
            inputs=key_values(name, texts),
            targets=UNKNOWN if number is None else choices[number],
            origin=origin,
            facts=row_id(row),
            fields=texts,
        )

    return examples


def multiple_choice(
    name: str,
    columns: Sequence[str] | Mapping[str, str],
    options: Callable[[Row, str], Sequence[str]],
    gold: Callable[[Row, str], int | None],
) -> ToExamples:
    """Rows with answers to choose from: `name choice1: … choice2: … key: …` in, the word `choiceN` out.

    `options(row, origin)` gives the answers' texts, `gold(row, origin)` the index of the right one, None = unlabelled.
    Errors: DataError where the index is none of the options.
    """
    keys = dict(columns) if isinstance(columns, Mapping) else {column: column for column in columns}

    def examples(row: Row, origin: str) -> Iterable[Example]:
        texts = {key: text_field(row, column, origin) for key, column in keys.items()}
        answers = options(row, origin)
        number = gold(row, origin)
        if number is not None and not 0 <= number < len(answers):
            raise wrong(number, "label", origin, f"one of {len(answers)} choices, counted from 0")
        words = CHOICES[: len(answers)]
        yield Example(
            inputs=key_values(name, texts | dict(zip(words, answers, strict=True))),
            targets=UNKNOWN if number is None else words[number],
            origin=origin,
            facts={**row_id(row), "choices": words, "options": tuple(answers)},
            fields=texts,
        )

    return examples


def written(
    inputs: Callable[[Row, str], str], targets: Callable[[Row, str], str | Sequence[str]], *, key: str = "text"
) -> ToExamples:
    """Rows with a free answer. Of several right answers the first is the target; all are gold.

    Errors: DataError where there is no answer, or an empty one.
    """

    def examples(row: Row, origin: str) -> Iterable[Example]:
        text, found = inputs(row, origin), targets(row, origin)
        golds = (found,) if isinstance(found, str) else tuple(found)
        if not golds or not golds[0].strip():
            raise wrong(found, "targets", origin, "an answer that is not empty")
        facts = {**row_id(row), "answers": golds}
        yield Example(inputs=text, targets=golds[0], origin=origin, facts=facts, fields={key: text})

    return examples


def answered(
    say: Callable[[Mapping[str, str]], str],
    texts: Callable[[Row, str], Mapping[str, str]],
    golds: Callable[[Row, str], Sequence[str]],
) -> ToExamples:
    """Rows with free answers to several texts: `say(texts)` in, the first gold answer out; `<unk>` where there is none.

    For splits whose gold answers are kept back. Empty gold answers do not count.
    """

    def examples(row: Row, origin: str) -> Iterable[Example]:
        said = texts(row, origin)
        found = tuple(gold for gold in golds(row, origin) if gold.strip())
        yield Example(
            inputs=say(said),
            targets=found[0] if found else UNKNOWN,
            origin=origin,
            facts={**row_id(row), "answers": found},
            fields=dict(said),
        )

    return examples


def with_facts(to_examples: ToExamples, facts: Callable[[Row, str], Mapping[str, Any]]) -> ToExamples:
    """The same examples with more facts of their row: what a leaderboard file or a grouped metric asks for."""

    def examples(row: Row, origin: str) -> Iterable[Example]:
        for example in to_examples(row, origin):
            yield replace(example, facts={**example.facts, **facts(row, origin)})

    return examples


def row_id(row: Row) -> dict[str, str]:
    """The row's own id (`id`, `idx`) as a fact, where it has one that is text or a number."""
    found = next((row[key] for key in ("id", "idx") if isinstance(row.get(key), str | int)), None)
    return {} if found is None else {"id": str(found)}


def by_label(choices: Sequence[str], *scores: Callable[[Sequence[int], Sequence[int]], Scores]) -> Marking:
    """Marks label words by their class indices; what is no label word counts as -1. The first score leads."""
    index = {word: number for number, word in enumerate(choices)}

    def mark(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
        found = [index.get(str(answer).strip(), -1) for answer in answers]
        golds = [index[example.targets] for example in examples]
        return {name: value for score in scores for name, value in score(found, golds).items()}

    return mark


def by_text(*scores: Callable[[Sequence[str], Sequence[Sequence[str]]], Scores]) -> Marking:
    """Marks free texts against each example's gold answers. The first score leads."""

    def mark(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
        texts = [str(answer) for answer in answers]
        golds = [list(example.facts["answers"]) for example in examples]
        return {name: value for score in scores for name, value in score(texts, golds).items()}

    return mark


def led_by(
    name: str, score: Callable[[Sequence[str], Sequence[Sequence[str]]], Scores]
) -> Callable[[Sequence[str], Sequence[Sequence[str]]], Scores]:
    """The same scores with `name` first: the one that stands for the task."""

    def leading(texts: Sequence[str], golds: Sequence[Sequence[str]]) -> Scores:
        scores = score(texts, golds)
        return {name: scores[name], **scores}

    return leading


def stripped(text: str, example: Example) -> str:
    """What the model wrote, without spaces at either end."""
    return text.strip()


def _class(row: Row, label: str, origin: str, *, num: int, values: Sequence[object], unlabelled: object) -> int | None:
    if not values:
        number = label_field(row, label, origin, num_labels=num, unknown=-1)
        return None if number == -1 else number
    value = field(row, label, origin)
    if value in values:
        return list(values).index(value)
    if value == unlabelled and value is not None:
        return None
    raise wrong(value, label, origin, f"one of {', '.join(map(repr, values[:8]))}{' …' if len(values) > 8 else ''}")
