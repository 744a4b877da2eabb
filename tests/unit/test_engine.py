"""Many requests at once: each gets what it would get alone, whoever stands beside it; and none can hold up the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from letters import ARRANGEMENTS, TEXTS, Letters, predictor_of

from textfer.answer import TextToText
from textfer.answered import Asked
from textfer.engine import Cancelled, Engine, EngineOptions, Expired, Overloaded, Ticket
from textfer.errors import ConfigError, DataError
from textfer.generate import Decoding, Generated, Predictor
from textfer.models.gpt import GPT

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = Decoding(max_new_tokens=9)
WAYS = [
    Decoding(max_new_tokens=12),
    Decoding(max_new_tokens=2),
    Decoding(max_new_tokens=9, sample=True, seed=3),
    Decoding(max_new_tokens=9, sample=True, seed=4, temperature=1.5, top_k=4),
    Decoding(max_new_tokens=20, sample=True, top_p=0.8),
    Decoding(max_new_tokens=7, beams=3),
    Decoding(max_new_tokens=8, max_input_tokens=6),
]
WAIT = 60.0
"""Seconds after which a test has failed."""


def gpt() -> Predictor:
    """A random GPT that has few positions, so that some answers end for want of them."""
    torch.manual_seed(0)
    shape = {"model_dim": 18, "num_heads": 3, "num_layers": 2, "context_len": 44, "dropout": 0.0, "tie_output": False}
    model = GPT.make(shape, vocab_size=10).eval()
    with torch.no_grad():
        for _, weight in model.named_parameters():
            weight *= 3.0 if weight.dim() > 1 else 1.0
    return Predictor(model, Letters(10))


def writer(kind: str = "encdec") -> TextToText:
    return TextToText(gpt() if kind == "gpt" else predictor_of(kind), kind)


def endless(reader: TextToText) -> TextToText:
    """The same, but it never ends an answer by itself."""
    model: Any = reader.predictor.model
    step = model.step
    model.step = lambda ids, cache: step(ids, cache).index_fill(-1, torch.tensor([1]), -1e9)
    return reader


def told(made: Generated) -> tuple[str, int]:
    return made.text, made.num_tokens


@contextmanager
def held_up(engine: Engine) -> Iterator[None]:
    """The engine's thread is busy for as long as the block lasts."""
    begun, go_on = threading.Event(), threading.Event()
    ticket = engine.generate("abc", SHORT)

    def wait(_: object) -> None:
        begun.set()
        go_on.wait(WAIT)

    ticket.add_done_callback(wait)
    assert begun.wait(WAIT)
    try:
        yield
    finally:
        go_on.set()


# ---- what is alone and what is beside others is the same


@pytest.mark.parametrize("kind", [*ARRANGEMENTS, "gpt"])
def test_every_text_gets_what_it_gets_alone(kind: str) -> None:
    reader = writer(kind)
    wishes = [(text, way) for way in WAYS for text in TEXTS]
    alone = [reader.predictor.generate([text], way)[0] for text, way in wishes]
    assert len({one.num_tokens for one in alone}) > 3, "answers should end at different times"
    for slots in (1, 3, 16):
        with Engine(reader, EngineOptions(slots=slots)) as engine:
            tickets = [engine.generate(text, way) for text, way in wishes]
            pieces = ["".join(ticket) for ticket in tickets]
            made = [ticket.result(WAIT) for ticket in tickets]
            load = engine.load
        assert [told(one) for one in made] == [told(one) for one in alone]
        assert [one.log_prob for one in made] == pytest.approx([one.log_prob for one in alone], abs=1e-4)
        assert pieces == [one.text for one in alone]
        assert load["num_done"] == len(wishes)
        assert load["tokens_written"] == sum(one.num_tokens for one in alone)
        assert (load["waiting"], load["running"]) == (0, 0)
        assert load["seconds_busy"] > 0


