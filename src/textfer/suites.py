"""GLUE and SuperGLUE: which tasks and scores make a suite's average, by the leaderboards' rules.

A task with several scores counts with their mean, MNLI's two splits count as one task, and the average is over tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from textfer.errors import ConfigError, nearest


@dataclass(frozen=True, slots=True)
class Column:
    """One task of a suite's table."""

    name: str
    """As the leaderboard writes it."""
    scores: tuple[str, ...]
    """What is averaged."""
    tasks: tuple[str, ...]
    """Whose scores: several count as one."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks measured together."""

    name: str
    title: str
    columns: tuple[Column, ...]
    left_out: tuple[str, ...] = ()
    """Names of columns that a second average leaves out."""
    why: str = ""
    """What that second average is for."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the average needs."""
        return tuple(task for column in self.columns for task in column.tasks)

    def averages(self) -> dict[str, tuple[Column, ...]]:
        """{name of the average: its columns}, the leaderboard's first."""
        found = {f"{self.title} average": self.columns}
        if self.left_out:
            rest = tuple(column for column in self.columns if column.name not in self.left_out)
            found[f"{self.title} average {self.why}"] = rest
        return found


def column_score(column: Column, scores: Mapping[str, Mapping[str, float]]) -> float | None:
    """The mean of the column's scores over its tasks; None where one is missing. `scores`: {task: {score: value}}."""
    values = [scores.get(task, {}).get(name, math.nan) for task in column.tasks for name in column.scores]
    mean = math.fsum(values) / len(values)
    return None if math.isnan(mean) else mean


def average(columns: tuple[Column, ...], scores: Mapping[str, Mapping[str, float]]) -> tuple[float | None, int]:
    """(the mean over all columns, how many have all their scores); None instead of a mean unless all have."""
    found = [value for column in columns if (value := column_score(column, scores)) is not None]
    return (math.fsum(found) / len(columns) if len(found) == len(columns) else None), len(found)


def find_suite(name: str) -> Suite:
    """The suite of that name. Errors: ConfigError for an unknown one."""
    key = {"superglue": "super_glue"}.get(name, name)
    if key not in SUITES:
        raise ConfigError(f"unknown suite '{name}'.{nearest(name, SUITES)}")
    return SUITES[key]


ACCURACY = ("accuracy",)
SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "glue",
            "GLUE",
            (
                Column("CoLA", ("matthews",), ("cola",)),
                Column("SST-2", ACCURACY, ("sst2",)),
                Column("MRPC", ("f1", "accuracy"), ("mrpc",)),
                Column("STS-B", ("pearson", "spearman"), ("stsb",)),
                Column("QQP", ("f1", "accuracy"), ("qqp",)),
                Column("MNLI", ACCURACY, ("mnli", "mnli_mismatched")),
                Column("QNLI", ACCURACY, ("qnli",)),
                Column("RTE", ACCURACY, ("rte",)),
                Column("WNLI", ACCURACY, ("wnli_wsc",)),
            ),
            left_out=("WNLI",),
            why="without WNLI, as T5's validation tables",
        ),
        Suite(
            "super_glue",
            "SuperGLUE",
            (
                Column("BoolQ", ACCURACY, ("boolq",)),
                Column("CB", ("macro_f1", "accuracy"), ("cb",)),
                Column("COPA", ACCURACY, ("copa",)),
                Column("MultiRC", ("f1a", "em"), ("multirc",)),
                Column("ReCoRD", ("f1", "em"), ("record",)),
                Column("RTE", ACCURACY, ("super_glue_rte",)),
                Column("WiC", ACCURACY, ("wic",)),
                Column("WSC", ACCURACY, ("wsc",)),
            ),
        ),
    )
}
