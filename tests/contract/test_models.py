"""What every network must keep to. The registry is walked through; a line here makes one small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from textfer.models import MODELS
from textfer.testing import check_model

TINY = {"model_dim": 16, "num_layers": 2, "ff_dim": 24}
T5 = {**TINY, "head_dim": 6, "num_heads": 3}
ELMO = {"model_dim": 16, "num_layers": 2, "num_cells": 20, "char_dim": 4, "filters": [[1, 6], [3, 8]], "max_chars": 9}
BERT = {**TINY, "num_heads": 2, "max_positions": 32}
CASES: dict[str, list[dict[str, Any]]] = {
    "t5": [
        {**T5, "num_decoder_layers": 3},
        {**T5, "tie_output": True, "feed_forward": "relu"},
        {**T5, "share_stacks": True},
        {**T5, "arrangement": "causal"},
        {**T5, "arrangement": "prefix"},
    ],
    "gpt": [
        {**TINY, "num_heads": 2, "context_len": 32},
        {**TINY, "num_heads": 2, "context_len": 32, "tie_output": False},
    ],
    "bert": [
        {**BERT, "pooler": False, "next_sentence": False},
        BERT,
    ],
    "elmo": [ELMO, {**ELMO, "num_cells": 16, "cell_clip": None, "state_clip": None, "filters": [[2, 16]]}],
}
"""Options that make them small. A model that is not listed here is tried as it comes."""
HEADS = {"next_sentence": 2}
PAIRS = [(name, case) for name in MODELS.names() for case in CASES.get(name, [{}])]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("name", "options"), PAIRS, ids=lambda part: part if isinstance(part, str) else "")
def test_it_keeps_the_contract(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    learns_pairs = name == "bert" and options.get("next_sentence", True)
    check_model(name, options, tmp_path, heads=HEADS if learns_pairs else None)
