"""CBOW: how a text becomes a corpus, what is drawn, what is learnt; looking into vectors; their files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from textfer.config import build
from textfer.errors import CheckpointError, ConfigError, DataError, NotFiniteError, TextferError
from textfer.models.cbow import CbowOptions, Chance, Corpus, Progress, fresh_tables, learn, read_corpus, train_cbow
from textfer.models.cbow_files import read_vectors, save_vectors
from textfer.models.word_vectors import Near, WordVectors

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = CbowOptions(dim=8, window=2, negative=3, min_count=1, sample=0, epochs=3, batch_size=8)


# ---- reading


def test_words_are_counted_and_numbered() -> None:
    corpus = read_corpus(["A cat sat.\n\nThe CAT ran", "a don't-care cat"], SMALL)
    assert corpus.words == ("cat", "a", "don't-care", "ran", "sat", "the")
    assert corpus.counts.tolist() == [3, 2, 1, 1, 1, 1]
    assert corpus.ids.tolist() == [1, 0, 4, 5, 0, 3, 1, 2, 0]
    assert corpus.ends.tolist() == [3, 6, 9]


def test_words_as_they_stand_between_spaces() -> None:
    corpus = read_corpus(["A cat sat.\ta cat"], SMALL.model_copy(update={"cut": "spaces"}))
    assert corpus.words == ("cat", "A", "a", "sat.")


def test_rare_words_leave_the_text_before_windows_are_laid() -> None:
    corpus = read_corpus(["a x b", "y", "b a"], SMALL.model_copy(update={"min_count": 2}))
    assert corpus.words == ("a", "b")
    assert corpus.ids.tolist() == [0, 1, 1, 0]
    assert corpus.ends.tolist() == [2, 2, 4]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (
            [],
            "texts: 0 of 0 words occur 2 times or more in 0, expected 2 at least. Give more text or a smaller min",
        ),
        (["a a b"], "texts: 1 of 2 words occur 2 times or more in 3"),
        (["a a", 7], "texts: got int at place 1, expected text."),
    ],
)
def test_texts_that_teach_nothing(texts: list[str], said: str) -> None:
    with pytest.raises(DataError) as error:
        train_cbow(texts, SMALL.model_copy(update={"min_count": 2}))
    assert str(error.value).startswith(said)


# ---- drawing


def zipf(size: int, words: int = 50, seed: int = 0) -> Corpus:
    """Words by Zipf's law in sentences of 1 to 20."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, words + 1)
    ids = rng.choice(words, size, p=shares / shares.sum()).astype(np.int32)
    ends = np.cumsum(rng.integers(1, 21, size))
    ends = np.append(ends[ends < size], size)
    counts = np.maximum(np.bincount(ids, minlength=words), 1)
    return Corpus(words=tuple(f"w{n}" for n in range(words)), counts=counts, ids=ids, ends=ends)


def test_frequent_words_are_passed_over_as_often_as_word2vec_does() -> None:
    corpus = zipf(200_000)
    options = SMALL.model_copy(update={"sample": 1e-2})
    chance = Chance(corpus.counts, options)
    drawn = chance.draw(corpus.ids, corpus.ends, np.random.default_rng(1))
    for word in (0, 3, 40):
        share = corpus.counts[word] / len(corpus.ids)
        keep = min(1.0, ((share / 1e-2) ** 0.5 + 1) * 1e-2 / share)
        found = (drawn.ids == word).sum() / corpus.counts[word]
        assert found == pytest.approx(keep, abs=0.02)
    assert (drawn.ids == corpus.ids[drawn.places]).all()
    everything = Chance(corpus.counts, SMALL).draw(corpus.ids, corpus.ends, np.random.default_rng(1))
    assert everything.ids.tolist() == corpus.ids.tolist()


