"""Frames of an encoder against transformers' BertTokenizerFast: ids, types, places and windows.

Provenance: the oracle is the installed `transformers` itself (written against 5.23), over a vocabulary made here.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from textfer.data.framing import frames, marks_of
from textfer.tokenizers import Subwords, WordPieceOptions, load_tokenizer, train_wordpiece

transformers = pytest.importorskip("transformers")

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = [
    "the",
    "ada",
    "river",
    "mill",
    "Über",
    "café",
    "ﬁne",
    "12",
    "x,y",
    "built",
    "it.",
    "中文",
    "zzz",
    "NAMING",
    "🙂",
]


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "river", "mill", "##ing", "##er", "cafe", "中"]
    words += [*LETTERS, *(f"##{letter}" for letter in LETTERS), *"0123456789.,", *(f"##{n}" for n in range(10))]
    path = tmp_path_factory.mktemp("wordpiece") / "vocab.txt"
    path.write_text("\n".join(words) + "\n")
    return path


def texts(rng: random.Random, longest: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, longest)))


def test_windows_of_pairs(vocab: Path) -> None:
    theirs = transformers.BertTokenizerFast(str(vocab), do_lower_case=True)
    ours = Subwords.wordpiece(vocab, lowercase=True)
    marks = marks_of(ours.specials)
    rng = random.Random(0)
    several = 0
    for _ in range(150):
        question, context = texts(rng, 5), texts(rng, 40)
        encoded = ours.encode_places_many([question, context])
        max_len, stride = rng.randint(40, 90), rng.randint(4, 20)
        found = frames(encoded, marks, max_len=max_len, stride=stride, max_question=32)
        room = max_len - 3 - min(32, len(encoded[0][0]))
        if len(encoded[0][0]) > 32:  # theirs does not cut the question
            continue
        expected = theirs(
            question,
            context,
            max_length=max_len,
            truncation="only_second",
            stride=max(room - stride, 0),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        assert [frame.inputs.tolist() for frame in found] == expected["input_ids"]
        assert [frame.types.tolist() for frame in found] == expected["token_type_ids"]
        assert [[tuple(place) for place in frame.places.tolist()] for frame in found] == expected["offset_mapping"]
        for number, frame in enumerate(found):
            parts = [-1 if part is None else part for part in expected.sequence_ids(number)]
            assert frame.parts.tolist() == parts
        several += len(found) > 1
    assert several > 50


def test_one_field_and_short_pairs(vocab: Path) -> None:
    theirs = transformers.BertTokenizerFast(str(vocab), do_lower_case=True)
    ours = Subwords.wordpiece(vocab, lowercase=True)
    rng = random.Random(1)
    for _ in range(100):
        first, second = texts(rng, 8), texts(rng, 8)
        for fields in ((first,), (first, second)):
            encoded = ours.encode_places_many(fields)
            # Of two fields that are cut their Rust code makes other lengths than BERT's release: only one is cut here.
            max_len = 14 if len(fields) == 1 else 500
            (found,) = frames(encoded, marks_of(ours.specials), max_len=max_len)
            expected = theirs(*fields, max_length=max_len, truncation=True, return_offsets_mapping=True)
            assert found.inputs.tolist() == expected["input_ids"]
            assert found.types.tolist() == expected["token_type_ids"]
            assert [tuple(place) for place in found.places.tolist()] == expected["offset_mapping"]


@pytest.mark.parametrize("lowercase", [True, False])
def test_a_vocabulary_learnt_here_is_read_there(tmp_path: Path, lowercase: bool) -> None:
    rng = random.Random(2)
    corpus = [texts(rng, 20) for _ in range(300)]
    train_wordpiece(corpus, tmp_path, WordPieceOptions(vocab_size=90, lowercase=lowercase))
    ours = load_tokenizer(tmp_path)
    ours.save(tmp_path / "saved")
    for folder in (tmp_path, tmp_path / "saved"):
        for theirs in (
            transformers.BertTokenizerFast.from_pretrained(folder),
            transformers.AutoTokenizer.from_pretrained(folder),
        ):
            assert (theirs.cls_token_id, theirs.sep_token_id, theirs.mask_token_id, theirs.pad_token_id) == (2, 3, 4, 0)
            for text in corpus[:60]:
                assert theirs(text)["input_ids"] == [2, *ours.encode(text), 3]
            (frame,) = frames(ours.encode_places_many(corpus[:2]), marks_of(ours.specials), max_len=500)
            pair = theirs(*corpus[:2])
            assert frame.inputs.tolist() == pair["input_ids"]
            assert frame.types.tolist() == pair["token_type_ids"]
