"""Ids equal to those of the reference implementations, id for id.

- `t5x`: what google/seqio's `SentencePieceVocabulary` does: SentencePiece's own processor over the model with
  user-defined pieces `▁<extra_id_N>` appended. It is built here through protobuf; Textfer does without.
- `transformers` 5.x: equal wherever its T5Tokenizer agrees with t5x. It does not after a sentinel that a letter or a
  mark follows (it starts a new word there), and it reads `</s>` and the like as special tokens.

T5's own vocabulary is looked for in `../shared/data/tokenizers` or `$TEXTFER_DATA/tokenizers`; everywhere else a
vocabulary learnt from made-up sentences stands in.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from textfer.tokenizers import Bytes, SentencePiece, load_tokenizer

TOKENIZERS = Path(os.environ.get("TEXTFER_DATA", Path(__file__).parents[3] / "shared" / "data")) / "tokenizers"
NEEDS_FILES = pytest.mark.skipif(not TOKENIZERS.is_dir(), reason="needs the vocabularies of T5, BERT and GPT-2")

PLAIN = [
    "",
    " ",
    "\n\t \n",
    "Hello world. How are you?",
    "  leading, trailing  ",
    "tabs\tand\r\nnew\nlines\n\n",
    "{braces} [brackets] <angles> ~tilde~ ^hat^ `tick` \\slash",
    "ﬁne ½ ① ａｂｃ Å e\u0301 ｶﾞ ™ …",
    "zero\u200bwidth no\u00a0break soft\u00adhyphen \ufeffmark",
    "🙂 👍🏽 👩‍👩‍👧 🇩🇪",
    "中文 日本語 한국어 العربية हिन्दी Ελληνικά",
    "a" * 5000,
    "no-space-" * 600,
    "x " * 500,
    "nul\x00 bell\x07 escape\x1b",
    "don't can't I'll 12,345.67 %$#@",
    "translate English to German: That is good.",
    "İstanbul ǅ ß ŉ naïve",
    "▁ literal ▁▁ marks ▁x",
]
SENTINELS = [
    "<extra_id_0>",
    " <extra_id_0> ",
    "<extra_id_0>. Hello",
    "<extra_id_0>, <extra_id_1>; <extra_id_2>! <extra_id_3>? <extra_id_99>: x",
    "Thank you <extra_id_0> me to your party <extra_id_1> week.",
    "a <extra_id_0>b",
    "\n<extra_id_0>\n<extra_id_1>\n",
    "<extra_id_0>{x} <extra_id_1>} <extra_id_2>\\",
    "<extra_id_0>ﬁ <extra_id_1>½ <extra_id_2>🙂 <extra_id_3>中文",
    "<extra_id_0>" + "a" * 3000,
    "<extra_id_0>inform <extra_id_1>ing <extra_id_2>  spaces",
    "x\u00a0<extra_id_0>\u2003<extra_id_1>\u3000y",
    "＜extra_id_0＞ ＜extra_id_1＞.",
    "<extra_id_100> <extra_id_01> <extra_id_ 0> <EXTRA_ID_0> <extra_id_1",
    "</s> <pad> <unk> <extra_id_0> </s>",
]


def t5x_processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """SentencePiece's own processor over the model with 100 sentinels, made as seqio makes it."""
    pytest.importorskip("google.protobuf", reason="the reference is built through protobuf")
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    for number in reversed(range(100)):
        proto.pieces.add(piece=f"▁<extra_id_{number}>", score=0.0, type=4)
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


def learn(folder: Path, **options: Any) -> Path:
    """A small T5-like vocabulary in `folder`, made by SentencePiece itself from made-up sentences."""
    rng = random.Random(7)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "or", "ing")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(400)]
    ends = [".", "!", "?", ", inform me.", " (12 or 345) - 'x'; \"y\" 67:89.", " Thank you for the party week."]
    text = [" ".join(rng.choices(words, k=8)).capitalize() + rng.choice(ends) for _ in range(800)]
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(text),
        model_prefix=str(folder / "spiece"),
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        **{"vocab_size": 450, **options},
    )
    return folder


