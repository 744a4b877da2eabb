"""Where tokens stand in their text: every tokenizer, on odd texts."""

from __future__ import annotations

import json
import random
import unicodedata
from typing import Any

import numpy as np
import pytest
import tokenizers

from textfer.errors import DataError
from textfer.tokenizers import Bytes, Subwords, TokenizerOptions, load_tokenizer, train_sentencepiece

WORDS = [
    *("the", "Ada", "reading", "Über", "naïve", "cafe\u0301", "ﬁne", "½", "①", "™", "㍿", "ｆｕｌｌ", "ｶﾞ", "İstanbul"),
    *(
        "中文",
        "日本語",
        "العربية",
        "हिन्दी",
        "한국어",
        "🙂",
        "👍🏽",
        "👩‍👩‍👧",
        "x\u0328\u0301",
        "don't",
        "1,000.5",
        "…",
        "ß",
        "[MASK]",
    ),
    *("<extra_id_0>", "<extra_id_7>", "<extra_id_999>", "</s>", "<unk>", "nul\x00", "bell\x07", "\x07", "\u200b"),
    *(
        "\u200bzero",
        "a" * 60,
        "no-space-" * 8,
        "soft\u00adhyphen",
        "\ufeff",
        "\u2028",
        "\t",
        "\r\n",
        "\u3000",
        "\u00a0",
    ),
]
GAPS = ["", "", " ", " ", " ", "  ", "\n", " \t "]


