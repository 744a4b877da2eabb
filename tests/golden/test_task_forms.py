"""The text form of every task of T5, one row each, to be read: what goes in and what comes out.

Written by hand from the formats in t5/data (preprocessors.py, glue_utils.py, tasks.py) and t5_cbqa/preprocessors.py.
`test_task_forms_t5.py` compares odd rows with what that code makes of them.
"""

from __future__ import annotations

from typing import Any

import pytest

from textfer.data.task import TASKS

DRY, WET = "The well is dry.", "There is water."
PAGE = 'Maud Hale ("Lady H.") gave it.'
PADDED = 'Maud Hale ( " Lady H . " ) gave it . '
NEWS = "Hale gave it away\n@highlight\nShe said why.\n@highlight\nNobody heard"
PLACE = {"paragraph": 3, "question": 1, "answer": 4}
FORMS: tuple[tuple[str, dict[str, Any], list[tuple[str, str]]], ...] = (
    ("cola", {"sentence": DRY, "label": 1, "idx": 0}, [("cola sentence: The well is dry.", "acceptable")]),
    ("cola", {"sentence": DRY, "label": 0, "idx": 0}, [("cola sentence: The well is dry.", "unacceptable")]),
    ("cola", {"sentence": DRY, "label": -1, "idx": 0}, [("cola sentence: The well is dry.", "<unk>")]),
    ("sst2", {"sentence": "dull . ", "label": 0, "idx": 0}, [("sst2 sentence: dull . ", "negative")]),
    (
        "mrpc",
        {"sentence1": DRY, "sentence2": WET, "label": 0, "idx": 0},
        [("mrpc sentence1: The well is dry. sentence2: There is water.", "not_equivalent")],
    ),
    (
        "stsb",
        {"sentence1": DRY, "sentence2": WET, "label": 0.75, "idx": 0},
        [("stsb sentence1: The well is dry. sentence2: There is water.", "0.8")],
    ),
    (
        "qqp",
        {"question1": "Who?", "question2": "Why?", "label": 0, "idx": 0},
        [("qqp question1: Who? question2: Why?", "not_duplicate")],
    ),
    (
        "mnli",
        {"premise": DRY, "hypothesis": WET, "label": 2, "idx": 0},
        [("mnli hypothesis: There is water. premise: The well is dry.", "contradiction")],
    ),
    (
        "mnli_mismatched",
        {"premise": DRY, "hypothesis": WET, "label": 1, "idx": 0},
        [("mnli hypothesis: There is water. premise: The well is dry.", "neutral")],
    ),
    (
        "ax",
        {"premise": DRY, "hypothesis": WET, "label": -1, "idx": 0},
        [("mnli hypothesis: There is water. premise: The well is dry.", "<unk>")],
    ),
    (
        "qnli",
        {"question": "Is it dry?", "sentence": DRY, "label": 0, "idx": 0},
        [("qnli question: Is it dry? sentence: The well is dry.", "entailment")],
    ),
    (
        "rte",
        {"sentence1": DRY, "sentence2": WET, "label": 1, "idx": 0},
        [("rte sentence1: The well is dry. sentence2: There is water.", "not_entailment")],
    ),
    (
        "wnli",
        {"sentence1": DRY, "sentence2": WET, "label": 1, "idx": 0},
        [("wnli sentence1: The well is dry. sentence2: There is water.", "entailment")],
    ),
    (
        "wnli_wsc",
        {"sentence1": "The fish ate the worm. It was tasty.", "sentence2": "The worm was tasty.", "label": 1, "idx": 0},
        [("wsc: The fish ate the worm. *It* was tasty.", "The worm")],
    ),
    (
        "boolq",
        {"question": "is it dry", "passage": DRY, "label": 1, "idx": 0},
        [("boolq passage: The well is dry. question: is it dry", "True")],
    ),
    (
        "cb",
        {"premise": DRY, "hypothesis": WET, "label": 1, "idx": 0},
        [("cb hypothesis: There is water. premise: The well is dry.", "contradiction")],
    ),
    (
        "copa",
        {"premise": DRY, "choice1": "Rain.", "choice2": "No rain.", "question": "cause", "label": 1, "idx": 0},
        [("copa choice1: Rain. choice2: No rain. premise: The well is dry. question: cause", "choice2")],
    ),
    (
        "multirc",
        {"paragraph": "<b>1: </b>It is dry.<br>", "question": "Is it?", "answer": "Yes", "label": 1, "idx": PLACE},
        [("multirc question: Is it? answer: Yes paragraph: 1: It is dry. ", "True")],
    ),
    (
        "record",
        {
            "passage": NEWS,
            "query": "@placeholder spoke",
            "entities": ["Hale", "Ida"],
            "answers": ["Ida", "Hale"],
            "idx": {"passage": 0, "query": 0},
        },
        [
            (
                "record query: @placeholder spoke entities: Hale, Ida passage: "
                "Hale gave it away. She said why. Nobody heard",
                target,
            )
            for target in ("Ida", "Hale")
        ],
    ),
    (
        "super_glue_rte",
        {"premise": DRY, "hypothesis": WET, "label": 1, "idx": 0},
        [("rte hypothesis: There is water. premise: The well is dry.", "not_entailment")],
    ),
    (
        "wic",
        {"word": "well", "sentence1": "All is well.", "sentence2": DRY, "label": 0, "idx": 0},
        [("wic sentence1: All is well. sentence2: The well is dry. word: well", "False")],
    ),
    (
        "wsc",
        {
            "text": "Ida asked Karl if he came.",
            "span1_text": "Karl",
            "span2_index": 4,
            "span2_text": "he",
            "label": 1,
            "idx": 0,
        },
        [("wsc: Ida asked Karl if *he* came.", "Karl")],
    ),
    (
        "axb",
        {"sentence1": DRY, "sentence2": WET, "label": 1, "idx": 0},
        [("rte hypothesis: There is water. premise: The well is dry.", "not_entailment")],
    ),
    (
        "axg",
        {"premise": DRY, "hypothesis": WET, "label": 0, "idx": 0},
        [("rte hypothesis: There is water. premise: The well is dry.", "entailment")],
    ),
    (
        "dpr",
        {"sentence": "Ida asked Karl, but he left.", "pronoun": "he", "candidates": ["Ida", "Karl"], "label": 1},
        [("wsc: Ida asked Karl, but *he* left.", "Karl")],
    ),
    (
        "squad",
        {"id": "1", "context": PAGE, "question": "Who?", "answers": {"text": ["Lady H."], "answer_start": [12]}},
        [(f"question: Who ? context: {PADDED}", "Lady H . ")],
    ),
    (
        "squad_span",
        {"id": "1", "context": PAGE, "question": "Who?", "answers": {"text": ["Maud Hale"], "answer_start": [0]}},
        [(f"question: Who ? context: {PADDED}", "start: 0 end: 1")],
    ),
    (
        "squad_trivia",
        {"id": "1", "question": "Who's it?", "answers": {"text": ["Lady H."], "answer_start": [12]}},
        [("squad trivia question: Who ' s it ? ", "Lady H . ")],
    ),
    (
        "trivia_qa",
        {
            "question": "Who?",
            "question_id": "t",
            "entity_pages": {"wiki_context": [PAGE, "Nothing."]},
            "search_results": {"search_context": []},
            "answer": {"normalized_aliases": ["lady h", "maud hale", "ida"]},
        },
        [(f"question: Who ? context: {PADDED}", target) for target in ("lady h", "maud hale")],
    ),
    ("nq_open", {"question": "who?", "answer": ["Hale", "Maud"]}, [("nq question: who?", "Hale")]),
    ("web_questions", {"question": "who?", "answers": ["Hale", "Maud"]}, [("wq question: who?", "Hale")]),
    (
        "trivia_qa_open",
        {"question": "Who?", "question_id": "t", "answer": {"value": "Hale", "aliases": ["Maud", "Hale"]}},
        [("trivia_qa question: Who?", "Hale")],
    ),
    (
        "natural_questions",
        {
            "id": "1",
            "question": {"text": "who"},
            "annotations": {"yes_no_answer": [-1, 1], "short_answers": [{"text": ["Ida", "Karl"]}, {"text": []}]},
        },
        [("nq question: who", "answer: yes answer: Ida answer: Karl")],
    ),
    (
        "salient_span_masked_wikipedia",
        {"text": "Ida left Aldon.", "spans": {"start": [0, 9], "limit": [3, 14]}},
        [("nem: _X_ left Aldon.", "Ida"), ("nem: Ida left _X_.", "Aldon")],
    ),
    ("cnn_dailymail", {"article": DRY, "highlights": "Dry .", "id": "1"}, [("summarize: The well is dry.", "Dry .")]),
    ("xsum", {"document": DRY, "summary": "Dry.", "id": "1"}, [("summarize: The well is dry.", "Dry.")]),
    ("samsum", {"dialogue": "Ida: Hi", "summary": "Ida greets.", "id": "1"}, [("summarize: Ida: Hi", "Ida greets.")]),
    *(
        (name, {"translation": {"en": DRY, code: "…!"}}, [(f"translate English to {language}: The well is dry.", "…!")])
        for name, code, language in (
            ("wmt_t2t_ende", "de", "German"),
            ("wmt14_ende", "de", "German"),
            ("wmt14_enfr", "fr", "French"),
            ("wmt15_enfr", "fr", "French"),
            ("wmt16_enro", "ro", "Romanian"),
            ("wmt19_ende", "de", "German"),
        )
    ),
    (
        "multi30k_cs_en",
        {"cs": "Studna je suchá.", "en": DRY},
        [("translate Czech to English: Studna je suchá.", "The well is dry.")],
    ),
)


@pytest.mark.parametrize(("name", "row", "said"), FORMS, ids=[form[0] for form in FORMS])
def test_the_form_of_a_task(name: str, row: dict[str, Any], said: list[tuple[str, str]]) -> None:
    assert [(example.inputs, example.targets) for example in TASKS.get(name).to_examples(row, "form:0")] == said
