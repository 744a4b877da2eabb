"""How right are a reader's answers, and do its scores say so? Markdown tables.

    OMP_NUM_THREADS=1 python benchmarks/answers.py --model RUN --data DIR [--only squad long novel index] [--limit 100]

squad: SQuAD 1.1 and 2.0, validation; of 1.1 an answer is always taken, of 2.0 what the model says. Calibration errors
are told without and with what `textfer tune` fitted, where the model's folder holds that. long: covid_qa_deepset, whole
papers as contexts. novel: ten questions of ours on a novel that the data folder holds. index: `--articles` Wikipedia
articles and SQuAD's paragraphs in one index (see retrieval.py), questions of SQuAD asked of it all.

Long texts are read in three ways: `answer` (all windows, compared by raw scores where the model points at answers),
`ask` of all passages (compared by odds of "no answer"), and `ask` of the ten passages that fit the question's words.
Baselines: the commonest answer; for long texts the first window alone. "found": the best place overlaps the gold one.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

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

Model = TextReader | TextToText
CHUNK = 256
"""Questions put to the model at once."""
FIRST_TOKENS = 300
FOUND = 10
ALL = 10**9
SECTIONS = ("squad", "long", "novel", "index")


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


def chunks(count: int) -> Iterator[slice]:
    """Slices of so many things."""
    return (slice(at, at + CHUNK) for at in range(0, count, CHUNK))


# ---- SQuAD


def squads(reader: Model, data: Path, limit: int | None) -> None:
    """EM, F1 and calibration errors of both SQuADs."""
    rows: list[list[object]] = []
    for name in ("squad", "squad_v2"):
        task = find_task(name)
        examples = load_labelled(task, "validation", data_dir=data, limit=limit)
        merged = []
        start = time.process_time()
        for part in chunks(len(examples)):
            fields = [one.fields for one in examples[part]]
            heard = reader.weigh_each(
                [one["question"] for one in fields],
                [one["context"] for one in fields],
                decoding=Decoding(batch_size=32),
            )
            merged += [merge_windows([one], [0]) for one in heard]
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


def long(reader: Model, data: Path, limit: int | None) -> None:
    """Whole papers as contexts."""
    examples = load_labelled(find_task("covid_qa_deepset"), "validation", data_dir=data, limit=limit)
    commonest = Counter(one.facts["answers"][0] for one in examples).most_common(1)[0][0]
    texts = [one.fields["context"] for one in examples]
    asked = [one.fields["question"] for one in examples]
    golds = [list(one.facts["answers"]) for one in examples]
    places = [[(span.start, span.end) for span in one.spans] for one in examples]
    chars = statistics.mean(map(len, texts))
    read_long(reader, f"covid_qa_deepset, {chars:,.0f} characters each", asked, texts, golds, places, commonest)


def novel(reader: Model, data: Path, limit: int | None) -> None:
    """Our own questions on a novel."""
    rows = pq.read_table(data / "text" / "english_novels" / "train.parquet").to_pylist()
    text = next(row["text"] for row in rows if row["title"] == TITLE)
    some = QUESTIONS[:limit]
    golds = [list(one.answers) for one in some]
    places = [_places(text, one.answers) for one in some]
    for one, found in zip(some, places, strict=True):
        assert found, f"{one.answers[0]} does not stand in the novel"
    name = f"a novel of {len(text):,} characters"
    said = read_long(reader, name, [one.question for one in some], [text] * len(some), golds, places, golds[0][0])
    print()
    for number, one in enumerate(some):
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


def read_long(
    reader: Model,
    name: str,
    questions: Sequence[str],
    texts: Sequence[str],
    golds: Sequence[Sequence[str]],
    places: Sequence[Sequence[tuple[int, int]]],
    commonest: str,
) -> dict[str, list[Said]]:
    """A table of the ways of reading; what each said."""
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
                indexes.clear()
                document = parse(text.encode(), ".txt", name="text")
                assert isinstance(document, Document)
                indexes[text] = text_index([document], tokenizer)
            return _read(ask(reader, indexes[text], question, count=count, decoding=Decoding(batch_size=32)))

        return read

    ways: dict[str, Callable[[str, str], Said]] = {
        "all windows": whole,
        "all passages, odds": asked(ALL),
        f"{FOUND} passages found": asked(FOUND),
        "first window": first,
    }
    rows: list[list[object]] = []
    said: dict[str, list[Said]] = {}
    for way, read in ways.items():
        start = time.process_time()
        said[way] = [read(question, text) for question, text in zip(questions, texts, strict=True)]
        seconds = (time.process_time() - start) / len(questions)
        scores = squad([one.text for one in said[way]], golds)
        hits = [_overlaps(one, some) for one, some in zip(said[way], places, strict=True)]
        none = sum(not one.text for one in said[way])
        rows.append([way, scores["em"], scores["f1"], 100 * statistics.mean(hits), none, f"{seconds:.2f}"])
    scores = squad([commonest] * len(questions), golds)
    rows.append([f"always “{shorten(commonest, 40, placeholder=' …')}”", scores["em"], scores["f1"], "", 0, ""])
    table((f"{name}; {len(questions)} questions", "EM", "F1", "found, %", "said none", "CPU s each"), rows)
    return said


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


def index(reader: Model, data: Path, limit: int | None, articles: int) -> None:
    """Questions of SQuAD put to everything."""
    task = find_task("squad")
    examples = load_labelled(task, "validation", data_dir=data)
    step = max(1, len(examples) // limit) if limit else 1
    examples = examples[::step][:limit]
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
                    *_asked_of_all(reader, found, examples, paths),
                ],
            )
    finally:
        shutil.rmtree(work)


def _asked_of_all(
    reader: Model, found: Index, examples: Sequence[Example], paths: dict[str, tuple[str, str]]
) -> list[tuple[str, object]]:
    ranks, seconds, texts, reading = [], [], [], []
    for one in examples:
        question, gold = one.fields["question"], paths[one.fields["context"]][0]
        hits, cpu, _ = retrieval.timed(lambda question=question: found.search(question, count=max(retrieval.KS)))
        seconds.append(cpu)
        ranks.append(next((at for at, hit in enumerate(hits) if hit.path == gold), ALL))
        said, cpu, _ = retrieval.timed(lambda question=question: _read(ask(reader, found, question, count=FOUND)))
        texts.append(said.text)
        reading.append(cpu)
    golds = [list(one.facts["answers"]) for one in examples]
    scores = squad(texts, golds)
    commonest = Counter(answers[0] for answers in golds).most_common(1)[0][0]
    rows: list[tuple[str, object]] = [("questions", f"{len(examples):,}")]
    rows += [(f"recall@{k}, %", 100 * statistics.mean(rank < k for rank in ranks)) for k in retrieval.KS]
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
    parser.add_argument("--limit", type=int, help="questions of each set at most; of the index's, spread over all")
    parser.add_argument("--articles", type=int, default=10_000)
    args = parser.parse_args()
    reader = load(args.model)
    about = facts()
    calibration = reader.calibration
    fitted = f"calibrated on {calibration.num_questions:,} questions ({calibration.fitted_on})" if calibration else ""
    print(
        f"{reader!r}; {fitted or 'not calibrated'}. {about['device']}, load {about['load']}, commit {about['commit']}."
    )
    if "squad" in args.only:
        squads(reader, args.data, args.limit)
    if "long" in args.only:
        long(reader, args.data, args.limit)
    if "novel" in args.only:
        novel(reader, args.data, args.limit)
    if "index" in args.only:
        index(reader, args.data, args.limit, args.articles)


if __name__ == "__main__":
    main()
