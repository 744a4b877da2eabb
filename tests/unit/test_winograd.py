"""Winograd schemas: where the stars stand, what WNLI's hypotheses name, what is learnt and what is marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textfer.batch import Example
from textfer.data.task import TASKS
from textfer.data.tasks.winograd import names_referent, schema, star_first, star_word
from textfer.data.tokens import RowChoice, prepare
from textfer.errors import DataError
from textfer.evaluate import load_examples
from textfer.tokenizers.byte import Bytes

FARMER = "The farmer thanked the smith because he had mended the plough."


def wsc_row(**changes: Any) -> dict[str, Any]:
    row = {"text": FARMER, "span1_text": "the smith", "span2_index": 6, "span2_text": "he", "label": 1, "idx": 3}
    return row | changes


def wsc_example(**changes: Any) -> Example:
    (found,) = TASKS.get("wsc").to_examples(wsc_row(**changes), "wsc/train:3")
    return found


@pytest.mark.parametrize(
    ("text", "index", "pronoun", "starred"),
    [
        ("Ida saw that it fell.", 3, "it", "Ida saw that *it* fell."),
        ("It fell.", 0, "It", "*It* fell."),
        ("it and it and it", 3, "it", "it and *it* and it"),  # two places as near as can be: the first
        ("it and it and it", 4, "it", "it and it and *it*"),
        ("They want to use it , they said", 3, "it", "They want to use *it* , they said"),  # one word off
        ("They want to use it", 40, "it", "They want to use *it*"),
        ("So It fell.", 1, "it", "So *it* fell."),
        ('Give it to him," said Ann. ', 3, "him", 'Give it to *him* ," said Ann.'),
        ("a  b it ", 3, "it", "a  b *it* "),
    ],
)
def test_the_pronoun_gets_stars(text: str, index: int, pronoun: str, starred: str) -> None:
    assert star_word(text, index, pronoun) == starred


@pytest.mark.parametrize(("text", "index", "pronoun"), [("Ida left.", 1, "she"), ("hers", 0, "her"), ("x", 9, "it")])
def test_a_pronoun_that_is_not_there_gets_none(text: str, index: int, pronoun: str) -> None:
    assert star_word(text, index, pronoun) is None
    with pytest.raises(DataError, match=rf"^wsc/train:3: field 'span2_text' is '{pronoun}', expected word {index} "):
        wsc_example(text=text, span2_index=index, span2_text=pronoun)


@pytest.mark.parametrize(
    ("sentence", "pronoun", "starred"),
    [
        ("Ida met Jo, but she left; she said so.", "she", "Ida met Jo, but *she* left; she said so."),
        ("Ida hid it.", "it", "Ida hid *it*."),
        ("Ida hid it, then", "it", "Ida hid *it*, then"),
        ("Ida hid its lid", "it", "Ida hid its lid"),
        ("She hid", "She", "She hid"),  # as T5: nothing before it
        ("Did Ida see him?", "him", "Did Ida see him?"),  # as T5: a question mark is no dot
        ("Jo, that (new) one, left", "that (new) one", "Jo, *that (new) one*, left"),
    ],
)
def test_the_first_pronoun_gets_stars(sentence: str, pronoun: str, starred: str) -> None:
    assert star_first(sentence, pronoun) == starred


@pytest.mark.parametrize(
    ("premise", "hypothesis", "found"),
    [
        (
            "The fish ate the worm. It was tasty.",
            "The worm was tasty.",
            ("The fish ate the worm. *It* was tasty.", "The worm"),
        ),
        ("Jo gave Bo her hat.", "Jo gave Bo Bo's hat.", ("Jo gave Bo *her* hat.", "Bo")),
        (
            "Ida sold the mills; they were old.",
            "The mills were old.",
            ("Ida sold the mills; *they* were old.", "The mills"),
        ),
        (
            "Ida took the lid off the jar and put it back.",
            "Ida put the lid back.",
            ("Ida took the lid off the jar and put *it* back.", "the lid"),
        ),
        ("Ida thinks that he broke it.", "Karl broke it.", ("Ida thinks that *he* broke it.", "Karl")),
        ("It rained.", "Nobody came to the fair.", ("*It* rained.", "")),
        ("Ida sang.", "Ida sang.", None),
        (
            "The smiths paid the millers for their corn.",
            "The millers' corn.",
            ("The smiths paid the millers for *their* corn.", "The millers"),
        ),
    ],
)
def test_wnli_as_a_schema(premise: str, hypothesis: str, found: tuple[str, str] | None) -> None:
    assert schema(premise, hypothesis) == found


def test_wnli_without_a_pronoun_is_told() -> None:
    row = {"sentence1": "Ida sang.", "sentence2": "Ida sang.", "label": 1, "idx": 0}
    with pytest.raises(DataError, match=r"^wnli/test:0: field 'sentence1' is 'Ida sang\.', expected a pronoun in it"):
        list(TASKS.get("wnli_wsc").to_examples(row, "wnli/test:0"))


def test_wnli_without_a_referent_is_marked_and_never_learnt() -> None:
    task = TASKS.get("wnli_wsc")
    row = {"sentence1": "It rained.", "sentence2": "Nobody came to the fair.", "label": 1, "idx": 0}
    (found,) = task.to_examples(row, "wnli/validation:0")
    assert (found.targets, found.facts["referent"]) == ("Nobody came to the fair.", "")
    assert not task.learnt(found)
    assert task.metrics is not None
    assert task.metrics(["Nobody"], [found]) == {"accuracy": 0.0}  # as T5: an answer never names what is not there


def test_facts_are_what_marks_and_leaderboard_files_need() -> None:
    found = wsc_example(label=0, span1_text="The farmer")
    assert found.targets == "The farmer"  # T5's target even where it is wrong
    assert found.facts == {"id": "3", "idx": 3, "label": 0, "referent": "The farmer"}
    assert wsc_example(label=-1).targets == "<unk>"
    with pytest.raises(DataError, match=r"^wsc/train:3: field 'span1_text' is ' ', expected a candidate"):
        wsc_example(span1_text=" ")


@pytest.mark.parametrize(
    ("text", "label"), [("the smith", 1), ("Smith", 1), ("the farmer", 0), ("the", -1), ("", -1), ("smith's hat", 0)]
)
def test_what_an_answer_stands_for(text: str, label: int) -> None:
    assert names_referent(text, wsc_example()) == label


def test_all_rows_are_marked() -> None:
    task = TASKS.get("wsc")
    assert task.metrics is not None
    rows = [wsc_example(), wsc_example(label=0, span1_text="The farmer"), wsc_example(label=0, span1_text="a cow")]
    assert task.metrics(["the smith"] * 3, rows) == {"accuracy": 100.0}
    assert task.metrics(["a farmer"] * 3, rows) == {"accuracy": pytest.approx(100 / 3)}
    assert task.metrics([""] * 3, rows) == {"accuracy": 0.0}


def test_only_right_candidates_are_learnt(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "aps" / "super_glue" / "wsc"
    folder.mkdir(parents=True)
    rows = [wsc_row(), wsc_row(label=0, span1_text="The farmer", idx=4), wsc_row(idx=5), wsc_row(label=-1, idx=6)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    task, data = TASKS.get("wsc"), tmp_path / "data"
    table = prepare(task, "train", Bytes(), RowChoice(data_dir=data), cache=tmp_path / "cache")
    assert table.rows.tolist() == [0, 2]
    assert [example.facts["idx"] for example in load_examples(task, "train", data_dir=data)] == [3, 4, 5, 6]


def test_dpr_chooses_between_its_candidates() -> None:
    row = {"sentence": FARMER, "pronoun": "he", "candidates": ["The farmer", "the smith"], "label": 1}
    (found,) = TASKS.get("dpr").to_examples(row, "dpr/train:0")
    assert found.facts["choices"] == ("The farmer", "the smith")
    with pytest.raises(DataError, match=r"^dpr/train:0: field 'label' is 2, expected 0 or 1\."):
        list(TASKS.get("dpr").to_examples(row | {"label": 2}, "dpr/train:0"))
    with pytest.raises(DataError, match=r"^dpr/train:0: field 'candidates' is \('Ida',\), expected two texts\."):
        list(TASKS.get("dpr").to_examples(row | {"candidates": ["Ida"]}, "dpr/train:0"))
