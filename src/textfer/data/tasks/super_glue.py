"""SuperGLUE in the text forms of T5, with its diagnostic sets AX-b and AX-g. WSC is in `winograd.py`.

Every task says `name key1: text1 key2: text2`, keys in alphabetical order, and a word for the label. MultiRC has its
own order of keys, ReCoRD asks for an entity and not for a class, AX-b and AX-g are read as `rte`.

**Source**: `glue` and `record` of t5/data/preprocessors.py, t5/data/glue_utils.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from textfer.batch import Example, Row
from textfer.data.fields import int_field, label_field, text_field, texts_field
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import UNKNOWN, ToExamples, by_label, labelled, stripped, with_facts
from textfer.data.tasks.glue import ENTAILED, UNLABELLED, WELL, LabelScore, numbered
from textfer.metrics import accuracy, gender_parity, macro_f1, matthews, multirc, record

NO_YES = ("False", "True")
NLI = ("entailment", "contradiction", "neutral")
"""CB's classes; MNLI has them in another order."""
HIGHLIGHT = re.compile(r"""([.?!"'])\n@highlight\n""")
PLACEHOLDER = "@placeholder"


def multirc_inputs(question: str, answer: str, paragraph: str) -> str:
    """`multirc question: … answer: … paragraph: …`, line breaks as spaces and without bold marks.

    **Source**: `glue` of t5/data/preprocessors.py.
    """
    whole = f"multirc question: {question} answer: {answer} paragraph: {paragraph}"
    return re.sub(r"</?b>", "", whole.replace("<br>", " "))


def record_inputs(query: str, entities: Sequence[str], passage: str) -> str:
    """`record query: … entities: e1, e2 passage: …`; the highlights below the passage become sentences of it.

    **Source**: `record` of t5/data/preprocessors.py.
    """
    text = HIGHLIGHT.sub(r"\1 ", passage).replace("\n@highlight\n", ". ")
    return f"record query: {query} entities: {', '.join(entities)} passage: {text}"


def _nested(row: Row, origin: str, *parts: str) -> dict[str, int]:
    """The parts of a row's `idx`."""
    return {part: int_field(row, f"idx.{part}", origin) for part in parts}


def _multirc(row: Row, origin: str) -> Iterable[Example]:
    texts = {key: text_field(row, key, origin) for key in ("question", "answer", "paragraph")}
    label = label_field(row, "label", origin, num_labels=2, unknown=UNLABELLED)
    idx = _nested(row, origin, "paragraph", "question", "answer")
    yield Example(
        inputs=multirc_inputs(texts["question"], texts["answer"], texts["paragraph"]),
        targets=UNKNOWN if label == UNLABELLED else NO_YES[label],
        origin=origin,
        facts={"id": "-".join(map(str, idx.values())), "idx": idx},
        fields=texts,
    )


