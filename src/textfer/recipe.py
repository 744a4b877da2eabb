"""What an experiment may say: the fields of `Recipe`, read from presets, files and words, and checked as a whole.

A field's default lives beside the part that it steers. `run` builds the parts and makes the run.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from textfer.config import Options, apply_overrides, build, load_layers
from textfer.data.task import MIXTURES, TASKS, Task
from textfer.data.tasks.files import file_task
from textfer.data.tokens import OnBad
from textfer.errors import ConfigError, nearest
from textfer.generate import Decoding, check_decoding
from textfer.models import MODELS, model_options
from textfer.objectives import OBJECTIVES, Objective
from textfer.training.trainer import TrainOptions

SHAPELESS = frozenset({"dropout"})
"""Model options that may differ from those of the weights a run starts from."""


class TokenizerSection(Options):
    """Which vocabulary."""

    path: str
    """A folder, a `.model`, `tokenizer.json` or `vocab.txt` file, or `bytes`."""


class DataSection(Options):
    """What is trained on."""

    tasks: tuple[str, ...] = Field(min_length=1)
    """Tasks, mixtures or files; several are mixed."""
    split: str = "train"
    inputs_len: int = Field(512, gt=1)
    """Longest input in tokens, end mark included."""
    targets_len: int = Field(114, gt=1)
    """Longest target in tokens, end mark included."""
    max_examples: float = Field(math.inf, gt=0)
    """The cap K of examples-proportional mixing: a larger task counts as this many examples."""
    temperature: float = Field(1.0, ge=1)
    """T of temperature-scaled mixing: 1 = proportional, inf = equal."""
    limit: int | None = Field(None, gt=0)
    """Read only the first rows of each task."""
    pack: bool = False
    """Several examples a row. It pays where rows are padded (GPU); the CPU path has no padding to save."""
    fixed: bool = False
    """Pad every batch to inputs_len and targets_len, so that compiled models see one shape."""
    on_bad: OnBad = "stop"
    """What a bad row does: stop the run, or be skipped and counted."""


class EvalSection(Options):
    """What is measured during training and at its end."""

    tasks: tuple[str, ...] = ()
    """Tasks to answer and mark."""
    split: str = "validation"
    limit: int | None = Field(None, gt=0)
    """Only the first examples of each task."""
    loss_rows: int | None = Field(None, gt=0)
    """Also measure `log_prob`, the mean log probability of a target token, on so many rows of `data.tasks`."""
    decoding: Decoding = Decoding(max_new_tokens=32, batch_size=32)
    """How the answers are written."""


class Recipe(Options):
    """A whole experiment. The resolved form is saved in the run folder and is itself a valid recipe."""

    summary: str = ""
    imports: tuple[str, ...] = ()
    """Modules to import first: your own tasks, models, objectives."""
    seed: int = 42
    device: str = "auto"
    init: str | None = None
    """A run, a hub-format folder or a hub name whose weights (and vocabulary) the model starts from."""
    tokenizer: TokenizerSection | None = None
    model: dict[str, Any] = Field(default_factory=dict)
    """`name` and the options of that model."""
    data: DataSection
    objective: dict[str, Any] | None = None
    """`name` and the options of the pre-training objective; none = supervised tasks only."""
    training: TrainOptions
    eval: EvalSection = EvalSection()


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of that name or path, its base chain and `section.key=value` words applied, checked as a whole."""
    values = apply_overrides(load_layers(name), overrides)
    modules = values.get("imports", ())
    for module in [modules] if isinstance(modules, str) else modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"imports: '{module}' cannot be imported ({error}).") from None
    recipe = build(Recipe, values, where="")
    return check(recipe)


def check(recipe: Recipe) -> Recipe:
    """The recipe with its named parts resolved to all their options; refuses what cannot take effect."""
    if recipe.init is None:
        if "name" not in recipe.model:
            raise ConfigError(f"model.name: missing. Name a model, or give `init`.{nearest('', MODELS.names())}")
        if recipe.tokenizer is None:
            raise ConfigError("tokenizer.path: missing. Name a vocabulary, or give `init`.")
        options = model_options(recipe.model, where="model")
        recipe = recipe.model_copy(update={"model": {"name": recipe.model["name"], **options.model_dump()}})
    elif extra := sorted(set(recipe.model) - SHAPELESS - {"name"}):
        raise ConfigError(f"model.{extra[0]}: cannot take effect, the shape comes from init '{recipe.init}'. Drop it.")
    tasks = [find_task(name) for name in task_names(recipe.data.tasks)]
    plain = [task.name for task in tasks if task.plain]
    if plain and recipe.objective is None:
        raise ConfigError(
            f"objective: missing, and '{plain[0]}' is plain text. Add [objective] name = \"span_corruption\"."
        )
    if recipe.objective is not None:
        if not plain:
            raise ConfigError("objective: cannot take effect, no task of data.tasks is plain text. Drop it.")
        objective = make_objective(recipe.objective)
        update = {"objective": {"name": recipe.objective["name"], **objective.model_dump()}}  # type: ignore[attr-defined]
        recipe = recipe.model_copy(update=update)
    if len(tasks) == 1 and recipe.data.tasks[0] not in MIXTURES:
        for field, default in (("max_examples", math.inf), ("temperature", 1.0)):
            if getattr(recipe.data, field) != default:
                raise ConfigError(f"data.{field}: cannot take effect with one task. Drop it.")
    check_decoding(recipe.eval.decoding, where="eval.decoding")
    for name in recipe.eval.tasks:
        if find_task(name).metrics is None:
            raise ConfigError(f"eval.tasks: '{name}' has no metric.")
    if recipe.training.eval_every is not None and not recipe.eval.tasks and recipe.eval.loss_rows is None:
        raise ConfigError("training.eval_every: cannot take effect without eval.tasks or eval.loss_rows. Drop it.")
    return recipe


def find_task(name: str) -> Task:
    """The registered task of that name, or one made of the file of that name."""
    if name in TASKS:
        return TASKS.get(name)
    if "/" in name or "." in name or Path(name).exists():
        return file_task(name)
    raise ConfigError(f"unknown task '{name}'.{nearest(name, [*TASKS.names(), *MIXTURES.names()])}")


def task_names(names: Sequence[str]) -> list[str]:
    """All tasks under tasks and mixtures, each once, in order."""
    found: dict[str, None] = {}
    for name in names:
        inner = task_names(list(MIXTURES.get(name).parts)) if name in MIXTURES else [name]
        found.update(dict.fromkeys(inner))
    return list(found)


def make_objective(section: Mapping[str, Any]) -> Objective:
    """The objective that a recipe's section names, with its options."""
    values = dict(section)
    if "name" not in values:
        raise ConfigError(f"objective.name: missing.{nearest('', OBJECTIVES.names())}")
    kind: Any = OBJECTIVES.get(values.pop("name"), where="objective.name")
    objective: Objective = build(kind, values, where="objective")
    return objective
