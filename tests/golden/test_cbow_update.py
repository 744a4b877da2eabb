"""CBOW's update against word2vec's: once on paper, then word by word.

Provenance: the numbers of `test_update_on_paper` were worked out by hand (the steps stand beside them); `word_by_word`
was written from the description of word2vec.c (github.com/tmikolov/word2vec) in loops over floats, and shares nothing
with the module.
"""

from __future__ import annotations

from math import exp

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from textfer.models.cbow import CbowOptions, Drawn, Tables, Update

Float64 = NDArray[np.float64]


def drawn(ids: list[int], reach: list[int], noise: list[list[int]]) -> Drawn:
    """One sentence."""
    at = np.arange(len(ids))
    return Drawn(
        ids=np.array(ids),
        left=np.minimum(reach, at),
        right=np.minimum(reach, len(ids) - 1 - at),
        noise=np.array(noise),
        places=at,
    )


def updated(inputs: Float64, outputs: Float64, one: Drawn, lr: float, batch_size: int) -> tuple[Float64, Float64]:
    """Both tables after all words of a sentence."""
    first, second = (torch.from_numpy(table.astype(np.float32)) for table in (inputs, outputs))
    window = int(max(one.left.max(), one.right.max()))
    options = CbowOptions(window=window, negative=one.noise.shape[1], batch_size=batch_size)
    update = Update(Tables(first, second), options)
    update.lay(one)
    for begin in range(0, len(one.ids), batch_size):
        update(begin, min(begin + batch_size, len(one.ids)), lr)
    return first.numpy().astype(np.float64), second.numpy().astype(np.float64)


def word_by_word(inputs: Float64, outputs: Float64, one: Drawn, lr: float) -> tuple[Float64, Float64]:
    """The same, the way that word2vec does it."""
    inputs, outputs = inputs.copy(), outputs.copy()
    for place, word in enumerate(one.ids):
        around = [at for at in range(place - one.left[place], place + one.right[place] + 1) if at != place]
        if not around:
            continue
        hidden = sum(inputs[one.ids[at]] for at in around) / len(around)
        error = np.zeros_like(hidden)
        for target, label in [(word, 1), *((noise, 0) for noise in one.noise[place])]:
            if label == 0 and target == word:
                continue
            logit = float(hidden @ outputs[target])
            chance = 1.0 if logit > 6 else 0.0 if logit < -6 else 1 / (1 + exp(-logit))
            step = (label - chance) * lr
            error += step * outputs[target]
            outputs[target] = outputs[target] + step * hidden
        for at in around:
            inputs[one.ids[at]] += error  # the whole error to each, not its share
    return inputs, outputs


def test_update_on_paper() -> None:
    """Words a b c d; the sentence "a c b" with window 1, of which only c draws noise, d; lr 0.1.

    c: h = ((1, 0) + (0, 1)) / 2 = (0.5, 0.5). Logit of c: 1, sigma 0.7310586, step 0.02689414. Logit of d: -0.5, sigma
    0.3775407, step -0.03775407. Error: 0.02689414 (1, 1) - 0.03775407 (0, -1) = (0.02689414, 0.06464821), to a and b.
    a and b are done by words that draw themselves as noise and whose output is 0: h = (9, 7), sigma 0.5, step 0.05.
    """
    inputs = np.array([[1.0, 0.0], [0.0, 1.0], [9.0, 7.0], [3.0, 3.0]])
    outputs = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, -1.0]])
    first, second = updated(inputs, outputs, drawn([0, 2, 1], [1, 1, 1], [[0], [3], [1]]), 0.1, 8)
    np.testing.assert_allclose(first[0], [1.02689414, 0.06464821], atol=1e-6)
    np.testing.assert_allclose(first[1], [0.02689414, 1.06464821], atol=1e-6)
    np.testing.assert_allclose(first[2:], inputs[2:], atol=1e-6)
    np.testing.assert_allclose(second[2], [1.01344707, 1.01344707], atol=1e-6)
    np.testing.assert_allclose(second[3], [-0.01887703, -1.01887703], atol=1e-6)
    np.testing.assert_allclose(second[:2], [[0.45, 0.35], [0.45, 0.35]], atol=1e-6)


@pytest.mark.parametrize(
    ("logit", "own", "noise"),
    [(7.0, 0.0, -1.0), (-7.0, 1.0, 0.0), (5.9, 1 / (1 + exp(5.9)), -1 / (1 + exp(-5.9)))],
)
def test_beyond_six_a_probability_is_whole(logit: float, own: float, noise: float) -> None:
    """One neighbour, h = (1, 0); word and noise have the output (logit, 0), which moves by lr · (own, noise)."""
    inputs = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    outputs = np.array([[0.0, 0.0], [logit, 0.0], [logit, 0.0]])
    one = drawn([0, 1], [1, 1], [[0], [2]])
    _, after = updated(inputs, outputs, one, 0.5, 2)
    np.testing.assert_allclose(after[1:, 0] - logit, [0.5 * own, 0.5 * noise], atol=1e-6)


def sentence(size: int, words: int = 12, negative: int = 3, window: int = 4) -> tuple[Float64, Float64, Drawn]:
    """Words that repeat; noise differs within a word, or word2vec would see the first update at the second."""
    rng = np.random.default_rng(5)
    ids = rng.integers(0, words, size).tolist()
    noise = [rng.permutation(words)[:negative].tolist() for _ in range(size)]
    reach = rng.integers(1, window + 1, size).tolist()
    tables = rng.normal(size=(2, words, 7))
    return tables[0], tables[1], drawn(ids, reach, noise)


def test_batches_of_one_word_are_word2vec() -> None:
    inputs, outputs, one = sentence(60)
    assert any(word in noise for word, noise in zip(one.ids, one.noise, strict=True)), "noise equal to the word occurs"
    found, expected = updated(inputs, outputs, one, 0.05, 1), word_by_word(inputs, outputs, one, 0.05)
    for ours, theirs, before in zip(found, expected, (inputs, outputs), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
        assert np.abs(theirs - before).max() > 0.1


@pytest.mark.parametrize("batch_size", [5, 16, 37, 512])
def test_a_batch_is_the_sum_of_its_words(batch_size: int) -> None:
    """Every word's own update, worked out from the tables as they were before the batch."""
    inputs, outputs, one = sentence(60)
    expected = [inputs.copy(), outputs.copy()]
    for begin in range(0, 60, batch_size):
        before = [table.copy() for table in expected]
        for place in range(begin, min(begin + batch_size, 60)):
            alone = Drawn(ids=one.ids, left=one.left * 0, right=one.right * 0, noise=one.noise, places=one.places)
            alone.left[place], alone.right[place] = one.left[place], one.right[place]
            after = word_by_word(before[0], before[1], alone, 0.05)
            for table, new, old in zip(expected, after, before, strict=True):
                table += new - old
    found = updated(inputs, outputs, one, 0.05, batch_size)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
