"""A recipe's parts, built: vocabulary, token tables, model, stream; and models loaded by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from textfer.adapt import make_method
from textfer.adapt.adapted import Adapted, adapt, base_of, holds_changes, lay_changes, take_up
from textfer.adapt.switching import outline
from textfer.answer import TextToText
from textfer.batch import Specials
from textfer.calibration import read_calibration
from textfer.data.headed import Framing, HeadedExamples, Labelled, head_of, heads_of, hold_out, load_learnt, read_all
from textfer.data.layout import LAYOUTS, Lens
from textfer.data.mixing import mixing_rates
from textfer.data.paired import plain_part
from textfer.data.preparing import prepare_all
from textfer.data.stream import Denoised, Part, Stream, StreamOptions, Supervised
from textfer.data.tokens import TokenTable
from textfer.embed import rule_of
from textfer.errors import CheckpointError, ConfigError
from textfer.evaluate import load_examples
from textfer.generate import Predictor
from textfer.generate.exported import Exported, is_exported
from textfer.heads import Head
from textfer.models import MODELS, Model, Speller, as_generator, load_model
from textfer.models.headed import RECORD as HEADS
from textfer.models.headed import Headed, with_heads
from textfer.models.hub import check_rows, family_of, find_model, read_config
from textfer.models.int8 import Weights, check_weights, lay_int8
from textfer.objectives import Objective
from textfer.read import HeadPredictor
from textfer.reader import TextReader
from textfer.recipe import SHAPELESS, Recipe, check_head, find_task, make_objective, mixing_of, rows_of, task_names
from textfer.taught import ends_inputs, was_taught_ends
from textfer.tokenizers import Tokenizer, load_tokenizer
from textfer.training.checkpoint import Run
from textfer.training.distributed import World, pick_device

NUM_TRIED = 64
"""Examples of a task by which it is seen, before training, whether the model can answer it."""


def load(
    name: str,
    *,
    device: str = "auto",
    adapters: Mapping[str, str | Path] | None = None,
    weights: Weights = "float32",
) -> TextToText | TextReader:
    """The model of that name (a run folder, a hub-format folder or a hub name) with its vocabulary, ready to answer.

    A model that reads is a `TextReader`: its heads, if it has any, find answers, name classes and tags; it writes
    nothing. Either gives vectors (`embed`). `adapters`: name → run that changed this model, to be put on by request
    (`add_adapter`); a model that writes becomes a reader where they all have heads. `weights="int8"`, on a CPU: several
    times as fast and a fourth as large; some answers are others. What `textfer export --to ct2` made is computed by
    CTranslate2, and only writes.

    Errors: CheckpointError when a file is damaged or missing, or changes are of other weights; ConfigError for int8 of
    a model that has none, elsewhere than on the CPU, or with adapters.
    """
    check_weights(weights, adapters=bool(adapters))
    folder, on = model_folder(name), pick_device("cpu" if weights == "int8" and device == "auto" else device)
    if is_exported(folder):
        exported = Exported(folder, tokenizer_of(name), weights=weights, device=on.type, adapters=bool(adapters))
        return TextToText(exported, name, calibration=read_calibration(folder))
    model, tokenizer = open_model(folder).to(on), tokenizer_of(name)
    check_rows(name, model, tokenizer.vocab_size)
    if weights == "int8":
        lay_int8(model)
    runs = {adapter: str(path) for adapter, path in (adapters or {}).items()}
    by_heads = bool(runs) and all((model_folder(run) / HEADS).is_file() for run in runs.values())
    found: TextToText | TextReader
    if by_heads or isinstance(model, Headed) or not hasattr(model, "begin"):
        whole = model.base if isinstance(model, Headed) else outline(model)
        reads = HeadPredictor((model if isinstance(model, Headed) else Headed(model, [])).eval(), tokenizer)
        find = partial(_changes_folder, predictor=reads)
        found = TextReader(reads, name, rule=rule_of(folder), find=find, whole=whole)
    else:
        writer = as_generator(model.eval(), where=name)
        writer.lay_for_generation()
        predictor = Predictor(writer, tokenizer, ends_inputs=was_taught_ends(name, writer.layout))
        find = partial(_changes_folder, predictor=predictor)
        found = TextToText(predictor, name, find=find, calibration=read_calibration(folder))
    for adapter, path in runs.items():
        found.add_adapter(adapter, path)
    return found


def _changes_folder(name: str, *, predictor: Predictor | HeadPredictor) -> tuple[Path, bool]:
    """(the folder behind a run's name, whether an end mark follows what it reads).

    Errors: CheckpointError where it was trained with another vocabulary.
    """
    beside = _tokenizer_beside(name)
    if beside is not None and load_tokenizer(str(beside)).digest != predictor.tokenizer.digest:
        raise CheckpointError(f"{name}: was trained with another vocabulary than the model's. Load it by itself.")
    return model_folder(name), was_taught_ends(name, predictor.model.layout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A recipe's parts, built."""

    recipe: Recipe
    tokenizer: Tokenizer
    model: Model
    adapted: Adapted
    """The same model under the recipe's method: what is trained and saved."""
    tables: Mapping[str, TokenTable | HeadedExamples]
    stream: Stream
    weights: Path | None
    """The folder whose weights the model began with; None = drawn."""
    tuned_on: tuple[Labelled, ...] = ()
    """Examples that are not trained on: what decides when a head says that there is no answer."""


def source_of_weights(recipe: Recipe, run: Run) -> Path | None:
    """Where the model's weights come from: the run's newest checkpoint, else `init`, else nowhere."""
    checkpoint = run.latest()
    if checkpoint is not None:
        return checkpoint.path
    return model_folder(recipe.init) if recipe.init else None


def model_folder(name: str) -> Path:
    """The hub-format folder behind a model's name: a run's best checkpoint, a folder, or a hub name fetched."""
    path = Path(name)
    if path.is_dir() and (best := Run(path).best()):
        return best
    return find_model(name)


def open_model(folder: Path, options: Mapping[str, Any] | None = None) -> Model:
    """The model of a folder; where it holds only what a method changed, its base with these changes.

    Errors: CheckpointError when the base is not there, or is another.
    """
    if not holds_changes(folder):
        return load_model(folder, options)
    base = base_of(folder)
    try:
        under = model_folder(base.name)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder}: its base is not there; where it was moved, write its new place into the .json beside. {error}"
        ) from None
    return lay_changes(folder, open_model(under, options))


