"""Texts in, texts out: greedy, beam and sampled decoding, and the scores of given targets.

Letters: B inputs of a batch, N = B · beams decoded rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from textfer.batch import Batch, Ids, Specials
from textfer.choices import (
    Choices,
    Normalise,
    Ranked,
    Trie,
    Walks,
    check_normalise,
    normalised,
    per_text,
    ranked,
    tries_of,
)
from textfer.config import Options
from textfer.data.layout import LAYOUTS, Lens
from textfer.draws import Draws, address
from textfer.errors import ConfigError, DataError
from textfer.models import Generator
from textfer.models.cache import Cache
from textfer.tokenizers import Tokenizer

UNLIKELY = -1e9
SAMPLING = ("temperature", "top_k", "top_p", "seed")
"""Fields of Decoding that only sampling reads."""
MAX_INPUT_TOKENS = 8192
"""Longer inputs are refused unless the caller says where to cut: attention over them would fill the memory."""
MAX_LOGITS = 1 << 26
"""Logits made at once when targets are scored: 256 MiB."""


class Decoding(Options):
    """How an answer is written."""

    max_new_tokens: int = Field(64, gt=0)
    """Longest answer in tokens, end mark included; an answer that does not end by then is cut off."""
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
    """Longer inputs lose their end; None = nothing is cut, and what is far too long is refused."""


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

    def __init__(self, model: Generator, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def generate(
        self, texts: Sequence[str], decoding: Decoding | None = None, *, choices: Choices | None = None
    ) -> list[Generated]:
        """One answer a text, in order. With `choices`, each answer is one of them, to the letter.

        An empty list of choices bars nothing. An answer's log probability is the model's own, as without choices.
        Errors: ConfigError when a setting of `decoding` cannot take effect; DataError for a text that is far too long.
        """
        answers = dict(self.generate_each(texts, decoding, choices=choices))
        return [answers[number] for number in range(len(texts))]

    def generate_each(
        self, texts: Sequence[str], decoding: Decoding | None = None, *, choices: Choices | None = None
    ) -> Iterator[tuple[int, Generated]]:
        """(number of the text, its answer), batch by batch as they are made: the longest texts first."""
        decoding = check_decoding(decoding or Decoding())
        tries: list[Trie | None] = [None] * len(texts)
        if choices is not None:
            lists = per_text(choices, len(texts), where="generate")
            tries = tries_of(lists, self.tokenizer, longest=decoding.max_new_tokens)
        specials = self.tokenizer.specials
        for numbers, batch in self._batches(texts, decoding.batch_size, decoding.max_input_tokens):
            allowed = [tries[number] for number in numbers]
            walks = Walks(allowed) if any(allowed) else None
            with self._reading():
                if decoding.beams > 1:
                    found = beam_search(self.model, batch, decoding, specials, walks)
                elif decoding.sample:
                    keys = np.concatenate([address(decoding.seed, texts[number], 0, 0) for number in numbers])
                    found = decode(self.model, batch, decoding, specials, keys=keys, walks=walks)
                else:
                    found = decode(self.model, batch, decoding, specials, walks=walks)
            for number, trie, (ids, log_prob) in zip(numbers, allowed, found, strict=True):
                text = trie.text(ids) if trie else self.tokenizer.decode(ids)
                yield number, Generated(text, log_prob, len(ids))

    def score(
        self, texts: Sequence[str], targets: Sequence[Sequence[str]], *, batch_size: int = 16
    ) -> list[list[float]]:
        """[text][target] → the natural log of the target's probability given the text, end mark included.

        The encoder reads every text once, however many targets it has. A target without characters is the end mark.
        """
        if len(texts) != len(targets):
            raise ConfigError(f"score: got {len(texts)} texts and {len(targets)} lists of targets, expected as many.")
        found = {number: values for number, values, _ in self._score_each(texts, targets, batch_size, None)}
        return [found[number] for number in range(len(texts))]

    def rank(
        self,
        texts: Sequence[str],
        choices: Choices,
        *,
        normalise: Normalise = "none",
        batch_size: int = 16,
        max_input_tokens: int | None = None,
    ) -> list[Ranked]:
        """The likeliest of the choices after each text (rank classification), with the share of every one.

        `normalise` says how choices of unlike length or rarity are made comparable; see `choices.normalised`.
        Errors: ConfigError for another number of lists than texts, a list without choices, or one that stands twice.
        """
        found = dict(
            self.rank_each(
                texts, choices, normalise=normalise, batch_size=batch_size, max_input_tokens=max_input_tokens
            )
        )
        return [found[number] for number in range(len(texts))]

    def rank_each(
        self,
        texts: Sequence[str],
        choices: Choices,
        *,
        normalise: Normalise = "none",
        batch_size: int = 16,
        max_input_tokens: int | None = None,
    ) -> Iterator[tuple[int, Ranked]]:
        """(number of the text, its ranking), batch by batch as they are made: the longest texts first."""
        check_normalise(normalise, where="rank")
        lists = per_text(choices, len(texts), where="rank")
        if () in lists:
            raise ConfigError(f"rank: text {lists.index(()) + 1} of {len(texts)} has no choices, expected some.")
        tries_of(lists, self.tokenizer, longest=MAX_INPUT_TOKENS)  # choices that cannot be told apart are refused
        prior: dict[str, float] = {}
        if normalise == "unconditional":
            every = list(dict.fromkeys(choice for some in dict.fromkeys(lists) for choice in some))
            prior = dict(zip(every, self.score([""], [every])[0], strict=True)) if every else {}
        for number, log_probs, lens in self._score_each(texts, lists, batch_size, max_input_tokens):
            some = lists[number]
            priors = [prior[choice] for choice in some] if prior else []
            scores = normalised(log_probs, some, normalise, num_tokens=lens, unconditional=priors)
            yield number, ranked(some, log_probs, scores)

    def _score_each(
        self, texts: Sequence[str], targets: Sequence[Sequence[str]], size: int, limit: int | None
    ) -> Iterator[tuple[int, list[float], list[int]]]:
        """(number of the text, log probability of each target, tokens of each target)"""
        specials = self.tokenizer.specials
        for numbers, batch in self._batches(texts, size, limit):
            wanted = [self.tokenizer.encode_many(list(targets[number])) for number in numbers]
            ended = [[[*ids.tolist(), specials.eos] for ids in some] for some in wanted]
            with self._reading():
                found = likelihoods(self.model, batch, ended, specials)
            for number, values, some in zip(numbers, found, ended, strict=True):
                yield number, values, [len(ids) for ids in some]

    def _batches(self, texts: Sequence[str], size: int, limit: int | None) -> Iterator[tuple[list[int], Batch]]:
        """(numbers of the texts, batch of their ids), the longest first: little is padded, and memory shows early."""
        specials, layout = self.tokenizer.specials, self.model.layout
        eos = np.array([specials.eos], np.int32)
        encoded = self.tokenizer.encode_many(list(texts))
        sequences = [np.concatenate([ids[: limit - 1 if limit else None], eos], dtype=np.int32) for ids in encoded]
        order = sorted(range(len(texts)), key=lambda number: -len(sequences[number]))
        if limit is None and order and (longest := len(sequences[order[0]])) > MAX_INPUT_TOKENS:
            raise DataError(
                f"text {order[0] + 1} of {len(texts)}: is {longest:,} tokens long, expected {MAX_INPUT_TOKENS:,} at "
                "most. Shorten it, or set max_input_tokens to lose its end."
            )
        device = next(self.model.parameters()).device
        any_target = np.array([specials.pad], np.int32)  # moves the start mark and all inputs to the decoder's side
        for at in range(0, len(order), size):
            numbers = order[at : at + size]
            rows = [[Ids(sequences[number], any_target)] for number in numbers]
            lens = Lens(len(sequences[numbers[0]]), 1)
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


def _choose(
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
    cache, logits = _begin(model, batch, specials)
    num_rows = len(logits)
    tokens: list[list[int]] = [[] for _ in range(num_rows)]
    log_probs = [0.0] * num_rows
    alive = list(range(num_rows))
    done: set[int] = set()
    draws = None if keys is None else Draws(keys)
    for length in range(1, decoding.max_new_tokens + 1):
        barred = walks.barred(logits) if walks else None
        chosen, log_prob = _choose(logits.float(), decoding, draws, barred)
        if walks:
            walks.go(range(len(alive)), chosen.tolist())
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
            if walks:
                walks.keep(left)
        logits = model.step(ids, cache)
    return list(zip(tokens, log_probs, strict=True))


def _begin(model: Generator, batch: Batch, specials: Specials) -> tuple[Cache, Tensor]:
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

    Source: GNMT §7 for the penalty (as in Mesh TensorFlow, with which T5 was made); what enters the kept answers is as
    in transformers, so that without penalty both give the same.
    """
    size = decoding.beams
    cache, logits = _begin(model, batch, specials)
    num_rows, device = len(logits), logits.device
    cache.expand(size)
    logits = logits.repeat_interleave(size, 0)
    if walks:
        walks.expand(size)
    scores = torch.full((num_rows, size), UNLIKELY, device=device)
    scores[:, 0] = 0.0  # all beams are still the same one
    written = torch.full((num_rows, size, 0), specials.pad, device=device)
    kept: list[list[_Ended]] = [[] for _ in range(num_rows)]
    alive = list(range(num_rows))
    for length in range(1, decoding.max_new_tokens + 1):
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
        bound = scores[:, 0] / _penalty(decoding.max_new_tokens, decoding)
        bounds = bound.masked_fill(scores[:, 0] < UNLIKELY / 2, -math.inf).tolist()
        left = [at for at, row in enumerate(alive) if _worst(kept[row], size) < bounds[at]]
        if not left or length == decoding.max_new_tokens:
            break
        origins = (torch.arange(len(alive), device=device)[:, None] * size + beams).flatten()
        cache.reorder(origins)
        if walks:
            walks.go(origins.tolist(), tokens.flatten().tolist())
        if 2 * len(left) <= len(alive):  # as in `decode`
            keep = torch.tensor(left, device=device)
            cache.keep(keep)
            scores, tokens, written = scores[keep], tokens[keep], written[keep]
            alive = [alive[at] for at in left]
            if walks:
                walks.keep([at * size + beam for at in left for beam in range(size)])
        logits = model.step(tokens.reshape(-1, 1), cache)
    for at in left:
        kept[alive[at]].append(_Ended(bounds[at], float(scores[at, 0]), written[at, 0].tolist()))
    return [(best.ids, best.log_prob) for best in map(max, kept)]


class _Ended(NamedTuple):
    """An answer that ended, or was cut off."""

    rank: float
    log_prob: float
    ids: list[int]


def _worst(kept: Sequence[_Ended], size: int) -> float:
    return kept[-1].rank if len(kept) == size else -math.inf


def _penalty(length: int, decoding: Decoding) -> float:
    return float(((5 + length) / 6) ** decoding.length_penalty)


def likelihoods(
    model: Generator, batch: Batch, targets: Sequence[Sequence[Sequence[int]]], specials: Specials
) -> list[list[float]]:
    """[row][target] → log probability of the target's tokens after the row's input, which is read once."""
    width = max(map(len, targets))
    if not width:
        return [[] for _ in targets]
    cache, first = _begin(model, batch, specials)
    longest = max(len(target) for some in targets for target in some)
    step = max(1, MAX_LOGITS // (len(targets) * longest * first.shape[-1]))
    found: list[list[float]] = [[] for _ in targets]
    for start in range(0, width, step):
        part = [some[start : start + step] for some in targets]
        for row, values in enumerate(_likelihoods(model, cache.copy(), first, part, specials)):
            found[row] += values
    return found


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
