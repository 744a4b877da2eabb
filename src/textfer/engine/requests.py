"""What waits to be done: texts to be read by one call, or to be read and then answered word by word."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from textfer.batch import Int32
from textfer.draws import UInt64, address
from textfer.engine.pieces import Pieces
from textfer.engine.ticket import Cancelled, Expired, Ticket
from textfer.generate import Decoding, Generated
from textfer.tokenizers import Tokenizer

MEASURED = 4000
"""Characters whose tokens are counted to know how long a text is; the rest of a longer one is taken to be alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """For whom something is done, under which changes of the model, and by when."""

    ticket: Ticket[Any]
    adapter: str | None
    deadline: float
    """By `time.monotonic`."""
    seconds: float
    """How long it was given."""


@dataclass(slots=True, eq=False, kw_only=True)
class Request:
    """Something that someone waits for."""

    terms: Terms

    @property
    def ticket(self) -> Ticket[Any]:
        """What it ends with."""
        return self.terms.ticket

    @property
    def adapter(self) -> str | None:
        """The changes under which it is done."""
        return self.terms.adapter

    def is_over(self) -> bool:
        """Whether it need not be gone on with. Says so to those who wait, where it was cancelled or came too late."""
        if not self.ticket.done:
            if self.ticket.cancelled:
                self.ticket.fail(Cancelled("engine: the request was cancelled."))
            elif time.monotonic() >= self.terms.deadline:
                given = f"{self.terms.seconds:g} seconds"
                self.ticket.fail(Expired(f"engine: the request was not done within {given}. Try again later."))
        return self.ticket.done


@dataclass(slots=True, eq=False, kw_only=True)
class Reading(Request):
    """One item of a call that takes a list: `act`, which those of the same `kind` share."""

    kind: tuple[object, ...]
    item: Any
    length: int
    """About how many tokens it has."""
    act: Callable[[Sequence[Any]], Sequence[Any]]
    pieces: Pieces = field(default_factory=Pieces)

    def hear(self, ids: Sequence[int], tokenizer: Tokenizer) -> bool:
        """Shows what is sure by now to those who follow, where `act` tells of it; whether it need not go on."""
        if self.ticket.followed:
            self.ticket.tell(self.pieces.push(tokenizer.decode(ids)))
        return self.is_over()


@dataclass(slots=True, eq=False, kw_only=True)
class Writing(Request):
    """Texts after which the model writes, each in a slot of its own."""

    texts: Sequence[str]
    decoding: Decoding
    finish: Callable[[list[Generated]], Any]
    """What was written after all texts → the result."""
    inputs: list[Int32] | None = None
    """The texts in ids, once someone looked."""
    num_begun: int = 0
    """Texts that got a slot so far."""
    made: dict[int, Generated] = field(default_factory=dict)

    def begin(self) -> Sequel:
        """The next of its texts gets a slot."""
        assert self.inputs is not None, "texts are in ids before they get a slot"
        number = self.num_begun
        self.num_begun += 1
        key = address(self.decoding.seed, self.texts[number], 0, 0) if self.decoding.sample else None
        return Sequel(request=self, number=number, ids=self.inputs[number], key=key)

    def end(self, sequel: Sequel, tokenizer: Tokenizer) -> bool:
        """One of its texts is written; whether they all are, which ends it."""
        text = tokenizer.decode(sequel.written)
        self.made[sequel.number] = Generated(text, sequel.log_prob, len(sequel.written))
        if len(self.made) < len(self.texts) or self.ticket.done:
            return False
        result = self.finish([self.made[number] for number in range(len(self.texts))])
        rest = sequel.pieces.rest(text) if len(self.texts) == 1 else ""
        self.ticket.finish(result, rest)
        return True


@dataclass(slots=True, eq=False, kw_only=True)
class Sequel:
    """What is being written after one text."""

    request: Writing
    number: int
    """Which of the request's texts."""
    ids: Int32
    """The text."""
    key: UInt64 | None
    """[1] what its draws are made from; None = it is written greedily."""
    limit: int = 0
    """The most tokens that it may have."""
    written: list[int] = field(default_factory=list)
    log_prob: float = 0.0
    pieces: Pieces = field(default_factory=Pieces)

    def tell(self, tokenizer: Tokenizer) -> None:
        """Shows what is sure by now to those who follow."""
        ticket = self.request.ticket
        if ticket.followed and len(self.request.texts) == 1:
            ticket.tell(self.pieces.push(tokenizer.decode(self.written)))


def about(text: str, tokenizer: Tokenizer) -> int:
    """Tokens of a text; of a long one about so many."""
    start = text[:MEASURED]
    count = len(tokenizer.encode_many([start])[0])
    return 1 + int(np.ceil(count * max(1.0, len(text) / MEASURED)))
