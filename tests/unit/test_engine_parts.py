"""What an engine is made of: text in pieces that stay, rows that come and go, inputs that are kept, tickets."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from letters import ARRANGEMENTS, Letters, predictor_of

from textfer.draws import Draws, address, later
from textfer.engine import Cancelled, Ticket
from textfer.engine.pieces import Pieces, shared_start
from textfer.engine.reads import Shelf, each, grouped
from textfer.engine.requests import MEASURED, about
from textfer.engine.slots import Past, Slots, pasts_of
from textfer.errors import ConfigError
from textfer.tokenizers import Tokenizer, load_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

ODD = [
    "",
    "a",
    "naïve café",
    "日本語 🙂🙃!",
    "x <extra_id_3> y",
    "\ufffd or not \ufffd",
    "  two  spaces ",
    "Don't. (No?)",
]


# ---- pieces


@pytest.mark.parametrize("name", ["bytes", "pieces"])
@pytest.mark.parametrize("text", ODD)
def test_pieces_are_the_text_and_never_change(name: str, text: str, vocabulary: Path) -> None:
    tokenizer = load_tokenizer(str(vocabulary) if name == "pieces" else name)
    told(tokenizer, tokenizer.encode(text))


def told(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The pieces of a text that is written token by token, checked."""
    pieces, given = Pieces(), []
    for count in range(1, len(ids) + 1):
        given.append(pieces.push(tokenizer.decode(ids[:count])))
        assert "\ufffd" not in given[-1] or "\ufffd" in tokenizer.decode(ids)
    whole = tokenizer.decode(ids)
    given.append(pieces.rest(whole))
    assert "".join(given) == whole
    return given


@pytest.mark.parametrize("name", ["bytes", "pieces"])
def test_pieces_of_random_tokens(name: str, vocabulary: Path) -> None:
    """Random bytes are seldom valid; what is dropped, replaced or held back must still add up."""
    tokenizer = load_tokenizer(str(vocabulary) if name == "pieces" else name)
    draws = random.Random(0)
    for _ in range(200):
        told(tokenizer, [draws.randrange(2, tokenizer.vocab_size) for _ in range(draws.randrange(1, 12))])


def test_a_text_is_shown_one_token_late() -> None:
    tokenizer = load_tokenizer("bytes")
    assert told(tokenizer, tokenizer.encode("abé")) == ["", "a", "b", "", "é"]


def test_a_text_that_changes_after_all_is_an_error() -> None:
    pieces = Pieces()
    assert [pieces.push("ab"), pieces.push("ac")] == ["", "a"]
    with pytest.raises(AssertionError, match="does not go on from"):
        pieces.rest("b")
    assert shared_start("abc", "abd") == "ab"
    assert shared_start("abc", "ab") == "ab"
    assert shared_start("", "ab") == ""


# ---- draws


def test_later_draws_are_those_that_come_later() -> None:
    keys = address(3, "x", 0, range(5))
    whole = Draws(keys).uniform(7)
    assert (Draws(later(keys, 4)).uniform(3) == whole[:, 4:]).all()
    counts = np.array([0, 1, 2, 3, 6])
    assert (Draws(later(keys, counts)).uniform(1)[:, 0] == whole[np.arange(5), counts]).all()


# ---- slots


def read(predictor: Any, texts: Sequence[str]) -> list[Past]:
    inputs = predictor.inputs_of(texts)
    return pasts_of(predictor.model.begin(predictor.batch_of(inputs)), [len(ids) for ids in inputs])


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_rows_that_come_and_go_say_what_they_say_alone(arrangement: str) -> None:
    """Random comings and goings; the memory is as long as the longest row needs, and holds no old numbers."""
    predictor = predictor_of(arrangement)
    draws = random.Random(1)
    slots = Slots(predictor.model)
    alone: list[Slots] = []
    with torch.inference_mode():
        for turn in range(120):
            if len(slots) < 4 and draws.random() < 0.4:
                text = "".join(draws.choice("abcdefgh") for _ in range(draws.randrange(12)))
                slots.join(read(predictor, [text])[0])
                alone.append(Slots(predictor.model))
                alone[-1].join(read(predictor, [text, "abcabcabcabcabc"])[0])  # read beside a longer one
            if not alone:
                continue
            ids = [draws.randrange(2, 10) for _ in alone]
            found = slots.step(ids)
            wanted = torch.cat([one.step([token]) for one, token in zip(alone, ids, strict=True)])
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
            assert slots.length <= 2 * max(one.length for one in alone) + 1, turn
            for row in reversed(range(len(alone))):
                if draws.random() < 0.15:
                    slots.leave(row)
                    alone[row] = alone[-1]
                    alone.pop()
                    for part in (*slots._keys, *slots._values):
                        part[len(slots) :] = torch.nan  # what a row leaves behind must not matter
        while len(slots):
            slots.leave(0)
        assert slots.length == 0
        assert slots._keys == []


