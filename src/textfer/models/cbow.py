"""CBOW: a word is guessed from the mean of the words around it, against a few words that noise puts in its place.

word2vec goes through a text word by word, and every update is seen by the next word. Here `batch_size` words in a row
are updated from the same vectors and their updates are added: the same rules and draws (window, sub-sampling, noise,
rate), the same update when a batch is one word, and vectors that are at most a batch out of date otherwise, as they
are between word2vec's threads. Batches need no loop over words:

    ids ──select──▶ E [B + 2W, D] ──band──▶ h [B, D] ──· noise and word──▶ σ, errors [B, K]
                    ◀─add── band transposed ◀── errors · rows, added up      └──▶ errors · h, added to rows

The band is the matrix that says which neighbours lie in a word's window, in blocks of 16 words.

Source: word2vec.c (github.com/tmikolov/word2vec); Mikolov et al. 2013, arXiv 1301.3781 and 1310.4546.
"""

from __future__ import annotations

import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from textfer.batch import Float32, Int32
from textfer.config import Options
from textfer.draws import Int64
from textfer.errors import DataError, NotFiniteError
from textfer.models.word_vectors import Cut, WordVectors, sentences

MAX_LOGIT = 6.0
"""Beyond it a probability counts as 0 or 1 (MAX_EXP)."""
MIN_LR_SHARE = 1e-4
NOISE_POWER = 0.75
GROUP = 16
"""Words of a block of the band: smaller ones are many small products, larger ones are mostly zeros."""
SLICE = 100_000
"""Words drawn for at once: few enough for the cache, many enough for numpy."""
MAX_NOISE_TABLE = 10**8


class CbowOptions(Options):
    """How words are counted and vectors are learnt; the defaults are word2vec's."""

    dim: int = Field(100, ge=1)
    """Numbers in a vector."""
    window: int = Field(5, ge=1)
    """Most neighbours on either side; every word draws its own reach from 1 to this."""
    negative: int = Field(5, ge=1)
    """Noise words for every word."""
    min_count: int = Field(5, ge=1)
    """Rarer words are left out of the text."""
    sample: float = Field(1e-3, ge=0)
    """Words more frequent than this are passed over at random; 0 = none."""
    epochs: int = Field(5, ge=1)
    """Times that the text is read."""
    lr: float = Field(0.05, gt=0)
    """Rate at the start; it falls to nearly nothing over all epochs."""
    batch_size: int = Field(512, ge=1)
    """Words updated at once; 1 is word2vec's own order."""
    cut: Cut = "words"
    """`words`: runs of letters and digits, in small letters. `spaces`: what stands between spaces, as it is."""
    seed: int = Field(0, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A text as numbers of its words, the most frequent word is 0."""

    words: tuple[str, ...]
    counts: Int64
    ids: Int32
    """All sentences laid end to end, words below `min_count` left out."""
    ends: Int64
    """Where each sentence ends in `ids`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training has come."""

    epoch: int
    """From 1."""
    words: int
    """Words of the text read so far, over all epochs."""
    of: int
    lr: float
    loss: float
    """Mean of −log σ over a word and its noise, summed, in the batch just done."""
    words_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Sentences with everything drawn that chance decides."""

    ids: Int64
    """[N] words that were not passed over, sentences end to end."""
    left: Int64
    """[N] neighbours before each word that are in its window and its sentence."""
    right: Int64
    """[N] the same after it."""
    noise: Int64
    """[N, negative]; a noise word equal to the word itself is not used."""
    places: Int64
    """[N] where each stood before words were passed over."""


def read_corpus(texts: Iterable[str], options: CbowOptions) -> Corpus:
    """The texts counted and numbered; every line is a sentence, and no window reaches over its end.

    Errors: DataError for something that is no text, and when fewer than two words are frequent enough.
    """
    places: defaultdict[str, int] = defaultdict()
    places.default_factory = places.__len__
    ids, ends = array("i"), array("q")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"texts: got {type(text).__name__} at place {number}, expected text.")
        for words in sentences(text, options.cut):
            ids.extend(map(places.__getitem__, words))
            ends.append(len(ids))
    everything = np.frombuffer(ids, np.int32) if ids else np.zeros(0, np.int32)
    return numbered(everything, np.array(ends, np.int64), list(places), options)


