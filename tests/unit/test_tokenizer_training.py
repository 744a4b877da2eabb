"""Learning a vocabulary: the sample, the report, the errors. The texts are made up here."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from textfer.errors import ConfigError, DataError
from textfer.tokenizers import (
    Bytes,
    Subwords,
    TokenizerOptions,
    WordPieceOptions,
    load_tokenizer,
    measure,
    train_sentencepiece,
    train_wordpiece,
)
from textfer.tokenizers import training as training_module


def sentences(seed: int = 0, count: int = 1500) -> list[str]:
    """Sentences of made-up words, some frequent and some rare."""
    rng = random.Random(seed)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "or", "il")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(600)]
    weights = [1 / (1 + n) for n in range(len(words))]
    starts = ["Hello", "The", "This", "Where", "And", "World"]
    ends = [".", "!", "?", " , and so on.", " (see 12, 34 or 56789)."]
    line = lambda: " ".join([rng.choice(starts), *rng.choices(words, weights, k=rng.randint(3, 12))])  # noqa: E731
    return [line() + rng.choice(ends) for _ in range(count)]


def test_report(tmp_path: Path) -> None:
    texts = ["\n".join(part) for part in np.array_split(np.array(sentences(count=12_000)), 100)]
    report = train_sentencepiece(texts, tmp_path, TokenizerOptions(vocab_size=700))
    assert (report.num_texts, report.num_sentences) == (100, 12_000)
    assert report.num_chars == sum(map(len, sentences(count=12_000)))
    assert report.measured_on == "held-out sentences"
    assert 11_800 < report.sample_sentences < 11_950
    assert (report.num_pieces, report.vocab_size) == (700, 896)
    assert report.coverage.unknown_chars == report.coverage.byte_chars == 0
    assert 1 < report.coverage.tokens_per_word < 3
    assert report.digest == load_tokenizer(tmp_path).digest
    saved = json.loads((tmp_path / "training.json").read_text())
    assert saved["options"]["vocab_size"] == 700
    assert saved["report"]["coverage"]["num_words"] == report.coverage.num_words


def test_the_same_seed_gives_the_same_vocabulary(tmp_path: Path) -> None:
    def digest(seed: int) -> str:
        options = TokenizerOptions(vocab_size=500, max_chars=30_000, seed=seed)
        return train_sentencepiece(iter(sentences()), tmp_path / "t", options).digest

    assert digest(1) == digest(1) != digest(2)


def test_what_is_unknown_and_what_is_bytes(tmp_path: Path) -> None:
    texts = [*sentences(), "☃ {a}"]
    options = TokenizerOptions(vocab_size=500, byte_fallback=False, character_coverage=0.999)
    report = train_sentencepiece(texts, tmp_path, options)
    assert report.measured_on == "the training sample"
    assert report.coverage.unknown == (("{", 1), ("}", 1), ("☃", 1))
    assert report.coverage.byte_chars == 0
    assert any("become unknown: { (1×) } (1×) ☃ (1×)." in warning for warning in report.warnings)
    assert any('printable ASCII characters that become unknown: " #' in warning for warning in report.warnings)
    report = train_sentencepiece(texts, tmp_path, TokenizerOptions(vocab_size=700, character_coverage=0.999))
    assert report.coverage.unknown == ()
    assert report.coverage.bytes == (("{", 1), ("}", 1), ("☃", 1))
    assert report.coverage.byte_tokens * report.coverage.num_tokens == pytest.approx(5)
    required = TokenizerOptions(vocab_size=700, required_chars="{}~")
    train_sentencepiece(sentences(), tmp_path, required)
    assert {piece.kind for piece in load_tokenizer(tmp_path).inspect("{ } ~")} == {"known"}


def test_indents_and_broken_text_are_warned_of(tmp_path: Path) -> None:
    texts = ["    " + sentence for sentence in sentences()] + ["broken \ud83d text"]
    report = train_sentencepiece(texts, tmp_path, TokenizerOptions(vocab_size=500))
    assert any("of the lines are indented, and indents are lost" in warning for warning in report.warnings)
    assert "1 texts held half a surrogate pair, which was dropped." in report.warnings


def test_long_lines_are_cut_and_not_left_out(tmp_path: Path) -> None:
    text = " ".join(sentences()) + " " + "Ω" * 9000
    report = train_sentencepiece([text], tmp_path, TokenizerOptions(vocab_size=500))
    assert report.num_sentences > len(text) / 4096
    assert report.num_chars > len(text) - 100
    assert report.coverage.bytes == ()
    assert "Ω" in "".join(load_tokenizer(tmp_path).pieces(load_tokenizer(tmp_path).encode("Ω")))


def test_the_sample_is_bounded_and_even() -> None:
    reservoir = training_module._Reservoir(max_chars=10_000, max_sentences=10**9)
    keys = training_module._keys(3)
    most = 0
    for index in range(20_000):
        reservoir.add(next(keys), index, f"{index:010d}")
        most = max(most, len(reservoir.kept))
    numbers = [int(sentence) for sentence in reservoir.sentences()]
    assert len(numbers) == most == 1000
    assert numbers == sorted(set(numbers))
    assert abs(np.mean(numbers) - 10_000) < 4 * 20_000 / np.sqrt(12 * 1000)
    few = training_module._Reservoir(max_chars=10_000, max_sentences=7)
    for index in range(100):
        few.add(next(keys), index, "x")
    assert len(few.sentences()) == 7


def test_sizes_that_do_not_fit(tmp_path: Path) -> None:
    message = r"^tokenizer.vocab_size: got 90000, expected at most (\d+) for a corpus of [\d,]+ characters. Lower it"
    with pytest.raises(ConfigError, match=message) as caught:
        train_sentencepiece(sentences(), tmp_path, TokenizerOptions(vocab_size=90_000))
    largest = int(str(caught.value).split("at most ")[1].split()[0])
    assert train_sentencepiece(sentences(), tmp_path, TokenizerOptions(vocab_size=largest)).num_pieces == largest
    message = r"^tokenizer.vocab_size: got 100, expected at least \d+: the marks, bytes and characters need as many"
    with pytest.raises(ConfigError, match=message):
        train_sentencepiece(sentences(), tmp_path, TokenizerOptions(vocab_size=100))
    with pytest.raises(ConfigError, match=r"^tokenizer.vocab_size: got 90000, expected at most"):
        train_sentencepiece(sentences(), tmp_path, TokenizerOptions(vocab_size=90_000, algorithm="bpe"))


@pytest.mark.parametrize("texts", [[], ["", " \n\t ", "\0"]])
def test_no_text(texts: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"^tokenizer corpus: got {len(texts)} texts without a character"):
        train_sentencepiece(texts, tmp_path)
    assert not any(tmp_path.iterdir())


def test_measure_any_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[UNK]", "[SEP]", "hello", "world", "##ly"]))
    coverage = measure(load_tokenizer(tmp_path / "vocab.txt"), ["hello worldly", "zzz"])
    assert (coverage.num_words, coverage.num_tokens) == (3, 4)
    assert coverage.unknown_tokens == 0.25
    assert coverage.unknown == (("z", 3),)
    assert coverage.tokens_per_word == pytest.approx(4 / 3)
    assert measure(Bytes(), ["ab é"]).bytes == ((" ", 1), ("a", 1), ("b", 1), ("é", 1))


def test_marks_make_one_vocabulary_for_all_models(tmp_path: Path) -> None:
    train_sentencepiece(sentences(), tmp_path / "with", TokenizerOptions(vocab_size=500, marks=True))
    train_sentencepiece(sentences(), tmp_path / "without", TokenizerOptions(vocab_size=500))
    tokenizer = load_tokenizer(tmp_path / "with")
    specials = tokenizer.specials
    assert (specials.pad, specials.eos, specials.unk, specials.cls, specials.sep, specials.mask) == (0, 1, 2, 3, 4, 5)
    assert tokenizer.pieces([3, 4, 5]) == ["[CLS]", "[SEP]", "[MASK]"]
    assert len(specials.sentinels) == 100
    text = "Hello [MASK] [CLS]"
    assert not {3, 4, 5} & set(tokenizer.encode(text))  # letters
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.decode([3, *tokenizer.encode("Hello"), 4]) == "Hello"
    assert json.loads((tmp_path / "with" / "tokenizer_config.json").read_text())["mask_token"] == "[MASK]"
    plain = load_tokenizer(tmp_path / "without")
    assert (plain.specials.cls, plain.specials.sep, plain.specials.mask) == (None, None, None)
    assert "cls_token" not in json.loads((tmp_path / "without" / "tokenizer_config.json").read_text())
    tokenizer.save(tmp_path / "again")
    assert load_tokenizer(tmp_path / "again").digest == tokenizer.digest


def test_sentencepiece_tells_which_pieces_go_on_with_a_word(tmp_path: Path) -> None:
    train_sentencepiece(sentences(), tmp_path, TokenizerOptions(vocab_size=400, marks=True))
    tokenizer = load_tokenizer(tmp_path)
    inside = tokenizer.specials.inside
    assert inside is not None
    ids = tokenizer.encode(next(iter(sentences(3, 1))))
    pieces = tokenizer.pieces(ids)
    assert [bool(inside[i]) for i in ids] == [not piece.startswith("▁") and piece[0].isalnum() for piece in pieces]
    assert any(inside[i] for i in ids)
    marks = tokenizer.specials
    assert not any(inside[i] for i in (marks.pad, marks.eos, marks.cls, marks.sep, marks.mask, *marks.sentinels))


@pytest.mark.parametrize("lowercase", [True, False])
def test_wordpiece(tmp_path: Path, lowercase: bool) -> None:
    texts = [*sentences(), *["Über die Brücke, 中文"] * 40]
    report = train_wordpiece(texts, tmp_path, WordPieceOptions(vocab_size=400, lowercase=lowercase))
    tokenizer = load_tokenizer(tmp_path)
    assert isinstance(tokenizer, Subwords)
    assert report.num_pieces == report.vocab_size == tokenizer.vocab_size == 400
    assert report.digest == tokenizer.digest == load_tokenizer(tmp_path / "tokenizer.json").digest
    specials = tokenizer.specials
    assert (specials.pad, specials.unk, specials.cls, specials.sep, specials.mask, specials.eos) == (0, 1, 2, 3, 4, 3)
    words = (tmp_path / "vocab.txt").read_text().splitlines()
    assert words == tokenizer.pieces(range(400))
    assert specials.inside is not None
    assert specials.inside.tolist() == [word.startswith("##") for word in words]
    assert "##中" not in words  # it is a word of its own
    assert "##." not in words
    assert any(word.isupper() for word in words[5:]) == (not lowercase)
    assert (tokenizer.encode("HELLO Hello") == tokenizer.encode("hello hello")) == lowercase
    from_text = load_tokenizer(tmp_path / "vocab.txt")
    for text in sentences(3, 50):
        assert from_text.encode(text) == tokenizer.encode(text)
        assert tokenizer.specials.unk not in tokenizer.encode(text)
    assert report.coverage.tokens_per_word < 3
    tokenizer.save(tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").digest == tokenizer.digest
    assert (tmp_path / "saved" / "vocab.txt").read_text().splitlines() == words


def test_wordpiece_is_the_same_each_time(tmp_path: Path) -> None:
    def digest(seed: int) -> str:
        options = WordPieceOptions(vocab_size=300, max_chars=30_000, seed=seed)
        return train_wordpiece(iter(sentences()), tmp_path / "t", options).digest

    assert digest(1) == digest(1) == digest(1) != digest(2)


def test_wordpiece_that_does_not_fit(tmp_path: Path) -> None:
    message = (
        r"^tokenizer.vocab_size: got 20, expected at least \d+: the marks and characters need as many. Raise it or"
    )
    with pytest.raises(ConfigError, match=message) as caught:
        train_wordpiece(sentences(), tmp_path, WordPieceOptions(vocab_size=20))
    fewest = int(str(caught.value).split("at least ")[1].split(":")[0])
    assert train_wordpiece(sentences(), tmp_path, WordPieceOptions(vocab_size=fewest)).num_pieces == fewest
    report = train_wordpiece(["one two", "one three"], tmp_path, WordPieceOptions(vocab_size=500))
    assert report.num_pieces < 30
    assert report.warnings[0].startswith(f"the corpus gave {report.num_pieces} pieces and not 500: ")
    rare = [*sentences(), *["x☃y"] * 10]
    report = train_wordpiece(rare, tmp_path, WordPieceOptions(vocab_size=500, character_coverage=0.99))
    assert report.coverage.unknown_tokens > 0
    with pytest.raises(DataError, match=r"^tokenizer corpus: got 0 texts without a character"):
        train_wordpiece([], tmp_path / "none")
    train_sentencepiece(sentences(), tmp_path / "other", TokenizerOptions(vocab_size=500))
    with pytest.raises(ConfigError, match=r"other: holds spiece.model, expected no other vocabulary"):
        train_wordpiece(sentences(), tmp_path / "other")
