"""What the tests of the server share: engines that do as they are told, and a server on a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import torch

from textfer.answer import Answer, TextToText
from textfer.answered import Candidate
from textfer.choices import Ranked
from textfer.engine import Cancelled, Expired, Overloaded, Ticket
from textfer.errors import ConfigError
from textfer.generate import Decoding, Generated, Predictor
from textfer.models.t5 import T5
from textfer.serve.server import Serving, bind, place_of
from textfer.serve.service import Service
from textfer.serve.shelf import Served, Shelf
from textfer.tokenizers import load_tokenizer

SIZES = {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 1, "dropout": 0.0}
KEY = "a-key-of-the-tests"


def tiny_reader(name: str = "tiny") -> TextToText:
    """A T5 that learnt nothing, over bytes."""
    tokenizer = load_tokenizer("bytes")
    torch.manual_seed(1)
    model = T5.make(SIZES, vocab_size=tokenizer.vocab_size).eval()
    model.lay_for_generation()
    return TextToText(Predictor(model, tokenizer), name)


class Puppet:
    """An engine whose texts say what it does: wait, full, late, wrong, broken; others are answered at once."""

    def __init__(self) -> None:
        self.tickets: list[Ticket[Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.load = {
            **dict.fromkeys(("waiting", "running", "num_done", "num_cancelled", "num_expired", "tokens_written"), 0),
            "seconds_busy": 0.5,
        }

    def _ticket(self, word: str, result: Any, *, written: bool = False, **said: Any) -> Ticket[Any]:
        self.calls.append(said)
        if word == "full":
            raise Overloaded("engine: 3 requests wait already (max_queue). Try again later.")
        ticket: Ticket[Any] = Ticket(written=written, wake=lambda: ticket.fail(Cancelled("engine: cancelled.")))
        self.tickets.append(ticket)
        errors = {
            "late": Expired("engine: late."),
            "wrong": ConfigError("generate: something does not fit. Change it."),
            "broken": RuntimeError("a secret of the inside at /some/place.py"),
        }
        if word in errors:
            ticket.fail(errors[word])
        elif word != "wait":
            if written:
                for at in range(0, len(result.text), 3):
                    ticket.tell(result.text[at : at + 3])
            ticket.finish(result)
        return ticket

    def generate(
        self, text: str, decoding: Decoding | None = None, *, adapter: str | None = None, seconds: float | None = None
    ) -> Ticket[Generated]:
        made = Generated(f"<{text}>", -1.5, 7)
        return self._ticket(text, made, written=True, text=text, decoding=decoding, adapter=adapter, seconds=seconds)

    def answer(
        self,
        question: str,
        context: str | None = None,
        *,
        decoding: Decoding | None = None,
        adapter: str | None = None,
        candidates: int = 0,
        seconds: float | None = None,
    ) -> Ticket[Answer]:
        start = None if context is None else context.find(question)
        found = Answer(text=None, score=0.9)
        if start is not None and start >= 0:
            some = {"text": question, "score": 0.75, "start": start, "end": start + len(question), "evidence": context}
            found = Answer(**some, candidates=tuple([Candidate(**some)] * candidates))  # type: ignore[arg-type]
        return self._ticket(question, found, question=question, context=context, adapter=adapter, decoding=decoding)

    def classify(
        self,
        text: str,
        choices: Sequence[str] | None = None,
        *,
        adapter: str | None = None,
        seconds: float | None = None,
    ) -> Ticket[Ranked]:
        some = choices or ["yes", "no"]
        probs = {one: 1 / len(some) for one in some}
        return self._ticket(text, Ranked(choice=some[0], probs=probs, log_probs=(-1.0,) * len(some)), text=text)

    def embed(self, text: str, *, adapter: str | None = None, seconds: float | None = None) -> Ticket[Any]:
        return self._ticket(text, np.array([0.6, 0.8], np.float32), text=text)

    def close(self, wait: bool = True) -> None:
        for ticket in self.tickets:
            ticket.cancel()


def puppets(*names: str, adapters: Sequence[str] = ()) -> Shelf:
    """Models of these names, each with an engine of its own."""
    served = []
    for name in names or ("tiny",):
        reader = tiny_reader(name)
        reader._switch = SimpleNamespace(names=lambda: list(adapters))  # type: ignore[assignment]
        served.append(Served(name=name, engine=Puppet(), reader=reader, created=1))
    return Shelf(served)


def engine_of(service: Service) -> Puppet:
    """The first model's."""
    engine = next(iter(service.shelf)).engine
    assert isinstance(engine, Puppet)
    return engine


@contextmanager
def live(service: Service) -> Iterator[str]:
    """A server on a thread of this process; its address."""
    listener = bind("127.0.0.1", 0)
    url = place_of(listener)
    serving = Serving(service)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until(lambda: serving.started)
        yield url
    finally:
        service.limits.__dict__["grace_seconds"] = 0.0
        serving.stop()
        thread.join(20)
        service.shelf.close(wait=False)
        assert not thread.is_alive()


@contextmanager
def asking(service: Service, *, key: str | None = None) -> Iterator[httpx.Client]:
    """A client of a server on a thread."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with live(service) as url, httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False) as http:
        yield http


def until(done: Callable[[], bool], *, seconds: float = 10.0) -> None:
    """Waits for something that another thread does."""
    last = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < last, "it did not happen in time"
        time.sleep(0.005)


def events(text: str) -> list[str]:
    """The data of server-sent events."""
    blocks = [block for block in text.split("\n\n") if block]
    assert all(block.startswith("data: ") for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]
