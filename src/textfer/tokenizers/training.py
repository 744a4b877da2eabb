"""Learns a vocabulary from a stream of texts, and says what it is worth: SentencePiece here, WordPiece beside.

The stream may be endless in all but time: a seeded sample of bounded size is kept, evenly drawn from all of it.
"""

from __future__ import annotations

import io
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
from pydantic import Field
from sentencepiece import SentencePieceTrainer

from textfer.config import Options
from textfer.errors import ConfigError, DataError
from textfer.tokenizers.base import NUM_SENTINELS, Tokenizer, write_files
from textfer.tokenizers.pieces import MARKS, SentencePiece

_MAX_SENTENCE_CHARS = 4096
"""Longer lines are cut: SentencePiece silently leaves out what is longer than its limit."""
_HELD_OUT = 0.01
"""The share of sentences that are not trained on but measured."""
_MIN_HELD_OUT = 100
"""With fewer held-out sentences than this the corpus is small: all of it is trained on, and measured too."""
_MAX_MEASURED_CHARS = 1_000_000
_RESERVED = str.maketrans({"\0": " ", "▅": " "})  # SentencePiece's own marks: it would leave out the whole sentence
_PRINTABLE_ASCII = "".join(map(chr, range(33, 127)))


class SampleOptions(Options):
    """What of the texts is learnt from."""

    max_chars: int = Field(default=50_000_000, ge=10_000)
    """The sample's size; training takes some 30 bytes of memory for each."""
    max_sentences: int = Field(default=2_000_000, ge=1)
    """The most lines in the sample."""
    seed: int = 0
    """Decides the sample."""


class TokenizerOptions(SampleOptions):
    """How a SentencePiece vocabulary is learnt. Padding is 0, the end mark 1, unknown 2, as T5 has them."""

    algorithm: Literal["unigram", "bpe"] = "unigram"
    """unigram: T5's, keeps the likeliest pieces; bpe: merges the most frequent pairs."""
    vocab_size: int = Field(default=32_000, ge=4)
    """Pieces, with the three marks, those of `marks` and (under byte_fallback) the 256 bytes, without the sentinels."""
    num_sentinels: int = Field(default=NUM_SENTINELS, ge=0, le=10_000)
    """`<extra_id_N>` ids behind the pieces."""
    marks: bool = False
    """Whether `[CLS]`, `[SEP]` and `[MASK]` are among the pieces (3, 4, 5), so that one vocabulary serves T5, GPT and
    BERT. Written in a text they are letters."""
    byte_fallback: bool = True
    """Characters without a piece are spelt in UTF-8 bytes; without it they become unknown (as in T5's own)."""
    character_coverage: float = Field(default=0.9995, ge=0.9, le=1.0)
    """The share of the sample's characters that get a piece; the rarest ones do not."""
    required_chars: str = ""
    """Characters that get a piece however rare they are."""
    normaliser: Literal["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf", "identity"] = "nmt_nfkc"
    """What is done to characters first: Unicode's NFKC, with `nmt_` also newlines, tabs and odd spaces made spaces,
    with `_cf` also case folded. `identity` changes nothing and keeps newlines and runs of spaces (code, verse); all
    others make one space of many."""
    num_threads: int = Field(default=4, ge=1)
    """The result depends on it in the last digits of the scores, hence no default that varies with the machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a tokenizer makes of some texts. Shares are of 1."""

    num_chars: int
    num_words: int
    num_tokens: int
    unknown_chars: float
    byte_chars: float
    unknown_tokens: float
    byte_tokens: float
    tokens_per_word: float
    chars_per_token: float
    unknown: tuple[tuple[str, int], ...]
    """Characters that become unknown and how often, the most frequent first."""
    bytes: tuple[tuple[str, int], ...]
    """Characters that are spelt in bytes, likewise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was read, what was learnt, and how well it covers text that was held out."""

    num_texts: int
    num_sentences: int
    """Lines, long ones cut."""
    num_chars: int
    sample_sentences: int
    sample_chars: int
    num_pieces: int
    vocab_size: int
    """Rows of the embedding table."""
    digest: str
    measured_on: Literal["held-out sentences", "the training sample"]
    coverage: Coverage
    warnings: tuple[str, ...]
    seconds: float


