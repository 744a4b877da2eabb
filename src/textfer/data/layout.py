"""Who shares a row (packing), and how a row sits for each architecture (layouts).

Letters: B rows, S encoder tokens, T decoder tokens. Segments count from 1 in each row; 0 is padding; positions restart
in every segment, so a packed example sees what it would see alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from textfer.batch import NO_TARGET, Batch, Ids, Int32, Run, Side, Specials

MAX_OPEN_ROWS = 64


@dataclass(frozen=True, slots=True)
class Lens:
    """The longest a row may be, in tokens with end marks."""

    inputs: int
    targets: int


def pack(input_lens: Sequence[int], target_lens: Sequence[int], lens: Lens, *, together: bool) -> list[list[int]]:
    """Groups of example numbers that fit one row each, by first fit among the last `MAX_OPEN_ROWS` open rows.

    `together`: inputs and targets stand in one stack (decoder-only), so their sum must fit; else each has its own side.
    Every number occurs once. Worked: lens (10, 5), inputs [6, 6, 4], targets [2, 2, 3] → [[0, 2], [1]].
    """
    first = np.asarray(input_lens, np.int64)
    second = np.asarray(target_lens, np.int64)
    if together:
        first, second = first + second, np.zeros_like(second)
    most = (lens.inputs + lens.targets, 0) if together else (lens.inputs, lens.targets)
    assert (first <= most[0]).all() and (second <= most[1]).all(), "an example is longer than a row"  # noqa: PT018
    room_first, room_second = (np.full(MAX_OPEN_ROWS, room, np.int64) for room in most)
    open_rows: list[list[int]] = [[] for _ in range(MAX_OPEN_ROWS)]
    groups: list[list[int]] = []
    oldest = 0
    for number, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        fits = (room_first >= a) & (room_second >= b)
        at = int(fits.argmax())
        if not fits[at]:  # close the row that has been open longest
            at, oldest = oldest, (oldest + 1) % MAX_OPEN_ROWS
            open_rows[at] = []
            room_first[at], room_second[at] = most
        if not open_rows[at]:
            groups.append(open_rows[at])
        open_rows[at].append(number)
        room_first[at] -= a
        room_second[at] -= b
    return groups


def _side(rows: Sequence[Sequence[Int32]], pad: int, len_fixed: int | None) -> Side:
    """The tokens of each row's segments laid end to end."""
    length = len_fixed or max(1, max(sum(map(len, row)) for row in rows))
    ids = np.full((len(rows), length), pad, np.int64)
    segments = np.zeros((len(rows), length), np.int64)
    positions = np.zeros((len(rows), length), np.int64)
    count = np.arange(length)
    runs: list[Run] = []
    for number, row in enumerate(rows):
        at = 0
        for segment, tokens in enumerate(row, start=1):
            end = at + len(tokens)
            ids[number, at:end] = tokens
            segments[number, at:end] = segment
            positions[number, at:end] = count[: len(tokens)]
            runs.append(Run(number, at, end))
            at = end
    ours, theirs, places = (torch.from_numpy(array) for array in (ids, segments, positions))
    return Side(ours, theirs, places, tuple(runs))


def _shifted(tokens: Int32, start: int) -> Int32:
    """What the decoder reads: the start mark, then all tokens but the last."""
    return np.concatenate([np.array([start], np.int32), tokens[:-1]])


def _fill(
    side: Side, rows: Sequence[Sequence[NDArray[np.generic]]], kind: type[np.generic], pad: float
) -> torch.Tensor:
    filled = np.full(tuple(side.ids.shape), pad, kind)
    parts = [part for row in rows for part in row]
    for run, part in zip(side.runs, parts, strict=True):
        filled[run.row, run.start : run.end] = part
    return torch.from_numpy(filled)


def _weights(example: Ids) -> NDArray[np.float32]:
    return np.ones(len(example.targets), np.float32) if example.weights is None else example.weights


def encdec(rows: Sequence[Sequence[Ids]], lens: Lens, specials: Specials, *, fixed: bool = False) -> Batch:
    """Encoder: inputs. Decoder: targets shifted right inside each segment. Loss on targets.

    Padded to the longest row, or to `lens` when `fixed` (shapes that never change, for compiled models).
    """
    encoder = _side([[ids.inputs for ids in row] for row in rows], specials.pad, lens.inputs if fixed else None)
    length = lens.targets if fixed else None
    decoder = _side([[_shifted(ids.targets, specials.pad) for ids in row] for row in rows], specials.pad, length)
    return Batch(
        encoder=encoder,
        decoder=decoder,
        targets=_fill(decoder, [[ids.targets for ids in row] for row in rows], np.int64, specials.pad),
        weights=_fill(decoder, [[_weights(ids) for ids in row] for row in rows], np.float32, 0.0),
        origins=tuple(ids.origin for row in rows for ids in row),
    )


def causal(rows: Sequence[Sequence[Ids]], lens: Lens, specials: Specials, *, fixed: bool = False) -> Batch:
    """Decoder only: inputs then targets, shifted right. Loss on targets."""

    def whole(ids: Ids) -> Int32:
        return np.concatenate([ids.inputs, ids.targets]).astype(np.int32)

    def weights(ids: Ids) -> NDArray[np.float32]:
        return np.concatenate([np.zeros(len(ids.inputs), np.float32), _weights(ids)])

    length = lens.inputs + lens.targets if fixed else None
    decoder = _side([[_shifted(whole(ids), specials.pad) for ids in row] for row in rows], specials.pad, length)
    return Batch(
        decoder=decoder,
        targets=_fill(decoder, [[whole(ids) for ids in row] for row in rows], np.int64, specials.pad),
        weights=_fill(decoder, [[weights(ids) for ids in row] for row in rows], np.float32, 0.0),
        origins=tuple(ids.origin for row in rows for ids in row),
    )


