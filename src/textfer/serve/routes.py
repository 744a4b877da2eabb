"""Textfer's own routes: answers, texts, labels, vectors, and which models there are."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from textfer.answer import Answer
from textfer.choices import Ranked
from textfer.config import build
from textfer.engine import Ticket
from textfer.generate import Decoding, Generated, check_decoding
from textfer.serve.asking import as_json, body_of, check_chars, model_of, results, service_of, several, takes
from textfer.serve.fields import (
    Ability,
    AnswerAsked,
    AnswerReply,
    AnswersReply,
    ClassifiesReply,
    ClassifyAsked,
    ClassifyReply,
    EmbedAsked,
    EmbedReply,
    EmbedsReply,
    GenerateAsked,
    GenerateReply,
    GeneratesReply,
    Labelled,
    ModelInfo,
    ModelsReply,
    OneAnswerReply,
    StateReply,
    Written,
)
from textfer.serve.limits import Limits
from textfer.serve.problems import REFUSALS, Problem, stopping
from textfer.serve.shelf import Served
from textfer.serve.streams import EventStream, begun, event
from textfer.serve.waiting import Held, while_there

router = APIRouter()
NOT_WAYS = {"model", "adapter", "text", "stream"}
"""Fields of a request to generate that say nothing of how."""
EVENTS = {"description": "The answer; with `stream`, pieces of it.", "content": {"text/event-stream": {}}}


@router.post(
    "/v1/answer",
    response_model=OneAnswerReply | AnswersReply,
    responses=REFUSALS,
    openapi_extra=takes(AnswerAsked, {"question": "Where does Anna live?", "context": "Anna Baker lives in Paris."}),
    tags=["text"],
)
async def answer(request: Request) -> Response:
    """The answer to a question about a text, or from memory; for a list of questions a list."""
    asked = await body_of(request, AnswerAsked)
    limits = service_of(request).limits
    questions = several(asked.question, limits, "question")
    context = asked.context
    contexts = [context] * len(questions) if context is None or isinstance(context, str) else list(context)
    if len(contexts) != len(questions):
        words = f"context: got {len(contexts)} contexts and {len(questions)} questions, expected as many."
        raise Problem(422, "wrong_field", words, param="context")
    check_chars(sum(map(len, questions)) + sum(len(text or "") for text in contexts), limits, "context")
    model, adapter = model_of(request, asked, "answer")
    decoding = Decoding(max_input_tokens=asked.max_input_tokens) if asked.max_input_tokens else None

    def make(question: str, text: str | None) -> Callable[[float], Ticket[Answer]]:
        return lambda seconds: model.engine.answer(
            question, text, decoding=decoding, adapter=adapter, candidates=asked.candidates, seconds=seconds
        )

    found = await results(request, [make(*pair) for pair in zip(questions, contexts, strict=True)])
    replies = [answer_fields(one) for one in found]
    if isinstance(asked.question, str):
        return as_json(OneAnswerReply(model=model.name, **replies[0]))
    return as_json(AnswersReply(model=model.name, answers=[AnswerReply(**one) for one in replies]))


def answer_fields(found: Answer) -> dict[str, Any]:
    """An answer as the fields of its reply."""
    values = found.as_dict()
    values["answer"] = values.pop("text")
    return {name: value for name, value in values.items() if name in AnswerReply.model_fields}


@router.post(
    "/v1/generate",
    response_model=GenerateReply | GeneratesReply,
    responses={**REFUSALS, 200: EVENTS},
    openapi_extra=takes(GenerateAsked, {"text": "summarize: The market is held on Mondays.", "max_new_tokens": 20}),
    tags=["text"],
)
async def generate(request: Request) -> Response:
    """What the model writes after a text, prefix words and all; piece by piece with `stream`."""
    asked = await body_of(request, GenerateAsked)
    service = service_of(request)
    texts = several(asked.text, service.limits, "text")
    check_chars(sum(map(len, texts)), service.limits, "text")
    model, adapter = model_of(request, asked, "generate")
    decoding = decoding_of(asked, service.limits)

    def make(text: str) -> Callable[[float], Ticket[Generated]]:
        return lambda seconds: model.engine.generate(text, decoding, adapter=adapter, seconds=seconds)

    if asked.stream:
        if not isinstance(asked.text, str):
            raise Problem(422, "wrong_field", "stream: goes with one text. Send a text, not a list.", param="stream")
        held = service.waiting.open(make(asked.text), seconds=service.limits.seconds)
        events = _pieces(held, decoding.max_new_tokens)
        started = await while_there(request.receive, begun(events))
        return EventStream(started, stall_seconds=service.limits.stall_seconds)
    found = await results(request, [make(text) for text in texts])
    outputs = [written_fields(one, decoding.max_new_tokens) for one in found]
    if isinstance(asked.text, str):
        return as_json(GenerateReply(model=model.name, **outputs[0]))
    return as_json(GeneratesReply(model=model.name, outputs=[Written(**one) for one in outputs]))


async def _pieces(held: Held[Generated], most: int) -> AsyncGenerator[str, None]:
    """{"text"} for every piece, then what is known of the whole."""
    async with held:
        async for piece in held.pieces():
            yield event({"text": piece})
        fields = written_fields(held.ticket.result(0), most)
        yield event({name: value for name, value in fields.items() if name != "text"})


def written_fields(found: Generated, most: int) -> dict[str, Any]:
    """What was written as the fields of its reply."""
    reason = "length" if found.num_tokens >= most else "stop"
    return {
        "text": found.text,
        "log_prob": found.log_prob,
        "num_tokens": found.num_tokens,
        "finish_reason": reason,
    }


def decoding_of(asked: GenerateAsked, limits: Limits) -> Decoding:
    """How it is to be written. Errors: ConfigError, Problem."""
    check_most(asked.max_new_tokens, limits, "max_new_tokens")
    if asked.beams > limits.beams:
        words = f"beams: is {asked.beams}, and {limits.beams} are followed at most. Lower it."
        raise Problem(422, "wrong_field", words, param="beams")
    values = {name: value for name, value in asked.model_dump(exclude=NOT_WAYS).items() if value is not None}
    if asked.sample and asked.seed is None:
        values["seed"] = secrets.randbelow(1 << 31)
    return check_decoding(build(Decoding, values, where="generate"), where="generate")


def check_most(count: int, limits: Limits, field: str) -> None:
    """Errors: Problem where more tokens are asked for than are written."""
    if count > limits.new_tokens:
        words = f"{field}: is {count:,}, and {limits.new_tokens:,} tokens are written at most. Lower it."
        raise Problem(422, "wrong_field", words, param=field)


@router.post(
    "/v1/classify",
    response_model=ClassifyReply | ClassifiesReply,
    responses=REFUSALS,
    openapi_extra=takes(ClassifyAsked, {"text": "sst2 sentence: a lovely film", "choices": ["negative", "positive"]}),
    tags=["text"],
)
async def classify(request: Request) -> Response:
    """The likeliest label of a text, and the share of every one."""
    asked = await body_of(request, ClassifyAsked)
    limits = service_of(request).limits
    texts = several(asked.text, limits, "text")
    choices = asked.choices
    if choices is not None and len(choices) > limits.choices:
        words = f"choices: has {len(choices):,} labels, and {limits.choices:,} are taken at most. Send fewer."
        raise Problem(413, "too_large", words, param="choices")
    check_chars(sum(map(len, texts)) + len(texts) * sum(map(len, choices or ())), limits, "text")
    model, adapter = model_of(request, asked, "classify")

    def make(text: str) -> Callable[[float], Ticket[Ranked]]:
        return lambda seconds: model.engine.classify(text, choices, adapter=adapter, seconds=seconds)

    found = [label_fields(one) for one in await results(request, [make(text) for text in texts])]
    if isinstance(asked.text, str):
        return as_json(ClassifyReply(model=model.name, **found[0]))
    return as_json(ClassifiesReply(model=model.name, results=[Labelled(**one) for one in found]))


def label_fields(found: Ranked) -> dict[str, Any]:
    """A ranking as the fields of its reply; shares are rounded down to 1 where rounding went over it."""
    return {"choice": found.choice, "probs": {label: min(share, 1.0) for label, share in found.probs.items()}}


@router.post(
    "/v1/embed",
    response_model=EmbedReply | EmbedsReply,
    responses=REFUSALS,
    openapi_extra=takes(EmbedAsked, {"text": "The market is held on Mondays."}),
    tags=["text"],
)
async def embed(request: Request) -> Response:
    """A text as a vector of length 1; long texts lose their end."""
    asked = await body_of(request, EmbedAsked)
    limits = service_of(request).limits
    texts = several(asked.text, limits, "text")
    check_chars(sum(map(len, texts)), limits, "text")
    model, adapter = model_of(request, asked, "embed")
    makes = [partial(_embedded, model.engine, text, adapter) for text in texts]
    found = [one.tolist() for one in await results(request, makes)]
    if isinstance(asked.text, str):
        return as_json(EmbedReply(model=model.name, vector=found[0]))
    return as_json(EmbedsReply(model=model.name, vectors=found))


def _embedded(engine: Any, text: str, adapter: str | None, seconds: float) -> Ticket[Any]:
    found: Ticket[Any] = engine.embed(text, adapter=adapter, seconds=seconds)
    return found


@router.get("/v1/models", response_model=ModelsReply, responses=REFUSALS, tags=["server"])
async def models(request: Request) -> ModelsReply:
    """The models that can be asked; the first is taken where none is named."""
    return ModelsReply(data=[_info(one) for one in service_of(request).shelf])


def _info(model: Served) -> ModelInfo:
    return ModelInfo(
        id=model.name,
        created=model.created,
        can=model.can(),
        labels=model.labels(),
        adapters=model.adapters,
        under={name: Ability(can=model.can(name), labels=model.labels(name)) for name in model.adapters},
    )


@router.get("/healthz", response_model=StateReply, responses=REFUSALS, tags=["server"])
async def healthz() -> StateReply:
    """Whether the server is there."""
    return StateReply(status="ok")


@router.get("/readyz", response_model=StateReply, responses=REFUSALS, tags=["server"])
async def readyz(request: Request) -> StateReply:
    """Whether it takes requests: 503 while it is stopping."""
    if service_of(request).stopping:
        raise stopping()
    return StateReply(status="ready")


@router.get("/metrics", responses={**REFUSALS, 200: {"content": {"text/plain": {}}}}, tags=["server"])
async def metrics(request: Request) -> Response:
    """What Prometheus asks."""
    return Response(service_of(request).gauges.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
