"""Questions answered from memory: NQ-open, TriviaQA and WebQuestions without any text, as T5's closed-book study.

`nq question: …`, `trivia_qa question: …` and `wq question: …` go in, the first answer comes out, neither is padded.
`natural_questions` is the older form with all answers, `answer: … answer: …`.

That study holds out the end of the train split for validation, and tests on the published validation split: NQ-open
trains on its first 79,168 rows, WebQuestions on 3,417, TriviaQA on 78,785. Here the splits are the published ones.

**Source**: t5_cbqa/preprocessors.py, tasks.py, postprocessors.py and metrics.py of google-research's t5_closed_book_qa;
Roberts et al., How Much Knowledge Can You Pack Into the Parameters of a Language Model?, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from textfer.batch import Example, Row
from textfer.data.fields import field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import UNKNOWN, by_text, stripped, written
from textfer.metrics import normalise_answer, squad, trivia_qa

FAMILY = "closed-book QA"
MARK = "answer:"
YES_NO = ("no", "yes")


def answer_groups(row: Row, origin: str) -> list[list[str]]:
    """What each annotator of Natural Questions gave: yes, no, or short answers; an empty list for none."""
    annotations = field(row, "annotations", origin)
    verdicts = annotations.get("yes_no_answer") if isinstance(annotations, Mapping) else None
    shorts = annotations.get("short_answers") if isinstance(annotations, Mapping) else None
    if not isinstance(verdicts, Sequence) or not isinstance(shorts, Sequence) or len(verdicts) != len(shorts):
        raise wrong(annotations, "annotations", origin, "lists yes_no_answer and short_answers of one length")
    groups = []
    for number, (verdict, short) in enumerate(zip(verdicts, shorts, strict=True)):
        if verdict not in (-1, 0, 1) or not isinstance(short, Mapping):
            raise wrong(verdict, f"annotations.yes_no_answer[{number}]", origin, "-1, 0 or 1, and a short answer")
        groups.append([YES_NO[verdict]] if verdict >= 0 else list(texts_field(short, "text", origin)))
    return groups


def all_answers(groups: Sequence[Sequence[str]]) -> list[str]:
    """The annotators' answers in one list: first every yes or no, then the short ones."""
    verdicts = [answer for group in groups for answer in group if answer in YES_NO]
    return [*verdicts, *(answer for group in groups for answer in group if answer not in YES_NO)]


def given_answers(text: str) -> list[str]:
    """The answers that `answer: … answer: …` gives."""
    return [part.strip() for part in text.split(MARK)[1:]]


def recall(texts: Sequence[str], groups: Sequence[Sequence[Sequence[str]]]) -> Scores:
    """`recall`, the share of questions that got just the answers of some annotator, and `golden_answers`, their number.

    A question with one annotator counts if there is an answer, one with several if two of them have one.

    **Source**: `natural_questions` of t5_cbqa/metrics.py, whose `non_null_threshold` says the same by split.
    """
    hits = []
    for text, found in zip(texts, groups, strict=True):
        golds = [_normal(group) for group in found if group]
        if len(golds) >= min(2, len(found)):
            hits.append(_normal(given_answers(text)) in golds)
    return {"recall": 100.0 * sum(hits) / len(hits) if hits else math.nan, "golden_answers": float(len(hits))}


def _normal(answers: Sequence[str]) -> frozenset[str]:
    return frozenset(normalise_answer(answer) for answer in answers)


def _natural(row: Row, origin: str) -> Iterable[Example]:
    question = text_field(row, "question.text", origin)
    groups = answer_groups(row, origin)
    if answers := all_answers(groups):
        yield Example(
            inputs=f"nq question: {question}",
            targets=" ".join(f"{MARK} {answer}" for answer in answers),
            origin=origin,
            facts={"id": str(row.get("id", origin)), "groups": groups},
            fields={"question": question},
        )


def _is_one_answer(example: Example) -> bool:
    """Whether the target is what some annotator gave; with several annotators it is what all of them gave."""
    return _normal(given_answers(example.targets)) in [_normal(group) for group in example.facts["groups"]]