def fuzz(count: int, *, attached: bool) -> list[str]:
    """Random texts of difficult parts; sentinels stand after white space or a start, or anywhere (`attached`)."""
    rng = random.Random(count)
    parts = [
        "The",
        "party",
        "week",
        "inform",
        ".",
        ",",
        "{",
        "}",
        "ﬁ",
        "½",
        "🙂",
        "中",
        "é",
        "\n",
        "  ",
        "\t",
        "'",
        "<",
        "▁",
        "12",
    ]
    texts = []
    for _ in range(count):
        text = ""
        for _ in range(rng.randint(1, 12)):
            if rng.random() < 0.3 and (attached or not text or text[-1] in " \n\t"):
                text += f"<extra_id_{rng.choice([0, 1, 9, 42, 99])}>"
            else:
                text += rng.choice(parts) + rng.choice(["", " "])
        texts.append(text)
    return texts


def assert_equal_to_t5x(tokenizer: Any) -> None:
    assert isinstance(tokenizer, SentencePiece)
    reference = t5x_processor(tokenizer.model)
    texts = [*PLAIN, *SENTINELS, *fuzz(400, attached=False)]
    assert sum("<extra_id_" in text for text in texts) > 150
    for text, many in zip(texts, tokenizer.encode_many(texts), strict=True):
        expected = reference.encode(text)
        assert tokenizer.encode(text) == many.tolist() == expected, text[:80]
        assert tokenizer.decode(expected) == reference.decode(expected), text[:80]
    # Where the reference reads letters: what it gives when a space is put before the sentinel.
    for text in fuzz(300, attached=True):
        spaced = text.replace("<extra_id_", " <extra_id_")
        assert tokenizer.encode(text) == reference.encode(spaced), text


def assert_equal_to_transformers(tokenizer: Any, reference: Any, texts: list[str]) -> None:
    assert len(texts) > 15
    for text in texts:
        assert tokenizer.encode(text) == reference.encode(text, add_special_tokens=False), text[:80]


def t5_texts(*, unknown: bool) -> list[str]:
    """The texts that T5Tokenizer of `transformers` reads as t5x does."""
    plain = [text for text in PLAIN if "▁" not in text]
    sentinels = [
        *SENTINELS[:2],
        "Thank you <extra_id_0> me to your party <extra_id_1> week.",
        "x <extra_id_99> <extra_id_98>",
    ]
    return [text for text in [*plain, *sentinels] if unknown or text.isascii()]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"model_type": "bpe"},
        {"byte_fallback": True, "vocab_size": 700},
        {"byte_fallback": True, "vocab_size": 700, "model_type": "bpe"},
        {"normalization_rule_name": "nmt_nfkc_cf", "vocab_size": 390},
    ],
    ids=str,
)
def test_learnt_vocabulary_equals_t5x(options: dict[str, Any], tmp_path: Path) -> None:
    assert_equal_to_t5x(load_tokenizer(learn(tmp_path, **options)))


def test_learnt_vocabulary_equals_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, T5Tokenizer

    tokenizer = load_tokenizer(learn(tmp_path))
    assert_equal_to_transformers(tokenizer, T5Tokenizer.from_pretrained(tmp_path), t5_texts(unknown=True))
    tokenizer.save(tmp_path / "saved")  # and transformers reads what Textfer saved
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert type(saved) is T5Tokenizer
    assert_equal_to_transformers(tokenizer, saved, t5_texts(unknown=True))
    saved.save_pretrained(tmp_path / "theirs")  # which holds a tokenizer.json and no SentencePiece model
    theirs = load_tokenizer(tmp_path / "theirs")
    assert theirs.specials.sentinels.tolist() == tokenizer.specials.sentinels.tolist()
    assert theirs.vocab_size == tokenizer.vocab_size
    assert_equal_to_transformers(theirs, saved, t5_texts(unknown=True))


