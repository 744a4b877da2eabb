"""Multiple choice: reading with answers to choose from, and questions of common sense and science.

All in the form of COPA (`multiple_choice`): the answers go in as `choice1: … choice2: …`, the word `choiceN` comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from textfer.batch import Example, Row
from textfer.data.fields import label_field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import CHOICES, by_label, multiple_choice, stripped
from textfer.metrics import accuracy

Options = Callable[[Row, str], Sequence[str]]
Gold = Callable[[Row, str], int | None]
chosen = by_label(CHOICES, accuracy)
"""Marks the words `choiceN`."""


def in_columns(*columns: str) -> Options:
    """The answers' texts, where each has a column."""
    return lambda row, origin: [text_field(row, column, origin) for column in columns]


def in_list(column: str) -> Options:
    """The answers' texts, where one column lists them."""
    return lambda row, origin: texts_field(row, column, origin)


def by_index(column: str, num: int) -> Gold:
    """The right answer, where the column counts from 0; -1 = unlabelled."""

    def gold(row: Row, origin: str) -> int | None:
        number = label_field(row, column, origin, num_labels=num, unknown=-1)
        return None if number == -1 else number

    return gold


def by_name(column: str, names: Sequence[str]) -> Gold:
    """The right answer, where the column holds one of `names` (letters, numbers from 1); empty text = unlabelled."""
    return lambda row, origin: named(text_field(row, column, origin), names, column, origin)


def named(value: str, names: Sequence[str], column: str, origin: str) -> int | None:
    """Where `value` stands among `names`; None = empty, that is unlabelled. **Errors**: DataError for another value."""
    if not value:
        return None
    if value not in names:
        raise wrong(value, column, origin, f"one of {', '.join(names)}")
    return list(names).index(value)


def _keyed(row: Row, origin: str) -> int | None:
    """`choices.label` names the answers (A, B, … or 1, 2, …) and `answerKey` says which one is right."""
    names = texts_field(row, "choices.label", origin)
    return named(text_field(row, "answerKey", origin), names, "answerKey", origin)


def _dream_gold(row: Row, origin: str) -> int | None:
    return named(text_field(row, "answer", origin), texts_field(row, "choice", origin), "answer", origin)


_dream_form = multiple_choice("dream", ("dialogue", "question"), in_list("choice"), _dream_gold)


def _dream(row: Row, origin: str) -> Iterable[Example]:
    return _dream_form({**row, "dialogue": " ".join(texts_field(row, "dialogue", origin))}, origin)


def _sciq_options(row: Row, origin: str) -> Sequence[str]:
    """In alphabetical order: the source has the right answer in a column of its own, and no order of all four."""
    return sorted(in_columns("distractor3", "distractor1", "distractor2", "correct_answer")(row, origin))


def _sciq_gold(row: Row, origin: str) -> int:
    return _sciq_options(row, origin).index(text_field(row, "correct_answer", origin))


reading = partial(Task, metrics=chosen, answer=stripped, family="boolean and multiple-choice reading")
commonsense = partial(Task, metrics=chosen, answer=stripped, family="commonsense and science")
LETTERED = {"label": ["A", "B", "C", "D"]}

