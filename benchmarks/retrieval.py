"""How fast is a folder indexed and searched, and is the right paragraph found? One JSON line each.

    OMP_NUM_THREADS=1 python benchmarks/retrieval.py --data DIR [--articles 10000] [--questions 2000]

A folder of Wikipedia articles, one text file each, and of SQuAD's paragraphs, one Markdown file each with the article's
title as its heading. recall@k: a passage of the question's own paragraph is among the first k; "or the answer": any
passage that holds a gold answer in its spelling (Wikipedia's articles hold some paragraphs of SQuAD again). The peer,
bm25s, gets the same passages with the title before each, its own English stop words and no stemmer. Seconds are those
of the CPU; `clock` says those of the clock, which depend on who else wants the machine. Questions go one by one.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from rounds import rounded, row
from textfer.documents import database
from textfer.documents.index import Hit, Index, open_index
from textfer.documents.query import match_expression

SQUAD = Path("rajpurkar/squad/plain_text")
KS = (1, 5, 20)
Search = Callable[[str], list[tuple[str, str]]]
"""Question → (path, text) of the first passages."""


def articles(data: Path, count: int) -> Iterator[tuple[str, str]]:
    """(title, text) of every n-th article of the mirror, so that `count` come from all its files."""
    files = sorted((data / "text" / "wikipedia_en").glob("train-*.parquet"))
    step = sum(pq.ParquetFile(file).metadata.num_rows for file in files) / count
    number, wanted = 0, 0.0
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(256, columns=["title", "text"]):
            for article in batch.to_pylist():
                if number >= wanted:
                    yield article["title"], article["text"]
                    wanted += step
                number += 1


def squad(data: Path) -> tuple[dict[str, tuple[str, str]], list[dict[str, Any]]]:
    """(context → (path, title), rows of the validation split)."""
    paths: dict[str, tuple[str, str]] = {}
    rows: list[dict[str, Any]] = []
    for split in ("train", "validation"):
        rows = pq.read_table(data / SQUAD / f"{split}.parquet").to_pylist()
        for one in rows:
            paths.setdefault(one["context"], (f"squad/{len(paths):05}.md", one["title"].replace("_", " ")))
    return paths, rows


def write(folder: Path, data: Path, count: int, paths: dict[str, tuple[str, str]]) -> int:
    """Writes the folder; characters written."""
    total = 0
    (folder / "squad").mkdir(parents=True)
    (folder / "wikipedia").mkdir()
    for number, (title, text) in enumerate(articles(data, count)):
        (folder / "wikipedia" / f"{number:05}.md").write_text(f"# {title}\n\n{text}", encoding="utf-8")
        total += len(text)
    for context, (path, title) in paths.items():
        (folder / path).write_text(f"# {title}\n\n{context}", encoding="utf-8")
        total += len(context)
    return total


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, seconds of CPU, seconds of the clock)."""
    cpu, clock = time.process_time(), time.perf_counter()
    found = run()
    return found, time.process_time() - cpu, time.perf_counter() - clock


def recall(name: str, search: Search, rows: Sequence[dict[str, Any]], paths: dict[str, tuple[str, str]]) -> None:
    """Rows of recall and of seconds a question."""
    own, answered = dict.fromkeys(KS, 0), dict.fromkeys(KS, 0)
    seconds, clocks = [], []
    for one in rows:
        found, cpu, clock = timed(lambda question=one["question"]: search(question))
        seconds.append(cpu)
        clocks.append(clock)
        gold = paths[one["context"]][0]
        right = [path == gold for path, _ in found]
        holds = [any(answer in text for answer in one["answers"]["text"]) for _, text in found]
        for k in KS:
            own[k] += any(right[:k])
            answered[k] += any(holds[:k])
    percent = {f"recall@{k}": rounded(100 * own[k] / len(rows)) for k in KS}
    percent |= {f"or the answer@{k}": rounded(100 * answered[k] / len(rows)) for k in KS}
    row(f"{name}: the question's paragraph is first", [percent["recall@1"]], "%", questions=len(rows), **percent)
    p95, p50_clock, p95_clock = (
        rounded(1000 * statistics.quantiles(some, n=20)[at]) for some, at in ((seconds, 18), (clocks, 9), (clocks, 18))
    )
    row(f"{name}: a question, CPU", [1000 * one for one in seconds], "ms", p95=p95, clock=[p50_clock, p95_clock])


