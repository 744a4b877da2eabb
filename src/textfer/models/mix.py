"""A model's layers mixed into one: γ · Σ softmax(w)ⱼ hⱼ.

Source: Peters et al. 2018, arXiv 1802.05365 §3.2 and 3.3; bilm/elmo.py of the release for the norm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NORM_EPS = 1e-12


class ScalarMix(nn.Module):
    """One learnt weight a layer and one scale for all. Begins as the plain mean of the layers.

    `norm`: each layer is first brought to zero mean and unit variance over all numbers of all its tokens in the batch.
    """

    def __init__(self, num_layers: int, *, norm: bool = False) -> None:
        super().__init__()
        assert num_layers > 0
        self.norm = norm
        self.weights = nn.Parameter(torch.zeros(num_layers))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, layers: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """[B, L, D] of every layer → [B, L, D]. `mask` [B, L]: tokens that the norm counts; None = all."""
        assert len(layers) == len(self.weights), f"{len(layers)} layers, expected {len(self.weights)}"
        if self.norm:
            layers = [_normed(layer, mask) for layer in layers]
        shares = torch.softmax(self.weights, 0)
        mixed = sum((share * layer for share, layer in zip(shares, layers, strict=True)), torch.zeros_like(layers[0]))
        return self.scale * mixed


def _normed(x: Tensor, mask: Tensor | None) -> Tensor:
    told = x.flatten(0, -2) if mask is None else x[mask > 0]
    spread, mean = torch.var_mean(told, correction=0)
    return (x - mean) * torch.rsqrt(spread + NORM_EPS)
