"""What is learnt from plain text: ids → `Ids(inputs, targets)`. NumPy only; all rows of a call at once."""

from __future__ import annotations

from textfer.objectives.base import OBJECTIVES, Objective
from textfer.objectives.both_ways import BothWaysLanguageModel
from textfer.objectives.denoising import IidCorruption, LanguageModel, PrefixLanguageModel, SpanCorruption
from textfer.objectives.masked import MaskedLanguageModel
from textfer.objectives.restoring import BertStyle, Deshuffling, DroppedTokens

__all__ = [
    "OBJECTIVES",
    "BertStyle",
    "BothWaysLanguageModel",
    "Deshuffling",
    "DroppedTokens",
    "IidCorruption",
    "LanguageModel",
    "MaskedLanguageModel",
    "Objective",
    "PrefixLanguageModel",
    "SpanCorruption",
]
