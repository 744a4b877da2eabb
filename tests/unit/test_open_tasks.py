"""The open sets' tasks: how many there are, what they say, their odd rows, and the scores that are theirs alone."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from textfer.batch import Example
from textfer.data.task import TASKS, choices_of
from textfer.data.tasks.blimp import PHENOMENA
from textfer.data.tasks.intents import ATIS_IDS, BANKING77, CLINC150, HWU64, mark_scope
from textfer.data.tasks.topics import FINE_WORDS
from textfer.data.tasks.tweets import EMOJIS
from textfer.errors import DataError
from textfer.metrics import macro_recall, metric_names, stance_f1

FAMILIES = {
    "sentiment": {"sst2", "adv_sst2", "imdb", "counterfactual_sentiment", "rotten_tomatoes", "movie_reviews"}
    | {"pros_cons", "product_reviews", "product_reviews_aspects", "tweet_eval_emotion", "tweet_eval_sentiment"},
    "tagging": {"wnut_17", "wikiann_en", "wikiann_de", "wikiann_fr", "ncbi_disease", "bc5cdr", "sciie_ner", "jnlpba"}
    | {"ebmnlp", "conll2003_ner", "conll2003_chunk", "conll2003_pos"},
    "relation and citation classification": {"scicite", "citation_intent", "chemprot", "sciie_relation", "mag"},
    "topic and other classification": {f"tweet_eval_{kind}" for kind in ("emoji", "hate", "irony", "offensive")}
    | {f"tweet_eval_stance_{target}" for target in ("abortion", "atheism", "climate", "feminist", "hillary")}
    | {"subj", "comparative_sentences", "ag_news", "trec", "trec_fine"},
    "intent and slots": {"banking77", "clinc_oos", "hwu_64", "clinc_single_domain_oos", "snips_intent", "snips_slots"}
    | {"atis_intent", "atis_slots", "mit_movie_trivia"},
    "grammar (BLiMP minimal pairs)": {f"blimp_{name.lower()}" for name in PHENOMENA.split()},
}


def say(task: str, row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(example.inputs, example.targets) for example in TASKS.get(task).to_examples(row, f"{task}/train:0")]


def test_all_are_there() -> None:
    counts = {family: len(names) for family, names in FAMILIES.items()}
    assert counts == dict(zip(FAMILIES, (11, 12, 5, 14, 9, 67), strict=True))
    assert [name for names in FAMILIES.values() for name in names if name not in TASKS] == []


@pytest.mark.parametrize(
    ("task", "row", "inputs", "targets"),
    [
        ("imdb", {"text": " Bad.<br />", "label": 0}, "imdb text:  Bad.<br />", "negative"),
        ("pros_cons", {"text": "Cheap", "label": 1}, "pros_cons text: Cheap", "pro"),
        ("ag_news", {"text": "A lamp.", "label": 3}, "ag_news text: A lamp.", "Sci/Tech"),
        ("trec", {"text": "Why ?", "coarse_label": 2}, "trec text: Why ?", "description"),
        ("trec_fine", {"text": "Why ?", "fine_label": 27}, "trec_fine text: Why ?", "reason"),
        ("trec_fine", {"text": "How heavy ?", "fine_label": 49}, "trec_fine text: How heavy ?", "weight"),
        ("tweet_eval_emoji", {"text": "pic", "label": 18}, "tweet_eval_emoji text: pic", "camera with flash"),
        ("tweet_eval_hate", {"text": "", "label": 0}, "tweet_eval_hate text: ", "non-hate"),
        ("tweet_eval_stance_climate", {"text": "No.", "label": 1}, "tweet_eval_stance_climate text: No.", "against"),
        ("citation_intent", {"text": "x", "label": 1}, "citation_intent text: x", "compare or contrast"),
        ("chemprot", {"text": "x", "label": 11}, "chemprot text: x", "substrate product of"),
        ("sciie_relation", {"text": "x", "label": 6}, "sciie_relation text: x", "used for"),
        ("mag", {"text": "wells", "label": 2}, "mag text: wells", "economics"),
        ("banking77", {"text": "late", "label": 51}, "banking77 text: late", "refund not showing up"),
        ("clinc_oos", {"text": "bye", "label": 49}, "clinc_oos text: bye", "goodbye"),
        ("hwu_64", {"text": "light", "label": 31}, "hwu_64 text: light", "iot hue lighton"),
        ("snips_intent", {"id": "1", "text": "x", "intent": "RateBook"}, "snips_intent text: x", "rate book"),
        (
            "atis_intent",
            {"id": "1", "text": "x", "intent": "atis_flight#atis_airfare"},
            "atis_intent text: x",
            "flight and airfare",
        ),
        (
            "clinc_single_domain_oos",
            {"domain": "banking", "text": "x", "label": "oos"},
            "clinc_single_domain_oos domain: banking text: x",
            "out of scope",
        ),
        (
            "product_reviews_aspects",
            {"text": "good lid", "product": "X1", "aspects": ["lid", "steel  lid", "lid"]},
            "product_reviews_aspects product: X1 sentence: good lid",
            "lid; steel lid",
        ),
        ("bbc_news_topic", {"File_path": "tech", "Articles": "A\n\nb"}, "bbc_news_topic text: A\n\nb", "tech"),
        (
            "adv_mnli_mismatched",
            {"premise": "p", "hypothesis": "h", "label": 2, "idx": 1},
            "mnli hypothesis: h premise: p",
            "contradiction",
        ),
        ("adv_rte", {"sentence1": "a", "sentence2": "b", "label": 1, "idx": 1}, "rte sentence1: a sentence2: b", None),
        ("adv_qqp", {"question1": "a", "question2": "b", "label": 1, "idx": 1}, None, "duplicate"),
    ],
)
def test_text_forms(task: str, row: dict[str, Any], inputs: str | None, targets: str | None) -> None:
    ((said, word),) = say(task, row)
    assert (said, word) == (inputs or said, targets or word)


def test_classes_in_words() -> None:
    for words, count in ((BANKING77, 77), (CLINC150, 150), (HWU64, 64), (EMOJIS, 20), (FINE_WORDS, 50), (ATIS_IDS, 26)):
        assert len(set(words)) == count
    for name in set().union(*FAMILIES.values()) - {"sst2"}:
        task = TASKS.get(name)
        assert not any("_" in word or word != word.strip() for word in task.choices), name


def test_a_heading_is_no_title() -> None:
    assert say("mag", {"text": "tokens", "label": 1}) == []
    with pytest.raises(DataError, match="field 'label' is 1"):
        say("mag", {"text": "tokens and types", "label": 1})


def test_minimal_pairs() -> None:
    same = {"sentence_good": "The mill burns.", "sentence_bad": "The mill burns."}
    assert say("blimp_passive_1", same) == []
    places: Counter[str] = Counter()
    for number in range(400):
        row = {"sentence_good": f"Well {number} is dry.", "sentence_bad": f"Well {number} are dry."}
        (example,) = TASKS.get("blimp_complex_np_island").to_examples(row, "x")
        first, second = (
            row[f"sentence_{kind}"] for kind in (("good", "bad"), ("bad", "good"))[example.targets[-1] == "2"]
        )
        assert example.inputs == f"blimp choice1: {first} choice2: {second}"
        assert list(example.fields.values()) == [first, second]
        places[example.targets] += 1
    assert min(places["choice1"], places["choice2"]) > 160


def test_scope_and_domains() -> None:
    task = TASKS.get("clinc_single_domain_oos")

    def read(domain: str, label: str) -> Example:
        (example,) = task.to_examples({"domain": domain, "text": "x", "label": label}, "clinc/train:3")
        return example

    known, unknown = read("credit_cards", "new_card"), read("credit_cards", "oos")
    assert "new card" in choices_of(task, known)
    assert len(choices_of(task, known)) == 11
    with pytest.raises(DataError, match="clinc/train:3: field 'label' is 'new_card', expected an intent of banking"):
        read("banking", "new_card")
    with pytest.raises(DataError, match="field 'domain' is 'farming'"):
        read("farming", "oos")
    scores = mark_scope(["new card", "out of scope", "out of scope", "apr"], [known, known, unknown, unknown])
    assert scores == {"accuracy": 50, "in_scope_accuracy": 50, "oos_recall": 50}


def test_aspects() -> None:
    task = TASKS.get("product_reviews_aspects")
    assert task.metrics is not None
    examples = [
        example
        for aspects in (["lid", "handle"], ["speed"])
        for example in task.to_examples({"text": "x", "product": "X1", "aspects": aspects}, "x")
    ]
    scores = task.metrics(["handle;  lid; lid", "price;steam"], examples)
    assert scores["precision"] == pytest.approx(100 * 2 / 4)
    assert scores["recall"] == pytest.approx(100 * 2 / 3)
    for bad in ([], [""], ["lid; handle"], [None]):
        with pytest.raises(DataError, match="field 'aspects' is"):
            list(task.to_examples({"text": "x", "product": "X1", "aspects": bad}, "x"))


def test_scores_of_tweets() -> None:
    """Against scikit-learn, as the benchmark's own script computes them."""
    sklearn = pytest.importorskip("sklearn.metrics")
    draw = Random(5)
    for _ in range(200):
        golds = [draw.randrange(3) for _ in range(draw.randint(1, 30))]
        answers = [draw.choice((gold, draw.randrange(-1, 3))) for gold in golds]
        recall = sklearn.recall_score(golds, answers, labels=sorted(set(golds)), average="macro", zero_division=0)
        assert macro_recall(answers, golds)["macro_recall"] == pytest.approx(100 * recall)
        # an answer that is no label is only ever wrong for the class that is gold
        f1 = sklearn.f1_score(golds, answers, labels=[1, 2], average="macro", zero_division=0)
        assert stance_f1(answers, golds)["stance_f1"] == pytest.approx(100 * f1)


def test_main_scores() -> None:
    leads = {"emoji": "macro_f1", "emotion": "macro_f1", "hate": "macro_f1", "offensive": "macro_f1", "irony": "f1"}
    leads |= {"sentiment": "macro_recall", "stance_atheism": "stance_f1"}
    assert {name: TASKS.get(f"tweet_eval_{name}").main_metric for name in leads} == leads
    assert TASKS.get("chemprot").main_metric == "accuracy"
    assert TASKS.get("scicite").main_metric == "macro_f1"
    assert TASKS.get("wnut_17").main_metric == "f1"


def test_every_score_has_a_signature() -> None:
    for name in set().union(*FAMILIES.values()):
        marking = TASKS.get(name).metrics
        assert marking is not None
        assert metric_names(marking), name
