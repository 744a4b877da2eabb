"""Questions to SQL, and short Python programs.

SQL is right when it is the gold query after case and spaces are made alike; other queries may mean the same, so this is
a lower bound. The databases' tables are not part of the input. Programs are not run: nothing here executes downloaded
code, and so MBPP's own measure (do the tests pass?) is left to the user. T5's vocabulary has no `<`, `{` or `}`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from textfer.batch import Row
from textfer.data.fields import text_field, texts_field
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import by_text, key_values, stripped, written
from textfer.metrics import bleu
from textfer.metrics.means import mean

QUOTED = re.compile(r"(\"[^\"]*\"|'[^']*')")
SPACES = re.compile(r"\s+")
AROUND_MARKS = re.compile(r"\s*([^\w\s])\s*")
DATABASES = (
    ("advising", "courses at a university", "CC BY 4.0", True),
    ("geography", "states, rivers and cities of the USA (GeoQuery)", "none stated", False),
    ("scholar", "papers and their authors", "none stated", False),
    ("wikisql", "tables of Wikipedia (WikiSQL)", "BSD-3-Clause", True),
)


def same_query(text: str) -> str:
    """A query in lower case outside quotes, with the fewest spaces there, and without the closing semicolon."""
    parts = QUOTED.split(text.strip().rstrip(";"))
    return "".join(part if number % 2 else _bare(part) for number, part in enumerate(parts))


def _bare(code: str) -> str:
    return AROUND_MARKS.sub(r"\1", SPACES.sub(" ", code.lower())).strip()


def query_match(texts: Sequence[str], golds: Sequence[Sequence[str]]) -> Scores:
    """`query_match`: share of queries that are the gold one, whatever their case and spaces outside quotes."""
    pairs = zip(texts, golds, strict=True)
    return {"query_match": mean(same_query(text) in {same_query(gold) for gold in all_} for text, all_ in pairs)}


def program_match(texts: Sequence[str], golds: Sequence[Sequence[str]]) -> Scores:
    """`program_match`: share of programs that are the gold one, whatever their spaces."""
    pairs = zip(texts, golds, strict=True)
    return {"program_match": mean(text.split() in [gold.split() for gold in all_] for text, all_ in pairs)}


def _problem(row: Row, origin: str) -> str:
    texts = {"problem": text_field(row, "text", origin), "tests": "\n".join(texts_field(row, "test_list", origin))}
    return key_values("mbpp", texts)


def _program(row: Row, origin: str) -> str:
    return text_field(row, "code", origin).replace("\r\n", "\n")


def _sql(name: str, about: str, licence: str, train_ok: bool) -> Task:
    return Task(
        name=f"text2sql_{name}",
        source=Source(name="jkkummerfeld/text2sql", config=name, columns=("question", "query")),
        to_examples=written(
            lambda row, origin: key_values(f"text2sql_{name}", {"question": text_field(row, "question", origin)}),
            lambda row, origin: text_field(row, "query", origin),
            key="question",
        ),
        metrics=by_text(query_match),
        answer=stripped,
        family="code",
        summary=f"questions to SQL: {about}",
        licence=licence,
        train_ok=train_ok,
        schema="JSON files of jkkummerfeld/text2sql-data, variables filled in",
        sample=(
            {
                "question": "which mills were built before 1900",
                "query": 'SELECT MILLalias0.NAME FROM MILL AS MILLalias0 WHERE MILLalias0.TOWN = "Aldon" ;',
            },
        ),
    )


for _database in DATABASES:
    register(_sql(*_database))
register(
    Task(
        name="mbpp",
        source=Source(
            name="google-research-datasets/mbpp", config="full", columns=("task_id", "text", "code", "test_list")
        ),
        to_examples=written(_problem, _program, key="problem"),
        metrics=by_text(bleu, program_match),
        answer=stripped,
        family="code",
        summary="MBPP: short Python programs from a sentence and three tests (not run)",
        licence="CC BY 4.0",
        train_ok=True,
        schema="data card of google-research-datasets/mbpp",
        sizes={"train": 374, "validation": 90, "test": 500, "prompt": 10},
        sample=(
            {
                "task_id": 1,
                "text": "Write a function to double a number.",
                "code": "def double(number):\r\n    return 2 * number",
                "test_list": ["assert double(2) == 4", "assert double(0) == 0"],
            },
        ),
    )
)