def train_sentencepiece(texts: Iterable[str], out_dir: Path | str, options: TokenizerOptions | None = None) -> Report:
    """Learns a vocabulary, writes it to `out_dir` as `load_tokenizer` and the hub's T5 read it, and returns the report.

    The same texts, options and SentencePiece version give the same vocabulary. `training.json` keeps options, report.

    Errors: DataError where there is no text; ConfigError where `vocab_size` is too large or too small for it.
    """
    options = options or TokenizerOptions()
    start = time.perf_counter()
    sample = Sample(texts, options)
    tokenizer = SentencePiece(_train(sample.training, options), num_sentinels=options.num_sentinels)
    coverage = measure(tokenizer, sample.measured)
    warnings = tuple(_warnings(tokenizer, coverage, sample, options))
    return written(Outcome(tokenizer, options.vocab_size, sample, coverage, warnings), Path(out_dir), options, start)


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> Coverage:
    """What a tokenizer makes of some texts: what is unknown, what is spelt in bytes, how many tokens a word takes."""
    unknown: Counter[str] = Counter()
    spelt: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    num_chars = num_words = 0
    for text in texts:
        num_chars += len(tokenizer.normalise(text))
        num_words += len(text.split())
        run = bytearray()
        for piece, _, kind in tokenizer.inspect(text):
            kinds[kind] += 1
            if kind == "byte":
                run.append(int(piece[3:5], 16) if len(piece) == 6 else ord(piece))
            elif kind == "unknown":
                unknown.update(piece.removeprefix("▁"))
            if run and kind != "byte":
                spelt.update(run.decode(errors="replace"))
                run.clear()
        spelt.update(run.decode(errors="replace"))
    num_tokens = sum(kinds.values())
    return Coverage(
        num_chars=num_chars,
        num_words=num_words,
        num_tokens=num_tokens,
        unknown_chars=unknown.total() / max(num_chars, 1),
        byte_chars=spelt.total() / max(num_chars, 1),
        unknown_tokens=kinds["unknown"] / max(num_tokens, 1),
        byte_tokens=kinds["byte"] / max(num_tokens, 1),
        tokens_per_word=num_tokens / max(num_words, 1),
        chars_per_token=num_chars / max(num_tokens, 1),
        unknown=tuple(_most_frequent(unknown)),
        bytes=tuple(_most_frequent(spelt)),
    )


def written(outcome: Outcome, out_dir: Path, options: SampleOptions, start: float) -> Report:
    """The report of what was learnt, which `training.json` keeps. `start`: when learning began, in seconds."""
    tokenizer, sample = outcome.tokenizer, outcome.sample
    report = Report(
        num_texts=sample.num_texts,
        num_sentences=sample.num_sentences,
        num_chars=sample.num_chars,
        sample_sentences=len(sample.training),
        sample_chars=sum(map(len, sample.training)),
        num_pieces=outcome.num_pieces,
        vocab_size=tokenizer.vocab_size,
        digest=tokenizer.digest,
        measured_on="held-out sentences" if sample.held_out else "the training sample",
        coverage=outcome.coverage,
        warnings=outcome.warnings,
        seconds=time.perf_counter() - start,
    )
    tokenizer.save(out_dir)
    write_files(out_dir, {"training.json": {"options": options.model_dump(), "report": asdict(report)}})
    return report


def _most_frequent(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:50]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a report is made of."""

    tokenizer: Tokenizer
    num_pieces: int
    sample: Sample
    coverage: Coverage
    warnings: tuple[str, ...]


class Sample:
    """The sentences to train on and those to measure, in their order in the stream.

    Errors: DataError where there is no text.
    """

    def __init__(self, texts: Iterable[str], options: SampleOptions) -> None:
        self.num_texts = self.num_sentences = self.num_chars = self.num_indented = self.num_broken = 0
        training = _Reservoir(max_chars=options.max_chars, max_sentences=options.max_sentences)
        held_out = _Reservoir(max_chars=_MAX_MEASURED_CHARS, max_sentences=options.max_sentences)
        for key, sentence in zip(_keys(options.seed), self._sentences(texts), strict=False):
            (held_out if key < _HELD_OUT else training).add(key, self.num_sentences, sentence)
            self.num_sentences += 1
            self.num_chars += len(sentence)
            self.num_indented += sentence.startswith(("  ", "\t"))
        self.held_out = len(held_out.kept) >= _MIN_HELD_OUT
        if not self.held_out:
            for key, index, sentence in held_out.kept:
                training.add(-key, -index, sentence)
        self.training = training.sentences()
        self.measured = held_out.sentences() if self.held_out else self._first(self.training)
        if not self.training:
            raise DataError(
                f"tokenizer corpus: got {self.num_texts} texts without a character, expected text. Check the files."
            )

    def _sentences(self, texts: Iterable[str]) -> Iterator[str]:
        for text in texts:
            self.num_texts += 1
            if not text.isascii():
                valid = text.encode(errors="ignore").decode()  # half surrogate pairs, which a model cannot read either
                self.num_broken += len(valid) < len(text)
                text = valid
            for line in text.translate(_RESERVED).split("\n"):
                if line and not line.isspace():
                    yield from _cut(line)

    @staticmethod
    def _first(sentences: Sequence[str]) -> list[str]:
        num_chars = np.cumsum([len(sentence) for sentence in sentences])
        return list(sentences[: 1 + int(np.searchsorted(num_chars, _MAX_MEASURED_CHARS))])


class _Reservoir:
    """The sentences with the smallest keys that fit: an even draw, in memory that does not grow with the stream."""

    def __init__(self, *, max_chars: int, max_sentences: int) -> None:
        self._max_chars, self._max_sentences = max_chars, max_sentences
        self._heap: list[tuple[float, int, str]] = []  # the largest key on top
        self._num_chars = 0
        self._limit = float("inf")

    @property
    def kept(self) -> list[tuple[float, int, str]]:
        """(−key, −index, sentence)"""
        return self._heap

    def add(self, key: float, index: int, sentence: str) -> None:
        """Keeps the sentence if its key is small enough, and drops those that no longer fit."""
        if key >= self._limit:
            return
        heappush(self._heap, (-key, -index, sentence))
        self._num_chars += len(sentence)
        while self._num_chars > self._max_chars or len(self._heap) > self._max_sentences:
            largest, _, dropped = heappop(self._heap)
            self._num_chars -= len(dropped)
            self._limit = -largest

    def sentences(self) -> list[str]:
        """What was kept, in the order of the stream."""
        return [sentence for _, _, sentence in sorted(self._heap, key=lambda entry: -entry[1])]


def _keys(seed: int) -> Iterator[float]:
    """Uniform numbers in [0, 1), without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield from rng.random(4096).tolist()


