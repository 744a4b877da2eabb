"""Tokenizers: ids, sentinels, round trips, files, errors, training; on vocabularies learnt here from made-up text."""

from __future__ import annotations

import json
import pickle
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textfer.errors import CheckpointError, ConfigError, DataError, MachineError
from textfer.tokenizers import (
    Bytes,
    Piece,
    SentencePiece,
    Subwords,
    TokenizerOptions,
    inspect,
    load_tokenizer,
    train_sentencepiece,
)

HOSTILE = [
    "",
    " ",
    "   ",
    "\n\n\t",
    "Hello world. This is a sentence",
    "  leading, trailing  ",
    "tabs\tand\nnew\r\nlines",
    "{braces} [brackets] <angles> ~tilde~ ^hat^ `tick` \\slash",
    "ﬁne ½ ① ａｂｃ Å e\u0301 ｶﾞ ™",
    "zero\u200bwidth no\u00a0break soft\u00adhyphen \ufeffmark",
    "🙂 👍🏽 👩‍👩‍👧 🇩🇪",
    "中文 日本語 한국어 العربية हिन्दी",
    "a" * 5000,
    "no-space-" * 800,
    "x " * 700,
    "nul\x00 bell\x07 escape\x1b",
    "</s> <pad> <unk> <s>",
    "<extra_id_> <extra_id_01> <extra_id_-1> <extra_id_100> <extra_id_99999999999> <EXTRA_ID_0>",
    "İstanbul ǅ ß ŉ",
]


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


@pytest.fixture(scope="module")
def learn(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SentencePiece]:
    """Trains a vocabulary with some options, once for each set of them."""
    made: dict[str, SentencePiece] = {}

    def get(**values: Any) -> SentencePiece:
        key = json.dumps(values, sort_keys=True)
        if key not in made:
            folder = tmp_path_factory.mktemp("vocabulary")
            train_sentencepiece(sentences(), folder, TokenizerOptions(**{"vocab_size": 700, **values}))
            tokenizer = load_tokenizer(folder)
            assert isinstance(tokenizer, SentencePiece)
            made[key] = tokenizer
        return made[key]

    return get


@pytest.fixture
def wordpiece_file(tmp_path: Path) -> Path:
    path = tmp_path / "vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "world", "##ly", "##s", ",", "un", "a", "##a"]
    path.write_text("\n".join(words) + "\n")
    return path


