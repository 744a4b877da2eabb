"""Texts as vectors: what an encoder makes of each token, averaged over the text or read off its first token.

Letters: E texts, L tokens of a row, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, Self, cast, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.batch import Batch, Float32, Ids, Side
from textfer.config import Options
from textfer.data.layout import LAYOUTS, Lens
from textfer.data.sentence_pairs import framed
from textfer.errors import CheckpointError, ConfigError
from textfer.models import Model, load_reader
from textfer.models.hub import find_model, read_json
from textfer.tokenizers import Tokenizer, load_tokenizer

NUM_MARKS = 2
MODULES_FILE = "modules.json"


class Encoder(Model, Protocol):
    """A model that gives every token a state."""

    def hidden(self, batch: Batch) -> Tensor:
        """[B, L, D] last states."""
        ...


class EmbedOptions(Options):
    """How a text's states become one vector."""

    pooling: Literal["mean", "cls"] = "mean"
    """The mean over all tokens, marks included; or the state of the first."""
    normalise: bool = True
    """Vectors have length 1, so that products are cosines."""
    max_len: int | None = None
    """The most tokens that are read of a text, marks included; None = as many as the model has places."""


@final
class Embedder:
    """An encoder with its vocabulary and its rule of pooling."""

    def __init__(self, model: Model, tokenizer: Tokenizer, options: EmbedOptions | None = None) -> None:
        if not hasattr(model, "hidden") or LAYOUTS[model.layout].answers == "written":
            raise ConfigError(f"embed: got a {type(model).__name__}, expected an encoder such as BERT.")
        self.model = cast(Encoder, model)
        self.tokenizer = tokenizer
        self.options = options or EmbedOptions()

    @classmethod
    def load(cls, name: str | Path, *, device: torch.device | str = "cpu") -> Self:
        """The encoder of a hub-format folder or hub name; where sentence-transformers' files lie beside it, its rule.

        Errors: CheckpointError when a file is damaged or missing, or the rule is one that is not known here.
        """
        folder = find_model(name)
        return cls(load_reader(folder).to(device).eval(), load_tokenizer(folder), rule_of(folder))

    def vectors(self, texts: Sequence[str], *, batch_size: int = 32) -> Float32:
        """[E, D] one vector a text, in the order of the texts; long texts lose their end."""
        rows = [self._framed(ids) for ids in self.tokenizer.encode_many(list(texts))]
        order = sorted(range(len(rows)), key=lambda number: -len(rows[number].inputs))
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        for start in range(0, len(order), batch_size):
            numbers = order[start : start + batch_size]
            side, hidden = self._hidden([rows[number] for number in numbers])
            for number, vector in zip(numbers, self._pooled(side, hidden).float().cpu(), strict=True):
                found[number] = vector
        return torch.stack(found).numpy() if found else np.zeros((0, 0), np.float32)

    def token_vectors(self, text: str) -> tuple[list[str], Float32]:
        """(pieces with their marks, [L, D] their last states)"""
        row = self._framed(np.array(self.tokenizer.encode(text), np.int32))
        _, hidden = self._hidden([row])
        return self.tokenizer.pieces(row.inputs), hidden[0].float().cpu().numpy()

    def _framed(self, ids: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> Ids:
        most = min(one for one in (self.options.max_len, self.model.max_len, len(ids) + NUM_MARKS) if one is not None)
        inputs, _ = framed(ids[: most - NUM_MARKS], None, self.tokenizer.specials)
        return Ids(inputs, np.zeros(0, np.int32))

    @torch.inference_mode()
    def _hidden(self, rows: Sequence[Ids]) -> tuple[Side, Tensor]:
        lens = Lens(max(len(row.inputs) for row in rows), 0)
        batch = LAYOUTS["pair"].arrange([[row] for row in rows], lens, self.tokenizer.specials)
        batch = batch.to(next(self.model.parameters()).device)
        side = batch.encoder
        assert side is not None, "a pair stands on the encoder's side"
        assert not self.model.training, "reading needs model.eval()"
        return side, self.model.hidden(batch)

    def _pooled(self, side: Side, hidden: Tensor) -> Tensor:
        """[B, L, D] → [B, D]"""
        if self.options.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            counts = (side.segments > 0).to(hidden.dtype)[..., None]
            pooled = (hidden * counts).sum(1) / counts.sum(1)
        return F.normalize(pooled, dim=-1) if self.options.normalise else pooled


def rule_of(folder: Path) -> EmbedOptions:
    """How the folder's sentence-transformers files say that states become a vector; without them, the usual rule.

    Errors: CheckpointError for a rule that is not known here.
    """
    if not (folder / MODULES_FILE).exists():
        return EmbedOptions()
    found = read_json(folder / "1_Pooling" / "config.json")
    on = sorted(key.removeprefix("pooling_mode_") for key, value in found.items() if value is True)
    names = {"mean_tokens": "mean", "cls_token": "cls", "mean": "mean", "cls": "cls"}
    said = [found["pooling_mode"]] if "pooling_mode" in found else [key for key in on if key != "include_prompt"]
    if len(said) != 1 or said[0] not in names:
        raise CheckpointError(f"{folder}/1_Pooling: pools by {', '.join(said) or 'nothing'}, expected mean or cls.")
    most = None
    if (path := folder / "sentence_bert_config.json").exists():
        most = read_json(path).get("max_seq_length")
    modules = (folder / MODULES_FILE).read_text(encoding="utf-8")
    pooling = cast(Literal["mean", "cls"], names[said[0]])
    return EmbedOptions(pooling=pooling, normalise="Normalize" in modules, max_len=most)
