"""The models of a server, by the names that clients call them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

from textfer.answer import Answer, TextToText
from textfer.batch import Float32
from textfer.choices import Ranked
from textfer.engine import Engine, EngineOptions, Ticket
from textfer.errors import ConfigError, nearest
from textfer.generate import Decoding, Generated
from textfer.models.int8 import Weights
from textfer.parts import load
from textfer.reader import TextReader
from textfer.serve.names import check_name
from textfer.serve.problems import Problem

DONE_BY_HEADS = {"span": "answer", "class": "classify"}


class Works(Protocol):
    """What does the work: `textfer.engine.Engine`."""

    @property
    def load(self) -> Mapping[str, Any]: ...

    def generate(
        self, text: str, decoding: Decoding | None = None, *, adapter: str | None = None, seconds: float | None = None
    ) -> Ticket[Generated]: ...

    def answer(
        self,
        question: str,
        context: str | None = None,
        *,
        decoding: Decoding | None = None,
        adapter: str | None = None,
        candidates: int = 0,
        seconds: float | None = None,
    ) -> Ticket[Answer]: ...

    def classify(
        self,
        text: str,
        choices: Sequence[str] | None = None,
        *,
        adapter: str | None = None,
        seconds: float | None = None,
    ) -> Ticket[Ranked]: ...

    def embed(self, text: str, *, adapter: str | None = None, seconds: float | None = None) -> Ticket[Float32]: ...

    def close(self, wait: bool = True) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model that is served."""

    name: str
    engine: Works
    reader: TextToText | TextReader
    created: int

    @property
    def adapters(self) -> list[str]:
        """Names of changes that a request may put on."""
        return self.reader.adapters

    def can(self, adapter: str | None = None) -> list[str]:
        """What it may be asked for, as it is or under that adapter."""
        if isinstance(self.reader, TextToText):
            return ["answer", "generate", "classify", *([] if self.reader.predictor.foreign else ["embed"])]
        kinds = [head.kind for head in self.reader.with_adapter(adapter).heads]
        return [*(verb for kind, verb in DONE_BY_HEADS.items() if kind in kinds), "embed"]

    def labels(self, adapter: str | None = None) -> dict[str, list[str]]:
        """Task → labels, where it has heads for them, or that adapter has."""
        heads = self.reader.with_adapter(adapter).heads if isinstance(self.reader, TextReader) else []
        return {task: list(head.labels) for head in heads if head.kind == "class" for task in head.tasks}

    def count_tokens(self, text: str) -> int:
        """How many tokens its vocabulary makes of a text."""
        return len(self.reader.predictor.tokenizer.encode(text))


@final
class Shelf:
    """Models by name, in the order in which they were given; the first is asked where none is named."""

    def __init__(self, models: Sequence[Served]) -> None:
        """Errors: ConfigError without a model, or for a name that is taken or no name."""
        if not models:
            raise ConfigError("serve: no model. Name one.")
        self._models: dict[str, Served] = {}
        for one in models:
            check_name(one.name)
            if one.name in self._models:
                raise ConfigError(f"serve: two models are called '{one.name}'. Give one another name (--name).")
            self._models[one.name] = one

    def __iter__(self) -> Iterator[Served]:
        return iter(self._models.values())

    def find(self, model: str | None, adapter: str | None) -> tuple[Served, str | None]:
        """(the model that is meant, the adapter that is). Errors: Problem for names that are not there."""
        name, colon, after = (model or next(iter(self._models))).partition(":")
        found = self._models.get(name)
        if found is None:
            raise Problem(
                404, "unknown_model", f"There is no model '{name}'.{nearest(name, self._models)}", param="model"
            )
        if colon and adapter is not None:
            raise Problem(
                422, "wrong_field", "model: names an adapter, and so does adapter. Drop one.", param="adapter"
            )
        adapter = after if colon else adapter
        if adapter is not None and adapter not in found.adapters:
            words = f"The model '{name}' has no adapter '{adapter}'.{nearest(adapter, found.adapters)}"
            raise Problem(404, "unknown_adapter", words, param="adapter")
        return found, adapter

    def close(self, *, wait: bool = True) -> None:
        """Ends all engines; `wait`: what runs is finished first."""
        for one in self:
            one.engine.close(wait=wait)


def open_shelf(
    models: Mapping[str, str],
    adapters: Mapping[str, Mapping[str, Path]],
    *,
    options: EngineOptions | None = None,
    weights: Weights = "float32",
) -> Shelf:
    """Loads models (name → where it lies) with their adapters (name → name → run), each with an engine of its own.

    Errors: ConfigError for a name that is none, or adapters of a model that is not there; CheckpointError for files
    that are damaged or missing.
    """
    for name in [*models, *(one for some in adapters.values() for one in some)]:
        check_name(name)
    if unknown := [name for name in adapters if name not in models]:
        raise ConfigError(f"--adapter: there is no model '{unknown[0]}'.{nearest(unknown[0], models)}")
    served: list[Served] = []
    try:
        for name, place in models.items():
            reader = load(place, adapters=adapters.get(name), weights=weights)
            reader.name = name  # errors tell it to clients, who need not know where models lie
            engine = Engine(reader, options=options or EngineOptions())
            served.append(Served(name=name, engine=engine, reader=reader, created=int(time.time())))
        return Shelf(served)
    except BaseException:
        for one in served:
            one.engine.close(wait=False)
        raise
