"""What every objective is.

An objective is a frozen set of options that can be called. Its randomness is `Draws`, so row i of the result depends on
row i of the tokens and its key alone. End marks are the stream's: `eos` says on which sides it puts them, and `lens`
counts them. Letters: B rows, L raw tokens of a row.

To come: a mixture of denoisers (UL2) is a list of these, one chosen for each piece.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from textfer.batch import Ids, Int32, Specials
from textfer.config import Registry
from textfer.draws import Draws


class Objective(Protocol):
    """What the stream needs to know of an objective."""

    joins: ClassVar[bool]
    """Documents are joined and the whole is cut in pieces of `raw_len`; otherwise every document is cut by itself."""
    document_eos: ClassVar[bool]
    """Every document gets an end mark before joining."""
    eos: ClassVar[tuple[bool, bool]]
    """Whether the stream puts an end mark after inputs and targets."""
    lossless: ClassVar[bool]
    """Every raw token is found in inputs or targets, once and in order."""
    in_place: ClassVar[bool]
    """Targets stand where the inputs do, one for each."""
    in_sight: ClassVar[bool]
    """They are the inputs, nothing is hidden: only for models that guess a token without seeing it."""

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        """Raw tokens in a piece, the most that never outgrow those lengths (which count end marks)."""
        ...

    def lens(self, raw_len: int) -> tuple[int, int]:
        """(inputs, targets) tokens that a piece becomes, end marks counted; the most where it is random."""
        ...

    def num_sentinels(self, raw_len: int) -> int:
        """Sentinels that the vocabulary must hold for such pieces."""
        ...

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] tokens → B `Ids` without end marks."""
        ...


OBJECTIVES: Registry[type[Objective]] = Registry("objective")
