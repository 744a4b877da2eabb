"""Texts as vectors: what a model that reads makes of each token, as one vector for the text or one for every token.

Letters: E texts, L tokens of a row, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, cast, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from textfer.batch import Batch, Float32, Ids, Int32, Side, Specials
from textfer.config import Options
from textfer.data.framing import marks_of
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError, ConfigError
from textfer.models import Model, Speller, load_reader
from textfer.models.bodies import num_layers_of, within
from textfer.models.headed import Headed, width_of
from textfer.models.hub import find_model, read_json
from textfer.tokenizers import Tokenizer, load_tokenizer

MODULES_FILE = "modules.json"
TOP = (-1,)
NOTHING = np.zeros(0, np.int32)
Pooling = Literal["mean", "first", "last"]


class EmbedOptions(Options):
    """How a text's states become one vector."""

    pooling: Pooling = "mean"
    """The mean over the tokens, the state of the first, or that of the last."""
    layers: tuple[int, ...] = TOP
    """Which layers are read, the mean of several: 0 = the embeddings, -1 = the top."""
    normalise: bool = True
    """Vectors have length 1, so that products are cosines."""
    max_len: int | None = None
    """The most tokens that are read of a text, marks included; None = as many as the model has places."""


class Marks(NamedTuple):
    """What stands around a text."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    counted: bool
    """Whether marks take part in a mean, and may be first or last."""


@final
class Embedder:
    """A model that reads, with its vocabulary and its rule of pooling. A string gives a vector, a list a row each."""

    def __init__(self, model: Model, tokenizer: Tokenizer, options: EmbedOptions | None = None) -> None:
        """Of a model with heads the reader is asked. Errors: ConfigError for a model or layers that give no states."""
        reader: Any = model.base if isinstance(model, Headed) else model
        if not hasattr(reader, "layer_states"):
            raise ConfigError(f"embed: a {type(model).__name__} gives tokens no states. Name a model that reads.")
        if getattr(reader, "prompt", None) is not None:
            raise ConfigError("embed: this model reads a soft prompt before each text. Embed with its base.")
        self.model, self.tokenizer = reader, tokenizer
        self.options = options or EmbedOptions()
        self.layers: tuple[int, ...] | None = None
        """None = the last states."""
        if self.options.layers != TOP:
            self.layers = within(self.options.layers, num_layers_of(reader), where="embed: layers")
        self.marks = marks_around(reader, tokenizer.specials)
        """What stands around every text: as heads were trained to see it, or else as the reader was."""
        if isinstance(model, Headed) and model.kinds:
            begin, _, end = marks_of(tokenizer.specials)
            self.marks = Marks((begin,), (end,), counted=True)

    @classmethod
    def load(cls, name: str | Path, *, device: torch.device | str = "cpu") -> Self:
        """The reader of a hub-format folder or hub name; where sentence-transformers' files lie beside it, its rule.

        Errors: CheckpointError when a file is damaged or missing, or the rule is one that is not known here.
        """
        folder = find_model(name)
        return cls(load_reader(folder).to(device).eval(), load_tokenizer(folder), rule_of(folder))

    def embed(self, text: str | list[str] | tuple[str, ...], *, batch_size: int = 32) -> Float32:
        """[D] the vector of a text; of several [E, D], in their order. Long texts lose their end."""
        found = self.vectors([text] if isinstance(text, str) else list(text), batch_size=batch_size)
        return cast(Float32, found[0]) if isinstance(text, str) else found

    def embed_tokens(self, text: str) -> tuple[list[str], Float32]:
        """(the pieces of a text with its marks, [L, D] the state of each)"""
        row = self._framed(np.array(self.tokenizer.encode(text), np.int32))
        if not len(row.inputs):
            return [], np.zeros((0, width_of(self.model)), np.float32)
        _, states = self._states([row])
        return self.tokenizer.pieces(row.inputs), states[0].float().cpu().numpy()

    def vectors(self, texts: Sequence[str], *, batch_size: int = 32) -> Float32:
        """[E, D] one vector a text, in the order of the texts; zeros where a text has no token."""
        rows = [self._framed(ids) for ids in self.tokenizer.encode_many(list(texts))]
        order = sorted(range(len(rows)), key=lambda number: -len(rows[number].inputs))
        found = np.zeros((len(rows), width_of(self.model)), np.float32)
        told = [number for number in order if len(rows[number].inputs)]
        for start in range(0, len(told), batch_size):
            numbers = told[start : start + batch_size]
            side, states = self._states([rows[number] for number in numbers])
            found[numbers] = self._pooled(side, states).float().cpu().numpy()
        return found

    def _framed(self, ids: Int32) -> Ids:
        room = [one for one in (self.options.max_len, self.model.max_len) if one is not None]
        before, after, _ = self.marks
        kept = ids[: max(min(room) - len(before) - len(after), 0)] if room else ids
        return Ids(np.array([*before, *kept, *after], np.int32), NOTHING)

    @torch.inference_mode()
    def _states(self, rows: Sequence[Ids]) -> tuple[Side, Tensor]:
        """(where tokens are, [B, L, D] the states that are asked for)"""
        lens = Lens(max(len(row.inputs) for row in rows), 0)
        batch = LAYOUTS["pair"].arrange([[row] for row in rows], lens, self.tokenizer.specials)
        batch = batch.to(next(self.model.parameters()).device)
        side = batch.encoder
        assert side is not None, "a pair stands on the encoder's side"
        assert not self.model.training, "reading needs model.eval()"
        if self.layers is None:
            return side, self.model.hidden(Batch(encoder=side))
        layers = self.model.layer_states(Batch(encoder=side))
        return side, torch.stack([layers[number] for number in self.layers]).mean(0)

    def _pooled(self, side: Side, states: Tensor) -> Tensor:
        """[B, L, D] → [B, D]"""
        before, after = (0, 0) if self.marks.counted else (len(self.marks.before), len(self.marks.after))
        ends = torch.tensor([run.end - after for run in side.runs], device=states.device)
        if self.options.pooling == "mean":
            count = torch.arange(states.shape[1], device=states.device)
            inside = (count >= before) & (count < ends[:, None])
            pooled = torch.where(inside[..., None], states, 0).sum(1) / inside.sum(1, keepdim=True).clamp(min=1)
        else:
            places = torch.full_like(ends, before) if self.options.pooling == "first" else ends - 1
            pooled = states[torch.arange(len(states), device=states.device), places.clamp(max=states.shape[1] - 1)]
        return F.normalize(pooled, dim=-1) if self.options.normalise else pooled


def marks_around(reader: Model, specials: Specials) -> Marks:
    """What a reader was trained to see around a text.

    Encoders: `[CLS]` and `[SEP]`, where the vocabulary has them. Encoder-decoders: the end mark. One stack that writes:
    the end mark of whatever came before, which says nothing of the text. ELMo puts marks of its own.
    """
    if reader.layout == "encdec":
        return Marks((), (specials.eos,), counted=True)
    if LAYOUTS[reader.layout].answers == "written":
        return Marks((specials.eos,), (), counted=False)
    if isinstance(reader, Speller) or specials.cls is None or specials.sep is None:
        return Marks((), (), counted=True)
    return Marks((specials.cls,), (specials.sep,), counted=True)


def rule_of(folder: Path) -> EmbedOptions:
    """How the folder's sentence-transformers files say that states become a vector; without them, the usual rule.

    Errors: CheckpointError for a rule that is not known here.
    """
    if not (folder / MODULES_FILE).exists():
        return EmbedOptions()
    found = read_json(folder / "1_Pooling" / "config.json")
    on = sorted(key.removeprefix("pooling_mode_") for key, value in found.items() if value is True)
    names: dict[str, Pooling] = {
        "mean_tokens": "mean",
        "mean": "mean",
        "cls_token": "first",
        "cls": "first",
        "lasttoken": "last",
    }
    said = [found["pooling_mode"]] if "pooling_mode" in found else [key for key in on if key != "include_prompt"]
    if len(said) != 1 or said[0] not in names:
        raise CheckpointError(f"{folder}/1_Pooling: pools by {', '.join(said) or 'nothing'}, expected mean or cls.")
    most = None
    if (path := folder / "sentence_bert_config.json").exists():
        most = read_json(path).get("max_seq_length")
    modules = (folder / MODULES_FILE).read_text(encoding="utf-8")
    return EmbedOptions(pooling=names[said[0]], normalise="Normalize" in modules, max_len=most)
