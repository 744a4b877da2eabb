"""Questions on a text: QuAC, DROP, RACE, TweetQA; without one: ELI5; made from one: NewsQuizQA; MS MARCO's passages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from textfer.batch import Example, Row
from textfer.data.fields import field, int_field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import (
    CHOICES,
    answered,
    by_label,
    by_text,
    key_values,
    led_by,
    multiple_choice,
    stripped,
    written,
)
from textfer.metrics import accuracy, rouge, squad, token_f1

LETTERS = "ABCD"
TURNS_BEFORE = 2
"""How many earlier questions, with their answers, a QuAC question comes with."""
FOUND = ("not_relevant", "relevant")
HUB = "code: huggingface/datasets:datasets/{0}/{0}.py"


def _columns(columns: Mapping[str, str], row: Row, origin: str) -> dict[str, str]:
    return {key: text_field(row, column, origin) for key, column in columns.items()}


def _conversation(row: Row, origin: str) -> Iterable[Example]:
    """One example a question. The gold answers are the teacher's, the target, and those of the other annotators."""
    context = text_field(row, "context", origin)
    questions, turns = (texts_field(row, name, origin) for name in ("questions", "turn_ids"))
    first = texts_field(row, "orig_answers.texts", origin)
    others = field(row, "answers.texts", origin)
    if not len(questions) == len(turns) == len(first) == len(others):
        raise wrong(questions, "questions", origin, f"as many as turn_ids, orig_answers and answers ({len(first)})")
    for number, question in enumerate(questions):
        more = texts_field({"answers": {"texts": others[number]}}, "answers.texts", origin)
        before = range(max(0, number - TURNS_BEFORE), number)
        texts = {"context": context, "question": question}
        if before:
            texts["history"] = " ".join(f"{questions[n]} {first[n]}" for n in before)
        yield Example(
            inputs=key_values("quac", texts),
            targets=first[number],
            origin=origin,
            facts={"id": turns[number], "answers": tuple(dict.fromkeys((first[number], *more)))},
            fields=texts,
        )


def _options(row: Row, origin: str) -> Sequence[str]:
    options = texts_field(row, "options", origin)
    if len(options) != len(LETTERS):
        raise wrong(options, "options", origin, f"{len(LETTERS)} texts")
    return options


def _letter(row: Row, origin: str) -> int:
    letter = text_field(row, "answer", origin)
    if len(letter) != 1 or letter not in LETTERS:
        raise wrong(letter, "answer", origin, "A, B, C or D")
    return LETTERS.index(letter)


def _best_first(row: Row, origin: str) -> Sequence[str]:
    """The answers, those with the most votes first."""
    texts, votes = texts_field(row, "answers.text", origin), field(row, "answers.score", origin)
    if isinstance(votes, str) or not isinstance(votes, Sequence) or len(votes) != len(texts):
        raise wrong(votes, "answers.score", origin, "as many numbers as answers")
    for vote in votes:
        if isinstance(vote, bool) or not isinstance(vote, int):
            raise wrong(vote, "answers.score", origin, "only whole numbers in it")
    return [texts[n] for n in sorted(range(len(texts)), key=lambda n: -votes[n])]


def _passages(row: Row, origin: str) -> Iterable[Example]:
    """One example a passage."""
    query, number = text_field(row, "query", origin), int_field(row, "query_id", origin)
    passages, chosen = texts_field(row, "passages.passage_text", origin), field(row, "passages.is_selected", origin)
    if isinstance(chosen, str) or not isinstance(chosen, Sequence) or len(chosen) != len(passages):
        raise wrong(chosen, "passages.is_selected", origin, "as many numbers as passages")
    for place, (passage, mark) in enumerate(zip(passages, chosen, strict=True)):
        if isinstance(mark, bool) or mark not in (0, 1):
            raise wrong(mark, "passages.is_selected", origin, "only 0 and 1 in it")
        texts = {"passage": passage, "query": query}
        yield Example(
            inputs=key_values("ms_marco", texts),
            targets=FOUND[mark],
            origin=origin,
            facts={"id": f"{number}-{place}", "query": number},
            fields=texts,
        )


