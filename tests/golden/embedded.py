"""Questions and short texts, and what a model of the package makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from textfer.answer import TextToText
from textfer.metrics import squad_v2
from textfer.models.packed import embedded_folder, read_manifest
from textfer.parts import load

HERE = Path(__file__).parent
READER, WRITER = MODELS = ("starter-reader", "starter-t5")
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


def prefixed() -> list[dict[str, str]]:
    """Texts with a task's first words, written for this: task, input, the right answer."""
    found: list[dict[str, str]] = json.loads((HERE / "embedded_prefixes.json").read_text(encoding="utf-8"))
    return found


def ask(name: str) -> dict[str, Any]:
    """The model's answers with their scores: a reader's to the questions, a writer's to the texts."""
    return _read() if name == READER else _write()


def _write() -> dict[str, Any]:
    rows = prefixed()
    model = load(WRITER, device="cpu")
    assert isinstance(model, TextToText)
    said = dict(zip((row["input"] for row in rows), model.generate([row["input"] for row in rows]), strict=True))
    right: dict[str, list[bool]] = {}
    for row in rows:
        right.setdefault(row["task"], []).append(said[row["input"]] == row["right"])
    scores = {task: round(100 * sum(marks) / len(marks), 6) for task, marks in right.items()}
    return {"weights": weights_of(WRITER), "answers": said, "scores": scores}


def _read() -> dict[str, Any]:
    """ "" = no answer; SQuAD 2.0's scores."""
    rows = questions()
    model = load(READER, device="cpu")
    answers = model.answer([row["question"] for row in rows], context=[row["context"] for row in rows])
    texts = [answer.text or "" for answer in answers]
    scores = squad_v2(texts, [row["answers"] for row in rows])
    return {
        "weights": weights_of(READER),
        "answers": dict(zip((row["id"] for row in rows), texts, strict=True)),
        "scores": {key: round(scores[key], 6) for key in PINNED},
    }
