"""Language modelling from both sides: every token is guessed from what comes before it, and from what comes behind.

Letters: B rows, L raw tokens of a row.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from textfer.batch import Ids, Int32, Specials
from textfer.config import Options
from textfer.draws import Draws
from textfer.objectives.base import OBJECTIVES


@OBJECTIVES.named("both_ways")
class BothWaysLanguageModel(Options):
    """Every token is guessed from those before it, and again from those behind it; for models that read so (ELMo).

    Nothing is hidden: such a model never sees a token when it guesses it. An end mark stands after every document,
    documents are joined. Marks around a piece are the model's.

    Source: Peters et al. 2018, arXiv 1802.05365 §3.1.
    """

    name: Literal["both_ways"] = "both_ways"

    joins: ClassVar[bool] = True
    document_eos: ClassVar[bool] = True
    eos: ClassVar[tuple[bool, bool]] = (False, False)
    lossless: ClassVar[bool] = False
    in_place: ClassVar[bool] = True
    in_sight: ClassVar[bool] = True

    def raw_len(self, inputs_len: int, targets_len: int) -> int:
        """The length of the inputs; targets have none of their own."""
        del targets_len
        return inputs_len

    def lens(self, raw_len: int) -> tuple[int, int]:
        """(inputs, targets): the piece, twice."""
        return raw_len, raw_len

    def num_sentinels(self, raw_len: int) -> int:
        """None."""
        del raw_len
        return 0

    def __call__(self, tokens: Int32, specials: Specials, draws: Draws) -> list[Ids]:
        """[B, L] → B `Ids` whose targets are the inputs."""
        del specials, draws
        return [Ids(row, row) for row in tokens]