def prefix(rows: Sequence[Sequence[Ids]], lens: Lens, specials: Specials, *, fixed: bool = False) -> Batch:
    """As `causal`, and every token of a segment may see the inputs and the position after them.

    Worked (seqio's README): inputs 9 4 6 1, targets 3 9 1 → decoder reads 0 9 4 6 1 3 9, prefix 1 1 1 1 1 0 0.
    """
    batch = causal(rows, lens, specials, fixed=fixed)
    assert batch.decoder is not None

    def seen(ids: Ids) -> NDArray[np.bool_]:
        count = len(ids.inputs) + 1 if len(ids.inputs) else 0
        return np.arange(len(ids.inputs) + len(ids.targets)) < count

    marks = _fill(batch.decoder, [[seen(ids) for ids in row] for row in rows], np.bool_, False)
    return Batch(
        decoder=batch.decoder, prefix=marks, targets=batch.targets, weights=batch.weights, origins=batch.origins
    )


def masked(rows: Sequence[Sequence[Ids]], lens: Lens, specials: Specials, *, fixed: bool = False) -> Batch:
    """Encoder: inputs, some of their tokens hidden. Targets stand where the inputs do; `weights` say which count.

    Where heads learn beside, an example counts for them as much as its words do, so that one division serves both.
    """
    batch = pair(rows, lens, specials, fixed=fixed)
    assert batch.encoder is not None
    shares = [_weights(ids) for row in rows for ids in row]
    return replace(
        batch,
        targets=_fill(batch.encoder, [[ids.targets for ids in row] for row in rows], np.int64, specials.pad),
        weights=_fill(batch.encoder, [[_weights(ids) for ids in row] for row in rows], np.float32, 0.0),
        head_weights=torch.tensor([float(share.sum()) for share in shares]) if batch.heads else None,
    )


def pair(rows: Sequence[Sequence[Ids]], lens: Lens, specials: Specials, *, fixed: bool = False) -> Batch:
    """Encoder: inputs, marks included, and which sentence each token belongs to. What is learnt are the heads' targets.

    Worked: `[CLS]` a `[SEP]` b b `[SEP]` → types 0 0 0 1 1 1.
    """
    examples = [ids for row in rows for ids in row]
    runs = [[part for ids in row for part in _passes(ids, ids.inputs)] for row in rows]
    encoder = _side(runs, specials.pad, lens.inputs if fixed else None)
    if any(ids.types is not None for ids in examples):
        types = [[part for ids in row for part in _passes(ids, _types(ids))] for row in rows]
        encoder = replace(encoder, types=_fill(encoder, types, np.int64, 0))
    return Batch(
        encoder=encoder,
        heads=_heads(encoder, rows),
        passes=tuple(len(ids.cuts) + 1 for ids in examples) if any(ids.cuts for ids in examples) else (),
        origins=tuple(ids.origin for ids in examples),
    )


def _passes(ids: Ids, values: NDArray[Any]) -> list[NDArray[Any]]:
    """The stretches of `values`, one a token, that are read by themselves."""
    return np.split(values, ids.cuts) if ids.cuts else [values]


def _types(ids: Ids) -> Int32:
    return np.zeros(len(ids.inputs), np.int32) if ids.types is None else ids.types


def _heads(side: Side, rows: Sequence[Sequence[Ids]]) -> dict[str, torch.Tensor]:
    """What the heads should say: [examples], or [B, L] one a token; `NO_TARGET` or NaN where nothing is said."""
    examples = [ids for row in rows for ids in row]
    samples = {name: np.asarray(value) for ids in examples for name, value in ids.heads.items()}
    found: dict[str, torch.Tensor] = {}
    for name, sample in samples.items():
        kind, nothing = (np.float32, np.nan) if sample.dtype.kind == "f" else (np.int64, NO_TARGET)
        if sample.ndim:
            told = [[ids.heads.get(name, np.full(len(ids.inputs), nothing)) for ids in row] for row in rows]
            values = [
                [part for ids, said in zip(row, some, strict=True) for part in _passes(ids, said)]
                for row, some in zip(rows, told, strict=True)
            ]
            found[name] = _fill(side, values, kind, nothing)
        else:
            found[name] = torch.from_numpy(np.array([ids.heads.get(name, nothing) for ids in examples], kind))
    return found


Layout = Callable[..., Batch]


@dataclass(frozen=True, slots=True)
class LayoutKind:
    """A layout and what packing must know of it."""

    arrange: Layout = field(repr=False)
    together: bool
    """Inputs and targets share one stack."""
    answers: Literal["written", "in place", "by heads"] = "written"
    """Targets have tokens of their own; or stand where the inputs do; or there are only those of heads."""
    in_sight: bool = False
    """Targets in place are the inputs: the model guesses a token from what stands before it, and from what follows."""


LAYOUTS = {
    "encdec": LayoutKind(encdec, together=False),
    "causal": LayoutKind(causal, together=True),
    "prefix": LayoutKind(prefix, together=True),
    "masked": LayoutKind(masked, together=False, answers="in place"),
    "both_ways": LayoutKind(masked, together=False, answers="in place", in_sight=True),
    "pair": LayoutKind(pair, together=False, answers="by heads"),
}
