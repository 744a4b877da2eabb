"""A recipe's data carried to another machine: the same batches there, without the rows they were made of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from click.testing import CliRunner

import textfer.data.shards as shards
from textfer.cli import cli
from textfer.data.shards import MANIFEST, install_table
from textfer.data.tasks.reading import reading_row
from textfer.data.tokens import open_table, prepare
from textfer.errors import CheckpointError, DataError
from textfer.parts import build_tokenizer
from textfer.portable import prepare_out
from textfer.recipe import Recipe, find_task, load_recipe, rows_of

MORE = ['data.tasks=["squad"]', 'data.without=["squad/validation"]', 'eval.tasks=["squad"]', "eval.limit=4"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with a SQuAD of our own."""
    folder = tmp_path / "data" / "rajpurkar" / "squad" / "plain_text"
    folder.mkdir(parents=True)
    for split, count in (("train", 60), ("validation", 8)):
        rows = [{**reading_row(split, number), "title": ""} for number in range(count)]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache"))
    for name in ("TEXTFER_DATA", "TEXTFER_TOKENS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def recipe(tiny_recipe) -> str:  # type: ignore[no-untyped-def]
    return str(tiny_recipe(num_steps=4))


def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
    """From now on it is another machine: an empty cache, no data."""
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache-there"))
    shutil.rmtree(data)


def run(words: list[str]) -> str:
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.usefixtures("one_thread")
def test_a_run_goes_on_elsewhere(recipe: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saving = ["training.save_every=2"]
    run(["train", recipe, *MORE, *saving, "--data", str(data), "--run", str(tmp_path / "unbroken"), "--quiet"])
    out = tmp_path / "tokens"
    assert "1 tables and the rows of 1 splits" in run(
        ["prepare", recipe, *MORE, "--data", str(data), "--out", str(out)]
    )
    assert not list(out.rglob("train.parquet"))
    begun = tmp_path / "begun"
    shutil.copytree(tmp_path / "unbroken", begun)
    shutil.rmtree(begun / "step_00000004")
    there(tmp_path, monkeypatch, data)
    for name in ("begun", "anew"):
        run(["train", recipe, *MORE, *saving, "--tokens", str(out), "--run", str(tmp_path / name), "--quiet"])
        monkeypatch.delenv("TEXTFER_TOKENS", raising=False)
        tiny.assert_equal(tmp_path / name, tmp_path / "unbroken")


def made(recipe: str, *words: str) -> Recipe:
    return load_recipe(recipe, [*MORE, *words])


def test_files_are_small_and_a_table_comes_back_whole(
    recipe: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1000)
    monkeypatch.setattr(shards.write_shards, "__kwdefaults__", {"shard_bytes": 1000})
    told, out = made(recipe), tmp_path / "tokens"
    found = prepare_out(told, out, data_dir=data)
    table = prepare(find_task("squad"), "train", build_tokenizer(told), rows_of(told, data))
    pieces = list((out / table.path.name).iterdir())
    assert len(pieces) > 8
    assert max(path.stat().st_size for path in pieces) == 1000
    assert found.num_bytes == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    there(tmp_path, monkeypatch, data)
    path = install_table(out, find_task("squad"), "train", build_tokenizer(told), rows_of(told, None))
    assert path != table.path
    assert path.name == table.path.name
    again = open_table(path)
    for side in ("inputs", "targets"):
        assert [again.get(side, n).tolist() for n in range(len(again))] == [
            table.get(side, n).tolist() for n in range(len(table))
        ]
    assert again.meta == table.meta


def test_what_is_damaged_or_of_another_recipe_says_so(
    recipe: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, out = made(recipe), tmp_path / "tokens"
    prepare_out(told, out, data_dir=data)
    there(tmp_path, monkeypatch, data)
    task, tokenizer = find_task("squad"), build_tokenizer(told)
    with pytest.raises(DataError, match=r"has no tokens of squad/train .* Prepare the recipe anew"):
        install_table(out, task, "train", tokenizer, rows_of(made(recipe, "data.limit=9"), None))
    piece = next(out.glob("*/inputs.bin.000"))
    piece.write_bytes(b"x" + piece.read_bytes()[1:])
    with pytest.raises(CheckpointError, match=r"inputs\.bin\.000: damaged"):
        install_table(out, task, "train", tokenizer, rows_of(told, None))
    piece.unlink()
    with pytest.raises(CheckpointError, match=r"inputs\.bin\.000: missing"):
        install_table(out, task, "train", tokenizer, rows_of(told, None))
    assert not list((tmp_path / "cache-there").rglob(".making-*"))
    (out / MANIFEST).unlink()
    with pytest.raises(DataError, match=r"tokens\.json: cannot be read"):
        install_table(out, task, "train", tokenizer, rows_of(told, None))
