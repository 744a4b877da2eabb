"""Learnt vectors before the input of an encoder.

Letters: B rows, S input tokens, P prompt vectors, D model width, V vocabulary.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Run, Side


class SoftPrompt(nn.Module):
    """P vectors that stand before every example; to the model they are the ids V … V + P − 1."""

    def __init__(self, vectors: Tensor, vocab_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(vectors.clone())
        self.vocab_size = vocab_size

    def lay(self, side: Side) -> Side:
        """The side with the prompt's ids before each of its examples; rows grow by P for each."""
        count = len(self.weight)
        most = max(Counter(run.row for run in side.runs).values(), default=0)
        shape = (side.ids.shape[0], side.ids.shape[1] + count * most)
        ids, segments, positions = (part.new_zeros(shape) for part in (side.ids, side.segments, side.positions))
        virtual = torch.arange(self.vocab_size, self.vocab_size + count, dtype=ids.dtype, device=ids.device)
        seen: Counter[int] = Counter()
        runs = []
        for row, start, end in side.runs:
            first = start + count * seen[row]
            seen[row] += 1
            last = first + count + end - start
            ids[row, first : first + count] = virtual
            ids[row, first + count : last] = side.ids[row, start:end]
            segments[row, first:last] = seen[row]
            positions[row, first:last] = torch.arange(last - first, dtype=positions.dtype, device=positions.device)
            runs.append(Run(row, first, last))
        return Side(ids, segments, positions, tuple(runs))

    def embed(self, ids: Tensor, table: Tensor) -> Tensor:
        """[…] ids → […, D] rows of the table [V, D], or of the prompt"""
        known = F.embedding(ids.clamp(max=self.vocab_size - 1), table)
        own = F.embedding((ids - self.vocab_size).clamp(min=0), self.weight)
        return torch.where((ids >= self.vocab_size)[..., None], own.to(known.dtype), known)
