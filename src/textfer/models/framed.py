"""Examples between their marks, as two recurrent stacks read them: one from the left, one from the right.

Letters: E examples, N tokens of all examples end to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from textfer.models.lstm import Int64, Order


@final
class Framed:
    """Where tokens stand: each example is a mark, its tokens, a mark, all end to end; N + 2E places.

    From the left the first mark and the tokens are read, from the right the last mark and the tokens. `goes_on`: a left
    side that remembers what came before is not told of a beginning.
    """

    def __init__(self, lens: Sequence[int] | Int64, *, goes_on: bool = False) -> None:
        self.lens = np.asarray(lens, np.int64)
        self._skipped = int(goes_on)
        self.left, self.right = Order(self.lens + 1 - self._skipped), Order(self.lens + 1)
        count = np.arange(len(self.lens))
        self._examples = np.repeat(count, self.lens)
        starts = np.cumsum(self.lens) - self.lens
        self._steps = np.arange(len(self._examples)) - starts[self._examples]
        self._frames: Int64 = starts + 2 * count

    def between_marks(self, tokens: Tensor, mark: int) -> Tensor:
        """[N] → [N + 2E] with `mark` before and `mark` + 1 behind every example"""
        found = tokens.new_full((len(tokens) + 2 * len(self.lens),), mark)
        found[self.inner(tokens.device)] = tokens
        found[_on(self._frames + self.lens + 1, tokens.device)] = mark + 1
        return found

    def inner(self, device: torch.device) -> Tensor:
        """[N] places of the tokens"""
        return _on(self._frames[self._examples] + 1 + self._steps, device)

    def steps(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The places that the left side reads, in the order of its steps; and the right side's"""
        examples, steps = self.left.entries()
        from_left = self._frames[examples] + steps + self._skipped
        examples, steps = self.right.entries()
        return _on(from_left, device), _on(self._frames[examples] + self.lens[examples] + 1 - steps, device)

    def own(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """([N] the left side's entries when it has just read each token, [N] the right side's)"""
        left = self.left.places(self._examples, self._steps + 1 - self._skipped)
        right = self.right.places(self._examples, self.lens[self._examples] - self._steps)
        return _on(left, device), _on(right, device)

    def neighbours(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """([N] the left side's entries just before each token, [N] the right side's just behind it)"""
        assert not self._skipped, "a side that goes on has no entry before its first token"
        left = self.left.places(self._examples, self._steps)
        right = self.right.places(self._examples, self.lens[self._examples] - self._steps - 1)
        return _on(left, device), _on(right, device)


def _on(places: Int64, device: torch.device) -> Tensor:
    return torch.from_numpy(places).to(device)