register(
    reading(
        name="dream",
        source=Source(
            name="dataset-org/dream", config="plain_text", columns=("id", "dialogue", "question", "choice", "answer")
        ),
        to_examples=_dream,
        summary="DREAM: questions about a dialogue, 3 answers",
        licence="non-commercial research only",
        schema="data card of dataset-org/dream",
        sizes={"train": 6_116, "validation": 2_040, "test": 2_041},
        sample=(
            {
                "id": 7,
                "dialogue": ["W: Is the pottery class full?", "M: No, but bring your own clay."],
                "question": "What must the woman bring?",
                "choice": ["A kiln.", "Clay.", "Money."],
                "answer": "Clay.",
            },
        ),
    )
)
register(
    reading(
        name="cosmos_qa",
        source=Source(
            name="allenai/cosmos_qa",
            columns=("id", "context", "question", "answer0", "answer1", "answer2", "answer3", "label"),
        ),
        to_examples=multiple_choice(
            "cosmos_qa",
            ("context", "question"),
            in_columns("answer0", "answer1", "answer2", "answer3"),
            by_index("label", 4),
        ),
        summary="Cosmos QA: what is likely in a story but not said, 4 answers",
        licence="CC BY 4.0",
        train_ok=True,
        schema="data card of allenai/cosmos_qa",
        sizes={"train": 25_262, "validation": 2_985, "test": 6_963},
        sample=tuple(
            {
                "id": f"blog-{label}",
                "context": "I left my umbrella on the tram and came home with wet hair .",
                "question": "What may have happened on the way home ?",
                "answer0": "The tram had no windows .",
                "answer1": "It rained .",
                "answer2": "None of the above choices .",
                "answer3": "I went for a swim .",
                "label": label,
            }
            for label in (1, -1)
        ),
    )
)
register(
    reading(
        name="sciq",
        source=Source(
            name="allenai/sciq",
            columns=("question", "distractor3", "distractor1", "distractor2", "correct_answer", "support"),
        ),
        to_examples=multiple_choice("sciq", ("question", "support"), _sciq_options, _sciq_gold),
        summary="SciQ: school science with a supporting text (which may be empty), 4 answers",
        licence="CC BY-NC 3.0",
        schema="data card of allenai/sciq",
        sizes={"train": 11_679, "validation": 1_000, "test": 1_000},
        sample=tuple(
            {
                "question": "Which part of a plant takes up water?",
                "distractor3": "petal",
                "distractor1": "leaf",
                "distractor2": "seed",
                "correct_answer": "root",
                "support": support,
            }
            for support in ("Roots hold a plant in the ground and take up water.", "")
        ),
    )
)
for _stories, _sizes in (
    (160, {"train": 280, "validation": 120, "test": 240}),
    (500, {"train": 1_200, "validation": 200, "test": 600}),
):
    register(
        reading(
            name=f"mctest_{_stories}",
            source=Source(
                name="sagnikrayc/mctest",
                config=f"mc{_stories}",
                columns=("id", "story", "question", "answer_options", "answer"),
            ),
            to_examples=multiple_choice(
                "mctest", ("story", "question"), in_list("answer_options"), by_name("answer", ("A", "B", "C", "D"))
            ),
            summary=f"MCTest {_stories}: questions about a story for children, 4 answers",
            licence="Microsoft Research licence (non-commercial research)",
            schema="data card of sagnikrayc/mctest",
            sizes=_sizes,
            sample=(
                {
                    "id": "mc.made.0.0",
                    "story": "Nora lost her red mitten in the snow. Her dog Pip found it and brought it home.",
                    "question": "Who found the mitten?",
                    "answer_options": ["Nora", "Pip", "the snow", "a cat"],
                    "answer": "B",
                },
            ),
        )
    )

register(
    commonsense(
        name="commonsense_qa",
        source=Source(name="tau/commonsense_qa", columns=("id", "question", "choices", "answerKey")),
        to_examples=multiple_choice("commonsense_qa", ("question",), in_list("choices.text"), _keyed),
        summary="CommonsenseQA: what everybody knows, 5 answers",
        licence="MIT",
        train_ok=True,
        schema="data card of tau/commonsense_qa",
        sizes={"train": 9_741, "validation": 1_221, "test": 1_140},
        sample=tuple(
            {
                "id": f"made-{key}",
                "question": "Where do people keep bread at home?",
                "choices": {"label": list("ABCDE"), "text": ["bakery", "bread bin", "oven door", "field", "purse"]},
                "answerKey": key,
            }
            for key in ("B", "")
        ),
    )
)
register(
    commonsense(
        name="openbookqa",
        source=Source(
            name="allenai/openbookqa", config="main", columns=("id", "question_stem", "choices", "answerKey")
        ),
        to_examples=multiple_choice("openbookqa", {"question": "question_stem"}, in_list("choices.text"), _keyed),
        summary="OpenBookQA: beginnings of sentences about elementary science, 4 answers",
        licence="Apache-2.0",
        train_ok=True,
        schema="data card of allenai/openbookqa",
        sizes={"train": 4_957, "validation": 500, "test": 500},
        sample=(
            {
                "id": "1-1",
                "question_stem": "A kettle on a hot stove will soon",
                "choices": {"text": ["freeze", "boil", "bloom", "sleep"], **LETTERED},
                "answerKey": "B",
            },
        ),
    )
)
for _level, _sizes in (
    ("Challenge", {"train": 1_119, "validation": 299, "test": 1_172}),
    ("Easy", {"train": 2_251, "validation": 570, "test": 2_376}),
):
    register(
        commonsense(
            name=f"ai2_arc_{_level.lower()}",
            source=Source(
                name="allenai/ai2_arc", config=f"ARC-{_level}", columns=("id", "question", "choices", "answerKey")
            ),
            to_examples=multiple_choice("ai2_arc", ("question",), in_list("choices.text"), _keyed),
            summary=f"ARC {_level}: science exams of American schools, mostly 4 answers",
            licence="CC BY-SA 4.0",
            train_ok=True,
            schema="data card of allenai/ai2_arc",
            sizes=_sizes,
            sample=(
                {
                    "id": "made-1",
                    "question": "Which tool shows how warm a room is?",
                    "choices": {"text": ["a ruler", "a balance", "a thermometer", "a magnet"], **LETTERED},
                    "answerKey": "C",
                },
                {
                    "id": "made-2",
                    "question": "What does the Moon travel around?",
                    "choices": {"text": ["Earth", "Mars", "the Sun's core"], "label": ["1", "2", "3"]},
                    "answerKey": "1",
                },
            ),
        )
    )