def test_windows_stay_inside_the_sentence_and_have_all_sizes() -> None:
    corpus = zipf(5_000)
    options = SMALL.model_copy(update={"window": 4, "sample": 0.05})
    drawn = Chance(corpus.counts, options).draw(corpus.ids, corpus.ends, np.random.default_rng(1))
    sentence = np.searchsorted(corpus.ends, drawn.places, side="right")
    clipped = 0
    for at in range(len(drawn.ids)):
        left, right = int(drawn.left[at]), int(drawn.right[at])
        assert (sentence[at - left : at + right + 1] == sentence[at]).all()
        if left != right:  # the shorter side ends at the sentence's end
            edge = at - left - 1 if left < right else at + right + 1
            assert edge in (-1, len(drawn.ids)) or sentence[edge] != sentence[at]
            clipped += 1
    assert clipped > 100
    reach = np.maximum(drawn.left, drawn.right)
    inner = [at for at in range(4, len(drawn.ids) - 4) if (sentence[at - 4 : at + 5] == sentence[at]).all()]
    shares = np.bincount(reach[inner], minlength=5)[1:] / len(inner)
    assert shares == pytest.approx([0.25] * 4, abs=0.04)


def test_noise_is_drawn_by_the_three_quarters_power_of_counts() -> None:
    corpus = zipf(100_000)
    drawn = Chance(corpus.counts, SMALL).draw(corpus.ids, corpus.ends, np.random.default_rng(1))
    assert drawn.noise.shape == (len(drawn.ids), 3)
    expected = corpus.counts**0.75 / (corpus.counts**0.75).sum()
    found = np.bincount(drawn.noise.ravel(), minlength=50) / drawn.noise.size
    np.testing.assert_allclose(found, expected, rtol=0.06)


# ---- learning


def pairs_text(lines: int = 600) -> list[str]:
    """Colours stand beside colours and animals beside animals, so their vectors should."""
    rng = np.random.default_rng(3)
    groups = (["red", "blue", "green", "white"], ["cat", "dog", "horse", "cow"], ["one", "two", "three", "four"])
    return [" ".join(rng.choice(groups[int(rng.integers(3))], 6)) for _ in range(lines)]


def test_words_of_one_kind_come_to_lie_near() -> None:
    seen: list[Progress] = []
    options = SMALL.model_copy(update={"dim": 16, "epochs": 20, "batch_size": 64})
    vectors = train_cbow(pairs_text(), options, progress=seen.append)
    assert {near.word for near in vectors.near("red", 3)} == {"blue", "green", "white"}
    assert {near.word for near in vectors.near("cow", 3)} == {"cat", "dog", "horse"}
    assert vectors.dim == 16
    assert vectors.counts is not None
    assert vectors.counts.sum() == 3_600
    assert [one.epoch for one in seen] == list(range(1, 21))
    assert (seen[-1].words, seen[-1].of) == (72_000, 72_000)
    assert seen[-1].loss < seen[0].loss < 4 * np.log(2) + 0.1
    assert seen[0].lr > seen[-1].lr >= 1e-4 * options.lr


def test_the_rate_falls_with_the_words_read() -> None:
    corpus = zipf(64 * 50)
    seen: list[Progress] = []
    options = SMALL.model_copy(update={"epochs": 2, "batch_size": 64})
    learn(fresh_tables(corpus, options), corpus, options, progress=seen.append)
    total = 2 * 64 * 50
    assert seen[0].lr == pytest.approx(0.05 * (1 - (64 * 49) / (total + 1)))
    assert seen[1].lr == pytest.approx(0.05 * (1 - (64 * 99) / (total + 1)))


def test_slices_are_whole_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = zipf(5_000)
    seen: list[Progress] = []
    monkeypatch.setattr("textfer.models.cbow.SLICE", 700)
    learn(fresh_tables(corpus, SMALL), corpus, SMALL.model_copy(update={"epochs": 1}), progress=seen.append)
    ends = set(corpus.ends.tolist())
    assert len(seen) == 8
    assert all(one.words in ends for one in seen)
    assert seen[-1].words == len(corpus.ids)


def test_tables_start_as_word2vecs() -> None:
    corpus = zipf(100)
    inputs, outputs = fresh_tables(corpus, SMALL)
    assert inputs.shape == outputs.shape == (50, 8)
    assert not outputs.any()
    assert 0.055 < inputs.abs().max() <= 1 / 16
    assert abs(float(inputs.mean())) < 0.005


def test_a_text_of_which_every_word_is_passed_over() -> None:
    vectors = train_cbow(["a b c d"] * 20, SMALL.model_copy(update={"sample": 1e-30}))
    start = fresh_tables(read_corpus(["a b c d"] * 20, SMALL), SMALL).inputs
    assert (vectors.vectors == start.numpy()).all()


