"""Masked words and sentence pairs against what the released code makes of the same random numbers.

Provenance: `create_instances_from_document` and `create_masked_lm_predictions` of google-research/bert
(create_pretraining_data.py at its last commit), run with a generator whose `random`, `randint` and `shuffle` hand out
the numbers that ours draws from the same keys. A pair is written `1000+4>1004+9`: A is the 4 tokens from 1000 on, B the
9 from 1004; with `!` B comes from elsewhere. Tokens are numbered through a document, document n from 1000 · (n + 1).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from textfer.batch import Int32, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.data.sentence_pairs import PairOptions, SentencePair, framed, masked_pairs, sentence_pairs
from textfer.draws import Draws, address
from textfer.errors import ConfigError
from textfer.objectives import MaskedLanguageModel

SENTENCE_LENS = [
    [4, 9, 3, 12, 5, 8, 2, 7],
    [6, 1, 30, 4, 4, 4],
    [5],
    [3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
    [11, 2, 40, 6, 9],
]
# max_len → pairs of document 0 in epochs 0 and 1, of document 1, …; seed 7, a share of 0.3 is short
PAIRS = {
    16: [
        "1000+4!4015+9 1004+9>1013+3 1016+11!5011+2 1028+5>1033+8 1041+2!4024+6 1043+7!2018+6",
        "1000+4>1004+9 1013+3!4012+10 1019+8>1028+5 1033+9!2041+4 1043+7!3000+5",
        "2000+6!5060+7 2006+1>2019+12 2037+4!4003+3 2041+4!4015+3 2045+4!3000+5",
        "2000+6>2018+7 2037+8>2045+4",
        "3000+5!4027+3",
        "3000+5!4018+8",
        "4000+6!3000+5 4006+6>4012+3 4015+3>4018+6 4024+3>4027+3",
        "4000+3!1002+10 4004+8!3000+5 4015+7!1007+6 4024+3!2020+10 4027+3!3000+5",
        "5000+11>5011+2 5034+10!4012+3 5053+6!2019+7 5059+7!1043+6",
        "5000+11>5011+2 5029+10!1013+3 5053+6>5060+7",
    ],
    32: [
        "1000+16!4015+9 1016+12>1028+13 1041+2!4003+21 1043+7!5023+22",
        "1000+13>1016+16 1033+10>1043+7",
        "2000+6!5059+9 2006+1!1041+2 2010+26!4009+3 2037+4!3000+5 2041+4!1043+7 2045+4!3000+5",
        "2000+6>2010+23 2037+8>2045+4",
        "3000+5!4027+3",
        "3000+5!4018+12",
        "4000+12!3000+5 4012+15>4027+3",
        "4000+9!1005+20 4010+17!1004+12 4027+3!3000+5",
        "5000+11>5029+18 5053+6>5059+9",
        "5000+11>5026+18 5053+6!2045+4 5059+9!4018+12",
    ],
}
WORDS = [
    *("[CLS]", "the", "gr", "##ey", "her", "##on", "##s", "stood", "in", "the", "sha", "##llow", "##s", ".", "[SEP]"),
    *("it", "wait", "##ed", "for", "a", "long", "while", "un", "##mov", "##ed", "[SEP]"),
]
# (whole words, most predictions) → places chosen in four rows; 15 % of the tokens, 30 % with whole words
MASKS = {
    (False, 20): [[6, 11, 23, 24], [2, 6, 16, 22], [1, 9, 13, 15], [2, 7, 9, 19]],
    (False, 3): [[6, 11, 23], [2, 6, 22], [1, 13, 15], [2, 7, 19]],
    (True, 20): [
        [4, 5, 6, 10, 11, 12, 19, 21],
        [1, 4, 5, 6, 10, 11, 12, 19],
        [2, 3, 7, 8, 16, 17, 18, 21],
        [1, 4, 5, 6, 13, 16, 17, 21],
    ],
    (True, 3): [[10, 11, 12], [4, 5, 6], [2, 3, 21], [4, 5, 6]],
}


def documents() -> list[list[Int32]]:
    found = []
    for number, lens in enumerate(SENTENCE_LENS, start=1):
        edges = np.cumsum([0, *lens]) + 1000 * number
        found.append([np.arange(*edge, dtype=np.int32) for edge in pairwise(edges.tolist())])
    return found


def told(pair: SentencePair) -> str:
    for part in (pair.first, pair.second):
        assert (np.diff(part) == 1).all()
    first, second = (f"{part[0]}+{len(part)}" for part in (pair.first, pair.second))
    return f"{first}{'!' if pair.is_random else '>'}{second}"


@pytest.mark.parametrize("max_len", PAIRS)
def test_pairs_are_those_of_the_released_code(max_len: int) -> None:
    options = PairOptions(max_len=max_len, short_share=0.3)
    found = []
    for number in range(len(SENTENCE_LENS)):
        for epoch in range(2):
            key = address(7, "pairs", epoch, np.array([number]))[0]
            found.append(" ".join(map(told, sentence_pairs(documents(), number, options, key=key))))
    assert found == PAIRS[max_len]


def test_pairs_follow_or_come_from_elsewhere_in_equal_shares() -> None:
    options = PairOptions(max_len=24)
    keys = address(3, "shares", 0, np.arange(400))
    pairs = [pair for key in keys for pair in sentence_pairs(documents(), 3, options, key=key)]
    share = sum(pair.is_random for pair in pairs) / len(pairs)
    lone = sum(len(pair.first) == 3 and int(pair.first[0]) == 4027 for pair in pairs) / len(pairs)
    assert 0.5 < share < 0.5 + lone, "half of the cuts, and every lone last sentence"
    for pair in pairs:
        assert len(pair.first) + len(pair.second) <= 21
        assert pair.is_random == (pair.first[0] // 1000 != pair.second[0] // 1000)


def ids_of_words() -> tuple[Int32, Specials]:
    vocabulary = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[MASK]": 3}
    ids = np.array([vocabulary.setdefault(word, 6 + len(vocabulary)) for word in WORDS], np.int32)
    inside = np.zeros(60, np.bool_)
    inside[[i for word, i in vocabulary.items() if word.startswith("##")]] = True
    return ids, Specials(pad=0, eos=2, cls=1, sep=2, mask=3, num_ids=60, inside=inside)


@pytest.mark.parametrize(("whole_words", "most"), MASKS)
def test_chosen_places_are_those_of_the_released_code(whole_words: bool, most: int) -> None:
    ids, specials = ids_of_words()
    objective = MaskedLanguageModel(
        whole_words=whole_words, max_predictions=most, noise_density=0.3 if whole_words else 0.15
    )
    draws = Draws(address(7, "masks", 0, np.arange(4)))
    _, weights = objective.hide(np.stack([ids] * 4), specials, draws)
    assert [np.flatnonzero(row).tolist() for row in weights] == MASKS[whole_words, most]


def test_of_the_chosen_80_are_masked_10_random_and_10_left() -> None:
    num, marks = 400, {0, 1, 2, 3}
    tokens = np.tile(np.arange(10, 138, dtype=np.int32), (num, 1))
    specials = Specials(pad=0, eos=2, cls=1, sep=2, mask=3, num_ids=1000)
    inputs, weights = MaskedLanguageModel().hide(tokens, specials, Draws(address(1, "fates", 0, np.arange(num))))
    chosen = weights > 0
    assert (chosen.sum(1) == 19).all(), "0.15 · 128 = 19.2"
    assert (inputs == tokens)[~chosen].all()
    total = chosen.sum()
    shares = [(chosen & (inputs == 3)).sum() / total, (chosen & (inputs == tokens)).sum() / total]
    error = np.sqrt(0.1 * 0.9 / total)
    assert abs(shares[0] - 0.8) < 4 * np.sqrt(0.8 * 0.2 / total)
    assert abs(shares[1] - (0.1 + 0.1 / 996)) < 4 * error, "left, or a random word that is the same"
    words = inputs[chosen & (inputs != 3) & (inputs != tokens)]
    assert marks.isdisjoint(words.tolist())
    assert words.min() < 30
    assert words.max() > 970
    places = chosen.sum(0)
    assert abs(places - num * 19 / 128).max() < 5 * np.sqrt(num * 0.15), "every place is as likely"


def test_random_words_are_all_that_are_no_marks() -> None:
    specials = Specials(pad=0, eos=2, cls=1, sep=4, mask=6, num_ids=8)
    tokens = np.full((300, 12), 3, np.int32)
    objective = MaskedLanguageModel(mask_share=0.0, random_share=1.0)
    inputs, weights = objective.hide(tokens, specials, Draws(address(1, "few", 0, np.arange(300))))
    assert {*inputs[weights > 0].tolist()} == {3, 5, 7}


def test_a_pair_is_framed_masked_and_laid_out() -> None:
    ids, specials = ids_of_words()
    pair = SentencePair(ids[1:14], ids[15:25], is_random=True)
    whole, types = framed(pair.first, pair.second, specials)
    assert whole.tolist() == ids.tolist()
    assert types.tolist() == [0] * 15 + [1] * 11
    assert framed(ids[1:3], None, specials)[1].tolist() == [0] * 4
    keys = address(7, "masks", 0, np.arange(2))
    objective = MaskedLanguageModel(max_predictions=20)
    examples = masked_pairs([pair, SentencePair(ids[1:3], ids[4:5], False)], objective, specials, keys=keys)
    batch = LAYOUTS["masked"].arrange([[one] for one in examples], Lens(26, 26), specials)
    assert batch.heads["next_sentence"].tolist() == [1, 0]
    assert np.flatnonzero(batch.weights[0]).tolist() == MASKS[False, 20][0]
    assert batch.targets[0].tolist() == ids.tolist()
    assert batch.encoder.types[0].tolist() == types.tolist()
    assert batch.weights[1].sum() == 1


def test_what_cannot_be_is_refused() -> None:
    ids, _ = ids_of_words()
    bare = Specials(pad=0, eos=1, num_ids=60)
    draws = Draws(address(7, "masks", 0, np.arange(1)))
    with pytest.raises(ConfigError, match=r"no \[CLS\] and no \[SEP\] and no \[MASK\]"):
        MaskedLanguageModel()(ids[None], bare, draws)
    with pytest.raises(ConfigError, match="do not tell where words begin"):
        MaskedLanguageModel(whole_words=True)(
            ids[None], Specials(pad=0, eos=2, cls=1, sep=2, mask=3, num_ids=60), draws
        )
    with pytest.raises(ConfigError, match=r"has no \[CLS\]"):
        framed(ids, None, bare)
    with pytest.raises(ValueError, match=r"mask_share \+ random_share is 1\.1"):
        MaskedLanguageModel(mask_share=1.0)
