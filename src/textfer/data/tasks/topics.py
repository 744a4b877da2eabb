"""What a text is about or of what kind it is: news topics, question types, subjective or not, comparisons."""

from __future__ import annotations

from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.classes import NO_HUB, TextSet, declare
from textfer.data.tasks.forms import by_label, labelled, stripped
from textfer.metrics import accuracy, macro_f1

FAMILY = "topic and other classification"
QUESTIONS = ("abbreviation", "entity", "description", "human", "location", "number")
FINE = {
    "abbreviation": ("abbreviation", "expansion"),
    "entity": (
        *("animal", "body part", "color", "creative work", "currency", "disease or medicine", "event", "food"),
        *("instrument", "language", "letter", "other entity", "plant", "product", "religion", "sport", "substance"),
        *("symbol", "technique or method", "equivalent term", "vehicle", "word"),
    ),
    "description": ("definition", "description", "manner", "reason"),
    "human": ("group", "individual", "title", "description of a person"),
    "location": ("city", "country", "mountain", "other location", "state"),
    "number": (
        *("code", "count", "date", "distance", "money", "rank", "other number", "period", "percent", "speed"),
        *("temperature", "size", "weight"),
    ),
}
"""The 50 finer types in the order of the data set's indices."""
FINE_WORDS = tuple(word for words in FINE.values() for word in words)
BBC = ("business", "entertainment", "politics", "sport", "tech")

declare(
    FAMILY,
    TextSet(
        "ag_news",
        "fancyzhx/ag_news",
        ("World", "Sports", "Business", "Sci/Tech"),
        "the topic of a short news text",
        "non-commercial",
        (
            "Two ministers met in Aldon to speak of the border.",
            "Halden won the boat race by a length.",
            "The mill at Aldon was sold for 2 million.",
            "A new lamp burns for ten years, its makers say.",
        ),
        sizes={"train": 120_000, "test": 7_600},
    ),
    TextSet(
        "subj",
        "SetFit/subj",
        ("objective", "subjective"),
        "whether a sentence tells of a film's plot or of somebody's opinion",
        "CC BY 4.0 (as stated by the NLTK distribution)",
        ("a miller finds a clock that runs backwards .", "a film as slow as its clock , but dearer ."),
        train_ok=True,
        sizes={"train": 8_000, "test": 2_000},
    ),
    TextSet(
        "comparative_sentences",
        "nltk/comparative_sentences",
        ("none", "non-equal gradable", "equative", "superlative", "non-gradable"),
        "which kind of comparison a sentence makes, if any",
        "CC BY 4.0",
        (
            "the kettle came with a lid .",
            "this kettle boils faster than the old one .",
            "it is as heavy as the old one .",
            "it is the best kettle of all .",
            "the old one had a lid , this one has not .",
        ),
        train_ok=True,
        scores=(macro_f1(5), accuracy),
        schema=NO_HUB,
    ),
)
for _name, _label, _words, _what in (
    ("trec", "coarse_label", QUESTIONS, "6 types"),
    ("trec_fine", "fine_label", FINE_WORDS, "50 types"),
):
    register(
        Task(
            name=_name,
            source=Source(name="CogComp/trec", columns=("text", _label)),
            to_examples=labelled(_name, ("text",), _words, label=_label),
            choices=_words,
            metrics=by_label(_words, accuracy),
            answer=stripped,
            family=FAMILY,
            summary=f"what a question asks for: {_what}",
            licence="none stated",
            schema="data card of CogComp/trec",
            sizes={"train": 5_452, "test": 500},
            sample=(
                {"text": "What does KBM stand for ?", "coarse_label": 0, "fine_label": 1},
                {"text": "Which fish live in the well of Aldon ?", "coarse_label": 1, "fine_label": 2},
                {"text": "Why is the well dry ?", "coarse_label": 2, "fine_label": 27},
                {"text": "Who built the mill ?", "coarse_label": 3, "fine_label": 29},
                {"text": "Where is the mill ?", "coarse_label": 4, "fine_label": 35},
                {"text": "How much does a loaf weigh ?", "coarse_label": 5, "fine_label": 49},
            ),
        )
    )
register(
    Task(
        name="bbc_news_topic",
        source=Source(name="gopalkalpande/bbc-news-summary", columns=("File_path", "Articles")),
        to_examples=labelled("bbc_news_topic", {"text": "Articles"}, BBC, label="File_path", values=BBC),
        choices=BBC,
        metrics=by_label(BBC, accuracy),
        answer=stripped,
        family="summarisation",
        summary="the topic of a whole BBC news article",
        licence="BBC copyright, non-commercial research",
        schema="data card of gopalkalpande/bbc-news-summary",
        sample=(
            {"File_path": "business", "Articles": "Mill sold\n\nThe mill at Aldon was sold on Friday."},
            {"File_path": "sport", "Articles": "Halden win boat race\n\nHalden won by a length."},
        ),
    )
)
