"""A model that many ask at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, final

from textfer.answer import Answer, TextToText
from textfer.batch import Float32
from textfer.choices import Ranked, per_text
from textfer.engine.requests import Reading, Request, Terms, Writing, about
from textfer.engine.scheduler import EngineOptions, Scheduler
from textfer.engine.ticket import Ticket
from textfer.errors import ConfigError, TextferError
from textfer.generate import Decoding, Generated, check_decoding
from textfer.generate.exported import Exported
from textfer.reader import TextReader


@final
class Engine:
    """Takes requests from any thread as they come, and does them together on a thread of its own.

    Each gives a ticket at once, and the result is that of asking the reader alone. What is wrong with a request is
    raised by its ticket; only a full queue (Overloaded) and a closed engine (Cancelled) are raised here. `seconds` is
    the time that a request may take from now on; None = `options.timeout`. Close it, or use it as a context.
    """

    def __init__(self, reader: TextToText | TextReader, options: EngineOptions | None = None) -> None:
        """`reader` as `textfer.load` gives it, with all adapters added: from now on the engine has it."""
        self.reader = reader
        self.options = options or EngineOptions()
        self._scheduler = Scheduler(reader, self.options)

    def __repr__(self) -> str:
        return f"Engine({self.reader!r}, {self.options.slots} slots)"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close(wait=kind is None)

    def close(self, wait: bool = True) -> None:
        """Takes no more requests and comes back when those that are there are finished, or else (`wait` = False)
        cancelled."""
        self._scheduler.close(wait=wait)

    @property
    def load(self) -> dict[str, float]:
        """How busy it is, and what it did so far.

        Requests `waiting` and `running`; `num_done`, `num_cancelled`, `num_expired` and `num_failed` (ended otherwise);
        `tokens_written`, `num_read_before` (inputs that need not be read, as they were lately) and `seconds_busy`.
        """
        return self._scheduler.load()

    def generate(
        self, text: str, decoding: Decoding | None = None, *, adapter: str | None = None, seconds: float | None = None
    ) -> Ticket[Generated]:
        """A ticket for what the model writes after the text; it can be followed piece by piece."""

        def make(terms: Terms) -> Request:
            reader = self._written("generate")
            way = check_decoding(decoding or Decoding())
            if isinstance(reader.predictor, Exported):
                return self._exported(terms, text, way)
            if way.beams == 1:
                return Writing(terms=terms, texts=[text], decoding=way, finish=_only)

            def act(texts: Sequence[str]) -> list[Generated]:
                with reader.under(adapter) as predictor:
                    return predictor.generate(texts, way)

            kind = ("generate", adapter, way)
            return Reading(terms=terms, kind=kind, item=text, length=self._about(text), act=act)

        return self._submit(make, adapter, seconds, written=True)

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
        """A ticket for the answer to a question about `context`; from memory alone when that is None.

        A long context is cut into windows here, in the caller's thread. `candidates`: so many answers are listed.
        """

        def make(terms: Terms) -> Request:
            if isinstance(self.reader, TextReader):
                return self._found(terms, (question, context), decoding, candidates)
            reader, way = self.reader, check_decoding(decoding or Decoding())
            asked = reader.asked(question, context, way, adapter=adapter, candidates=candidates)
            if way.beams == 1 and not reader.predictor.foreign:
                return Writing(terms=terms, texts=asked.texts, decoding=way, finish=asked.answer)

            def act(items: Sequence[tuple[str, str | None]]) -> list[Answer]:
                questions = [one for one, _ in items]
                contexts = None if items[0][1] is None else [str(two) for _, two in items]
                return reader.answer(questions, context=contexts, decoding=way, adapter=adapter, candidates=candidates)

            kind = ("answer", adapter, way, candidates, context is None)
            length = max(self._about(text) for text in asked.texts)
            return Reading(terms=terms, kind=kind, item=(question, context), length=length, act=act)

        return self._submit(make, adapter, seconds)

    def classify(
        self,
        text: str,
        choices: Sequence[str] | None = None,
        *,
        adapter: str | None = None,
        seconds: float | None = None,
    ) -> Ticket[Ranked]:
        """A ticket for the likeliest of the choices after the text; without choices, of the labels of the only class
        head that a `TextReader`, or its adapter, has."""

        def make(terms: Terms) -> Request:
            reader, item = self.reader, (text, _checked(choices))
            if isinstance(reader, TextReader):
                heads = reader.with_adapter(adapter).heads
                if choices is not None and any(head.kind == "class" for head in heads):
                    raise ConfigError(
                        "classify: choices cannot take effect, this model has labels of its own. Drop it."
                    )

                def act(items: Sequence[tuple[str, Any]]) -> list[Ranked]:
                    return reader.classify([text for text, _ in items], adapter=adapter)
            else:
                if choices is None:
                    raise ConfigError("classify: no choices, and this model has no labels of its own. Give some.")

                def act(items: Sequence[tuple[str, Any]]) -> list[Ranked]:
                    return reader.classify(
                        [one for one, _ in items], choices=[two for _, two in items], adapter=adapter
                    )

            return Reading(terms=terms, kind=("classify", adapter), item=item, length=self._about(text), act=act)

        return self._submit(make, adapter, seconds)

    def embed(self, text: str, *, adapter: str | None = None, seconds: float | None = None) -> Ticket[Float32]:
        """A ticket for the text as a vector, float32 [D]."""
        reader = self.reader

        def act(texts: Sequence[str]) -> list[Float32]:
            return [row.copy() for row in reader.embed(list(texts), adapter=adapter)]

        def make(terms: Terms) -> Request:
            return Reading(terms=terms, kind=("embed", adapter), item=text, length=self._about(text), act=act)

        return self._submit(make, adapter, seconds)

    def _found(
        self, terms: Terms, asked: tuple[str, str | None], decoding: Decoding | None, candidates: int
    ) -> Reading:
        """A question, and the text in which a model finds the answer."""
        reader, adapter, (question, context) = self.reader, terms.adapter, asked
        assert isinstance(reader, TextReader)
        if context is None:
            reader.answer(question, context=context)  # says what is wrong with that
            raise AssertionError("a model that finds answers needs a text")

        def act(items: Sequence[tuple[str, str]]) -> list[Answer]:
            questions, contexts = [one for one, _ in items], [two for _, two in items]
            return reader.answer(questions, context=contexts, decoding=decoding, adapter=adapter, candidates=candidates)

        kind = ("answer", adapter, decoding, candidates)
        length = self._about(f"{question}\n{context}")
        return Reading(terms=terms, kind=kind, item=(question, context), length=length, act=act)

    def _exported(self, terms: Terms, text: str, way: Decoding) -> Reading:
        """A text after which another program writes: a batch to its end, though each text of it can be left."""
        reader, tokenizer = self.reader, self._scheduler.tokenizer
        assert isinstance(reader, TextToText)

        def act(items: Sequence[tuple[str, Reading]]) -> list[Generated]:
            def follow(number: int, ids: Sequence[int]) -> bool:
                return items[number][1].hear(ids, tokenizer)

            with reader.under(terms.adapter) as predictor:
                assert isinstance(predictor, Exported)
                found = dict(predictor.generate_each([one for one, _ in items], way, follow=follow))
            return [found[number] for number in range(len(items))]

        kind = ("generate", terms.adapter, way)
        request = Reading(terms=terms, kind=kind, item=None, length=self._about(text), act=act)
        request.item = text, request
        return request

    def _written(self, where: str) -> TextToText:
        """The reader, which writes. Errors: ConfigError."""
        if isinstance(self.reader, TextReader):
            self.reader.generate("")  # says that it cannot
        return self.reader

    def _about(self, text: str) -> int:
        return about(text, self._scheduler.tokenizer)

    def _submit(
        self, make: Callable[[Terms], Request], adapter: str | None, seconds: float | None, *, written: bool = False
    ) -> Ticket[Any]:
        """A ticket of the request that is made. Errors: Overloaded, Cancelled."""
        self._scheduler.check_room()
        ticket: Ticket[Any] = Ticket(written=written, wake=self._scheduler.wake)
        given = self.options.timeout if seconds is None else seconds
        terms = Terms(ticket=ticket, adapter=adapter, deadline=time.monotonic() + given, seconds=given)
        ticket.add_done_callback(self._scheduler.count)
        try:
            if isinstance(self.reader, TextReader):
                self.reader.with_adapter(adapter)  # one that is not there is said at once
            request = make(terms)
        except TextferError as error:
            ticket.fail(error)
            return ticket
        self._scheduler.put(request)
        return ticket


def _only(made: list[Generated]) -> Generated:
    return made[0]


def _checked(choices: Sequence[str] | None) -> tuple[str, ...]:
    """Errors: ConfigError for a choice that stands twice, or a text in place of a list."""
    return () if choices is None else per_text(choices, 1, where="classify")[0]
