"""Generation and scoring: batched = one by one, cached = full forward, beams = all answers tried, draws = softmax."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from letters import ARRANGEMENTS, TEXTS, Letters, log_prob_of, logits_of, model_of, predictor_of
from torch import Tensor

from textfer import generate
from textfer.draws import Draws, address
from textfer.errors import ConfigError, DataError
from textfer.generate import Decoding, Generated, Predictor, check_decoding, scoring
from textfer.generate.decoding import choose
from textfer.models.t5 import T5


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def greedy(model: T5, inputs: Sequence[int], count: int) -> list[int]:
    """The likeliest tokens, with everything computed anew for each."""
    written: list[int] = []
    while len(written) < count and 1 not in written:
        written.append(int(logits_of(model, inputs, [*written, 0])[-1].argmax()))
    return written


# ---- greedy


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_greedy_is_the_full_forward_pass_token_by_token(arrangement: str) -> None:
    predictor = predictor_of(arrangement)
    assert isinstance(predictor.model, T5)
    made = predictor.generate(TEXTS, Decoding(max_new_tokens=12, batch_size=3))
    for text, ids, answer in zip(TEXTS, Letters().encode_many(TEXTS), made, strict=True):
        expected = greedy(predictor.model, ids.tolist(), 12)
        assert answer.text == Letters().decode(expected), text
        assert answer.num_tokens == len(expected)
        assert answer.log_prob == pytest.approx(log_prob_of(predictor.model, ids.tolist(), expected), abs=1e-4)
    assert len({answer.num_tokens for answer in made}) > 2, "rows should end at different times"
    assert len({answer.text for answer in made}) > 4, "texts should get different answers"


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("decoding", [Decoding(max_new_tokens=9), Decoding(max_new_tokens=9, beams=3)], ids=["1", "3"])
def test_batched_is_one_by_one_in_order(arrangement: str, decoding: Decoding) -> None:
    predictor = predictor_of(arrangement)
    alone = [predictor.generate([text], decoding)[0] for text in TEXTS]
    for size in (2, 5, 16):
        assert_same(predictor.generate(TEXTS, decoding.model_copy(update={"batch_size": size})), alone)


def assert_same(ours: Sequence[Generated], theirs: Sequence[Generated]) -> None:
    assert [(one.text, one.num_tokens) for one in ours] == [(one.text, one.num_tokens) for one in theirs]
    assert [one.log_prob for one in ours] == pytest.approx([one.log_prob for one in theirs], abs=1e-4)


def test_no_more_tokens_than_asked_for() -> None:
    predictor = predictor_of()
    longest = predictor.generate(TEXTS, Decoding(max_new_tokens=30))
    for count in (1, 2, 7):
        made = predictor.generate(TEXTS, Decoding(max_new_tokens=count))
        assert [one.num_tokens for one in made] == [min(count, one.num_tokens) for one in longest]
        assert [one.text for one in made] == [one.text[:count] for one in longest]
    assert max(one.num_tokens for one in longest) > 7


def test_nothing_in_nothing_out() -> None:
    predictor = predictor_of()
    assert predictor.generate([]) == []
    assert predictor.score([], []) == []


def test_the_model_is_left_as_it_was() -> None:
    predictor = predictor_of()
    for mode in (True, False):
        predictor.model.train(mode)
        predictor.generate(["abc"], Decoding(max_new_tokens=2))
        assert predictor.model.training is mode


def test_long_inputs_are_cut_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = predictor_of()
    whole, cut = (
        predictor.generate(["abcdefgh" * 3], Decoding(max_new_tokens=8, max_input_tokens=limit))[0]
        for limit in (None, 5)
    )
    assert cut == predictor.generate(["abcd"], Decoding(max_new_tokens=8))[0]
    assert whole != cut
    monkeypatch.setattr(generate, "MAX_INPUT_TOKENS", 10)
    with pytest.raises(
        DataError, match=r"text 2 of 2: is 25 tokens long, expected 10 at most. Shorten it, or set max_"
    ):
        predictor.generate(["a", "abcdefgh" * 3])
    assert predictor.generate(["abcdefgh" * 3], Decoding(max_new_tokens=8, max_input_tokens=5)) == [cut]


# ---- beams


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("text", ["ab", "c", "cabacaba"])
def test_enough_beams_find_the_best_of_all_answers(alpha: float, text: str) -> None:
    """All answers of up to three tokens, ranked by the formula."""
    model = model_of(vocab=5, sharp=3.0)
    predictor = Predictor(model, Letters(5))
    inputs = Letters().encode_many([text])[0].tolist()
    whole = [ids for n in (1, 2, 3) for ids in product(range(5), repeat=n) if 1 not in ids[:-1]]
    answers = [ids for ids in whole if ids[-1] == 1 or len(ids) == 3]
    log_probs = {ids: log_prob_of(model, inputs, ids) for ids in answers}
    best = max(answers, key=lambda ids: log_probs[ids] / ((5 + len(ids)) / 6) ** alpha)
    made = predictor.generate([text], Decoding(max_new_tokens=3, beams=125, length_penalty=alpha))[0]
    assert made.text == Letters().decode(best)
    assert made.log_prob == pytest.approx(log_probs[best], abs=1e-4)


def test_the_penalty_decides_between_short_and_long() -> None:
    predictor = predictor_of(sharp=1.0)
    short, long = (
        sum(one.num_tokens for one in predictor.generate(TEXTS, Decoding(beams=4, max_new_tokens=16, length_penalty=a)))
        for a in (0.0, 4.0)
    )
    assert short < long


def test_more_beams_never_find_a_less_likely_answer_than_all_of_them() -> None:
    predictor = predictor_of(sharp=2.0)
    found = [
        [one.log_prob for one in predictor.generate(TEXTS, Decoding(beams=n, max_new_tokens=6, length_penalty=0))]
        for n in (2, 400)
    ]
    assert all(few <= many + 1e-4 for few, many in zip(*found, strict=True))


# ---- sampling


def shares(logits: Tensor, **values: Any) -> np.ndarray:
    """How often each token is drawn, under 20,000 keys."""
    keys = address(7, "draws", 0, np.arange(20_000))
    tokens, log_probs = choose(logits.expand(len(keys), -1), Decoding(sample=True, **values), Draws(np.asarray(keys)))
    assert torch.allclose(log_probs, logits.log_softmax(-1)[tokens], atol=1e-5), "the model's own probability"
    return np.bincount(tokens.numpy(), minlength=len(logits))


def chi_square(counts: np.ndarray, expected: Tensor) -> float:
    wanted = expected.double().numpy() * counts.sum()
    kept = wanted > 0
    assert counts[~kept].sum() == 0, "tokens that may not be drawn were drawn"
    return float(((counts[kept] - wanted[kept]) ** 2 / wanted[kept]).sum())


LOGITS = torch.tensor([0.3, 1.7, -1.0, 0.9, 2.2, -0.4, 1.1, 0.0])
LIMIT = 24.3
"""The 99.9 % point of χ² with 7 degrees of freedom; with fewer it is lower."""


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    counts = shares(LOGITS, temperature=temperature)
    assert chi_square(counts, (LOGITS / temperature).softmax(-1)) < LIMIT
    assert chi_square(counts, (LOGITS / (temperature * 1.2)).softmax(-1)) > LIMIT


def test_draws_among_the_likeliest_k() -> None:
    expected = LOGITS.softmax(-1)
    expected[[0, 2, 3, 5, 7]] = 0.0
    assert chi_square(shares(LOGITS, top_k=3), expected / expected.sum()) < LIMIT
    assert chi_square(shares(LOGITS, top_k=50), LOGITS.softmax(-1)) < LIMIT
    assert shares(LOGITS, top_k=1).tolist() == [0, 0, 0, 0, 20_000, 0, 0, 0]


def test_draws_among_the_likeliest_share_p() -> None:
    """softmax: 0.399 (4), 0.242 (1), 0.133 (6), 0.109 (3), …: p = 0.7 takes the token that crosses it too."""
    expected = LOGITS.softmax(-1)
    assert expected[[4, 1]].sum() < 0.7 < expected[[4, 1, 6]].sum()
    expected[[0, 2, 3, 5, 7]] = 0.0
    assert chi_square(shares(LOGITS, top_p=0.7), expected / expected.sum()) < LIMIT
    assert shares(LOGITS, top_p=1e-6).tolist() == [0, 0, 0, 0, 20_000, 0, 0, 0]


def test_the_last_draw_of_all_takes_a_token_that_may_be_drawn() -> None:
    """0.99… becomes 1 in single precision: it must not lead to a token of probability 0."""

    class Highest(Draws):
        def uniform(self, n: int) -> np.ndarray:
            return np.full((len(self), n), 1 - 2.0**-53)

    draws = Highest(np.zeros(1, np.uint64))
    token, _ = choose(LOGITS[None], Decoding(sample=True, top_k=3), draws)
    assert token.tolist() == [6]


def test_samples_do_not_depend_on_their_company() -> None:
    predictor = predictor_of(sharp=1.0)
    options = Decoding(sample=True, seed=4, max_new_tokens=12)
    together = predictor.generate(TEXTS, options)
    assert_same(predictor.generate(TEXTS, options.model_copy(update={"batch_size": 1})), together)
    assert_same(predictor.generate(TEXTS[::-1], options)[::-1], together)
    other = predictor.generate(TEXTS, options.model_copy(update={"seed": 5}))
    assert [one.text for one in other] != [one.text for one in together]
    assert predictor.generate(TEXTS, options) == together


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0.5}, "decoding: temperature cannot take effect without sample. Drop it."),
        ({"top_k": 5}, "decoding: top_k cannot take effect without sample. Drop it."),
        ({"top_p": 0.5}, "decoding: top_p cannot take effect without sample. Drop it."),
        ({"seed": 5}, "decoding: seed cannot take effect without sample. Drop it."),
        ({"length_penalty": 1.0}, "decoding: length_penalty cannot take effect without beams > 1. Drop it."),
        ({"sample": True, "beams": 2}, "decoding: sample cannot go with beams > 1. Choose one."),
    ],
)
def test_settings_without_effect_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        predictor_of().generate(["a"], Decoding(**values))
    assert str(caught.value) == message


def test_settings_with_effect_are_taken() -> None:
    for values in (
        {},
        {"beams": 2, "length_penalty": 1.0},
        {"sample": True, "top_k": 5, "temperature": 2.0, "seed": 1},
    ):
        decoding = Decoding(**values)
        assert check_decoding(decoding) is decoding


# ---- scores


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_scores_are_sums_of_log_softmax(arrangement: str) -> None:
    predictor = predictor_of(arrangement)
    assert isinstance(predictor.model, T5)
    targets = [["a", "", "hgf"], [], ["bcd"], ["a"] * 2, ["cccccccc", "d"], [""], ["a", "b", "c", "d", "e"], ["ha"]]
    for size in (1, 3, 16):
        found = predictor.score(TEXTS, targets, batch_size=size)
        assert [len(some) for some in found] == [len(some) for some in targets]
        for text, some, scores in zip(TEXTS, targets, found, strict=True):
            inputs = Letters().encode_many([text])[0].tolist()
            wanted = [log_prob_of(predictor.model, inputs, [*ids.tolist(), 1]) for ids in Letters().encode_many(some)]
            assert scores == pytest.approx(wanted, abs=1e-4)


def test_probabilities_of_all_answers_sum_to_one() -> None:
    """Every sequence of up to one letter and an end, and all that is longer than that."""
    predictor = predictor_of(vocab=5)
    assert isinstance(predictor.model, T5)
    ended = sum(math.exp(score) for score in predictor.score(["ab"], [["", "a", "b", "c"]])[0])
    inputs = Letters().encode_many(["ab"])[0].tolist()
    longer = sum(
        math.exp(log_prob_of(predictor.model, inputs, ids))
        for ids in product(range(5), repeat=2)
        if ids[0] != 1 and not (ids[1] == 1 and ids[0] > 1)
    )
    assert ended + longer == pytest.approx(1.0, abs=1e-5)


def test_a_text_is_read_once_however_many_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = predictor_of()
    assert isinstance(predictor.model, T5)
    assert predictor.model.encoder is not None
    read: list[int] = []
    predictor.model.encoder.register_forward_hook(lambda module, inputs, output: read.append(len(inputs[0])))
    targets = ["a", "bc", "", "hgfed", "aaaa"]
    together = predictor.score(["abc", "de"], [targets, targets[:2]])
    assert len(read) == 1
    monkeypatch.setattr(scoring, "MAX_LOGITS", 1)  # one target at a time, to hold memory
    in_pieces = predictor.score(["abc", "de"], [targets, targets[:2]])
    assert len(read) == 2
    for some, others in zip(together, in_pieces, strict=True):
        assert some == pytest.approx(others, abs=1e-5)


def test_targets_must_come_in_as_many_lists_as_texts() -> None:
    with pytest.raises(ConfigError, match="score: got 2 texts and 1 lists of targets, expected as many"):
        predictor_of().score(["a", "b"], [["a"]])
