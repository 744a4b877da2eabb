"""News articles and their summary, e-mails and their subject, first sentences and their headline: `summarize: …`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from textfer.data.fields import text_field
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import ToExamples, by_text, stripped, written
from textfer.metrics import rouge


class Summaries(NamedTuple):
    """What the tasks differ in."""

    name: str
    source: str
    text: str
    """The column with the text."""
    summary: str
    """The column with its summary."""
    what: str
    licence: str
    sizes: Mapping[str, int]
    sample: tuple[tuple[str, str], ...]


def summarised(text: str, summary: str) -> ToExamples:
    """Rows with a text and its summary, as T5 says them: `summarize: text` in, the summary out."""
    return written(
        lambda row, origin: f"summarize: {text_field(row, text, origin)}",
        lambda row, origin: text_field(row, summary, origin),
    )


SETS = (
    Summaries(
        "multi_news",
        "alexfabbri/multi_news",
        "document",
        "summary",
        "Multi-News: one summary of several articles, which `|||||` parts",
        "research only (as the hub states)",
        {"train": 44_972, "validation": 5_622, "test": 5_622},
        (
            (
                "The old mill at Aldon burnt down on Monday night. ||||| Nobody was hurt by the fire.",
                "A fire destroyed the mill at Aldon. Nobody was hurt.",
            ),
            (
                "Marwick will build a second bridge. ||||| The town council voted for the bridge by nine to four.",
                "Marwick's council voted to build a second bridge.",
            ),
        ),
    ),
    Summaries(
        "aeslc",
        "Yale-LILY/aeslc",
        "email_body",
        "subject_line",
        "AESLC: the subject of an e-mail",
        "none stated",
        {"train": 14_436, "validation": 1_960, "test": 1_906},
        (
            ("Ida, could we move tomorrow's talk on the new roof to three o'clock? Karl", "New time for roof talk"),
            ("The gate code changes on Friday. Please do not write it down.", "Gate code changes Friday"),
        ),
    ),
    Summaries(
        "gigaword",
        "Harvard/gigaword",
        "document",
        "summary",
        "Gigaword: the headline of an article's first sentence",
        "MIT (as the hub states); text under LDC terms",
        {"train": 3_803_957, "validation": 189_651, "test": 1_951},
        (
            (
                "the town of aldon said on monday that its castle will be open to visitors again from ## april .",
                "aldon castle to open again in april",
            ),
            (
                "heavy snow closed the pass above marwick for the third day on wednesday , the police said .",
                "snow keeps marwick pass closed",
            ),
        ),
    ),
)

for _set in SETS:
    register(
        Task(
            name=_set.name,
            source=Source(name=_set.source, columns=(_set.text, _set.summary)),
            to_examples=summarised(_set.text, _set.summary),
            metrics=by_text(rouge),
            answer=stripped,
            family="summarisation",
            summary=_set.what,
            licence=_set.licence,
            schema=f"code: huggingface/datasets:datasets/{_set.name}/{_set.name}.py",
            sizes=_set.sizes,
            sample=tuple({_set.text: text, _set.summary: summary} for text, summary in _set.sample),
        )
    )
