"""A small reading task made on the fly: short paragraphs about invented people, and questions that a span answers.

It needs no file and few words: for tests, for trying things out. Half of the paragraphs are about
one person, the others about two or more. As a rule every sentence says another kind of thing, so that the kind of
answer tells which sentence to read. With `alike` all people have the same kinds said of them and the name must be found
too, which takes a model much longer to learn.

A quarter of the full names is kept for validation: the questions there are about people never met in training, though
every first name, last name and value is known. No pair of a person and a home, a job, a year or a thing is in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import NamedTuple, TypeVar

from textfer.batch import Example, Row
from textfer.data.source import Made, Source
from textfer.data.task import TASKS, Task
from textfer.data.tasks.squad import mark, original_spelling, to_example

T = TypeVar("T")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words(
    "Anna Bella Clara Diana Emma Flora Grace Helen Ida Julia Karen Laura Adam Brian Carl David Erik "
    "Frank George Henry Ivan James Kevin Louis"
)
LAST = _words("Baker Carter Dixon Evans Foster Grant Hall King Lane Marsh North Price Reed Shaw Wood Young")


class Fact(NamedTuple):
    """One thing that can be said of a person: {n} is the name, {v} the value."""

    values: tuple[str, ...]
    said: tuple[str, ...]
    asked: tuple[str, ...]
    """Questions whose answer is the value."""
    asked_who: tuple[str, ...]
    """Questions whose answer is the name."""


FACTS = (
    Fact(
        _words(
            "Athens Berlin Cairo Dublin Geneva Havana Lima Lisbon London Madrid Milan Moscow Naples Oslo "
            "Paris Prague Rome Tokyo Turin Venice Vienna Warsaw Boston Zurich"
        ),
        ("{n} lives in {v}.", "The home of {n} is in {v}.", "{n} has a house in {v}."),
        ("Where does {n} live?", "In which city is the home of {n}?"),
        ("Who lives in {v}?", "Whose home is in {v}?"),
    ),
    Fact(
        _words(
            "baker barber builder butcher cook dancer doctor driver farmer gardener guard judge lawyer miner "
            "nurse painter pilot poet sailor singer soldier tailor teacher writer"
        ),
        ("{n} works as a {v}.", "{n} is a {v}.", "{n} became a {v}."),
        ("What is the job of {n}?", "What does {n} work as?"),
        ("Who is a {v}?", "Who works as a {v}?"),
    ),
    Fact(
        tuple(str(year) for year in range(1902, 1998, 4)),
        ("{n} was born in {v}.", "In {v}, {n} was born.", "{n} came into the world in {v}."),
        ("When was {n} born?", "In which year was {n} born?"),
        ("Who was born in {v}?",),
    ),
    Fact(
        _words(
            "apples bells boats books bottles boxes buttons cards chairs clocks coins cups flags hats keys "
            "knives lamps letters maps plates shells shoes stamps stones"
        ),
        ("{n} collects {v}.", "{n} has many {v}.", "{n} keeps a room full of {v}."),
        ("What does {n} collect?", "Which things does {n} have?"),
        ("Who collects {v}?", "Who has many {v}?"),
    ),
)
VALIDATION_SHARE = 4
"""One full name in so many is kept for validation."""


class Said(NamedTuple):
    """A fact of a paragraph."""

    person: int
    fact: int
    value: str
    start: int
    """Where the value stands in the paragraph."""
    name_start: int


def reading_row(split: str, index: int, *, people: int = 2, facts: int = 2, alike: bool = False, seed: int = 0) -> Row:
    """Row `index` of a split, in SQuAD's columns: a paragraph about 1 to `people` people, and one question.

    Of several people it says `facts` things each, of one alone as many as there are kinds, `people` × `facts` at most.
    A pure function of its arguments.
    """
    draw = Random(f"reading/{seed}/{split}/{people}/{facts}/{alike}/{index}")
    names = _names(draw, split, 1 + int(draw.random() * people))
    each = facts if len(names) > 1 else min(people * facts, len(FACTS))
    kinds = _sample(draw, range(len(FACTS)), each if alike else len(names) * each)
    plan = [(person, kinds[n if alike else person * each + n]) for person in range(len(names)) for n in range(each)]
    said: list[Said] = []
    context = ""
    for person, kind in _sample(draw, plan, len(plan)):
        taken = {other.value for other in said}
        value = _pick(draw, [value for value in FACTS[kind].values if value not in taken])
        form = _pick(draw, FACTS[kind].said)
        context += " " if context else ""
        sentence = form.format(n=names[person], v=value)
        start, name_start = (len(context) + sentence.index(part) for part in (value, names[person]))
        said.append(Said(person, kind, value, start, name_start))
        context += sentence
    chosen = _pick(draw, said)
    fact, name = FACTS[chosen.fact], names[chosen.person]
    if draw.random() < 1 / 4:
        question, answer, start = _pick(draw, fact.asked_who).format(v=chosen.value), name, chosen.name_start
    else:
        question, answer, start = _pick(draw, fact.asked).format(n=name), chosen.value, chosen.start
    return {
        "id": f"{split}-{index}",
        "context": context,
        "question": question,
        "answers": {"text": [answer], "answer_start": [start]},
    }


def reading_task(
    *,
    num_train: int = 50_000,
    num_validation: int = 500,
    people: int = 2,
    facts: int = 2,
    alike: bool = False,
    seed: int = 0,
) -> Task:
    """The task with so many rows; see `reading_row`. Unless `alike`, `people` × `facts` is at most 4."""
    assert 1 <= people <= 4, people
    assert 1 <= (facts if alike else people * facts) <= len(FACTS), (people, facts)

    def row(split: str, index: int) -> Row:
        return reading_row(split, index, people=people, facts=facts, alike=alike, seed=seed)

    sizes = {"train": num_train, "validation": num_validation}
    return Task(
        name="reading",
        source=Source(name=f"reading-{people}-{facts}-{alike}-{seed}", made=Made(row=row, num_rows=sizes)),
        to_examples=_examples,
        metrics=mark,
        answer=original_spelling,
        family="reading comprehension",
        summary="invented people, their homes, jobs, years and things: made on the fly, few words, learnt soon",
        licence="Apache-2.0",
        train_ok=True,
        schema="this file",
        sizes=sizes,
        sample=(row("train", 0), row("validation", 1)),
    )


def _examples(row: Row, origin: str) -> Iterable[Example]:
    yield to_example(row, origin)


def _names(draw: Random, split: str, people: int) -> list[str]:
    """Full names of this split that share no part."""
    names: list[str] = []
    for first in _sample(draw, range(len(FIRST)), people):
        lasts = [
            last for last in range(len(LAST)) if ((first + last) % VALIDATION_SHARE == 0) is (split == "validation")
        ]
        used = {name.split()[1] for name in names}
        names.append(f"{FIRST[first]} {_pick(draw, [LAST[last] for last in lasts if LAST[last] not in used])}")
    return names


def _pick(draw: Random, options: Sequence[T]) -> T:
    return options[int(draw.random() * len(options))]  # only random() is promised to stay the same for ever


def _sample(draw: Random, options: Sequence[T], count: int) -> list[T]:
    left = list(options)
    return [left.pop(int(draw.random() * len(left))) for _ in range(count)]


TASKS.add("reading", reading_task())
