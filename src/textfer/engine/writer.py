"""All that is being written under one adapter: every step gives each sequence its next token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor

from textfer.batch import Specials
from textfer.draws import Draws, later
from textfer.engine.requests import Sequel
from textfer.engine.slots import Past, Slots
from textfer.generate.decoding import choose
from textfer.models import Generator


@final
class Writer:
    """Sequences in slots. What has ended leaves at once, and its slot is free."""

    def __init__(self, model: Generator, specials: Specials) -> None:
        self.specials = specials
        self.sequels: list[Sequel] = []
        self._slots = Slots(model)
        self._max_len = model.max_len

    def add(self, sequel: Sequel, past: Past) -> bool:
        """A sequence after an input that was read; whether it ended with its first token and needs no slot."""
        most = sequel.request.decoding.max_new_tokens
        if past.logits is not None and self._max_len is not None:
            most = min(most, self._max_len - past.num_tokens + 1)
        sequel.limit = most
        if past.logits is not None:
            write_next(past.logits[None], [sequel])
            if self._ended(sequel):
                return True
        self._slots.join(past)
        self.sequels.append(sequel)
        return False

    def step(self) -> list[Sequel]:
        """One more token for each sequence; those that ended with it."""
        logits = self._slots.step([(one.written or [self.specials.pad])[-1] for one in self.sequels])
        write_next(logits, self.sequels)
        return self.drop(self._ended)

    def drop(self, is_over: Callable[[Sequel], bool]) -> list[Sequel]:
        """Lets go of sequences, and says which they were."""
        gone = []
        for row in reversed(range(len(self.sequels))):
            if is_over(self.sequels[row]):
                gone.append(self.sequels[row])
                self._slots.leave(row)
                self.sequels[row] = self.sequels[-1]
                self.sequels.pop()
        return gone

    def _ended(self, sequel: Sequel) -> bool:
        return sequel.written[-1] == self.specials.eos or len(sequel.written) >= sequel.limit


def write_next(logits: Tensor, sequels: Sequence[Sequel]) -> None:
    """Adds a token to every sequence, each by its own way of writing, from [n, V] logits.

    What is drawn for a sequence depends on its key and its length alone, so not on what is written beside it.
    """
    alike: dict[tuple[object, ...], list[int]] = {}
    for row, sequel in enumerate(sequels):
        way = sequel.request.decoding
        alike.setdefault((way.sample, way.temperature, way.top_k, way.top_p), []).append(row)
    for rows in alike.values():
        some = [sequels[row] for row in rows]
        part = logits if len(rows) == len(sequels) else logits[torch.tensor(rows, device=logits.device)]
        draws = None
        keys = [later(one.key, len(one.written)) for one in some if one.key is not None]
        if keys:
            draws = Draws(np.concatenate(keys))
        tokens, log_probs = choose(part.float(), some[0].request.decoding, draws)
        for one, token, log_prob in zip(some, tokens.tolist(), log_probs.tolist(), strict=True):
            one.written.append(token)
            one.log_prob += log_prob