def build_tokenizer(recipe: Recipe) -> Tokenizer:
    """The recipe's vocabulary; that of `init` when it names none."""
    if recipe.tokenizer is not None:
        return load_tokenizer(recipe.tokenizer.path)
    assert recipe.init is not None
    return tokenizer_of(recipe.init)


def tokenizer_of(model: str) -> Tokenizer:
    """The vocabulary that lies beside a model: in its run folder, or in its own."""
    if beside := _tokenizer_beside(model):
        return load_tokenizer(str(beside))
    own = model_folder(model)
    return tokenizer_of(base_of(own).name) if holds_changes(own) else load_tokenizer(str(own))


def _tokenizer_beside(model: str) -> Path | None:
    path = Path(model)
    return next((one for one in (path / "tokenizer", path.parent / "tokenizer") if one.is_dir()), None)


def build_model(recipe: Recipe, tokenizer: Tokenizer, weights: Path | None) -> Model:
    """The recipe's model, with the weights of that folder (see `source_of_weights`); None draws them."""
    if weights is not None:
        changed = {name: value for name, value in recipe.model.items() if name in SHAPELESS}
        model = open_model(weights, changed)
        check_rows(str(weights), model, tokenizer.vocab_size)
        return model
    options = {name: value for name, value in recipe.model.items() if name != "name"}
    torch.manual_seed(recipe.seed)
    model = MODELS.get(recipe.model["name"]).make(options, vocab_size=tokenizer.vocab_size)
    if isinstance(model, Speller):
        model.spell(tokenizer)
    return model


def build_adapted(recipe: Recipe, tokenizer: Tokenizer, weights: Path | None, *, heads: Sequence[Head] = ()) -> Adapted:
    """The recipe's model, with heads where there are any, under its method; `weights` as `source_of_weights` says."""
    changes = None
    init = recipe.init
    if weights is not None and holds_changes(weights):
        init = init or base_of(weights).name
        changes = weights if weights != model_folder(init) else None  # else the run begins from another run's changes
    model = build_model(recipe, tokenizer, weights if changes is None or init is None else model_folder(init))
    if heads:
        torch.manual_seed(recipe.seed)
        model = with_heads(model, heads, recipe.head)
    elif isinstance(model, Headed):
        raise ConfigError(f"init: '{init}' has heads, and data.tasks are not for heads. Add [head], or name its base.")
    base = str(Path(init).resolve()) if init and Path(init).is_dir() else init
    method = make_method(recipe.method)
    adapted = adapt(model, method, num_steps=recipe.training.num_steps, seed=recipe.seed, base=base)
    if changes is not None:
        take_up(changes, adapted)
    return adapted


