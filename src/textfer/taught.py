"""What a model was taught, as the recipe beside it says: text to text, or only to go on with text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textfer.data.layout import LAYOUTS
from textfer.errors import CheckpointError, ConfigError, DataError
from textfer.models.hub import read_json
from textfer.recipe import find_task, make_objective, task_names

RECIPE = "recipe.json"


def ends_inputs(objective: Mapping[str, Any] | None, tasks: Sequence[str], layout: str) -> bool:
    """Whether training on these puts an end mark between a text and what follows it.

    Not so where one stack learns nothing but to go on with text.
    """
    if not LAYOUTS[layout].together or not objective:
        return True
    try:
        return make_objective(objective).eos[0] or not all(find_task(name).plain for name in task_names(tasks))
    except (ConfigError, DataError):  # parts that are not imported now, a file that is gone
        return False


def was_taught_ends(name: str, layout: str) -> bool:
    """The same of a model by name, from its run's recipe. One stack without a recipe is a plain language model."""
    path = Path(name)
    saved = next((file for file in (path / RECIPE, path.parent / RECIPE) if file.is_file()), None)
    if saved is None or not LAYOUTS[layout].together:
        return not LAYOUTS[layout].together
    values = read_json(saved)
    try:
        return ends_inputs(values.get("objective"), list(values["data"]["tasks"]), layout)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{saved}: is no recipe ({error!r}). Copy it again.") from None
