"""How an answer is written, token by token: greedily, by beams, or drawn at random.

Letters: B inputs of a batch, N = B · beams decoded rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from textfer.batch import Batch, Specials
from textfer.choices import Walks
from textfer.config import Options
from textfer.draws import Draws
from textfer.errors import ConfigError
from textfer.models import Generator
from textfer.models.cache import Cache

UNLIKELY = -1e9
SAMPLING = ("temperature", "top_k", "top_p", "seed")
"""Fields of Decoding that only sampling reads."""


class Decoding(Options):
    """How an answer is written."""

    max_new_tokens: int = Field(64, gt=0)
    """Longest answer in tokens, end mark included. One that does not end by then, or by the last position that the
    model has, is cut off."""
    beams: int = Field(1, gt=0)
    """Answers followed at once; 1 = greedy."""
    length_penalty: float = Field(0.6, ge=0)
    """α of beam search: finished answers are ranked by log p / ((5 + length) / 6)^α (GNMT; T5 §3.7 uses 0.6)."""
    sample: bool = False
    """Draw tokens at random instead of taking the likeliest."""
    temperature: float = Field(1.0, gt=0)
    """Sampling: below 1 sharpens, above 1 flattens."""
    top_k: int | None = Field(None, gt=0)
    """Sampling: only the likeliest k tokens."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Sampling: only the likeliest tokens that together hold this probability."""
    seed: int = 0
    """Sampling: the same seed and text give the same answer."""
    batch_size: int = Field(16, gt=0)
    """Inputs decoded together; they are sorted by length first."""
    max_input_tokens: int | None = Field(None, gt=1)
    """Longer inputs lose their end, and prompts that are only gone on with their beginning; so do those for which the
    model has no positions. None = nothing is cut, and what is too long is refused."""


def check_decoding(decoding: Decoding, *, where: str = "decoding") -> Decoding:
    """The same, or a ConfigError when a setting cannot take effect."""
    if decoding.sample and decoding.beams > 1:
        raise ConfigError(f"{where}: sample cannot go with beams > 1. Choose one.")
    needs = dict.fromkeys(SAMPLING, "sample") if not decoding.sample else {}
    needs |= {"length_penalty": "beams > 1"} if decoding.beams == 1 else {}
    for name, need in needs.items():
        if getattr(decoding, name) != Decoding.model_fields[name].default:
            raise ConfigError(f"{where}: {name} cannot take effect without {need}. Drop it.")
    return decoding


def limits_of(model: Generator, batch: Batch, decoding: Decoding) -> list[int]:
    """How many tokens each row may write: `max_new_tokens`, or as many as the model has positions for."""
    most = decoding.max_new_tokens
    side = batch.decoder or batch.encoder
    assert side is not None, "a batch needs a side"
    if batch.decoder is None or model.max_len is None:
        return [most] * side.ids.shape[0]
    return [min(most, model.max_len - (run.end - run.start) + 1) for run in side.runs]


