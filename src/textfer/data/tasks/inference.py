"""Inference outside the suites: entailment, relatedness, claims and evidence, medical abstracts, yes or no."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from textfer.batch import Example, Row
from textfer.data.fields import float_field, text_field, texts_field
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import by_label, by_text, key_values, labelled, row_id, stripped, written
from textfer.metrics import accuracy, macro_f1, pearson, rouge, spearman

NLI = ("entailment", "neutral", "contradiction")
VERDICTS = ("refutes", "supports")
DECISIONS = ("yes", "no", "maybe")
TRUTH = ("False", "True")
INVALID = -1.0
"""The number for an answer that is none, as T5 has it for STS-B."""

_fever_form = labelled("fever_gold_evidence", ("claim", "evidence"), VERDICTS)
_decision_form = labelled("pubmed_qa", ("context", "question"), DECISIONS, label="final_decision", values=DECISIONS)


def _relatedness(row: Row, origin: str) -> Iterable[Example]:
    texts = {key: text_field(row, f"sentence_{key[-1].upper()}", origin) for key in ("sentence_a", "sentence_b")}
    score = float_field(row, "relatedness_score", origin)
    yield Example(
        inputs=key_values("sick_relatedness", texts),
        targets=f"{score:.1f}",
        origin=origin,
        facts=row_id(row),
        fields=texts,
        number=score,
    )


def _correlations(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """Against the scores as they are told in text, to one decimal."""
    found = [number(str(answer)) for answer in answers]
    golds = [float(example.targets) for example in examples]
    return {**pearson(found, golds), **spearman(found, golds)}


def number(text: str) -> float:
    """The number that a text is, or -1."""
    try:
        value = float(text)
    except ValueError:
        return INVALID
    return value if math.isfinite(value) else INVALID


def _fever(row: Row, origin: str) -> Iterable[Example]:
    return _fever_form({**row, "evidence": " ".join(texts_field(row, "evidence", origin))}, origin)


def _abstract(row: Row, origin: str) -> str:
    return " ".join(texts_field(row, "context.contexts", origin))


def _decision(row: Row, origin: str) -> Iterable[Example]:
    return _decision_form({**row, "context": _abstract(row, origin)}, origin)


def _long_question(row: Row, origin: str) -> str:
    texts = {"context": _abstract(row, origin), "question": text_field(row, "question", origin)}
    return key_values("pubmed_qa_long_answer", texts)


register(
    Task(
        name="counterfactual_nli",
        source=Source(
            name="acmi-lab/counterfactually-augmented-data",
            config="nli",
            columns=("premise", "hypothesis", "label"),
        ),
        to_examples=labelled("counterfactual_nli", ("premise", "hypothesis"), NLI),
        choices=NLI,
        metrics=by_label(NLI, accuracy),
        answer=stripped,
        family="NLI",
        summary="SNLI pairs and what people made of them by the least change that turns the verdict",
        licence="Apache-2.0 (SNLI text CC BY-SA 4.0)",
        train_ok=True,
        schema="columns of the source's TSV files, labels as classes",
        sample=(
            {"premise": "A girl feeds a goat.", "hypothesis": "A child feeds an animal.", "label": 0},
            {"premise": "A girl feeds a goat.", "hypothesis": "A girl feeds her goat.", "label": 1},
            {"premise": "A girl feeds a goat.", "hypothesis": "A girl feeds a hen.", "label": 2},
        ),
    )
)

SICK_PAIR = {
    "id": "1",
    "sentence_A": "A man is painting a boat",
    "sentence_B": "A boat is being painted by a man",
    "label": 0,
    "relatedness_score": 4.9,
}
SICK_SAMPLE = (
    SICK_PAIR,
    {**SICK_PAIR, "sentence_B": "A man is painting a boat blue", "label": 1, "relatedness_score": 4.215},
    {**SICK_PAIR, "sentence_B": "There is no man painting a boat", "label": 2, "relatedness_score": 3.6},
)
SICK_SIZES = {"train": 4_439, "validation": 495, "test": 4_906}
register(
    Task(
        name="sick",
        source=Source(name="RobZamp/sick", columns=("id", "sentence_A", "sentence_B", "label")),
        to_examples=labelled("sick", {"sentence_a": "sentence_A", "sentence_b": "sentence_B"}, NLI),
        choices=NLI,
        metrics=by_label(NLI, accuracy),
        answer=stripped,
        family="NLI",
        summary="SICK: entailment between descriptions of pictures and films",
        licence="CC BY-NC-SA 3.0",
        schema="data card of RobZamp/sick",
        sizes=SICK_SIZES,
        sample=SICK_SAMPLE,
    )
)
register(
    Task(
        name="sick_relatedness",
        source=Source(name="RobZamp/sick", columns=("id", "sentence_A", "sentence_B", "relatedness_score")),
        to_examples=_relatedness,
        metrics=_correlations,
        answer=stripped,
        family="NLI",
        summary="SICK: how related two sentences are, from 1 to 5",
        licence="CC BY-NC-SA 3.0",
        schema="data card of RobZamp/sick",
        sizes=SICK_SIZES,
        sample=SICK_SAMPLE,
    )
)
register(
    Task(
        name="fever_gold_evidence",
        source=Source(name="fever/fever_gold_evidence", columns=("claim", "label", "evidence")),
        to_examples=_fever,
        choices=VERDICTS,
        metrics=by_label(VERDICTS, accuracy),
        answer=stripped,
        family="fact checking",
        summary="FEVER: whether sentences of Wikipedia support or refute a claim",
        licence="CC BY-SA 3.0",
        train_ok=True,
        schema="claims of FEVER with their gold sentences; no data set of this form elsewhere",
        sample=(
            {
                "claim": "Orla Finch was a pilot.",
                "label": 1,
                "evidence": ["Finch flew mail planes .", "She was a pilot ."],
            },
            {"claim": "Orla Finch never flew.", "label": 0, "evidence": ["Finch flew mail planes ."]},
        ),
    )
)

TRIAL = {
    "pubid": 1,
    "question": "Does walking before bed help people to sleep?",
    "context": {"contexts": ["Forty people kept a diary.", "Half of them took a walk every evening."]},
    "long_answer": "Those who walked slept longer.",
    "final_decision": "yes",
}
register(
    Task(
        name="pubmed_qa",
        source=Source(
            name="qiaojin/PubMedQA", config="pqa_labeled", columns=("pubid", "question", "context", "final_decision")
        ),
        to_examples=_decision,
        choices=DECISIONS,
        metrics=by_label(DECISIONS, accuracy, macro_f1(len(DECISIONS))),
        answer=stripped,
        family="boolean and multiple-choice reading",
        summary="PubMedQA: yes, no or maybe to the question that a medical abstract asks",
        licence="MIT",
        train_ok=True,
        schema="data card of qiaojin/PubMedQA",
        sizes={"train": 1_000},
        sample=tuple({**TRIAL, "final_decision": decision} for decision in DECISIONS),
    )
)
register(
    Task(
        name="pubmed_qa_long_answer",
        source=Source(
            name="qiaojin/PubMedQA", config="pqa_labeled", columns=("pubid", "question", "context", "long_answer")
        ),
        to_examples=written(_long_question, lambda row, origin: text_field(row, "long_answer", origin)),
        metrics=by_text(rouge),
        answer=stripped,
        family="boolean and multiple-choice reading",
        summary="PubMedQA: the conclusion of a medical abstract",
        licence="MIT",
        train_ok=True,
        schema="data card of qiaojin/PubMedQA",
        sizes={"train": 1_000},
        sample=(TRIAL,),
    )
)
register(
    Task(
        name="strategy_qa",
        source=Source(name="wics/strategy-qa", columns=("question", "answer")),
        to_examples=labelled("strategy_qa", ("question",), TRUTH, label="answer", values=(False, True)),
        choices=TRUTH,
        metrics=by_label(TRUTH, accuracy),
        answer=stripped,
        family="commonsense and science",
        summary="StrategyQA: yes-or-no questions that take several steps of thought",
        licence="MIT; carries the BIG-bench canary: keep out of training",
        schema="data card of wics/strategy-qa",
        sample=(
            {"question": "Could a penguin win a flying race?", "answer": False},
            {"question": "Can a candle light a windowless cellar?", "answer": True},
        ),
    )
)