# ---- inputs that are kept


def past(num_floats: int) -> Past:
    return Past(keys=(torch.zeros(num_floats),), values=(), cross=(), logits=None, num_tokens=1)


def test_the_shelf_keeps_what_was_asked_for_last() -> None:
    shelf = Shelf(max_bytes=400)
    first, second, third = (past(40) for _ in range(3))
    shelf.put((None, b"1"), first)
    shelf.put((None, b"2"), second)
    assert shelf.get((None, b"1")) is first
    shelf.put(("x", b"1"), third)
    assert shelf.get((None, b"2")) is None
    assert shelf.get((None, b"1")) is first
    assert shelf.get(("x", b"1")) is third
    shelf.put((None, b"4"), past(101))
    shelf.put((None, b"1"), past(1))
    assert (len(shelf), shelf.num_bytes, shelf.num_found) == (2, 320, 3)


def test_texts_of_like_length_are_read_together() -> None:
    assert list(grouped([9, 8, 8, 3, 3, 1], 20)) == [[0, 1], [2, 3], [4, 5]]
    assert list(grouped([50, 9], 20)) == [[0], [1]]
    assert list(grouped([], 20)) == []


def test_each_item_has_its_own_error() -> None:
    calls: list[int] = []

    def halves(items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        if any(item % 2 for item in items):
            raise ValueError(f"odd: {items}")
        return [item // 2 for item in items]

    found = each(halves, [2, 4, 5, 6, 8, 10, 12, 14])
    assert [one if isinstance(one, int) else str(one) for one in found] == [1, 2, "odd: [5]", 3, 4, 5, 6, 7]
    assert calls == [8, 4, 2, 2, 1, 1, 4]


def test_long_texts_are_measured_by_their_beginning() -> None:
    assert about("abc", Letters()) == 4
    assert about("a" * 10 * MEASURED, Letters()) == 10 * MEASURED + 1


# ---- tickets


def test_a_ticket_is_followed_from_the_start_whenever_someone_comes() -> None:
    ticket: Ticket[str] = Ticket(written=True)
    heard: list[list[str]] = [[], [], []]
    ended: list[Ticket[str]] = []
    ticket.on_piece(heard[0].append)
    ticket.tell("a")
    ticket.tell("")
    ticket.on_piece(heard[1].append)
    followed = iter(ticket)
    assert next(followed) == "a"
    ticket.add_done_callback(ended.append)
    assert (repr(ticket), ticket.done) == ("Ticket(waits)", False)
    threading.Timer(0.05, ticket.finish, ("ab", "b")).start()
    assert list(followed) == ["b"]
    ticket.on_piece(heard[2].append)
    ticket.add_done_callback(ended.append)
    assert heard == [["a", "b"]] * 3
    assert ended == [ticket, ticket]
    assert (ticket.result(0), repr(ticket)) == ("ab", "Ticket(is done)")
    ticket.fail(ValueError("late"))
    ticket.cancel()
    assert ticket.result(0) == "ab"


def test_a_ticket_that_fails_raises_wherever_it_is_looked_at() -> None:
    ticket: Ticket[str] = Ticket(written=True)
    with pytest.raises(TimeoutError):
        ticket.result(0.01)
    ticket.tell("a")
    ticket.fail(Cancelled("given up"))
    with pytest.raises(Cancelled, match="given up"):
        ticket.result()
    followed = iter(ticket)
    assert next(followed) == "a"
    with pytest.raises(Cancelled):
        next(followed)
    assert repr(ticket) == "Ticket(failed)"


def test_only_text_is_followed() -> None:
    ticket: Ticket[float] = Ticket()
    for follow in (lambda: iter(ticket), lambda: ticket.on_piece(len)):
        with pytest.raises(ConfigError, match="only generate does"):
            follow()
