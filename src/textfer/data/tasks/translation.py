"""Translation: WMT and Multi30k, said as `translate English to German: …`.

The names of WMT's tasks are T5's; T5 trains on `wmt_t2t_ende`, `wmt15_enfr` and `wmt16_enro`.

**Source**: `translate` of t5/data/preprocessors.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textfer.batch import Example, Row
from textfer.data.fields import text_field
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import ToExamples, by_text, row_id, stripped
from textfer.metrics import bleu, chrf

LANGUAGES = {
    "cs": "Czech",
    "de": "German",
    "en": "English",
    "fr": "French",
    "ro": "Romanian",
}
FAMILY = "translation"
DROPS = "rows with a blank side"


def translation_inputs(text: str, ours: str, theirs: str) -> str:
    """`translate English to German: …`, by the codes of both languages."""
    return f"translate {LANGUAGES[ours]} to {LANGUAGES[theirs]}: {text}"


def translated(columns: Mapping[str, str], ours: str, theirs: str) -> ToExamples:
    """Rows with a text in several languages, from one into another. `columns` says where each language stands."""

    def examples(row: Row, origin: str) -> Iterable[Example]:
        text, gold = text_field(row, columns[ours], origin), text_field(row, columns[theirs], origin)
        if text.strip() and gold.strip():
            yield Example(
                inputs=translation_inputs(text, ours, theirs),
                targets=gold,
                origin=origin,
                facts={**row_id(row), "answers": (gold,)},
                fields={"text": text},
            )

    return examples


def _sizes(train: int, validation: int, test: int = 0) -> dict[str, int]:
    found = {"train": train, "validation": validation, "test": test}
    return {split: size for split, size in found.items() if size}


def _pairs(*others: str) -> list[tuple[str, str]]:
    """English into each of the others and back."""
    return [pair for other in others for pair in (("en", other), (other, "en"))]


WMT = (
    ("wmt_t2t_ende", "wmt/wmt_t2t", "de", _sizes(4_592_289, 3_000, 3_003)),
    ("wmt14_ende", "wmt/wmt14", "de", _sizes(4_508_785, 3_000, 3_003)),
    ("wmt14_enfr", "wmt/wmt14", "fr", _sizes(40_836_715, 3_000, 3_003)),
    ("wmt15_enfr", "wmt/wmt15", "fr", _sizes(40_853_137, 4_503, 1_500)),
    ("wmt16_enro", "wmt/wmt16", "ro", _sizes(610_320, 1_999, 1_999)),
    ("wmt19_ende", "wmt/wmt19", "de", _sizes(34_782_245, 2_998)),
)
WELL = {
    "cs": "Studna je suchá.",
    "de": "Der Brunnen ist trocken.",
    "en": "The well is dry.",
    "fr": "Le puits est à sec.",
    "ro": "Fântâna este secată.",
}
MILL = {
    "cs": "Mlýn včera shořel.",
    "de": "Die Mühle ist gestern abgebrannt.",
    "en": "The mill burnt down yesterday.",
    "fr": "Le moulin a brûlé hier.",
    "ro": "Moara a ars ieri.",
}
for _name, _source, _other, _rows in WMT:
    _config = f"{_other}-en"
    register(
        Task(
            name=_name,
            source=Source(name=_source, config=_config, columns=("translation",)),
            to_examples=translated({code: f"translation.{code}" for code in ("en", _other)}, "en", _other),
            metrics=by_text(bleu, chrf),
            answer=stripped,
            family=FAMILY,
            summary=f"{_source.removeprefix('wmt/').upper()}: English to {LANGUAGES[_other]}",
            licence="none stated (each corpus has its own terms)",
            schema=f"data card of {_source}",
            sizes=_rows,
            drops=DROPS,
            sample=(
                *({"translation": {code: row[code] for code in ("en", _other)}} for row in (WELL, MILL)),
                {"translation": {"en": "Nothing.", _other: ""}},
            ),
        )
    )

for _ours, _theirs in _pairs("de", "fr", "cs"):
    register(
        Task(
            name=f"multi30k_{_ours}_{_theirs}",
            source=Source(name="bentrevett/multi30k", columns=(_ours, _theirs)),
            to_examples=translated({code: code for code in (_ours, _theirs)}, _ours, _theirs),
            metrics=by_text(bleu, chrf),
            answer=stripped,
            family=FAMILY,
            summary=f"Multi30k: captions of pictures, {LANGUAGES[_ours]} to {LANGUAGES[_theirs]}",
            licence="CC BY-NC-SA 4.0",
            schema="data card of bentrevett/multi30k"
            if {_ours, _theirs} == {"de", "en"}
            else "a data folder that adds the columns fr and cs; bentrevett/multi30k on the hub has de and en",
            sizes=_sizes(29_000, 1_014, 1_000),
            drops=DROPS,
            sample=tuple({code: row[code] for code in (_ours, _theirs)} for row in (WELL, MILL)),
        )
    )
