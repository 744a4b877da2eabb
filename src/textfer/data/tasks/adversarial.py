"""AdvGLUE: rows of GLUE's validation sets, changed so that models err though people do not. Only for evaluation.

The text form and prefixes are GLUE's (`sst2 sentence: …`), so that a model trained on GLUE reads what it knows.
"""

from __future__ import annotations

from typing import NamedTuple

from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.classes import LabelScore
from textfer.data.tasks.forms import by_label, labelled, stripped
from textfer.metrics import accuracy, binary_f1

ENTAILED = ("entailment", "not_entailment")
NLI = ("entailment", "neutral", "contradiction")


class _Set(NamedTuple):
    name: str
    prefix: str
    columns: tuple[str, ...]
    words: tuple[str, ...]
    family: str
    texts: tuple[tuple[str, ...], ...]
    """Sample texts: row n is of class n."""
    size: int
    scores: tuple[LabelScore, ...] = (accuracy,)


PREMISE = "The well of Aldon has been dry for a year , sad to say ."
MNLI = (
    (PREMISE, "There is no water in the well of Aldon ."),
    (PREMISE, "A new well is being dug in Aldon ."),
    (PREMISE, "The well of Aldon is full ."),
)
SETS = (
    _Set(
        "adv_sst2",
        "sst2",
        ("sentence",),
        ("negative", "positive"),
        "sentiment",
        (("a taem of actors without a play . ",), (" not one duall minute .",)),
        148,
    ),
    _Set(
        "adv_qqp",
        "qqp",
        ("question1", "question2"),
        ("not_duplicate", "duplicate"),
        "paraphrase and similarity",
        (
            ("How deep is the well of Aldon ?", "Who dug the well of Aldon ?"),
            ("How old is the casstle ?", "What is the age of the castle ?"),
        ),
        78,
        (accuracy, binary_f1),
    ),
    _Set("adv_mnli", "mnli", ("premise", "hypothesis"), NLI, "NLI", MNLI, 121),
    _Set("adv_mnli_mismatched", "mnli", ("premise", "hypothesis"), NLI, "NLI", MNLI, 162),
    _Set(
        "adv_qnli",
        "qnli",
        ("question", "sentence"),
        ENTAILED,
        "NLI",
        (
            ("Who bought the mill ?", "Ada Lund , a cook , acquired the mill in 1811 ."),
            ("Who bought the mill ?", "The mill stands by the river and is made of oak ."),
        ),
        148,
    ),
    _Set(
        "adv_rte",
        "rte",
        ("sentence1", "sentence2"),
        ENTAILED,
        "NLI",
        (
            ("Ada Lund sold the mill to her brother .", "The mill was selled ."),
            ("Ada Lund wished to sell the mill .", "The mill was sold ."),
        ),
        81,
    ),
)

for _one in SETS:
    register(
        Task(
            name=_one.name,
            source=Source(name="AI-Secure/adv_glue", config=_one.name, columns=(*_one.columns, "label", "idx")),
            to_examples=labelled(_one.prefix, _one.columns, _one.words),
            choices=_one.words,
            metrics=by_label(_one.words, *_one.scores),
            answer=stripped,
            family=_one.family,
            summary=f"AdvGLUE: rows of GLUE's {_one.prefix}, changed to mislead models; for evaluation",
            licence="CC BY-SA 4.0 (made from GLUE text)",
            schema="data card of AI-Secure/adv_glue",
            sizes={"validation": _one.size},
            sample=tuple(
                {**dict(zip(_one.columns, texts, strict=True)), "label": number, "idx": number}
                for number, texts in enumerate(_one.texts)
            ),
        )
    )
