"""Texts in, texts out: greedy, beam and sampled decoding, and the scores of given targets.

Letters: B inputs of a batch, N = B · beams decoded rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from textfer.batch import Batch, Ids, Specials
from textfer.config import Options
from textfer.data.layout import LAYOUTS, Lens
from textfer.draws import Draws, address
from textfer.errors import ConfigError
from textfer.models import Model
from textfer.models.cache import Cache
from textfer.tokenizers import Tokenizer

UNLIKELY = -1e9


class Decoding(Options):
    """How an answer is written."""

    max_new_tokens: int = Field(64, gt=0)
    """Longest answer in tokens, end mark included."""
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
    """Longer inputs lose their end; None = nothing is cut."""


def check_decoding(decoding: Decoding) -> Decoding:
    """The same, or a ConfigError when a setting cannot take effect."""
    fields = Decoding.model_fields
    useless = ("temperature", "top_k", "top_p", "seed") if not decoding.sample else ()
    useless += ("length_penalty",) if decoding.beams == 1 else ()
    for name in useless:
        if getattr(decoding, name) != fields[name].default:
            raise ConfigError(
                f"{name}: cannot take effect without {'beams > 1' if name == 'length_penalty' else 'sample'}. Drop it."
            )
    if decoding.sample and decoding.beams > 1:
        raise ConfigError("sample: cannot go with beams > 1. Choose one.")
    return decoding


@dataclass(frozen=True, slots=True)
class Generated:
    """One answer."""

    text: str
    log_prob: float
    """Sum of the natural logs of its tokens' probabilities, end mark included."""
    num_tokens: int


