"""The server's routes, over real connections: what they take, what they give, and how they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving import KEY, asking, engine_of, events, puppets, until
from textfer.serve.limits import Limits
from textfer.serve.service import Service

CANDIDATE = ("text", "score", "start", "end", "evidence")
LIMITS = Limits(body_bytes=100_000, chars=2000, items=4, choices=5, new_tokens=100, beams=4, seconds=5)


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(puppets("tiny", "other", adapters=["polite"]), limits=LIMITS)


@pytest.fixture(scope="module")
def http(service: Service) -> Iterator[httpx.Client]:
    with asking(service) as client:
        yield client


def refused(response: httpx.Response, status: int, code: str, words: str = "", *, param: str | None = None) -> None:
    """One shape, words that end as sentences do, nothing of the inside."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert words in error["message"]
    assert error["message"].endswith((".", "?"))
    assert "Traceback" not in response.text
    assert ".py" not in response.text
    if param:
        assert error["param"] == param


# ---- what is given


def test_an_answer_and_where_it_stands(http: httpx.Client) -> None:
    found = http.post("/v1/answer", json={"question": "Paris", "context": "Anna lives in Paris."}).json()
    wanted = {
        "answer": "Paris",
        "score": 0.75,
        "start": 14,
        "end": 19,
        "evidence": "Anna lives in Paris.",
        "model": "tiny",
    }
    assert {name: found[name] for name in wanted} == wanted
    assert found["candidates"] == [{name: wanted["answer" if name == "text" else name] for name in CANDIDATE}] * 5
    none = http.post("/v1/answer", json={"question": "Rome", "context": "Anna lives in Paris."}).json()
    assert (none["answer"], none["start"], none["score"]) == (None, None, 0.9)


def test_a_list_gives_a_list_in_order(http: httpx.Client) -> None:
    asked = {"question": ["b", "a", "x"], "context": ["a b", "a b", "a b"], "model": "other"}
    found = http.post("/v1/answer", json=asked).json()
    assert found["model"] == "other"
    assert [one["answer"] for one in found["answers"]] == ["b", "a", None]
    written = http.post("/v1/generate", json={"text": ["one", "two"]}).json()
    assert [one["text"] for one in written["outputs"]] == ["<one>", "<two>"]
    vectors = http.post("/v1/embed", json={"text": ["one", "two"]}).json()["vectors"]
    assert vectors == [pytest.approx([0.6, 0.8])] * 2
    labels = http.post("/v1/classify", json={"text": ["one"], "choices": ["p", "q"]}).json()["results"]
    assert labels == [{"choice": "p", "probs": {"p": 0.5, "q": 0.5}}]


def test_one_gives_one(http: httpx.Client) -> None:
    assert http.post("/v1/generate", json={"text": "one"}).json() == {
        "text": "<one>",
        "log_prob": -1.5,
        "num_tokens": 7,
        "finish_reason": "stop",
        "model": "tiny",
    }
    assert http.post("/v1/generate", json={"text": "one", "max_new_tokens": 7}).json()["finish_reason"] == "length"
    assert http.post("/v1/classify", json={"text": "one"}).json()["choice"] == "yes"
    assert http.post("/v1/embed", json={"text": "one"}).json()["vector"] == pytest.approx([0.6, 0.8])


def test_how_it_is_written_reaches_the_engine(http: httpx.Client, service: Service) -> None:
    fields = {"text": "t", "sample": True, "temperature": 2, "top_k": 5, "seed": 3, "max_new_tokens": 9}
    assert http.post("/v1/generate", json={**fields, "adapter": "polite"}).status_code == 200
    call = engine_of(service).calls[-1]
    assert (call["adapter"], call["decoding"].temperature, call["decoding"].top_k) == ("polite", 2.0, 5)
    assert (call["decoding"].seed, call["decoding"].max_new_tokens) == (3, 9)
    assert 0 < call["seconds"] <= LIMITS.seconds
    http.post("/v1/generate", json={"text": "t", "model": "tiny:polite", "beams": 3, "length_penalty": 0})
    call = engine_of(service).calls[-1]
    assert (call["adapter"], call["decoding"].beams, call["decoding"].length_penalty) == ("polite", 3, 0.0)


