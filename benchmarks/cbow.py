"""How many words a second does CBOW learn from, beside gensim, and are the vectors as good? One JSON line each.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/cbow.py --data DIR [--words 1000000] [--rounds 5]

Wikipedia, words in small letters, the same sentences and word2vec's defaults on both sides (100 numbers, window 5,
5 noise words, sub-sampling at 1e-3, words that occur 5 times, rate from 0.05). A round is one epoch of each, in turns,
counted in words of the text before sub-sampling; building the vocabulary is timed apart. gensim has one worker thread,
and another that hands it sentences: seconds of CPU count both, seconds of the clock neither when they overlap.

held out: after `--epochs` on all but every 50th sentence, −log σ of a word and its 5 noise words, from each side's two
tables, on the sentences left out, with the same windows and noise. An untrained table has 6 log 2 = 4.159.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from rounds import measure, rounded, row
from textfer.models.cbow import CbowOptions, Chance, Corpus, Tables, Update, fresh_tables, learn, losses, read_corpus
from textfer.models.word_vectors import sentences

OPTIONS = CbowOptions(epochs=1, cut="spaces")
BATCHES = (512, 64)


def text_of(data: Path, words: int) -> list[list[str]]:
    """Sentences (lines) with about so many words."""
    found: list[list[str]] = []
    count = 0
    for batch in pq.ParquetFile(data / "text" / "wikipedia_en" / "train-00003.parquet").iter_batches(
        256, columns=["text"]
    ):
        for line in (line for text in batch.column(0).to_pylist() for line in sentences(text, "words")):
            found.append(line)
            count += len(line)
            if count >= words:
                return found
    return found


def joined(lines: list[list[str]]) -> list[str]:
    return [" ".join(line) for line in lines]


def gensim_model(lines: list[list[str]]) -> Any:
    """The peer with its vocabulary."""
    from gensim.models import Word2Vec

    model = Word2Vec(
        vector_size=OPTIONS.dim,
        window=OPTIONS.window,
        negative=OPTIONS.negative,
        min_count=OPTIONS.min_count,
        sample=OPTIONS.sample,
        alpha=OPTIONS.lr,
        min_alpha=OPTIONS.lr * 1e-4,
        sg=0,
        cbow_mean=1,
        workers=1,
        seed=1,
    )
    model.build_vocab(lines)
    return model


def clocked(run: Callable[[], object], seconds: list[float]) -> Callable[[], None]:
    """`run`, which also keeps the seconds of the clock."""

    def timed() -> None:
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)

    return timed


def speed(lines: list[list[str]], *, rounds: int) -> None:
    """Words a second of an epoch, and of reading."""
    corpus, peer = read_corpus(joined(lines), OPTIONS), gensim_model(lines)
    assert set(corpus.words) == set(peer.wv.key_to_index)
    runs: dict[str, Callable[[], object]] = {
        f"textfer, batches of {size}": lambda size=size: train(corpus, OPTIONS.model_copy(update={"batch_size": size}))
        for size in BATCHES
    }
    runs["gensim"] = lambda: peer.train(lines, total_examples=len(lines), epochs=1)
    report(runs, sum(map(len, lines)), "an epoch", rounds=rounds)
    texts = joined(lines)
    reading = {"textfer": lambda: read_corpus(texts, OPTIONS), "gensim": lambda: gensim_model(lines)}
    report(reading, sum(map(len, lines)), "the vocabulary", rounds=rounds)


def train(corpus: Corpus, options: CbowOptions) -> Tables:
    """Tables after all epochs."""
    tables = fresh_tables(corpus, options)
    learn(tables, corpus, options)
    return tables


def report(runs: dict[str, Callable[[], object]], words: int, what: str, *, rounds: int) -> None:
    """A row for every side; the last one is the peer."""
    walls: dict[str, list[float]] = {name: [] for name in runs}
    sides = {name: clocked(run, walls[name]) for name, run in runs.items()}
    seconds = measure(sides, repeats=rounds, clock=time.process_time)
    *_, peer = runs
    for name, cpu in seconds.items():
        clock = walls[name][1:]
        more = {
            "words/s by the clock": rounded(words / float(np.median(clock))),
            "times the peer, CPU": rounded(float(np.median(np.divide(seconds[peer], cpu)))),
            "times the peer, clock": rounded(float(np.median(np.divide(walls[peer][1:], clock)))),
        }
        row(f"{what}: {name}", [words / second for second in cpu], "words/s", **more)


def held_out(lines: list[list[str]], *, epochs: int) -> None:
    """The loss on sentences that nobody learnt from."""
    kept = [line for number, line in enumerate(lines) if number % 50]
    corpus, peer = read_corpus(joined(kept), OPTIONS), gensim_model(kept)
    peer.train(kept, total_examples=len(kept), epochs=epochs)
    order = [peer.wv.key_to_index[word] for word in corpus.words]
    tables = {
        f"textfer, batches of {size}": train(corpus, OPTIONS.model_copy(update={"epochs": epochs, "batch_size": size}))
        for size in BATCHES
    }
    tables["gensim"] = Tables(*(torch.from_numpy(np.array(table[order])) for table in (peer.wv.vectors, peer.syn1neg)))
    tables["untrained"] = fresh_tables(corpus, OPTIONS)
    places = {word: place for place, word in enumerate(corpus.words)}
    known = [[places[word] for word in line if word in places] for line in islice(lines, 0, None, 50)]
    ids, ends = np.concatenate(known).astype(np.int32), np.cumsum([len(line) for line in known])
    drawn = Chance(corpus.counts, OPTIONS).draw(ids, ends, np.random.default_rng(0))
    for name, pair in tables.items():
        update = Update(pair, OPTIONS)
        update.lay(drawn)
        found = [
            losses(update(begin, min(begin + OPTIONS.batch_size, len(drawn.ids)), 0.0))  # rate 0: nothing changes
            for begin in range(0, len(drawn.ids), OPTIONS.batch_size)
        ]
        row(f"held out, {epochs} epochs: {name}", [float(torch.cat(found).mean())], "nats a word", words=len(drawn.ids))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a mirror of the data sets")
    parser.add_argument("--words", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=5, help="of the comparison on sentences left out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = text_of(args.data, args.words)
    speed(lines, rounds=args.rounds)
    held_out(lines, epochs=args.epochs)


if __name__ == "__main__":
    main()