def choose(
    logits: Tensor, decoding: Decoding, draws: Draws | None, barred: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """([N] tokens, [N] log probabilities under the model itself); none that is barred ([N, V])."""
    log_z = logits.logsumexp(-1)
    if barred is not None:
        logits = logits.masked_fill(barred, -math.inf)
    if draws is None:
        best, token = logits.max(-1)
        return token, best - log_z
    scaled = logits / decoding.temperature
    if decoding.top_k is not None and decoding.top_k < scaled.shape[-1]:
        floor = scaled.topk(decoding.top_k, -1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < floor, -math.inf)
    values, order = scaled.sort(-1, descending=True)
    share = values.softmax(-1)
    before = share.cumsum(-1) - share
    if decoding.top_p is not None:
        share = share.masked_fill(before >= decoding.top_p, 0.0)
    total = share.cumsum(-1)
    at = torch.from_numpy(draws.uniform(1)).to(total) * total[:, -1:]
    last = (share > 0).sum(-1, keepdim=True) - 1  # rounding may carry `at` to the very end, where nothing is likely
    place = torch.searchsorted(total, at, right=True).minimum(last)
    token = order.gather(-1, place)[:, 0]
    return token, logits.gather(-1, token[:, None])[:, 0] - log_z


def decode(
    model: Generator,
    batch: Batch,
    decoding: Decoding,
    specials: Specials,
    *,
    keys: NDArray[np.uint64] | None = None,
    walks: Walks | None = None,
) -> list[tuple[list[int], float]]:
    """(tokens, log probability) of each row, greedily or, given random keys, sampled. Finished rows leave the batch.

    With `walks` every row keeps to the paths of its trie.
    """
    cache, logits = begin(model, batch, specials)
    num_rows, limits = len(logits), limits_of(model, batch, decoding)
    tokens: list[list[int]] = [[] for _ in range(num_rows)]
    log_probs = [0.0] * num_rows
    alive = list(range(num_rows))
    done: set[int] = set()
    draws = None if keys is None else Draws(keys)
    for length in range(1, max(limits) + 1):
        barred = walks.barred(logits) if walks else None
        chosen, log_prob = choose(logits.float(), decoding, draws, barred)
        if walks:
            walks.go(range(len(alive)), chosen.tolist())
        for row, token, value in zip(alive, chosen.tolist(), log_prob.tolist(), strict=True):
            if row in done:
                continue
            tokens[row].append(token)
            log_probs[row] += value
            if token == specials.eos or length == limits[row]:
                done.add(row)
        if len(done) == num_rows:
            break
        ids = chosen[:, None]
        left = [at for at, row in enumerate(alive) if row not in done]
        if _leaves(left, [limits[row] for row in alive], length):
            keep = torch.tensor(left, device=ids.device)
            cache.keep(keep)
            ids, alive = ids[keep], [alive[at] for at in left]
            draws = None if draws is None else draws.rows(left)
            if walks:
                walks.keep(left)
        logits = model.step(ids, cache)
    return list(zip(tokens, log_probs, strict=True))


def begin(model: Generator, batch: Batch, specials: Specials) -> tuple[Cache, Tensor]:
    """(the cache of a batch that was read, [B, V] logits of the first token to write)"""
    cache = model.begin(batch)
    if cache.logits is not None:  # a decoder-only model has read its start mark with its inputs
        return cache, cache.logits
    assert batch.encoder is not None
    start = torch.full_like(batch.encoder.ids[:, :1], specials.pad)
    return cache, model.step(start, cache)


def beam_search(
    model: Generator, batch: Batch, decoding: Decoding, specials: Specials, walks: Walks | None = None
) -> list[tuple[list[int], float]]:
    """(tokens, log probability) of each row's best answer by log p / ((5 + length) / 6)^α.

    Each step follows the likeliest `beams` answers that go on, and keeps the best `beams` that ended. A row is done
    when no open answer could still beat its worst kept one; an answer that is cut off counts with what it has. With
    `walks` every row keeps to the paths of its trie, and is done when they are all walked.

    Source: GNMT §7 for the penalty (as in Mesh TensorFlow and T5). What enters the kept answers is as in transformers.
    """
    size = decoding.beams
    cache, logits = begin(model, batch, specials)
    num_rows, device, limits = len(logits), logits.device, limits_of(model, batch, decoding)
    cache.expand(size)
    logits = logits.repeat_interleave(size, 0)
    if walks:
        walks.expand(size)
    scores = torch.full((num_rows, size), UNLIKELY, device=device)
    scores[:, 0] = 0.0  # all beams are still the same one
    written = torch.full((num_rows, size, 0), specials.pad, device=device)
    kept: list[list[_Ended]] = [[] for _ in range(num_rows)]
    alive = list(range(num_rows))
    for length in range(1, max(limits) + 1):
        log_probs = logits.float().log_softmax(-1)
        if walks:
            log_probs = log_probs.masked_fill(walks.barred(logits), UNLIKELY)
        vocab = log_probs.shape[-1]
        log_probs = log_probs.view(len(alive), size, vocab)
        values, places = (scores[:, :, None] + log_probs).flatten(1).topk(min(2 * size, size * vocab), -1)
        beams, tokens = places // vocab, places % vocab
        ends = tokens == specials.eos
        for at, rank in (ends & (values > UNLIKELY / 2))[:, :size].nonzero().tolist():
            value, ids = float(values[at, rank]), [*written[at, beams[at, rank]].tolist(), specials.eos]
            ended = _Ended(value / _penalty(length, decoding), value, ids)
            kept[alive[at]] = sorted([*kept[alive[at]], ended], reverse=True)[:size]
        scores, places = values.masked_fill(ends, UNLIKELY).topk(size, -1)
        beams, tokens = (found.gather(1, places) for found in (beams, tokens))
        written = torch.cat([written.gather(1, beams[..., None].expand(-1, -1, length - 1)), tokens[..., None]], -1)
        bounds = _bounds(scores[:, 0], [limits[row] for row in alive], decoding)
        open_ = [at for at, row in enumerate(alive) if _worst(kept[row], size) < bounds[at]]
        for at in open_:
            if limits[alive[at]] == length:  # cut off
                kept[alive[at]].append(_Ended(bounds[at], float(scores[at, 0]), written[at, 0].tolist()))
        left = [at for at in open_ if limits[alive[at]] > length]
        if not left:
            break
        origins = (torch.arange(len(alive), device=device)[:, None] * size + beams).flatten()
        cache.reorder(origins)
        if walks:
            walks.go(origins.tolist(), tokens.flatten().tolist())
        if _leaves(left, [limits[row] for row in alive], length):
            keep = torch.tensor(left, device=device)
            cache.keep(keep)
            scores, tokens, written = scores[keep], tokens[keep], written[keep]
            alive = [alive[at] for at in left]
            if walks:
                walks.keep([at * size + beam for at in left for beam in range(size)])
        logits = model.step(tokens.reshape(-1, 1), cache)
    return [(best.ids, best.log_prob) for best in map(max, kept)]


def _leaves(left: Sequence[int], limits: Sequence[int], length: int) -> bool:
    """Whether rows that are done leave the batch now. `limits` are those of all rows in it.

    Copying the caches pays once half of them are done; and a row at its limit has no position for one more token.
    """
    return 2 * len(left) <= len(limits) or min(limits) <= length


def _bounds(scores: Tensor, limits: Sequence[int], decoding: Decoding) -> list[float]:
    """The best rank that each row's likeliest open answer may still reach; -inf where all are barred."""
    found = scores / scores.new_tensor([_penalty(limit, decoding) for limit in limits])
    return [float(one) for one in found.masked_fill(scores < UNLIKELY / 2, -math.inf).tolist()]


class _Ended(NamedTuple):
    """An answer that ended, or was cut off."""

    rank: float
    log_prob: float
    ids: list[int]


def _worst(kept: Sequence[_Ended], size: int) -> float:
    return kept[-1].rank if len(kept) == size else -math.inf


def _penalty(length: int, decoding: Decoding) -> float:
    return float(((5 + length) / 6) ** decoding.length_penalty)
