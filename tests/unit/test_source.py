"""Rows from the data folder, a stand-in for the hub, the user's folders; held-out rows and digests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import errors as hub_errors

from textfer.data.digest import file_digest
from textfer.data.formats import open_file
from textfer.data.source import Made, Rows, Source, file_source, open_rows
from textfer.errors import DataError, MachineError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TEXTFER_DATA", raising=False)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows_of(path: Path, **options: object) -> list[dict[str, object]]:
    file = open_file(path, **options)  # type: ignore[arg-type]
    return [dict(row) for _, _, row in file.read(0, len(file))]


def opened(path: Path) -> Rows:
    return open_rows(Source(name=path.name, files={"train": (str(path),)}), "train")


def parquet(path: Path, columns: dict[str, list[object]], *, group: int = 1000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


# --- the data folder --------------------------------------------------------------------------------------------------

HUB_SET = Source(name="owner/set", config="plain", columns=("n",), splits={"validation": "dev"})


def test_a_mirror_is_read_from_data_dir_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path / "owner/set/plain/train.parquet", {"n": [1, 2], "m": [3, 4]})
    parquet(tmp_path / "owner/set/plain/dev.parquet", {"n": [5]})
    assert list(open_rows(HUB_SET, "train", data_dir=tmp_path)) == [{"n": 1}, {"n": 2}]
    monkeypatch.setenv("TEXTFER_DATA", str(tmp_path))
    assert list(open_rows(HUB_SET, "validation")) == [{"n": 5}]


@pytest.mark.parametrize("pattern", ["train-{:05d}.parquet", "train-{:05d}-of-00003.parquet"])
def test_a_split_may_be_in_parts(tmp_path: Path, pattern: str) -> None:
    for number in (2, 0, 1):
        parquet(tmp_path / "owner/set/plain" / pattern.format(number), {"n": [number]})
    assert [row["n"] for row in open_rows(HUB_SET, "train", data_dir=tmp_path)] == [0, 1, 2]
    (tmp_path / "owner/set/plain" / pattern.format(1)).unlink()
    if "of" in pattern:
        with pytest.raises(DataError, match=r"set/plain/train: 2 of 3 files are here\."):
            open_rows(HUB_SET, "train", data_dir=tmp_path)


def test_another_folder_of_the_mirror(tmp_path: Path) -> None:
    parquet(tmp_path / "text/set/train-00000.parquet", {"n": [1]})
    source = Source(name="owner/set", config="2020", folder="text/set")
    assert list(open_rows(source, "train", data_dir=tmp_path)) == [{"n": 1}]


def test_what_a_mirror_lacks_is_told(tmp_path: Path) -> None:
    parquet(tmp_path / "owner/set/plain/train.parquet", {"n": [1]})
    base = f"{tmp_path}/owner/set"
    cases = [
        (HUB_SET, tmp_path / "no", f"{tmp_path}/no: no such data folder. Check --data or TEXTFER_DATA."),
        (HUB_SET, tmp_path, f"{base}/plain: no split 'dev'. Known: train."),
        (
            Source(name="owner/set", config="plan"),
            tmp_path,
            f"owner/set: no folder {base}/plan, expected validation.parquet in it. Did you mean 'plain'?",
        ),
        (
            Source(name="owner/sett"),
            tmp_path,
            f"owner/sett: no folder {base}t/default, expected validation.parquet in it. Is it the right data folder?",
        ),
    ]
    for source, data_dir, expected in cases:
        with pytest.raises(DataError) as caught:
            open_rows(source, "validation", data_dir=data_dir)
        assert str(caught.value) == expected


# --- the hub, by a stand-in -------------------------------------------------------------------------------------------


class Hub:
    """A hub in a folder: `<revision>/<path>`; answers as the client does."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.error: Exception | None = None
        self.asked: list[tuple[str, str]] = []
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)
        monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda api, name, **how: self.listing(**how))

    def snapshot_download(self, name: str, *, repo_type: str, revision: str, allow_patterns: list[str]) -> str:
        assert repo_type == "dataset"
        assert all(pattern.endswith(".parquet") for pattern in allow_patterns), "nothing but data is downloaded"
        self.asked.append((name, revision))
        if self.error:
            raise self.error
        if not (folder := self.root / revision.replace("/", "-")).is_dir():
            raise refused(hub_errors.RevisionNotFoundError)
        return str(folder)

    def listing(self, *, repo_type: str, revision: str) -> list[str]:
        folder = self.root / revision.replace("/", "-")
        return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def refused(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, "refused by the stand-in.\nwith a second line")
    return error


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(tmp_path / "hub", monkeypatch)


