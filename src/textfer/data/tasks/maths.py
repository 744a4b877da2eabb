"""Arithmetic and small puzzles: word problems, algebra with choices, coins flipped and letters put together.

A word problem's target is its final number as people write it (12, not 12.0; at most four places). GSM8K's is the whole
reasoning, which ends in `#### 12`; the answer is what stands there. Its marks for a calculator (`<<3*4=12>>`) are left
out: they are no prose, and T5's vocabulary has no `<`. Two numbers are the same when they are written the same after
signs of currency, commas and closing zeros are gone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial

from textfer.batch import Example, Row
from textfer.data.fields import float_field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import by_label, by_text, labelled, multiple_choice, stripped, written
from textfer.data.tasks.multiple_choice import by_name, chosen
from textfer.metrics import accuracy, exact_match
from textfer.metrics.means import mean

FINAL = "####"
CALCULATOR = re.compile(r"<<[^<>]*>>")
DECORATION = re.compile(r"[$€£,%\s]|\.$")
PLACES = Decimal("0.0001")
YES_NO = ("yes", "no")
LETTERS = ("A", "B", "C", "D", "E")
BETWEEN = re.compile(r"(?:^|['\"]?\s*,\s*)[\['\"]*[a-e] \) ?", re.IGNORECASE)
"""What stands before each answer of MathQA: `A ) 12 , B ) 13`, or the same as a printed list."""


def number_text(text: str) -> str:
    """The number as people write it: `46.0` is `46`, `$1,250` is `1250`. What is no number stays as it is."""
    try:
        value = Decimal(DECORATION.sub("", text.strip()))
    except InvalidOperation:
        return text.strip()
    if not value.is_finite() or abs(value) >= 10**15:
        return text.strip()
    rounded = value.quantize(PLACES).normalize()
    return f"{rounded if rounded else Decimal(0):f}"


def same_number(answers: Sequence[str], golds: Sequence[Sequence[str]]) -> Scores:
    """`accuracy`: share of answers that are the gold number."""
    pairs = zip(answers, golds, strict=True)
    return {"accuracy": mean(number_text(text) in {number_text(gold) for gold in all_} for text, all_ in pairs)}


def final_number(text: str, example: Example) -> str:
    """The number after the last `####`, or else the whole text."""
    return number_text(text.rpartition(FINAL)[2])


def _asks(name: str, *columns: str) -> Callable[[Row, str], str]:
    def inputs(row: Row, origin: str) -> str:
        return f"{name} question: {' '.join(text_field(row, column, origin).strip() for column in columns)}"

    return inputs


def _number(column: str) -> Callable[[Row, str], str]:
    def targets(row: Row, origin: str) -> str:
        value = float_field(row, column, origin)
        if not math.isfinite(value):
            raise wrong(value, column, origin, "a number")
        return number_text(repr(value))

    return targets


def _reasoned(row: Row, origin: str) -> list[Example]:
    found = text_field(row, "answer", origin)
    reasoning, mark, final = found.rpartition(FINAL)
    if not mark or not final.strip():
        raise wrong(found, "answer", origin, f"a last line '{FINAL} number'")
    inputs = _asks("gsm8k", "question")(row, origin)
    return [
        Example(
            inputs=inputs,
            targets=f"{CALCULATOR.sub('', reasoning)}{FINAL} {number_text(final)}",
            origin=origin,
            facts={"answers": (number_text(final),)},
            fields={"question": text_field(row, "question", origin)},
        )
    ]


def _aqua_options(row: Row, origin: str) -> Sequence[str]:
    """Without the letter that stands before each: `A)12`."""
    return [option.partition(")")[2].strip() for option in texts_field(row, "options", origin)]


def _math_qa_options(row: Row, origin: str) -> Sequence[str]:
    text = text_field(row, "options", origin).strip()
    options = BETWEEN.split(text.removesuffix("]").removesuffix("'").removesuffix('"'))[1:]
    if len(options) != len(LETTERS):
        raise wrong(text, "options", origin, "'A ) … , B ) …' up to E")
    return [option.strip() for option in options]


maths = partial(Task, family="maths", metrics=by_text(same_number), answer=stripped)

register(
    maths(
        name="gsm8k",
        source=Source(name="openai/gsm8k", config="main", columns=("question", "answer")),
        to_examples=_reasoned,
        answer=final_number,
        summary="GSM8K: word problems of primary school, with the steps",
        licence="MIT",
        train_ok=True,
        schema="data card of openai/gsm8k",
        sizes={"train": 7_473, "test": 1_319},
        sample=(
            {
                "question": "A hut has 3 rooms with 4 chairs each. 2 chairs break. How many are left?",
                "answer": "There are 3*4=<<3*4=12>>12 chairs.\nThen 12-2=<<12-2=10>>10 are left.\n#### 10",
            },
            {"question": "What do 4 boats at $300 each cost?", "answer": "4*300=<<4*300=1200>>1200\n#### 1,200"},
        ),
    )
)
register(
    maths(
        name="svamp",
        source=Source(name="ChilleD/SVAMP", columns=("ID", "Body", "Question", "Answer")),
        to_examples=written(_asks("svamp", "Body", "Question"), _number("Answer"), key="question"),
        summary="SVAMP: small changes to simple word problems",
        licence="MIT",
        train_ok=True,
        schema="data card of ChilleD/SVAMP",
        sizes={"train": 700, "test": 300},
        sample=(
            {"ID": "made-1", "Body": "Ole has 9 nets.", "Question": "He mends 4. How many are torn?", "Answer": "5.0"},
        ),
    )
)
MAWPS = {"question": "Ida picked 2.5 kilos of plums and ate 0.5 . How many are left ?", "equation": "X=2.5-0.5"}
for _name, _hub, _config, _licence, _train_ok, _summary in (
    ("mawps", "sroy9/mawps", "default", "MIT", True, "MAWPS: simple word problems from several collections"),
    ("addsub", "allenai/lila", "addsub", "none stated", False, "AddSub: word problems of adding and taking away"),
    ("singleeq", "allenai/lila", "singleeq", "none stated", False, "SingleEq: word problems of one equation"),
):
    register(
        maths(
            name=_name,
            source=Source(name=_hub, config=_config, columns=("question", "answer")),
            to_examples=written(_asks(_name, "question"), _number("answer"), key="question"),
            summary=_summary,
            licence=_licence,
            train_ok=_train_ok,
            schema="question, equation and answer of the source's JSON files",
            sample=({**MAWPS, "answer": 2.0}, {**MAWPS, "question": "What is a third ?", "answer": 1 / 3}),
        )
    )
register(
    maths(
        name="multiarith",
        source=Source(name="ChilleD/MultiArith", columns=("question", "final_ans")),
        to_examples=written(_asks("multiarith", "question"), _number("final_ans"), key="question"),
        summary="MultiArith: word problems of several steps",
        licence="none stated",
        schema="data card of ChilleD/MultiArith",
        sizes={"train": 420, "test": 180},
        sample=({"question": "5 sheds hold 6 rakes each. 4 rakes are sold. How many stay?", "final_ans": "26.0"},),
    )
)
register(
    maths(
        name="aqua_rat",
        source=Source(name="deepmind/aqua_rat", config="raw", columns=("question", "options", "correct")),
        to_examples=multiple_choice("aqua_rat", ("question",), _aqua_options, by_name("correct", LETTERS)),
        metrics=chosen,
        summary="AQuA-RAT: algebra, 5 answers",
        licence="Apache-2.0",
        train_ok=True,
        schema="data card of deepmind/aqua_rat",
        sizes={"train": 97_467, "validation": 254, "test": 254},
        sample=(
            {"question": "If 2x = 14, what is x?", "options": ["A)5", "B)6", "C)7", "D)8", "E)9"], "correct": "C"},
        ),
    )
)
register(
    maths(
        name="math_qa",
        source=Source(name="allenai/math_qa", columns=("Problem", "options", "correct")),
        to_examples=multiple_choice(
            "math_qa", {"problem": "Problem"}, _math_qa_options, by_name("correct", tuple("abcde"))
        ),
        metrics=chosen,
        summary="MathQA: algebra, 5 answers",
        licence="Apache-2.0",
        train_ok=True,
        schema="data card of allenai/math_qa",
        sizes={"train": 29_837, "validation": 4_475, "test": 2_985},
        sample=(
            {
                "Problem": "what is 20 % of 60 ?",
                "options": "a ) 10 , b ) 12 , c ) 14 , d ) 1 , 000 , e ) none of these",
                "correct": "b",
            },
            {
                "Problem": "how are 3 and 6 related ?",
                "options": "['a ) 1 : 2', 'b ) 2 : 1', 'c ) 1 : 1', 'd ) 1 : 3', 'e ) 3 : 1']",
                "correct": "a",
            },
        ),
    )
)
register(
    maths(
        name="coin_flip",
        source=Source(name="kojima/zero_shot_cot", config="coin_flip", columns=("question", "answer")),
        to_examples=labelled("coin_flip", ("question",), YES_NO, label="answer", values=YES_NO),
        choices=YES_NO,
        metrics=by_label(YES_NO, accuracy),
        summary="whether a coin is still heads up after some people flipped it",
        licence="none stated",
        schema="JSON file of kojima-takeshi188/zero_shot_cot",
        sizes={"test": 500},
        sample=(
            {"question": "A coin is heads up. Ole flips the coin. Is the coin still heads up?", "answer": "no"},
            {"question": "A coin is heads up. Ida does not flip the coin. Is it still heads up?", "answer": "yes"},
        ),
    )
)
register(
    maths(
        name="last_letters",
        source=Source(name="kojima/zero_shot_cot", config="last_letters", columns=("question", "answer")),
        to_examples=written(
            _asks("last_letters", "question"), lambda row, origin: text_field(row, "answer", origin), key="question"
        ),
        metrics=by_text(exact_match),
        summary="the last letters of four names, put together",
        licence="none stated",
        schema="JSON file of kojima-takeshi188/zero_shot_cot",
        sizes={"test": 500},
        sample=({"question": 'Put together the last letters of "Ole Ida Maud Brook".', "answer": "eadk"},),
    )
)