@pytest.fixture
def bpe_files(tmp_path: Path) -> Path:
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "Ġw o"]
    pieces = [*alphabet, *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return tmp_path


class TestSentencePiece:
    def test_numbers_of_ids(self, learn: Callable[..., SentencePiece]) -> None:
        tokenizer = learn()
        assert tokenizer.vocab_size == 896  # 700 pieces + 100 sentinels = 800, rounded up to a multiple of 128
        assert (tokenizer.specials.pad, tokenizer.specials.eos, tokenizer.specials.unk) == (0, 1, 2)
        assert tokenizer.specials.bos is None
        assert tokenizer.specials.sentinels.tolist() == list(range(799, 699, -1))
        assert tokenizer.specials.sentinels.dtype == np.int32
        assert tokenizer.pieces([0, 1, 2, 799, 700, 895]) == [
            *("<pad>", "</s>", "<unk>", "<extra_id_0>", "<extra_id_99>", "<row_895>")
        ]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("<extra_id_0>", "<extra_id_0>"),
            ("<extra_id_0>. Hello", "<extra_id_0>.▁Hello"),
            ("Hello <extra_id_1> World", "▁Hello<extra_id_1>▁World"),
            ("Hello <extra_id_1>World", "▁Hello<extra_id_1>World"),
            ("Hello<extra_id_99> World", "▁Hello<extra_id_99>▁World"),
            ("<extra_id_0><extra_id_1>", "<extra_id_0><extra_id_1>"),
            (" \n <extra_id_2> \n ", "<extra_id_2>"),
            ("Hello\n<extra_id_3>\nWorld", "▁Hello<extra_id_3>▁World"),
            ("(<extra_id_0>)", "▁(<extra_id_0>)"),
            ("＜extra_id_0＞", "<extra_id_0>"),
        ],
    )
    def test_sentinels_in_text(self, learn: Callable[..., SentencePiece], text: str, expected: str) -> None:
        tokenizer = learn()
        ids = tokenizer.encode(text)
        assert "".join(tokenizer.pieces(ids)) == expected
        sentinels = [799 - int(number) for number in re.findall(r"<extra_id_(\d+)>", expected)]
        assert [i for i in ids if i >= 700] == sentinels

    def test_what_is_no_sentinel_is_letters(self, learn: Callable[..., SentencePiece]) -> None:
        tokenizer = learn()
        for text in ["<extra_id_100>", "<extra_id_01>", "<EXTRA_ID_0>", "</s>", "<pad>", "<unk>"]:
            ids = tokenizer.encode(text)
            assert not set(ids) & {0, 1, 2, *tokenizer.specials.sentinels.tolist()}
            assert tokenizer.decode(ids) == text

    def test_many_equals_one_by_one(self, learn: Callable[..., SentencePiece]) -> None:
        texts = [*HOSTILE, "a <extra_id_0> b<extra_id_7>", *sentences(1, 50)]
        for tokenizer in (learn(), Bytes(), Bytes(sentinels="final_bytes")):
            many = tokenizer.encode_many(texts)
            assert [ids.tolist() for ids in many] == [tokenizer.encode(text) for text in texts]
            assert {ids.dtype for ids in many} == {np.dtype(np.int32)}
            assert tokenizer.encode_many([]) == []

    def test_decode_ends_at_the_first_end_mark(self, learn: Callable[..., SentencePiece]) -> None:
        tokenizer = learn()
        ids = tokenizer.encode("Hello World")
        assert tokenizer.decode([0, *ids, 0, 1, *ids]) == "Hello World"
        assert tokenizer.decode(np.array([*ids, 1, 0, 0])) == "Hello World"
        assert tokenizer.decode([]) == tokenizer.decode([1]) == tokenizer.decode([0, 0]) == ""

    def test_decode_shows_sentinels_unknowns_and_rows_without_a_piece(
        self, learn: Callable[..., SentencePiece]
    ) -> None:
        tokenizer = learn()
        ids = tokenizer.encode("Hello <extra_id_0> World<extra_id_1>.")
        assert tokenizer.decode(ids) == "Hello <extra_id_0> World <extra_id_1>."
        hello = tokenizer.encode("Hello")
        assert tokenizer.decode([*hello, 2]) == tokenizer.decode([*hello, 895]) == "Hello ⁇ "

    def test_byte_fallback_loses_no_character(self, learn: Callable[..., SentencePiece]) -> None:
        tokenizer = learn(normaliser="nfkc")
        for text in ["naïve 中文 🙂 {x}", "العربية हिन्दी"]:
            assert tokenizer.decode(tokenizer.encode(text)) == text

    @pytest.mark.parametrize("algorithm", ["unigram", "bpe"])
    def test_identity_keeps_every_character(self, learn: Callable[..., SentencePiece], algorithm: str) -> None:
        tokenizer = learn(normaliser="identity", algorithm=algorithm)
        for text in [*HOSTILE, "def f(x):\n\tif x:\n\t    return  1\n\n\n", "\n", " \n ", "ﬁ ½"]:
            assert tokenizer.decode(tokenizer.encode(text)) == text

    def test_sentinels_in_text_that_keeps_its_spaces(self, learn: Callable[..., SentencePiece]) -> None:
        tokenizer = learn(normaliser="identity")
        pieces = tokenizer.pieces(tokenizer.encode("Hello\n<extra_id_0>\n  <extra_id_1>"))
        assert "".join(pieces) == "▁Hello\n<extra_id_0>\n▁<extra_id_1>"

    def test_inspect(self, learn: Callable[..., SentencePiece]) -> None:
        tokenizer = learn()
        found = inspect(tokenizer, "Hello <extra_id_0>☃")
        assert {p.kind for p in found[:-4]} == {"known"}
        assert [(p.piece, p.kind) for p in found[-4:]] == [
            *(("<extra_id_0>", "sentinel"), ("<0xE2>", "byte"), ("<0x98>", "byte"), ("<0x83>", "byte"))
        ]
        assert [p.id for p in found] == tokenizer.encode("Hello <extra_id_0>☃")
        without = learn(byte_fallback=False, vocab_size=400)
        assert without.inspect("Hello ☃☃")[-1] == Piece("☃☃", 2, "unknown")
        assert tokenizer.normalise(" ﬁ  x<extra_id_0>") == "▁fi▁x▁<extra_id_0>"

    def test_a_model_with_its_own_sentinels_keeps_them(self, tmp_path: Path) -> None:
        import sentencepiece

        for form, expected in [("▁<extra_id_{}>", "▁Hello<extra_id_1>"), ("<extra_id_{}>", "▁Hello▁<extra_id_1>")]:
            sentencepiece.SentencePieceTrainer.Train(
                sentence_iterator=iter(sentences()),
                model_prefix=str(tmp_path / "own"),
                vocab_size=400,
                user_defined_symbols=[form.format(n) for n in range(5)],
                pad_id=0,
                eos_id=1,
                unk_id=2,
                bos_id=-1,
                minloglevel=2,
            )
            tokenizer = load_tokenizer(tmp_path / "own.model")
            assert isinstance(tokenizer, SentencePiece)
            assert tokenizer.num_sentinels == 0
            assert tokenizer.specials.sentinels.tolist() == [3, 4, 5, 6, 7]
            assert tokenizer.vocab_size == 512
            assert "".join(tokenizer.pieces(tokenizer.encode("Hello <extra_id_1>"))) == expected
            assert tokenizer.pieces(tokenizer.encode("Hello<extra_id_1>"))[-1] == "<extra_id_1>"