def reciprocal_ranks(scores: Sequence[Sequence[float]], examples: Sequence[Example]) -> Scores:
    """`mrr`, 100 × the mean over queries of 1 / the place of the first relevant passage; ties are put before it.

    Passages are ordered by how much more probable `relevant` is than `not_relevant`. Queries without a relevant passage
    do not count.
    """
    queries: dict[object, list[tuple[float, bool]]] = {}
    for (other, relevant), example in zip(scores, examples, strict=True):
        queries.setdefault(example.facts["query"], []).append((relevant - other, example.targets == FOUND[1]))
    ranks = [
        1 + sum(not is_right and score >= max(right) for score, is_right in passages)
        for passages in queries.values()
        if (right := [score for score, is_right in passages if is_right])
    ]
    return {"mrr": 100.0 * sum(1 / rank for rank in ranks) / len(ranks) if ranks else math.nan}


PASSAGE = "Orle Mill was built in 1843 by Ada Thorn. It had two wheels. It closed in 1911, when 12 people worked in it."
register(
    Task(
        name="quac",
        source=Source(
            name="allenai/quac",
            config="plain_text",
            columns=("context", "questions", "turn_ids", "answers", "orig_answers"),
        ),
        to_examples=_conversation,
        metrics=by_text(token_f1),
        answer=stripped,
        family="reading comprehension",
        summary="QuAC: the next question of a talk about a text, with the two before it; or CANNOTANSWER",
        licence="MIT (as the hub states)",
        train_ok=True,
        schema=HUB.format("quac"),
        sizes={"train": 11_567, "validation": 1_000},
        sample=(
            {
                "context": f"{PASSAGE} CANNOTANSWER",
                "questions": ["Who built it?", "When?", "Was she rich?"],
                "turn_ids": ["m_q#0", "m_q#1", "m_q#2"],
                "answers": {
                    "texts": [["Ada Thorn", "by Ada Thorn"], ["in 1843"], ["CANNOTANSWER"]],
                    "answer_starts": [[31, 28], [23], [105]],
                },
                "orig_answers": {"texts": ["Ada Thorn", "1843", "CANNOTANSWER"], "answer_starts": [31, 26, 105]},
            },
        ),
    )
)
register(
    Task(
        name="drop",
        source=Source(name="ucinlp/drop", columns=("query_id", "passage", "question", "answers_spans")),
        to_examples=answered(
            partial(key_values, "drop"),
            partial(_columns, {"context": "passage", "question": "question"}),
            lambda row, origin: texts_field(row, "answers_spans.spans", origin),
        ),
        metrics=by_text(led_by("f1", squad)),
        answer=stripped,
        family="reading comprehension",
        summary="DROP: questions that take counting and comparing; of an answer's pieces the first is the target",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema=HUB.format("drop"),
        sizes={"train": 77_400, "validation": 9_535},
        sample=(
            {
                "query_id": "q1",
                "passage": PASSAGE,
                "question": "For how many years was the mill open?",
                "answers_spans": {"spans": ["68"], "types": ["number"]},
            },
            {
                "query_id": "q2",
                "passage": PASSAGE,
                "question": "Who built the mill?",
                "answers_spans": {"spans": ["Ada Thorn", "Thorn"], "types": ["span", "span"]},
            },
        ),
    )
)
for _config, _sizes in (("middle", (25_421, 1_436, 1_436)), ("high", (62_445, 3_451, 3_498))):
    register(
        Task(
            name=f"race_{_config}",
            source=Source(
                name="ehovy/race", config=_config, columns=("example_id", "article", "question", "options", "answer")
            ),
            to_examples=multiple_choice(f"race_{_config}", ("article", "question"), _options, _letter),
            choices=CHOICES[: len(LETTERS)],
            metrics=by_label(CHOICES[: len(LETTERS)], accuracy),
            answer=stripped,
            family="reading comprehension",
            summary=f"RACE: English exams of Chinese {_config} schools, four choices",
            licence="non-commercial research only",
            schema=HUB.format("race"),
            sizes=dict(zip(("train", "validation", "test"), _sizes, strict=True)),
            sample=tuple(
                {
                    "example_id": f"{_config}1.txt",
                    "article": PASSAGE,
                    "question": "The mill _ .",
                    "options": ["was built by Ada Thorn", "had one wheel", "closed in 1843", "is still at work"],
                    "answer": "A",
                }
                | changes
                for changes in (
                    {},
                    {"options": ["burnt down", "had two wheels", "was small", "was dry"], "answer": "B"},
                    {"options": ["burnt down", "was dry", "closed in 1911", "was small"], "answer": "C"},
                    {"options": ["burnt down", "was dry", "was small", "had 12 workers"], "answer": "D"},
                )
            ),
        )
    )
