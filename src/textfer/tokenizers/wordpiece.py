"""Learns a WordPiece vocabulary in BERT's form, which `transformers` reads as well.

Its trainer gives characters their ids in the order of a hash table, on which ties depend. Here every character of the
alphabet has its ids before training begins, so that the same texts give the same vocabulary.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import tokenizers
from pydantic import Field
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from textfer.errors import ConfigError
from textfer.tokenizers.hub import Subwords
from textfer.tokenizers.training import Coverage, Outcome, Report, Sample, SampleOptions, measure, written

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""Ids 0 … 4."""
PREFIX = "##"
"""Before pieces that go on with a word."""
_MIN_FREQUENCY = 2
"""What stands together once is no piece."""


class WordPieceOptions(SampleOptions):
    """How a WordPiece vocabulary is learnt. `[PAD] [UNK] [CLS] [SEP] [MASK]` are 0 to 4."""

    algorithm: Literal["wordpiece"] = "wordpiece"
    """What tells `textfer tokenizer train` that it is this one."""
    vocab_size: int = Field(default=30_000, ge=8)
    """Pieces, with the five marks; fewer where the corpus does not give as many."""
    lowercase: bool = True
    """Uncased: letters are made small and lose their accents."""
    character_coverage: float = Field(default=0.9995, ge=0.9, le=1.0)
    """The share of the sample's characters that get pieces; a word with another is unknown."""


def train_wordpiece(texts: Iterable[str], out_dir: Path | str, options: WordPieceOptions | None = None) -> Report:
    """Learns a vocabulary, writes it to `out_dir` as `load_tokenizer` and the hub's BERT read it; returns the report.

    Errors: DataError where there is no text; ConfigError where `vocab_size` is too small for it, or the folder holds a
    SentencePiece model, which would be read instead.
    """
    if found := next(iter(sorted(Path(out_dir).glob("*.model"))), None):
        raise ConfigError(f"{out_dir}: holds {found.name}, expected no other vocabulary. Choose another folder.")
    options = options or WordPieceOptions()
    start = time.perf_counter()
    sample = Sample(texts, options)
    tokenizer = Subwords(_learn(sample.training, options).to_str())
    coverage = measure(tokenizer, sample.measured)
    warnings = tuple(_warnings(tokenizer, coverage, options))
    outcome = Outcome(tokenizer, tokenizer.specials.num_ids, sample, coverage, warnings)
    return written(outcome, Path(out_dir), options, start)


def _learn(sentences: Sequence[str], options: WordPieceOptions) -> tokenizers.Tokenizer:
    """The vocabulary as the library has it. Errors: ConfigError where there is no room for the characters."""
    learner = _empty({}, options)
    normaliser = learner.normalizer
    assert normaliser is not None
    counts: Counter[str] = Counter()
    for sentence in sentences:
        counts.update(normaliser.normalize_str(sentence))
    alphabet = _alphabet(counts, options.character_coverage)
    inside = [PREFIX + char for char in alphabet if _joins(learner, char)]
    fixed = [*MARKS, *inside]
    if options.vocab_size < (fewest := len(fixed) + len(alphabet)):
        got = f"got {options.vocab_size}, expected at least {fewest}: the marks and characters need as many"
        raise ConfigError(f"tokenizer.vocab_size: {got}. Raise it or lower tokenizer.character_coverage.")
    others = dict.fromkeys(map(ord, counts.keys() - set(alphabet)), " ")
    trainer = trainers.WordPieceTrainer(
        vocab_size=options.vocab_size,
        min_frequency=_MIN_FREQUENCY,
        show_progress=False,
        special_tokens=fixed,
        limit_alphabet=len(alphabet),
    )
    learner.train_from_iterator((normaliser.normalize_str(one).translate(others) for one in sentences), trainer)
    return _empty(learner.get_vocab(), options)


def _empty(words: dict[str, int], options: WordPieceOptions) -> tokenizers.Tokenizer:
    """BERT's tokenizer with these words, framing included."""
    made = tokenizers.Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=options.lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    if words:
        made.add_special_tokens(list(MARKS))
        marks = [(mark, words[mark]) for mark in ("[CLS]", "[SEP]")]
        single, pair = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
        made.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=marks)
    return made


def _alphabet(counts: Counter[str], share: float) -> list[str]:
    """The most frequent characters that make up this share of the text, in the order of their code points."""
    ranked = sorted((-count, char) for char, count in counts.items() if not char.isspace())
    left = share * -sum(count for count, _ in ranked)
    kept = []
    for count, char in ranked:
        if left <= 0:
            break
        kept.append(char)
        left += count
    return sorted(kept)


def _joins(learner: tokenizers.Tokenizer, char: str) -> bool:
    """Whether the character can stand inside a word; marks and ideographs are words of their own."""
    assert learner.pre_tokenizer is not None
    assert learner.normalizer is not None
    return len(learner.pre_tokenizer.pre_tokenize_str(learner.normalizer.normalize_str(f"a{char}a"))) == 1


def _warnings(tokenizer: Subwords, coverage: Coverage, options: WordPieceOptions) -> Iterator[str]:
    if tokenizer.specials.num_ids < options.vocab_size:
        got = f"{tokenizer.specials.num_ids:,} pieces and not {options.vocab_size:,}"
        yield f"the corpus gave {got}: no more stand together twice. Give more text."
    if coverage.unknown_tokens > 0.005:
        share = f"{coverage.unknown_tokens:.1%} of the tokens are unknown"
        yield f"{share}: words with rare characters. Raise character_coverage."
