"""Text as it is written: what of it can no longer change."""

from __future__ import annotations

import re
from typing import final

OPEN_END = re.compile("(?:\ufffd|<extra_id_[0-9]+>)+$")
"""What bytes are shown as that make no character yet, where a vocabulary spells in bytes."""


@final
class Pieces:
    """Cuts a growing text into pieces that, once given, stay as they are.

    A character whose bytes are not all there is held back, and so is what the newest token added: vocabularies may join
    it with the next one. So a text is shown one token late.
    """

    def __init__(self) -> None:
        self.shown = ""
        self._before = ""

    def push(self, text: str) -> str:
        """What may be shown now, besides what was; `text` is all that is written so far."""
        text = OPEN_END.sub("", text)
        sure = shared_start(self._before, text)
        self._before = text
        if len(sure) <= len(self.shown):
            return ""
        new = sure[len(self.shown) :]
        self.shown = sure
        return new

    def rest(self, text: str) -> str:
        """What is left to show of the whole text."""
        assert text.startswith(self.shown), f"{text!r} does not go on from {self.shown!r}"
        return text[len(self.shown) :]


def shared_start(one: str, two: str) -> str:
    """The longest text that both begin with."""
    if two.startswith(one):
        return one
    count = next((at for at, (ours, theirs) in enumerate(zip(one, two, strict=False)) if ours != theirs), len(two))
    return two[:count]