def _cut(line: str) -> Iterator[str]:
    """The line, in parts of limited length that end before a space where there is one."""
    while len(line) > _MAX_SENTENCE_CHARS:
        place = line.rfind(" ", _MAX_SENTENCE_CHARS // 2, _MAX_SENTENCE_CHARS)
        place = _MAX_SENTENCE_CHARS if place < 0 else place
        yield line[:place]
        line = line[place:].removeprefix(" ")
    if line:
        yield line


def _train(sentences: Sequence[str], options: TokenizerOptions) -> bytes:
    """The `.model` file. Errors: ConfigError in the place of SentencePiece's own messages."""
    model = io.BytesIO()
    whole: dict[str, Any] = {}
    if options.normaliser == "identity":
        whole = {"remove_extra_whitespaces": False, "allow_whitespace_only_pieces": True}
        whole["user_defined_symbols"] = ["\n", "\t"]
    try:
        SentencePieceTrainer.Train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            model_type=options.algorithm,
            vocab_size=options.vocab_size,
            byte_fallback=options.byte_fallback,
            character_coverage=options.character_coverage,
            required_chars=options.required_chars,
            normalization_rule_name=options.normaliser,
            num_threads=options.num_threads,
            max_sentence_length=4 * _MAX_SENTENCE_CHARS,  # in bytes
            shuffle_input_sentence=False,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            control_symbols=list(MARKS.values()) if options.marks else [],
            minloglevel=2,
            **whole,
        )
    except RuntimeError as error:
        _explain(str(error), sentences, options)
    return model.getvalue()


def _explain(message: str, sentences: Sequence[str], options: TokenizerOptions) -> NoReturn:
    got = f"tokenizer.vocab_size: got {options.vocab_size}"
    if found := re.search(r"value <= (\d+)", message):
        size = f"{sum(map(len, sentences)):,} characters"
        raise ConfigError(
            f"{got}, expected at most {found[1]} for a corpus of {size}. Lower it or give more text."
        ) from None
    if found := re.search(r"required_chars\. \d+ vs (\d+)", message):
        why = "the marks, bytes and characters need as many"
        advice = "Raise it or lower tokenizer.character_coverage."
        raise ConfigError(f"{got}, expected at least {found[1]}: {why}. {advice}") from None
    raise ConfigError(f"tokenizer: SentencePiece could not learn a vocabulary: {message.splitlines()[0]}.") from None


def _warnings(tokenizer: SentencePiece, coverage: Coverage, sample: Sample, options: TokenizerOptions) -> Iterator[str]:
    if coverage.unknown:
        shown = " ".join(f"{char} ({count}×)" for char, count in coverage.unknown[:12])
        yield f"characters that become unknown: {shown}. Set byte_fallback, or raise character_coverage."
    if missing := [char for char in _PRINTABLE_ASCII if any(p.kind != "known" for p in tokenizer.inspect(char))]:
        fate = "are spelt in bytes" if options.byte_fallback else "become unknown"
        yield f"printable ASCII characters that {fate}: {' '.join(missing)}. Name those you need in required_chars."
    if coverage.byte_chars > 0.01:
        yield f"{coverage.byte_chars:.1%} of the characters are spelt in bytes. Raise character_coverage or vocab_size."
    if options.normaliser != "identity" and sample.num_indented > 0.1 * sample.num_sentences:
        share = sample.num_indented / sample.num_sentences
        yield f"{share:.0%} of the lines are indented, and indents are lost. The normaliser 'identity' keeps them."
    if sample.num_broken:
        yield f"{sample.num_broken} texts held half a surrogate pair, which was dropped."
