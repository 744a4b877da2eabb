"""Reading comprehension in the form of SQuAD: question and context in, a stretch of the context out.

Text form (T5's `squad` preprocessor, to the letter): every ASCII punctuation mark gets a space on both sides, runs of
spaces become one, `question: … context: …` goes in and the first gold answer comes out. T5 leaves a space at the end
where a text ends in punctuation, and so does this.

Marking: T5 compares padded predictions with padded gold answers, so that its numbers depend on the padding ("1.5" and
"1 . 5" are the same to it) and its predictions cannot be handed to the official scripts. Here `answer` first gives a
prediction back its original spelling, by finding it in the context; then the official rules mark it against the
original gold answers. Numbers, predictions files and the official scripts thus agree. `padded_scores` is T5's way.

Two more of T5's tasks read the same rows: `squad_span` asks for the place of the answer and not for its words,
`squad_trivia` asks without the context; having none to restore the spelling from, it is marked as T5 does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from textfer.batch import Example, Row, Span
from textfer.data.fields import text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.metrics import squad, squad_v2

NO_ANSWER = "unanswerable"
"""What a model writes when the context holds no answer. T5 had no such task, so the word is ours."""
PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")  # RE2's [[:punct:]]: ASCII only
SPACES = re.compile(r"[\t\n\f\r ]+")  # RE2's \s: ASCII, without vertical tab
NO_WORD = re.compile(r"\W", re.ASCII)  # RE2's \W
COLUMNS = ("id", "context", "question", "answers")
GROUP = ("title", "context")
"""What questions are on: an article, or a paragraph where that is not named."""


def pad_punctuation(text: str) -> str:
    """`text` with spaces around every ASCII punctuation mark, and no two spaces in a row.

    **Source**: `_pad_punctuation` of t5/data/preprocessors.py.
    """
    return SPACES.sub(" ", PUNCTUATION.sub(r" \1 ", text))


def squad_inputs(question: str, context: str) -> str:
    """What the model reads: `question: … context: …`, padded."""
    return SPACES.sub(" ", f"question: {pad_punctuation(question)} context: {pad_punctuation(context)}")


def closed_book_inputs(question: str) -> str:
    """What the model reads when it answers from memory: `squad trivia question: …` (T5's SQuAD without context)."""
    return SPACES.sub(" ", f"squad trivia question: {pad_punctuation(question)}")


def restore(text: str, context: str) -> str:
    """What stands in `context` for the padded `text`, in its original spelling; else `text`.

    **Source**: ours; it undoes `pad_punctuation`, which forgets where there was a space.
    """
    place = find_padded(text, context)
    return context[slice(*place)] if place else text


def find_padded(text: str, context: str) -> tuple[int, int] | None:
    """The first place of `context` that reads as `text` when both are padded; whole words before parts of words."""
    pieces = pad_punctuation(text).split()
    if not pieces:
        return None
    pattern = "".join(
        ("" if number == 0 else r"\s*" if _mark(piece) or _mark(pieces[number - 1]) else r"\s+") + re.escape(piece)
        for number, piece in enumerate(pieces)
    )
    before = "" if _mark(pieces[0]) else r"(?<![^\s!-/:-@\[-`{-~])"
    after = "" if _mark(pieces[-1]) else r"(?![^\s!-/:-@\[-`{-~])"
    found = re.search(before + pattern + after, context) or re.search(pattern, context)
    return found.span() if found else None


def span_target(answer: str, context: str) -> str:
    """`start: 2 end: 3`: which words of the padded context the padded answer is, counted from 0; "" where it is none.

    Marks count as empty words, as in T5. T5 misses an answer whose last word is the last of the context, and so does
    this; a dot at the end of the context is enough that it is not.

    **Source**: `_span_answer` of t5/data/preprocessors.py.
    """
    ours, theirs = _span_words(pad_punctuation(answer)), _span_words(pad_punctuation(context))
    places = range(len(theirs) - len(ours))
    start = next((place for place in places if theirs[place : place + len(ours)] == ours), None)
    return "" if start is None else f"start: {start} end: {start + len(ours) - 1}"


def span_text(text: str, context: str) -> str:
    """The words that `start: i end: j` stands for, as they are spelled in `context`; "" where it is no such text.

    **Source**: `span_squad` of t5/evaluation/metrics.py, which however counts no marks and so reads another place than
    its own targets name.
    """
    words = NO_WORD.sub(" ", text).split()
    if len(words) < 4 or not (words[1].isdecimal() and words[3].isdecimal()):
        return ""
    start, end = int(words[1]), int(words[3]) + 1
    padded = pad_punctuation(context)
    lens = [len(word) + 1 for word in _span_words(padded)]
    return restore(padded[sum(lens[:start]) : max(sum(lens[:end]) - 1, 0)], context)


def to_example(row: Row, origin: str, *, unanswerable: str | None = None) -> Example:
    """A row of SQuAD's columns as an example. Rows without answer have the target `unanswerable`; None refuses them."""
    question = text_field(row, "question", origin)
    context = text_field(row, "context", origin)
    answers = texts_field(row, "answers.text", origin)
    if not answers and unanswerable is None:
        raise wrong([], "answers.text", origin, "at least one answer. squad_v2 takes questions without")
    return Example(
        inputs=squad_inputs(question, context),
        targets=pad_punctuation(answers[0]) if answers else str(unanswerable),
        origin=origin,
        facts={"id": str(row.get("id", origin)), "answers": answers},
        fields={"question": question, "context": context},
        spans=_spans(row, context, answers, origin),
    )


def to_span(row: Row, origin: str) -> Iterable[Example]:
    """The same row with the answer's place as target; none where its place is unknown."""
    example = to_example(row, origin)
    if target := span_target(example.facts["answers"][0], example.fields["context"]):
        yield replace(example, targets=target)


def to_trivia(row: Row, origin: str) -> Iterable[Example]:
    """The row's question without the context."""
    question = text_field(row, "question", origin)
    answers = texts_field(row, "answers.text", origin)
    if not answers or not answers[0].strip():
        raise wrong(list(answers), "answers.text", origin, "at least one answer that is not empty")
    yield Example(
        inputs=closed_book_inputs(question),
        targets=pad_punctuation(answers[0]),
        origin=origin,
        facts={"id": str(row.get("id", origin)), "answers": answers},
        fields={"question": question},
    )


def mark(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`em` and `f1` of SQuAD v1.1."""
    return squad([str(answer) for answer in answers], gold_answers(examples))


def mark_v2(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """The official numbers of SQuAD v2.0, with `exact` also under the name that v1.1 gives it here, `em`."""
    scores = squad_v2([str(answer) for answer in answers], gold_answers(examples))
    return {"em": scores["exact"], **scores}


def padded_scores(texts: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`em` and `f1` as T5 computes them: what the model wrote against padded gold answers.

    **Source**: `squad` of t5/evaluation/metrics.py over `qa` of t5/data/postprocessors.py.
    """
    return squad(
        [str(text) for text in texts], [[pad_punctuation(gold) for gold in golds] for golds in gold_answers(examples)]
    )


def gold_answers(examples: Sequence[Example]) -> list[Sequence[str]]:
    """The gold answers of each example; none where the question has no answer."""
    return [example.facts["answers"] for example in examples]


def original_spelling(text: str, example: Example) -> str:
    """What the model wrote as it stands in the context."""
    return restore(text, example.fields["context"])


def named_place(text: str, example: Example) -> str:
    """The words at the place that the model wrote."""
    return span_text(text, example.fields["context"])


def original_or_none(text: str, example: Example) -> str:
    """The same, and `""` where the model says that there is no answer."""
    return "" if text.strip().lower() == NO_ANSWER else original_spelling(text, example)


def _spans(row: Row, context: str, answers: Sequence[str], origin: str) -> tuple[Span, ...]:
    """The place of the first answer in the context: as given, or where it first stands if that place is wrong."""
    if not answers or not answers[0]:
        return ()
    starts = row["answers"].get("answer_start") or [-1]
    start = starts[0]
    if isinstance(start, bool) or not isinstance(start, int):
        raise wrong(start, "answers.answer_start", origin, "whole numbers")
    if start < 0 or not context.startswith(answers[0], start):
        start = context.find(answers[0])
    return (Span("context", start, start + len(answers[0])),) if start >= 0 else ()


def _span_words(text: str) -> list[str]:
    return NO_WORD.sub(" ", text).split(" ")


def _mark(piece: str) -> bool:
    return bool(PUNCTUATION.fullmatch(piece))


def _v1(row: Row, origin: str) -> Iterable[Example]:
    yield to_example(row, origin)


def _v2(row: Row, origin: str) -> Iterable[Example]:
    yield to_example(row, origin, unanswerable=NO_ANSWER)


CASTLE = "The castle of Aldon was built in 1203. Its owner, Maud Hale, gave the well to the town."
SAMPLE = (
    {
        "id": "aldon-1",
        "context": CASTLE,
        "question": "When was the castle built?",
        "answers": {"text": ["1203", "in 1203"], "answer_start": [33, 30]},
    },
    {
        "id": "aldon-2",
        "context": CASTLE,
        "question": "Who gave the well to the town?",
        "answers": {"text": ["Maud Hale"], "answer_start": [50]},
    },
)
UNANSWERABLE = {
    "id": "aldon-3",
    "context": CASTLE,
    "question": "Who sold the castle?",
    "answers": {"text": [], "answer_start": []},
}

register(
    Task(
        name="squad",
        source=Source(name="rajpurkar/squad", config="plain_text", columns=COLUMNS, group=GROUP),
        to_examples=_v1,
        metrics=mark,
        answer=original_spelling,
        family="reading comprehension",
        summary="SQuAD 1.1: find the answer to a question in a Wikipedia paragraph",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema="data card of rajpurkar/squad",
        sizes={"train": 87_599, "validation": 10_570},
        sample=SAMPLE,
    )
)
register(
    Task(
        name="squad_span",
        source=Source(name="rajpurkar/squad", config="plain_text", columns=COLUMNS, group=GROUP),
        to_examples=to_span,
        metrics=mark,
        answer=named_place,
        family="reading comprehension",
        summary="SQuAD 1.1, answered by the place of the answer: start: 2 end: 3",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema="data card of rajpurkar/squad",
        sizes={"train": 87_599, "validation": 10_570},
        drops="rows whose answer is no run of whole words of the paragraph, or is its very end: as T5",
        sample=(*SAMPLE, {**SAMPLE[1], "id": "aldon-4", "answers": {"text": ["aud Hale"], "answer_start": [51]}}),
    )
)
register(
    Task(
        name="squad_trivia",
        source=Source(name="rajpurkar/squad", config="plain_text", columns=("id", "question", "answers"), group=GROUP),
        to_examples=to_trivia,
        metrics=padded_scores,
        family="closed-book QA",
        summary="SQuAD 1.1 from memory, without the paragraph; marked against padded gold answers, as T5 does",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema="data card of rajpurkar/squad",
        sizes={"train": 87_599, "validation": 10_570},
        sample=SAMPLE,
    )
)
register(
    Task(
        name="squad_v2",
        source=Source(name="rajpurkar/squad_v2", config="squad_v2", columns=COLUMNS, group=GROUP),
        to_examples=_v2,
        metrics=mark_v2,
        answer=original_or_none,
        family="reading comprehension",
        summary="SQuAD 2.0: the same, and say when the paragraph holds no answer",
        licence="CC BY-SA 4.0",
        train_ok=True,
        schema="data card of rajpurkar/squad_v2",
        sizes={"train": 130_319, "validation": 11_873},
        sample=(*SAMPLE, UNANSWERABLE),
    )
)
