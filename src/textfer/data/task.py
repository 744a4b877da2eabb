"""What data means: tasks say rows in text; mixtures say how often each task is heard.

A task knows nothing of models, tokenizers or lengths. `mixing` says what rates come of a mixture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from textfer.batch import Example, Row
from textfer.config import Registry
from textfer.data.source import Source

Scores = dict[str, float]
ASSUMED = "assumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Rows of one source said as text, and the metric that marks the answers.

    `to_examples(row, origin)` yields none, one or several examples. `answer(text, example)` turns what a model wrote
    into what the metric takes. `metrics(answers, examples)` returns {name: value}; the first name is the main one.
    """

    name: str
    source: Source
    to_examples: Callable[[Row, str], Iterable[Example]]
    metrics: Callable[[Sequence[object], Sequence[Example]], Scores] | None = None
    answer: Callable[[str, Example], object] = lambda text, example: text
    choices: tuple[str, ...] = ()
    """The label words of a classification; empty when any text may be the answer."""
    learnt: Callable[[Example], bool] = lambda example: example.targets != "<unk>"
    """Whether an example's target is a right answer: others (unlabelled rows, wrong candidates) are marked or answered,
    but no model is trained on them."""
    rank_metrics: Callable[[Sequence[Sequence[float]], Sequence[Example]], Scores] | None = None
    """Marks the log probabilities of each example's choices, where the metric asks for more than an answer (AUC)."""
    family: str = ""
    version: int = 1
    """Part of the cache key: raise it when the text form changes."""
    summary: str = ""
    licence: str = ""
    train_ok: bool = False
    """Whether the licence lets a model that was trained on these rows be given away openly."""
    schema: str = ASSUMED
    """Where the columns and label words were seen: a file, a data card. `assumed` = nobody has seen them."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Rows of each split as published; what is on disk may be less."""
    drops: str = ""
    """Which rows make no example, and why; empty = every row makes one."""
    sample: tuple[Row, ...] = ()
    """A few rows as the source has them, written for this project: they show the columns and are what tests read."""
    plain: bool = False
    """Plain text for pre-training: an objective makes the examples."""

    @property
    def main_metric(self) -> str:
        """The name of the metric that stands for the task."""
        assert self.metrics is not None, f"task {self.name} has no metric"
        return next(iter(self.metrics([], [])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Tasks and other mixtures heard together."""

    name: str
    parts: Mapping[str, float | None]
    """Task or mixture name → as how many examples it counts; None = as many as it has."""
    max_examples: float | None = None
    """The cap K: a larger task counts as this many examples. None = no cap, or that of a mixture around this one."""
    temperature: float | None = None
    """T: rates are raised to 1/T and renormalised; `inf` makes them equal. None = 1, or that of a mixture around."""
    summary: str = field(default="")


TASKS: Registry[Task] = Registry("task", ["textfer.data.tasks"])
MIXTURES: Registry[Mixture] = Registry("mixture", ["textfer.data.tasks"])


def register(task: Task) -> Task:
    """Makes the task known by its name."""
    return TASKS.add(task.name, task)


def choices_of(task: Task, example: Example) -> tuple[str, ...]:
    """What the example may be answered with: its own choices (`facts["choices"]`) or else the task's; () = any text."""
    return tuple(example.facts.get("choices", task.choices))
