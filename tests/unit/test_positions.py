"""Writing with a model that has only so many positions: rows stop at the last one, alone as in a batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from letters import Letters

from textfer.batch import Ids
from textfer.config import build
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import DataError
from textfer.generate import Decoding, Predictor
from textfer.models.gpt import GPT, GPTOptions

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = 16
TEXTS = ["abc", "", "hhhhhhhhhhhhhh", "fedcbafedcb", "g"]
WAYS = [
    Decoding(max_new_tokens=40),
    Decoding(max_new_tokens=6),
    Decoding(max_new_tokens=40, beams=3),
    Decoding(max_new_tokens=40, beams=2, length_penalty=0.0),
    Decoding(max_new_tokens=40, sample=True, temperature=2.0, seed=3),
]


def predictor_of(*, ends_inputs: bool, ends: bool = False) -> Predictor:
    torch.manual_seed(5)
    shape = {"model_dim": 18, "num_heads": 3, "num_layers": 2, "context_len": CONTEXT, "dropout": 0.0}
    model = GPT(build(GPTOptions, {**shape, "tie_output": False}, where="model"), 10)
    assert model.output is not None
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn_like(weight) * 0.1 if weight.dim() == 1 else weight * 15
        if not ends:  # one number of every state is 10, and the end mark alone looks at it
            model.norm.weight[0], model.norm.bias[0] = 0, 10
            model.output.weight[:, 0], model.output.weight[1] = 0, 0
            model.output.weight[1, 0] = -10
    return Predictor(model.eval(), Letters(), ends_inputs=ends_inputs)


def read_of(predictor: Predictor, text: str) -> list[int]:
    """The start mark, the text, and the end mark where there is one."""
    return [0, *Letters().encode_many([text])[0].tolist(), *([1] if predictor.ends_inputs else [])]


def greedy(predictor: Predictor, text: str, count: int) -> list[int]:
    """The likeliest tokens by whole passes, as long as there is a position to read the last one at."""
    ids, written = read_of(predictor, text), []
    while len(written) < count and len(ids) <= CONTEXT and 1 not in written:
        one = Ids(np.array(ids[1:], np.int32), np.array([0], np.int32))
        batch = LAYOUTS["causal"].arrange([[one]], Lens(CONTEXT, 1), Letters.specials)
        with torch.no_grad():
            logits = predictor.model(batch).logits
        assert logits is not None
        written.append(int(logits[0, -1].argmax()))
        ids.append(written[-1])
    return written


@pytest.mark.parametrize("ends_inputs", [True, False])
@pytest.mark.parametrize("ends", [False, True])
def test_every_row_goes_to_its_own_last_position(ends_inputs: bool, ends: bool) -> None:
    predictor = predictor_of(ends_inputs=ends_inputs, ends=ends)
    made = predictor.generate(TEXTS, Decoding(max_new_tokens=40, batch_size=5))
    expected = [Letters().decode(greedy(predictor, text, 40)) for text in TEXTS]
    assert [one.text for one in made] == expected
    if not ends:
        rooms = [CONTEXT - len(read_of(predictor, text)) + 1 for text in TEXTS]
        assert [one.num_tokens for one in made] == rooms
        assert min(rooms) <= 2
    else:
        assert any(one.text.endswith("|") for one in made)


@pytest.mark.parametrize("decoding", WAYS)
@pytest.mark.parametrize("ends", [False, True])
def test_a_batch_says_what_its_texts_say_alone(decoding: Decoding, ends: bool) -> None:
    predictor = predictor_of(ends_inputs=False, ends=ends)
    alone = [predictor.generate([text], decoding)[0] for text in TEXTS]
    for size in (2, 5):
        together = predictor.generate(TEXTS, decoding.model_copy(update={"batch_size": size}))
        assert [one.text for one in together] == [one.text for one in alone]
        assert [one.log_prob for one in together] == pytest.approx([one.log_prob for one in alone], abs=1e-3)
    most = [min(decoding.max_new_tokens, CONTEXT - len(read_of(predictor, text)) + 1) for text in TEXTS]
    assert all(one.num_tokens <= room for one, room in zip(alone, most, strict=True))
    assert any(one.num_tokens == room for one, room in zip(alone, most, strict=True))


def test_what_an_end_mark_after_a_prompt_changes() -> None:
    plain, taught = (predictor_of(ends_inputs=ends) for ends in (False, True))
    assert [one.text for one in plain.generate(TEXTS)] != [one.text for one in taught.generate(TEXTS)]
    assert plain.score(["ab"], [["c"]]) != taught.score(["ab"], [["c"]])


def test_a_prompt_without_positions_is_refused_or_cut() -> None:
    plain, taught = (predictor_of(ends_inputs=ends) for ends in (False, True))
    long = "abcdefghabcdefgh"
    for predictor, size, side in ((plain, 16, "beginning"), (taught, 17, "end")):
        with pytest.raises(DataError) as caught:
            predictor.generate(["a", long])
        assert str(caught.value) == (
            f"text 2 of 2: is {size} tokens long, expected 15 at most (the model's positions). Shorten it, or set "
            f"max_input_tokens to lose its {side}."
        )
    cut = Decoding(max_input_tokens=5, max_new_tokens=4)
    assert plain.generate([long], cut) == plain.generate([long[-5:]], Decoding(max_new_tokens=4))
    assert taught.generate([long], cut) == taught.generate([long[:4]], Decoding(max_new_tokens=4))
    (widest,) = plain.generate([long], Decoding(max_input_tokens=100))
    assert widest == plain.generate([long[-15:]])[0]
    assert widest.num_tokens == 1


def test_scores_of_long_and_short_targets_side_by_side() -> None:
    predictor = predictor_of(ends_inputs=False)
    texts, targets = ["hhhhhhhhhhhh", "a", "bc"], [["ab"], ["abcdefgh", "h"], []]
    together = predictor.score(texts, targets)
    assert [len(some) for some in together] == [1, 2, 0]
    for text, some, found in zip(texts, targets, together, strict=True):
        for target, value in zip(some, found, strict=True):
            assert value == pytest.approx(log_prob_of(predictor, text, target), abs=1e-3)
    with pytest.raises(DataError) as caught:
        predictor.score(texts, [["abcde"], ["a"], ["b"]])
    assert str(caught.value) == (
        "text 1 of 3: is 18 tokens long with its longest target, expected 16 at most (the model's positions). Shorten "
        "it, or set max_input_tokens."
    )
    ranked = predictor.rank(["abcdefghabcdefgh"], ["abc", "h"], max_input_tokens=10)
    assert ranked == predictor.rank(["ghabcdefgh"], ["abc", "h"])


def log_prob_of(predictor: Predictor, text: str, target: str) -> float:
    ids = [*Letters().encode_many([target])[0].tolist(), 1]
    one = Ids(np.array(read_of(predictor, text)[1:], np.int32), np.array(ids, np.int32))
    batch = LAYOUTS["causal"].arrange([[one]], Lens(30, 30), Letters.specials)
    with torch.no_grad():
        logits = predictor.model(batch).logits
    assert logits is not None
    shares = logits[0, -len(ids) :].log_softmax(-1)
    return sum(float(share[one]) for share, one in zip(shares, ids, strict=True))


@pytest.mark.parametrize("beams", [1, 2])
def test_choices_must_have_room(beams: int) -> None:
    predictor = predictor_of(ends_inputs=False)
    choices: Sequence[str] = ["abc", "h"]
    made = predictor.generate(["hhhhhhhhhhhh", "a"], Decoding(beams=beams, max_new_tokens=8), choices=choices)
    assert {one.text for one in made} <= set(choices)
    with pytest.raises(DataError) as caught:
        predictor.generate(["a", "h" * 14], Decoding(beams=beams), choices=choices)
    assert str(caught.value) == (
        "text 2 of 2: leaves positions for 2 tokens, and a choice has 4. Shorten it, or set max_input_tokens."
    )
