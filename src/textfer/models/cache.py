"""What generation remembers between tokens: keys and values of what was read and written.

Letters: R rows being written, B inputs (R = B · beams), H heads, K width of one head, S encoder tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from textfer.batch import Side

FIRST_ROOM = 32


@dataclass(slots=True)
class Cache:
    """One generation's memory. The rows of one input stand next to each other and share its encoder keys and values."""

    keys: list[Tensor] = field(default_factory=list)
    """Per layer [R, H, room, K], of which `length` are filled."""
    values: list[Tensor] = field(default_factory=list)
    cross_keys: list[Tensor] = field(default_factory=list)
    """Per layer [B, H, S, K]; empty in decoder-only models."""
    cross_values: list[Tensor] = field(default_factory=list)
    cross_apart: list[list[tuple[Tensor, Tensor]]] = field(default_factory=list)
    """Per layer and row ([1, H, S, K], [1, H, S, K]) where inputs lie by themselves, in place of `cross_keys`: of
    different lengths without padding, they come and go without copies. Such rows have no beams."""
    cross_bias: Tensor | None = None
    """[B, 1, 1, S], very negative on padding; None when no input is padded."""
    starts: Tensor | None = None
    """[R] the first position that holds a token, where shorter texts were moved to the right; None = 0 everywhere."""
    near: Tensor | None = None
    """[H, room] relative bias of the key n positions back."""
    length: int = 0
    """Positions filled in every row."""
    beams: int = 1
    """Rows an input."""
    logits: Tensor | None = None
    """[R, V] what comes after everything read or written so far; None when the decoder has read nothing yet."""

    @property
    def room(self) -> int:
        """Positions that fit before the memory must grow."""
        return self.keys[0].shape[2]

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """A layer's keys and values up to the new ones ([R, H, t, K] each). `length` moves after the last layer."""
        end = self.length + keys.shape[2]
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def copy(self) -> Cache:
        """The same memory to go on from elsewhere: what either is expanded to, reordered or cut to is its own.

        Tokens written to both before that share one place: expand the copy first.
        """
        return replace(
            self,
            keys=list(self.keys),
            values=list(self.values),
            cross_keys=list(self.cross_keys),
            cross_values=list(self.cross_values),
        )

    def grow(self, room: int) -> None:
        """Makes place for `room` positions."""
        for stored in (self.keys, self.values):
            for layer, old in enumerate(stored):
                wider = old.new_empty(old.shape[0], old.shape[1], room, old.shape[3])
                wider[:, :, : self.length] = old[:, :, : self.length]
                stored[layer] = wider

    def expand(self, beams: int) -> None:
        """Every row becomes `beams` rows, next to each other; the encoder's part stays shared."""
        self._take(torch.arange(self.keys[0].shape[0], device=self.keys[0].device).repeat_interleave(beams))
        self.beams *= beams

    def reorder(self, index: Tensor) -> None:
        """Row i goes on from what row `index[i]` ([R] int64) was: only among the rows of one input."""
        if index.device.type == "cpu":
            same_input = torch.equal(index // self.beams, torch.arange(len(index)) // self.beams)
            assert same_input, "beams may only be reordered within their own input"
            if torch.equal(index, torch.arange(len(index))):
                return
        self._take(index)

    def keep(self, inputs: Tensor) -> None:
        """Only the inputs at these places ([b] int64) go on, with all their rows."""
        beams = torch.arange(self.beams, device=inputs.device)
        self._take((inputs[:, None] * self.beams + beams).flatten())
        for stored in (self.cross_keys, self.cross_values):
            stored[:] = [part.index_select(0, inputs) for part in stored]
        if self.cross_bias is not None:
            self.cross_bias = self.cross_bias.index_select(0, inputs)

    def _take(self, index: Tensor) -> None:
        for stored in (self.keys, self.values):
            for layer, old in enumerate(stored):
                new = old.new_empty(len(index), *old.shape[1:])
                new[:, :, : self.length] = old[:, :, : self.length].index_select(0, index)
                stored[layer] = new
        if self.starts is not None:
            self.starts = self.starts.index_select(0, index)
        if self.logits is not None:
            self.logits = self.logits.index_select(0, index)


def moved_right(side: Side) -> tuple[Tensor, Tensor | None]:
    """([R, longest] where each token is read from, negative where nothing stands; [R] the first that is read).

    Texts of different lengths, one a row, are moved to the right so that all go on from the same position. The second
    is None when all are as long.
    """
    assert [run.row for run in side.runs] == list(range(len(side.ids))), "generation takes one example a row"
    lens = torch.tensor([run.end - run.start for run in side.runs], device=side.ids.device)
    longest = int(lens.max())
    source = torch.arange(longest, device=lens.device) - (longest - lens)[:, None]
    return source, None if int(lens.min()) == longest else longest - lens