@pytest.mark.parametrize("name", ["dim", "window", "negative", "min_count", "epochs", "batch_size", "lr"])
def test_options_out_of_range(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^--set\.{name}: got 0, expected: greater than "):
        build(CbowOptions, {name: 0}, where="--set")


def test_a_seed_fixes_everything_on_one_thread() -> None:
    one, same = (train_cbow(pairs_text(60), SMALL) for _ in range(2))
    other = train_cbow(pairs_text(60), SMALL.model_copy(update={"seed": 1}))
    assert one.words == same.words
    assert (one.vectors == same.vectors).all()
    assert not (one.vectors == other.vectors).all()


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_rate_that_is_too_large_is_told() -> None:
    with pytest.raises(NotFiniteError, match=r"^lr: the loss is (nan|inf) with 1e\+30\. Take a smaller one\.$"):
        train_cbow(pairs_text(60), SMALL.model_copy(update={"lr": 1e30}))


# ---- looking

FOUR = WordVectors(["man", "woman", "king", "queen", "zero"], [[1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0]])


def test_nearest_words() -> None:
    assert FOUR.near("man", 2) == [Near("woman", pytest.approx(0.5**0.5)), Near("king", pytest.approx(0.5**0.5))]
    assert [near.word for near in FOUR.near("queen", 99)] == ["woman", "king", "man", "zero"]
    assert FOUR.near("zero", 1)[0].cosine == 0
    assert FOUR.near("man", 0) == []


def test_analogies() -> None:
    best = FOUR.analogy("man", "king", "woman", 1)[0]
    assert best.word == "queen"
    first, second, third = np.array([1, 0, 0]), np.array([1, 0, 1]) / 2**0.5, np.array([1, 1, 0]) / 2**0.5
    goal = second - first + third
    assert best.cosine == pytest.approx(goal @ np.ones(3) / np.linalg.norm(goal) / 3**0.5, abs=1e-6)
    assert {near.word for near in FOUR.analogy("man", "king", "woman", 9)} == {"queen", "zero"}


def test_vectors_of_texts_and_words() -> None:
    assert "king" in FOUR
    assert "King" not in FOUR
    assert FOUR["king"].tolist() == [1, 0, 1]
    means = FOUR.embed(["The King\nand a queen.", "nobody"])
    assert means.tolist() == [[1, 0.5, 1], [0, 0, 0]]
    assert FOUR.embed(["King queen."], "spaces").tolist() == [[0, 0, 0]]
    assert FOUR.embed([]).shape == (0, 3)


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"^word vectors: no vector for 'qeen'\. Did you mean 'queen'\?$"):
        FOUR.analogy("man", "king", "qeen")
    with pytest.raises(DataError, match="'a' stands there twice"):
        WordVectors(["a", "b", "a"], np.ones((3, 2)))
    with pytest.raises(DataError, match=r"got 2 words and vectors \[3, 2\]"):
        WordVectors(["a", "b"], np.ones((3, 2)))


# ---- files

ODD = WordVectors(
    ["the", "naïve", "a\u00a0b", "\u2028"],
    np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32) * np.float32(1e-3),
    [9, 5, 2, 1],
)


@pytest.mark.parametrize("name", ["v.txt", "v.vec", "v.bin", "v.safetensors", "V.BIN"])
def test_files_give_back_every_bit(tmp_path: Path, name: str) -> None:
    path = tmp_path / "made" / name
    save_vectors(ODD, path)
    found = read_vectors(path)
    assert found.words == ODD.words
    assert (found.vectors == ODD.vectors).all()
    assert [one.name for one in path.parent.iterdir()] == [name]
    assert (found.counts is None) == (path.suffix != ".safetensors")
    few = read_vectors(path, limit=2)
    assert few.words == ODD.words[:2]
    assert (few.vectors == ODD.vectors[:2]).all()


def test_the_text_format_to_the_letter(tmp_path: Path) -> None:
    save_vectors(WordVectors(["a", "bé"], [[0.5, -1], [0.1, 1e-9]]), tmp_path / "v.txt")
    assert (tmp_path / "v.txt").read_bytes() == "2 2\na 0.5 -1\nbé 0.100000001 9.99999972e-10\n".encode()