def odd_texts(seed: int, count: int) -> list[str]:
    """Random texts of difficult words, with and without white space between them."""
    rng = random.Random(seed)
    texts = ["", " ", " \n\t ", "x", " x ", "<extra_id_0>", "a<extra_id_0>b <extra_id_1> c", "½½½", "🙂🙂"]
    words = lambda: "".join(rng.choice(GAPS) + rng.choice(WORDS) for _ in range(rng.randint(1, 12)))  # noqa: E731
    texts += [words() + rng.choice(GAPS) for _ in range(count)]
    return texts


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One tokenizer of each kind, learnt here from made-up lines."""
    rng = random.Random(5)
    syllables = [a + b for a in "bdfglmnrst" for b in ("a", "e", "i", "o", "u", "an", "ing")]
    lines = [" ".join("".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(8)) + "." for _ in range(600)]
    made: dict[str, Any] = {"bytes": Bytes(), "final bytes": Bytes(sentinels="final_bytes")}
    kinds = {
        "unigram": {},
        "bpe": {"algorithm": "bpe"},
        "no fallback": {"byte_fallback": False, "vocab_size": 200},
        "identity": {"normaliser": "identity"},
        "folded": {"normaliser": "nmt_nfkc_cf"},
    }
    for name, options in kinds.items():
        folder = tmp_path_factory.mktemp("vocabulary")
        train_sentencepiece(lines, folder, TokenizerOptions(**{"vocab_size": 500, "num_threads": 1, **options}))
        made[name] = load_tokenizer(folder)
    folder = tmp_path_factory.mktemp("subwords")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "ada", "##ing", "read", "##e", "cafe", "fine", "½"]
    words += [*"abcdefghijklmnopqrstuvwxyz.,'-0123456789", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(words)))
    made["wordpiece"] = Subwords.wordpiece(folder / "vocab.txt", lowercase=True)
    made["cased wordpiece"] = Subwords.wordpiece(folder / "vocab.txt", lowercase=False)
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    merges = ["t h", "th e", "Ġ the", "i n", "in g", "Ġ A", "Ã ¯", "ð Ł", "ðŁ Ļ"]
    pieces = [*alphabet, *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    made["byte-level bpe"] = load_tokenizer(folder / "vocab.json")
    model = tokenizers.models.Unigram([("<unk>", 0.0), ("</s>", 0.0), ("▁", -1.0), *((c, -2.0) for c in "adeht")], 0)
    metaspace = tokenizers.Tokenizer(model)
    metaspace.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    made["metaspace"] = Subwords(metaspace.to_str())
    return made


KINDS = (
    *("bytes", "final bytes", "unigram", "bpe", "no fallback", "identity", "folded", "wordpiece", "cased wordpiece"),
    *("byte-level bpe", "metaspace"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rules_of_places(every: dict[str, Any], kind: str) -> None:
    tokenizer = every[kind]
    texts = odd_texts(3, 300)
    many = tokenizer.encode_places_many(texts)
    assert len(many) == len(texts)
    for text, (ids, places) in zip(texts, many, strict=True):
        assert ids.tolist() == tokenizer.encode(text)
        assert (ids.dtype, places.dtype, places.shape) == (np.int32, np.int64, (len(ids), 2))
        alone = tokenizer.encode_places(text)
        assert alone[0].tolist() == ids.tolist()
        assert alone[1].tolist() == places.tolist()
        starts, ends = places.T
        assert (starts >= 0).all()
        assert (ends <= len(text)).all()
        assert (starts <= ends).all()
        assert (np.diff(starts) >= 0).all()
        assert (np.diff(ends) >= 0).all()
        for start, end in places.tolist():
            assert text[start:end] == text[start:end].strip()
        if kind not in ("no fallback", "metaspace"):
            covered = np.zeros(len(text), np.bool_)
            for start, end in places.tolist():
                covered[start:end] = True
            left = {c for c, seen in zip(text, covered, strict=True) if not seen and not c.isspace()}
            dropped = {"Cc", "Cf", "Mn"} if kind == "wordpiece" else {"Cc", "Cf"}  # it drops accents too
            assert {unicodedata.category(c) for c in left} <= dropped, text


@pytest.mark.parametrize("kind", ["unigram", "bpe", "no fallback", "folded"])
def test_a_piece_is_what_its_place_reads_as(every: dict[str, Any], kind: str) -> None:
    """Where normalising keeps the number of characters, a piece is the normalised text of its place."""
    tokenizer = every[kind]
    rng = random.Random(1)
    words = ["the", "Ada", "reading", "Über", "ｆｕｌｌ", "①", "ban", "<extra_id_3>", "ding", "Über.", "don't"]
    for _ in range(200):
        text = "".join(rng.choice(words) + rng.choice(["", " ", "  ", "\n"]) for _ in range(8))
        for piece, (start, end) in zip(tokenizer.inspect(text), tokenizer.encode_places(text)[1].tolist(), strict=True):
            if piece.kind != "byte":
                assert tokenizer.normalise(text[start:end]).replace("▁", "") == piece.piece.replace("▁", "")


def shown(tokenizer: Any, text: str) -> list[tuple[str, str]]:
    """Each token and what stands in its place."""
    ids, places = tokenizer.encode_places(text)
    return [(piece, text[a:b]) for piece, (a, b) in zip(tokenizer.pieces(ids), places.tolist(), strict=True)]


def test_bytes_of_a_character_have_its_place(every: dict[str, Any]) -> None:
    found = shown(every["unigram"], "ba 🙂a ㍿")
    assert [place for piece, place in found if piece.startswith("<0x")] == ["🙂"] * 4 + ["㍿"] * 12
    found = shown(every["unigram"], "½")
    assert [place for piece, place in found if piece != "▁"] == ["½"] * (len(found) - (found[0][0] == "▁"))
    assert shown(Bytes(), "é🙂 <extra_id_1>x") == [
        *(("<0xC3>", "é"), ("<0xA9>", "é"), *(((f"<0x{b:02X}>", "🙂")) for b in "🙂".encode())),
        *(("<0x20>", ""), ("<extra_id_1>", "<extra_id_1>"), ("x", "x")),
    ]
    assert shown(every["byte-level bpe"], " 中") == [("Ġ", ""), ("ä", "中"), ("¸", "中"), ("Ń", "中")]


def test_white_space_and_the_space_before_a_text(every: dict[str, Any]) -> None:
    tokenizer = every["unigram"]
    assert tokenizer.encode_places(" ")[1].shape == (0, 2)
    ids, places = tokenizer.encode_places("  🙂 🙂")
    alone = [place for piece, place in zip(tokenizer.pieces(ids), places.tolist(), strict=True) if piece == "▁"]
    assert alone == [[2, 2], [4, 4]]  # before what follows
    assert Bytes().encode_places("a \n b")[1].tolist() == [[0, 1], [2, 2], [3, 3], [4, 4], [4, 5]]
    assert every["metaspace"].encode_places("the")[1].tolist() == [[0, 0], [0, 1], [1, 2], [2, 3]]
    assert every["metaspace"].encode_places("a  a")[1].tolist() == [[0, 0], [0, 1], [2, 2], [3, 3], [3, 4]]


def test_sentinels_and_what_stands_beside_them(every: dict[str, Any]) -> None:
    found = shown(every["unigram"], "ba<extra_id_0>ba <extra_id_1><extra_id_2>. 🙂<extra_id_3>")
    assert [pair for pair in found if pair[0].startswith("<extra")] == [(f"<extra_id_{n}>",) * 2 for n in range(4)]
    at = [places for piece, places in found if not piece.startswith("<")]
    assert "".join(at).startswith("baba.")


def test_wordpiece(every: dict[str, Any]) -> None:
    assert shown(every["wordpiece"], "The  CAFEreading\x07 中 [MASK]") == [
        *(("the", "The"), ("cafe", "CAFE"), ("##r", "r"), ("##e", "e"), ("##a", "a"), ("##d", "d")),
        *(("##ing", "ing"), ("[UNK]", "中"), ("[MASK]", "[MASK]")),
    ]


def test_half_a_surrogate_pair(every: dict[str, Any]) -> None:
    for kind in KINDS:
        with pytest.raises(DataError, match="got half a surrogate pair"):
            every[kind].encode_places("ab\ud83dc")
        with pytest.raises(DataError, match="got half a surrogate pair"):
            every[kind].encode_places_many(["fine", "ab\ud83dc"])
        assert every[kind].encode_places_many([]) == []
