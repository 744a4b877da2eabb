"""Opinions: whether a text praises or blames, and what. TweetEval's sets are in tweets.py, SST-2 in glue.py.

Aspect extraction (product_reviews_aspects) writes what a sentence has an opinion on, in the order of the marks:
`product_reviews_aspects product: Halden X1 sentence: …` in, `lid; handle` out. An aspect
need not stand in the sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textfer.batch import Example, Row
from textfer.data.fields import text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.classes import NO_HUB, TextSet, declare
from textfer.data.tasks.forms import key_values, stripped
from textfer.metrics import entity_f1

WORDS = ("negative", "positive")
BETWEEN = "; "


def aspects_of(text: str) -> tuple[str, ...]:
    """The aspects that a text names, each once, in order."""
    return tuple(dict.fromkeys(part for part in (" ".join(part.split()) for part in text.split(";")) if part))


def mark_aspects(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """F1, precision and recall over the aspects of all sentences; an aspect counts when it is gold to the letter."""
    found, golds = [], []
    for answer, example in zip(answers, examples, strict=True):
        said, gold = aspects_of(str(answer)), aspects_of(example.targets)
        both = list(dict.fromkeys((*gold, *said)))
        found.append(["B-aspect" if aspect in said else "O" for aspect in both])
        golds.append(["B-aspect" if aspect in gold else "O" for aspect in both])
    return entity_f1(found, golds)


def _aspects(row: Row, origin: str) -> Iterable[Example]:
    texts = {"product": text_field(row, "product", origin), "sentence": text_field(row, "text", origin)}
    aspects = texts_field(row, "aspects", origin)
    found = [aspects_of(aspect) for aspect in aspects]
    if not found or any(len(aspect) != 1 for aspect in found):
        raise wrong(list(aspects), "aspects", origin, "one aspect or more, none of them empty or with a semicolon")
    yield Example(
        inputs=key_values("product_reviews_aspects", texts),
        targets=BETWEEN.join(dict.fromkeys(aspect for aspect, *_ in found)),
        origin=origin,
        fields=texts,
    )


declare(
    "sentiment",
    TextSet(
        "imdb",
        "stanfordnlp/imdb",
        WORDS,
        "whether a film review from IMDb is positive or negative",
        "research only (no licence stated)",
        ("A dull film, and far too long.<br /><br />I left before the end.", "Maud Hale shines in every scene."),
        config="plain_text",
        sizes={"train": 25_000, "test": 25_000},
    ),
    TextSet(
        "counterfactual_sentiment",
        "acmi-lab/counterfactually-augmented-data",
        WORDS,
        "IMDb reviews and the same reviews with as few words changed as turn their opinion",
        "Apache-2.0 edits on IMDB text (research only)",
        ("A gripping start, then nothing but boredom.", "A slow start, then nothing but delight."),
        config="sentiment",
        sizes={"train": 3_414, "validation": 490, "test": 976},
        schema=NO_HUB,
    ),
    TextSet(
        "rotten_tomatoes",
        "cornell-movie-review-data/rotten_tomatoes",
        WORDS,
        "whether a sentence from a film review is positive or negative",
        "CC BY 4.0 (as stated by the NLTK distribution)",
        ("the jokes are older than the castle .", "a warm , clever little film ."),
        train_ok=True,
        sizes={"train": 8_530, "validation": 1_066, "test": 1_066},
    ),
    TextSet(
        "movie_reviews",
        "nltk/movie_reviews",
        WORDS,
        "whether a whole film review is positive or negative",
        "CC BY 4.0 (as stated by the NLTK distribution)",
        ("the plot : a clock is stolen . \nnobody misses it , nor did i . \n", "go and see it . \nthen go again . \n"),
        train_ok=True,
        schema=NO_HUB,
    ),
    TextSet(
        "pros_cons",
        "nltk/pros_cons",
        ("con", "pro"),
        "whether a phrase was listed for or against a product",
        "CC BY 4.0",
        ("lid breaks soon, no spare parts", "Boils fast, looks good"),
        train_ok=True,
        schema=NO_HUB,
    ),
    TextSet(
        "product_reviews",
        "nltk/product_reviews",
        WORDS,
        "whether a sentence from a product review is positive or negative",
        "CC BY 4.0",
        ("the lid of this kettle never closes .", "i love the handle !"),
        train_ok=True,
        schema=NO_HUB,
    ),
)
register(
    Task(
        name="product_reviews_aspects",
        source=Source(name="nltk/product_reviews", columns=("text", "product", "aspects")),
        to_examples=_aspects,
        metrics=mark_aspects,
        answer=stripped,
        family="sentiment",
        summary="what a sentence from a product review has an opinion on",
        licence="CC BY 4.0",
        train_ok=True,
        schema=NO_HUB,
        sample=(
            {"text": "the lid leaks , but the handle is fine .", "product": "Halden X1", "aspects": ["lid", "handle"]},
            {"text": "it boils in a minute .", "product": "Halden X1", "aspects": ["speed"]},
            {"text": "good lid , very good lid .", "product": "Halden X2", "aspects": ["lid", "steel  lid", "lid"]},
        ),
    )
)
