"""Marks answers: a predictor on a task's split, or anybody's predictions, by the task's own metrics."""

from __future__ import annotations

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal, get_args

from textfer.batch import Example
from textfer.choices import Normalise, check_normalise
from textfer.data.predictions import read_predictions
from textfer.data.source import open_rows
from textfer.data.task import Task, choices_of
from textfer.data.tasks.forms import UNKNOWN
from textfer.data.tokens import examples_of
from textfer.errors import ConfigError, DataError, MachineError
from textfer.generate import Decoding, Predictor, check_decoding
from textfer.metrics import bootstrap
from textfer.read import HeadPredictor
from textfer.reader import share_of

How = Literal["generate", "rank", "constrained"]
HOWS: tuple[str, ...] = get_args(How)
MAX_MARKED = 200_000
"""Examples marked in all resamples of one interval together, where a score is no mean; at least 100 are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """How answers are got from a model.

    `generate`: it writes freely, as T5 does. `rank`: the likeliest of the example's choices (rank classification).
    `constrained`: it writes, and only what is one of the choices. A task without choices is always answered freely.
    """

    how: How = "generate"
    decoding: Decoding = field(default_factory=lambda: Decoding(batch_size=32))
    normalise: Normalise = "none"
    """Of `rank`: see `choices.normalised`."""

    def told(self, *, by_heads: bool = False) -> str:
        """All that decides the answers, in words: part of a score's signature."""
        if by_heads:
            limit = self.decoding.max_input_tokens
            return f"by heads, in readings of {f'at most {limit} tokens' if limit else 'the length of training'}"
        if self.how == "rank":
            return f"rank, normalise {self.normalise}{self._cut()}"
        decoding = self.decoding
        way = f"beams {decoding.beams}, length penalty {decoding.length_penalty:g}" if decoding.beams > 1 else "greedy"
        if decoding.sample:
            limits = {"top k": decoding.top_k, "top p": decoding.top_p}
            narrowed = "".join(f", {name} {value:g}" for name, value in limits.items() if value is not None)
            way = f"sampled at temperature {decoding.temperature:g}{narrowed}, seed {decoding.seed}"
        return f"{self.how}, {way}, at most {decoding.max_new_tokens} tokens{self._cut()}"

    def _cut(self) -> str:
        limit = self.decoding.max_input_tokens
        return f", inputs cut at {limit} tokens" if limit else ""


def check_answering(answering: Answering, *, where: str) -> Answering:
    """The same, or a ConfigError for an unknown word or a setting that cannot take effect."""
    check_decoding(answering.decoding, where=where)
    check_normalise(answering.normalise, where=where)
    if answering.how not in HOWS:
        raise ConfigError(f"{where}: how is '{answering.how}', expected one of {', '.join(HOWS)}.")
    if answering.how != "rank" and answering.normalise != "none":
        raise ConfigError(f"{where}: normalise cannot take effect without how = rank. Drop it.")
    if answering.how == "rank" and (answering.decoding.beams > 1 or answering.decoding.sample):
        raise ConfigError(f"{where}: beams and sampling cannot take effect with how = rank. Drop them.")
    return answering


@dataclass(frozen=True, slots=True)
class Made:
    """What a model made of one example."""

    text: str
    log_probs: tuple[float, ...] = ()
    """Of the example's choices, where they were ranked."""
    no_answer: float | None = None
    """The probability of "no answer", where a head may say so."""
    share: float | None = None
    """Of a text that was written or found: its share among all that the model could say; not calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A task's scores and what they were given for."""

    task: str
    split: str
    scores: Mapping[str, float]
    predictions: Mapping[str, str]
    """{example id: text}: the official format of SQuAD, and what `score` reads."""
    num_examples: int
    no_answers: Mapping[str, float] = field(default_factory=dict)
    """{example id: probability of "no answer"}, where a head may say so."""


def iter_examples(task: Task, split: str, *, data_dir: Path | None = None) -> Iterator[Example]:
    """The split's examples, one after the other."""
    return (example for _, example in examples_of(task, open_rows(task.source, split, data_dir=data_dir)))


def load_examples(task: Task, split: str, *, data_dir: Path | None = None, limit: int | None = None) -> list[Example]:
    """The split's examples; with `limit`, the first so many."""
    found = list(islice(iter_examples(task, split, data_dir=data_dir), limit))
    if not found:
        raise DataError(f"{task.name}/{split}: no example.")
    return found


