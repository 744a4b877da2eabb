"""Inference and fact checking beyond GLUE: ANLI, e-SNLI, AgreeSum, DocNLI and VitaminC.

Text form: T5's general form; e-SNLI as in WT5 (`explain nli hypothesis: … premise: …`, the label and then
`explanation: …`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textfer.batch import Example, Row
from textfer.data.fields import int_field, label_field, text_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import (
    UNKNOWN,
    by_label,
    key_values,
    labelled,
    row_id,
    stripped,
)
from textfer.metrics import accuracy, binary_f1, bleu, macro_f1

NLI = ("entailment", "neutral", "contradiction")
ENTAILED = ("not_entailment", "entailment")
VERDICTS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
MARK = "explanation:"


def _explained(row: Row, origin: str) -> Iterable[Example]:
    """An e-SNLI row: the label with its first explanation; the others are gold too."""
    texts = {key: text_field(row, key, origin) for key in ("premise", "hypothesis")}
    number = label_field(row, "label", origin, num_labels=len(NLI), unknown=-1)
    explanations = tuple(text for n in (1, 2, 3) if (text := text_field(row, f"explanation_{n}", origin)).strip())
    if number != -1 and not explanations:
        raise wrong("", "explanation_1", origin, "an explanation of the label")
    yield Example(
        inputs=key_values("explain nli", texts),
        targets=UNKNOWN if number == -1 else f"{NLI[number]} {MARK} {explanations[0]}",
        origin=origin,
        facts={"label": "" if number == -1 else NLI[number], "explanations": explanations},
        fields=texts,
    )


def explained(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`accuracy` of the label word that an answer begins with, and `bleu` of what follows `explanation:`."""
    parted = [str(answer).partition(MARK) for answer in answers]
    return {
        **accuracy([label.strip() for label, _, _ in parted], [example.facts["label"] for example in examples]),
        **bleu([text.strip() for _, _, text in parted], [list(example.facts["explanations"]) for example in examples]),
    }


def _agreement(row: Row, origin: str) -> Iterable[Example]:
    """An article and a summary of several; -1 = nobody has said, -2 = there is no such article: no example."""
    number = int_field(row, "label", origin)
    if number not in (-2, -1, 0, 1):
        raise wrong(number, "label", origin, "0 or 1 (-1 unlabelled, -2 no article)")
    texts = {key: text_field(row, key, origin) for key in ("article", "summary")}
    if number >= 0:
        yield Example(
            inputs=key_values("agreesum", texts),
            targets=ENTAILED[number],
            origin=origin,
            facts=row_id(row),
            fields=texts,
        )


WELL = "The well of Aldon Castle is forty feet deep and has been dry since the mill was closed."
PAIRS = (
    {"premise": WELL, "hypothesis": "There is no water in the well.", "label": 0},
    {"premise": WELL, "hypothesis": "The well was dug by monks.", "label": 1},
    {"premise": WELL, "hypothesis": "The well is full.", "label": 2},
)

for _round, _sizes in ((1, (16_946, 1_000, 1_000)), (2, (45_460, 1_000, 1_000)), (3, (100_459, 1_200, 1_200))):
    register(
        Task(
            name=f"anli_r{_round}",
            source=Source(
                name="facebook/anli",
                config="plain_text",
                columns=("uid", "premise", "hypothesis", "label"),
                splits={"train": f"train_r{_round}", "validation": f"dev_r{_round}", "test": f"test_r{_round}"},
            ),
            to_examples=labelled("anli", ("premise", "hypothesis"), NLI),
            choices=NLI,
            metrics=by_label(NLI, accuracy),
            answer=stripped,
            family="inference",
            summary=f"ANLI, round {_round}: inference on pairs that a model got wrong",
            licence="CC BY-NC 4.0",
            schema="code: huggingface/datasets:datasets/anli/anli.py",
            sizes=dict(zip(("train", "validation", "test"), _sizes, strict=True)),
            sample=tuple({"uid": f"aldon-{n}", **row} for n, row in enumerate(PAIRS)),
        )
    )
