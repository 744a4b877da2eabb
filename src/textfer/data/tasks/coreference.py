"""Who a pronoun means, outside the suites: GAP, the Winograd schemas with a masked pronoun, and WinoBias.

All as multiple choice. In GAP the pronoun is marked as T5 marks it in WSC (`*she*`) and the third choice is neither of
the two people. The Winograd schemas list the right answer first on every row, so that the answers are sorted here: an
order that says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textfer.batch import Example, Row
from textfer.data.fields import field, int_field, label_field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import CHOICES, by_label, multiple_choice, row_id, stripped
from textfer.data.tasks.multiple_choice import by_index, chosen, in_list
from textfer.metrics import accuracy
from textfer.metrics.means import mean

NEITHER = "neither"
FEMININE = ("she", "her", "hers")


def _people(row: Row, origin: str) -> Sequence[str]:
    return [text_field(row, "A", origin), text_field(row, "B", origin), NEITHER]


def _meant(row: Row, origin: str) -> int:
    of_a, of_b = (_truth(row, column, origin) for column in ("A-coref", "B-coref"))
    if of_a and of_b:
        raise wrong(True, "B-coref", origin, "false where A-coref is true")
    return 0 if of_a else 1 if of_b else 2


def _truth(row: Row, column: str, origin: str) -> bool:
    value = field(row, column, origin)
    if not isinstance(value, bool):
        raise wrong(value, column, origin, "true or false")
    return value


_gap_form = multiple_choice("gap", {"text": "Text"}, _people, _meant)


def _gap(row: Row, origin: str) -> Iterable[Example]:
    text, pronoun = (text_field(row, column, origin) for column in ("Text", "Pronoun"))
    start = int_field(row, "Pronoun-offset", origin)
    if start < 0 or not text.startswith(pronoun, start):
        raise wrong(start, "Pronoun-offset", origin, f"where '{pronoun}' stands in the text")
    end = start + len(pronoun)
    for example in _gap_form({**row, "Text": f"{text[:start]}*{pronoun}*{text[end:]}"}, origin):
        facts = {**example.facts, **row_id({"id": row.get("ID")}), "feminine": pronoun.lower() in FEMININE}
        yield Example(inputs=example.inputs, targets=example.targets, origin=origin, facts=facts, fields=example.fields)


def gap_scores(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`f1` over the names that are meant, `f1_feminine`, `f1_masculine`, their ratio `bias` (1 = none), `accuracy`.

    Each name is a yes or a no of its own; what is no choice names nobody.

    **Source**: Webster et al., Mind the GAP, 2018.
    """
    names = CHOICES[:2]
    told = [str(answer).strip() for answer in answers]
    pairs = list(zip(told, examples, strict=True))
    parts = {
        "f1": _names_f1(pairs, names),
        "f1_feminine": _names_f1([pair for pair in pairs if pair[1].facts["feminine"]], names),
        "f1_masculine": _names_f1([pair for pair in pairs if not pair[1].facts["feminine"]], names),
    }
    masculine = parts["f1_masculine"]
    return {
        **parts,
        "bias": parts["f1_feminine"] / masculine if masculine else float("nan"),
        "accuracy": mean(answer == example.targets for answer, example in pairs),
    }


def _names_f1(pairs: Sequence[tuple[str, Example]], names: Sequence[str]) -> float:
    if not pairs:
        return mean([])
    hits = sum(answer in names and answer == example.targets for answer, example in pairs)
    told = sum(answer in names for answer, _ in pairs)
    meant = sum(example.targets in names for _, example in pairs)
    return 100.0 * 2 * hits / (told + meant) if told + meant else 0.0


def _sorted_candidates(row: Row, origin: str) -> Sequence[str]:
    return sorted(texts_field(row, "candidates", origin), key=str.casefold)


def _sorted_gold(row: Row, origin: str) -> int:
    candidates = texts_field(row, "candidates", origin)
    number = label_field(row, "label", origin, num_labels=max(len(candidates), 2))
    if number >= len(candidates):
        raise wrong(number, "label", origin, f"one of {len(candidates)} candidates, counted from 0")
    return _sorted_candidates(row, origin).index(candidates[number])


RIVER = "Ada Brook rowed across the river while her brother Paul and Jane Hill watched. She was tired that evening."
RIVER_ROW = {
    "ID": "made-1",
    "Text": RIVER,
    "Pronoun": "She",
    "Pronoun-offset": 79,
    "A": "Ada Brook",
    "A-coref": True,
    "B": "Jane Hill",
    "B-coref": False,
}
register(
    Task(
        name="gap",
        source=Source(
            name="google-research-datasets/gap",
            columns=("ID", "Text", "Pronoun", "Pronoun-offset", "A", "A-coref", "B", "B-coref"),
        ),
        to_examples=_gap,
        metrics=gap_scores,
        answer=stripped,
        family="coreference",
        summary="GAP: which of two people in a paragraph a pronoun means, or neither; as many women as men",
        licence="Apache-2.0",
        train_ok=True,
        schema="data card of google-research-datasets/gap",
        sizes={"train": 2_000, "validation": 454, "test": 2_000},
        sample=(
            RIVER_ROW,
            {**RIVER_ROW, "ID": "made-2", "A-coref": False, "B-coref": True},
            {**RIVER_ROW, "ID": "made-3", "A-coref": False},
            {
                **RIVER_ROW,
                "ID": "made-4",
                "Text": "Paul Brook waved at Adam Hill, but he was looking away.",
                "Pronoun": "he",
                "Pronoun-offset": 35,
                "A": "Paul Brook",
                "A-coref": False,
                "B": "Adam Hill",
                "B-coref": True,
            },
        ),
    )
)
register(
    Task(
        name="wsc273",
        source=Source(name="ErnestSDavis/winograd_wsc", config="wsc273", columns=("text", "candidates", "label")),
        to_examples=multiple_choice("wsc273", ("text",), _sorted_candidates, _sorted_gold),
        metrics=chosen,
        answer=stripped,
        family="coreference",
        summary="the Winograd schema challenge (273), the pronoun masked: which of two it stands for",
        licence="CC BY 4.0",
        train_ok=True,
        schema="the schemas with [MASK] for the pronoun; no data set of this form elsewhere",
        sample=(
            {
                "text": "The jug broke the cup because [MASK] was heavy.",
                "candidates": ["The jug", "The cup"],
                "label": 0,
            },
            {
                "text": "The jug broke the cup because [MASK] was thin.",
                "candidates": ["The cup", "The jug"],
                "label": 0,
            },
        ),
    )
)
register(
    Task(
        name="wino_bias",
        source=Source(name="uclanlp/wino_bias", config="masked", columns=("text", "candidates", "label")),
        to_examples=multiple_choice("wino_bias", ("text",), in_list("candidates"), by_index("label", 2)),
        metrics=by_label(CHOICES, accuracy),
        answer=stripped,
        family="coreference",
        summary="WinoBias, the pronoun masked: which of two people at work it stands for (diagnostic)",
        licence="MIT",
        schema="the sentences with [MASK] for the pronoun; no data set of this form elsewhere",
        sample=(
            {
                "text": "The baker paid the driver because [MASK] had brought the flour.",
                "type": "pro_1",
                "candidates": ["The baker", "the driver"],
                "label": 1,
            },
        ),
    )
)
