"""One example after every stage, from the file to the loss: for those who learn and those who look for a fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from textfer.batch import Batch, Ids, Row, Side
from textfer.data.paired import Paired
from textfer.data.source import open_rows
from textfer.data.stream import Cursor, Denoised, Stream
from textfer.data.task import Task
from textfer.data.tokens import examples_of
from textfer.draws import address
from textfer.errors import ConfigError
from textfer.models import Model
from textfer.parts import build_model, build_stream, build_tables, build_tokenizer, model_folder
from textfer.recipe import Recipe, find_task
from textfer.tokenizers import Tokenizer
from textfer.training.distributed import World
from textfer.training.loss import cross_entropy

MAX_CHARS = 600
MAX_PIECES = 80


@dataclass(frozen=True, slots=True)
class Stage:
    """What one example is after a stage."""

    name: str
    where: str
    """The file that made it."""
    lines: tuple[str, ...]


def trace_task(task: Task, split: str, number: int, *, data_dir: Path | None = None) -> Iterator[Stage]:
    """Row and example of one task: what needs no vocabulary and no model."""
    rows = open_rows(task.source, split, data_dir=data_dir)
    if not 0 <= number < len(rows):
        raise ConfigError(f"--example: got {number}, expected 0 to {len(rows) - 1} ({task.name}/{split}).")
    row = next(row for _, row in rows.read(number, number + 1))
    yield Stage("row", "data/source.py", tuple(_row_lines(row)))
    for _, example in examples_of(task, rows, start=number, stop=number + 1):
        parts = {"inputs": example.inputs, "targets": example.targets, "origin": example.origin}
        parts |= {f"facts.{key}": str(value) for key, value in example.facts.items()}
        yield Stage("example", "data/tasks", tuple(f"{key}: {_short(value)}" for key, value in parts.items()))


def trace_recipe(recipe: Recipe, number: int, *, data_dir: Path | None = None) -> Iterator[Stage]:
    """The whole way of stream position `number`: row, example, ids, objective, row of a batch, batch, loss."""
    tokenizer = build_tokenizer(recipe)
    place = World(torch.device("cpu"))
    tables = build_tables(recipe, tokenizer, data_dir=data_dir, place=place)
    model = build_model(recipe, tokenizer, model_folder(recipe.init) if recipe.init else None)
    stream = build_stream(recipe, tables, tokenizer.specials, model.layout)
    if number < 0:
        raise ConfigError(f"--example: got {number}, expected 0 or more.")
    ((task_number, epoch, index),) = stream.places(np.array([number]))
    part = stream.parts[task_number]
    name, table = next((name, table) for name, table in tables.items() if table.name == part.name)
    place_line = f"stream position {number} → {part.name}, epoch {epoch}, example {index}"
    yield Stage("place in the stream", "data/stream.py", (place_line,))
    ids = part.ids([index], address(recipe.seed, part.name, epoch, np.array([index])))[0]
    if isinstance(part, Denoised | Paired):
        raw, origin = part.piece(int(index))
        text = _pieces(raw, tokenizer)
        yield Stage("raw text", "data/stream.py", (f"{len(raw)} tokens from {origin}: {text}",))
    else:
        yield from trace_task(find_task(name), recipe.data.split, int(table.rows[index]), data_dir=data_dir)
    maker = "objectives" if isinstance(part, Denoised | Paired) else "tokenizers"
    yield Stage("ids", maker, tuple(_ids_lines(ids, tokenizer)))
    yield from _batch_stages(stream, ids, tokenizer)
    batch = stream.arrange([[ids]])
    yield Stage("output", "models", tuple(_output_lines(model, batch, tokenizer)))


def _output_lines(model: Model, batch: Batch, tokenizer: Tokenizer) -> Iterator[str]:
    model.eval()
    with torch.no_grad():
        loss = cross_entropy(model, batch)
        logits = model(batch).logits
    assert logits is not None
    assert batch.weights is not None
    total, count = float(loss.sum), float(loss.count)
    yield f"logits {list(logits.shape)}; loss {total:.4f} over {count:.0f} tokens = {total / count:.4f}"
    best = logits[0].argmax(-1)[batch.weights[0] > 0]
    yield f"likeliest tokens: {_pieces(best.numpy(), tokenizer)}"


def _batch_stages(stream: Stream, ids: Ids, tokenizer: Tokenizer) -> Iterator[Stage]:
    batch = stream.arrange([[ids]])
    yield Stage(f"layout {stream.options.layout}", "data/layout.py", tuple(_batch_lines(batch, tokenizer)))
    if stream.options.pack:
        row, _ = next(stream.rows(Cursor()))
        lens = " + ".join(f"{len(one.inputs)}/{len(one.targets)}" for one in row)
        line = f"the first row of the stream holds {len(row)} examples, inputs/targets: {lens}"
        yield Stage("packing", "data/layout.py", (line,))


def _batch_lines(batch: Batch, tokenizer: Tokenizer) -> Iterator[str]:
    for name, side in (("encoder", batch.encoder), ("decoder", batch.decoder)):
        if side is not None:
            yield f"{name} reads {_side_pieces(side, tokenizer)}"
    assert batch.targets is not None
    assert batch.weights is not None
    yield f"targets      {_pieces(batch.targets[0].numpy(), tokenizer)}"
    yield f"loss on      {int((batch.weights[0] > 0).sum())} of {batch.weights.shape[1]} positions"


def _side_pieces(side: Side, tokenizer: Tokenizer) -> str:
    return _pieces(side.ids[0].numpy(), tokenizer)


def _ids_lines(ids: Ids, tokenizer: Tokenizer) -> Iterator[str]:
    for name, tokens in (("inputs", ids.inputs), ("targets", ids.targets)):
        yield f"{name} ({len(tokens)}): {_pieces(tokens, tokenizer)}"
        yield f"  ids: {_short(' '.join(map(str, tokens.tolist())))}"
    for name, value in ids.heads.items():
        yield f"head {name}: {_short(str(value))}"


def _pieces(tokens: NDArray[np.integer[Any]], tokenizer: Tokenizer) -> str:
    pieces = tokenizer.pieces(tokens[:MAX_PIECES].tolist())
    more = f" … ({len(tokens) - MAX_PIECES} more)" if len(tokens) > MAX_PIECES else ""
    return " ".join(pieces) + more


def _row_lines(row: Row) -> Iterator[str]:
    for key, value in row.items():
        yield f"{key}: {_short(str(value))}"


def _short(text: str) -> str:
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}… ({len(text):,} characters)"
