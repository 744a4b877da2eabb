"""The server with a real model: what a stranger may send it, many clients at once, and the command."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

import textfer
from textfer.engine import EngineOptions
from textfer.serve.limits import Limits
from textfer.serve.server import Serving, bind, place_of
from textfer.serve.service import Service
from textfer.serve.shelf import open_shelf

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
TEXT = "Mara keeps bees in Oldham. Odo sells fish in Belm. Lena paints the mill."
POSITIVE = schemathesis.GenerationMode.POSITIVE
FUZZ = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def service(model: Path) -> Service:
    """The tiny trained model, which answers briefly."""
    options = EngineOptions(max_queue=8)
    shelf = open_shelf({"tiny": str(model)}, {}, options=options)
    return Service(shelf, limits=Limits(new_tokens=8, chars=4000), runs_dir=model.parent)


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    listener = bind("127.0.0.1", 0)
    serving = Serving(service)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [listener]})
    thread.start()
    yield place_of(listener)
    serving.stop()
    serving.stop()
    thread.join(20)
    service.shelf.close(wait=False)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


# ---- answers


def test_the_server_says_what_the_model_says(http: httpx.Client, model: Path) -> None:
    reader = textfer.load(str(model))
    said = http.post("/v1/generate", json={"text": [TEXT, "Odo"], "max_new_tokens": 8}).json()["outputs"]
    assert [one["text"] for one in said] == reader.generate([TEXT, "Odo"], decoding=textfer.Decoding(max_new_tokens=8))
    streamed = http.post("/v1/generate", json={"text": TEXT, "max_new_tokens": 8, "stream": True}).text
    pieces = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert "".join(piece.get("text", "") for piece in pieces) == said[0]["text"]
    found = http.post("/v1/answer", json={"question": "Where does Odo sell fish?", "context": TEXT}).json()
    wanted = reader.answer("Where does Odo sell fish?", context=TEXT)
    assert (found["answer"], found["start"]) == (wanted.text, wanted.start)
    assert found["score"] == pytest.approx(wanted.score, rel=1e-3)
    labels = http.post("/v1/classify", json={"text": TEXT, "choices": ["bees", "fish"]}).json()
    assert labels["probs"] == pytest.approx(reader.classify(TEXT, choices=["bees", "fish"]).probs, rel=1e-3)
    assert http.post("/v1/embed", json={"text": TEXT}).json()["vector"] == pytest.approx(
        reader.embed(TEXT).tolist(), abs=1e-5
    )
    usage = http.post("/v1/completions", json={"prompt": TEXT, "max_tokens": 8}).json()["usage"]
    assert usage["prompt_tokens"] == len(reader.predictor.tokenizer.encode(TEXT))


def test_runs_and_their_curves(http: httpx.Client, model: Path) -> None:
    assert [run["name"] for run in http.get("/v1/runs").json()["data"]] == [model.name]
    curve = http.get(f"/v1/runs/{model.name}/curve").json()
    assert (curve["step"], curve["num_steps"]) == (4, 4)
    assert [point["step"] for point in curve["points"] if "loss" in point] == [1, 2, 3, 4]
    assert {"em", "f1"} <= set(next(point["eval"] for point in curve["points"] if "eval" in point))
    assert curve["samples"][0]["answer"] is not None
    for name in ("..", ".", "%2e%2e", "..%2f" + model.parent.name, model.name + "%2f..", "%00", "nowhere"):
        assert http.get(f"/v1/runs/{name}/curve").status_code == 404, name


# ---- whatever is sent


def operations(url: str) -> list[Any]:
    """All routes that take something."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    found = [one.ok() for one in schema.get_all_operations()]
    assert {"/healthz", "/readyz", "/metrics", "/v1/models", "/v1/runs"} <= {one.path for one in found}
    taking = [one for one in found if one.method == "post" or one.path_parameters]
    assert len(taking) == 6
    return taking


def test_nothing_that_fits_or_not_the_openapi_document_breaks_it(url: str, service: Service) -> None:
    """503 would be a fault here: the server is not stopping, and nothing may fail inside."""
    statuses: Counter[int] = Counter()
    lines: list[str] = []
    service.log = lines.append
    session = requests.Session()
    session.trust_env = False
    for operation in operations(url):
        # of what stands in a path every text fits the document
        for mode in schemathesis.GenerationMode if operation.method == "post" else [POSITIVE]:

            @FUZZ
            @given(case=operation.as_strategy(generation_mode=mode))
            def sent(case: Any) -> None:
                response = case.call(base_url=url, session=session)
                statuses[response.status_code] += 1
                case.validate_response(response, checks=CHECKS)
                assert response.status_code < 500
                if response.status_code >= 400:
                    assert response.json()["error"]["message"].strip()

            sent()
    session.close()
    service.log = lambda line: None
    assert not [line for line in lines if "Traceback" in line]
    assert {200, 422} <= set(statuses), statuses


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("question", "context", "text", "prompt", "choices", "model", "stream", "max_new_tokens", "stop", "seed", "n")