register(
    commonsense(
        name="piqa",
        source=Source(name="ybisk/piqa", config="plain_text", columns=("goal", "sol1", "sol2", "label")),
        to_examples=multiple_choice("piqa", ("goal",), in_columns("sol1", "sol2"), by_index("label", 2)),
        summary="PIQA: which of two ways reaches a goal in the physical world",
        licence="AFL-3.0",
        schema="data card of ybisk/piqa",
        sizes={"train": 16_113, "validation": 1_838, "test": 3_084},
        sample=tuple(
            {
                "goal": "Open a tight jar.",
                "sol1": "Warm the lid under hot water and turn it.",
                "sol2": "Warm the label under hot water and read it.",
                "label": label,
            }
            for label in (0, -1)
        ),
    )
)
register(
    commonsense(
        name="social_i_qa",
        source=Source(
            name="allenai/social_i_qa", columns=("context", "question", "answerA", "answerB", "answerC", "label")
        ),
        to_examples=multiple_choice(
            "social_i_qa",
            ("context", "question"),
            in_columns("answerA", "answerB", "answerC"),
            by_name("label", ("1", "2", "3")),
        ),
        summary="Social IQa: why people do things and how they feel, 3 answers",
        licence="none stated",
        schema="data card of allenai/social_i_qa",
        sizes={"train": 33_410, "validation": 1_954},
        sample=(
            {
                "context": "Mira gave Tom the last piece of cake.",
                "question": "How would you describe Mira?",
                "answerA": "greedy",
                "answerB": "hungry",
                "answerC": "generous",
                "label": "3",
            },
        ),
    )
)
register(
    commonsense(
        name="winogrande",
        source=Source(
            name="allenai/winogrande", config="winogrande_xl", columns=("sentence", "option1", "option2", "answer")
        ),
        to_examples=multiple_choice(
            "winogrande", ("sentence",), in_columns("option1", "option2"), by_name("answer", ("1", "2"))
        ),
        summary="WinoGrande XL: which of two fills the blank of a sentence",
        licence="CC BY 4.0",
        train_ok=True,
        schema="data card of allenai/winogrande",
        sizes={"train": 40_398, "validation": 1_267, "test": 1_767},
        sample=tuple(
            {
                "sentence": "The bag did not fit in the box because the _ was too small.",
                "option1": "bag",
                "option2": "box",
                "answer": answer,
            }
            for answer in ("2", "")
        ),
    )
)
register(
    commonsense(
        name="comve",
        source=Source(name="semeval2020/comve", config="task_a", columns=("id", "sent0", "sent1", "label")),
        to_examples=multiple_choice("comve", (), in_columns("sent0", "sent1"), by_index("label", 2)),
        summary="ComVE task A (SemEval 2020): which of two sentences is against common sense",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema="columns of the task's CSV files, with the label beside them",
        sizes={"train": 10_000, "validation": 997, "test": 1_000},
        sample=(
            {
                "id": 1,
                "sent0": "She put the fridge in the milk.",
                "sent1": "She put the milk in the fridge.",
                "label": 0,
            },
            {"id": 2, "sent0": "Birds lay eggs.", "sent1": "Birds lay stones.", "label": 1},
        ),
    )
)
