"""GLUE: nine tasks, MNLI's mismatched genres, and the diagnostic set AX, in the text forms of T5.

Every task says `name key1: text1 key2: text2`, keys in alphabetical order, and a word for the label; STS-B a number.
WNLI is here as a task like the others; T5 answers it as a Winograd schema, which is `wnli_wsc`.

Two things are not T5's: rows of STS-B without a label have the target `<unk>` as all others do (T5 says `-1.0`), and
`mnli_matched` is no task of its own but the validation and test splits of `mnli`. As in T5, STS-B is marked against the
rounded numbers.

**Source**: `glue` and `stsb` of t5/data/preprocessors.py, t5/data/glue_utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from textfer.batch import Example, Row
from textfer.data.fields import float_field, int_field, text_field
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import UNKNOWN, by_label, key_values, labelled, row_id, stripped, with_facts
from textfer.metrics import accuracy, binary_f1, matthews, pearson, spearman

LabelScore = Callable[[Sequence[int], Sequence[int]], Scores]
NLI = ("entailment", "neutral", "contradiction")
ENTAILED = ("entailment", "not_entailment")
UNLABELLED = -1
NO_NUMBER = -1.0
"""What stands for an answer that is no number. **Source**: `string_to_float` of t5/data/postprocessors.py."""


def numbered(row: Row, origin: str) -> dict[str, Any]:
    """The row's `idx` as the leaderboards' files have it."""
    return {"idx": int_field(row, "idx", origin)}


def similarity(label: float) -> str:
    """A similarity rounded to the nearest 0.2, with one decimal: 3.25 → "3.2".

    In single precision and with halves to the even side, as TensorFlow computes it: 2.5 → 12.5 fifths → "2.4".

    **Source**: `stsb` of t5/data/preprocessors.py.
    """
    fifths = np.round(np.float32(label) * np.float32(5))
    return f"{np.float32(fifths / np.float32(5)):.1f}"


def as_number(text: str) -> float:
    """The number that a text is; -1 where it is none, or not finite."""
    try:
        value = float(text)
    except ValueError:
        return NO_NUMBER
    return value if math.isfinite(value) else NO_NUMBER


class _Set(NamedTuple):
    name: str
    columns: tuple[str, ...]
    words: tuple[str, ...]
    family: str
    summary: str
    licence: str
    sizes: Mapping[str, int]
    texts: tuple[tuple[str, ...], ...]
    """Sample texts: row n is of class n."""
    scores: tuple[LabelScore, ...] = (accuracy,)
    """The first leads."""
    prefix: str = ""
    """The word before the texts; empty = the name."""
    config: str = ""
    """Empty = the name."""
    splits: Mapping[str, str] = {}
    train_ok: bool = False


def _sizes(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


WELL = "The well of Aldon has been dry for a year."
ENTAILMENTS = (
    (WELL, "There is no water in the well of Aldon."),
    (WELL, "A new well is being dug in Aldon."),
    (WELL, "The well of Aldon is full."),
)
SETS = (
    _Set(
        "cola",
        ("sentence",),
        ("unacceptable", "acceptable"),
        "grammar",
        "CoLA: is the sentence good English?",
        "research only (no licence; fair-use statement)",
        _sizes(8_551, 1_043, 1_063),
        (("The miller sleep have the mill.",), ("The miller has slept in the mill.",)),
        scores=(matthews,),
    ),
    _Set(
        "sst2",
        ("sentence",),
        ("negative", "positive"),
        "sentiment",
        "SST-2: does the reviewer like the film?",
        "research only (no licence stated)",
        _sizes(67_349, 872, 1_821),
        (("a team of actors without a play . ",), ("not one dull minute . ",)),
    ),
    _Set(
        "mrpc",
        ("sentence1", "sentence2"),
        ("not_equivalent", "equivalent"),
        "paraphrase and similarity",
        "MRPC: do two sentences from the news say the same?",
        "Microsoft Research licence (non-commercial research)",
        _sizes(3_668, 408, 1_725),
        (
            ("The mill was sold on Monday .", "The mill burnt down on Monday ."),
            ("The mill was sold on Monday .", "On Monday the mill found a buyer ."),
        ),
        scores=(binary_f1, accuracy),
    ),
    _Set(
        "qqp",
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        "paraphrase and similarity",
        "QQP: do two questions ask the same?",
        "Quora terms (non-commercial)",
        _sizes(363_849, 40_430, 390_965),
        (
            ("How deep is the well of Aldon?", "Who dug the well of Aldon?"),
            ("How old is the castle?", "What is the age of the castle?"),
        ),
        scores=(binary_f1, accuracy),
    ),
    _Set(
        "mnli",
        ("premise", "hypothesis"),
        NLI,
        "NLI",
        "MNLI: does the premise imply the hypothesis? Validation and test are of the genres of the train split",
        "OANC licence; fiction: CC BY, CC BY-SA, public domain",
        _sizes(392_702, 9_815, 9_796),
        ENTAILMENTS,
        splits={"validation": "validation_matched", "test": "test_matched"},
    ),
    _Set(
        "mnli_mismatched",
        ("premise", "hypothesis"),
        NLI,
        "NLI",
        "MNLI's validation and test of other genres than those of the train split; read as `mnli`",
        "OANC licence; fiction: CC BY, CC BY-SA, public domain",
        {"validation": 9_832, "test": 9_847},
        ENTAILMENTS,
        prefix="mnli",
    ),
    _Set(
        "ax",
        ("premise", "hypothesis"),
        NLI,
        "NLI",
        "GLUE's diagnostic set, read as `mnli`; only a test split, whose labels the leaderboard keeps",
        "per-source terms",
        {"test": 1_104},
        ENTAILMENTS,
        scores=(matthews,),
        prefix="mnli",
    ),
    _Set(
        "qnli",
        ("question", "sentence"),
        ENTAILED,
        "NLI",
        "QNLI: does the sentence hold the answer to the question?",
        "CC BY-SA 4.0",
        _sizes(104_743, 5_463, 5_463),
        (
            ("When was the castle of Aldon built?", "The castle of Aldon was built in 1203."),
            ("When was the castle of Aldon built?", "Its owner gave the well to the town."),
        ),
        train_ok=True,
    ),
    _Set(
        "rte",
        ("sentence1", "sentence2"),
        ENTAILED,
        "NLI",
        "RTE: does the first sentence imply the second?",
        "research only (PASCAL RTE, no licence stated)",
        _sizes(2_490, 277, 3_000),
        ((WELL, "There is no water in the well of Aldon."), (WELL, "The well of Aldon is full.")),
    ),
    _Set(
        "wnli",
        ("sentence1", "sentence2"),
        ("not_entailment", "entailment"),
        "NLI",
        "WNLI: does the second sentence follow, its noun put where the pronoun was? `wnli_wsc` is T5's way",
        "CC BY 4.0",
        _sizes(635, 71, 146),
        (
            ("The fox saw the hen. It ran away.", "The fox ran away."),
            ("The fox saw the hen. It ran away.", "The hen ran away."),
        ),
        train_ok=True,
    ),
)


def _sample(one: _Set) -> tuple[Row, ...]:
    """A row of every class, and one without label as the test splits have them."""
    texts = [dict(zip(one.columns, row, strict=True)) for row in (*one.texts, one.texts[0])]
    return tuple(
        {**row, "label": number if number < len(one.texts) else UNLABELLED, "idx": 40 + number}
        for number, row in enumerate(texts)
    )


def _task(one: _Set) -> Task:
    return Task(
        name=one.name,
        source=Source(
            name="nyu-mll/glue",
            config=one.config or one.name,
            columns=(*one.columns, "label", "idx"),
            splits=one.splits,
        ),
        to_examples=with_facts(labelled(one.prefix or one.name, one.columns, one.words), numbered),
        choices=one.words,
        metrics=by_label(one.words, *one.scores),
        answer=stripped,
        family=one.family,
        summary=one.summary,
        licence=one.licence,
        train_ok=one.train_ok,
        schema="data card of nyu-mll/glue",
        sizes=one.sizes,
        sample=_sample(one),
    )


def _stsb(row: Row, origin: str) -> Iterable[Example]:
    texts = {key: text_field(row, key, origin) for key in ("sentence1", "sentence2")}
    label = float_field(row, "label", origin)
    known = label != UNLABELLED
    yield Example(
        inputs=key_values("stsb", texts),
        targets=similarity(label) if known else UNKNOWN,
        origin=origin,
        facts={**row_id(row), **numbered(row, origin)},
        fields=texts,
        number=label if known else None,
    )


def _mark_stsb(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """Both correlations with the rounded labels, as T5 has them; an answer that is no number counts as -1."""
    found = [as_number(str(answer)) for answer in answers]
    golds = [as_number(example.targets) for example in examples]
    return {**pearson(found, golds), **spearman(found, golds)}


for _one in SETS:
    register(_task(_one))
register(
    Task(
        name="stsb",
        source=Source(name="nyu-mll/glue", config="stsb", columns=("sentence1", "sentence2", "label", "idx")),
        to_examples=_stsb,
        metrics=_mark_stsb,
        answer=stripped,
        family="paraphrase and similarity",
        summary="STS-B: how alike are two sentences, from 0 to 5? The number is rounded to 0.2",
        licence="scores CC BY-SA 4.0; sentences under per-source terms",
        schema="data card of nyu-mll/glue",
        sizes=_sizes(5_749, 1_500, 1_379),
        sample=(
            {"sentence1": "A man mends a net.", "sentence2": "A net is being mended.", "label": 4.6, "idx": 0},
            {"sentence1": "A man mends a net.", "sentence2": "A man throws a net.", "label": 2.5, "idx": 1},
            {"sentence1": "A man mends a net.", "sentence2": "Two dogs bark.", "label": 0.0, "idx": 2},
            {"sentence1": "A man mends a net.", "sentence2": "A dog sleeps.", "label": -1.0, "idx": 3},
        ),
    )
)