def test_models(http: httpx.Client) -> None:
    found = http.get("/v1/models").json()
    assert [one["id"] for one in found["data"]] == ["tiny", "other"]
    assert found["data"][0]["can"] == ["answer", "generate", "classify", "embed"]
    assert found["data"][0]["adapters"] == ["polite"]


def test_health_and_openapi(http: httpx.Client) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}
    document = http.get("/openapi.json")
    assert "$defs" not in document.text
    paths = document.json()["paths"]
    assert {"/v1/answer", "/v1/generate", "/v1/classify", "/v1/embed", "/v1/completions", "/v1/models"} <= set(paths)
    for place in ("/docs", "/redoc"):  # FastAPI's own fetch scripts from elsewhere
        refused(http.get(place), 404, "not_found")


def test_metrics(http: httpx.Client) -> None:
    http.post("/v1/embed", json={"text": "one"})
    http.get("/v1/nowhere")
    text = http.get("/metrics").text
    assert 'textfer_http_requests_total{route="/v1/embed",status="200"}' in text
    assert 'textfer_http_requests_total{route="other",status="404"}' in text
    assert "nowhere" not in text
    assert 'textfer_engine_busy_seconds_total{model="other"} 0.5' in text
    assert "textfer_http_request_seconds_bucket" in text


def test_the_page_is_there(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<html" in page.text


# ---- streams


def test_a_stream_is_the_same_text_in_pieces(http: httpx.Client) -> None:
    response = http.post("/v1/generate", json={"text": "ä long text\n\nof\u2028two", "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *pieces, last, end = events(response.text)
    assert end == "[DONE]"
    assert "".join(json.loads(one)["text"] for one in pieces) == "<ä long text\n\nof\u2028two>"
    assert len(pieces) > 3
    assert json.loads(last) == {"log_prob": -1.5, "num_tokens": 7, "finish_reason": "stop"}


def test_what_fails_before_a_stream_begins_has_its_own_status(http: httpx.Client) -> None:
    for text, status, code in (("full", 429, "busy"), ("wrong", 422, "refused"), ("late", 504, "too_slow")):
        refused(http.post("/v1/generate", json={"text": text, "stream": True}), status, code)
    refused(http.post("/v1/generate", json={"text": ["a"], "stream": True}), 422, "wrong_field", param="stream")


# ---- refusals


@pytest.mark.parametrize(
    ("text", "status", "code", "words"),
    [
        ("full", 429, "busy", "as many requests"),
        ("late", 504, "too_slow", "not ready in time"),
        ("wrong", 422, "refused", "generate: something does not fit. Change it."),
        ("broken", 503, "fault", "Something failed in the server; its log says what."),
    ],
)
def test_what_engines_say(http: httpx.Client, text: str, status: int, code: str, words: str) -> None:
    response = http.post("/v1/generate", json={"text": text})
    refused(response, status, code, words)
    assert ("retry-after" in response.headers) == (status == 429)
    refused(http.post("/v1/generate", json={"text": ["a", text, "b"]}), status, code, words)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/answer", {}, "question"),
        ("/v1/answer", {"question": 1}, "question"),
        ("/v1/answer", {"question": ""}, "question"),
        ("/v1/answer", {"question": []}, "question"),
        ("/v1/answer", {"question": ["a", 1]}, "question.1"),
        ("/v1/answer", {"question": "a", "context": {"a": 1}}, "context"),
        ("/v1/answer", {"question": ["a", "b"], "context": ["c"]}, "context"),
        ("/v1/answer", {"question": "a", "candidates": True}, "candidates"),
        ("/v1/answer", {"question": "a", "contexts": "b"}, "contexts"),
        ("/v1/generate", {"text": "a", "max_new_tokens": "9"}, "max_new_tokens"),
        ("/v1/generate", {"text": "a", "max_new_tokens": 1.5}, "max_new_tokens"),
        ("/v1/generate", {"text": "a", "max_new_tokens": 101}, "max_new_tokens"),
        ("/v1/generate", {"text": "a", "beams": 5}, "beams"),
        ("/v1/generate", {"text": "a", "stream": 1}, "stream"),
        ("/v1/generate", {"text": "a", "sample": True, "temperature": 0}, "temperature"),
        ("/v1/classify", {"text": "a", "choices": "b"}, "choices"),
        ("/v1/embed", {"text": None}, "text"),
        ("/v1/completions", {"prompt": "a", "n": 2}, "n"),
        ("/v1/completions", {"prompt": "a", "logprobs": 3}, "logprobs"),
        ("/v1/completions", {"prompt": [1, 2]}, "prompt.0"),
    ],
)
def test_wrong_fields_are_named(http: httpx.Client, path: str, body: dict[str, Any], param: str) -> None:
    refused(http.post(path, json=body), 422, "wrong_field", param.split(".")[0], param=param)


def test_settings_without_effect_are_refused(http: httpx.Client) -> None:
    response = http.post("/v1/generate", json={"text": "a", "temperature": 0.5})
    refused(response, 422, "refused", "temperature cannot take effect without sample")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b'{"text": "\xff"}', "byte 10 is not UTF-8"),
        (b'\xef\xbb\xbf{"text": "a"}', "byte order mark"),
        (b'{"text": "a", "top_p": NaN}', "NaN is no JSON"),
        (b'{"text": "a", "top_p": -Infinity}', "-Infinity is no JSON"),
        (b'{"text": "a", "top_p": 1e999}', "too large"),
        (b'{"text": "a", "seed": ' + b"9" * 5000 + b"}", "5000 digits"),
        (b'{"text": "a\\ud800"}', "half a character"),
        (b'{"\\udfff": "a"}', "half a character"),
        (b"[" * 50_000 + b"]" * 50_000, "nested"),
        (b'{"text": ' * 20 + b"1" + b"}" * 20, "nested more than 16 deep"),
    ],
)
def test_what_is_no_json(http: httpx.Client, body: bytes, words: str) -> None:
    response = http.post("/v1/generate", content=body, headers={"Content-Type": "application/json"})
    refused(response, 400, "invalid_json", words)


