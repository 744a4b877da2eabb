"""Scientific text: why something is cited, how two marked things are related, which field a title belongs to.

The sets are those that SciBERT was measured on. In the relation sets the two things are marked in the text, as
`<< … >>` and `[[ … ]]`. Scores lead as in SciBERT's table: macro F1, but micro F1 (= accuracy) for ChemProt.

**Source**: Beltagy et al., SciBERT, 2019.
"""

from __future__ import annotations

from collections.abc import Iterable

from textfer.batch import Example, Row
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.classes import NO_HUB, TextSet, declare
from textfer.data.tasks.forms import by_label, labelled, stripped
from textfer.metrics import accuracy, macro_f1

FAMILY = "relation and citation classification"
SCIBERT = "allenai/scibert"
FIELDS = ("business", "economics", "geography", "medicine", "politics", "psychology", "sociology")
INDICES = (0, 2, 3, 4, 5, 6, 7)
"""Of the fields in the source. Index 1, `category`, is no field: it is the heading of a column, read as a row once."""
HEADING = ("tokens", 1)

_field_examples = labelled("mag", ("text",), FIELDS, values=INDICES)


def _mag(row: Row, origin: str) -> Iterable[Example]:
    return () if (row.get("text"), row.get("label")) == HEADING else _field_examples(row, origin)


declare(
    FAMILY,
    TextSet(
        "scicite",
        SCIBERT,
        ("background", "method", "result"),
        "why a paper cites another: background, method or result",
        "Apache-2.0",
        (
            "Wells of this kind were described before (Lund 1998).",
            "We measured depth as in (Hale et al., 2003).",
            "Our figures agree with those of Lund [4].",
        ),
        config="scicite",
        train_ok=True,
        scores=(macro_f1(3), accuracy),
        schema=NO_HUB,
    ),
    TextSet(
        "citation_intent",
        SCIBERT,
        ("background", "compare or contrast", "extends", "future", "motivation", "uses"),
        "why a paper on language processing cites another: six reasons (ACL-ARC)",
        "ACL Anthology text (part CC BY-NC-SA)",
        (
            "Taggers have a long history ( Lund , 1988 ) .",
            "Unlike ( Hale , 1997 ) , we read the sentence backwards .",
            "We add a second layer to the tagger of ( Lund , 1988 ) .",
            "The lists of ( Hale , 1999 ) might help in the future .",
            "As ( Lund , 1990 ) complains , no such corpus exists .",
            "We train with the tools of ( Hale , 2001 ) .",
        ),
        config="citation_intent",
        scores=(macro_f1(6), accuracy),
        schema=NO_HUB,
    ),
    TextSet(
        "chemprot",
        SCIBERT,
        (
            "activator",
            "agonist",
            "agonist activator",
            "agonist inhibitor",
            "antagonist",
            "downregulator",
            "indirect downregulator",
            "indirect upregulator",
            "inhibitor",
            "product of",
            "substrate",
            "substrate product of",
            "upregulator",
        ),
        "what a chemical, << … >> or [[ … ]], does to the protein that is marked the other way (ChemProt)",
        "none stated (PubMed text)",
        ("[[ Aldonol ]] wakes the << receptor A >> .", "[[ Halanol ]] acts as the agonist of << receptor B >> ."),
        config="chemprot",
        schema=NO_HUB,
    ),
    TextSet(
        "sciie_relation",
        SCIBERT,
        ("compare", "conjunction", "evaluate for", "feature of", "hyponym of", "part of", "used for"),
        "how two marked terms of an abstract are related (SciERC)",
        "none stated",
        (
            "[[ Our parser ]] is compared with << theirs >> .",
            "[[ Nouns ]] and << verbs >> are counted .",
            "<< The parser >> is measured by [[ F1 ]] .",
        ),
        config="sciie_relation",
        scores=(macro_f1(7), accuracy),
        schema=NO_HUB,
    ),
)
register(
    Task(
        name="mag",
        source=Source(name=SCIBERT, config="mag", columns=("text", "label")),
        to_examples=_mag,
        choices=FIELDS,
        metrics=by_label(FIELDS, macro_f1(len(FIELDS)), accuracy),
        answer=stripped,
        family=FAMILY,
        summary="which field of study a paper's title belongs to (Microsoft Academic Graph)",
        licence="ODC-BY",
        train_ok=True,
        schema=NO_HUB,
        drops="the row of text `tokens` and class `category`: a heading that was read as a row",
        sample=(
            {"text": "how small mills set their prices", "label": 0},
            {"text": "tokens", "label": 1},
            {"text": "wells and rivers of the north", "label": 3},
            {"text": "the sleep of nurses on night duty", "label": 4},
        ),
    )
)