@settings(FUZZ, max_examples=40)
@given(
    path=st.sampled_from(["answer", "generate", "classify", "embed", "completions"]),
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    right=st.booleans(),
)
def test_any_json_in_any_field(http: httpx.Client, path: str, fields: dict[str, Any], right: bool) -> None:
    if right:
        fields |= {"answer": {"question": "q", "context": "c"}, "completions": {"prompt": "p"}}.get(path, {"text": "t"})
    body = json.dumps(fields, ensure_ascii=not right).encode(errors="surrogatepass")
    response = http.post(f"/v1/{path}", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in {200, 400, 413, 422, 404}, response.text
    response.text.encode()


# ---- many at once


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_thirty_clients(url: str, service: Service) -> None:
    """Long and short texts, streams, and some who leave: no refusal but 429, and memory stays as it is."""
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def ask(number: int) -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            for turn in range(3):
                text = TEXT * (1 + 5 * ((number + turn) % 5 == 0))
                kind = (number + turn) % 4
                if kind == 0:
                    response = client.post("/v1/answer", json={"question": "Who?", "context": text})
                elif kind == 1:
                    response = client.post("/v1/generate", json={"text": text, "max_new_tokens": 6, "stream": True})
                elif kind == 2:
                    response = client.post("/v1/classify", json={"text": text, "choices": ["a", "b"]})
                else:
                    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as rude:
                        rude.sendall(b"POST /v1/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
                    continue
                with lock:
                    statuses[response.status_code] += 1

    def all_ask() -> None:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    all_ask()
    before = resident_mb()
    all_ask()
    assert set(statuses) <= {200, 429}, statuses
    assert statuses[200] >= 30
    assert resident_mb() - before < 60
    (model,) = service.shelf
    last = time.monotonic() + 10
    while service.num_active and time.monotonic() < last:  # it may not have seen yet that the rude have left
        time.sleep(0.01)
    assert (model.engine.load["waiting"], len(service.waiting)) == (0, 0)
    assert (service.num_active, service.buffered_bytes) == (0, 0)


# ---- the command


def started(*words: str) -> tuple[subprocess.Popen[str], str]:
    """(the process, where it serves)"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "textfer", "serve", *words], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"serving at (\S+) ", line):
            return process, found[1]
    raise AssertionError(f"it ended with {process.wait()}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_command_serves_until_a_signal(model: Path, tmp_path: Path, number: int, code: int) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# of the tests\n0123456789abcdef\n", encoding="utf-8")
    process, url = started(f"--name=mine={model}", "--port=0", f"--api-key-file={keys}")
    try:
        assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 401
        with textfer_client(url) as client:
            assert [one.name for one in client.models()] == ["mine"]
            assert isinstance(client.generate(TEXT, max_new_tokens=3), str)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert "POST /v1/generate 200 " in err
    assert "stopping: 0 answers under way" in err
    assert "Traceback" not in err


def textfer_client(url: str) -> Any:
    from textfer.serve.client import Client

    return Client(url, api_key="0123456789abcdef")


def test_what_is_wrong_with_the_command_is_said_in_one_line(call: Any, model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n# nothing\n", encoding="utf-8")
    for words, code, start in (
        (["--name", "mine"], 2, "--name: got 'mine', expected NAME=MODEL."),
        ([str(model), str(model)], 2, f"serve: two models are called '{model.name}'."),
        (["a:b"], 2, "serve: 'a:b' gives no name for the model."),
        ([str(model), "--adapter", "tiny=x"], 2, "--adapter: got 'tiny=x', expected MODEL:NAME=RUN."),
        ([str(model), "--port", "0", "--adapter", "mine:a=x"], 2, "--adapter: there is no model 'mine'."),
        ([str(model), "--api-key-file", str(empty)], 3, f"{empty}: holds no key"),
        ([str(model), "--runs", str(empty)], 2, f"--runs: {empty} is no folder."),
        ([str(model), "--host", "no.such.host.invalid"], 4, "--host: 'no.such.host.invalid' is no address"),
        ([str(tmp_path / "none"), "--port", "0"], 3, ""),
    ):
        done = call("serve", *words)
        assert (done.code, done.err.count("\n"), done.out) == (code, 1, ""), (words, done.err)
        assert done.err.removeprefix("textfer: ").startswith(start)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = call("serve", str(model), "--port", str(taken.getsockname()[1]))
    assert (done.code, done.err.count("\n")) == (4, 1)
    assert "cannot be listened at" in done.err


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch, call: Any, model: Path) -> None:
    from textfer.cli.serving import read_keys

    monkeypatch.setenv("TEXTFER_API_KEYS", "0123456789abcdef, fedcba9876543210")
    assert read_keys(None) == ["0123456789abcdef", "fedcba9876543210"]
    monkeypatch.setenv("TEXTFER_API_KEYS", "short")
    done = call("serve", str(model))
    assert done.code == 2
    assert "short" not in done.err  # it is a secret all the same
    assert done.err.startswith("textfer: TEXTFER_API_KEYS: key 1 cannot be one")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, call: Any) -> None:
    monkeypatch.setattr("textfer.cli.serving.find_spec", lambda name: None)
    done = call("serve", "model")
    assert (done.code, done.err) == (4, 'textfer: serve: needs fastapi. Run `pip install "textfer[serve]"`.\n')


def test_the_command_line_does_without_the_extra() -> None:
    code = "import sys, textfer.cli; print({'fastapi', 'uvicorn', 'starlette', 'httpx', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