def test_a_pair_of_halves_is_a_character(http: httpx.Client) -> None:
    content = b'{"text": "\\ud83d\\ude00"}'
    response = http.post("/v1/generate", content=content, headers={"Content-Type": "application/json; charset=utf-8"})
    assert response.json()["text"] == "<\N{GRINNING FACE}>"


def test_only_an_object_is_a_body(http: httpx.Client) -> None:
    refused(http.post("/v1/generate", json=["text"]), 422, "wrong_field", "expected an object")
    refused(http.post("/v1/generate", content=b"{}"), 415, "not_json")
    # a page of another site may send this without asking first
    refused(http.post("/v1/generate", content=b"{}", headers={"Content-Type": "text/plain"}), 415, "not_json")


def test_names_that_are_not_there(http: httpx.Client) -> None:
    refused(http.post("/v1/generate", json={"text": "a", "model": "tinny"}), 404, "unknown_model", "mean 'tiny'")
    for name in ("../tiny", "/etc/passwd", "tiny/../tiny", "\u0000", "tiny:../polite", "tiny:"):
        response = http.post("/v1/generate", json={"text": "a", "model": name})
        refused(response, 404, "unknown_adapter" if name.startswith("tiny:") else "unknown_model")
    refused(http.post("/v1/generate", json={"text": "a", "adapter": "rude"}), 404, "unknown_adapter", "polite")
    refused(
        http.post("/v1/generate", json={"text": "a", "model": "tiny:polite", "adapter": "polite"}), 422, "wrong_field"
    )
    refused(http.get("/v1/nowhere"), 404, "not_found")
    refused(http.get("/v1/answer"), 405, "method_not_allowed")
    refused(http.get("/static/..%2f..%2fapp.py"), 404, "not_found")


