"""What the tests of the web page share: a small server with its API (answers by rule, errors on request), and hands."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from textfer.answer import sentence_around
from textfer.serve.pages import router

KEY = "sesame"
MODELS = [
    {"id": "reader", "can": ["answer", "generate", "classify"]},
    {"id": "pointer", "can": ["answer"]},
    {"id": "films", "can": ["classify"], "labels": {"films": ["negative", "positive"]}, "adapters": ["kind"]},
]
GERMAN = "Die Mühle am Fluss wurde von Maud Hale gebaut."
NUM_STEPS = 400
TEXT = (
    "Prices 🐟🐠 first.\n\nMaud Hale built the mill at Aldon 👩‍🌾. Rory Finch sold it.\n"
    + "Nothing else. " * 300
    + "Maud left."
)


@dataclass
class Seen:
    """What happened to the server, and what it shall do."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    busy: int = 0
    """Requests that are still to be refused."""
    wants_key: bool = False
    status: int = 200
    """Anything else is an error for every request."""
    left: int = 0
    """Streams that the reader left before their end."""
    step: int = 200
    runs: bool = True


def refusal(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": "refused"}}, status, headers)


def spot(text: str, words: str, score: float, after: int = 0) -> dict[str, Any]:
    """An answer at its first place, in code points, as Python counts."""
    start = text.index(words, after)
    return {"text": words, "score": score, "start": start, "end": start + len(words)}


def answer_to(question: str, context: str) -> dict[str, Any]:
    """The words between the question's quotation marks are the answers, the first is the best."""
    wanted = question.split("'")[1::2]
    found = [spot(context, words, 0.82 / (3**at)) for at, words in enumerate(wanted) if words in context]
    if not found or "nobody" in question:
        none = {"answer": None, "score": 0.91, "start": None, "end": None, "evidence": None, "candidates": found}
        return {**none, "note": "read the first 4 of 9 passages"}
    best = found[0]
    return {
        "answer": best["text"],
        **{name: best[name] for name in ("score", "start", "end")},
        "evidence": sentence_around(context, best["start"], best["end"]),
        "candidates": found,
        "calibrated": True,
    }


def curve(step: int) -> dict[str, Any]:
    """A run that learns, as its files tell of it."""
    points: list[dict[str, Any]] = [
        {"step": at, "loss": 6.0 / (1 + at / 12) + 0.11 * ((at * 37) % 11) / 11, "lr": 1e-3 * min(1, at / 50),
         "grad_norm": 1.5 / (1 + at / 60) + 0.2 * ((at * 53) % 13) / 13, "tokens": 4096, "seconds": 0.5 + (at % 7) / 40}
        for at in range(2, step + 1, 2)
    ]  # fmt: skip
    points += [
        {"step": at, "eval": {"em": 60 * at / (at + 90), "f1": 70 * at / (at + 80)}} for at in range(50, step + 1, 50)
    ]
    samples = [
        {"step": at, "inputs": f"question: Who {verb} the mill? context: Maud Hale {verb} the mill at Aldon.",
         "targets": "Maud Hale", "answer": answer}
        for verb, last in (("built", "Maud Hale"), ("sold", "Hale"))
        for at, answer in ((100, "the mill"), (200, last)) if at <= step
    ]  # fmt: skip
    return {
        "name": "mine",
        "step": step,
        "num_steps": NUM_STEPS,
        "seconds_ago": 4.0,
        "points": points,
        "samples": samples,
    }


def make_app(seen: Seen) -> FastAPI:
    """The app; `seen` is shared with the test."""
    app = FastAPI()
    app.include_router(router)

    @app.middleware("http")
    async def refuse(request: Request, go_on: Any) -> Any:
        if request.url.path.startswith("/v1/"):
            if seen.status != 200:
                return refusal(seen.status, "as the test wants it")
            if seen.wants_key and request.headers.get("authorization") != f"Bearer {KEY}":
                return refusal(401, "no such key")
            if seen.busy and request.method == "POST":
                seen.busy -= 1
                return refusal(429, "the queue is full", {"Retry-After": "1"})
        return await go_on(request)

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": MODELS}

    @app.post("/v1/answer")
    async def answer(request: Request) -> Any:
        body = await request.json()
        seen.bodies.append(body)
        if "slow" in body["question"]:
            await asyncio.sleep(30)
        return answer_to(body["question"], body["context"])

    @app.post("/v1/classify")
    async def classify(request: Request) -> Any:
        body = await request.json()
        seen.bodies.append(body)
        labels = body["choices"] or ["negative", "positive"]
        weights = [3.0**-at for at in range(len(labels))][::-1]
        probs = {label: weight / sum(weights) for label, weight in zip(labels, weights, strict=True)}
        return {"choice": labels[-1], "probs": probs}

    @app.post("/v1/generate")
    async def generate(request: Request) -> Any:
        body = await request.json()
        seen.bodies.append(body)
        return StreamingResponse(written(body["text"], seen), media_type="text/event-stream")

    @app.get("/v1/runs")
    def runs() -> dict[str, Any]:
        return {"data": [{"name": "mine"}, {"name": "other/one"}] if seen.runs else []}

    @app.get("/v1/runs/{name:path}/curve")
    def run(name: str) -> dict[str, Any]:
        return curve(seen.step)

    return app


async def written(text: str, seen: Seen) -> AsyncIterator[str]:
    """A translation word by word; without end where the text asks for it, broken off where it asks for that."""
    try:
        words = GERMAN.split(" ")
        for at in range(10_000 if "endless" in text else len(words)):
            piece = words[at % len(words)] + " "
            yield f"data: {json.dumps({'text': piece}, ensure_ascii=False)}\n\n"
            await asyncio.sleep(0.01)
        if "fails" in text:
            yield f"data: {json.dumps({'error': {'message': 'the model is gone', 'type': 'failed'}})}\n\n"
        elif "breaks" not in text:
            yield "data: [DONE]\n\n"
    except asyncio.CancelledError:
        seen.left += 1
        raise


@contextmanager
def serving(app: FastAPI) -> Iterator[tuple[str, uvicorn.Server]]:
    """(address, server) of an app on a free port of this machine, for as long as the block runs."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="error", ws="none", lifespan="off", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert thread.is_alive() and time.monotonic() < deadline  # noqa: PT018
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", server
    server.should_exit = True
    thread.join(10)


# ---- hands


@contextmanager
def opened(page: Any, url: str, harmless: list[str]) -> Iterator[None]:
    """At the end: no script failed, the policy was kept, and nobody else was asked for anything."""
    said: list[str] = []
    asked: list[str] = []
    listeners = {
        "pageerror": lambda error: said.append(str(error)),
        "console": lambda line: said.append(line.text) if line.type in {"error", "warning"} else None,
        "request": lambda request: asked.append(request.url),
    }
    for name, listener in listeners.items():
        page.on(name, listener)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(url)
    yield
    for name, listener in listeners.items():
        page.remove_listener(name, listener)
    page.evaluate("sessionStorage.clear()")
    assert [line for line in said if not line.startswith(tuple(harmless))] == []
    assert [one for one in asked if not one.startswith((url, "data:"))] == []


def ask(page: Any, question: str, text: str = TEXT) -> None:
    if page.locator("#text").is_hidden():
        page.click("#text-edit")
    page.fill("#text", text)
    page.fill("#question", question)
    page.keyboard.press("Control+Enter")


def write(page: Any, task: str, text: str) -> None:
    page.click("#tab-write")
    page.check(f"input[value={task}]", force=True)
    page.fill("#input", text)


def drop(page: Any, name: str, content: str) -> None:
    data = page.evaluate_handle(
        "([name, text]) => { const d = new DataTransfer(); d.items.add(new File([text], name)); return d; }",
        [name, content],
    )
    page.dispatch_event("#document", "drop", {"dataTransfer": data})
