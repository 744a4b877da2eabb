"""A model that was exported to CTranslate2: it has the weights and writes, and texts and results are as elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, final

from textfer.batch import Int32
from textfer.choices import Choices
from textfer.errors import CheckpointError, ConfigError, DataError, MachineError
from textfer.generate import Generated, Predictor
from textfer.generate.decoding import Decoding, check_decoding
from textfer.models import Generator
from textfer.models.int8 import Weights
from textfer.tokenizers import Tokenizer

WEIGHTS = "model.bin"
NAMES = ("shared_vocabulary.json", "source_vocabulary.json")
MADE = "<row_"
"""How names begin that an export made up, for rows that share one or have none."""
COMPUTED = {"float32": "default", "int8": "int8"}
"""Our word → CTranslate2's; `default` is as they lie in the file."""
ONLY = (
    "a model exported to CTranslate2 only writes and scores: no vectors, adapters, tuning or training. "
    "Name the model it was made of."
)
Follow = Callable[[int, Sequence[int]], bool]
"""Is told (number of a text, the ids written so far) at every token; True = enough of that text."""


def is_exported(folder: Path) -> bool:
    """Whether the folder is one of CTranslate2's."""
    return (folder / WEIGHTS).is_file() and any((folder / name).is_file() for name in NAMES)