class TestBytes:
    def test_ids(self) -> None:
        tokenizer = Bytes()
        assert tokenizer.encode("aé") == [100, 198, 172]
        assert tokenizer.encode("a<extra_id_0> <extra_id_124><extra_id_125>")[:4] == [100, 259, 35, 383]
        assert tokenizer.specials.sentinels.tolist() == list(range(259, 384))
        assert (tokenizer.specials.pad, tokenizer.specials.eos, tokenizer.specials.unk) == (0, 1, 2)
        assert tokenizer.vocab_size == 384

    @pytest.mark.parametrize("sentinels", ["extra", "final_bytes"])
    def test_round_trip(self, sentinels: Any) -> None:
        tokenizer = Bytes(sentinels=sentinels)
        for text in [*HOSTILE, "x<extra_id_0>y <extra_id_7>é<extra_id_1>"]:
            assert tokenizer.decode([*tokenizer.encode(text), 1, 70]) == text

    def test_the_papers_sentinels(self) -> None:
        """ByT5 §3.1 reuses the final 100 byte ids."""
        tokenizer = Bytes(sentinels="final_bytes")
        assert tokenizer.specials.sentinels.tolist() == list(range(258, 158, -1))
        assert tokenizer.encode("a<extra_id_0>b<extra_id_1>") == [100, 258, 101, 257]
        assert tokenizer.decode([100, 258, 101, 257, 1]) == "a<extra_id_0>b<extra_id_1>"

    def test_bytes_that_are_no_text_are_dropped(self) -> None:
        assert Bytes().decode([100, 0xFF + 3, 101, 0xC3 + 3, 2]) == "ab"

    def test_pieces_and_inspect(self) -> None:
        tokenizer = Bytes()
        assert tokenizer.pieces([0, 1, 2, 100, 35, 258, 259]) == [
            *("<pad>", "</s>", "<unk>", "a", "<0x20>", "<0xFF>", "<extra_id_0>")
        ]
        assert tokenizer.inspect("a<extra_id_3>") == [Piece("a", 100, "byte"), Piece("<extra_id_3>", 262, "sentinel")]