def by_title_weight(place: Path, weight: float) -> Search:
    """Our index, with words of the title counted so many times."""
    base = sqlite3.connect(place)

    def search(question: str) -> list[tuple[str, str]]:
        found = base.execute(
            "SELECT d.path, w.text FROM (SELECT rowid, text FROM words WHERE words MATCH ?"
            f" ORDER BY bm25(words, {weight}, 1.0) LIMIT 20) w"
            " JOIN passages p ON p.id = w.rowid JOIN documents d ON d.id = p.document",
            (match_expression(question),),
        )
        return [(path, text) for path, text in found]

    return search


def peer(hits: Sequence[Hit]) -> tuple[Search, float]:
    """(bm25s over the same passages, seconds of CPU that it took to index them)."""
    import bm25s

    texts = [f"{hit.title}\n{hit.text}" for hit in hits]

    def build() -> Any:
        index = bm25s.BM25()
        index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
        return index

    index, seconds, _ = timed(build)

    def search(question: str) -> list[tuple[str, str]]:
        words = bm25s.tokenize(question, stopwords="en", show_progress=False)
        found, scores = index.retrieve(words, k=max(KS), show_progress=False)
        return [(hits[at].path, hits[at].text) for at, score in zip(found[0], scores[0], strict=True) if score > 0]

    return search, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a mirror of the data sets")
    parser.add_argument("--articles", type=int, default=10_000)
    parser.add_argument("--questions", type=int, default=2_000, help="of the validation split, at most")
    args = parser.parse_args()
    work = Path(tempfile.mkdtemp())
    try:
        paths, rows = squad(args.data)
        chars = write(work / "docs", args.data, args.articles, paths)
        measure(work, rows[: args.questions], paths, chars)
    finally:
        shutil.rmtree(work)


def measure(work: Path, rows: Sequence[dict[str, Any]], paths: dict[str, tuple[str, str]], chars: int) -> None:
    """All rows."""
    place = work / "index.db"
    with open_index(place, write=True) as index:
        report, cpu, clock = timed(lambda: index.refresh(work / "docs"))
        size = {"documents": index.num_documents, "passages": index.num_passages, "M characters": rounded(chars / 1e6)}
        row("textfer: index, CPU", [cpu], "s", clock=rounded(clock), **size)
        assert not report.skipped
        _, cpu, clock = timed(lambda: index.refresh(work / "docs"))
        row("textfer: the same again, nothing changed, CPU", [cpu], "s", clock=rounded(clock))
        hits = index.everything()
    with closing(sqlite3.connect(place)) as base:
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    bytes_ = place.stat().st_size
    row("textfer: size of the index", [bytes_ / 2**20], "MiB", **{"times the text": rounded(bytes_ / chars)})
    with open_index(place) as index:
        recall("textfer", lambda question: found_by(index, question), rows, paths)
    for weight in (0.0, 1.0, 2.0):
        what = f"title × {weight:g}" + (" (ours), every third question" if weight == database.TITLE_WEIGHT else ", too")
        recall(f"textfer, {what}", by_title_weight(place, weight), rows[::3], paths)
    search, seconds = peer(hits)
    row("bm25s: index, CPU", [seconds], "s", kept="in memory")
    recall("bm25s", search, rows, paths)


def found_by(index: Index, question: str) -> list[tuple[str, str]]:
    """The first passages of our index."""
    return [(hit.path, hit.text) for hit in index.search(question, count=max(KS))]


if __name__ == "__main__":
    main()
