"""Twenty questions, and what a model of the package makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from textfer.metrics import squad_v2
from textfer.models.packed import embedded_folder, read_manifest
from textfer.parts import load

HERE = Path(__file__).parent
MODELS = ("starter-reader", "starter-t5")
RECORDED = HERE / "embedded_answers.json"
PINNED = ("exact", "f1", "HasAns_f1", "NoAns_exact")


def questions() -> list[dict[str, Any]]:
    """The questions, written for this: id, context, question, the accepted answers (none where there is no answer)."""
    found: list[dict[str, Any]] = json.loads((HERE / "embedded_questions.json").read_text(encoding="utf-8"))
    return found


def weights_of(name: str) -> str:
    """The digest of a model's weights: all its weight files' digests, in order."""
    folder = embedded_folder(name)
    assert folder is not None
    files = read_manifest(folder)["files"]
    return " ".join(digest for path, digest in sorted(files.items()) if path.endswith(".safetensors"))


def ask(name: str) -> dict[str, Any]:
    """The model's answers ("" = none) and SQuAD 2.0's scores of them."""
    rows = questions()
    model = load(name, device="cpu")
    answers = model.answer([row["question"] for row in rows], context=[row["context"] for row in rows])
    texts = [answer.text or "" for answer in answers]
    scores = squad_v2(texts, [row["answers"] for row in rows])
    return {
        "weights": weights_of(name),
        "answers": dict(zip((row["id"] for row in rows), texts, strict=True)),
        "scores": {key: round(scores[key], 6) for key in PINNED},
    }
