"""ROUGE and its stemmer, equal to `rouge-score` and to NLTK's Porter stemmer, which compute the golden values here."""

from __future__ import annotations

import itertools
import random

import pytest
from odd_texts import odd_pairs

from textfer.metrics import rouge, stem

scorers = pytest.importorskip("rouge_score.rouge_scorer", reason="needs rouge-score")
porter = pytest.importorskip("nltk.stem.porter", reason="needs NLTK (comes with rouge-score)")

NAMES = ["rouge1", "rouge2", "rougeL", "rougeLsum"]
STARTS = (
    "",
    "y",
    "s",
    "ly",
    "tr",
    "fee",
    "hop",
    "fall",
    "fizz",
    "geo",
    "archae",
    "ration",
    "hesit",
    "conflat",
    "syzyg",
)
ENDINGS = (
    *(
        "s",
        "es",
        "ies",
        "ied",
        "eed",
        "ed",
        "ing",
        "at",
        "bl",
        "iz",
        "ational",
        "tional",
        "enci",
        "anci",
        "izer",
        "bli",
    ),
    *("alli", "entli", "eli", "ousli", "ization", "ation", "ator", "alism", "iveness", "fulness", "ousness", "aliti"),
    *("iviti", "biliti", "fulli", "logi", "icate", "ative", "alize", "iciti", "ical", "ful", "ness", "al", "ance"),
    *("ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "sion", "tion", "ou", "ism", "ate"),
    *("iti", "ous", "ive", "ize", "e", "l", "ll", "y", "ly", "ally", "fully", "logy", "ss", "sses", "skies"),
)
IRREGULAR = (
    *("sky", "skies", "dying", "lying", "tying", "news", "inning", "innings", "outing", "outings", "canning"),
    *("cannings", "howe", "proceed", "exceed", "succeed", "dies", "died", "ties", "spied", "enjoy", "by", "say"),
)


@pytest.mark.parametrize("stemmed", [True, False])
def test_rouge(stemmed: bool) -> None:
    scorer = scorers.RougeScorer(NAMES, use_stemmer=stemmed)
    texts, golds = odd_pairs(1200, seed=5)
    totals = dict.fromkeys(NAMES, 0.0)
    for text, all_ in zip(texts, golds, strict=True):
        theirs = {name: 100 * score.fmeasure for name, score in scorer.score_multi(all_, text).items()}
        assert rouge([text], [all_], stemmed=stemmed, sentences=False) == pytest.approx(theirs), (text, all_)
        totals = {name: totals[name] + theirs[name] for name in NAMES}
    scores = rouge(texts, golds, stemmed=stemmed, sentences=False)
    assert scores == pytest.approx({name: total / len(texts) for name, total in totals.items()})
    assert all(10 < score < 90 for score in scores.values())  # neither all alike nor all different


def test_rouge_of_texts_parted_as_t5_parts_them() -> None:
    scorer = scorers.RougeScorer(NAMES, use_stemmer=True)
    draw = random.Random(6)
    parted = 0
    for _ in range(300):
        text, gold = (
            " . ".join(draw.choice(("the cat ran", "a dog . sat", "Über 中", "")) for _ in "123") for _ in "12"
        )
        theirs = scorer.score(gold.replace(" . ", " .\n"), text.replace(" . ", " .\n"))
        ours = rouge([text], [[gold]])
        assert ours == pytest.approx({name: 100 * score.fmeasure for name, score in theirs.items()})
        parted += ours["rougeLsum"] != rouge([text], [[gold]], sentences=False)["rougeLsum"]
    assert parted


def test_rouge_of_long_summaries() -> None:
    """Lines of more words than a machine word has bits, and many ways to choose a subsequence among few words."""
    draw = random.Random(7)
    scorer = scorers.RougeScorer(NAMES, use_stemmer=True)
    for _ in range(20):
        text, gold = ("\n".join(" ".join(draw.choices("abcde", k=draw.randint(1, 90))) for _ in "123") for _ in "12")
        theirs = {name: 100 * score.fmeasure for name, score in scorer.score(gold, text).items()}
        assert rouge([text], [[gold]]) == pytest.approx(theirs)


def test_stems() -> None:
    draw = random.Random(8)
    words = {
        *IRREGULAR,
        *("".join(letters) for size in (1, 2, 3) for letters in itertools.product("aeylsdt", repeat=size)),
    }
    words |= {start + ending for start in STARTS for ending in ENDINGS}
    words |= {start + one + two for start in STARTS for one, two in itertools.product(ENDINGS, repeat=2)}
    words |= {"".join(draw.choices("aeiouybcdlsztwx019", k=draw.randint(1, 9))) for _ in range(5000)}
    stemmer = porter.PorterStemmer()
    assert [(word, stem(word)) for word in sorted(words - {""})] == [
        (word, stemmer.stem(word)) for word in sorted(words - {""})
    ]