def test_the_hub_is_asked_for_its_converted_files_first(hub: Hub) -> None:
    parquet(hub.root / "refs-convert-parquet/plain/dev/0001.parquet", {"n": [2]})
    parquet(hub.root / "refs-convert-parquet/plain/dev/0000.parquet", {"n": [1]})
    assert list(open_rows(HUB_SET, "validation")) == [{"n": 1}, {"n": 2}]
    assert hub.asked == [("owner/set", "refs/convert/parquet")]


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ("2020.en", "2020.en/train-00000-of-00001.parquet"),
        ("default", "data/train-00000-of-00001.parquet"),
        ("default", "train.parquet"),
    ],
)
def test_files_as_uploaded_are_the_second_choice(hub: Hub, config: str, path: str) -> None:
    parquet(hub.root / "main" / path, {"n": [1]})
    assert list(open_rows(Source(name="owner/set", config=config), "train")) == [{"n": 1}]
    assert hub.asked == [("owner/set", "refs/convert/parquet"), ("owner/set", "main")]


def test_what_the_hub_lacks_is_told(hub: Hub) -> None:
    parquet(hub.root / "refs-convert-parquet/plain/train/0000.parquet", {"n": [1]})
    parquet(hub.root / "main/plain/test-00000-of-00001.parquet", {"n": [1]})
    with pytest.raises(DataError, match=r"owner/set/plain: no split 'dev'\. Known: test, train\."):
        open_rows(HUB_SET, "validation")
    hub.error = refused(hub_errors.RepositoryNotFoundError)
    with pytest.raises(DataError, match=r"owner/set: the hub has no such data set"):
        open_rows(HUB_SET, "train")
    hub.error = refused(hub_errors.GatedRepoError)
    with pytest.raises(DataError, match=r"owner/set: its owners ask for consent\."):
        open_rows(HUB_SET, "train")


def test_without_network_the_way_out_is_told(hub: Hub) -> None:
    for kind in (hub_errors.LocalEntryNotFoundError, hub_errors.OfflineModeIsEnabled, ConnectionError):
        hub.error = refused(kind)
        with pytest.raises(MachineError) as caught:
            open_rows(HUB_SET, "validation")
        assert str(caught.value) == (
            "owner/set: the hub cannot be reached (refused by the stand-in). Pass --data DIR, or set TEXTFER_DATA, "
            "with owner/set/plain/dev.parquet in the folder."
        )


# --- held-out rows, folders, digests, computed rows -------------------------------------------------------------------


def test_held_out_rows_depend_on_their_content_alone(tmp_path: Path) -> None:
    texts = [f"text {n % 400}" for n in range(800)]  # every text twice
    source = Source(
        name="x", files={"train": (str(parquet(tmp_path / "a.parquet", {"text": texts, "n": list(range(800))})),)}
    )
    source = Source(name="x", files=source.files, hold_out=0.1, hold_out_by=("text",))
    train, held = (open_rows(source, split) for split in ("train", "validation"))
    assert len(train) + len(held) == 800
    assert 40 <= len(held) <= 120
    assert not {row["text"] for row in train} & {row["text"] for row in held}
    assert [row["n"] for row in train] == sorted(row["n"] for row in train)
    assert [index for index, _ in held.read(3, 7)] == [3, 4, 5, 6]
    assert [row for _, row in held.read(3, 7)] == list(held)[3:7]

    more = write(tmp_path / "b.jsonl", "".join(json.dumps({"n": 0, "text": f"text {n}"}) + "\n" for n in range(900)))
    later = open_rows(
        Source(name="x", files={"train": (str(more),)}, hold_out=0.1, hold_out_by=("text",)), "validation"
    )
    assert {row["text"] for row in held} <= {row["text"] for row in later}, "other rows, another format, another order"
    assert train.digest != held.digest