@final
class Exported(Predictor):
    """A T5 that CTranslate2 computes. It writes greedily and by beams, and scores; nothing else can be done with it.

    Answers are those of the model that was exported, as far as sums in another order round alike. Beams are followed by
    CTranslate2's rule, which ends a search sooner; of those that it keeps, the best by ours is taken.
    """

    foreign = True

    def __init__(
        self,
        folder: Path,
        tokenizer: Tokenizer,
        *,
        weights: Weights = "float32",
        device: str = "cpu",
        adapters: bool = False,
    ) -> None:
        """`adapters`: whether some are to be put on, which is refused.

        Errors: MachineError where CTranslate2 is not installed; CheckpointError for files that are damaged, or a
        vocabulary that is not the one of the weights; ConfigError for adapters.
        """
        if adapters:
            raise ConfigError(ONLY)
        try:
            import ctranslate2
        except ImportError:
            raise MachineError(
                f"{folder}: a model exported to CTranslate2 needs ctranslate2. pip install 'textfer[ct2]'"
            ) from None
        import torch

        self.tokenizer = tokenizer
        self.ends_inputs = True
        self._names = _names(folder, tokenizer)
        self._place = {name: row for row, name in enumerate(self._names)}
        self._said = f"computed by CTranslate2 in {weights}"
        try:
            self._translator: Any = ctranslate2.Translator(
                str(folder), device=device, compute_type=COMPUTED[weights], intra_threads=torch.get_num_threads()
            )
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(f"{folder}: CTranslate2 cannot load it ({_line(error)}). Export it again.") from None

    @property
    def model(self) -> Generator:
        """Errors: ConfigError: the weights are CTranslate2's."""
        raise ConfigError(ONLY)

    @property
    def max_len(self) -> int | None:
        """None: a T5 has no positions to run out of."""
        return None

    @property
    def layout(self) -> str:
        """That of a T5."""
        return "encdec"

    def told(self) -> str:
        """What it is, in words."""
        return self._said

    def generate_each(
        self,
        texts: Sequence[str],
        decoding: Decoding | None = None,
        *,
        choices: Choices | None = None,
        follow: Follow | None = None,
    ) -> Iterator[tuple[int, Generated]]:
        """(number of the text, its answer), batch by batch; `follow` hears of greedy answers token by token.

        Errors: ConfigError for sampling, or `choices`; DataError for a text without tokens, or one far too long.
        """
        decoding = check_decoding(decoding or Decoding())
        if decoding.sample:
            raise ConfigError("sample: CTranslate2 draws nothing that a seed gives again. Drop it.")
        if choices is not None:
            raise ConfigError("generate: CTranslate2 is not held to choices while it writes. Rank them: classify.")
        sequences = self.inputs_of(texts, decoding.max_input_tokens)
        for number, ids in enumerate(sequences, start=1):
            if len(ids) == 1:
                raise DataError(f"text {number} of {len(texts)}: is empty, and CTranslate2 writes nothing after it.")
        order = sorted(range(len(texts)), key=lambda number: -len(sequences[number]))
        for at in range(0, len(order), decoding.batch_size):
            numbers = order[at : at + decoding.batch_size]
            hears = None if follow is None or decoding.beams > 1 else _Hears(numbers, follow)
            made = self._written([sequences[number] for number in numbers], decoding, hears)
            for number, (answer, log_prob) in zip(numbers, made, strict=True):
                yield number, Generated(self.tokenizer.decode(answer), log_prob, len(answer))

    def _written(
        self, sequences: Sequence[Int32], decoding: Decoding, hears: _Hears | None
    ) -> Iterator[tuple[list[int], float]]:
        """(ids, log probability) of each answer, end marks included.

        CTranslate2 keeps the answers that are best by log p / length^x; at lengths of some ten tokens x = α / 2 is the
        slope of our penalty, so that what is best by ours is among them.
        """
        power = 0.0 if decoding.beams == 1 else decoding.length_penalty / 2
        found = self._translator.translate_batch(
            self._named(sequences),
            beam_size=decoding.beams,
            num_hypotheses=decoding.beams,
            length_penalty=power,
            min_decoding_length=0,
            max_decoding_length=decoding.max_new_tokens,
            max_input_length=0,
            return_scores=True,
            return_end_token=True,
            callback=hears,
        )
        for one in found:
            made = [
                ([self._place[name] for name in names], score * len(names) ** power)
                for names, score in zip(one.hypotheses, one.scores, strict=True)
            ]
            yield max(made, key=lambda answer: answer[1] / ((5 + len(answer[0])) / 6) ** decoding.length_penalty)

    def _score_each(
        self, texts: Sequence[str], targets: Sequence[Sequence[str]], size: int, limit: int | None
    ) -> Iterator[tuple[int, list[float], list[int]]]:
        for number, ids in enumerate(self.inputs_of(texts, limit)):
            wanted = self.tokenizer.encode_many(list(targets[number]))
            sources = self._named([ids]) * len(wanted)
            found = self._translator.score_batch(sources, self._named(wanted), max_batch_size=size, max_input_length=0)
            yield number, [float(sum(one.log_probs)) for one in found], [len(one) + 1 for one in wanted]

    def _named(self, sequences: Sequence[Int32]) -> list[list[str]]:
        return [[self._names[one] for one in ids] for ids in sequences]


class _Hears:
    """Hears of a batch's tokens, and tells of the texts."""

    def __init__(self, numbers: Sequence[int], follow: Follow) -> None:
        self.numbers = numbers
        self.follow = follow
        self.written: list[list[int]] = [[] for _ in numbers]

    def __call__(self, step: Any) -> bool:
        ids = self.written[step.batch_id]
        ids.append(int(step.token_id))
        return self.follow(self.numbers[step.batch_id], ids)


def _names(folder: Path, tokenizer: Tokenizer) -> list[str]:
    """The name of every id. Errors: CheckpointError where they are not those of the vocabulary beside."""
    path = next(folder / name for name in NAMES if (folder / name).is_file())
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({_line(error)}). Export it again.") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path}: is no list of names. Export it again.")
    ours = tokenizer.pieces(range(tokenizer.vocab_size))
    pairs = zip(names, ours, strict=False)
    other = next((row for row, (name, piece) in enumerate(pairs) if name not in (piece, f"{MADE}{row}>")), None)
    if len(names) < len(ours) or other is not None:
        why = f"id {other} is {names[other]!r}" if other is not None else f"it has {len(names)} ids"
        raise CheckpointError(f"{path}: the vocabulary beside it is another ({why} here). Export it again.")
    return names


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