def test_the_binary_format_to_the_letter(tmp_path: Path) -> None:
    save_vectors(WordVectors(["a", "bé"], [[0.5, -1], [2, 3]]), tmp_path / "v.bin")
    expected = b"2 2\na " + struct.pack("<2f", 0.5, -1) + b"\nb\xc3\xa9 " + struct.pack("<2f", 2, 3) + b"\n"
    assert (tmp_path / "v.bin").read_bytes() == expected


def test_files_as_others_write_them(tmp_path: Path) -> None:
    """word2vec ends a line of text with a space; others put no line end after a binary vector."""
    (tmp_path / "v.txt").write_bytes(b"2 2\na 0.500000 -1.000000 \nb 2 3e0 \n")
    no_ends = b"2 2\na " + struct.pack("<2f", 0.5, -1) + b"b " + struct.pack("<2f", 2, 3)
    (tmp_path / "v.bin").write_bytes(no_ends)
    for name in ("v.txt", "v.bin"):
        assert read_vectors(tmp_path / name).words == ("a", "b")
        assert read_vectors(tmp_path / name).vectors.tolist() == [[0.5, -1], [2, 3]]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("v.txt", b"a 1 2\nb 1 2\n", "the first line is 'a 1 2\\n', expected the numbers of words and dimensions."),
        ("v.txt", b"", "the first line is '', expected"),
        ("v.txt", b"99999999 300\na 1", "16 bytes cannot hold 99,999,999 words of 300 numbers. Copy it again."),
        ("v.txt", b"2 2\na 1 2\nb 1\n", ":3: got 1 numbers, expected 2. Copy it again."),
        ("v.txt", b"1 2\na 1 x\n", ":2: could not convert string to float: b'x'."),
        ("v.txt", b"1 2\n\xff 1 2\n", "word 1 is '\ufffd', which is not UTF-8."),
        ("v.txt", b"1 2\na 1 nan\n", "the vector of 'a' is not finite. Take another copy."),
        ("v.txt", b"2 1\na 1\na 2\n", "word vectors: 'a' stands there twice. Keep one of them."),
        ("v.bin", b"2 2\na 0000", "10 bytes cannot hold 2 words of 2 numbers. Copy it again."),
        ("v.bin", b"2 1\naaaaaa 0000bb", "ends or breaks off at word 2 of 2. Copy it again."),
        ("v.bin", b"2 1\n0000000000000000", "ends or breaks off at word 1 of 2. Copy it again."),
        ("v.bin", b"1 1\n 0000", "word 1 is empty."),
        ("v.safetensors", b"nonsense", "cannot be read"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TextferError) as error:
        read_vectors(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_safetensors_of_something_else(tmp_path: Path) -> None:
    save_file({"vectors": np.ones((2, 2), np.float32)}, str(tmp_path / "v.safetensors"))
    with pytest.raises(CheckpointError, match="It is no file of word vectors"):
        read_vectors(tmp_path / "v.safetensors")
    tensors = {"vectors": np.ones((2, 2), np.float32), "words": np.frombuffer(b"a", np.uint8)}
    save_file(tensors, str(tmp_path / "v.safetensors"))
    with pytest.raises(CheckpointError, match="1 words and 2 vectors"):
        read_vectors(tmp_path / "v.safetensors")


def test_places_and_words_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the suffix is '\.bim', not one of vectors\. Did you mean '\.bin'\?"):
        save_vectors(ODD, tmp_path / "v.bim")
    with pytest.raises(CheckpointError, match="no such file"):
        read_vectors(tmp_path / "v.bin")
    spaced = WordVectors(["new york", "rome"], np.ones((2, 2)))
    with pytest.raises(
        DataError, match=r"the word 'new york' cannot stand in this format\. Save it as \.safetensors\."
    ):
        save_vectors(spaced, tmp_path / "v.txt")
    save_vectors(spaced, tmp_path / "v.safetensors")
    assert read_vectors(tmp_path / "v.safetensors").words == spaced.words
    (tmp_path / "file").write_text("")
    with pytest.raises(TextferError, match="Check the place"):
        save_vectors(ODD, tmp_path / "file" / "v.bin")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file", "v.safetensors"]