def load_labelled(task: Task, split: str, *, data_dir: Path | None = None, limit: int | None = None) -> list[Example]:
    """The split's examples with a label; with `limit`, at most so many, evenly spread over the split.

    Spread, because many files are sorted by label: the first rows of such a file are marked on one answer alone.

    Errors: DataError when no example has one: nothing can be marked.
    """
    examples = load_examples(task, split, data_dir=data_dir)
    labelled = [example for example in examples if example.targets != UNKNOWN]
    if not labelled:
        raise DataError(
            f"{task.name}/{split}: none of the {len(examples):,} examples has a label, so nothing can be marked. "
            "Take another split, or make a leaderboard file with `textfer submit`."
        )
    if limit is None or limit >= len(labelled):
        return labelled
    return [labelled[number * len(labelled) // limit] for number in range(limit)]


def evaluate(
    predictor: Predictor | HeadPredictor,
    task: Task,
    split: str,
    *,
    answering: Answering | None = None,
    limit: int | None = None,
    data_dir: Path | None = None,
) -> Report:
    """What the predictor scores on a task's split, or on `limit` examples evenly spread over it.

    Errors: ConfigError when the task has no metric.
    """
    check_marked(task)
    examples = load_labelled(task, split, data_dir=data_dir, limit=limit)
    made = dict(answer_each(predictor, task, examples, answering or Answering()))
    return mark_made(task, split, examples, [made[number] for number in range(len(examples))])


def choice_lists(task: Task, examples: Sequence[Example]) -> list[tuple[str, ...]] | None:
    """What each example may be answered with; None when the answer to one of them may be any text."""
    lists = [tuple(dict.fromkeys(choices_of(task, example))) for example in examples]
    return lists if all(lists) else None


def answer_each(
    predictor: Predictor | HeadPredictor, task: Task, examples: Sequence[Example], answering: Answering
) -> Iterator[tuple[int, Made]]:
    """(number of the example, what the model made of it), batch by batch: the longest inputs first.

    Examples with the same input and choices are answered once. A model with heads answers by these, whatever is asked.
    """
    if isinstance(predictor, HeadPredictor):
        decoding = answering.decoding
        for number, found in predictor.find_each(
            task, examples, batch_size=decoding.batch_size, max_len=decoding.max_input_tokens
        ):
            yield number, Made(found.text, found.log_probs, found.no_answer_prob, share_of(found))
        return
    lists = choice_lists(task, examples) if answering.how != "generate" else None
    alike: dict[Hashable, list[int]] = defaultdict(list)
    for number, example in enumerate(examples):
        alike[example.inputs, lists[number] if lists else ()].append(number)
    places = list(alike.values())
    texts = [examples[same[0]].inputs for same in places]
    kept = [lists[same[0]] for same in places] if lists else None
    for place, made in _made_each(predictor, texts, kept, answering):
        for number in places[place]:
            yield number, made


def _made_each(
    predictor: Predictor, texts: Sequence[str], lists: Sequence[tuple[str, ...]] | None, answering: Answering
) -> Iterator[tuple[int, Made]]:
    decoding = answering.decoding
    if answering.how == "rank" and lists is not None:
        for number, one in predictor.rank_each(
            texts,
            lists,
            normalise=answering.normalise,
            batch_size=decoding.batch_size,
            max_input_tokens=decoding.max_input_tokens,
        ):
            yield number, Made(one.choice, one.log_probs)
    else:
        for number, answer in predictor.generate_each(texts, decoding, choices=lists):
            yield number, Made(answer.text, share=math.exp(answer.log_prob))


def mark_made(task: Task, split: str, examples: Sequence[Example], made: Sequence[Made]) -> Report:
    """The scores of what was made of each example; with those of the ranking itself where the task has any (AUC)."""
    report = mark(task, split, examples, [one.text for one in made])
    none = [one.no_answer for one in made if one.no_answer is not None]
    if len(none) == len(made):
        report = replace(report, no_answers=dict(zip(report.predictions, none, strict=True)))
    if task.rank_metrics is not None and all(one.log_probs for one in made):
        more = task.rank_metrics([one.log_probs for one in made], examples)
        report = replace(report, scores={**report.scores, **more})
    return report


def constant_baseline(task: Task, split: str, examples: Sequence[Example]) -> tuple[str, Report]:
    """(the most frequent target, what it scores as the answer to every example): what a model must beat."""
    commonest = Counter(example.targets for example in examples).most_common(1)[0][0]
    return commonest, mark(task, split, examples, [commonest] * len(examples))


def group_of(example: Example) -> Hashable:
    """What stays together when examples are resampled: the answers to one question, the two of a pair."""
    idx, pair = example.facts.get("idx"), example.facts.get("pair")
    if isinstance(idx, Mapping):
        return tuple(value for part, value in idx.items() if part != "answer")
    return pair if isinstance(pair, str | int) else example.origin


def intervals(
    task: Task, examples: Sequence[Example], made: Sequence[Made], *, num_samples: int | None = None, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """{score: (low, high)}: 95 % of the scores of resampled examples (bootstrap) lie between.

    `num_samples` defaults to 1,000, less on large splits: see MAX_MARKED.
    """
    answers = [task.answer(one.text, example) for one, example in zip(made, examples, strict=True)]
    ranked = task.rank_metrics if all(one.log_probs for one in made) else None

    def score(indices: Sequence[int]) -> dict[str, float]:
        assert task.metrics is not None
        chosen = [examples[index] for index in indices]
        found = dict(task.metrics([answers[index] for index in indices], chosen))
        if ranked is not None:
            found |= ranked([made[index].log_probs for index in indices], chosen)
        return found

    drawn = num_samples if num_samples is not None else min(1000, max(100, MAX_MARKED // len(examples)))
    return bootstrap(score, len(examples), groups=[group_of(one) for one in examples], num_samples=drawn, seed=seed)


def mark(task: Task, split: str, examples: Sequence[Example], texts: Sequence[str]) -> Report:
    """The scores of one text for each example."""
    answers = [task.answer(text, example) for text, example in zip(texts, examples, strict=True)]
    return _report(task, split, examples, answers)


def example_ids(examples: Sequence[Example]) -> list[str]:
    """One id an example: the data's own where all have one and no two share it, else where the example comes from."""
    own = [str(example.facts.get("id", example.origin)) for example in examples]
    if len(set(own)) == len(own):
        return own
    seen: Counter[str] = Counter()
    ids = []
    for example in examples:
        seen[example.origin] += 1
        count = seen[example.origin]
        ids.append(example.origin if count == 1 else f"{example.origin}#{count}")
    return ids


def score_file(task: Task, split: str, path: Path, *, data_dir: Path | None = None) -> Report:
    """What the predictions in `path` score. They are final answers: "" is no answer where the task allows that.

    Errors: DataError when an id is missing, unknown or there twice; ConfigError when the task has no metric.
    """
    check_marked(task)
    examples = load_labelled(task, split, data_dir=data_dir)
    predictions = read_predictions(path, ids=example_ids(examples))
    return _report(task, split, examples, list(predictions.values()))


def check_marked(task: Task) -> None:
    """Refuses a task that nothing marks."""
    if task.metrics is None:
        raise ConfigError(f"task '{task.name}': has no metric, it is for training only. Name another.")


def _report(task: Task, split: str, examples: Sequence[Example], answers: Sequence[object]) -> Report:
    assert task.metrics is not None, f"task {task.name} has no metric"
    predictions = dict(zip(example_ids(examples), map(str, answers), strict=True))
    scores = task.metrics(answers, examples)
    return Report(task=task.name, split=split, scores=scores, predictions=predictions, num_examples=len(examples))


def write_predictions(report: Report, path: Path) -> None:
    """Writes `{id: answer}`, which `score_file` and the official scripts read, whole or not at all.

    Errors: MachineError.
    """
    _write(report.predictions, path)


def write_no_answers(report: Report, path: Path) -> None:
    """Writes `{id: probability of "no answer"}`: the --na-prob-file of SQuAD's evaluate-v2.0.py.

    Errors: ConfigError where nothing said any; MachineError.
    """
    if not report.no_answers:
        raise ConfigError(f'--na-probs: no head says "no answer" of {report.task}. Drop it.')
    _write(report.no_answers, path)


def _write(values: Mapping[str, object], path: Path) -> None:
    work = path.with_name(f".{path.name}.part")
    try:
        work.write_text(json.dumps(values, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        os.replace(work, path)
    except OSError as error:
        raise MachineError(f"{path}: cannot be written ({error.strerror}). Name another file.") from None
