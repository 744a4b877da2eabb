"""The mixtures that people ask for by name."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from textfer.data.mixing import Mixing, mixing_rates
from textfer.data.named import task_names
from textfer.data.task import MIXTURES, TASKS, Task
from textfer.data.tasks.exmix import CO_TRAINED
from textfer.data.tasks.mixtures import FREE, GLUE, LEFT_OUT, RESTRICTED, SUPER_GLUE

DATA_DIR = Path(os.environ.get("TEXTFER_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
NAMED = ("glue", "super_glue", "t5_all", "gem", "rainbow", "cbqa", "exmix", "exmix_open", "exmix_free")


def even(task: str) -> int:
    return 1_000


@pytest.mark.parametrize("name", MIXTURES.names())
def test_every_part_is_a_task_or_a_mixture_and_stands_once(name: str) -> None:
    mixture = MIXTURES.get(name)
    assert name not in TASKS
    assert mixture.name == name
    assert mixture.summary
    tasks = task_names([name])  # refuses unknown and repeated ones
    assert len(tasks) >= 2
    assert not [task for task in tasks if TASKS.get(task).plain]
    rates = mixing_rates([name], even)
    assert set(rates) == set(tasks)
    assert math.fsum(rates.values()) == pytest.approx(1)


def test_the_issue_names_are_there() -> None:
    assert set(NAMED) <= set(MIXTURES.names())
    assert [len(MIXTURES.get(f"exmix_{family}").parts) for family in CO_TRAINED] == [3] * 8
    assert len(task_names(["exmix_best_effort"])) == 12 + 2  # ANLI is three tasks


def test_suites_have_t5s_weights() -> None:
    """Weights of t5/data/glue_utils.py, whatever number of rows is there."""
    glue, super_glue = mixing_rates(["glue"], even), mixing_rates(["super_glue"], even)
    assert glue["cola"] == pytest.approx(8_551 / 949_101)
    assert sum(GLUE.values()) == 949_101
    assert sum(SUPER_GLUE.values()) == 185_673
    assert super_glue["dpr"] == pytest.approx(1_322 / 185_673)
    assert super_glue["wsc"] == pytest.approx(259 / 185_673)
    assert "wnli" not in glue
    assert not {"ax", "axb", "axg", "mnli_mismatched"} & {*glue, *super_glue}


def test_rte_counts_once_for_both_suites() -> None:
    """`_dedupe` of t5/data/mixtures.py halves RTE's weight in both."""
    parts = MIXTURES.get("t5_all").parts
    assert parts["rte"] == parts["super_glue_rte"] == 2_490 / 2
    assert {name for name in parts if parts[name] is None} == {
        "cnn_dailymail",
        "squad",
        "wmt_t2t_ende",
        "wmt15_enfr",
        "wmt16_enro",
    }
    assert set(parts) >= set(GLUE) | set(SUPER_GLUE)


def test_t5_all_caps_translation_and_leaves_small_tasks_as_they_are() -> None:
    sizes = {"cnn_dailymail": 287_113, "squad": 87_599, "wmt_t2t_ende": 4_592_289, "wmt15_enfr": 40_853_137}
    rates = mixing_rates(["t5_all"], lambda task: sizes.get(task, 610_320))
    total = 949_101 + 185_673 - 2_490 + 287_113 + 87_599 + 3 * 2**19
    assert rates["wmt15_enfr"] == rates["wmt_t2t_ende"] == pytest.approx(2**19 / total)
    assert rates["squad"] == pytest.approx(87_599 / total)
    assert rates["rte"] == pytest.approx(1_245 / total)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize(
    "mixing",
    [
        *(Mixing(max_examples=2.0**power) for power in range(16, 22)),
        *(Mixing(max_examples=2.0**21, temperature=temperature) for temperature in (2.0, 4.0, 8.0)),
        Mixing(temperature=math.inf),
    ],
    ids=str,
)
def test_every_strategy_gives_rates(name: str, mixing: Mixing) -> None:
    rates = mixing_rates([name], lambda task: TASKS.get(task).sizes.get("train", 1_000), mixing)
    assert math.fsum(rates.values()) == pytest.approx(1)
    assert min(rates.values()) > 0
    if mixing.temperature == math.inf and name != "exmix_free":  # there BLiMP's sets share one part
        assert list(rates.values()) == pytest.approx([1 / len(rates)] * len(rates))


# ---- the two mixtures with open data


def test_exmix_open_is_as_many_tasks_as_exmix_at_least() -> None:
    assert len(MIXTURES.get("exmix_open").parts) >= 107
    assert tuple(MIXTURES.get("exmix_open").parts) == (*FREE, *RESTRICTED)
    assert not [name for name in task_names(["exmix_open"]) if name.startswith(("blimp", "xquad", "bbh", "adv_"))]


def test_exmix_free_has_only_what_may_be_given_away() -> None:
    assert [name for name in task_names(["exmix_free"]) if not TASKS.get(name).train_ok] == []
    assert len(MIXTURES.get("exmix_free").parts) == 76
    assert [name for name in RESTRICTED if TASKS.get(name).train_ok] == []


def test_blimp_counts_as_one_task() -> None:
    rates = mixing_rates(["exmix_free"], even, Mixing(temperature=math.inf))
    assert math.fsum(rate for name, rate in rates.items() if name.startswith("blimp_")) == pytest.approx(1 / 76)
    assert rates["squad"] == pytest.approx(1 / 76)
    assert sum(name.startswith("blimp_") for name in rates) == 67


@pytest.mark.parametrize("name", ["exmix_open", "exmix_free"])
def test_what_would_tell_squads_validation_is_left_out(name: str) -> None:
    leaking = {"disfl_qa", "strategy_qa", *(f"xquad_{code}" for code in ("de", "en", "es", "ro", "zh"))}
    assert leaking <= set(LEFT_OUT) <= set(TASKS.names())
    assert not set(LEFT_OUT) & set(task_names([name]))


def has_train(task: Task) -> bool:
    source = task.source
    folder = DATA_DIR / (source.folder or f"{source.name}/{source.config}")
    split = source.splits.get("train", "train")
    return any(folder.glob(f"{split}.parquet")) or any(folder.glob(f"{split}-*.parquet"))


def test_the_lists_name_every_task_with_training_rows() -> None:
    if not DATA_DIR.is_dir():
        pytest.skip(f"no data folder at {DATA_DIR}")
    known = {
        name
        for name in TASKS.names()
        if not name.startswith("blimp_") and not (task := TASKS.get(name)).plain and not task.source.made
    }
    there = {name for name in known if has_train(TASKS.get(name))}
    assert there - set(LEFT_OUT) == {*FREE, *RESTRICTED}
    assert {name for name in there if TASKS.get(name).train_ok} - set(LEFT_OUT) == set(FREE)
    assert all(has_train(TASKS.get(name)) for name in task_names(["blimp"]))
