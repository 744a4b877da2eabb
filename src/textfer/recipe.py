"""What an experiment may say: the fields of `Recipe`, read from presets, files and words, and checked as a whole.

A field's default lives beside the part that it steers. `run` builds the parts and makes the run.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from textfer.adapt import make_method, method_section
from textfer.batch import Example
from textfer.choices import Normalise
from textfer.config import Options, apply_overrides, build, load_layers
from textfer.data.mixing import Mixing, mixing_rates
from textfer.data.named import find_task as find_task
from textfer.data.named import task_names as task_names
from textfer.data.tokens import OnBad, RowChoice
from textfer.data.without import WithoutBy, named_splits
from textfer.errors import ConfigError, nearest
from textfer.evaluate import Answering, How, check_answering
from textfer.generate import Decoding, check_decoding
from textfer.heads import Head
from textfer.models import MODELS, model_options
from textfer.models.headed import HeadOptions
from textfer.objectives import OBJECTIVES, Objective
from textfer.training.trainer import TrainOptions

MADE_UP = (4, 0.25, 1, 2, 0.5)
"""Numbers of examples, of the cap, on which it is tried whether an option changes any rate."""
SHAPELESS = frozenset({"dropout", "num_sampled"})
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
    max_examples: float | None = Field(None, gt=0)
    """The cap K: a larger task counts as this many examples. None = what each mixture says; none of these, no cap."""
    temperature: float | None = Field(None, ge=1)
    """T: 1 = proportional to examples, inf = equal. None = what each mixture says; none of these, 1."""
    weights: dict[str, float] = Field(default_factory=dict)
    """Task or mixture → factor on the rates of its tasks."""
    ratio: float | None = Field(None, gt=0)
    """Examples of plain text for each supervised one, over all tasks. None = as the tasks' numbers of examples say."""
    max_epochs: float | None = Field(None, gt=0)
    """The most times that an example of a supervised task is heard in the run; what is freed goes to the others."""
    limit: int | None = Field(None, gt=0)
    """Read only the first rows of each task."""
    pack: bool = False
    """Several examples a row. It pays where rows are padded (GPU); the CPU path has no padding to save."""
    fixed: bool = False
    """Pad every batch to inputs_len and targets_len, so that compiled models see one shape."""
    on_bad: OnBad = "stop"
    """What a bad row does: stop the run, or be skipped and counted."""
    without: tuple[str, ...] = ()
    """What training must not say: `task/split`, or tasks and mixtures for all that they are marked on."""
    without_by: WithoutBy = "field"
    """What is left out: examples that say the same as a `whole`, also in one `field`, also in 13 words (`overlap`)."""


class EvalSection(Options):
    """What is measured during training and at its end."""

    tasks: tuple[str, ...] = ()
    """Tasks to answer and mark."""
    split: str = "validation"
    limit: int | None = Field(None, gt=0)
    """Only so many examples of each task, evenly spread over the split."""
    loss_rows: int | None = Field(None, gt=0)
    """Also measure `log_prob`, the mean log probability of a target token, on so many rows of `data.tasks`."""
    decoding: Decoding = Decoding(max_new_tokens=32, batch_size=32)
    """How the answers are written."""
    how: How = "generate"
    """Tasks with choices: written freely, chosen as the likeliest (`rank`), or written within them (`constrained`)."""
    normalise: Normalise = "none"
    """Of `rank`: how choices of unlike length or rarity are made comparable."""

    @property
    def answering(self) -> Answering:
        """How answers are got from the model."""
        return Answering(how=self.how, decoding=self.decoding, normalise=self.normalise)


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
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "full"})
    """`name` and the options of the way of transfer: which parameters are trained, or added."""
    head: HeadOptions | None = None
    """How heads learn. A model that only reads gets the heads that its tasks ask for; with this section (`[head]`, even
    an empty one) so does a model that writes."""
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
    recipe = _check_method(_check_objective(recipe))
    _check_mixing(recipe)
    if (
        not named_splits(recipe.data.without)
        and recipe.data.without_by != DataSection.model_fields["without_by"].default
    ):
        raise ConfigError("data.without_by: cannot take effect without data.without. Drop it.")
    check_decoding(recipe.eval.decoding, where="eval.decoding")
    check_answering(recipe.eval.answering, where="eval")
    for name in recipe.eval.tasks:
        if find_task(name).metrics is None:
            raise ConfigError(f"eval.tasks: '{name}' has no metric.")
    tuned = recipe.head is not None and recipe.head.dev_share
    if recipe.training.eval_every is not None and not (recipe.eval.tasks or tuned) and recipe.eval.loss_rows is None:
        raise ConfigError("training.eval_every: cannot take effect without eval.tasks or eval.loss_rows. Drop it.")
    return recipe