def test_bytes_equal_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, ByT5Tokenizer

    texts = [*PLAIN, *(text for text in [*SENTINELS, *fuzz(200, attached=True)] if "</s>" not in text)]
    assert_equal_to_transformers(Bytes(), ByT5Tokenizer(), texts)
    Bytes().save(tmp_path)
    assert_equal_to_transformers(Bytes(), AutoTokenizer.from_pretrained(tmp_path), texts)


def test_wordpiece_and_bpe_equal_transformers(tmp_path: Path) -> None:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import BertTokenizer, GPT2Tokenizer

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + letter for letter in letters)]
    words += ["the", "how", "are", "##ing", "##at", "hello", *".,;:!?'\"{}[]<>$%#@\\^`~-", "中", "文"]
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "vocab.txt").write_text("\n".join(words) + "\n")
    bert = BertTokenizer.from_pretrained(tmp_path / "bert")
    assert_equal_to_transformers(load_tokenizer(tmp_path / "bert"), bert, [*PLAIN, "a [MASK] b [SEP] c"])

    merges = ["t h", "th e", "Ġ the", "i n", "in g", "r e", "a re", "Ġ are", "Ġ Ġ", "1 2"]
    pieces = [*sorted(ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"]
    (tmp_path / "gpt").mkdir()
    (tmp_path / "gpt" / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (tmp_path / "gpt" / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    gpt = GPT2Tokenizer.from_pretrained(tmp_path / "gpt")
    assert_equal_to_transformers(load_tokenizer(tmp_path / "gpt"), gpt, [*PLAIN, "a <|endoftext|> b"])


@NEEDS_FILES
class TestPublishedVocabularies:
    def test_t5_numbers(self) -> None:
        tokenizer = load_tokenizer(TOKENIZERS / "t5")
        assert tokenizer.vocab_size == 32_128
        assert tokenizer.specials.sentinels.tolist() == list(range(32_099, 31_999, -1))
        assert (tokenizer.specials.pad, tokenizer.specials.eos, tokenizer.specials.unk) == (0, 1, 2)
        assert load_tokenizer(TOKENIZERS / "t5" / "spiece.model").digest == tokenizer.digest

    @pytest.mark.parametrize(
        ("text", "ids"),
        [  # the first: seqio's answer in huggingface/transformers pull request 24565; the others: sentencepiece 0.2.3
            ("<extra_id_0>. Hello", [32099, 5, 8774]),
            ("Hello <extra_id_0> World", [8774, 32099, 1150]),
            ("<extra_id_0>inform", [32099, 77, 2032]),
            ("Hey </s>. how", [9459, 3, 2, 87, 7, 3155, 5, 149]),
        ],
    )
    def test_t5_ids(self, text: str, ids: list[int]) -> None:
        assert load_tokenizer(TOKENIZERS / "t5").encode(text) == ids

    def test_t5_equals_t5x(self) -> None:
        assert_equal_to_t5x(load_tokenizer(TOKENIZERS / "t5"))

    def test_t5_equals_transformers(self) -> None:
        from transformers import T5Tokenizer

        reference = T5Tokenizer.from_pretrained(TOKENIZERS / "t5")
        assert_equal_to_transformers(load_tokenizer(TOKENIZERS / "t5"), reference, t5_texts(unknown=True))

    def test_bert_equals_transformers(self) -> None:
        from transformers import BertTokenizer

        reference = BertTokenizer.from_pretrained(TOKENIZERS / "bert-base-uncased")
        tokenizer = load_tokenizer(TOKENIZERS / "bert-base-uncased")
        assert tokenizer.vocab_size == 30_522
        assert_equal_to_transformers(tokenizer, reference, [*PLAIN, "a [MASK] b [SEP] c"])

    def test_gpt2_equals_transformers(self) -> None:
        from transformers import GPT2Tokenizer

        reference = GPT2Tokenizer.from_pretrained(TOKENIZERS / "gpt2")
        tokenizer = load_tokenizer(TOKENIZERS / "gpt2")
        assert tokenizer.vocab_size == 50_257
        assert_equal_to_transformers(tokenizer, reference, [*PLAIN, "a <|endoftext|> b"])
