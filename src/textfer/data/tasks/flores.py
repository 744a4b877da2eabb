"""FLORES-200: the same sentences of Wikimedia sites in many languages, said as T5 says its WMT tasks.

`dev` is the train split here, `devtest` the test split. Into Chinese chrF leads and BLEU is left out: it counts words,
and Chinese text has no spaces between them. T5's own vocabulary knows English, German, French and Romanian only.
"""

from __future__ import annotations

from collections.abc import Callable

from textfer.batch import Row
from textfer.data.fields import text_field
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import by_text, stripped, written
from textfer.metrics import bleu, chrf

ENGLISH = ("en", "English", "eng_Latn")
OTHERS = (
    ("de", "German", "deu_Latn"),
    ("fr", "French", "fra_Latn"),
    ("ro", "Romanian", "ron_Latn"),
    ("es", "Spanish", "spa_Latn"),
    ("zh", "Chinese", "zho_Hans"),
)
SAMPLE = (
    {
        "id": 1,
        "sentence_eng_Latn": "The mill stands on a small river near the town.",
        "sentence_deu_Latn": "Die Mühle steht an einem kleinen Fluss bei der Stadt.",
        "sentence_fra_Latn": "Le moulin se trouve sur une petite rivière près de la ville.",
        "sentence_ron_Latn": "Moara se află pe un râu mic lângă oraș.",
        "sentence_spa_Latn": "El molino está junto a un río pequeño cerca de la ciudad.",
        "sentence_zho_Hans": "磨坊坐落在城镇附近的一条小河边。",
    },
)


def _said(column: str, before: str = "") -> Callable[[Row, str], str]:
    return lambda row, origin: before + text_field(row, column, origin).strip()


for _other in OTHERS:
    for (_from, _from_name, _from_code), (_to, _to_name, _to_code) in ((ENGLISH, _other), (_other, ENGLISH)):
        _columns = (f"sentence_{_from_code}", f"sentence_{_to_code}")
        register(
            Task(
                name=f"flores_{_from}_{_to}",
                source=Source(
                    name="facebook/flores",
                    config="all",
                    columns=("id", *_columns),
                    splits={"train": "dev", "test": "devtest"},
                ),
                to_examples=written(
                    _said(_columns[0], f"translate {_from_name} to {_to_name}: "), _said(_columns[1]), key="source"
                ),
                metrics=by_text(chrf) if _to == "zh" else by_text(bleu, chrf),
                answer=stripped,
                family="translation",
                summary=f"FLORES-200: {_from_name} to {_to_name}",
                licence="CC BY-SA 4.0",
                train_ok=True,
                schema="data card of facebook/flores",
                sizes={"train": 997, "test": 1_012},
                sample=SAMPLE,
            )
        )
