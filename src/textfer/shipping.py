"""A trained model made ready to lie in the package: small, with digests, its licence and what it was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textfer.adapt.adapted import holds_changes
from textfer.data.named import find_task, task_names
from textfer.errors import CheckpointError, ConfigError, TextferError
from textfer.models.headed import has_heads, heads_in
from textfer.models.packed import EMBEDDED_DIR, Bits, pack_model
from textfer.parts import model_folder
from textfer.training.checkpoint import read_state

PAPERS = ("LICENSE", "NOTICE", "card.md")
"""What is given away with weights."""
ABLE = {
    "span": "finds answers in a text",
    "class": "names classes",
    "tag": "tags words",
    "number": "rates texts",
    "choice": "chooses among answers",
}
SAYS_NONE = "finds answers in a text, or says that it holds none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A packed model."""

    folder: Path
    num_bytes: int
    drafted: tuple[str, ...]
    """Papers that nobody gave: they say what is known of the run, and want a person's words."""


def ship(
    model: str,
    name: str,
    *,
    bits: Bits = 8,
    out: Path | None = None,
    about: Mapping[str, str] | None = None,
    papers: Mapping[str, Path] | None = None,
) -> Shipped:
    """Packs a run's best checkpoint (or any hub-format folder) as the model `name` into `out`/`name`.

    `out`: None = the package's own folder, where `textfer.load(name)` finds it. `about`: what the
    manifest says of it, over what the run says: `summary`, `licence`, `made_from`.
    `papers`: LICENSE, NOTICE, card.md → the file that holds it; what is missing is drafted from the run's record.

    Errors: ConfigError for a name that is no folder's, a model that is too large, or holds only what a method changed.
    """
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise ConfigError(f"pack: the name is '{name}', expected a word that can name a folder.")
    folder = model_folder(model)
    if holds_changes(folder):
        raise ConfigError(f"{model}: holds only what a method changed of its base. Pack a run of the whole model.")
    given = {paper: _read(path) for paper, path in (papers or {}).items()}
    facts = _facts(model, folder)
    told = {"summary": "", "licence": "", **facts, **(about or {}), "can": able(folder)}
    drafts = {
        paper: text
        for paper, text in _drafts(name, told).items()
        if paper not in given and not (folder / paper).is_file()
    }
    home = (out or EMBEDDED_DIR) / name
    home.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(model) / "tokenizer"
    size = pack_model(
        folder,
        home,
        bits=bits,
        tokenizer=beside if beside.is_dir() else None,
        about=told,
        papers={**drafts, **given},
    )
    return Shipped(folder=home, num_bytes=size, drafted=tuple(paper for paper in PAPERS if paper in drafts))


def able(folder: Path) -> str:
    """What the model of a folder can do, in words."""
    if not has_heads(folder):
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        reads = config.get("model_type") in ("bert", "elmo", "cbow")
        return "gives vectors" if reads else "writes answers"
    heads, _ = heads_in(folder)
    words = [SAYS_NONE if head.kind == "span" and head.threshold is not None else ABLE[head.kind] for head in heads]
    return "; ".join(dict.fromkeys(words))


def _facts(model: str, folder: Path) -> dict[str, Any]:
    """What a run's own record says: where it began, what it heard, for how long."""
    path = next((one / "recipe.json" for one in (Path(model), folder.parent) if (one / "recipe.json").is_file()), None)
    if path is None:
        return {}
    recipe = json.loads(path.read_text(encoding="utf-8"))
    facts: dict[str, Any] = {
        "summary": recipe.get("summary", ""),
        "made_from": Path(recipe["init"]).name if recipe.get("init") else "drawn weights",
        "data": _licences(recipe["data"]["tasks"]),
    }
    with suppress(CheckpointError):  # a model that no run has written
        facts["step"] = read_state(folder)["step"]
    return facts


def _licences(names: list[str]) -> dict[str, str]:
    """{task: licence} of what was trained on."""
    found = {}
    for name in names:
        try:
            for one in task_names([name]):
                found[one] = find_task(one).licence or "not said"
        except TextferError:  # a file of its own that is no longer here
            found[name] = "not said"
    return found


def _drafts(name: str, told: Mapping[str, Any]) -> dict[str, str]:
    """LICENSE, NOTICE and card.md as far as the run's record goes."""
    licence = told["licence"] or "not said"
    data = "".join(f"- {task}: {one}\n" for task, one in told.get("data", {}).items()) or "- not said\n"
    begun = told.get("made_from", "not said")
    return {
        "LICENSE": f"The weights of {name}: {licence}.\n",
        "NOTICE": f"{name}: trained by Textfer.\n\nIt began from: {begun}\nIt was trained on:\n{data}",
        "card.md": (
            f"# {name}\n\n{told['summary']}\n\nIt {told['can']}. Licence: {licence}.\n\n"
            f"Begun from: {begun}. Steps: {told.get('step', 'not said')}. Trained on:\n\n{data}\n"
            "Scores, limits and failures: not written yet.\n"
        ),
    }


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Give a text file.") from None