class TestSubwords:
    def test_wordpiece(self, wordpiece_file: Path) -> None:
        tokenizer = load_tokenizer(wordpiece_file)
        assert tokenizer.encode("Hello, WORLDLY [MASK] ünAa zzz") == [5, 9, 6, 7, 4, 10, 12, 12, 1]
        assert tokenizer.vocab_size == 13
        specials = tokenizer.specials
        assert (specials.pad, specials.unk, specials.cls, specials.sep, specials.mask) == (0, 1, 2, 3, 4)
        assert specials.eos == 3
        assert len(specials.sentinels) == 0
        assert tokenizer.decode([2, 5, 9, 6, 7, 3, 6, 0]) == "hello, worldly"
        assert tokenizer.inspect("hello zzz[MASK]") == [
            *(Piece("hello", 5, "known"), Piece("zzz", 1, "unknown"), Piece("[MASK]", 4, "special"))
        ]

    def test_byte_level_bpe(self, bpe_files: Path) -> None:
        tokenizer = load_tokenizer(bpe_files)
        assert tokenizer.pieces(tokenizer.encode("hello world")) == ["hello", "Ġwo", "r", "l", "d"]
        for text in HOSTILE:
            assert tokenizer.decode([*tokenizer.encode(text), tokenizer.specials.eos, 5]) == text
        assert tokenizer.specials.eos == tokenizer.specials.pad == 262
        assert tokenizer.vocab_size == 263
        assert load_tokenizer(bpe_files / "vocab.json").digest == tokenizer.digest


def all_kinds(learn: Callable[..., SentencePiece], wordpiece_file: Path, bpe_files: Path) -> Iterator[Any]:
    yield from (learn(), learn(num_sentinels=0), Bytes(), Bytes(sentinels="final_bytes"))
    yield from (Subwords.wordpiece(wordpiece_file), load_tokenizer(bpe_files / "vocab.json"))