register(
    Task(
        name="eli5",
        source=Source(
            name="defunct-datasets/eli5",
            config="LFQA_reddit",
            columns=("q_id", "title", "selftext", "answers"),
            splits={"train": "train_eli5", "validation": "validation_eli5", "test": "test_eli5"},
        ),
        to_examples=answered(
            lambda texts: f"eli5 question: {' '.join(text for text in texts.values() if text)}",
            partial(_columns, {"title": "title", "details": "selftext"}),
            _best_first,
        ),
        metrics=by_text(led_by("rougeL", rouge)),
        answer=stripped,
        family="long answers",
        summary="ELI5: questions of Reddit explained in simple words; the answer with the most votes is the target",
        licence="none stated",
        schema=HUB.format("eli5"),
        sizes={"train": 272_634, "validation": 9_812, "test": 24_512},
        sample=(
            {
                "q_id": "a1",
                "title": "Why does a mill need two wheels?",
                "selftext": "I saw one in Aldon.",
                "answers": {
                    "a_id": ["x", "y"],
                    "text": ["For luck.", "One turns the stones, and the other lifts the sacks."],
                    "score": [1, 12],
                },
            },
            {
                "q_id": "a2",
                "title": "Why is the sea salt?",
                "selftext": "",
                "answers": {
                    "a_id": ["z"],
                    "text": ["Rivers carry salt into it and only water leaves it."],
                    "score": [3],
                },
            },
        ),
    )
)
register(
    Task(
        name="tweet_qa",
        source=Source(name="ucsbnlp/tweet_qa", columns=("qid", "Tweet", "Question", "Answer")),
        to_examples=answered(
            partial(key_values, "tweet_qa"),
            partial(_columns, {"context": "Tweet", "question": "Question"}),
            lambda row, origin: texts_field(row, "Answer", origin),
        ),
        metrics=by_text(led_by("rougeL", rouge)),
        answer=stripped,
        family="reading comprehension",
        summary="TweetQA: questions on a tweet, answered in one's own words",
        licence="CC BY-SA 4.0 (annotations); tweets under Twitter terms",
        schema=HUB.format("tweet_qa"),
        sizes={"train": 10_692, "validation": 1_086, "test": 1_979},
        sample=(
            {
                "qid": "t1",
                "Tweet": "Two boats, one oar. We are still at sea. @halden",
                "Question": "What do they lack?",
                "Answer": ["a second oar", "an oar"],
            },
            {"qid": "t2", "Tweet": "Two boats, one oar.", "Question": "How many boats are there?", "Answer": []},
        ),
    )
)
register(
    Task(
        name="newsquiz_qa",
        source=Source(name="google-research-datasets/NewsQuizQA", columns=("passage", "question", "answer")),
        to_examples=written(
            lambda row, origin: f"newsquiz_qa passage: {text_field(row, 'passage', origin)}",
            lambda row, origin: (
                f"question: {text_field(row, 'question', origin)} answer: {text_field(row, 'answer', origin)}"
            ),
            key="passage",
        ),
        metrics=by_text(led_by("rougeL", rouge)),
        answer=stripped,
        family="question generation",
        summary="NewsQuizQA: a quiz question on the news, and its answer; the public files have links, not passages",
        licence="none stated",
        sizes={"train": 16_160},
        sample=(
            {"passage": PASSAGE, "question": "Who built Orle Mill in 1843?", "answer": "Ada Thorn"},
            {"passage": PASSAGE, "question": "In which year did Orle Mill close?", "answer": "1911"},
        ),
    )
)
register(
    Task(
        name="ms_marco",
        source=Source(name="microsoft/ms_marco", config="v1.1", columns=("query", "query_id", "passages")),
        to_examples=_passages,
        choices=FOUND,
        metrics=by_label(FOUND, accuracy),
        rank_metrics=reciprocal_ranks,
        answer=stripped,
        family="ranking",
        summary="MS MARCO: whether a passage answers a query of Bing's users; one example a passage",
        licence="Microsoft terms (non-commercial research)",
        schema=HUB.format("ms_marco"),
        sizes={"train": 82_326, "validation": 10_047, "test": 9_650},
        sample=(
            {
                "query": "when did orle mill close",
                "query_id": 7,
                "passages": {
                    "is_selected": [0, 1],
                    "passage_text": ["A mill needs water.", PASSAGE],
                    "url": ["https://mills.example", "https://aldon.example/mill"],
                },
            },
        ),
    )
)