def numbered(ids: Int32, ends: Int64, names: Sequence[str], options: CbowOptions) -> Corpus:
    """The corpus of words that have numbers already, `names[number]`, in sentences that end at `ends`.

    Errors: DataError when fewer than two are frequent enough.
    """
    counts = np.bincount(ids, minlength=len(names))
    kept = [place for place in range(len(names)) if counts[place] >= options.min_count]
    if len(kept) < 2:
        raise DataError(
            f"texts: {len(kept)} of {len(names):,} words occur {options.min_count} times or more in {len(ids):,}, "
            "expected 2 at least. Give more text or a smaller min_count."
        )
    kept.sort(key=lambda place: (-counts[place], names[place]))
    renumbered = np.full(len(names), -1, np.int32)
    renumbered[kept] = np.arange(len(kept), dtype=np.int32)
    numbers = renumbered[ids]
    stay = numbers >= 0
    before = np.concatenate([[0], np.cumsum(stay)])
    return Corpus(
        words=tuple(names[place] for place in kept),
        counts=counts[kept].astype(np.int64),
        ids=numbers[stay],
        ends=before[ends],
    )


def train_cbow(
    texts: Iterable[str],
    options: CbowOptions | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> WordVectors:
    """Vectors of the words of `texts`. The same texts, options and seed give the same vectors on one thread.

    The text is held in memory, 4 bytes a word. `progress` is called about every 100,000 words.

    Errors: DataError for texts with nothing to learn from; NotFiniteError when `lr` is too large.
    """
    options = options or CbowOptions()
    corpus = read_corpus(texts, options)
    tables = fresh_tables(corpus, options)
    learn(tables, corpus, options, progress=progress)
    return WordVectors(corpus.words, tables.inputs.numpy(), corpus.counts)


class Tables(NamedTuple):
    """What is learnt."""

    inputs: Tensor
    """[V, D] vectors of words as neighbours: those that are kept."""
    outputs: Tensor
    """[V, D] vectors of words as guesses."""


def fresh_tables(corpus: Corpus, options: CbowOptions) -> Tables:
    """Inputs uniform within ± 1 / (2 dim), outputs zero, as word2vec starts."""
    numbers = np.random.default_rng(options.seed).random((len(corpus.words), options.dim), np.float32)
    inputs = torch.from_numpy((numbers - np.float32(0.5)) / np.float32(options.dim))
    return Tables(inputs, torch.zeros_like(inputs))


def learn(
    tables: Tables, corpus: Corpus, options: CbowOptions, *, progress: Callable[[Progress], None] | None = None
) -> None:
    """Trains the tables in place. Errors: NotFiniteError."""
    update, chance = Update(tables, options), Chance(corpus.counts, options)
    total, began = options.epochs * len(corpus.ids), time.perf_counter()
    for epoch in range(options.epochs):
        for first, last, ends in _slices(corpus):
            seen = epoch * len(corpus.ids) + first
            drawn = chance.draw(corpus.ids[first:last], ends, np.random.default_rng([options.seed, epoch, first]))
            lr, loss = _go_through(update, drawn, options, seen / (total + 1), total)
            if not np.isfinite(loss):
                raise NotFiniteError(f"lr: the loss is {loss} with {options.lr}. Take a smaller one.")
            if progress:
                done = seen + last - first
                rate = done / (time.perf_counter() - began)
                progress(Progress(epoch=epoch + 1, words=done, of=total, lr=lr, loss=loss, words_per_second=rate))


def _go_through(update: Update, drawn: Drawn, options: CbowOptions, share: float, total: int) -> tuple[float, float]:
    """(rate, loss) of the last batch after all words of a slice; `share` of the work was done before."""
    lr, loss = options.lr * max(MIN_LR_SHARE, 1 - share), 0.0
    update.lay(drawn)
    for begin in range(0, len(drawn.ids), options.batch_size):
        lr = options.lr * max(MIN_LR_SHARE, 1 - share - drawn.places[begin] / (total + 1))
        end = min(begin + options.batch_size, len(drawn.ids))
        logits = update(begin, end, lr)
        if end == len(drawn.ids):
            loss = float(losses(logits).mean())
    return float(lr), loss


def _slices(corpus: Corpus) -> Iterator[tuple[int, int, Int64]]:
    """(first, last, sentence ends from first on) of runs of whole sentences with about `SLICE` words."""
    first, number = 0, 0
    while first < len(corpus.ids):
        stop = int(np.searchsorted(corpus.ends, min(first + SLICE, len(corpus.ids))))
        last = int(corpus.ends[stop])
        yield first, last, corpus.ends[number : stop + 1] - first
        first, number = last, stop + 1


class Chance:
    """What is drawn: words passed over, windows, noise."""

    def __init__(self, counts: Int64, options: CbowOptions) -> None:
        shares = counts / counts.sum()
        sample = options.sample
        self.keep: Float32 = ((np.sqrt(shares / sample) + 1) * sample / shares if sample else shares * 0 + 2).astype(
            np.float32
        )
        """[V] probability that a word is not passed over; above 1 it never is."""
        self.noise = _noise_table(counts)
        self._options = options

    def draw(self, ids: Int32, ends: Int64, rng: np.random.Generator) -> Drawn:
        """One reading of sentences that end at `ends`."""
        places = np.flatnonzero(rng.random(len(ids), np.float32) <= self.keep[ids])
        words = ids[places].astype(np.int64)
        sentence = np.searchsorted(ends, places, side="right")
        bounds = np.concatenate([[0], np.searchsorted(places, ends)])
        reach = rng.integers(1, self._options.window + 1, len(words))
        at = np.arange(len(words))
        return Drawn(
            ids=words,
            left=np.minimum(reach, at - bounds[sentence]),
            right=np.minimum(reach, bounds[sentence + 1] - 1 - at),
            noise=self.noise[rng.integers(0, len(self.noise), (len(words), self._options.negative))].astype(np.int64),
            places=places,
        )


def _noise_table(counts: Int64) -> NDArray[np.int32]:
    """Every word as often as its count to the power 0.75 demands; shorter than word2vec's 10^8 for few words."""
    sums = np.cumsum(counts.astype(np.float64) ** NOISE_POWER)
    size = min(max(64 * len(counts), 1 << 20), MAX_NOISE_TABLE)
    return np.searchsorted(sums / sums[-1], (np.arange(size) + 0.5) / size).astype(np.int32)


class Update:
    """word2vec's update of a run of words, made in place, in memory that is taken once.

    Letters: B words, W window, G words of a block of the band, K = 1 + negative.
    """

    def __init__(self, tables: Tables, options: CbowOptions) -> None:
        """`tables` are changed by every call; float32."""
        self.inputs, self.outputs = tables
        self._window, dim = options.window, tables.inputs.shape[1]
        width = 2 * options.window + 1
        self._group = min(GROUP, options.batch_size)
        self._blocks = -(-options.batch_size // self._group)
        span = self._group + width - 1
        rows = self._blocks * self._group
        self._around = torch.zeros(rows + width - 1, dim)
        self._spans = self._around.as_strided((self._blocks, span, dim), (self._group * dim, dim, 1))
        self._band = torch.zeros(self._blocks, self._group, span)
        self._diagonals = self._band.as_strided((self._blocks, self._group, width), (self._group * span, span + 1, 1))
        self._patterns, self._shares = _patterns(options.window)
        self._rows = torch.zeros(rows * (1 + options.negative), dim)

    def lay(self, drawn: Drawn) -> None:
        """Takes the words whose places the next calls name."""
        window, rows = self._window, self._blocks * self._group
        count = len(drawn.ids)
        padded = np.zeros(count + rows + 2 * window, np.int64)
        padded[window : window + count] = drawn.ids
        self._ids = torch.from_numpy(padded)
        self._reach = torch.from_numpy(np.pad(drawn.left * (window + 1) + drawn.right, (0, rows)))
        self._targets = torch.from_numpy(np.concatenate([drawn.ids[:, None], drawn.noise], axis=1))
        used = np.ones(self._targets.shape, np.float32)
        used[:, 1:] = drawn.noise != drawn.ids[:, None]
        self._used = torch.from_numpy(used)

    def __call__(self, begin: int, end: int, lr: float) -> Tensor:
        """Updates with the words at `begin` to `end`; the logits [B, K] before, the word itself first."""
        count, window = end - begin, self._window
        rows = self._blocks * self._group
        around = self._ids[begin : begin + rows + 2 * window]
        reach = self._reach[begin : begin + rows]
        if count < rows:  # words after `end` have no window, so nothing comes of them
            reach = torch.cat([reach[:count], reach.new_zeros(rows - count)])
        self._diagonals.copy_(self._patterns.index_select(0, reach).view(self._diagonals.shape))
        torch.index_select(self.inputs, 0, around, out=self._around)
        mean = torch.bmm(self._band, self._spans).view(rows, -1)[:count]
        mean *= self._shares.index_select(0, reach[:count]).unsqueeze(1)

        targets = self._targets[begin:end]
        chosen = self._rows[: targets.numel()]
        torch.index_select(self.outputs, 0, targets.view(-1), out=chosen)
        chosen = chosen.view(*targets.shape, -1)
        logits: Tensor = torch.linalg.vecdot(chosen, mean.unsqueeze(1))
        errors = _errors(logits).mul_(self._used[begin:end]).mul_(lr)

        back = mean.new_zeros(rows, mean.shape[1])
        torch.bmm(errors.unsqueeze(1), chosen, out=back[:count].unsqueeze(1))
        torch.mul(errors.unsqueeze(2), mean.unsqueeze(1), out=chosen)
        self.outputs.index_add_(0, targets.view(-1), chosen.view(targets.numel(), -1))
        spread = torch.bmm(self._band.transpose(1, 2), back.view(self._blocks, self._group, -1))
        self.inputs.index_add_(0, around.unfold(0, spread.shape[1], self._group).reshape(-1), spread.flatten(0, 1))
        return logits


def losses(logits: Tensor) -> Tensor:
    """−log σ of each word's own logit and of minus those of its noise, summed: [B, K] → [B]."""
    softplus = torch.nn.functional.softplus
    return softplus(-logits[:, 0]) + softplus(logits[:, 1:]).sum(1)


def _errors(logits: Tensor) -> Tensor:
    """Label minus probability: [B, K], of which the first of each row is the word itself."""
    chances = logits.sigmoid().masked_fill_(logits > MAX_LOGIT, 1.0).masked_fill_(logits < -MAX_LOGIT, 0.0)
    errors = chances.neg_()
    errors[:, 0] += 1
    return errors


def _patterns(window: int) -> tuple[Tensor, Tensor]:
    """For left · (window + 1) + right: [., 2W + 1] ones at the neighbours, and [.] 1 / their number, 0 for none."""
    left, right = (part.reshape(-1, 1) for part in np.divmod(np.arange((window + 1) ** 2), window + 1))
    offsets = np.arange(-window, window + 1)
    patterns = ((offsets >= -left) & (offsets <= right) & (offsets != 0)).astype(np.float32)
    sizes = patterns.sum(1)
    return torch.from_numpy(patterns), torch.from_numpy(np.where(sizes > 0, 1 / np.maximum(sizes, 1), 0)).float()
