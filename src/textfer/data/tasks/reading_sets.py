"""Other sets in the form of SQuAD, further tasks on SQuAD's own rows, and reading with answers in one's own words.

The extractive sets share SQuAD's text form and marking (see `squad.py`). XQuAD's paragraphs are those of SQuAD's
validation split and Disfl-QA's questions those of SQuAD 2.0's: a model trained on either must not be marked on SQuAD.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from textfer.batch import Example, Row
from textfer.data.fields import text_field, texts_field
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import by_label, by_text, key_values, labelled, row_id, stripped, written
from textfer.data.tasks.squad import (
    COLUMNS,
    GROUP,
    NO_ANSWER,
    SAMPLE,
    UNANSWERABLE,
    mark,
    mark_v2,
    original_or_none,
    original_spelling,
    to_example,
)
from textfer.metrics import accuracy, binary_f1, exact_match, rouge, token_f1
from textfer.metrics.means import mean

LANGUAGES = {"en": "English", "de": "German", "ro": "Romanian", "es": "Spanish", "zh": "Chinese"}
DOMAINS = ("books", "electronics", "grocery", "movies", "restaurants", "tripadvisor")
ANSWERABLE = "answerable"
SELECTED = ("not_answer", "answer")
extractive = partial(Task, family="extractive QA", metrics=mark, answer=original_spelling)
generated = partial(Task, metrics=by_text(rouge), answer=stripped)


def _v1(row: Row, origin: str) -> Iterable[Example]:
    yield to_example(row, origin)


def _v2(row: Row, origin: str) -> Iterable[Example]:
    yield to_example(row, origin, unanswerable=NO_ANSWER)


def _asked(row: Row, origin: str) -> str:
    example = to_example(row, origin)
    return key_values(
        "squad_question_generation", {"answer": example.facts["answers"][0], "context": example.fields["context"]}
    )


def _answerable(row: Row, origin: str) -> Iterable[Example]:
    texts = {key: text_field(row, key, origin) for key in ("question", "context")}
    yield Example(
        inputs=key_values("squad_v2_answerability", texts),
        targets=ANSWERABLE if texts_field(row, "answers.text", origin) else NO_ANSWER,
        origin=origin,
        facts=row_id(row),
        fields=texts,
    )


def rankings(log_probs: Sequence[Sequence[float]], examples: Sequence[Example]) -> Scores:
    """`map` and `mrr` of sentences ranked by how probable it is that they answer the question.

    Questions without a right sentence do not count. `log_probs[n]` are those of the words of `SELECTED`.
    """
    by_question: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for (wrong, right), example in zip(log_probs, examples, strict=True):
        by_question[example.fields["question"]].append((right - wrong, example.targets == SELECTED[1]))
    precisions, ranks = [], []
    for sentences in by_question.values():
        sentences.sort(key=lambda pair: (-pair[0], pair[1]))  # of equally probable ones the wrong ones come first
        places = [place for place, (_, right) in enumerate(sentences, start=1) if right]
        if places:
            precisions.append(sum(found / place for found, place in enumerate(places, start=1)) / len(places))
            ranks.append(1 / places[0])
    return {"map": mean(precisions), "mrr": mean(ranks)}


def _story(row: Row, origin: str) -> str:
    texts = {key: text_field(row, column, origin) for key, column in (("question", "question"), ("context", STORY))}
    return key_values("fairytale_qa", texts)


def _story_answers(row: Row, origin: str) -> Sequence[str]:
    """One or two people's answers; the second one is often empty."""
    return [text for key in ("answer1", "answer2") if (text := text_field(row, key, origin)).strip()]


def _story_question(row: Row, origin: str) -> str:
    answers = _story_answers(row, origin)
    texts = {"answer": answers[0] if answers else "", "context": text_field(row, STORY, origin)}
    return key_values("fairytale_qa_question", texts)


STORY = "story_section"

for _code, _language in LANGUAGES.items():
    register(
        extractive(
            name=f"xquad_{_code}",
            source=Source(name="google/xquad", config=f"xquad.{_code}", columns=COLUMNS, group=("context",)),
            to_examples=_v1,
            summary=f"XQuAD in {_language}: 240 paragraphs of SQuAD's validation split, by translators",
            licence="CC BY-SA 4.0",
            train_ok=True,
            schema="data card of google/xquad",
            sizes={"validation": 1_190},
            sample=SAMPLE,
        )
    )
register(
    extractive(
        name="covid_qa_deepset",
        source=Source(name="deepset/covid_qa_deepset", config="covid_qa_deepset", columns=COLUMNS, group=("context",)),
        to_examples=_v1,
        summary="COVID-QA: questions on whole medical papers (long contexts)",
        licence="Apache-2.0",
        train_ok=True,
        schema="data card of deepset/covid_qa_deepset",
        sizes={"train": 2_019},
        sample=({**SAMPLE[0], "id": 11}, {**SAMPLE[1], "id": 12}),
    )
)
for _domain in DOMAINS:
    register(
        extractive(
            name=f"subjqa_{_domain}",
            source=Source(name="megagonlabs/subjqa", config=_domain, columns=COLUMNS, group=("context",)),
            to_examples=_v2,
            metrics=mark_v2,
            answer=original_or_none,
            summary=f"SubjQA: opinions in a review ({_domain}), or that there is none on the matter",
            licence="none stated for the review text (annotations CC BY 4.0)",
            schema="data card of megagonlabs/subjqa",
            sample=(*SAMPLE, UNANSWERABLE),
        )
    )
