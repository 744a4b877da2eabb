"""Grammar as correction: JFLEG, sentences of learners with four people's corrections of each.

JFLEG's own measure is GLEU, which takes off marks for what was wrong and stays; it is not computed here. BLEU over the
four corrections gives much credit to a sentence that is left as it is, so `copied_bleu` tells what that would get.
"""

from __future__ import annotations

from collections.abc import Sequence

from textfer.batch import Example, Row
from textfer.data.fields import text_field, texts_field
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import by_text, key_values, stripped, written
from textfer.metrics import bleu, exact_match


def _corrections(row: Row, origin: str) -> Sequence[str]:
    return [text.strip() for text in texts_field(row, "corrections", origin) if text.strip()]


def correction_scores(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`bleu` and `exact_match` of the answers, and `copied_bleu`: that of the sentences with nothing corrected."""
    copies = [example.inputs.removeprefix("jfleg sentence: ") for example in examples]
    return {
        **by_text(bleu, exact_match)(answers, examples),
        "copied_bleu": by_text(bleu)(copies, examples)["bleu"],
    }


register(
    Task(
        name="jfleg",
        source=Source(name="jhu-clsp/jfleg", columns=("sentence", "corrections")),
        to_examples=written(
            lambda row, origin: key_values("jfleg", {"sentence": text_field(row, "sentence", origin).strip()}),
            _corrections,
            key="sentence",
        ),
        metrics=correction_scores,
        answer=stripped,
        family="grammar",
        summary="JFLEG: sentences of learners of English made correct and fluent",
        licence="CC BY-NC-SA 4.0",
        schema="data card of jhu-clsp/jfleg",
        sizes={"validation": 755, "test": 748},
        sample=(
            {
                "sentence": "The goat have ate all of flower . ",
                "corrections": ["The goat has eaten all of the flowers . ", "The goat ate all the flowers . ", ""],
            },
        ),
    )
)