def test_threads_that_ask_all_kinds_of_things_at_once() -> None:
    reader = writer()
    choices = [["ab", "c"], ["g", "hh", "a"]]
    expected: list[Any] = []
    asked: list[Callable[[Engine], Ticket[Any]]] = []
    for number, text in enumerate(TEXTS):
        way, some = WAYS[number % len(WAYS)], choices[number % 2]
        asked.append(lambda engine, text=text, way=way: engine.generate(text, way))
        expected.append(told(reader.predictor.generate([text], way)[0]))
        asked.append(lambda engine, text=text, some=some: engine.classify(text, some))
        expected.append(reader.classify(text, choices=some))
        asked.append(lambda engine, text=text: engine.embed(text))
        expected.append(reader.embed(text))
    found: list[list[Any]] = []

    def ask(engine: Engine) -> None:
        tickets = [make(engine) for make in asked]
        found.append([ticket.result(WAIT) for ticket in tickets])

    with Engine(reader, EngineOptions(slots=4, max_batch_tokens=60)) as engine:
        threads = [threading.Thread(target=ask, args=(engine,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert len(found) == 6
    for results in found:
        for result, wanted in zip(results, expected, strict=True):
            if isinstance(result, Generated):
                assert told(result) == wanted
            elif isinstance(result, np.ndarray):
                assert result.dtype == np.float32
                np.testing.assert_allclose(result, wanted, atol=1e-5)
            else:
                assert result.choice == wanted.choice
                assert result.log_probs == pytest.approx(wanted.log_probs, abs=1e-4)


# ---- what is read is read once


@pytest.mark.parametrize("kind", ["encdec", "gpt"])
@pytest.mark.parametrize("cache_mb", [0, 10])
def test_equal_inputs_are_read_once(kind: str, cache_mb: int) -> None:
    reader = writer(kind)
    alone = [told(one) for one in reader.predictor.generate(["abcab", "gg"], SHORT)]
    model: Any = reader.predictor.model
    begin, rows = model.begin, []

    def begin_and_count(batch: Any) -> Any:
        rows.append(len((batch.encoder or batch.decoder).ids))
        return begin(batch)

    model.begin = begin_and_count
    with Engine(reader, EngineOptions(slots=6, cache_mb=cache_mb)) as engine:
        with held_up(engine):
            tickets = [engine.generate(text, SHORT) for text in ["abcab", "gg"] * 3]
        assert [told(one.result(WAIT)) for one in tickets] == alone * 3
        assert sum(rows) == 3, "the text that held it up, and these two"
        again = [engine.generate(text, SHORT) for text in ["gg", "abcab"]]
        assert [told(one.result(WAIT)) for one in again] == alone[::-1]
        assert sum(rows) == (3 if cache_mb else 5)
        assert engine.load["num_read_before"] == (2 if cache_mb else 0)


@pytest.mark.parametrize("kind", ["encdec", "gpt"])
def test_inputs_in_slots_keep_to_their_bound(kind: str) -> None:
    """And those of which one alone is longer are written nevertheless."""
    reader = writer(kind)
    texts = ["abc" * 5, "ab", "abcde", "h" * 30, "c", "hg" * 12]
    widths: list[int] = []
    model: Any = reader.predictor.model
    step = model.step

    def step_and_look(ids: Any, cache: Any) -> Any:
        widths.append(len(ids))
        return step(ids, cache)

    model.step = step_and_look
    with Engine(reader, EngineOptions(max_batch_tokens=20)) as engine:
        with held_up(engine):
            tickets = [engine.generate(text, SHORT) for text in texts]
        made = [told(ticket.result(WAIT)) for ticket in tickets]
    assert max(widths) in (2, 3)
    model.step = step
    assert made == [told(reader.predictor.generate([text], SHORT)[0]) for text in texts]


# ---- what goes wrong with one is its own affair


def test_bad_requests_fail_alone() -> None:
    reader = writer("gpt")
    with Engine(reader) as engine:
        with held_up(engine):
            good = [engine.generate(text, SHORT) for text in TEXTS]
            long = engine.generate("a" * 60, SHORT)
            way = engine.generate("abc", Decoding(top_k=3))
            ranked = [engine.classify(text, ["ab", "c"]) for text in ("a", "b", "a" * 60, "c")]
            twice = engine.classify("a", ["b", "b"])
            none = engine.classify("a")
        with pytest.raises(DataError, match="is 61 tokens long, expected 43 at most"):
            long.result(WAIT)
        for ticket, message in ((way, "without sample"), (twice, "stands twice"), (none, "no choices")):
            with pytest.raises(ConfigError, match=message):
                ticket.result(WAIT)
        with pytest.raises(DataError):
            ranked[2].result(WAIT)
        assert [ticket.result(WAIT).text for ticket in good] == [
            reader.generate(text, decoding=SHORT) for text in TEXTS
        ]
        for number in (0, 1, 3):
            assert ranked[number].result(WAIT).choice in ("ab", "c")


def test_an_error_of_the_model_reaches_those_it_concerns_and_the_engine_lives_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader = writer()
    model: Any = reader.predictor.model
    with Engine(reader) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(model, "step", fails, raising=False)
            with pytest.raises(RuntimeError, match="out of memory"):
                engine.generate("abc", SHORT).result(WAIT)
        with monkeypatch.context() as patch:
            patch.setattr(engine._scheduler, "_step", fails)  # an error of ours
            with pytest.raises(RuntimeError, match="out of memory"):
                engine.generate("abc", SHORT).result(WAIT)
        assert "an engine's turn failed" in caplog.text
        ticket = engine.generate("abc", SHORT)
        ticket.add_done_callback(fails)
        assert ticket.result(WAIT).text == reader.generate("abc", decoding=SHORT)
        assert engine.generate("gg", SHORT).result(WAIT).text == reader.generate("gg", decoding=SHORT)
    assert "that was told of a request raised an error" in caplog.text


def fails(*_: object) -> None:
    raise RuntimeError("out of memory")


# ---- whose turn it is


def test_a_full_queue_says_so() -> None:
    with Engine(writer(), EngineOptions(max_queue=2)) as engine:
        with held_up(engine):
            tickets = [engine.generate("abc", SHORT), engine.embed("abc")]
            assert engine.load["waiting"] == 2
            with pytest.raises(Overloaded, match=r"2 requests wait already \(max_queue\)"):
                engine.embed("abc")
            tickets[0].cancel()
            third = engine.embed("abc")  # a place is free at once
        with pytest.raises(Cancelled):
            tickets[0].result(WAIT)
        assert tickets[1].result(WAIT).shape == third.result(WAIT).shape == (16,)


def test_what_came_too_late_is_not_done() -> None:
    with Engine(endless(writer()), EngineOptions(slots=1, timeout=WAIT)) as engine:
        with pytest.raises(Expired, match="not done within 0 seconds"):
            engine.generate("abc", SHORT, seconds=0).result(WAIT)
        with pytest.raises(Expired):
            engine.embed("abc", seconds=-1).result(WAIT)
        slow = engine.generate("abc", Decoding(max_new_tokens=1_000_000), seconds=0.3)
        behind = engine.generate("gg", SHORT, seconds=0.1)
        after = engine.generate("gg", SHORT)
        with pytest.raises(Expired, match=r"not done within 0\.3 seconds"):
            slow.result(WAIT)
        with pytest.raises(Expired):
            behind.result(WAIT)
        assert after.result(WAIT).num_tokens == 9
        assert engine.load["num_expired"] == 4


def test_a_cancelled_sequence_leaves_its_slot() -> None:
    with Engine(endless(writer()), EngineOptions(slots=2)) as engine:
        others = [engine.generate(text, Decoding(max_new_tokens=1_000_000)) for text in ("abc", "ab")]
        waiting = engine.generate("gg", SHORT)
        assert len("".join(piece for piece, _ in zip(others[0], range(5), strict=False))) >= 5
        assert not waiting.done
        assert engine.load["running"] == 2
        others[0].cancel()
        others[0].cancel()
        with pytest.raises(Cancelled):
            others[0].result(WAIT)
        assert waiting.result(WAIT).num_tokens == 9
        with pytest.raises(TimeoutError):
            others[1].result(0.01)
        others[1].cancel()
        with pytest.raises(Cancelled):
            list(others[1])
        waiting.cancel()
        assert waiting.result(0).num_tokens == 9, "what is done stays done"
        assert engine.load["num_cancelled"] == 2


def test_a_request_of_many_windows_takes_turns_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = writer()
    texts = tuple(f"{'abcdefgh'[number % 8]}{'h' * (number // 8)}" for number in range(60))
    asked = Asked(context=None, parts=((0, None),) * len(texts), texts=texts)
    monkeypatch.setattr(reader, "asked", lambda *_, **__: asked)
    order: list[str] = []
    with Engine(reader, EngineOptions(slots=2)) as engine:
        with held_up(engine):
            many = engine.answer("Who?", None, decoding=SHORT)
            few = [engine.generate(text, SHORT) for text in ("abc", "gg", "fed")]
            many.add_done_callback(lambda _: order.append("many"))
            for ticket in few:
                ticket.add_done_callback(lambda _: order.append("few"))
        many.result(WAIT)
    assert order == ["few"] * 3 + ["many"]


# ---- the end


def test_closing_finishes_or_cancels_and_takes_no_more() -> None:
    engine = Engine(writer(), EngineOptions(slots=1))
    tickets = [engine.generate(text, SHORT) for text in TEXTS]
    engine.close(wait=True)
    assert all(ticket.done and ticket.error is None for ticket in tickets)
    for ask in (lambda: engine.generate("abc"), lambda: engine.embed("abc")):
        with pytest.raises(Cancelled, match="is closed"):
            ask()
    engine.close(wait=False)

    engine = Engine(endless(writer()), EngineOptions(slots=1))
    tickets = [engine.generate(text, Decoding(max_new_tokens=1_000_000)) for text in TEXTS]
    next(iter(tickets[0]))
    begin = time.monotonic()
    engine.close(wait=False)
    assert time.monotonic() - begin < WAIT
    for ticket in tickets:
        with pytest.raises(Cancelled):
            ticket.result(0)


def test_an_error_in_the_block_cancels_what_is_left_and_a_callback_may_close() -> None:
    tickets: list[Ticket[Generated]] = []

    def ask_and_fail() -> None:
        with Engine(endless(writer())) as engine:
            tickets.append(engine.generate("abc", Decoding(max_new_tokens=1_000_000)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_and_fail()
    assert isinstance(tickets[0].error, Cancelled)
    with Engine(writer()) as engine:
        ticket = engine.generate("abc", SHORT)
        ticket.add_done_callback(lambda _: engine.close(wait=True))
        assert ticket.result(WAIT).text


def test_the_model_is_the_readers_own() -> None:
    reader = writer()
    texts: Sequence[str] = TEXTS
    alone = reader.generate(list(texts), decoding=SHORT)
    with Engine(reader) as engine:
        assert repr(engine) == f"Engine({reader!r}, 16 slots)"
        tickets = [engine.generate(text, SHORT) for text in texts]
        assert reader.generate(list(texts), decoding=SHORT) == alone, "others may ask it meanwhile"
        assert [ticket.result(WAIT).text for ticket in tickets] == alone
