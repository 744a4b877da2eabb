"""Training examples that say what an evaluation example says are left out; parts of a split share no article."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from textfer.batch import Example
from textfer.data.headed import load_learnt
from textfer.data.named import find_task
from textfer.data.preparing import prepare_all
from textfer.data.source import DEV_SHARE, Made, Source, open_rows
from textfer.data.task import TASKS, Task, register
from textfer.data.tasks.forms import by_text, written
from textfer.data.tokens import RowChoice, prepare
from textfer.data.without import Without, load_without, named_splits
from textfer.errors import ConfigError, DataError
from textfer.metrics import exact_match
from textfer.recipe import load_recipe
from textfer.tokenizers import load_tokenizer

CONTEXT = "The ferry of Aldon was drawn by ropes over the upper river for three hundred years"
OTHER = "A bridge of five arches stands there now and a toll is paid on salt and cloth"


def example(question: str, context: str) -> Example:
    fields = {"question": question, "context": context}
    return Example(inputs=f"question: {question} context: {context}", targets="x", origin="x", fields=fields)


WATCHED = [example("What drew the ferry?", CONTEXT)]
SAME = example("what drew  the FERRY", f"{CONTEXT}.")
SAME_CONTEXT = example("How long was it there?", CONTEXT)
SAME_WORDS = example("Who came?", f"People say that {CONTEXT}, or longer.")
SAME_QUESTION = example("What drew the ferry?", OTHER)


@pytest.mark.parametrize(
    ("by", "gone"),
    [
        ("whole", [True, False, False, False]),
        ("field", [True, True, False, False]),  # a question of four words is anybody's
        ("overlap", [True, True, True, False]),
    ],
)
def test_how_much_alike_is_too_much(by: str, gone: list[bool]) -> None:
    without = Without(WATCHED, by)  # type: ignore[arg-type]
    examples = [SAME, SAME_CONTEXT, SAME_WORDS, SAME_QUESTION]
    assert without.says(examples).tolist() == gone
    removed: list[Example] = []
    kept = list(without.kept(enumerate(examples), removed.append))
    assert [number for number, _ in kept] == [number for number, out in enumerate(gone) if not out]
    assert removed == [one for one, out in zip(examples, gone, strict=True) if out]


def test_nothing_watched_removes_nothing() -> None:
    for by in ("whole", "field", "overlap"):
        assert not Without([], by).says([SAME]).any()  # type: ignore[arg-type]


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """A task of 40 rows, of which 10 stand in its validation split too."""
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache"))
    rows = [
        {"title": f"t{n % 7}", "text": f"sentence number {n} tells of the river {n}", "said": "yes"} for n in range(40)
    ]
    for split, some in (("train", rows), ("validation", rows[:10])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    files = {split: (str(tmp_path / f"{split}.jsonl"),) for split in ("train", "validation")}
    made = Task(
        name="without_rows",
        source=Source(name="without_rows", files=files, group=("title",)),
        to_examples=written(lambda row, origin: f"say: {row['text']}", lambda row, origin: row["said"]),
        metrics=by_text(exact_match),
    )
    register(made)
    yield made
    del TASKS._parts[made.name]  # type: ignore[attr-defined]
    load_without.cache_clear()


def test_a_token_table_without_them(task: Task, vocabulary: Path) -> None:
    tokenizer = load_tokenizer(str(vocabulary))
    whole = prepare(task, "train", tokenizer)
    choice = RowChoice(without=("without_rows",))
    table = prepare(task, "train", tokenizer, choice)
    assert (len(whole), len(table)) == (40, 30)
    assert table.rows.tolist() == list(range(10, 40))
    assert table.meta["num_removed"] == 10
    assert table.meta["removed"][0].startswith("without_rows/")
    assert table.path != whole.path
    assert table.meta["rows"] != whole.meta["rows"]
    assert prepare_all([task.name], "train", tokenizer, choice)[task.name].path == table.path
    assert load_learnt(task, "train", choice).num_removed == 10
    assert len(load_learnt(task, "train", choice).examples) == 30


def test_other_evaluation_rows_give_another_table(task: Task) -> None:
    choice = RowChoice(without=("without_rows/validation",))
    before = choice.without_digest
    path = Path(task.source.files["validation"][0])
    path.write_text(path.read_text().replace("number 3 ", "number three "))
    assert choice.without_digest != before
    assert replace(choice, without_by="whole").without_digest != choice.without_digest


def test_names_of_what_is_left_out(task: Task) -> None:
    assert [one[:2] for one in named_splits(["without_rows"])] == [
        ("without_rows", "validation"),
        ("without_rows", "test"),
    ]
    assert [one[:3] for one in named_splits(["without_rows/train/dev"])] == [("without_rows", "train/dev", True)]
    assert {one.task for one in named_splits(["glue/validation"])} > {"cola", "mnli"}
    with pytest.raises(ConfigError, match=r"data\.without: unknown task 'without_row'\. Did you mean 'without_rows'"):
        named_splits(["without_row/validation"])
    with pytest.raises(DataError, match=r"data\.without: without_rows: no split 'test'"):
        _ = RowChoice(without=("without_rows/test",)).without_digest


def test_a_recipe_says_what_is_left_out(tiny_recipe: Callable[..., Path]) -> None:
    recipe = load_recipe(str(tiny_recipe()), ['data.without=["squad"]', "data.without_by=whole"])
    assert recipe.data.without == ("squad",)
    with pytest.raises(ConfigError, match=r"data\.without: unknown task 'squat'\. Did you mean 'squad'"):
        load_recipe(str(tiny_recipe()), ['data.without=["squat"]'])
    with pytest.raises(ConfigError, match=r"data\.without_by: cannot take effect without data\.without"):
        load_recipe(str(tiny_recipe()), ["data.without_by=whole"])


# ---- parts of a split


def test_no_group_is_on_both_sides(task: Task) -> None:
    whole, dev, fit = (open_rows(task.source, split) for split in ("train", "train/dev", "train/fit"))
    titles = [{row["title"] for row in rows} for rows in (dev, fit)]
    assert titles[0]
    assert titles[1]
    assert titles[0].isdisjoint(titles[1])
    texts = [row["text"] for rows in (dev, fit) for row in rows]
    assert sorted(texts) == sorted(row["text"] for row in whole)
    assert len({whole.digest, dev.digest, fit.digest}) == 3
    assert dev.digest == open_rows(task.source, "train/dev").digest
    assert dev.origin(0) == f"train.jsonl:{texts and [row['text'] for row in whole].index(texts[0]) + 1}"


def test_about_a_tenth_of_the_groups_is_dev() -> None:
    made = Made(row=lambda split, n: {"title": "", "context": f"c{n // 3}"}, num_rows={"train": 3000})
    source = Source(name="made", made=made, group=("title", "context"))
    dev = open_rows(source, "train/dev")
    groups = [row["context"] for row in dev]
    assert len(groups) == 3 * len(set(groups))
    assert abs(len(groups) / 3000 - DEV_SHARE) < 0.03
    assert len(open_rows(source, "train/fit")) == 3000 - len(groups)
    assert [row["context"] for _, row in dev.read(3, 6)] == groups[3:6]


def test_two_tasks_on_the_same_articles_are_cut_alike() -> None:
    def source(name: str, size: int) -> Source:
        row = Made(row=lambda split, n: {"title": f"article {n % 50}"}, num_rows={"train": size})
        return Source(name=name, made=row, group=("title",))

    dev = {row["title"] for row in open_rows(source("one", 200), "train/dev")}
    assert dev.isdisjoint({row["title"] for row in open_rows(source("other", 350), "train/fit")})
    for name in ("squad", "squad_v2"):
        assert find_task(name).source.group == ("title", "context")


def test_what_cannot_be_cut_says_so(task: Task) -> None:
    with pytest.raises(
        DataError, match=r"without_rows: no split 'train/half'\. Parts of a split are train/dev and train"
    ):
        open_rows(task.source, "train/half")
    with pytest.raises(DataError, match=r"'train/dev' is not to be had, its rows have no groups\. Name 'train'"):
        open_rows(replace(task.source, group=()), "train/dev")
    whole = open_rows(replace(task.source, group=()), "train/fit")
    assert (len(whole), whole.split) == (40, "train/fit")
    assert whole.digest != open_rows(task.source, "train").digest
    alone = Source(name="made", made=Made(row=lambda split, n: {"title": "a"}, num_rows={"train": 9}), group=("title",))
    with pytest.raises(DataError, match="all of one group"):
        len(open_rows(alone, "train/dev"))
