"""CBOW as a model: a vector for every piece of a vocabulary, whatever stands around it.

It reads as the other families do, so that all may be compared: the state of a token is its row of the table. Its
pre-training is not the one trainer's: `textfer vectors train --tokenizer` learns the table (see `cbow`).

Letters: B rows, L tokens of a row, D numbers of a vector, V vocabulary.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Batch, Output
from textfer.config import Options, build
from textfer.errors import CheckpointError, ConfigError, DataError
from textfer.models import MODELS
from textfer.models.cbow import CbowOptions, Progress, fresh_tables, learn, numbered
from textfer.models.hub import LoadReport, TensorFiles, file_tensors, match, read_config, write_model
from textfer.models.layers import Table
from textfer.models.word_vectors import WordVectors
from textfer.tokenizers import Tokenizer

MODEL_TYPES = ("cbow",)
TEXTS_AT_ONCE = 1000


class CbowShape(Options):
    """The shape of a CBOW."""

    model_dim: int = Field(100, ge=1)
    """D, the numbers of a vector."""


@MODELS.named("cbow")
class Cbow(nn.Module):
    """Reads a `Batch`: every token's row of one table. Heads may stand upon it; by itself it says nothing."""

    options_class: ClassVar[type[Options]] = CbowShape
    model_types: ClassVar[tuple[str, ...]] = MODEL_TYPES
    pooling: ClassVar[str] = "mean"
    """The state of a text: no token knows of the others."""
    load_report: LoadReport | None = None
    """Where the tensors of the file went, for a model that was loaded."""

    def __init__(self, options: CbowShape, vocab_size: int) -> None:
        super().__init__()
        self.options, self.vocab_size = options, vocab_size
        self.embedding = Table(vocab_size, options.model_dim)
        if not self.embedding.weight.is_meta:  # about to be loaded
            nn.init.uniform_(self.embedding.weight, -0.5 / options.model_dim, 0.5 / options.model_dim)

    @classmethod
    def make(cls, options: Mapping[str, Any], *, vocab_size: int) -> Self:
        """A model with new vectors, as word2vec draws them; the options are the fields of CbowShape."""
        return cls(build(CbowShape, options, where="model"), vocab_size)

    @classmethod
    def load(cls, folder: Path, options: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None) -> Self:
        """The model of a folder, in `dtype` (None = float32); `options` replace those of the file.

        Errors: CheckpointError when a tensor is missing, left over or misshapen, or a file damaged.
        """
        folder = Path(folder)
        config, files = read_config(folder), TensorFiles(folder)
        try:
            shape = build(CbowShape, {"model_dim": config["model_dim"], **(options or {})}, where="model")
            with torch.device("meta"):
                made = cls(shape, int(config["vocab_size"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{folder}/config.json: does not describe a CBOW ({error}). Copy it again.") from None
        names = made.file_names()
        wanted = {theirs: (ours, tuple(made.get_parameter(ours).shape)) for ours, theirs in names.items()}
        match(files, wanted, frozenset())
        tensors = {ours: files.read(theirs).to(dtype or torch.float32) for ours, theirs in names.items()}
        made.load_state_dict(tensors, assign=True)
        made.load_report = LoadReport(folder=folder, loaded={theirs: ours for ours, theirs in names.items()}, ties={})
        return made

    def save(self, folder: Path) -> None:
        """Writes config.json and safetensors that `load` reads."""
        tensors = file_tensors(self.named_parameters(), self.file_names(), folder=Path(folder), family="CBOW")
        config = {"model_type": MODEL_TYPES[0], "vocab_size": self.vocab_size, **self.options.model_dump()}
        write_model(Path(folder), config, tensors)

    def file_names(self) -> dict[str, str]:
        """Our parameter → the tensor of the file."""
        return {"embedding.weight": "embedding.weight"}

    @property
    def layout(self) -> str:
        """`pair`: only heads learn from batches."""
        return "pair"

    @property
    def max_len(self) -> None:
        """Any: places play no part."""

    def forward(self, batch: Batch) -> Output:
        """The states [B, L, D]."""
        return Output(hidden=self.hidden(batch))

    def hidden(self, batch: Batch) -> Tensor:
        """[B, L, D] the vector of every token; zeros where nothing stands."""
        side = batch.encoder
        assert side is not None, "what reads has an encoder's side"
        return F.embedding(side.ids, self.embedding.weight) * (side.segments > 0)[..., None]

    def layer_states(self, batch: Batch) -> list[Tensor]:
        """The same: there is one layer."""
        return [self.hidden(batch)]

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Never. Errors: ConfigError."""
        del batch
        _pretrained_elsewhere()

    def readout(self) -> tuple[Tensor, Tensor | None]:
        """Never. Errors: ConfigError."""
        _pretrained_elsewhere()

    def depth(self) -> list[list[str]]:
        """The one table."""
        return [["embedding.weight"]]


def _pretrained_elsewhere() -> NoReturn:
    raise ConfigError(
        "model: a CBOW names no words in training. Learn its vectors by `textfer vectors train --tokenizer`, and name "
        "their folder as `init`, with tasks for heads."
    )


def train_pieces(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    options: CbowOptions | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> Cbow:
    """A CBOW of the vocabulary, learnt as `train_cbow` learns words; every line is a sentence.

    Pieces that the texts hold less than `min_count` times, and marks, get zeros: in a mean they say nothing. `cut`
    plays no part.

    Errors: DataError for texts with nothing to learn from; NotFiniteError when `lr` is too large.
    """
    options = options or CbowOptions(min_count=1)
    ids, ends = array("i"), array("q")
    rest = iter(texts)
    while some := list(islice(rest, TEXTS_AT_ONCE)):
        if wrong := [type(text).__name__ for text in some if not isinstance(text, str)]:
            raise DataError(f"texts: got {wrong[0]}, expected text.")
        for found in tokenizer.encode_many([line for text in some for line in text.split("\n") if line.strip()]):
            ids.frombytes(np.asarray(found, np.int32).tobytes())
            ends.append(len(ids))
    everything = np.frombuffer(ids, np.int32) if ids else np.zeros(0, np.int32)
    places = [str(number) for number in range(tokenizer.vocab_size)]
    corpus = numbered(everything, np.array(ends, np.int64), places, options)
    tables = fresh_tables(corpus, options)
    learn(tables, corpus, options, progress=progress)
    made = Cbow(CbowShape(model_dim=options.dim), tokenizer.vocab_size)
    with torch.no_grad():
        made.embedding.weight.zero_()[[int(place) for place in corpus.words]] = tables.inputs
    return made


def piece_vectors(model: Cbow, tokenizer: Tokenizer) -> WordVectors:
    """The pieces that have a vector, and it; a piece that is spelt as an earlier one is left out."""
    table = model.embedding.weight.detach().numpy()
    named: dict[str, int] = {}
    for number in np.flatnonzero(np.abs(table).sum(axis=1)).tolist():
        named.setdefault(tokenizer.pieces([number])[0], number)
    return WordVectors(list(named), table[list(named.values())])
