"""Clients that leave, read slowly or come too late; and the client that comes with the package."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from serving import KEY, asking, engine_of, events, live, puppets, until
from textfer.engine import Cancelled
from textfer.errors import TextferError
from textfer.serve.client import Client, ServerError
from textfer.serve.limits import Limits
from textfer.serve.server import Serving, bind, place_of
from textfer.serve.service import Service
from textfer.serve.streams import EventStream

WAITS = b'{"text": "wait"}'


def request(body: bytes, *, path: str = "/v1/generate", more: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def connect(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=10)


def until_end(client: socket.socket, end: bytes) -> bytes:
    received = b""
    while not received.endswith(end):
        part = client.recv(65536)
        assert part, received
        received += part
    return received


# ---- who leaves


@pytest.mark.parametrize("body", [WAITS, b'{"text": ["wait", "wait"]}', b'{"text": "wait", "stream": true}'])
def test_who_leaves_is_no_longer_worked_for(body: bytes) -> None:
    lines: list[str] = []
    service = Service(puppets(), log=lines.append)
    with live(service) as url:
        with connect(url) as client:
            client.sendall(request(body))
            until(lambda: len(service.waiting) > 0)
            tickets = engine_of(service).tickets
        until(lambda: all(ticket.done for ticket in tickets))
        until(lambda: service.num_active == 0)
        assert len(service.waiting) == 0
        with pytest.raises(Cancelled):
            tickets[0].result(0)
    assert " 499 " in lines[0]


def test_who_leaves_a_stream_in_the_middle() -> None:
    service = Service(puppets())
    with live(service) as url:
        with connect(url) as client:
            client.sendall(request(b'{"text": "wait", "stream": true}'))
            until(lambda: len(engine_of(service).tickets) == 1)
            (ticket,) = engine_of(service).tickets
            ticket.tell("a beginning")
            received = b""
            while b"a beginning" not in received:
                received += client.recv(1000)
        until(lambda: ticket.done)
        until(lambda: service.num_active == 0)


def test_who_leaves_within_the_body() -> None:
    service = Service(puppets())
    with live(service) as url:
        with connect(url) as client:
            client.sendall(request(WAITS)[:-5])
            until(lambda: service.num_active == 1)
        until(lambda: service.num_active == 0)
        assert engine_of(service).tickets == []
        assert service.buffered_bytes == 0


def test_a_body_that_does_not_come() -> None:
    service = Service(puppets(), limits=Limits(body_seconds=0.1))
    with live(service) as url, connect(url) as client:
        client.sendall(request(WAITS)[:-5])
        received = b""
        while part := client.recv(4096):
            received += part
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"too_slow"' in received


def test_who_waits_for_leave_to_send_is_refused_at_once() -> None:
    service = Service(puppets(), limits=Limits(body_bytes=100))
    with live(service) as url, connect(url) as client:
        client.sendall(request(b" " * 1000, more="Expect: 100-continue\r\n").split(b"\r\n\r\n")[0] + b"\r\n\r\n")
        received = b""
        while part := client.recv(4096):
            received += part
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in received.lower()


def test_a_body_that_nobody_reads_does_not_become_the_next_request() -> None:
    service = Service(puppets(), keys=[KEY])
    with live(service) as url, connect(url) as client:
        for path in ("/v1/embed", "/nowhere", "/healthz"):
            client.sendall(request(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", path=path))
            received = until_end(client, b"}}")
            assert received.split(b" ")[1] in {b"401", b"405"}
            assert received.count(b"HTTP/1.1") == 1
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert until_end(client, b"}").startswith(b"HTTP/1.1 200 ")


def test_an_engine_that_never_answers() -> None:
    service = Service(puppets(), limits=Limits(seconds=0.05))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("textfer.serve.waiting.SLACK_SECONDS", 0.05)
        with asking(service) as http:
            for more in ({}, {"stream": True}):
                response = http.post("/v1/generate", json={"text": "wait", **more})
                assert (response.status_code, response.json()["error"]["code"]) == (504, "too_slow")
        assert all(ticket.cancelled for ticket in engine_of(service).tickets)


def test_an_error_within_a_stream_is_its_last_event() -> None:
    service = Service(puppets())
    with asking(service) as http:
        found: list[str] = []
        thread = threading.Thread(
            target=lambda: found.append(http.post("/v1/generate", json={"text": "wait", "stream": True}).text)
        )
        thread.start()
        until(lambda: len(engine_of(service).tickets) == 1)
        (ticket,) = engine_of(service).tickets
        ticket.tell("a beginning")
        ticket.fail(RuntimeError("a secret"))
        thread.join(10)
    first, last, end = events(found[0])
    assert json.loads(first) == {"text": "a beginning"}
    assert json.loads(last)["error"]["code"] == "fault"
    assert end == "[DONE]"
    assert "secret" not in found[0]


def test_a_stream_that_is_not_read_ends() -> None:
    """`send` hangs as it does when a client takes nothing in; the source is closed then."""
    closed = []

    async def source() -> AsyncGenerator[str, None]:
        try:
            while True:
                yield "data: x\n\n"
        finally:
            closed.append(True)

    class Visit:
        left = False

    async def stalled() -> bool:
        async def receive() -> Any:
            await asyncio.sleep(60)

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await asyncio.sleep(60)

        visit = Visit()
        await EventStream(source(), stall_seconds=0.05)({"type": "http", "visit": visit}, receive, send)
        return visit.left

    assert asyncio.run(asyncio.wait_for(stalled(), 10))
    assert closed == [True]


# ---- the end


def test_what_runs_is_finished_and_what_comes_is_refused() -> None:
    service = Service(puppets(), limits=Limits(grace_seconds=30))
    listener = bind("127.0.0.1", 0)
    url = place_of(listener)
    serving = Serving(service)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]})
    thread.start()
    until(lambda: serving.started)
    found: list[httpx.Response] = []
    asked = threading.Thread(target=lambda: found.append(httpx.post(f"{url}/v1/embed", json={"text": "wait"})))
    asked.start()
    until(lambda: len(service.waiting) == 1)
    serving.stop()
    with httpx.Client(base_url=url, trust_env=False) as http:
        response = http.post("/v1/embed", json={"text": "one"})
        assert (response.status_code, response.json()["error"]["code"]) == (503, "stopping")
        assert "retry-after" in response.headers
        assert http.get("/readyz").status_code == 503
        assert http.get("/healthz").status_code == 200
    (ticket,) = engine_of(service).tickets
    ticket.finish(np.ones(2, np.float32))
    asked.join(10)
    thread.join(10)
    assert not thread.is_alive()
    assert found[0].json()["vector"] == [1.0, 1.0]


@pytest.mark.parametrize("twice", [False, True])
def test_after_the_time_of_grace_answers_are_given_up(twice: bool) -> None:
    service = Service(puppets(), limits=Limits(grace_seconds=60 if twice else 0.2))
    listener = bind("127.0.0.1", 0)
    serving = Serving(service)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]})
    thread.start()
    until(lambda: serving.started)
    found: list[httpx.Response] = []
    url = f"{place_of(listener)}/v1/embed"
    asked = threading.Thread(target=lambda: found.append(httpx.post(url, json={"text": "wait"})))
    asked.start()
    until(lambda: len(service.waiting) == 1)
    began = time.monotonic()
    serving.stop()
    if twice:
        serving.stop()
    asked.join(10)
    thread.join(10)
    assert time.monotonic() - began < 8
    assert (found[0].status_code, found[0].json()["error"]["code"]) == (503, "stopping")


# ---- OpenAI's completions


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with asking(Service(puppets("tiny", adapters=["polite"]))) as client:
        yield client


def test_a_completion(http: httpx.Client) -> None:
    asked = {"model": "tiny:polite", "prompt": ["one", "two!"], "max_tokens": 7, "temperature": 0, "n": 1, "user": "u"}
    found = http.post("/v1/completions", json=asked).json()
    assert found["id"].startswith("cmpl-")
    assert (found["object"], found["model"]) == ("text_completion", "tiny:polite")
    assert found["choices"] == [
        {"text": "<one>", "index": 0, "logprobs": None, "finish_reason": "length"},
        {"text": "<two!>", "index": 1, "logprobs": None, "finish_reason": "length"},
    ]
    assert found["usage"] == {"prompt_tokens": 7, "completion_tokens": 14, "total_tokens": 21}  # bytes


def test_a_completion_ends_before_the_first_stop(http: httpx.Client) -> None:
    for stop, text in (
        ("fgh", "<abcde"),
        (["xyz", "e", "d"], "<abc"),
        ("nowhere", "<abcdefghij>"),
        ("j>k", "<abcdefghij>"),
    ):
        (choice,) = http.post("/v1/completions", json={"prompt": "abcdefghij", "stop": stop}).json()["choices"]
        assert (choice["text"], choice["finish_reason"]) == (text, "stop")


@pytest.mark.parametrize(("stop", "text"), [(None, "<abcdefghij>"), ("fgh", "<abcde"), ("j>k", "<abcdefghij>")])
def test_a_streamed_completion(http: httpx.Client, stop: str | None, text: str) -> None:
    asked = {"prompt": "abcdefghij", "stream": True, "stop": stop, "stream_options": {"include_usage": True}}
    *chunks, end = events(http.post("/v1/completions", json=asked).text)
    assert end == "[DONE]"
    *pieces, usage = [json.loads(chunk) for chunk in chunks]
    assert "".join(one["choices"][0]["text"] for one in pieces) == text
    assert [one["choices"][0]["finish_reason"] for one in pieces] == [None] * (len(pieces) - 1) + ["stop"]
    assert usage["choices"] == []
    assert usage["usage"]["prompt_tokens"] == 10
    assert len({one["id"] for one in pieces}) == 1


def test_a_temperature_draws(http: httpx.Client) -> None:
    service = Service(puppets())
    with asking(service) as client:
        client.post("/v1/completions", json={"prompt": "a", "temperature": 1, "seed": 5, "top_p": 0.5})
        client.post("/v1/completions", json={"prompt": "a", "top_p": 0.5})
    drawn, likeliest = (call["decoding"] for call in engine_of(service).calls)
    assert (drawn.sample, drawn.seed, drawn.top_p) == (True, 5, 0.5)
    assert (likeliest.sample, likeliest.top_p) == (False, None)


# ---- the client of the package


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with live(Service(puppets("tiny", adapters=["polite"]), keys=[KEY])) as url, Client(url, api_key=KEY) as made:
        yield made


def test_the_client_says_what_the_server_says(client: Client) -> None:
    found = client.answer("Paris", context="Anna lives in Paris.")
    assert (found.text, found.start, found.end, found.score) == ("Paris", 14, 19, 0.75)
    assert [one.text for one in client.answer(["Anna", "Rome"], context="Anna lives in Paris.")] == ["Anna", None]
    assert client.generate("one") == "<one>"
    assert client.generate(["one", "two"], beams=2) == ["<one>", "<two>"]
    assert client.sample("one", top_k=3) == "<one>"
    assert list(client.stream("one\u2028more")) == ["<on", "e\u2028m", "ore", ">"]
    assert client.classify("one", choices=["a", "b"]).probs == {"a": 0.5, "b": 0.5}
    assert [one.choice for one in client.classify(["one"])] == ["yes"]
    assert client.embed("one") == pytest.approx([0.6, 0.8])
    assert len(client.embed(["one", "two"])) == 2
    (model,) = client.models()
    assert (model.name, model.adapters, model.can[0]) == ("tiny", ("polite",), "answer")


def test_the_client_raises_the_servers_words(client: Client) -> None:
    with pytest.raises(ServerError, match=r"something does not fit\. Change it\.") as raised:
        client.generate("wrong")
    assert (raised.value.status, raised.value.code, raised.value.wait) == (422, "refused", None)
    assert isinstance(raised.value, TextferError)
    with pytest.raises(ServerError, match="as many requests") as raised:
        client.embed("full")
    assert (raised.value.status, raised.value.wait) == (429, 1.0)
    with pytest.raises(ServerError, match="not ready in time"):
        list(client.stream("late"))


def test_the_client_without_a_key_or_a_server(client: Client) -> None:
    with Client(str(client._http.base_url)) as stranger, pytest.raises(ServerError, match="An API key is needed"):
        stranger.models()
    with Client("http://127.0.0.1:1") as lost, pytest.raises(ServerError, match="Is the server running"):
        lost.models()
