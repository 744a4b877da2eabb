"""Features: the reader stands still, and only what stands upon it learns. What it said is kept on disk.

Letters: B rows, L tokens of a row, D width of a state, K layers.
Source: Devlin et al. 2019, arXiv 1810.04805 §5.3; Peters et al. 2018, arXiv 1802.05365 §3.2.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, ClassVar, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from textfer.adapt import METHODS, Method, Plan, one_stage
from textfer.adapt.adapted import weights_digest
from textfer.adapt.store import KEY_BYTES, Store
from textfer.batch import Batch, Run, Side
from textfer.data.digest import cache_dir
from textfer.errors import ConfigError
from textfer.models import Model
from textfer.models.bodies import Chosen
from textfer.models.headed import Headed, Reader, width_of

FORMAT = 1
FOLDER = "features"


@METHODS.named("features")
class Features(Method):
    """Heads learn from a reader that stands still and draws nothing at random; it reads every text once.

    What stands between, layers and a small network, are options of the heads: `head.layers`, `head.body`.
    """

    partial: ClassVar[bool] = True
    cache: bool = True
    """Keep on disk what the reader said of each text, under TEXTFER_CACHE, for later epochs and runs."""

    def install(self, model: Model, *, seed: int) -> None:
        """Freezes the reader, and has its states remembered."""
        del seed
        if not isinstance(model, Headed):
            raise ConfigError(
                "method.name: got features, and there are no heads to learn from them. Name a task that heads answer "
                "and a model that reads, or give a [head] section."
            )
        if model.options.lm_weight:
            raise ConfigError("head.lm_weight: cannot take effect, method features trains nothing below. Drop it.")
        model.frozen = True
        model.train(model.training)
        if self.cache:
            model.memory = Remembered(model.base, model.chosen)

    def plan(self, model: Model, *, num_steps: int) -> Plan:
        """The heads, and what stands between."""
        del num_steps
        return one_stage(name for name, _ in cast(Headed, model).own_parameters())

    def merge(self, model: Model) -> None:
        """What is asked in use is not kept on disk."""
        cast(Headed, model).memory = None


@final
class Remembered:
    """A reader's states of every text, computed once.

    A text is its tokens, its types and the precision of the products. Which texts stand beside it may change the last
    bits of its states; those that were computed first are kept.
    """

    def __init__(self, reader: Reader, chosen: Chosen, folder: Path | None = None) -> None:
        self.num_layers = 1 if chosen.numbers is None else len(chosen.numbers)
        self.dim = width_of(reader)
        place = (folder or cache_dir() / FOLDER) / _digest(reader, chosen)
        self.store = Store(place, self.num_layers * self.dim)

    def __call__(self, chosen: Chosen, reader: Reader, batch: Batch) -> list[Tensor]:
        """K of [B, L, D], zeros where nothing stands: what `chosen.read` gives."""
        side = batch.encoder
        assert side is not None, "what is read is the encoder's side"
        keys = _keys(side)
        found = np.zeros((*side.ids.shape, self.store.width), np.float32)
        lacking = self._read(keys, side.runs, found)
        if lacking:
            self.store.refresh()  # another process may have been faster
            lacking = self._read([keys[number] for number in lacking], [side.runs[n] for n in lacking], found, lacking)
        if lacking:
            self._learn(chosen, reader, batch, {keys[number]: number for number in lacking})
            left = self._read([keys[number] for number in lacking], [side.runs[n] for n in lacking], found, lacking)
            assert not left, "what was just written is there"
        weight = next(reader.parameters())
        states = torch.from_numpy(found).to(weight.device, weight.dtype)
        return list(torch.split(states, self.dim, -1))

    def _read(
        self, keys: Sequence[bytes], runs: Sequence[Run], found: NDArray[np.float32], numbers: Sequence[int] = ()
    ) -> list[int]:
        """Fills in what is known; the numbers of what is not."""
        pairs = zip(keys, runs, numbers or range(len(keys)), strict=True)
        return [number for key, run, number in pairs if not self.store.read(key, found[run.row, run.start : run.end])]

    @torch.no_grad()
    def _learn(self, chosen: Chosen, reader: Reader, batch: Batch, wanted: dict[bytes, int]) -> None:
        """Has the reader read these runs, and keeps what it said."""
        side = batch.encoder
        assert side is not None
        assert not reader.training, "a reader that learns is not remembered"
        numbers = sorted(wanted.values(), key=lambda n: side.runs[n].start - side.runs[n].end)
        alone = _alone(side, [side.runs[number] for number in numbers])
        origins = tuple(batch.origins[number] for number in numbers) if batch.origins else ()
        states = chosen.read(reader, Batch(encoder=alone, origins=origins))
        together = torch.cat([layer.float() for layer in states], -1).cpu().numpy()
        keys = {number: key for key, number in wanted.items()}
        rows = [np.ascontiguousarray(together[run.row, : run.end], np.float32) for run in alone.runs]
        self.store.write([keys[number] for number in numbers], rows)


def _alone(side: Side, runs: Sequence[Run]) -> Side:
    """A side of these runs only, one a row."""
    length = max(run.end - run.start for run in runs)
    shape = (len(runs), length)
    ids, segments, positions = (part.new_zeros(shape) for part in (side.ids, side.segments, side.positions))
    types = None if side.types is None else side.types.new_zeros(shape)
    placed = []
    for row, run in enumerate(runs):
        count = run.end - run.start
        for new, old in ((ids, side.ids), (positions, side.positions), (types, side.types)):
            if new is not None and old is not None:
                new[row, :count] = old[run.row, run.start : run.end]
        segments[row, :count] = 1
        placed.append(Run(row, 0, count))
    return Side(ids, segments, positions, tuple(placed), types)


def _keys(side: Side) -> list[bytes]:
    """One a run."""
    kind = side.ids.device.type
    precision = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else ""
    ids = side.ids.cpu().numpy()
    types = np.zeros_like(ids) if side.types is None else side.types.cpu().numpy()
    return [
        blake2b(
            ids[row, start:end].tobytes() + types[row, start:end].tobytes(),
            digest_size=KEY_BYTES,
            key=precision.encode(),
        ).digest()
        for row, start, end in side.runs
    ]


def _digest(reader: Reader, chosen: Chosen) -> str:
    """Of all that decides what a reader says of a text."""
    shape = cast(Any, reader).options.model_dump(mode="json")
    said = {name: value for name, value in shape.items() if "dropout" not in name}
    digest = sha256(json.dumps([FORMAT, type(reader).__name__, said, chosen.numbers]).encode())
    digest.update(weights_digest(reader).encode())
    for name, buffer in sorted(cast(nn.Module, reader).named_buffers()):
        digest.update(f"{name} {buffer.dtype} {list(buffer.shape)}\n".encode())
        digest.update(buffer.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[: 2 * KEY_BYTES]
