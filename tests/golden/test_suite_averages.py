"""The suites' averages from the papers' own columns.

Provenance: Raffel et al., JMLR 21(140), arXiv 1910.10683v4: Table 14 (test scores of five sizes) and Table 16
(validation scores of the baseline and of adapters with d = 2048), with the averages that the paper prints in Tables 10,
11 and 14.
SuperGLUE of T5-11B is left out: its printed 88.9 is not the average of its printed columns (89.25).
"""

from __future__ import annotations

import pytest

from textfer.data.task import TASKS
from textfer.suites import SUITES, Column, average, column_score

Scores = dict[str, dict[str, float]]
SIZES = ("small", "base", "large", "3B", "11B")
TEST = {
    "CoLA": ("41.0", "51.1", "61.2", "67.1", "71.6"),
    "SST-2": ("91.8", "95.2", "96.3", "97.4", "97.5"),
    "MRPC": ("89.7/86.6", "90.7/87.5", "92.4/89.9", "92.5/90.0", "92.8/90.4"),
    "STS-B": ("85.6/85.0", "89.4/88.6", "89.9/89.2", "90.6/89.8", "93.1/92.8"),
    "QQP": ("70.0/88.0", "72.6/89.4", "73.9/89.9", "74.4/89.7", "75.1/90.6"),
    "MNLI": ("82.4/82.3", "87.1/86.2", "89.9/89.6", "91.4/91.2", "92.2/91.9"),
    "QNLI": ("90.3", "93.7", "94.8", "96.3", "96.9"),
    "RTE": ("69.9", "80.1", "87.2", "91.1", "92.8"),
    "WNLI": ("69.2", "78.8", "85.6", "89.7", "94.5"),
}
SUPER_TEST = {
    "BoolQ": ("76.4", "81.4", "85.4", "89.9"),
    "CB": ("56.9/81.6", "86.2/94.0", "91.6/94.8", "90.3/94.4"),
    "COPA": ("46.0", "71.2", "83.4", "92.0"),
    "MultiRC": ("69.3/26.3", "79.7/43.1", "83.3/50.7", "86.8/58.3"),
    "ReCoRD": ("56.3/55.4", "75.0/74.2", "86.8/85.9", "91.2/90.4"),
    "RTE": ("73.3", "81.5", "87.8", "90.7"),
    "WiC": ("66.9", "68.3", "69.3", "72.1"),
    "WSC": ("70.5", "80.8", "86.3", "90.4"),
}
BASELINE = "53.84 92.68 92.07/88.92 88.02/87.94 88.67/91.56 84.24/84.57 90.48 76.28"
ADAPTERS = "49.86 92.55 91.30/87.99 88.46/88.35 88.36/91.40 83.63/83.18 90.66 76.53"
SUPER_BASELINE = "76.62 91.22/91.96 66.20 66.13/25.78 69.05/68.16 75.34 68.04 78.56"
SUPER_ADAPTERS = "74.53 88.00/91.07 58 61.10/18.89 66.73/66.06 73.29 71.16 75.96"


def scores_of(columns: tuple[Column, ...], cells: list[str]) -> Scores:
    """{task: {score: value}} of a table's row; of MNLI's two numbers the second is the mismatched split's."""
    found: Scores = {}
    for column, cell in zip(columns, cells, strict=True):
        names = [(task, score) for task in column.tasks for score in column.scores]
        for (task, score), value in zip(names, cell.split("/"), strict=True):
            found.setdefault(task, {})[score] = float(value)
    return found


@pytest.mark.parametrize(("size", "printed"), list(zip(SIZES, (77.4, 82.7, 86.4, 88.5, 90.3), strict=True)))
def test_glue_of_each_size(size: str, printed: float) -> None:
    columns = SUITES["glue"].columns
    value, complete = average(columns, scores_of(columns, [TEST[one.name][SIZES.index(size)] for one in columns]))
    assert value == pytest.approx(printed, abs=0.051)
    assert complete == 9


def test_glue_of_the_largest_to_two_digits() -> None:
    columns = SUITES["glue"].columns
    value, _ = average(columns, scores_of(columns, [TEST[one.name][4] for one in columns]))
    assert value is not None
    assert round(value, 2) == 90.31


@pytest.mark.parametrize(("size", "exact"), list(zip(SIZES, (63.25, 76.16, 82.34, 86.35), strict=False)))
def test_super_glue_of_four_sizes(size: str, exact: float) -> None:
    columns = SUITES["super_glue"].columns
    cells = [SUPER_TEST[one.name][SIZES.index(size)] for one in columns]
    value, _ = average(columns, scores_of(columns, cells))
    assert value == pytest.approx(exact, abs=0.0051)


@pytest.mark.parametrize(
    ("suite", "row", "printed"),
    [
        ("glue", BASELINE, 83.28),
        ("glue", ADAPTERS, 82.62),
        ("super_glue", SUPER_BASELINE, 71.36),
        ("super_glue", SUPER_ADAPTERS, 68.61),
    ],
)
def test_validation_averages(suite: str, row: str, printed: float) -> None:
    columns = list(SUITES[suite].averages().values())[-1]
    value, _ = average(columns, scores_of(columns, row.split()))
    assert value is not None
    assert round(value, 2) == printed


def test_no_average_unless_every_score_is_there() -> None:
    columns = SUITES["super_glue"].columns
    scores = scores_of(columns, SUPER_BASELINE.split())
    del scores["multirc"]["em"]
    assert average(columns, scores) == (None, 7)
    assert average(columns, {}) == (None, 0)
    assert column_score(columns[1], scores) == pytest.approx((91.22 + 91.96) / 2)
    assert column_score(columns[3], scores) is None


@pytest.mark.parametrize("suite", SUITES)
def test_the_tasks_have_the_scores_that_are_averaged(suite: str) -> None:
    for column in SUITES[suite].columns:
        for name in column.tasks:
            metrics = TASKS.get(name).metrics
            assert metrics is not None
            assert set(column.scores) <= set(metrics([], [])), name