register(
    Task(
        name="esnli",
        source=Source(
            name="esnli/esnli",
            config="plain_text",
            columns=("premise", "hypothesis", "label", "explanation_1", "explanation_2", "explanation_3"),
        ),
        to_examples=_explained,
        metrics=explained,
        answer=stripped,
        family="inference",
        summary="e-SNLI: inference, and a reason for it in words",
        licence="none stated (SNLI text CC BY-SA 4.0)",
        schema="code: huggingface/datasets:datasets/esnli/esnli.py",
        sizes={"train": 549_367, "validation": 9_842, "test": 9_824},
        sample=tuple(
            {**row, "explanation_1": first, "explanation_2": second, "explanation_3": ""}
            for row, first, second in zip(
                PAIRS,
                (
                    "A dry well has no water in it.",
                    "Nothing is said of who dug the well.",
                    "A well that is dry cannot be full.",
                ),
                ("", "Monks are not named anywhere in it.", ""),
                strict=True,
            )
        ),
    )
)
register(
    Task(
        name="agreesum",
        source=Source(name="google-research-datasets/AgreeSum", columns=("article", "summary", "label")),
        to_examples=_agreement,
        choices=ENTAILED,
        metrics=by_label(ENTAILED, accuracy),
        answer=stripped,
        family="inference",
        summary="AgreeSum: does the article hold all that the summary says? The public files have links, not articles",
        licence="none stated",
        sizes={"train": 7_750},
        drops="articles that nobody has labelled (-1) and places without an article (-2)",
        sample=(
            {"article": WELL, "summary": "Aldon Castle's well is dry.", "label": 1},
            {"article": WELL, "summary": "Aldon Castle was sold and its well is dry.", "label": 0},
            {"article": WELL, "summary": "Nobody has looked at this one.", "label": -1},
            {"article": "", "summary": "There is no fourth article.", "label": -2},
        ),
    )
)
register(
    Task(
        name="docnli",
        source=Source(name="tasksource/doc-nli", columns=("premise", "hypothesis", "label")),
        to_examples=labelled("docnli", ("premise", "hypothesis"), ENTAILED, values=ENTAILED),
        choices=ENTAILED,
        metrics=by_label(ENTAILED, binary_f1, accuracy),
        answer=stripped,
        family="inference",
        summary="DocNLI: does the document entail the text?",
        licence="BSD (as the hub states)",
        schema="data card of tasksource/doc-nli",
        sizes={"train": 942_314, "validation": 234_258, "test": 267_086},
        sample=(
            {"premise": WELL, "hypothesis": "The well is dry.", "label": "entailment"},
            {"premise": WELL, "hypothesis": "The castle burnt down.", "label": "not_entailment"},
        ),
    )
)
register(
    Task(
        name="vitaminc",
        source=Source(name="tals/vitaminc", columns=("unique_id", "claim", "evidence", "label")),
        to_examples=labelled("vitaminc", ("claim", "evidence"), VERDICTS, values=VERDICTS),
        choices=VERDICTS,
        metrics=by_label(VERDICTS, accuracy, macro_f1(len(VERDICTS))),
        answer=stripped,
        family="inference",
        summary="VitaminC: is the claim right, by a sentence of Wikipedia before or after a change?",
        licence="CC BY-SA 3.0",
        train_ok=True,
        schema="code: TalSchuster/VitaminC:vitaminc/processing/multitask_sent_pair_cls.py",
        sizes={"train": 370_653},
        sample=(
            {
                "unique_id": "a1",
                "claim": "The mill closed before 1912.",
                "evidence": "It closed in 1911.",
                "label": "SUPPORTS",
            },
            {
                "unique_id": "a2",
                "claim": "The mill closed before 1912.",
                "evidence": "It closed in 1913.",
                "label": "REFUTES",
            },
            {
                "unique_id": "a3",
                "claim": "The mill was small.",
                "evidence": "It closed in 1911.",
                "label": "NOT ENOUGH INFO",
            },
        ),
    )
)
