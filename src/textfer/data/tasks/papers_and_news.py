"""Short texts about longer ones: SciTLDR's one-sentence summaries and titles of papers, BBC news."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from textfer.batch import Row
from textfer.data.fields import text_field, texts_field
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import by_text, key_values, stripped, written
from textfer.metrics import rouge

summaries = partial(Task, family="summarisation", metrics=by_text(rouge), answer=stripped)


def _abstract(name: str) -> Callable[[Row, str], str]:
    return lambda row, origin: key_values(name, {"abstract": " ".join(texts_field(row, "source", origin))})


def _gists(row: Row, origin: str) -> Sequence[str]:
    return [text for text in texts_field(row, "target", origin) if text.strip()]


PAPER = {
    "paper_id": "made-1",
    "source": ["Kettles are slow to boil.", "We measure forty of them and find that lids help."],
    "target": ["Lids make kettles boil sooner.", "We show that a lid saves time with kettles."],
    "title": "On the Use of Lids",
}
SCITLDR = partial(Source, name="allenai/scitldr", config="Abstract")
for _name, _column, _golds, _summary in (
    ("scitldr", "target", _gists, "a paper's abstract in one sentence"),
    ("scitldr_title", "title", lambda row, origin: text_field(row, "title", origin), "the title to a paper's abstract"),
):
    register(
        summaries(
            name=_name,
            source=SCITLDR(columns=("source", _column)),
            to_examples=written(_abstract(_name), _golds, key="abstract"),
            summary=f"SciTLDR: {_summary}",
            licence="Apache-2.0",
            train_ok=True,
            schema="data card of allenai/scitldr" if _column == "target" else "JSON lines of allenai/scitldr",
            sizes={"train": 1_992, "validation": 619, "test": 618},
            sample=(PAPER,),
        )
    )

NEWS = {
    "Articles": "Bakers raise prices\n\nBread costs more since May. Rain spoilt the wheat. Buyers grumble.",
    "Summaries": "Bread costs more since May.Rain spoilt the wheat.",
}
register(
    summaries(
        name="bbc_news_summary",
        source=Source(name="gopalkalpande/bbc-news-summary", columns=("Articles", "Summaries")),
        to_examples=written(
            lambda row, origin: key_values("bbc_news_summary", {"article": text_field(row, "Articles", origin)}),
            lambda row, origin: text_field(row, "Summaries", origin),
            key="article",
        ),
        summary="BBC news: the sentences of an article that sum it up",
        licence="BBC copyright, non-commercial research",
        schema="data card of gopalkalpande/bbc-news-summary",
        sample=(NEWS,),
    )
)
