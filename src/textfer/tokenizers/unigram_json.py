"""A SentencePiece unigram vocabulary as a `tokenizer.json`, its byte pieces included.

transformers' own T5 tokenizer knows no bytes: it calls unknown what such a vocabulary spells.
"""

from __future__ import annotations

from collections.abc import Iterator

from sentencepiece import SentencePieceProcessor

from textfer.tokenizers.pieces import SentencePiece

NORMALIZER, CHARSMAP = 3, 2
"""Fields of a .model file and of its normalizer_spec (sentencepiece_model.proto)."""
SIZED, WORD, DOUBLE = 2, 5, 1
"""Wire types of protobuf."""


def needs_json(tokenizer: object) -> bool:
    """Whether a vocabulary spells unknown characters in bytes."""
    if not isinstance(tokenizer, SentencePiece):
        return False
    pieces = SentencePieceProcessor(model_proto=tokenizer.model)
    return any(pieces.is_byte(i) for i in range(len(pieces)))


def unigram_json(tokenizer: SentencePiece) -> str:
    """The vocabulary with its sentinels and marks, as the `tokenizers` library reads it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    pieces = SentencePieceProcessor(model_proto=tokenizer.model)
    names = tokenizer.pieces(range(tokenizer.specials.num_ids))
    scores = [pieces.get_score(i) if i < len(pieces) else 0.0 for i in range(len(names))]
    unknown = tokenizer.specials.unk
    made = Tokenizer(models.Unigram(list(zip(names, scores, strict=True)), unk_id=unknown, byte_fallback=True))
    steps = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    if charsmap := _field(_field(tokenizer.model, NORMALIZER), CHARSMAP):
        steps.insert(0, normalizers.Precompiled(charsmap))
    made.normalizer = normalizers.Sequence(steps)
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    made.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="always", split=False)]
    )
    eos = tokenizer.specials.eos
    made.post_processor = processors.TemplateProcessing(
        single=f"$A {names[eos]}", pair=f"$A {names[eos]} $B {names[eos]}", special_tokens=[(names[eos], eos)]
    )
    specials = tokenizer.specials
    marks = [i for i in (specials.pad, eos, unknown, specials.cls, specials.sep, specials.mask) if i is not None]
    added = [AddedToken(names[i], normalized=False, special=True) for i in dict.fromkeys(marks)]
    sentinels = [names[i] for i in specials.sentinels.tolist()]
    added += [AddedToken(name, normalized=False, special=True, lstrip=True, rstrip=False) for name in sentinels]
    made.add_special_tokens(added)
    return str(made.to_str())


def _field(message: bytes, wanted: int) -> bytes:
    """The bytes of a field of a protobuf message; empty where it is not there."""
    return next((value for number, value in _fields(message) if number == wanted), b"")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, bytes) of all fields; numbers have none."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        kind, size = key & 7, 0
        if kind == SIZED:
            size, at = _number(message, at)
        elif kind in (WORD, DOUBLE):
            size = 4 if kind == WORD else 8
        else:
            _, at = _number(message, at)
        yield key >> 3, message[at : at + size]
        at += size


def _number(message: bytes, at: int) -> tuple[int, int]:
    """(a whole number of protobuf's kind, where the next thing begins)"""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
