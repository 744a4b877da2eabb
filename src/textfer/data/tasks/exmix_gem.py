"""GEM's English data-to-text, dialogue, simplification and summarisation sets: the eight that ExT5 trains on.

Structured inputs are said as lists: triples as `subject | relation | object; …`, table cells as `value; …`, dialogue
acts as `INFORM city = Aldon; …`. In train rows every gold text has a row of its own; in the others `references` holds
them all, and test rows may have none.

**Source**: ExT5's own texts are not known; T5's general form is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from textfer.batch import Row
from textfer.data.fields import field, label_field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import Marking, answered, by_text, key_values, led_by, stripped
from textfer.metrics import bleu, rouge

ACTS = (
    "AFFIRM",
    "AFFIRM_INTENT",
    "CONFIRM",
    "GOODBYE",
    "INFORM",
    "INFORM_COUNT",
    "INFORM_INTENT",
    "NEGATE",
    "NEGATE_INTENT",
    "NOTIFY_FAILURE",
    "NOTIFY_SUCCESS",
    "OFFER",
    "OFFER_INTENT",
    "REQUEST",
    "REQUEST_ALTS",
    "REQ_MORE",
    "SELECT",
    "THANK_YOU",
)
BETWEEN = "; "
TO_TEXT = by_text(bleu, rouge)

Texts = Callable[[Row, str], Mapping[str, str]]


class Part(NamedTuple):
    """What the tasks differ in."""

    config: str
    texts: Texts
    columns: tuple[str, ...]
    """Without those that all configs have."""
    summary: str
    sizes: Mapping[str, int]
    sample: tuple[tuple[Row, tuple[str, ...]], ...]
    """(the columns, gold texts)."""
    name: str = ""
    """Where it is not the config's."""
    metrics: Marking = TO_TEXT
    splits: Mapping[str, str] = {}


def golds_of(row: Row, origin: str) -> tuple[str, ...]:
    """The gold texts: `references`, or else the row's own `target`."""
    target = text_field(row, "target", origin)
    return texts_field(row, "references", origin) or (target,)


def _columns(columns: Mapping[str, str], row: Row, origin: str) -> dict[str, str]:
    """{key: text} of {key: column}."""
    return {key: text_field(row, column, origin) for key, column in columns.items()}


def _list(row: Row, name: str, origin: str) -> list[object]:
    value = field(row, name, origin)
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise wrong(value, name, origin, "a list")
    return list(value)


def _concepts(row: Row, origin: str) -> dict[str, str]:
    return {"concepts": BETWEEN.join(texts_field(row, "concepts", origin))}


def _dart(row: Row, origin: str) -> dict[str, str]:
    triples = _list(row, "tripleset", origin)
    for triple in triples:
        if not isinstance(triple, Sequence) or [type(part) for part in triple] != [str] * 3:
            raise wrong(triple, "tripleset", origin, "only lists of three texts")
    return {"triples": BETWEEN.join(" | ".join(triple) for triple in triples)}  # type: ignore[arg-type]


def _web_nlg(row: Row, origin: str) -> dict[str, str]:
    return {"triples": BETWEEN.join(texts_field(row, "input", origin))}


def _acts(row: Row, origin: str) -> dict[str, str]:
    said = []
    for act in _list(row, "dialog_acts", origin):
        if not isinstance(act, Mapping):
            raise wrong(act, "dialog_acts", origin, "only entries with act, slot and values")
        at = f"{origin}: field 'dialog_acts'"
        name = ACTS[label_field(act, "act", at, num_labels=len(ACTS))]
        slot, values = text_field(act, "slot", at), texts_field(act, "values", at)
        said.append(" ".join([name, *([slot] if slot else []), *(["=", " / ".join(values)] if values else [])]))
    return {"acts": BETWEEN.join(said), **_columns({"prompt": "prompt", "service": "service"}, row, origin)}


def _cells(row: Row, origin: str) -> dict[str, str]:
    table = _list(row, "table", origin)
    cells = []
    for place in _list(row, "highlighted_cells", origin):
        try:
            line, column = place  # type: ignore[misc]
            cell = table[line][column]["value"]  # type: ignore[has-type, index]
        except (TypeError, ValueError, LookupError):
            raise wrong(place, "highlighted_cells", origin, "only places [line, column] of cells of 'table'") from None
        if not isinstance(cell, str):
            raise wrong(cell, "table", origin, "only cells with a text 'value'")
        cells.append(cell)
    titles = {"page_title": "table_page_title", "section_title": "table_section_title"}
    return {"cells": BETWEEN.join(cells), **_columns(titles, row, origin)}


def _summary(texts: Mapping[str, str]) -> str:
    return f"summarize: {texts['text']}"