def build_stream(
    recipe: Recipe,
    tables: Mapping[str, TokenTable | HeadedExamples],
    specials: Specials,
    layout: str,
    *,
    rates: Mapping[str, float] | None = None,
) -> Stream:
    """The training stream of prepared tables, each task at its rate; None = the recipe's rates for these tables."""
    data, lens = recipe.data, Lens(recipe.data.inputs_len, recipe.data.targets_len)
    objective = make_objective(recipe.objective) if recipe.objective else None
    _check_answers(tables, objective, layout)
    parts: dict[str, Part] = {}
    for name, table in tables.items():
        if isinstance(table, HeadedExamples):
            parts[name] = table
        elif find_task(name).plain:
            assert objective is not None
            parts[name] = plain_part(table, objective, lens, specials)
        else:
            parts[name] = Supervised(table, lens, specials.eos)
    for part in parts.values():
        if isinstance(part, Denoised) and objective is not None:
            _check_sentinels(objective.num_sentinels(part.raw_len), specials)
    if rates is None:
        rates = mixing_rates(
            data.tasks, lambda name: len(parts[name]), mixing_of(recipe), plain=lambda name: find_task(name).plain
        )
    options = StreamOptions(
        seed=recipe.seed,
        layout=layout,
        lens=lens,
        specials=specials,
        batch_size=recipe.training.batch_size,
        pack=data.pack,
        fixed=data.fixed,
        micro_batch_size=recipe.training.micro_batch_size,
    )
    return Stream([parts[name] for name in rates], list(rates.values()), options)


def _check_answers(tables: Mapping[str, TokenTable | HeadedExamples], objective: Objective | None, layout: str) -> None:
    """Refuses tasks and objectives whose targets the model cannot give."""
    how = LAYOUTS[layout].answers
    for name in tables:
        if find_task(name).plain and objective is not None:
            if objective.in_place != (how == "in place"):
                place = "in place" if objective.in_place else "written out"
                fits = "Name an objective or a model that fits (masked_lm for encoders)."
                if how == "by heads":
                    fits = "Name tasks for them; `textfer vectors train --tokenizer` learns the vectors of a cbow."
                raise ConfigError(
                    f"objective: its targets are {place}, and the answers of this model are {how}. {fits}"
                )
            if objective.in_sight != LAYOUTS[layout].in_sight:
                raise ConfigError(
                    "objective: both_ways hides nothing, so it is for models that guess a token without seeing it "
                    "(elmo), and these learn nothing else. For an encoder such as bert name masked_lm."
                )
        elif how == "in place":
            raise ConfigError(
                f"data.tasks: '{name}' is no plain text; heads and hidden words are learnt in turn. Drop it."
            )


def _check_lens(recipe: Recipe, model: Model) -> None:
    """Refuses texts of one stack for which the model may have no positions, before training meets the first."""
    kind = LAYOUTS[model.layout]
    if model.max_len is None or not (kind.together or kind.answers != "written"):
        return
    inputs_len, targets_len = recipe.data.inputs_len, recipe.data.targets_len
    if not kind.together:
        if inputs_len > model.max_len:
            raise ConfigError(
                f"data.inputs_len: is {inputs_len}, and the model has {model.max_len} positions. Lower it."
            )
        return
    longest = inputs_len + targets_len
    if recipe.objective and all(find_task(name).plain for name in task_names(recipe.data.tasks)):
        objective = make_objective(recipe.objective)
        longest = sum(objective.lens(objective.raw_len(inputs_len, targets_len)))
    if longest > model.max_len:
        raise ConfigError(
            f"data: inputs_len = {inputs_len} and targets_len = {targets_len} make texts of {longest} tokens, and the "
            f"model has {model.max_len} positions. Lower one of them."
        )


def _check_sentinels(needed: int, specials: Specials) -> None:
    if needed > len(specials.sentinels):
        raise ConfigError(
            f"objective: may hide {needed} spans in a piece, the vocabulary has {len(specials.sentinels)} sentinels. "
            "Lower data.inputs_len or the noise density, or train a vocabulary with more."
        )


def by_heads(recipe: Recipe, weights: Path | None) -> bool:
    """Whether the recipe's model is to answer by heads: it only reads, or `[head]` asks for it."""
    if any(find_task(name).plain for name in task_names(recipe.data.tasks)):
        if recipe.head is not None:
            raise ConfigError("head: cannot take effect, data.tasks hold plain text. Drop it, or the plain text.")
        return False
    if recipe.head is not None:
        return True
    if weights is None:
        return not hasattr(MODELS.get(recipe.model["name"]), "begin")
    while holds_changes(weights):
        weights = model_folder(base_of(weights).name)
    return not hasattr(family_of(read_config(weights), weights), "begin")


def load_labelled_tasks(recipe: Recipe, *, data_dir: Path | None) -> dict[str, Labelled]:
    """The training examples of every task, for heads."""
    data, choice = recipe.data, rows_of(recipe, data_dir)
    return {name: load_learnt(find_task(name), data.split, choice) for name in task_names(data.tasks)}


