"""Rules of their own that maths, dialogue, SQL and translation tasks have."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from textfer.batch import Example
from textfer.data.task import TASKS
from textfer.data.tasks.dialogue import HISTORY_WORDS, act_scores, read_state, state_scores, state_text
from textfer.data.tasks.grammar import gleu
from textfer.data.tasks.maths import number_text, same_number
from textfer.data.tasks.programs import query_match, same_query
from textfer.errors import DataError


def say(task: str, row: Mapping[str, Any]) -> Example:
    (example,) = TASKS.get(task).to_examples(row, "made/train:0")
    return example


def complaint(task: str, row: Mapping[str, Any]) -> str:
    with pytest.raises(DataError) as error:
        list(TASKS.get(task).to_examples(row, "made/train:0"))
    return str(error.value)


# ---- maths


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("46.0", "46"),
        ("-3.50", "-3.5"),
        ("$1,250", "1250"),
        ("20 %", "20"),
        ("12.", "12"),
        ("0.6666666666666666", "0.6667"),
        ("-0.0", "0"),
        ("1e3", "1000"),
        ("100", "100"),
        (" none ", "none"),
        ("inf", "inf"),
        ("", ""),
        ("9" * 40, "9" * 40),
    ],
)
def test_numbers_as_people_write_them(text: str, number: str) -> None:
    assert number_text(text) == number
    assert number_text(number) == number


def test_numbers_are_compared_as_numbers() -> None:
    assert same_number(["1,200", "12.0", "13"], [["1200"], ["12"], ["12", "13.00"]]) == {"accuracy": 100.0}
    assert same_number(["12", "twelve"], [["12.5"], ["12"]]) == {"accuracy": 0.0}


def test_gsm8k_reasons_and_then_answers() -> None:
    task = TASKS.get("gsm8k")
    example = say("gsm8k", {"question": "q", "answer": "3*4=<<3*4=12>>12\n12-2=<<12-2=10>>10\n#### 1,010.0"})
    assert example.targets == "3*4=12\n12-2=10\n#### 1010"
    told = ["so #### 5\n#### $1,010", "1010", "5", "a #### "]
    answers = [str(task.answer(text, example)) for text in told]
    assert answers == ["1010", "1010", "5", ""]
    assert [str(task.answer(text, example)) for text in answers] == answers
    assert task.metrics is not None
    assert [task.metrics([answer], [example])["accuracy"] for answer in answers] == [100.0, 100.0, 0.0, 0.0]
    assert "####" in complaint("gsm8k", {"question": "q", "answer": "12"})


def test_math_qa_has_two_ways_of_listing_answers() -> None:
    row = {"Problem": "p", "correct": "d"}
    plain = say("math_qa", {**row, "options": "A ) 1 , 500 , b ) 1 : 2 , C ) can ' t be , d ) 3 , e ) none"})
    assert plain.facts["options"] == ("1 , 500", "1 : 2", "can ' t be", "3", "none")
    printed = say("math_qa", {**row, "options": "['a ) 1 : 2', 'b ) 2', 'c ) 3', 'd ) 4', 'e ) 5']"})
    assert printed.facts["options"] == ("1 : 2", "2", "3", "4", "5")
    assert (plain.targets, printed.targets) == ("choice4", "choice4")
    assert "options" in complaint("math_qa", {**row, "options": "a ) 1 , b ) 2"})


def test_aqua_options_lose_their_letters() -> None:
    row = {"question": "q", "options": ["A)5(x + 1)", "B) 6", "C)7", "D)8", "E)None"], "correct": "A"}
    assert say("aqua_rat", row).facts["options"] == ("5(x + 1)", "6", "7", "8", "None")


def test_a_word_problem_without_a_number_is_told() -> None:
    assert "field 'answer' is nan" in complaint("mawps", {"question": "q", "answer": float("nan")})
    assert "field 'Answer' is 'five'" in complaint("svamp", {"Body": "b", "Question": "q", "Answer": "five"})
    assert "field 'answer' is 'maybe'" in complaint("coin_flip", {"question": "q", "answer": "maybe"})


# ---- dialogue


def dialogue(*told: tuple[str, str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "dialogue_id": "d",
        "speaker": [speaker for speaker, _, _ in told],
        "utterance": [text for _, text, _ in told],
        "frames": [json.dumps([{"service": "Boats_1", **frame}]) for _, _, frame in told],
    }


def wants(**slots: Sequence[str]) -> dict[str, Any]:
    return {"actions": [], "state": {"active_intent": "FindBoat", "slot_values": slots}}


def does(*acts: tuple[str, str]) -> dict[str, Any]:
    return {"actions": [{"act": act, "slot": slot, "values": []} for act, slot in acts]}


TALK = dialogue(
    ("USER", "A boat.", wants()),
    ("SYSTEM", "When?", does(("REQUEST", "date"), ("REQUEST", "date"))),
    ("USER", "On Friday.", wants(date=["Friday", "on Friday"])),
    ("SYSTEM", "Bye.", does(("GOODBYE", ""))),
)


def test_each_turn_is_an_example() -> None:
    states = list(TASKS.get("schema_guided_state").to_examples(TALK, "o"))
    assert [example.facts["id"] for example in states] == ["d/0", "d/2"]
    assert states[1].inputs == "schema_guided_state dialogue: user: A boat. system: When? user: On Friday."
    assert states[1].targets == "Boats_1: intent = FindBoat; date = Friday"
    acts = list(TASKS.get("schema_guided_act").to_examples(TALK, "o"))
    assert [example.targets for example in acts] == ["request date", "goodbye"]
    assert acts[0].inputs == "schema_guided_act dialogue: user: A boat."
    responses = list(TASKS.get("schema_guided_response").to_examples(TALK, "o"))
    assert responses[1].inputs.startswith("schema_guided_response acts: goodbye dialogue: user: A boat. system: When?")
    assert responses[1].targets == "Bye."


def test_long_dialogues_lose_their_oldest_turns() -> None:
    words = " ".join(["word"] * (HISTORY_WORDS // 2))
    long = dialogue(*(("USER", f"{number} {words}", wants()) for number in range(4)))
    last = list(TASKS.get("schema_guided_state").to_examples(long, "o"))[-1]
    assert last.inputs == f"schema_guided_state dialogue: user: 3 {words}"


def test_states_are_read_back() -> None:
    state = {"Boats_1": {"intent": "FindBoat", "date": "Friday: noon"}, "Hotels_1": {"intent": "NONE"}}
    assert read_state(state_text(state)) == state
    assert read_state("no state") == {}
    assert read_state("Boats_1: ; x|: y = 1") == {"Boats_1": {}, "": {"y": "1"}}


def test_states_are_marked_by_hand() -> None:
    _, example = TASKS.get("schema_guided_state").to_examples(TALK, "o")
    told = {
        "Boats_1: intent = FindBoat; date = ON FRIDAY": (100.0, 100.0, 100.0),
        "Boats_1: intent = NONE; date = Friday": (100.0, 100.0, 0.0),
        "Boats_1: intent = FindBoat": (0.0, 0.0, 100.0),
        "Boats_1: intent = FindBoat; date = Friday; port = Aldon": (0.0, 100 * 2 / 3, 100.0),
        "Boats_1: intent = FindBoat; date = Friday | Hotels_1: intent = NONE": (0.0, 100.0, 100.0),
        "nothing": (0.0, 0.0, 0.0),
    }
    for text, marks in told.items():
        assert tuple(state_scores([text], [example]).values()) == pytest.approx(marks), text


def test_acts_are_marked_as_sets() -> None:
    offers = dialogue(("USER", "A boat.", wants()), ("SYSTEM", "x", does(("OFFER", "price"), ("OFFER", "date"))))
    (example,) = TASKS.get("schema_guided_act").to_examples(offers, "o")
    assert act_scores(["offer date ;offer price"], [example]) == {"f1": 100.0, "exact_match": 100.0}
    assert act_scores(["offer date; request port"], [example]) == {"f1": 50.0, "exact_match": 0.0}


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("frames", ["{", "[]", "[]", "[]"], "frames"),
        ("frames", ["{}", "[]", "[]", "[]"], "frames"),
        ("frames", ["[]"], "frames"),
        ("utterance", ["a"], "utterance"),
        ("speaker", ["USER", "BOT", "USER", "SYSTEM"], "speaker"),
        ("frames", ['[{"service": "B", "state": {"active_intent": "x"}}]'] * 4, "state.slot_values"),
        (
            "frames",
            ['[{"service": "B", "state": {"active_intent": "x", "slot_values": {"a": []}}}]'] * 4,
            "slot_values",
        ),
    ],
)
def test_broken_dialogues_are_told(column: str, value: Sequence[str], told: str) -> None:
    assert told in complaint("schema_guided_state", {**TALK, column: value})


# ---- SQL and translation


def test_queries_are_compared_without_case_and_spaces_outside_quotes() -> None:
    gold = 'SELECT T.NAME FROM T WHERE T.TOWN = "Old Aldon" AND T.X IN ( 1 , 2 ) ;'
    assert same_query(gold) == 'select t.name from t where t.town="Old Aldon"and t.x in(1,2)'
    told = [
        'select t.name\nfrom T where T.TOWN="Old Aldon" and t.x in (1,2)',
        'select t.name from T where T.TOWN="old aldon" and t.x in (1,2)',
        'selectt.name from T where T.TOWN="Old Aldon" and t.x in (1,2)',
    ]
    assert [query_match([text], [[gold]])["query_match"] for text in told] == [100.0, 0.0, 0.0]


def test_programs_are_told_with_plain_line_ends() -> None:
    assert say("mbpp", TASKS.get("mbpp").sample[0]).targets == "def double(number):\n    return 2 * number"


def test_flores_has_ten_directions() -> None:
    names = [name for name in TASKS.names() if name.startswith("flores_")]
    assert len(names) == 10
    example = say("flores_ro_en", TASKS.get("flores_ro_en").sample[0])
    assert example.inputs == "translate Romanian to English: Moara se află pe un râu mic lângă oraș."
    assert "sentence_ron_Latn" in complaint("flores_ro_en", {"sentence_eng_Latn": "The mill."})


# ---- grammar


def test_gleu_by_hand() -> None:
    sentence, gold = "a b c d e f", "a b c d e g"
    # Shared with the correction, less those that it does away with: 5 - 1 of 6 words, 4 - 1 of 5 pairs, and so on.
    by_hand = 100 * (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    assert gleu([sentence], [[gold]], [sentence]) == {"gleu": pytest.approx(by_hand)}
    assert gleu([gold], [[gold]], [sentence]) == {"gleu": pytest.approx(100.0)}
    assert gleu(["a b c d"], [[gold]], [sentence])["gleu"] == pytest.approx(100 * math.exp(1 - 6 / 4))  # too short
    assert gleu(["", "x"], [[gold], [gold]], [sentence] * 2) == {"gleu": 0.0}
    assert gleu([gold], [[gold, "h i j k"]], [sentence]) == {"gleu": pytest.approx(50.0)}  # a round each
    assert math.isnan(gleu([], [], [])["gleu"])


def test_corrections_stand_beside_what_copying_gets() -> None:
    task = TASKS.get("jfleg")
    example = say("jfleg", {"sentence": " a b c d e f . ", "corrections": ["a b c d e g .", "", "a b c d e f ."]})
    assert example.facts["answers"] == ("a b c d e g .", "a b c d e f .")
    assert task.metrics is not None
    scores = task.metrics(["a b c d e g ."], [example])
    assert list(scores) == ["exact_match", "gleu", "bleu", "copied_gleu", "copied_bleu"]
    assert (scores["exact_match"], scores["copied_bleu"]) == (100.0, pytest.approx(100.0))
    assert "answer that is not empty" in complaint("jfleg", {"sentence": "a", "corrections": [" "]})
