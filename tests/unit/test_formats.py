"""Rows from files of every kind, and every way in which a file can be wrong."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textfer.data import lines
from textfer.data.fields import float_field, int_field, label_field, text_field, texts_field
from textfer.data.formats import open_file, read_json
from textfer.data.source import Rows, Source, open_rows, read_text
from textfer.errors import DataError


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


# --- formats ----------------------------------------------------------------------------------------------------------


def test_the_same_rows_in_every_format(tmp_path: Path) -> None:
    rows = [{"question": "Who?", "answer": 'Anna "A." Berg'}, {"question": "Où,\noù ?", "answer": "à Zürich; 東京"}]
    header_and = 'question,answer\nWho?,"Anna ""A."" Berg"\n"Où,\noù ?",à Zürich; 東京\n'
    as_lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    made = [
        parquet(tmp_path / "a.parquet", {name: [row[name] for row in rows] for name in rows[0]}),
        write(tmp_path / "a.jsonl", as_lines),
        write(tmp_path / "a.jsonl.gz", gzip.compress(as_lines.encode())),
        write(tmp_path / "lines.json", as_lines),
        write(tmp_path / "list.json", json.dumps(rows)),
        write(tmp_path / "a.csv", header_and),
        write(tmp_path / "bom.csv", b"\xef\xbb\xbf" + header_and.encode()),
        write(tmp_path / "a.csv.gz", gzip.compress(header_and.encode())),
        write(tmp_path / "a.tsv", header_and.replace(",", "\t").replace("Où\t", "Où,")),
        write(tmp_path / "semicolon.csv", 'question;answer\nWho?;"Anna ""A."" Berg"\n"Où,\noù ?";"à Zürich; 東京"\n'),
    ]
    for path in made:
        assert rows_of(path) == rows, path.name


def test_spreadsheet_line_ends_and_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'\xef\xbb\xbftext,label\r\n"one\r\ntwo",x\r\n\r\nthree,\r\n')
    assert rows_of(path) == [{"text": "one\r\ntwo", "label": "x"}, {"text": "three", "label": ""}]
    rows = opened(path)
    assert [rows.origin(index) for index in (0, 1)] == ["a.csv:2", "a.csv:5"]


def test_quotes_are_plain_characters_in_tsv_files_that_do_not_double_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\tlabel\n"Hello" he said\t1\n5" of rain\t0\n')
    assert rows_of(path) == [{"text": '"Hello" he said', "label": "1"}, {"text": '5" of rain', "label": "0"}]


def test_plain_text_by_line_paragraph_and_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "\ufeffone\r\ntwo\r\n \r\n\r\nthree\r\n")
    assert rows_of(path) == [{"text": "one"}, {"text": "two"}, {"text": "three"}]
    assert rows_of(path, kind="paragraphs") == [{"text": "one\ntwo"}, {"text": "three"}]
    assert rows_of(path, kind="document") == [{"text": "one\ntwo\n \n\nthree"}]
    assert read_text(path) == "one\ntwo\n \n\nthree"


def test_official_squad_json(tmp_path: Path) -> None:
    question = {"id": "7", "question": "Who?", "answers": [{"text": "Al", "answer_start": 3}], "is_impossible": False}
    none = {"id": "8", "question": "Why?", "answers": [], "is_impossible": True, "plausible_answers": []}
    squad = {
        "version": "v2.0",
        "data": [{"title": "T", "paragraphs": [{"context": "So Al.", "qas": [question, none]}]}],
    }
    path = write(tmp_path / "dev.json", json.dumps(squad))
    assert rows_of(path) == [
        *[
            {"id": "7", "title": "T", "context": "So Al.", "question": "Who?"}
            | {"answers": {"text": ["Al"], "answer_start": [3]}}
        ],
        *[
            {"id": "8", "title": "T", "context": "So Al.", "question": "Why?"}
            | {"answers": {"text": [], "answer_start": []}}
        ],
    ]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv", "txt"])
def test_any_row_can_be_the_first(tmp_path: Path, kind: str) -> None:
    texts = [f"row {n}" + "\n more" * (kind == "csv" and n % 3 == 0) for n in range(1100)]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        parquet(path, {"text": texts}, group=300)
    elif kind == "jsonl":
        write(path, "".join(json.dumps({"text": text}) + "\n" for text in texts))
    elif kind == "csv":
        write(path, "n,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(texts)))
    else:
        write(path, "\n\n".join(texts))
    rows = opened(path)
    assert len(rows) == 1100
    assert [row["text"] for row in rows] == texts
    for start, stop in ((0, 1), (255, 258), (511, 513), (299, 601), (1099, 9999), (700, 700), (1100, 1101)):
        assert [(index, row["text"]) for index, row in rows.read(start, stop)] == list(enumerate(texts))[start:stop]


def test_files_of_a_split_are_read_one_after_another(tmp_path: Path) -> None:
    for number in range(3):
        parquet(tmp_path / f"part-{number}.parquet", {"n": list(range(number * 10, number * 10 + 10))}, group=4)
    rows = open_rows(Source(name="x", files={"train": (str(tmp_path / "part-*.parquet"),)}), "train")
    assert [row["n"] for row in rows] == list(range(30))
    assert [row["n"] for _, row in rows.read(8, 22)] == list(range(8, 22))
    assert [file.name for file in rows.files] == ["part-0.parquet", "part-1.parquet", "part-2.parquet"]
    assert rows.origin(12) == "train:12"


def test_only_the_named_parquet_columns_are_read(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"a": [1], "b": [2], "c": [3]})
    assert rows_of(path, columns=("c", "a")) == [{"c": 3, "a": 1}]


def test_memory_stays_flat(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps({"text": "x" * 1000}) + "\n" for _ in range(20_000))
    tracemalloc.start()
    try:
        rows = opened(path)
        assert sum(len(row["text"]) for row in rows) == 20_000_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


# --- what is wrong is told --------------------------------------------------------------------------------------------

BAD = {
    "missing": ("no.csv", None, "no.csv: no such file."),
    "kind": ("a.xyz", "x", "a.xyz: unknown kind of file. Known: .csv"),
    "empty csv": ("a.csv", "", "a.csv: empty, expected a first line with the names of the columns."),
    "no rows": ("a.csv", "text,label\n", "a.csv: no rows, expected at least one."),
    "empty text": ("a.txt", " \n\n", "a.txt: no rows, expected at least one."),
    "empty list": ("a.json", "[]", "a.json: no rows, expected at least one."),
    "twice": ("a.csv", "text,text\n1,2\n", "a.csv:1: the name 'text' of column 2 is taken"),
    "nameless": ("a.csv", "text,\n1,2\n", "a.csv:1: column 2 has no name"),
    "too many": ("a.csv", "a,b\n1,2\n1,2,3\n", "a.csv:3: 3 columns, expected 2 (a, b)."),
    "open quote": ("a.csv", 'a,b\n1,2\n"3,4\n5,6\n', "a.csv:3: unexpected end of data. Is a quotation mark left open"),
    "utf-8": ("a.csv", b"a,b\n1,2\n1,caf\xe9\n", "a.csv:3: byte 6 (0xe9) is not UTF-8. Save the file as UTF-8."),
    "utf-8 json": ("a.json", b'["x",\n"caf\xe9"]', "a.json:2: byte 0xe9 is not UTF-8."),
    "utf-16": ("a.csv", "a,b\n1,2\n".encode("utf-16"), "a.csv: is UTF-16, expected UTF-8. Save it as 'CSV UTF-8'."),
    "json": ("a.jsonl", '{"a": 1}\n\n{"a": 1\n', "a.jsonl:3: not JSON ("),
    "json value": ("a.jsonl", '{"a": 1}\n[1]\n', "a.jsonl:2: got a list, expected an object {…}."),
    "json file": ("a.json", '[{"a": 1},\n{"a" 2}]', "a.json:2: not JSON (Expecting ':' delimiter, column 6)."),
    "json list": ("a.json", '[{"a": 1}, 3]', "a.json: entry 1 is a int, expected an object {…}."),
    "json twice": ("a.json", '[{"a": 1, "a": 2}]', "a.json: 'a' stands twice in one object, expected once."),
    "squad": ("a.json", '{"data": [{"paragraphs": [{"qas": []}, {"qas": [{}]}]}]}', "a.json: question 0 lacks 'id'"),
    "parquet": ("a.parquet", "PAR1 not really", "a.parquet: not a readable Parquet file ("),
    "gzip": ("a.txt.gz", "not gzip", "a.txt.gz: damaged gzip data ("),
    "cut gzip": ("a.txt.gz", gzip.compress(b"x\n" * 1000)[:-12], "a.txt.gz: damaged gzip data ("),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_told_in_one_line_with_their_place(tmp_path: Path, case: str) -> None:
    name, content, expected = BAD[case]
    if content is not None:
        write(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        list(opened(tmp_path / name))
    message = str(caught.value)
    assert message.replace(f"{tmp_path}/", "").startswith(expected)
    assert "\n" not in message


def test_damaged_parquet_data_is_told(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"text": [str(n) * 50 for n in range(2000)]})
    content = bytearray(path.read_bytes())
    content[100:900] = b"\x07" * 800
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet: damaged Parquet data \("):
        list(opened(path))


def test_missing_columns_come_with_the_nearest(tmp_path: Path) -> None:
    for path in (parquet(tmp_path / "a.parquet", {"context": ["x"]}), write(tmp_path / "a.csv", "context\nx\n")):
        with pytest.raises(DataError, match=r"no column 'contxt'\. Did you mean 'context'\?"):
            open_file(path, columns=("contxt",))


def test_long_lines_are_fine_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "x" * 10_000_000
    assert rows_of(write(tmp_path / "a.txt", f"short\n{long}\n"))[1] == {"text": long}
    assert rows_of(write(tmp_path / "a.csv", f"text\n{long}\n")) == [{"text": long}]
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1 << 20)
    with pytest.raises(DataError, match=r"a\.txt:2: a line of more than 1 MiB, expected less\."):
        open_file(tmp_path / "a.txt")


def test_broken_lines_can_be_told_and_left_out(tmp_path: Path) -> None:
    rows = opened(write(tmp_path / "a.jsonl", '{"n": 0}\nnonsense\n{"n": 2}\n'))
    told: list[DataError] = []
    assert [(index, row["n"]) for index, row in rows.read(0, 3, on_bad=told.append)] == [(0, 0), (2, 2)]
    assert [str(error).split(": ")[0] for error in told] == [f"{tmp_path}/a.jsonl:2"]


def test_fields_say_what_is_wrong() -> None:
    row = {"label": "x", "text": None, "n": 2.5, "answers": {"text": ["a", None]}}
    cases = [
        (
            lambda: label_field(row, "label", "sst2/train:4711", num_labels=2),
            "field 'label' is 'x', expected a whole number.",
        ),
        (
            lambda: label_field({"label": 3}, "label", "sst2/train:4711", num_labels=2),
            "field 'label' is 3, expected 0 or 1.",
        ),
        (lambda: text_field(row, "text", "sst2/train:4711"), "field 'text' is null, expected text."),
        (lambda: text_field(row, "txt", "sst2/train:4711"), "no field 'txt'. Did you mean 'text'?"),
        (lambda: text_field(row, "n", "sst2/train:4711"), "field 'n' is 2.5, expected text."),
        (lambda: int_field(row, "n", "sst2/train:4711"), "field 'n' is 2.5, expected a whole number."),
        (lambda: int_field({"n": True}, "n", "sst2/train:4711"), "field 'n' is True, expected a whole number."),
        (lambda: float_field(row, "label", "sst2/train:4711"), "field 'label' is 'x', expected a number."),
        (
            lambda: texts_field(row, "answers.text", "sst2/train:4711"),
            "field 'answers.text' is null, expected only texts in it.",
        ),
        (lambda: texts_field(row, "label", "sst2/train:4711"), "field 'label' is 'x', expected a list of texts."),
    ]
    for call, expected in cases:
        with pytest.raises(DataError) as caught:
            call()
        assert str(caught.value) == f"sst2/train:4711: {expected}"
    assert label_field({"label": -1}, "label", "x", num_labels=2, unknown=-1) == -1
    assert (int_field({"n": "3"}, "n", "x"), float_field({"n": "2.5"}, "n", "x")) == (3, 2.5)


def test_a_key_that_stands_twice_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"p\.json: 'q1' stands twice in one object, expected once\."):
        read_json(write(tmp_path / "p.json", '{"q1": "a", "q2": "b", "q1": "c"}'))