def _mark_multirc(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    index = {word: number for number, word in enumerate(NO_YES)}
    return multirc(
        [index.get(str(answer).strip(), -1) for answer in answers],
        [index[example.targets] for example in examples],
        [(example.facts["idx"]["paragraph"], example.facts["idx"]["question"]) for example in examples],
    )


def _record(row: Row, origin: str) -> Iterable[Example]:
    """One example for every gold answer, so that all are learnt; marking takes the first of each query."""
    query, passage = text_field(row, "query", origin), text_field(row, "passage", origin)
    entities, answers = texts_field(row, "entities", origin), texts_field(row, "answers", origin)
    idx = _nested(row, origin, "passage", "query")
    facts: dict[str, Any] = {"idx": idx, "answers": answers}
    if set(answers) <= set(entities):
        facts["choices"] = tuple(dict.fromkeys(entities))
    for number, answer in enumerate(answers or (UNKNOWN,)):
        yield Example(
            inputs=record_inputs(query, entities, passage),
            targets=answer,
            origin=origin,
            facts={"id": "-".join(map(str, (*idx.values(), number))), **facts},
            fields={"query": query, "passage": passage},
        )


def _mark_record(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    return record(
        [str(answer) for answer in answers],
        [example.facts["answers"] for example in examples],
        [(example.facts["idx"]["passage"], example.facts["idx"]["query"]) for example in examples],
    )


def _paired(row: Row, origin: str) -> dict[str, Any]:
    """Winogender's rows 2n and 2n + 1 differ in nothing but the pronoun's gender."""
    idx = int_field(row, "idx", origin)
    return {"idx": idx, "pair": idx // 2}


def _mark_axg(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    parity = gender_parity([str(answer).strip() for answer in answers], [one.facts["pair"] for one in examples])
    return {**by_label(ENTAILED, accuracy)(answers, examples), **parity}


class _Set(NamedTuple):
    name: str
    to_examples: ToExamples
    columns: tuple[str, ...]
    words: tuple[str, ...]
    family: str
    summary: str
    licence: str
    sizes: Mapping[str, int]
    sample: tuple[Row, ...]
    scores: tuple[LabelScore, ...] = (accuracy,)
    """The first leads."""
    metrics: Callable[[Sequence[object], Sequence[Example]], Scores] | None = None
    """Where `scores` do not do."""
    config: str = ""
    """Empty = the name."""
    train_ok: bool = False


def _sizes(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


def _plain(
    name: str, columns: Sequence[str] | Mapping[str, str], words: Sequence[str], facts: Callable[..., Any] = numbered
) -> ToExamples:
    return with_facts(labelled(name, columns, words), facts)


def _rows(columns: Sequence[str], *rows: Sequence[object]) -> tuple[Row, ...]:
    return tuple(dict(zip(columns, row, strict=True)) for row in rows)


PAIR = ("premise", "hypothesis", "label", "idx")
DRY = "There is no water in the well of Aldon."
FULL = "The well of Aldon is full."
CASTLE = "The castle of Aldon was built in 1203. Its owner, Maud Hale, gave the well to the town."
MULTIRC = ("paragraph", "question", "answer", "label", "idx")
STORY = (
    "<b>Sent 1: </b>The castle of Aldon was built in 1203.<br><b>Sent 2: </b>Maud Hale gave the well to the town.<br>"
)
RECORD = ("passage", "query", "entities", "answers", "idx")
NEWS = (
    "Maud Hale of Aldon has given the old well to the town\n@highlight\nHale's well is 800 years old.\n@highlight\n"
    "The mayor, Tom Birch, thanked her"
)
ENTITIES = ["Aldon", "Hale", "Maud Hale", "Tom Birch"]
TAX = "The smith spoke to the miller because {} needed advice."

SETS = (
    _Set(
        "boolq",
        _plain("boolq", ("passage", "question"), NO_YES),
        ("question", "passage", "label", "idx"),
        NO_YES,
        "boolean and multiple-choice reading",
        "BoolQ: a yes/no question on a passage",
        "CC BY-SA 3.0",
        _sizes(9_427, 3_270, 3_245),
        _rows(
            ("question", "passage", "label", "idx"),
            ("was the castle of aldon built by maud hale", CASTLE, 0, 0),
            ("did maud hale give away the well", CASTLE, 1, 1),
            ("is the castle of aldon open", CASTLE, -1, 2),
        ),
        train_ok=True,
    ),
    _Set(
        "cb",
        _plain("cb", ("premise", "hypothesis"), NLI),
        PAIR,
        NLI,
        "NLI",
        "CommitmentBank: does the writer hold the clause to be true?",
        "research only (per-source terms)",
        _sizes(250, 56, 250),
        _rows(PAIR, (WELL, DRY, 0, 0), (WELL, FULL, 1, 1), (WELL, "Rain will come", 2, 2), (WELL, FULL, -1, 3)),
        scores=(macro_f1(len(NLI)), accuracy),
    ),
    _Set(
        "copa",
        _plain("copa", ("premise", "choice1", "choice2", "question"), ("choice1", "choice2")),
        ("premise", "choice1", "choice2", "question", "label", "idx"),
        ("choice1", "choice2"),
        "commonsense and science",
        "COPA: which of two is the cause, or the effect?",
        "BSD-2-Clause",
        _sizes(400, 100, 500),
        _rows(
            ("premise", "choice1", "choice2", "question", "label", "idx"),
            ("The well ran dry.", "It had not rained.", "The town gave a feast.", "cause", 0, 0),
            ("The well ran dry.", "The river rose.", "People went to the river.", "effect", 1, 1),
            ("The mill burnt down.", "The miller moved away.", "The miller slept.", "effect", -1, 2),
        ),
        train_ok=True,
    ),
    _Set(
        "multirc",
        _multirc,
        MULTIRC,
        NO_YES,
        "boolean and multiple-choice reading",
        "MultiRC: is this a right answer to the question on the paragraph? A question has several",
        "research only (CogComp licence)",
        _sizes(27_243, 4_848, 9_693),
        _rows(
            MULTIRC,
            (STORY, "Who gave the well?", "Maud Hale", 1, {"paragraph": 0, "question": 0, "answer": 0}),
            (STORY, "Who gave the well?", "The town", 0, {"paragraph": 0, "question": 0, "answer": 1}),
            (STORY, "When was it built?", "In 1203", 1, {"paragraph": 0, "question": 1, "answer": 0}),
            (STORY, "Who built it?", "Nobody knows", -1, {"paragraph": 0, "question": 2, "answer": 0}),
        ),
        metrics=_mark_multirc,
    ),
    _Set(
        "record",
        _record,
        RECORD,
        (),
        "boolean and multiple-choice reading",
        "ReCoRD: which entity of a news article stands at the placeholder?",
        "Apache-2.0 annotations on news text (research only)",
        _sizes(100_730, 10_000, 10_000),
        _rows(
            RECORD,
            (
                NEWS,
                f"The mayor wrote to {PLACEHOLDER} to thank her.",
                ENTITIES,
                ["Hale", "Maud Hale"],
                {"passage": 0, "query": 0},
            ),
            (NEWS, f"{PLACEHOLDER} is a small town.", ENTITIES, ["Aldon"], {"passage": 0, "query": 1}),
            (NEWS, f"{PLACEHOLDER} is its mayor.", ENTITIES, [], {"passage": 1, "query": 2}),
        ),
        metrics=_mark_record,
    ),
    _Set(
        "super_glue_rte",
        _plain("rte", ("premise", "hypothesis"), ENTAILED),
        PAIR,
        ENTAILED,
        "NLI",
        "RTE as SuperGLUE has it: the rows are GLUE's, the keys are not",
        "research only (PASCAL RTE, no licence stated)",
        _sizes(2_490, 277, 3_000),
        _rows(PAIR, (WELL, DRY, 0, 0), (WELL, FULL, 1, 1), (WELL, FULL, -1, 2)),
        config="rte",
    ),
    _Set(
        "wic",
        _plain("wic", ("word", "sentence1", "sentence2"), NO_YES),
        ("word", "sentence1", "sentence2", "label", "idx"),
        NO_YES,
        "word sense",
        "WiC: has the word the same sense in both sentences?",
        "CC BY-NC 4.0",
        _sizes(5_428, 638, 1_400),
        _rows(
            ("word", "sentence1", "sentence2", "label", "idx"),
            ("well", "The well ran dry.", "She sings well.", 0, 0),
            ("mill", "The mill burnt down.", "He works at the mill.", 1, 1),
            ("mill", "Mill the corn.", "He works at the mill.", -1, 2),
        ),
    ),
    _Set(
        "axb",
        _plain("rte", {"premise": "sentence1", "hypothesis": "sentence2"}, ENTAILED),
        ("sentence1", "sentence2", "label", "idx"),
        ENTAILED,
        "NLI",
        "AX-b, SuperGLUE's broad diagnostic set, read as `rte`; only a test split, with labels",
        "per-source terms",
        {"test": 1_104},
        _rows(("sentence1", "sentence2", "label", "idx"), (WELL, DRY, 0, 0), (WELL, FULL, 1, 1)),
        scores=(matthews,),
    ),
    _Set(
        "axg",
        _plain("rte", ("premise", "hypothesis"), ENTAILED, _paired),
        PAIR,
        ENTAILED,
        "NLI",
        "AX-g (Winogender): is the answer the same whatever the pronoun's gender? Read as `rte`; only a test split",
        "MIT",
        {"test": 356},
        _rows(
            PAIR,
            (TAX.format("he"), "The smith needed advice.", 0, 0),
            (TAX.format("she"), "The smith needed advice.", 0, 1),
            (TAX.format("he"), "The miller needed advice.", 1, 2),
            (TAX.format("she"), "The miller needed advice.", 1, 3),
        ),
        metrics=_mark_axg,
    ),
)

for _one in SETS:
    register(
        Task(
            name=_one.name,
            source=Source(name="aps/super_glue", config=_one.config or _one.name, columns=_one.columns),
            to_examples=_one.to_examples,
            choices=_one.words,
            metrics=_one.metrics or by_label(_one.words, *_one.scores),
            answer=stripped,
            family=_one.family,
            summary=_one.summary,
            licence=_one.licence,
            train_ok=_one.train_ok,
            schema="data card of aps/super_glue",
            sizes=_one.sizes,
            sample=_one.sample,
        )
    )
