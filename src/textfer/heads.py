"""What a model that only reads may say: a class, a number, a place, a tag for every word, or one of several choices."""

from __future__ import annotations

from typing import Literal

from textfer.calibration import Calibration
from textfer.config import Options

Kind = Literal["class", "number", "span", "tag", "choice"]


class Head(Options):
    """One head of a model."""

    name: str
    """What its parameters and its numbers are called."""
    kind: Kind
    """class: one of `labels` for the whole text. number: a number for it. span: where an answer stands; the first token
    stands for none. tag: one of `labels` for every word, said at its first piece. choice: a number for each of several
    texts, of which the highest wins."""
    labels: tuple[str, ...] = ()
    """In the order of their numbers."""
    tasks: tuple[str, ...] = ()
    """The tasks that it was trained on."""
    threshold: float | None = None
    """span: "no answer" is said when its score exceeds the best answer's by more than this; None = never. It is 0 for
    heads that have learnt from questions without an answer, until it is tuned."""
    calibration: Calibration | None = None
    """span: what the shares of its answers mean, where that was fitted (`textfer tune`)."""
    max_len: int | None = None
    """Tokens of the longest reading in training, marks included; None = not known."""

    @property
    def num_outputs(self) -> int:
        """Numbers that come out of it for a text, or for a token."""
        return {"class": len(self.labels), "number": 1, "span": 2, "tag": len(self.labels), "choice": 1}[self.kind]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what it says in a batch's `heads`."""
        return (f"{self.name}.start", f"{self.name}.end") if self.kind == "span" else (self.name,)
