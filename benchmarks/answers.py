"""How right are a reader's answers, and do its scores say so? Markdown tables.

    OMP_NUM_THREADS=2 python benchmarks/answers.py --model RUN --data DIR [--only squad long novel index] [--limit 100]
        [--minutes long=3 novel=3 index=3] [--novel-ways odds found first] [--weights int8]

squad: SQuAD 1.1 and 2.0, validation; of 1.1 an answer is always taken, of 2.0 what the model says. Calibration errors
are told without and with what `textfer tune` fitted, where the model's folder holds that. long: covid_qa_deepset, whole
papers as contexts. novel: ten questions of ours on a novel that the data folder holds. index: `--articles` Wikipedia
articles and SQuAD's paragraphs in one index (see retrieval.py), questions of SQuAD asked of it all.

Long texts are read in three ways: `answer` (all windows, compared by raw scores where the model points at answers),
`ask` of all passages (compared by odds of "no answer"), and `ask` of the ten passages that fit the question's words.
Baselines: the commonest answer; for long texts the first window alone. "found": the best place overlaps the gold one.
`--minutes`: of a part no further questions are asked after so long; those that were are a fair sample (an index is
made first, in about a minute).
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar

import numpy as np
import pyarrow.parquet as pq

import retrieval
from novel_questions import QUESTIONS, TITLE
from rounds import facts
from textfer import Answer, Decoding, TextReader, TextToText, load
from textfer.answered import answer_score
from textfer.batch import Example
from textfer.data.named import find_task
from textfer.documents.document import Document
from textfer.documents.index import Index, open_index
from textfer.documents.passages import windows
from textfer.documents.read import parse
from textfer.evaluate import constant_baseline, load_labelled
from textfer.merging import merge_windows
from textfer.metrics import squad
from textfer.metrics.calibration import expected_calibration_error
from textfer.open_book import Reading, ask, text_index
from textfer.tuning import judge

T = TypeVar("T")
Model = TextReader | TextToText
CHUNK = 256
"""Questions put to the model at once."""
FIRST_TOKENS = 300
FOUND = 10
ALL = 10**9
MAX_INDEXES = 16
"""Of texts, kept in memory."""
SECTIONS = ("squad", "long", "novel", "index")
WAYS = {
    "windows": "all windows",
    "odds": "all passages, odds",
    "found": f"{FOUND} passages found",
    "first": "first window",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is asked."""

    questions: int | None
    seconds: float
    ways: Sequence[str] = tuple(WAYS)


