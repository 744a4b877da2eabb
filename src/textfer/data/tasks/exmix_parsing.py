"""Semantic parsing and style: a question as a formula (FunQL, COGS), a sentence in another English (Shakespeare).

The files have no header; the names of their columns are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from textfer.data.fields import text_field
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import Marking, ToExamples, by_text, key_values, stripped, written
from textfer.metrics import bleu, exact_match

UNIMER = "code: JasperGuo/Unimer:data/{folder}/{file} (no header: the names of the columns are ours)"


class Pairs(NamedTuple):
    """What the tasks differ in."""

    name: str
    source: str
    config: str
    said: str
    """The column that goes in, and its key."""
    written: str
    """The column that comes out."""
    family: str
    metrics: Marking
    summary: str
    licence: str
    schema: str
    sizes: Mapping[str, int]
    sample: tuple[tuple[str, str], ...]


def _funql(name: str, folder: str, sizes: Mapping[str, int], what: str, *sample: tuple[str, str]) -> Pairs:
    return Pairs(
        f"funql_{name}",
        "JasperGuo/Unimer",
        name,
        "question",
        "funql",
        "semantic parsing",
        by_text(exact_match),
        f"{what} as a formula in FunQL",
        "MIT (repository); ATIS text under LDC terms" if name == "atis" else "MIT (repository)",
        UNIMER.format(folder=folder, file=f"{folder}_funql_train.tsv"),
        sizes,
        sample,
    )


MODERN = (("You must not go there.", "Thou must not thither go."), ("Where is he now?", "Where is he now, pray?"))
SETS = (
    _funql(
        "atis",
        "atis",
        {"train": 4_465, "validation": 497, "test": 448},
        "a question about flights",
        ("show me flights from aldon to marwick", "answer(intersection_2(from_2(ci(aldon)),to_2(ci(marwick))))"),
        ("what does code k mean", "answer(meaning(code(k)))"),
    ),
    _funql(
        "geo",
        "geo",
        {"train": 600, "test": 280},
        "a question about the geography of the United States",
        ("which rivers run through northland", "answer(river(traverse_2(stateid('northland'))))"),
        ("how high is mount orle", "answer(elevation_1(placeid('mount orle')))"),
    ),
    _funql(
        "jobs",
        "job",
        {"train": 500, "test": 140},
        "a question about job offers",
        ("are there jobs for millers in aldon ?", "answer(job(intersection(title('miller'),loc('aldon'))))"),
        ("which jobs need no degree ?", "answer(job(not(req_deg)))"),
    ),
    Pairs(
        "cogs",
        "najoungkim/COGS",
        "default",
        "sentence",
        "form",
        "semantic parsing",
        by_text(exact_match),
        "COGS: a sentence as a logical form; the split `gen` asks for what was met only in other places",
        "MIT",
        "code: najoungkim/COGS:data/train.tsv (no header: the names of the columns are ours)",
        {"train": 24_155, "validation": 3_000, "test": 3_000, "gen": 21_000},
        (
            (
                "Ida painted a boat .",
                "paint . agent ( x _ 1 , Ida ) AND paint . theme ( x _ 1 , x _ 3 ) AND boat ( x _ 3 )",
            ),
            ("The cook slept .", "* cook ( x _ 1 ) ; sleep . agent ( x _ 2 , x _ 1 )"),
        ),
    ),
    *(
        Pairs(
            f"shakespeare_{said}_to_{written}",
            "harsh19/Shakespearizing-Modern-English",
            "default",
            said,
            written,
            "style transfer",
            by_text(bleu),
            f"a line of Shakespeare's plays from {said} to {written} English",
            "none stated",
            "code: harsh19/Shakespearizing-Modern-English:data/train.modern.nltktok, train.original.nltktok "
            "(parallel lines: the names of the columns are ours)",
            {"train": 18_395, "validation": 1_218, "test": 1_462},
            tuple(pair if said == "modern" else (pair[1], pair[0]) for pair in MODERN),
        )
        for said, written in (("modern", "original"), ("original", "modern"))
    ),
)


def _rewritten(pairs: Pairs) -> ToExamples:
    return written(
        lambda row, origin: key_values(pairs.name, {pairs.said: text_field(row, pairs.said, origin)}),
        lambda row, origin: text_field(row, pairs.written, origin),
        key=pairs.said,
    )


for _set in SETS:
    register(
        Task(
            name=_set.name,
            source=Source(
                name=_set.source,
                config=_set.config,
                columns=(_set.said, _set.written),
                splits={"validation": "dev"}
                if "validation" in _set.sizes and _set.family == "semantic parsing"
                else {},
            ),
            to_examples=_rewritten(_set),
            metrics=_set.metrics,
            answer=stripped,
            family=_set.family,
            summary=_set.summary,
            licence=_set.licence,
            schema=_set.schema,
            sizes=_set.sizes,
            sample=tuple({_set.said: said, _set.written: written} for said, written in _set.sample),
        )
    )
