"""Choices: ranking = sums of log-softmax; constrained decoding never leaves them, and enough beams find the best."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from letters import ARRANGEMENTS, TEXTS, Letters, log_prob_of, predictor_of

from textfer.answer import TextToText
from textfer.batch import Specials
from textfer.choices import NORMALISATIONS, Trie, Walks, normalised, ranked
from textfer.errors import ConfigError
from textfer.generate import Decoding, Predictor
from textfer.models.t5 import T5

WORDS = ("a", "ab", "abc", "h", "gfedc", "f")
"""One is the beginning of another: an end mark must close each."""
LISTS = [WORDS, ("b",), ("cc", "cd"), WORDS[::-1], ("hh", "h"), (), ("a", "b", "c", "d"), ("dcba", "abcd")]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def log_probs(predictor: Predictor, text: str, words: Sequence[str]) -> list[float]:
    assert isinstance(predictor.model, T5)
    inputs = Letters().encode_many([text])[0].tolist()
    return [log_prob_of(predictor.model, inputs, [*ids.tolist(), 1]) for ids in Letters().encode_many(words)]


# ---- constrained decoding


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize(
    "values", [{}, {"beams": 3}, {"sample": True, "seed": 3, "temperature": 2.0}, {"sample": True, "top_k": 2}]
)
def test_no_answer_outside_its_choices(arrangement: str, values: dict[str, Any]) -> None:
    predictor = predictor_of(arrangement, sharp=1.0)
    for size in (3, 16):
        made = predictor.generate(TEXTS, Decoding(max_new_tokens=6, batch_size=size, **values), choices=LISTS)
        for text, some, answer in zip(TEXTS, LISTS, made, strict=True):
            assert not some or answer.text in some
            if some:
                assert answer.log_prob == pytest.approx(log_probs(predictor, text, [answer.text])[0], abs=1e-4)
    free = predictor.generate(TEXTS, Decoding(max_new_tokens=6, **values))
    assert made[5].text == free[5].text, "an empty list bars nothing"
    assert [one.text for one in made] != [one.text for one in free]


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_enough_beams_without_penalty_find_the_likeliest_choice(arrangement: str) -> None:
    predictor = predictor_of(arrangement, sharp=2.0)
    beams = Decoding(max_new_tokens=6, beams=6, length_penalty=0.0)
    made = predictor.generate(TEXTS, beams, choices=WORDS)
    best = predictor.rank(TEXTS, WORDS)
    assert [one.text for one in made] == [one.choice for one in best]
    assert [one.log_prob for one in made] == pytest.approx([max(one.log_probs) for one in best], abs=1e-4)
    assert len({one.text for one in made}) > 1, "different texts should get different answers"


def test_greedy_takes_the_likeliest_way_at_each_fork() -> None:
    predictor = predictor_of(sharp=1.0)
    for text in TEXTS:
        first = predictor.generate([text], Decoding(max_new_tokens=4), choices=("ab", "ac", "h"))[0].text
        forks = dict(zip("ah", log_probs(predictor, text, ["a", "h"]), strict=True))  # not the ends: only an order
        assert first in ("ab", "ac", "h")
        alone = predictor.generate([text], Decoding(max_new_tokens=4), choices=("ab", "ac"))[0].text
        assert first in (alone, "h"), forks


def test_a_choice_is_one_row_of_a_batch_or_alone() -> None:
    predictor = predictor_of(sharp=1.0)
    for decoding in (Decoding(max_new_tokens=8), Decoding(max_new_tokens=8, beams=4)):
        together = predictor.generate(TEXTS, decoding, choices=LISTS)
        for text, some, answer in zip(TEXTS, LISTS, together, strict=True):
            assert predictor.generate([text], decoding, choices=[some])[0].text == answer.text


def test_walks_bar_all_but_the_ways_on() -> None:
    trie = Trie(("a", "abc", "bc"), Letters())
    walks = Walks([trie, None])
    logits = torch.zeros(2, 6)
    allowed = [(~row).nonzero().flatten().tolist() for row in walks.barred(logits)]
    assert allowed == [[2, 3], list(range(6))]
    walks.expand(2)
    walks.go([0, 1, 2, 3], [2, 3, 5, 5])
    allowed = [(~row).nonzero().flatten().tolist() for row in walks.barred(torch.zeros(4, 6))]
    assert allowed[:2] == [[1, 3], [4]], "`a` may end or go on, `b` goes on to `c`"
    assert allowed[2:] == [list(range(6))] * 2
    walks.keep([1])
    walks.go([0], [4])
    assert (~walks.barred(torch.zeros(1, 6))[0]).nonzero().flatten().tolist() == [1]
    assert trie.text([2, 1]) == "a"
    assert trie.longest == 4


# ---- ranking


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_rankings_are_sums_of_log_softmax(arrangement: str) -> None:
    predictor = predictor_of(arrangement)
    lists = [some or WORDS for some in LISTS]
    for size in (1, 3, 16):
        for text, some, one in zip(TEXTS, lists, predictor.rank(TEXTS, lists, batch_size=size), strict=True):
            expected = log_probs(predictor, text, some)
            assert list(one.log_probs) == pytest.approx(expected, abs=1e-4)
            assert one.choice == some[int(np.argmax(expected))]
            assert list(one.probs) == list(some)
            shares = np.exp(expected) / np.exp(expected).sum()
            assert list(one.probs.values()) == pytest.approx(shares, abs=1e-4)


def test_each_normalisation_by_hand() -> None:
    """Worked example: three choices of 2, 3 and 5 tokens with their end marks."""
    logs, words = [-1.0, -1.2, -2.0], ["no", "maybe", "certainly"]
    kept = {"num_tokens": [2, 3, 5], "unconditional": [-0.5, -1.0, -3.0]}
    assert normalised(logs, words, "none", **kept) == logs
    assert normalised(logs, words, "tokens", **kept) == pytest.approx([-0.5, -0.4, -0.4])
    assert normalised(logs, words, "characters", **kept) == pytest.approx([-0.5, -0.24, -2 / 9])
    assert normalised(logs, words, "unconditional", **kept) == pytest.approx([-0.5, -0.2, 1.0])


@pytest.mark.parametrize("how", NORMALISATIONS)
def test_a_predictor_normalises_by_its_own_counts(how: Any) -> None:
    predictor = predictor_of(sharp=2.0)
    prior = log_probs(predictor, "", WORDS)
    lens = [len(word) + 1 for word in WORDS]
    for text, one in zip(TEXTS, predictor.rank(TEXTS, WORDS, normalise=how), strict=True):
        logs = log_probs(predictor, text, WORDS)
        scores = normalised(logs, WORDS, how, num_tokens=lens, unconditional=prior)
        assert list(one.probs.values()) == pytest.approx(list(ranked(WORDS, logs, scores).probs.values()), abs=1e-4)
        assert math.fsum(one.probs.values()) == pytest.approx(1.0)


def test_normalisation_changes_who_wins() -> None:
    predictor = predictor_of(sharp=2.0)
    found = {how: [one.choice for one in predictor.rank(TEXTS, WORDS, normalise=how)] for how in NORMALISATIONS}
    assert len({tuple(some) for some in found.values()}) == len(NORMALISATIONS)


def test_of_equal_scores_the_first_wins() -> None:
    assert ranked(("x", "y"), [-1.0, -1.0], [-1.0, -1.0]).choice == "x"


def test_the_encoder_reads_a_text_once_however_many_choices() -> None:
    predictor = predictor_of()
    assert isinstance(predictor.model, T5)
    assert predictor.model.encoder is not None
    read: list[int] = []
    predictor.model.encoder.register_forward_hook(lambda module, inputs, output: read.append(len(inputs[0])))
    predictor.rank(["abc", "de"], WORDS)
    assert len(read) == 1


def test_long_inputs_are_cut_only_when_asked() -> None:
    predictor = predictor_of()
    cut, short = predictor.rank(["abcdefgh"], WORDS, max_input_tokens=4), predictor.rank(["abc"], WORDS)
    assert cut[0].log_probs == pytest.approx(short[0].log_probs, abs=1e-5)


# ---- what a user sees


def test_classify() -> None:
    predictor = predictor_of()
    reader = TextToText(predictor, "letters")
    one = reader.classify("abc", choices=WORDS)
    assert one == predictor.rank(["abc"], WORDS)[0]
    assert reader.classify(["abc", "d"], choices=WORDS) == predictor.rank(["abc", "d"], WORDS)
    each = reader.classify(["abc", "d"], choices=[("a", "b"), ("c", "d", "h")], normalise="tokens")
    assert each == predictor.rank(["abc", "d"], [("a", "b"), ("c", "d", "h")], normalise="tokens")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("ab", "rank: choices is one text ('ab'), expected a list of texts."),
        ([], "rank: text 1 of 2 has no choices, expected some."),
        (["a", "b", "a"], "rank: the choice 'a' stands twice. Give each once."),
        ([["a"]], "rank: got 2 texts and 1 lists of choices, expected as many."),
        ([["a"], []], "rank: text 2 of 2 has no choices, expected some."),
    ],
)
def test_choices_that_do_not_fit_are_refused(choices: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        predictor_of().rank(["a", "b"], choices)
    assert str(caught.value) == message


def test_an_unknown_normalisation_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank: normalise is 'length', expected one of none, tokens, characters, unc"):
        predictor_of().rank(["a"], WORDS, normalise="length")  # type: ignore[arg-type]


def test_a_choice_longer_than_the_answer_may_be_is_refused() -> None:
    message = "choices: 'gfedc' is 6 tokens long with its end mark, expected max_new_tokens .5. at most. Raise max_"
    with pytest.raises(ConfigError, match=message):
        predictor_of().generate(["a"], Decoding(max_new_tokens=5), choices=WORDS)


def test_choices_that_the_vocabulary_cannot_tell_apart_are_refused() -> None:
    class Poor(Letters):
        specials = Specials(pad=0, eos=1, unk=2)

        def encode_many(self, texts: Sequence[str]) -> list[np.ndarray]:
            return [np.minimum(ids, 4) if len(ids) > 1 else np.array([2]) for ids in super().encode_many(texts)]

    predictor = Predictor(predictor_of().model, Poor())
    for ask in (
        lambda: predictor.rank(["ab"], ("c", "h")),
        lambda: predictor.generate(["ab"], choices=("c", "h")),
    ):
        with pytest.raises(ConfigError, match=r"choices: 'c' and 'h' are the same unknown tokens to this vocabulary."):
            ask()
    assert predictor.generate(["ab"], choices=("bc", "bd"))[0].text == "bc", "alike, yet nothing is unknown"
