"""The log probabilities of given answers, many for one input that is read once.

Letters: B inputs of a batch, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from textfer.batch import Batch, Specials
from textfer.generate.decoding import begin
from textfer.models import Generator
from textfer.models.cache import Cache

MAX_LOGITS = 1 << 26
"""Logits made at once when targets are scored: 256 MiB."""


def likelihoods(
    model: Generator, batch: Batch, targets: Sequence[Sequence[Sequence[int]]], specials: Specials
) -> list[list[float]]:
    """[row][target] → log probability of the target's tokens after the row's input, which is read once."""
    width = max(map(len, targets))
    if not width:
        return [[] for _ in targets]
    cache, first = begin(model, batch, specials)
    if _overflow(model, batch, targets):  # a long input beside another's long target
        alone = []
        for row, some in enumerate(targets):
            own = cache.copy()
            own.keep(torch.tensor([row], device=first.device))
            alone += _likelihoods(model, own, first[row : row + 1], [some], specials) if some else [[]]
        return alone
    longest = max(len(target) for some in targets for target in some)
    step = max(1, MAX_LOGITS // (len(targets) * longest * first.shape[-1]))
    found: list[list[float]] = [[] for _ in targets]
    for start in range(0, width, step):
        part = [some[start : start + step] for some in targets]
        for row, values in enumerate(_likelihoods(model, cache.copy(), first, part, specials)):
            found[row] += values
    return found


def _overflow(model: Generator, batch: Batch, targets: Sequence[Sequence[Sequence[int]]]) -> bool:
    """Whether the longest input and the longest target of a batch have no positions together."""
    if batch.decoder is None or model.max_len is None or len(targets) == 1:
        return False
    longest = max(len(target) for some in targets for target in some)
    return max(run.end - run.start for run in batch.decoder.runs) + longest - 1 > model.max_len


def _likelihoods(
    model: Generator, cache: Cache, first: Tensor, targets: Sequence[Sequence[Sequence[int]]], specials: Specials
) -> list[list[float]]:
    """The same, all at once. Shorter lists are filled up with the end mark alone."""
    width = max(map(len, targets))
    flat = [list(target) for some in targets for target in [*some, *[[specials.eos]] * (width - len(some))]]
    cache.expand(width)
    ids = torch.full((len(flat), max(map(len, flat))), specials.pad)
    for row, target in enumerate(flat):
        ids[row, : len(target)] = torch.tensor(target)
    lens = torch.tensor([len(target) for target in flat], device=first.device)
    ids = ids.to(first.device)
    logits = first.repeat_interleave(width, 0)[:, None]
    if ids.shape[1] > 1:
        logits = torch.cat([logits, model.follow(ids[:, :-1], cache)], 1)
    logits = logits.float()
    log_probs = logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)
    counts = torch.arange(ids.shape[1], device=ids.device) < lens[:, None]
    sums = log_probs.masked_fill(~counts, 0.0).sum(-1).view(len(targets), width).tolist()
    return [row[: len(some)] for row, some in zip(sums, targets, strict=True)]