@dataclass(frozen=True, kw_only=True)
class Put:
    """A question about a long text."""

    question: str
    text: str
    golds: Sequence[str]
    places: Sequence[tuple[int, int]]
    """Where the right answer stands."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one way of reading gave for a question."""

    text: str
    """"" = no answer"""
    start: int | None
    end: int | None


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table; numbers with one digit."""
    print(f"\n| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(f'{one:.1f}' if isinstance(one, float) else str(one) for one in row)} |", flush=True)


def spread(things: Sequence[T], count: int | None = None) -> list[T]:
    """So many of them, or all, in an order of which every beginning is a fair sample."""
    return [things[at] for at in np.random.default_rng(0).permutation(len(things))[:count]]


def chunks(count: int) -> Iterator[slice]:
    """Slices of so many things."""
    return (slice(at, at + CHUNK) for at in range(0, count, CHUNK))


# ---- SQuAD


def squads(reader: Model, data: Path, limits: Limits) -> None:
    """EM, F1 and calibration errors of both SQuADs."""
    rows: list[list[object]] = []
    for name in ("squad", "squad_v2"):
        task = find_task(name)
        examples = spread(load_labelled(task, "validation", data_dir=data), limits.questions)
        merged = []
        start, began = time.process_time(), time.perf_counter()
        for part in chunks(len(examples)):
            fields = [one.fields for one in examples[part]]
            heard = reader.weigh_each(
                [one["question"] for one in fields],
                [one["context"] for one in fields],
                decoding=Decoding(batch_size=32),
            )
            merged += [merge_windows([one], [0]) for one in heard]
            if time.perf_counter() - began > limits.seconds / 2:
                break
        examples = examples[: len(merged)]
        seconds = (time.process_time() - start) / len(examples)
        judged = judge(merged, [(task, examples)])
        assert task.metrics is not None
        if name == "squad":
            told = [one.merged.answers[0] if one.merged.answers else None for one in judged]
            texts = [one.text if one else "" for one in told]
            right = [one.best_right for one in judged]
            scores = [
                [answer_score(one.share if one else 0.0, calibration) for one in told]
                for calibration in (None, reader.calibration)
            ]
        else:
            texts = [one.text or "" for one in judged]
            right = [one.right for one in judged]
            scores = [[one.score(calibration) for one in judged] for calibration in (None, reader.calibration)]
        found = dict(task.metrics(texts, examples))
        before, after = (expected_calibration_error(some, right) for some in scores)
        rows.append(
            [*_scores(name, found, len(examples)), before, after if reader.calibration else "–", f"{seconds:.3f}"]
        )
        target, baseline = constant_baseline(task, "validation", examples)
        rows.append([*_scores(f"{name}, always “{target.strip()}”", baseline.scores, len(examples)), "", "", ""])
    head = ("set", "questions", "EM", "F1", "HasAns EM", "HasAns F1", "NoAns F1", "ECE", "ECE calibrated", "CPU s each")
    table(head, rows)


def _scores(name: str, found: Any, count: int) -> list[object]:
    more = [found.get(key, "") for key in ("HasAns_exact", "HasAns_f1", "NoAns_f1")]
    return [name, f"{count:,}", float(found["em"]), float(found["f1"]), *more]


# ---- long texts


def long(reader: Model, data: Path, limits: Limits) -> None:
    """Whole papers as contexts."""
    examples = load_labelled(find_task("covid_qa_deepset"), "validation", data_dir=data)
    asked = [
        Put(
            question=one.fields["question"],
            text=one.fields["context"],
            golds=list(one.facts["answers"]),
            places=[(span.start, span.end) for span in one.spans],
        )
        for one in spread(examples, limits.questions)
    ]
    chars = statistics.mean(len(one.text) for one in asked)
    read_long(reader, f"covid_qa_deepset, {chars:,.0f} characters each", asked, limits)


def novel(reader: Model, data: Path, limits: Limits) -> None:
    """Our own questions on a novel."""
    rows = pq.read_table(data / "text" / "english_novels" / "train.parquet", columns=["title", "text"]).to_pylist()
    text = next(row["text"] for row in rows if row["title"] == TITLE)
    some = spread(QUESTIONS, limits.questions)
    asked = [
        Put(question=one.question, text=text, golds=one.answers, places=_places(text, one.answers)) for one in some
    ]
    for one in asked:
        assert one.places, f"{one.golds[0]} does not stand in the novel"
    said = read_long(reader, f"a novel of {len(text):,} characters", asked, limits)
    print()
    for number, one in enumerate(some[: len(next(iter(said.values())))]):
        answers = ", ".join(f"{way}: {found[number].text or '–'}" for way, found in said.items())
        print(f"- {one.question} **{one.answers[0]}** ({100 * one.share:.0f} % in). {answers}")


def _places(text: str, answers: Sequence[str]) -> list[tuple[int, int]]:
    """Every place of every answer."""
    found = []
    for answer in answers:
        at = text.find(answer)
        while at >= 0:
            found.append((at, at + len(answer)))
            at = text.find(answer, at + 1)
    return found


def read_long(reader: Model, name: str, asked: Sequence[Put], limits: Limits) -> dict[str, list[Said]]:
    """A table of the ways of reading, all asked the same; what each said."""
    ways = {WAYS[way]: read for way, read in ways_of(reader).items() if way in limits.ways}
    said: dict[str, list[Said]] = {way: [] for way in ways}
    seconds = dict.fromkeys(ways, 0.0)
    began = time.perf_counter()
    for number, one in enumerate(asked):
        if number and (time.perf_counter() - began) * (number + 1) / number > limits.seconds:
            break
        for way, read in ways.items():
            start = time.process_time()
            said[way].append(read(one.question, one.text))
            seconds[way] += time.process_time() - start
    asked = asked[: len(next(iter(said.values())))]
    golds = [one.golds for one in asked]
    commonest = Counter(some[0] for some in golds).most_common(1)[0][0]
    rows: list[list[object]] = []
    for way, some in said.items():
        scores = squad([one.text for one in some], golds)
        hits = [_overlaps(one, gold.places) for one, gold in zip(some, asked, strict=True)]
        none = sum(not one.text for one in some)
        each = f"{seconds[way] / len(asked):.2f}"
        rows.append([way, scores["em"], scores["f1"], 100.0 * statistics.mean(hits), none, each])
    scores = squad([commonest] * len(asked), golds)
    rows.append([f"always “{shorten(commonest, 40, placeholder=' …')}”", scores["em"], scores["f1"], "", 0, ""])
    table((f"{name}; {len(asked)} questions", "EM", "F1", "found, %", "said none", "CPU s each"), rows)
    return said


def ways_of(reader: Model) -> dict[str, Callable[[str, str], Said]]:
    """Way → what it says to (question, text)."""
    tokenizer = reader.predictor.tokenizer
    indexes: dict[str, Index] = {}

    def whole(question: str, text: str) -> Said:
        return _said(reader.answer(question, context=text, decoding=Decoding(batch_size=32)))

    def first(question: str, text: str) -> Said:
        _, end = windows(text, tokenizer, size=FIRST_TOKENS)[0]
        return _said(reader.answer(question, context=text[:end]))

    def asked(count: int) -> Callable[[str, str], Said]:
        def read(question: str, text: str) -> Said:
            if text not in indexes:
                if len(indexes) == MAX_INDEXES:
                    indexes.clear()
                document = parse(text.encode(), ".txt", name="text")
                assert isinstance(document, Document)
                indexes[text] = text_index([document], tokenizer)
            return _read(ask(reader, indexes[text], question, count=count, decoding=Decoding(batch_size=32)))

        return read

    return {"windows": whole, "odds": asked(ALL), "found": asked(FOUND), "first": first}


def _said(answer: Answer) -> Said:
    return Said(text=answer.text or "", start=answer.start, end=answer.end)


def _read(reading: Reading) -> Said:
    best = reading.answer
    return Said(text=best.text, start=best.start, end=best.end) if best else Said(text="", start=None, end=None)


def _overlaps(one: Said, places: Sequence[tuple[int, int]]) -> bool:
    if one.start is None or one.end is None:
        return False
    return any(start < one.end and one.start < end for start, end in places)


# ---- an index


def index(reader: Model, data: Path, limits: Limits, articles: int) -> None:
    """Questions of SQuAD put to everything."""
    examples = spread(load_labelled(find_task("squad"), "validation", data_dir=data), limits.questions)
    work = Path(tempfile.mkdtemp())
    try:
        paths, _ = retrieval.squad(data)
        chars = retrieval.write(work / "docs", data, articles, paths)
        with open_index(work / "index.db", write=True) as made:
            _, cpu, clock = retrieval.timed(lambda: made.refresh(work / "docs"))
            size = f"{made.num_documents:,} documents, {made.num_passages:,} passages, {chars / 1e6:.0f} M characters"
        with open_index(work / "index.db") as found:
            table(
                ("an index", "value"),
                [
                    ("size", size),
                    ("indexed in, s of CPU (clock)", f"{cpu:.1f} ({clock:.1f})"),
                    *_asked_of_all(reader, found, examples, paths, limits.seconds),
                ],
            )
    finally:
        shutil.rmtree(work)


def _asked_of_all(
    reader: Model, found: Index, examples: Sequence[Example], paths: dict[str, tuple[str, str]], within: float
) -> list[tuple[str, object]]:
    ranks, seconds, texts, reading = [], [], [], []
    began = time.perf_counter()
    for one in examples:
        if texts and time.perf_counter() - began > within:
            break
        question, gold = one.fields["question"], paths[one.fields["context"]][0]
        hits, cpu, _ = retrieval.timed(lambda question=question: found.search(question, count=max(retrieval.KS)))
        seconds.append(cpu)
        ranks.append(next((at for at, hit in enumerate(hits) if hit.path == gold), ALL))
        said, cpu, _ = retrieval.timed(lambda question=question: _read(ask(reader, found, question, count=FOUND)))
        texts.append(said.text)
        reading.append(cpu)
    golds = [list(one.facts["answers"]) for one in examples[: len(texts)]]
    scores = squad(texts, golds)
    commonest = Counter(answers[0] for answers in golds).most_common(1)[0][0]
    rows: list[tuple[str, object]] = [("questions", f"{len(texts):,}")]
    rows += [(f"recall@{k}, %", 100.0 * statistics.mean(rank < k for rank in ranks)) for k in retrieval.KS]
    rows += [
        ("a search, ms of CPU (median)", 1000 * statistics.median(seconds)),
        (f"an answer from {FOUND} passages, s of CPU (median)", f"{statistics.median(reading):.2f}"),
        (f"EM / F1 from {FOUND} passages", f"{scores['em']:.1f} / {scores['f1']:.1f}"),
        ("said none", sum(not text for text in texts)),
        (f"EM, always “{commonest}”", squad([commonest] * len(golds), golds)["em"]),
    ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a run folder or a model's folder, tuned or not")
    parser.add_argument("--data", type=Path, required=True, help="a mirror of the data sets")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--limit", type=int, help="questions of each set at most")
    parser.add_argument("--minutes", nargs="+", default=[], metavar="PART=NUMBER", help="for a part's questions")
    parser.add_argument("--novel-ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="of reading the novel")
    parser.add_argument("--articles", type=int, default=10_000)
    parser.add_argument("--weights", choices=("float32", "int8"), default="float32")
    args = parser.parse_args()
    minutes = {name: float(value) for name, _, value in (one.partition("=") for one in args.minutes)}
    if wrong := set(minutes) - set(SECTIONS):
        parser.error(f"--minutes: got {', '.join(wrong)}, expected some of {', '.join(SECTIONS)}")
    reader = load(args.model, weights=args.weights)
    about = facts()
    calibration = reader.calibration
    fitted = f"calibrated on {calibration.num_questions:,} questions ({calibration.fitted_on})" if calibration else ""
    print(
        f"{reader!r}, {args.weights}; {fitted or 'not calibrated'}. {about['device']}, {about['threads']} threads, "
        f"load {about['load']}, commit {about['commit']}.",
        flush=True,
    )
    for part in args.only:
        limits = Limits(questions=args.limit, seconds=60 * minutes.get(part, float("inf")))
        began = time.perf_counter()
        if part == "squad":
            squads(reader, args.data, limits)
        elif part == "long":
            long(reader, args.data, limits)
        elif part == "novel":
            novel(reader, args.data, replace(limits, ways=args.novel_ways))
        else:
            index(reader, args.data, limits, args.articles)
        print(f"# {part}: {time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