def test_few_rows_still_give_one_to_validation(tmp_path: Path) -> None:
    source = file_source(str(write(tmp_path / "a.csv", "a,b\n1,2\n3,4\n")), hold_out=1e-9)
    assert [len(open_rows(source, split)) for split in ("train", "validation")] == [1, 1]
    source = file_source(str(write(tmp_path / "a.csv", "a,b\n1,2\n1,2\n")), hold_out=0.5)
    with pytest.raises(DataError, match="2 rows and all alike, expected at least 2"):
        len(open_rows(source, "validation"))


def test_folders_are_cut_by_the_names_of_their_files(tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        write(tmp_path / f"cut/{name}.csv", f"a,b\n{name},1\n")
    source = file_source(str(tmp_path / "cut"))
    assert [next(iter(open_rows(source, split)))["a"] for split in ("train", "validation", "test")] == [
        "train",
        "dev",
        "test",
    ]
    assert source.hold_out == 0
    for name in ("one", "two"):
        write(tmp_path / f"uncut/{name}.csv", f"a,b\n{name},1\n")
    write(tmp_path / "uncut/notes.pdf", "x")
    source = file_source(str(tmp_path / "uncut"))
    assert sorted(row["a"] for split in ("train", "validation") for row in open_rows(source, split)) == ["one", "two"]
    with pytest.raises(DataError, match=r"no split 'test'\. Known: train\."):
        open_rows(source, "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: the folder holds no data file"):
        file_source(str(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"no-\*\.csv: no file matches\."):
        open_rows(file_source(str(tmp_path / "no-*.csv")), "train")


def test_the_digest_changes_with_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,b\n1,2\n")
    first = opened(path).digest
    assert opened(path).digest == first
    write(path, "a,b\n1,3\n")  # as long, and within the same moment
    second = opened(path).digest
    assert second != first
    write(path, "a,b\n1,2\n")
    assert opened(path).digest == first
    moved = write(tmp_path / "b.csv", "a,b\n1,2\n")
    assert opened(moved).digest == first, "the name is not the content"


def test_digests_of_unchanged_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.csv", "x")
    os.utime(path, ns=(10**18, 10**18))
    digest = file_digest(path)
    monkeypatch.setattr("textfer.data.digest.hash_file", None)
    assert file_digest(path) == digest == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    os.utime(path, ns=(10**18, 10**18 + 1))
    with pytest.raises(TypeError):
        file_digest(path)


def test_computed_rows() -> None:
    made = Made(row=lambda split, index: {"n": f"{split}{index}"}, num_rows={"train": 3})
    rows = open_rows(Source(name="made", made=made), "train")
    assert [(index, row["n"]) for index, row in rows.read(1, 9)] == [(1, "train1"), (2, "train2")]
    assert (len(rows), rows.files, rows.columns, rows.origin(1)) == (3, (), ("n",), "train:1")
    other = open_rows(Source(name="made", made=Made(row=made.row, num_rows={"train": 3}, version=2)), "train")
    assert rows.digest != other.digest
    with pytest.raises(DataError, match=r"made: no split 'test'\. Known: train\."):
        open_rows(Source(name="made", made=made), "test")


def test_origins_do_not_depend_on_what_was_read_before(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\n" + "".join(f'"{n}\n"\n' for n in range(600)))
    rows, order = opened(path), np.random.default_rng(0).permutation(600)
    assert [rows.origin(index) for index in order] == [f"a.csv:{2 + 2 * index}" for index in order]
    assert [rows.origin(index) for index, _ in rows.read(0, 3)] == ["a.csv:2", "a.csv:4", "a.csv:6"]
