"""Articles and dialogues and their summary: `summarize: …`, the form that T5 has for CNN/DailyMail.

**Source**: `summarize` of t5/data/preprocessors.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from textfer.batch import Row
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.exmix_summaries import summarised
from textfer.data.tasks.forms import ToExamples, by_text, stripped
from textfer.metrics import rouge


class _Set(NamedTuple):
    name: str
    source: str
    config: str
    columns: tuple[str, ...]
    to_examples: ToExamples
    summary: str
    licence: str
    sizes: Mapping[str, int]
    sample: tuple[Row, ...]


def _sizes(train: int, validation: int, test: int) -> dict[str, int]:
    return {"train": train, "validation": validation, "test": test}


FIRE = "Aldon's old mill burnt down on Monday night. Nobody was hurt, the mayor said. The cause is not known."
CHAT = "Ida: Are you at the mill?\r\nKarl: On my way\r\nIda: Bring the key, please"
SETS = (
    _Set(
        "cnn_dailymail",
        "abisee/cnn_dailymail",
        "3.0.0",
        ("article", "highlights", "id"),
        summarised("article", "highlights"),
        "CNN/DailyMail: the highlights of a news article, one a line",
        "Apache-2.0 (as the hub states); articles under CNN's and Daily Mail's terms",
        _sizes(287_113, 13_368, 11_490),
        ({"article": FIRE, "highlights": "Mill at Aldon burns down .\nNobody was hurt .", "id": "a1"},),
    ),
    _Set(
        "xsum",
        "EdinburghNLP/xsum",
        "default",
        ("document", "summary", "id"),
        summarised("document", "summary"),
        "XSum: a BBC article in one sentence",
        "none stated",
        _sizes(204_045, 11_332, 11_334),
        ({"document": FIRE, "summary": "A mill at Aldon has burnt down.", "id": "b1"},),
    ),
    _Set(
        "samsum",
        "Samsung/samsum",
        "samsum",
        ("dialogue", "summary", "id"),
        summarised("dialogue", "summary"),
        "SAMSum: what was said in a chat",
        "CC BY-NC-ND 4.0",
        _sizes(14_732, 818, 819),
        ({"dialogue": CHAT, "summary": "Karl will bring the key to the mill.", "id": "c1"},),
    ),
)

for _one in SETS:
    register(
        Task(
            name=_one.name,
            source=Source(name=_one.source, config=_one.config, columns=_one.columns),
            to_examples=_one.to_examples,
            metrics=by_text(rouge),
            answer=stripped,
            family="summarisation",
            summary=_one.summary,
            licence=_one.licence,
            schema=f"data card of {_one.source}",
            sizes=_one.sizes,
            sample=_one.sample,
        )
    )