def _mark_natural(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    return recall([str(answer) for answer in answers], [example.facts["groups"] for example in examples])


def _trivia(row: Row, origin: str) -> Iterable[Example]:
    question, value = text_field(row, "question", origin), text_field(row, "answer.value", origin)
    aliases = texts_field(row, "answer.aliases", origin)
    if not value.strip():
        raise wrong(value, "answer.value", origin, "an answer that is not empty")
    yield Example(
        inputs=f"trivia_qa question: {question}",
        targets=value,  # the hub's test split has <unk>
        origin=origin,
        facts={"id": str(row.get("question_id", origin)), "answers": aliases or (value,)},
        fields={"question": question},
    )


def _annotated(question: str, *annotators: tuple[int, Sequence[str]]) -> Row:
    """A row of Natural Questions with what each annotator gave."""
    return {
        "id": "aldon",
        "question": {"text": question},
        "annotations": {
            "yes_no_answer": [verdict for verdict, _ in annotators],
            "short_answers": [{"text": list(texts)} for _, texts in annotators],
        },
    }


register(
    Task(
        name="nq_open",
        source=Source(name="google-research-datasets/nq_open", config="nq_open", columns=("question", "answer")),
        to_examples=written(
            lambda row, origin: f"nq question: {text_field(row, 'question', origin)}",
            lambda row, origin: texts_field(row, "answer", origin),
            key="question",
        ),
        metrics=by_text(squad),
        answer=stripped,
        family=FAMILY,
        summary="NQ-open: people's questions to a search engine, answered from memory",
        licence="CC BY-SA 3.0",
        train_ok=True,
        schema="data card of google-research-datasets/nq_open",
        sizes={"train": 87_925, "validation": 3_610},
        sample=({"question": "who gave the well to aldon", "answer": ["Maud Hale", "Lady Hale"]},),
    )
)
register(
    Task(
        name="web_questions",
        source=Source(name="stanfordnlp/web_questions", columns=("question", "answers")),
        to_examples=written(
            lambda row, origin: f"wq question: {text_field(row, 'question', origin)}",
            lambda row, origin: texts_field(row, "answers", origin),
            key="question",
        ),
        metrics=by_text(squad),
        answer=stripped,
        family=FAMILY,
        summary="WebQuestions: questions whose answers are entities, answered from memory",
        licence="CC BY 4.0",
        train_ok=True,
        schema="data card of stanfordnlp/web_questions",
        sizes={"train": 3_778, "test": 2_032},
        sample=({"question": "what river flows through aldon?", "answers": ["Ald", "Mar"]},),
    )
)
register(
    Task(
        name="trivia_qa_open",
        source=Source(
            name="mandarjoshi/trivia_qa",
            config="unfiltered.nocontext",
            columns=("question", "question_id", "answer"),
        ),
        to_examples=_trivia,
        metrics=by_text(trivia_qa),
        answer=stripped,
        family=FAMILY,
        summary="TriviaQA without its documents, answered from memory",
        licence="none stated (code Apache-2.0)",
        schema="code: huggingface/datasets:datasets/trivia_qa/trivia_qa.py",
        sizes={"train": 87_622, "validation": 11_313, "test": 10_832},
        sample=(
            {
                "question": "Who gave the well to Aldon?",
                "question_id": "al_1",
                "answer": {"value": "Maud Hale", "aliases": ["Maud Hale", "Lady Hale"]},
            },
            {
                "question": "Which river flows through Aldon?",
                "question_id": "al_2",
                "answer": {"value": UNKNOWN, "aliases": []},
            },
        ),
    )
)
register(
    Task(
        name="natural_questions",
        source=Source(name="google-research-datasets/natural_questions", columns=("id", "question", "annotations")),
        to_examples=_natural,
        learnt=_is_one_answer,
        metrics=_mark_natural,
        answer=stripped,
        family=FAMILY,
        summary="Natural Questions from memory, with all answers: answer: … answer: …",
        licence="CC BY-SA 3.0",
        train_ok=True,
        schema="code: huggingface/datasets:datasets/natural_questions/natural_questions.py",
        sizes={"train": 307_373, "validation": 7_830},
        drops="questions to which nobody gave a short answer, yes or no",
        sample=(
            _annotated("who are the owners of the mill", (-1, ["Ida", "Karl"])),
            _annotated("is the well of aldon dry", (1, [])),
            _annotated("is the castle of aldon open", (0, []), (-1, ["since 1990"]), (-1, [])),
            _annotated("why is the well dry", (-1, [])),
        ),
    )
)