@final
class Predictor:
    """A model and its vocabulary, ready to read and write."""

    def __init__(self, model: Model, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def generate(self, texts: Sequence[str], decoding: Decoding | None = None) -> list[Generated]:
        """One answer a text, in order."""
        decoding = check_decoding(decoding or Decoding())
        answers: dict[int, Generated] = {}
        with self._reading():
            for numbers, batch in self._batches(texts, decoding.batch_size, decoding.max_input_tokens):
                if decoding.beams > 1:
                    found = beam_search(self.model, batch, decoding, self.tokenizer.specials)
                else:
                    keys = (
                        [address(decoding.seed, texts[number], 0, 0) for number in numbers] if decoding.sample else None
                    )
                    found = decode(self.model, batch, decoding, self.tokenizer.specials, keys and np.array(keys))
                for number, (ids, log_prob) in zip(numbers, found, strict=True):
                    answers[number] = Generated(self.tokenizer.decode(ids), log_prob, len(ids))
        return [answers[number] for number in range(len(texts))]

    def score(
        self, texts: Sequence[str], targets: Sequence[Sequence[str]], *, batch_size: int = 16
    ) -> list[list[float]]:
        """[text][target] → the natural log of the target's probability given the text, end mark included.

        The encoder reads every text once, however many targets it has.
        """
        if len(texts) != len(targets):
            raise ConfigError(f"score: got {len(texts)} texts and {len(targets)} lists of targets, expected as many.")
        found: dict[int, list[float]] = {}
        specials = self.tokenizer.specials
        with self._reading():
            for numbers, batch in self._batches(texts, batch_size, None):
                wanted = [self._ended(self.tokenizer.encode_many(list(targets[number]))) for number in numbers]
                found.update(zip(numbers, likelihoods(self.model, batch, wanted, specials), strict=True))
        return [found[number] for number in range(len(texts))]

    def _ended(self, sequences: Sequence[Sequence[int]]) -> list[list[int]]:
        return [[*sequence, self.tokenizer.specials.eos] for sequence in sequences]

    def _batches(self, texts: Sequence[str], size: int, limit: int | None) -> Iterator[tuple[list[int], Batch]]:
        """(numbers of the texts, batch of their ids), the longest first: little is padded, and memory shows early."""
        sequences = [
            np.array(ids[: limit - 1 if limit else None], np.int32) for ids in self.tokenizer.encode_many(list(texts))
        ]
        order = iter(sorted(range(len(texts)), key=lambda number: -len(sequences[number])))
        specials, layout = self.tokenizer.specials, self.model.layout
        device = next(self.model.parameters()).device
        any_target = np.array([specials.pad], np.int32)  # moves the start mark and all inputs to the decoder's side
        while numbers := list(islice(order, size)):
            rows = [[Ids(np.append(sequences[number], np.int32(specials.eos)), any_target)] for number in numbers]
            lens = Lens(max(len(ids.inputs) for (ids,) in rows), 1)
            batch = LAYOUTS[layout].arrange(rows, lens, specials)
            yield numbers, (replace(batch, decoder=None) if batch.encoder else batch).to(device)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        was_training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.model.train(was_training)


def _choose(logits: Tensor, decoding: Decoding, draws: Draws | None) -> tuple[Tensor, Tensor]:
    """([N] tokens, [N] log probabilities under the model itself)."""
    log_z = logits.logsumexp(-1)
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
    place = torch.searchsorted(total, at, right=True).clamp(max=share.shape[-1] - 1)
    token = order.gather(-1, place)[:, 0]
    return token, logits.gather(-1, token[:, None])[:, 0] - log_z


def decode(
    model: Model, batch: Batch, decoding: Decoding, specials: Specials, keys: NDArray[np.uint64] | None = None
) -> list[tuple[list[int], float]]:
    """(tokens, log probability) of each row, greedily or, given random keys, sampled. Finished rows leave the batch."""
    cache, logits = _begin(model, batch, specials)
    num_rows = len(logits)
    tokens: list[list[int]] = [[] for _ in range(num_rows)]
    log_probs = [0.0] * num_rows
    alive = list(range(num_rows))
    done: set[int] = set()
    draws = None if keys is None else Draws(keys)
    for length in range(1, decoding.max_new_tokens + 1):
        chosen, log_prob = _choose(logits.float(), decoding, draws)
        for row, token, value in zip(alive, chosen.tolist(), log_prob.tolist(), strict=True):
            if row in done:
                continue
            tokens[row].append(token)
            log_probs[row] += value
            if token == specials.eos:
                done.add(row)
        if len(done) == num_rows or length == decoding.max_new_tokens:
            break
        ids = chosen[:, None]
        left = [at for at, row in enumerate(alive) if row not in done]
        if 2 * len(left) <= len(alive):  # copying the caches pays once half of the rows are done
            keep = torch.tensor(left, device=ids.device)
            cache.keep(keep)
            ids, alive = ids[keep], [alive[at] for at in left]
            draws = None if draws is None else draws.rows(left)
        logits = model.step(ids, cache)
    return list(zip(tokens, log_probs, strict=True))


def _begin(model: Model, batch: Batch, specials: Specials) -> tuple[Cache, Tensor]:
    """(the cache of a batch that was read, [B, V] logits of the first token to write)"""
    cache = model.begin(batch)
    if cache.logits is not None:  # a decoder-only model has read its start mark with its inputs
        return cache, cache.logits
    assert batch.encoder is not None
    start = torch.full_like(batch.encoder.ids[:, :1], specials.pad)
    return cache, model.step(start, cache)


def beam_search(model: Model, batch: Batch, decoding: Decoding, specials: Specials) -> list[tuple[list[int], float]]:
    """(tokens, log probability) of each row's best answer.

    A row ends when no open beam could still beat its worst kept finished answer. Source: GNMT §7; Mesh TensorFlow.
    """
    size = decoding.beams
    cache, logits = _begin(model, batch, specials)
    num_rows, device = len(logits), logits.device
    cache.expand(size)
    logits = logits.repeat_interleave(size, 0)
    first_row = torch.arange(num_rows, device=device)[:, None] * size
    scores = torch.full((num_rows, size), UNLIKELY, device=device)
    scores[:, 0] = 0.0
    written = torch.full((num_rows, size, 0), specials.pad, device=device)
    finished: list[list[tuple[float, float, list[int]]]] = [[] for _ in range(num_rows)]

    def penalty(length: int) -> float:
        return ((5 + length) / 6) ** decoding.length_penalty

    for length in range(1, decoding.max_new_tokens + 1):
        log_probs = logits.float().log_softmax(-1).view(num_rows, size, -1)
        vocab = log_probs.shape[-1]
        values, places = (scores[:, :, None] + log_probs).flatten(1).topk(2 * size, -1)
        beams, tokens = places // vocab, places % vocab
        ends = tokens == specials.eos
        for row, at in ends.nonzero().tolist():
            value = float(values[row, at])
            if at < size and value > UNLIKELY / 2:
                answer = [*written[row, beams[row, at]].tolist(), specials.eos]
                finished[row] = sorted([*finished[row], (value / penalty(length), value, answer)], reverse=True)[:size]
        scores, places = values.masked_fill(ends, UNLIKELY).topk(size, -1)
        beams, tokens = beams.gather(1, places), tokens.gather(1, places)
        written = torch.cat([written.gather(1, beams[..., None].expand(-1, -1, length - 1)), tokens[..., None]], -1)
        bound = (scores[:, 0] / penalty(decoding.max_new_tokens)).tolist()
        if all(len(pool) == size and pool[-1][0] >= best for pool, best in zip(finished, bound, strict=True)):
            break
        if length < decoding.max_new_tokens:
            cache.reorder((first_row + beams).flatten())
            logits = model.step(tokens.reshape(-1, 1), cache)
    for row, pool in enumerate(finished):
        if len(pool) < size:  # cut off: the best open beam counts as it stands
            best = float(scores[row, 0])
            pool.append((best / penalty(decoding.max_new_tokens), best, written[row, 0].tolist()))
    return [(answer, value) for _, value, answer in (max(pool) for pool in finished)]


def likelihoods(
    model: Model, batch: Batch, targets: Sequence[Sequence[Sequence[int]]], specials: Specials
) -> list[list[float]]:
    """[row][target] → log probability of the target's tokens after the row's input, which is read once."""
    cache, first = _begin(model, batch, specials)
    width = max(map(len, targets))
    flat = [list(target) for some in targets for target in [*some, *[[specials.eos]] * (width - len(some))]]
    if not flat:
        return [[] for _ in targets]
    cache.expand(width)
    ids = torch.full((len(flat), max(map(len, flat))), specials.pad, device=first.device)
    for row, target in enumerate(flat):
        ids[row, : len(target)] = torch.tensor(target, device=first.device)
    logits = first.repeat_interleave(width, 0)[:, None]
    if ids.shape[1] > 1:
        logits = torch.cat([logits, model.follow(ids[:, :-1], cache)], 1)
    log_probs = logits.float().log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    lens = torch.tensor([len(target) for target in flat], device=ids.device)
    counts = torch.arange(ids.shape[1], device=ids.device) < lens[:, None]
    sums = log_probs.masked_fill(~counts, 0.0).sum(-1).view(len(targets), width).tolist()
    return [row[: len(some)] for row, some in zip(sums, targets, strict=True)]
