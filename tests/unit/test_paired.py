"""Plain text as sentence pairs: where sentences end, pairs from a table, places of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from textfer.batch import Borders, Specials
from textfer.data import paired
from textfer.data.layout import LAYOUTS, Lens
from textfer.data.paired import Paired, plain_part, sentence_starts
from textfer.data.sentence_pairs import PairOptions, SentencePair, framed, masked_pairs, sentence_pairs
from textfer.data.stream import Denoised
from textfer.data.tokens import TokenTable
from textfer.draws import address
from textfer.errors import ConfigError, DataError
from textfer.objectives import MaskedLanguageModel, SpanCorruption
from textfer.tokenizers import Subwords, Tokenizer, TokenizerOptions, load_tokenizer, train_sentencepiece

FULL_STOP, CLOSE, INSIDE = 10, 11, 12
"""Ids 13 and up begin words."""
NUM_IDS = 400
OBJECTIVE = MaskedLanguageModel(next_sentence=True)


def borders() -> Borders:
    begins = np.arange(NUM_IDS) > INSIDE
    return Borders(begins, np.arange(NUM_IDS) == FULL_STOP, np.arange(NUM_IDS) == CLOSE)


SPECIALS = Specials(pad=0, eos=2, cls=1, sep=2, mask=3, num_ids=NUM_IDS, borders=borders())


def table(path: Path, documents: Sequence[Sequence[int]]) -> TokenTable:
    flat = np.array([token for one in documents for token in one], np.uint16)
    offsets = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    empty = np.zeros(len(documents) + 1, np.int64)
    ids = {"inputs": np.zeros(0, np.uint16), "targets": flat}
    return TokenTable(path, "text/train", ids, {"inputs": empty, "targets": offsets}, np.arange(len(documents)))


def documents(count: int = 20) -> list[list[int]]:
    """Document d is of words 20 + 10 d and up; its sentences have 2 to 9 tokens. Every fifth is empty."""
    rng = np.random.default_rng(3)
    made = []
    for number in range(count):
        lens = rng.integers(2, 10, 0 if number % 5 == 4 else int(rng.integers(3, 12)))
        words = [[*rng.integers(20 + 10 * number, 30 + 10 * number, size - 1).tolist(), FULL_STOP] for size in lens]
        made.append([token for sentence in words for token in sentence])
    return made


def test_where_sentences_begin(tmp_path: Path) -> None:
    a, b = 20, 21
    every = [
        [a, FULL_STOP, b, INSIDE, FULL_STOP, INSIDE, b, FULL_STOP],  # not in 3.5
        [],
        [a, FULL_STOP, CLOSE, CLOSE, b, a, CLOSE, b],
        [FULL_STOP, FULL_STOP, a],
        [b, b, b, b, b, b, b, b, b, b, b],
    ]
    starts = sentence_starts(table(tmp_path, every), borders(), most=5)
    ends = np.cumsum([0, *map(len, every)])
    found = [[int(s - lo) for s in starts if lo <= s < hi] for lo, hi in pairwise(ends.tolist())]
    assert found == [[0, 2, 7], [], [0, 4], [0, 2], [0, 5, 10]]


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_chunks_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    rng = np.random.default_rng(0)
    made = table(tmp_path, [rng.integers(9, 16, 40).tolist() for _ in range(5)])
    expected = sentence_starts(made, borders(), most=6).tolist()
    monkeypatch.setattr(paired, "CHUNK_TOKENS", chunk)
    assert sentence_starts(made, borders(), most=6).tolist() == expected
    assert len(expected) > 30


def test_pairs_are_those_of_the_released_code_at_every_document(tmp_path: Path) -> None:
    """`sentence_pairs` is held to the release by golden tests."""
    every = documents()
    part = Paired(table(tmp_path, every), OBJECTIVE, Lens(24, 24), SPECIALS)
    sentences = [
        np.split(np.array(one, np.int32), np.flatnonzero(np.array(one[:-1]) == FULL_STOP) + 1) for one in every if one
    ]
    numbers = [number for number, one in enumerate(every) if one]
    expected: list[SentencePair] = []
    for at, number in enumerate(numbers):
        key = address(0, "pairs/text/train", 0, np.array([number]))[0]
        expected += sentence_pairs(sentences, at, PairOptions(max_len=24), key=key)
    assert len(part) == len(expected) > 30
    for index, pair in enumerate(expected):
        (ids,) = part.ids([index], np.array([index], np.uint64))
        whole, types = framed(pair.first, pair.second, SPECIALS)
        assert ids.targets.tolist() == whole.tolist()
        assert ids.types is not None
        assert ids.types.tolist() == types.tolist()
        assert ids.heads == {"next_sentence": int(pair.is_random)}
        assert ids.origin == f"text/train:{(pair.first.max() - 20) // 10}"
        tokens, origin = part.piece(index)
        assert tokens.tolist() == [*pair.first.tolist(), *pair.second.tolist()]
        assert origin == ids.origin
    lens = [len(ids.inputs) for ids in part.ids(range(len(part)), np.zeros(len(part), np.uint64))]
    assert part.mean_tokens() == pytest.approx(np.mean(lens))
    assert max(lens) <= 24


def test_masks_are_the_keys_and_cuts_are_not(tmp_path: Path) -> None:
    part = Paired(table(tmp_path, documents()), OBJECTIVE, Lens(24, 24), SPECIALS)
    numbers = list(range(len(part)))
    first, second = (part.ids(numbers, address(1, "masks", epoch, np.array(numbers))) for epoch in (0, 1))
    again = [part.ids([n], address(1, "masks", 0, np.array([n])))[0] for n in reversed(numbers)][::-1]
    differing = 0
    for one, other, alone in zip(first, second, again, strict=True):
        assert one.targets.tolist() == other.targets.tolist() == alone.targets.tolist()
        assert one.heads == other.heads == alone.heads
        assert one.inputs.tolist() == alone.inputs.tolist()
        assert one.weights is not None
        assert other.weights is not None
        assert one.weights.sum() == other.weights.sum() == max(1, round(0.15 * len(one.inputs)))
        differing += one.weights.tolist() != other.weights.tolist()
    assert differing > len(part) / 2
    batch = LAYOUTS["masked"].arrange([[one] for one in first], Lens(24, 24), SPECIALS)
    assert batch.heads["next_sentence"].tolist() == [one.heads["next_sentence"] for one in first]


def test_cuts_are_kept_beside_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = table(tmp_path, documents())
    part = Paired(made, OBJECTIVE, Lens(24, 24), SPECIALS)
    (file,) = tmp_path.iterdir()
    assert Paired(made, OBJECTIVE, Lens(32, 24), SPECIALS)._spans.shape != part._spans.shape
    assert len(list(tmp_path.iterdir())) == 2
    file.write_bytes(file.read_bytes()[:40])  # half a file is made again
    assert Paired(made, OBJECTIVE, Lens(24, 24), SPECIALS)._spans.tolist() == part._spans.tolist()

    def never(*arguments: object) -> None:
        raise AssertionError("cut again")

    monkeypatch.setattr(paired, "_spans", never)
    assert Paired(made, OBJECTIVE, Lens(24, 24), SPECIALS)._spans.tolist() == part._spans.tolist()
    with pytest.raises(AssertionError, match="cut again"):
        Paired(made, OBJECTIVE, Lens(25, 24), SPECIALS)


def test_a_cache_that_cannot_be_written_to(tmp_path: Path) -> None:
    made = table(tmp_path / "not there", documents())
    assert len(Paired(made, OBJECTIVE, Lens(24, 24), SPECIALS)) > 30


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    lone = table(tmp_path, [[20, 21, FULL_STOP]] * 9)
    with pytest.raises(DataError, match="text/train: no text of two sentences is among 9, so nothing follows"):
        Paired(lone, OBJECTIVE, Lens(24, 24), SPECIALS)
    with pytest.raises(DataError, match="no text of two sentences is among 2"):
        Paired(table(tmp_path / "b", [[], []]), OBJECTIVE, Lens(24, 24), SPECIALS)
    made = table(tmp_path / "c", documents())
    with pytest.raises(ConfigError, match=r"data\.inputs_len: got 7, expected at least 8 for sentence pairs"):
        Paired(made, OBJECTIVE, Lens(7, 7), SPECIALS)
    with pytest.raises(ConfigError, match="this vocabulary does not tell where words begin"):
        Paired(made, OBJECTIVE, Lens(24, 24), replace(SPECIALS, borders=None))
    bare = Paired(made, OBJECTIVE, Lens(24, 24), replace(SPECIALS, cls=None))
    with pytest.raises(ConfigError, match=r"has no \[CLS\]"):
        bare.ids([0], np.zeros(1, np.uint64))


def test_which_part_plain_text_becomes(tmp_path: Path) -> None:
    made = table(tmp_path, documents())
    marked = replace(SPECIALS, sentinels=np.arange(399, 379, -1, dtype=np.int32))
    assert isinstance(plain_part(made, OBJECTIVE, Lens(24, 24), SPECIALS), Paired)
    assert isinstance(plain_part(made, MaskedLanguageModel(), Lens(24, 24), SPECIALS), Denoised)
    assert isinstance(plain_part(made, SpanCorruption(), Lens(24, 24), marked), Denoised)


def test_rows_of_one_length_are_hidden_as_each_alone() -> None:
    rng = np.random.default_rng(5)
    pairs = [SentencePair(rng.integers(20, 90, n % 3 + 4), rng.integers(20, 90, 6), False) for n in range(12)]
    keys = address(1, "x", 0, np.arange(12))
    together = masked_pairs(pairs, OBJECTIVE, SPECIALS, keys=keys)
    for number, pair in enumerate(pairs):
        (alone,) = masked_pairs([pair], OBJECTIVE, SPECIALS, keys=keys[number : number + 1])
        assert together[number].inputs.tolist() == alone.inputs.tolist()
        assert together[number].targets.tolist() == alone.targets.tolist()


def sentences_of(tokenizer: Tokenizer, text: str, path: Path) -> list[str]:
    """The text cut where the vocabulary says that sentences end."""
    ids, known = tokenizer.encode(text), tokenizer.specials.borders
    assert known is not None
    starts = sentence_starts(table(path, [ids]), known, most=99).tolist()
    return [tokenizer.decode(ids[a:b]) for a, b in pairwise([*starts, len(ids)])]


TEXT = 'Ada came in 2009. "It is 3.5 miles!" (Is it?) No... Yes'


def test_sentences_of_real_vocabularies(tmp_path: Path) -> None:
    train_sentencepiece([TEXT] * 30, tmp_path / "pieces", TokenizerOptions(vocab_size=290, num_threads=1))
    tokenizer = load_tokenizer(tmp_path / "pieces")
    expected = ["Ada came in 2009.", '"It is 3.5 miles!"', "(Is it?)", "No...", "Yes"]
    assert sentences_of(tokenizer, TEXT, tmp_path) == expected
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "ada",
        "came",
        "in",
        "2009",
        "it",
        "is",
        "miles",
        "no",
        "yes",
    ]
    (tmp_path / "vocab.txt").write_text("\n".join([*words, *'.!?"()35', "##s"]))
    tokenizer = load_tokenizer(tmp_path / "vocab.txt")
    assert isinstance(tokenizer, Subwords)
    found = sentences_of(tokenizer, TEXT, tmp_path)
    assert found == ['ada came in 2009. "', 'it is 3. 5 miles! "', "( is it? )", "no...", "yes"]
    alphabet = sorted(ByteLevel.alphabet())
    (tmp_path / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate([*alphabet, "<|endoftext|>"])}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = load_tokenizer(tmp_path / "vocab.json")
    assert isinstance(tokenizer, Subwords)
    assert sentences_of(tokenizer, TEXT, tmp_path) == [expected[0], *(f" {one}" for one in expected[1:])]