def read_tables(
    recipe: Recipe,
    found: Mapping[str, Labelled],
    heads: Sequence[Head],
    tokenizer: Tokenizer,
    *,
    both_orders: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, HeadedExamples]:
    """What every task's head reads and should say of each example.

    Errors: ConfigError where what is read several times does not fit a row of the length that is asked for.
    """
    tables = {}
    for name, labelled in found.items():
        head = next(head for head in heads if labelled.task.name in head.tasks)
        framing = Framing(tokenizer=tokenizer, head=head, max_len=recipe.data.inputs_len, both_orders=both_orders)
        told = partial(on_progress, name) if on_progress else None
        tables[name] = read_all(labelled, framing, told)
        longest = max(len(ids.inputs) for ids in tables[name].readings)
        if (recipe.data.pack or recipe.data.fixed) and longest > recipe.data.inputs_len:
            field = "pack" if recipe.data.pack else "fixed"
            raise ConfigError(
                f"data.{field}: '{name}' is read several times an example, {longest} tokens together, and a row has "
                f"{recipe.data.inputs_len}. Drop it."
            )
    return tables


def predictor_of(model: Model, tokenizer: Tokenizer, recipe: Recipe, *, where: str) -> Predictor | HeadPredictor:
    """What answers with the model: by its heads, or by writing. Errors: ConfigError where it does neither."""
    if isinstance(model, Headed):
        return HeadPredictor(model, tokenizer)
    ends = ends_inputs(recipe.objective, list(recipe.data.tasks), model.layout)
    return Predictor(as_generator(model, where=where), tokenizer, ends_inputs=ends)


def _check_evaluation(recipe: Recipe, model: Model, tokenizer: Tokenizer, data_dir: Path | None) -> None:
    """Refuses tasks to be marked that the model cannot answer, before training."""
    if recipe.eval.tasks:
        predictor = predictor_of(model, tokenizer, recipe, where="eval.tasks")
        if isinstance(predictor, HeadPredictor):
            section = recipe.eval
            if section.how != "generate":
                raise ConfigError("eval.how: cannot take effect, heads answer within their classes. Drop it.")
            for name in section.tasks:
                limit = min(section.limit or NUM_TRIED, NUM_TRIED)
                task = find_task(name)
                predictor.head_for(task, load_examples(task, section.split, data_dir=data_dir, limit=limit))
    if isinstance(model, Headed) and recipe.eval.loss_rows is not None:
        raise ConfigError(
            "eval.loss_rows: cannot take effect, heads have no log_prob of words. Drop it; name eval.tasks."
        )


def build_tables(
    recipe: Recipe,
    tokenizer: Tokenizer,
    *,
    data_dir: Path | None,
    place: World,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, TokenTable]:
    """Every task's token table; the leading process makes those that are missing, the others wait."""
    tables: dict[str, TokenTable] = {}
    names = task_names(recipe.data.tasks)
    choice = rows_of(recipe, data_dir)
    for leads in (True, False):
        if place.leads == leads:
            tables = prepare_all(
                names, recipe.data.split, tokenizer, choice, imports=recipe.imports, on_progress=on_progress
            )
        place.wait()
    return tables


def build_parts(
    recipe: Recipe,
    run: Run,
    place: World,
    *,
    data_dir: Path | None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Parts:
    """Everything a run needs, in memory."""
    tokenizer = build_tokenizer(recipe)
    weights = source_of_weights(recipe, run)  # asked once: it reads the whole checkpoint to compare its digests
    tables: Mapping[str, TokenTable | HeadedExamples]
    tuned_on: list[Labelled] = []
    if by_heads(recipe, weights):
        found = load_labelled_tasks(recipe, data_dir=data_dir)
        if recipe.head is not None and recipe.head.dev_share:
            found, tuned_on = hold_out(found, recipe.head.dev_share)
        heads = [
            head.model_copy(update={"max_len": recipe.data.inputs_len})
            for head in heads_of([head_of(one.task, one.examples) for one in found.values()])
        ]
        if recipe.head is not None:
            check_head(recipe.head, heads, (example for one in found.values() for example in one.examples))
        adapted = build_adapted(recipe, tokenizer, weights, heads=heads)
        assert isinstance(adapted.model, Headed), "heads were put upon it"
        both_orders = adapted.model.options.both_orders
        tables = read_tables(recipe, found, heads, tokenizer, both_orders=both_orders, on_progress=on_progress)
    else:
        tables = build_tables(recipe, tokenizer, data_dir=data_dir, place=place, on_progress=on_progress)
        adapted = build_adapted(recipe, tokenizer, weights)
    model = adapted.model.to(place.device)
    _check_evaluation(recipe, model, tokenizer, data_dir)
    _check_lens(recipe, model)
    stream = build_stream(recipe, tables, tokenizer.specials, model.layout)
    return Parts(
        recipe=recipe,
        tokenizer=tokenizer,
        model=model,
        adapted=adapted,
        tables=tables,
        stream=stream,
        weights=weights,
        tuned_on=tuple(tuned_on),
    )