class TestFiles:
    def test_saved_and_pickled_tokenizers_are_the_same(
        self, learn: Callable[..., SentencePiece], wordpiece_file: Path, bpe_files: Path, tmp_path: Path
    ) -> None:
        digests = set()
        for number, tokenizer in enumerate(all_kinds(learn, wordpiece_file, bpe_files)):
            tokenizer.save(tmp_path / str(number))
            for other in (load_tokenizer(tmp_path / str(number)), pickle.loads(pickle.dumps(tokenizer))):
                assert type(other) is type(tokenizer)
                assert other.digest == tokenizer.digest
                assert other.vocab_size == tokenizer.vocab_size
                assert other.specials.sentinels.tolist() == tokenizer.specials.sentinels.tolist()
                text = "Hello <extra_id_0> world [MASK]"
                assert other.encode(text) == tokenizer.encode(text)
            digests.add(tokenizer.digest)
        assert len(digests) == 6

    def test_a_runs_folder(self, learn: Callable[..., SentencePiece], tmp_path: Path) -> None:
        learn().save(tmp_path / "tokenizer")
        assert load_tokenizer(tmp_path).digest == load_tokenizer(str(tmp_path / "tokenizer")).digest == learn().digest

    def test_byt5_of_the_hub_has_the_papers_sentinels(self, tmp_path: Path) -> None:
        (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer", "extra_ids": 125}')
        tokenizer = load_tokenizer(tmp_path)
        assert isinstance(tokenizer, Bytes)
        assert tokenizer.sentinels == "final_bytes"

    def test_names_of_a_hub_config(self, wordpiece_file: Path) -> None:
        config = {"do_lower_case": False, "eos_token": {"content": "[CLS]"}, "pad_token": "[MASK]"}
        (wordpiece_file.parent / "tokenizer_config.json").write_text(json.dumps(config))
        tokenizer = load_tokenizer(wordpiece_file.parent)
        assert (tokenizer.specials.eos, tokenizer.specials.pad) == (2, 4)
        assert tokenizer.encode("hello Hello") == [5, 1]

    def test_added_tokens_that_the_model_does_not_know(
        self, learn: Callable[..., SentencePiece], tmp_path: Path
    ) -> None:
        learn().save(tmp_path)
        (tmp_path / "added_tokens.json").write_text('{"<extra_id_0>": 799, "<extra_id_99>": 700, "</s>": 1}')
        assert load_tokenizer(tmp_path).digest == learn().digest
        (tmp_path / "added_tokens.json").write_text('{"<new>": 800}')
        with pytest.raises(CheckpointError, match=r"added token '<new>' with id 800, which is '<row_800>'"):
            load_tokenizer(tmp_path)

    def test_not_a_tokenizer(self, tmp_path: Path, wordpiece_file: Path) -> None:
        with pytest.raises(ConfigError, match=r"nowhere: no such file or folder, expected a tokenizer or the name"):
            load_tokenizer(tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        with pytest.raises(CheckpointError, match=r"empty: no tokenizer in this folder, expected spiece.model"):
            load_tokenizer(tmp_path / "empty")
        contents = {
            "a.model": (b"", "is empty, expected a SentencePiece model"),
            "b.model": (b"not a model" * 20, "is not a SentencePiece model, or a broken one"),
            "tokenizer.json": (b'{"version": 1', "is no tokenizer.json"),
            "c.json": (b"[]", "is no tokenizer.json"),
            "d.txt": (b"some\nwords\n", r"lacks \[UNK\] or \[SEP\]"),
            "e.parquet": (b"PAR1", "not a tokenizer, expected a .model"),
        }
        for name, (content, message) in contents.items():
            (tmp_path / name).write_bytes(content)
            with pytest.raises(CheckpointError, match=rf"{name}: .*{message}") as caught:
                load_tokenizer(tmp_path / name)
            assert "\n" not in str(caught.value)

    def test_broken_files_of_a_folder(
        self, bpe_files: Path, learn: Callable[..., SentencePiece], tmp_path: Path
    ) -> None:
        (bpe_files / "merges.txt").write_text("a b c d\n")
        with pytest.raises(CheckpointError, match=r"merges.txt: no byte-level BPE"):
            load_tokenizer(bpe_files)
        (bpe_files / "merges.txt").write_text("#version: 0.2\n")
        (bpe_files / "vocab.json").write_text('{"a": 0}')
        with pytest.raises(CheckpointError, match=r"lacks 255 of the 256 byte characters"):
            load_tokenizer(bpe_files)
        learn().save(tmp_path / "t")
        (tmp_path / "t" / "tokenizer_config.json").write_text("{")
        with pytest.raises(CheckpointError, match=r"tokenizer_config.json: is no JSON"):
            load_tokenizer(tmp_path / "t")
        (tmp_path / "t" / "tokenizer_config.json").write_text('{"extra_ids": "many"}')
        with pytest.raises(CheckpointError, match=r"extra_ids is 'many', expected a number of sentinels"):
            load_tokenizer(tmp_path / "t")
        model = learn().model
        (tmp_path / "cut.model").write_bytes(model[: len(model) // 2])
        with pytest.raises(CheckpointError, match=r"cut.model: is not a SentencePiece model, or a broken one"):
            load_tokenizer(tmp_path / "cut.model")

    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(MachineError, match=r"file/t: cannot be written"):
            Bytes().save(tmp_path / "file" / "t")

    def test_half_a_surrogate_pair(
        self, learn: Callable[..., SentencePiece], wordpiece_file: Path, bpe_files: Path
    ) -> None:
        message = r"^text 'ab\\ud83dc': got half a surrogate pair \('\\ud83d'\) at character 2, expected valid Unicode"
        for tokenizer in all_kinds(learn, wordpiece_file, bpe_files):
            with pytest.raises(DataError, match=message):
                tokenizer.encode("ab\ud83dc")
            with pytest.raises(DataError, match=message):
                tokenizer.encode_many(["fine", "ab\ud83dc"])
