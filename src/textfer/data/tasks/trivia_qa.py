"""TriviaQA with its documents: one example for every document and every answer that stands in it.

`question: … context: …` goes in, padded as SQuAD is; the alias comes out. T5 only trains on this task and does not mark
it; the numbers here are means over examples, and a question with many documents counts often.

**Source**: `trivia_qa` of t5/data/preprocessors.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from string import ascii_lowercase, ascii_uppercase

from textfer.batch import Example, Row, Span
from textfer.data.fields import text_field, texts_field
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import by_text, stripped
from textfer.data.tasks.squad import find_padded, pad_punctuation, squad_inputs
from textfer.metrics import trivia_qa

LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)  # TensorFlow's `lower` knows ASCII only
CONTEXTS = ("entity_pages.wiki_context", "search_results.search_context")


def _examples(row: Row, origin: str) -> Iterable[Example]:
    question = text_field(row, "question", origin)
    aliases = texts_field(row, "answer.normalized_aliases", origin)
    contexts = [text for name in CONTEXTS for text in texts_field(row, name, origin)]
    name = str(row.get("question_id", origin))
    for number, context in enumerate(contexts):
        padded = pad_punctuation(context).translate(LOWER)
        inputs = squad_inputs(question, context)
        for place, alias in enumerate(aliases):
            target = pad_punctuation(alias)
            if alias.strip() and target.translate(LOWER) in padded:
                yield Example(
                    inputs=inputs,
                    targets=target,
                    origin=origin,
                    facts={"id": f"{name}-{number}-{place}", "answers": aliases},
                    fields={"question": question, "context": context},
                    spans=_spans(alias, context),
                )


def _spans(alias: str, context: str) -> tuple[Span, ...]:
    """The first place of the alias, whatever its case."""
    place = find_padded(alias.translate(LOWER), context.translate(LOWER))
    return (Span("context", *place),) if place else ()


PAGE = "Maud Hale (born 1950) gave the well to Aldon. The castle was hers."
FOUND = "Lady Hale, of Aldon, sold her mill."
register(
    Task(
        name="trivia_qa",
        source=Source(
            name="mandarjoshi/trivia_qa",
            config="rc",
            columns=("question", "question_id", "entity_pages", "search_results", "answer"),
        ),
        to_examples=_examples,
        metrics=by_text(trivia_qa),
        answer=stripped,
        family="reading comprehension",
        summary="TriviaQA: trivia questions on documents from Wikipedia and the web",
        licence="none stated (code Apache-2.0); documents of many owners",
        schema="code: huggingface/datasets:datasets/trivia_qa/trivia_qa.py",
        sizes={"train": 138_384, "validation": 17_944, "test": 17_210},
        drops="documents in which no answer stands; so all rows of the test split",
        sample=(
            {
                "question": "Who gave the well to Aldon?",
                "question_id": "al_1",
                "entity_pages": {"wiki_context": [PAGE, "Aldon has a castle."]},
                "search_results": {"search_context": [FOUND]},
                "answer": {"normalized_aliases": ["maud hale", "hale", "lady hale"], "value": "Maud Hale"},
            },
            {
                "question": "Who owns the castle?",
                "question_id": "al_2",
                "entity_pages": {"wiki_context": [PAGE]},
                "search_results": {"search_context": []},
                "answer": {"normalized_aliases": [], "value": "<unk>"},
            },
        ),
    )
)