register(
    extractive(
        name="squad_answer_sentences",
        source=Source(name="rajpurkar/squad_answer_sentences", columns=("question", "sentence")),
        to_examples=written(
            lambda row, origin: key_values("squad_answer_sentences", {"question": text_field(row, "question", origin)}),
            lambda row, origin: text_field(row, "sentence", origin),
            key="question",
        ),
        metrics=by_text(token_f1, exact_match),
        answer=stripped,
        summary="the sentence of SQuAD's train split that answers a question, from memory",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema="pairs drawn from SQuAD; no data set of this form elsewhere",
        sample=(
            {
                "question": "Who built the mill at Varn?",
                "sentence": "The mill at Varn was built by two brothers in 1820.",
            },
        ),
    )
)
register(
    extractive(
        name="trecqa",
        source=Source(name="lucadiliello/trecqa", columns=("question", "answer", "label")),
        to_examples=labelled("trecqa", {"question": "question", "sentence": "answer"}, SELECTED),
        choices=SELECTED,
        metrics=by_label(SELECTED, binary_f1, accuracy),
        rank_metrics=rankings,
        answer=stripped,
        summary="TREC QA: whether a sentence answers a question (ranked: MAP, MRR)",
        licence="research only (TREC text)",
        schema="data card of lucadiliello/trecqa",
        sample=(
            {"question": "Who owns the ferry ?", "answer": "The ferry belongs to Ada Brook .", "label": 1},
            {"question": "Who owns the ferry ?", "answer": "The ferry crosses <num> times a day .", "label": 0},
        ),
    )
)
register(
    generated(
        name="squad_question_generation",
        source=Source(name="rajpurkar/squad", config="plain_text", columns=COLUMNS, group=GROUP),
        to_examples=written(_asked, lambda row, origin: text_field(row, "question", origin)),
        family="extractive QA",
        summary="SQuAD the other way round: a question to a paragraph and its answer",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema="data card of rajpurkar/squad",
        sizes={"train": 87_599, "validation": 10_570},
        sample=SAMPLE,
    )
)
register(
    Task(
        name="squad_v2_answerability",
        source=Source(name="rajpurkar/squad_v2", config="squad_v2", columns=COLUMNS, group=GROUP),
        to_examples=_answerable,
        choices=(ANSWERABLE, NO_ANSWER),
        metrics=by_label((ANSWERABLE, NO_ANSWER), accuracy, binary_f1),
        answer=stripped,
        family="extractive QA",
        summary="whether a paragraph answers a question (SQuAD 2.0)",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema="data card of rajpurkar/squad_v2",
        sizes={"train": 130_319, "validation": 11_873},
        sample=(*SAMPLE, UNANSWERABLE),
    )
)
register(
    Task(
        name="disfl_qa",
        source=Source(name="google-research-datasets/disfl_qa", columns=("squad_v2_id", "original", "disfluent")),
        to_examples=written(
            lambda row, origin: key_values("disfl_qa", {"question": text_field(row, "disfluent", origin)}),
            lambda row, origin: text_field(row, "original", origin),
            key="question",
        ),
        metrics=by_text(exact_match, token_f1),
        answer=stripped,
        family="question repair",
        summary="Disfl-QA: the question that a stumbling speaker means",
        licence="CC BY 4.0",
        train_ok=True,
        schema="JSON files of google-research-datasets/disfl_qa, the key as a column",
        sizes={"train": 7_182, "validation": 1_000, "test": 3_643},
        sample=(
            {
                "squad_v2_id": "made-1",
                "original": "When was the castle built?",
                "disfluent": "Who gave no sorry when was the castle built?",
            },
        ),
    )
)

FAIRYTALES = Source(name="WorkInTheDark/FairytaleQA", columns=("story_section", "question", "answer1", "answer2"))
TALE = {
    "story_section": "A miller had three geese. The youngest could count, and so she was never eaten.",
    "question": "Why was the youngest goose never eaten?",
    "answer1": "She could count.",
    "answer2": "because she could count",
}
for _name, _form, _summary in (
    ("fairytale_qa", written(_story, _story_answers), "questions about a fairy tale, answered in one's own words"),
    (
        "fairytale_qa_question",
        written(_story_question, lambda row, origin: text_field(row, "question", origin)),
        "a question to a part of a fairy tale and its answer",
    ),
):
    register(
        generated(
            name=_name,
            source=FAIRYTALES,
            to_examples=_form,
            family="abstractive QA",
            summary=f"FairytaleQA: {_summary}",
            licence="Apache-2.0",
            train_ok=True,
            schema="data card of WorkInTheDark/FairytaleQA",
            sizes={"train": 8_548, "validation": 1_025, "test": 1_007},
            sample=(TALE, {**TALE, "answer2": ""}),
        )
    )