CELL = {"column_span": 1, "row_span": 1}
TABLE = [
    [{**CELL, "is_header": True, "value": value} for value in ("Year", "Title")],
    [{**CELL, "is_header": False, "value": value} for value in ("1911", "The Glass Orchard")],
]
PARTS = (
    Part(
        "common_gen",
        _concepts,
        ("concepts",),
        "CommonGen: a sentence of everyday life with all the given words",
        {"train": 67_389, "validation": 993, "test": 1_497},
        (
            ({"concepts": ["dog", "ball", "river"]}, ("A dog swims in the river for its ball.",)),
            ({"concepts": ["cook", "soup"]}, ("The cook tastes the soup.", "A cook stirs a pot of soup.")),
        ),
    ),
    Part(
        "dart",
        _dart,
        ("tripleset",),
        "DART: triples said as text",
        {"train": 62_659, "validation": 2_768, "test": 5_097},
        (
            ({"tripleset": [["Aldon", "RIVER", "Orle"]]}, ("The river Orle runs through Aldon.",)),
            (
                {"tripleset": [["Orle Mill", "BUILT", "1843"], ["Orle Mill", "CLOSED", "1911"]]},
                ("Orle Mill was built in 1843 and closed in 1911.",),
            ),
        ),
    ),
    Part(
        "e2e_nlg",
        partial(_columns, {"meaning": "meaning_representation"}),
        ("meaning_representation",),
        "E2E, cleaned: what is known of a restaurant, as text",
        {"train": 33_525, "validation": 4_299, "test": 4_693},
        (
            (
                {"meaning_representation": "name[Blue Boar], food[French], area[riverside]"},
                ("Blue Boar serves French food by the riverside.",),
            ),
            (
                {"meaning_representation": "name[Blue Boar], customer rating[low]"},
                ("Blue Boar has a low customer rating.",),
            ),
        ),
    ),
    Part(
        "schema_guided_dialog",
        _acts,
        ("dialog_acts", "prompt", "service"),
        "Schema-Guided Dialogue: what the assistant means, as text",
        {"train": 164_982, "validation": 10_000, "test": 10_000},
        (
            (
                {
                    "dialog_acts": [
                        {"act": 11, "slot": "restaurant_name", "values": ["Blue Boar"]},
                        {"act": 15, "slot": "", "values": []},
                    ],
                    "prompt": "I would like to eat in Aldon.",
                    "service": "Restaurants_1",
                },
                ("How about the Blue Boar? Is there anything else you need?",),
            ),
            (
                {
                    "dialog_acts": [{"act": 13, "slot": "city", "values": []}],
                    "prompt": "Find me a table.",
                    "service": "Restaurants_1",
                },
                ("In which city shall I look?",),
            ),
        ),
    ),
    Part(
        "totto",
        _cells,
        ("table", "highlighted_cells", "table_page_title", "table_section_title"),
        "ToTTo: the marked cells of a table, as a sentence",
        {"train": 121_153, "validation": 7_700, "test": 7_700},
        tuple(
            (
                {
                    "table": TABLE,
                    "highlighted_cells": cells,
                    "table_page_title": "Maud Hale",
                    "table_section_title": "Works",
                },
                (gold,),
            )
            for cells, gold in (
                ([[1, 0], [1, 1]], "Maud Hale wrote The Glass Orchard in 1911."),
                ([[1, 1]], "The Glass Orchard is by Maud Hale."),
            )
        ),
    ),
    Part(
        "web_nlg_en",
        _web_nlg,
        ("input",),
        "WebNLG, English: triples of DBpedia said as text",
        {"train": 35_426, "validation": 1_667, "test": 1_779},
        (
            ({"input": ["Aldon | river | Orle"]}, ("Aldon lies on the Orle.", "The Orle flows through Aldon.")),
            (
                {"input": ["Ada_Thorn | occupation | Engineer", "Ada_Thorn | birthPlace | Aldon"]},
                ("Ada Thorn, an engineer, was born in Aldon.",),
            ),
        ),
    ),
    Part(
        "wiki_auto_asset_turk",
        partial(_columns, {"text": "source"}),
        ("source",),
        "WikiAuto: the same in simpler words; the test split is ASSET's, `test_turk` is TurkCorpus's",
        {"train": 483_801, "validation": 20_000, "test": 359, "test_turk": 359},
        (
            (
                {"source": "The edifice was erected in 1203 at the behest of the queen."},
                ("The queen had it built in 1203.",),
            ),
            ({"source": "He perished shortly thereafter."}, ("He died soon after.",)),
        ),
        splits={"test": "test_asset"},
    ),
    Part(
        "wiki_lingua_english_en",
        partial(_columns, {"text": "source"}),
        ("source",),
        "WikiLingua, English: what a how-to guide says, in short",
        {"train": 99_020, "validation": 13_823, "test": 28_614},
        (
            (
                {"source": "Fill the kettle to the line. Then wait until it boils, and pour it on the leaves."},
                ("Boil water. Pour it on the leaves.",),
            ),
            (
                {"source": "Hold the nail low down with two fingers. Tap it gently until it stands by itself."},
                ("Hold the nail low. Tap it gently.",),
            ),
        ),
        name="gem_wiki_lingua_en",
        metrics=by_text(led_by("rouge2", rouge), bleu),
    ),
)


def _rows(part: Part) -> tuple[Row, ...]:
    """Rows as the hub has them: of train (one gold text each), validation (all of them) and test (none)."""
    return tuple(
        {"gem_id": f"{part.config}-{split}-{number}", **columns, "target": target, "references": references}
        for number, (columns, golds) in enumerate(part.sample)
        for split, target, references in (("train", golds[0], []), ("validation", golds[0], [*golds]), ("test", "", []))
    )


for _part in PARTS:
    _name = _part.name or f"gem_{_part.config}"
    _say = _summary if "lingua" in _name else partial(key_values, _name)
    register(
        Task(
            name=_name,
            source=Source(
                name="GEM/gem",
                config=_part.config,
                columns=("gem_id", *_part.columns, "target", "references"),
                splits=_part.splits,
            ),
            to_examples=answered(_say, _part.texts, golds_of),
            metrics=_part.metrics,
            answer=stripped,
            family="generation",
            summary=_part.summary,
            licence="CC BY-SA 4.0 (as the hub states for all; each set has its own terms too)",
            schema="code: huggingface/datasets:datasets/gem/gem.py",
            sizes=_part.sizes,
            sample=_rows(_part),
        )
    )