def rows_of(recipe: Recipe, data_dir: Path | None) -> RowChoice:
    """Which rows are trained on."""
    data = recipe.data
    return RowChoice(
        data_dir=data_dir, limit=data.limit, on_bad=data.on_bad, without=data.without, without_by=data.without_by
    )


def mixing_of(recipe: Recipe) -> Mixing:
    """What the recipe says about rates."""
    data, training = recipe.data, recipe.training
    said = {name: getattr(data, name) for name in ("max_examples", "temperature", "weights", "ratio", "max_epochs")}
    return Mixing(budget=training.num_steps * training.batch_size, **said)


def _check_objective(recipe: Recipe) -> Recipe:
    """The recipe with its objective's options; refuses plain text without one, and one without plain text."""
    plain = [name for name in task_names(recipe.data.tasks) if find_task(name).plain]
    if plain and recipe.objective is None:
        raise ConfigError(
            f"objective: missing, and '{plain[0]}' is plain text. Add [objective] name = \"span_corruption\"."
        )
    if recipe.objective is None:
        return recipe
    if not plain:
        raise ConfigError("objective: cannot take effect, no task of data.tasks is plain text. Drop it.")
    objective = make_objective(recipe.objective)
    update = {"objective": {"name": recipe.objective["name"], **objective.model_dump()}}  # type: ignore[attr-defined]
    return recipe.model_copy(update=update)


def check_head(options: HeadOptions, heads: Sequence[Head], examples: Iterable[Example]) -> None:
    """Refuses what `[head]` asks for and these heads have no use for."""
    kinds = {head.kind for head in heads}
    if options.pooling is not None and not kinds & {"class", "number", "choice"}:
        raise ConfigError("head.pooling: cannot take effect, its tasks ask of tokens and not of whole texts. Drop it.")
    pairs = kinds & {"class", "number"} and any(len(example.fields) == 2 for example in examples)
    if options.both_orders and not pairs:
        raise ConfigError("head.both_orders: cannot take effect, no example is a pair of texts. Drop it.")


def _check_method(recipe: Recipe) -> Recipe:
    """The recipe with its method's options; refuses one that adds to weights where there are none yet."""
    method = make_method(recipe.method)
    if method.adds and recipe.init is None:
        name = recipe.method["name"]
        raise ConfigError(f"method.name: got {name}, which adds to trained weights, and there is no `init`. Give it.")
    return recipe.model_copy(update={"method": method_section(method)})


def _check_mixing(recipe: Recipe) -> None:
    """Refuses what is said about rates and cannot be, or would change none. Tried on made-up numbers of examples."""
    data, said = recipe.data, mixing_of(recipe)
    names = task_names(data.tasks)
    plain = {name: find_task(name).plain for name in names}
    cap = said.max_examples if said.max_examples and math.isfinite(said.max_examples) else 1e6
    sizes = {name: max(1, int(cap * MADE_UP[at % len(MADE_UP)])) for at, name in enumerate(names)}

    def rates(how: Mixing) -> list[float]:
        return list(mixing_rates(data.tasks, sizes.__getitem__, how, plain=plain.__getitem__).values())

    said = replace(said, max_epochs=None)
    now = rates(said)
    others: dict[str, Mixing] = {}
    if said.max_examples is not None and math.isfinite(said.max_examples):
        others["max_examples"] = replace(said, max_examples=3 * said.max_examples)
    if said.temperature not in (None, 1.0):
        others["temperature"] = replace(said, temperature=1.0)
    if said.weights:
        others["weights"] = replace(said, weights={})
    for field, other in others.items():
        if np.allclose(rates(other), now, rtol=1e-9, atol=0):
            raise ConfigError(f"data.{field}: cannot take effect, {_why(data, len(names))}. Drop it.")
    if data.max_epochs is not None:
        if all(plain.values()):
            raise ConfigError("data.max_epochs: cannot take effect, data.tasks are all plain text. Drop it.")
        if data.pack:
            raise ConfigError(
                "data.max_epochs: cannot be kept with data.pack: how many examples its rows hold is not known before. "
                "Drop one of them."
            )


def _why(data: DataSection, num_tasks: int) -> str:
    if num_tasks == 1:
        return "there is one task"
    if data.temperature is not None and math.isinf(data.temperature):
        return "data.temperature = inf makes all tasks equal"
    return "it changes no task's rate"


def make_objective(section: Mapping[str, Any]) -> Objective:
    """The objective that a recipe's section names, with its options."""
    values = dict(section)
    if "name" not in values:
        raise ConfigError(f"objective.name: missing.{nearest('', OBJECTIVES.names())}")
    kind: Any = OBJECTIVES.get(values.pop("name"), where="objective.name")
    objective: Objective = build(kind, values, where="objective")
    return objective