def test_what_is_too_long(http: httpx.Client) -> None:
    refused(http.post("/v1/generate", json={"text": "a" * 2001}), 413, "too_large", "2,001 characters")
    refused(http.post("/v1/answer", json={"question": ["a"] * 4, "context": "b" * 600}), 413, "too_large", "2,404")
    refused(http.post("/v1/embed", json={"text": ["a"] * 5}), 413, "too_large", "5 texts")
    refused(http.post("/v1/classify", json={"text": "a", "choices": list("abcdef")}), 413, "too_large", "6 labels")


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_50_mb(http: httpx.Client, service: Service, chunked: bool) -> None:
    part = b" " * 500_000
    content: Any = (part for _ in range(100)) if chunked else part * 100
    response = http.post("/v1/answer", content=content, headers={"Content-Type": "application/json"})
    refused(response, 413, "too_large", "100,000 bytes")
    until(lambda: service.buffered_bytes == 0)
    assert http.get("/healthz").status_code == 200


# ---- keys and hosts


def test_keys() -> None:
    service = Service(puppets(), keys=["another-key-of-them", KEY])
    with asking(service) as http:
        assert http.get("/healthz").status_code == http.get("/readyz").status_code == http.get("/").status_code == 200
        for headers in (
            {},
            {"Authorization": "Bearer"},
            {"Authorization": f"Basic {KEY}"},
            {"Authorization": "Bearer no"},
        ):
            for path in ("/v1/models", "/metrics", "/v1/runs", "/nowhere", "//v1/models"):
                response = http.get(path, headers=headers)
                refused(response, 401, "wrong_key")
                assert response.headers["www-authenticate"] == "Bearer"
        for key in (KEY, "another-key-of-them"):
            assert http.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code == 200
        odd = http.get("/v1/models", headers={"Authorization": b"Bearer \xff\xfe"})
        refused(odd, 401, "wrong_key")


def test_other_hosts_are_not_meant(http: httpx.Client) -> None:
    """A page elsewhere may have a name of its own lead here; its requests then carry that name."""
    for host in ("evil.example", "evil.example:8100", "127.0.0.1.evil.example", ""):
        refused(http.get("/v1/models", headers={"Host": host}), 403, "wrong_host")
    for host in ("localhost:1", "LOCALHOST", "[::1]:80", "127.0.0.1"):
        assert http.get("/v1/models", headers={"Host": host}).status_code == 200


def test_as_many_requests_as_it_takes() -> None:
    with asking(Service(puppets(), limits=Limits(requests=1))) as http:
        service_free = http.get("/v1/models")
        assert service_free.status_code == 200
    service = Service(puppets(), limits=Limits(requests=1))
    service.num_active = 1
    with asking(service) as http:
        response = http.get("/v1/models")
        refused(response, 429, "busy")
        assert response.headers["retry-after"] == "1"
        assert http.get("/healthz").status_code == 200
        service.num_active = 0


def test_bodies_together_have_a_bound() -> None:
    service = Service(puppets(), limits=Limits(buffered_bytes=1000))
    service.buffered_bytes = 990
    with asking(service) as http:
        refused(http.post("/v1/embed", json={"text": "a" * 100}), 429, "busy")
        service.buffered_bytes = 0
        assert http.post("/v1/embed", json={"text": "a" * 100}).status_code == 200


def test_one_line_of_log_a_request() -> None:
    lines: list[str] = []
    with asking(Service(puppets(), log=lines.append)) as http:
        http.post("/v1/embed", json={"text": "private"})
        http.get("/v1/%0Aforged%1b[31m?secret=1")
        http.post("/v1/generate", json={"text": "broken"})
    assert lines[0].startswith("127.0.0.1 POST /v1/embed 200 ")
    assert lines[0].endswith(" bytes model=tiny")
    assert r"GET /v1/\nforged\x1b[31m 404" in lines[1]
    assert "a secret of the inside" in lines[2]  # the traceback is for the log only
    assert len(lines) == 4
    assert "private" not in "".join(lines)
    assert "secret=1" not in "".join(lines)
