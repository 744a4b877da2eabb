"""OpenAI's `/v1/completions`, for programs that speak it: what cannot take effect here is refused, not ignored."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from textfer.engine import Ticket
from textfer.generate import Decoding, Generated
from textfer.serve.asking import as_json, body_of, check_chars, count_tokens, model_of, service_of, several, takes
from textfer.serve.fields import MAX_SEED, Asked, Name, Texts
from textfer.serve.problems import REFUSALS, Problem
from textfer.serve.routes import EVENTS, check_most
from textfer.serve.shelf import Served
from textfer.serve.streams import EventStream, begun, event
from textfer.serve.waiting import Held, while_there

router = APIRouter(tags=["OpenAI"])
MAX_STOPS = 4
Stop = Annotated[str, Field(min_length=1, max_length=200)]
Zero = Annotated[float, Field(ge=0, le=0)]
Reason = Literal["stop", "length"]


class StreamOptions(BaseModel):
    """What a stream tells besides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    include_usage: bool | None = None


class CompletionAsked(BaseModel):
    """A completion, in OpenAI's words."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: Name | None = None
    """One of `/v1/models`, or "MODEL:ADAPTER"."""
    prompt: Texts
    max_tokens: int | None = Field(None, ge=1)
    """None = 64."""
    temperature: float | None = Field(None, ge=0, le=100)
    """None or 0 = always the likeliest token; else tokens are drawn."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Takes effect with a temperature."""
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    """The text ends before the first of these."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: Annotated[str, Field(max_length=1000)] | None = None
    """Taken and not kept."""
    n: Literal[1] | None = None
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    suffix: None = None
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None

    @property
    def stops(self) -> list[str]:
        """Where the text ends."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())


class Usage(BaseModel):
    """Tokens, by the model's own vocabulary."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Choice(BaseModel):
    """What was written after one prompt."""

    text: str
    index: int
    logprobs: None = None
    finish_reason: Reason | None


class CompletionReply(BaseModel):
    """What was written after each prompt."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


@router.post(
    "/v1/completions",
    response_model=CompletionReply,
    responses={**REFUSALS, 200: EVENTS},
    openapi_extra=takes(CompletionAsked, {"prompt": "translate English to German: Good morning.", "max_tokens": 20}),
)
async def completions(request: Request) -> Response:
    """What the model writes after a prompt, or after each of several."""
    asked = await body_of(request, CompletionAsked)
    service = service_of(request)
    prompts = several(asked.prompt, service.limits, "prompt")
    check_chars(sum(map(len, prompts)), service.limits, "prompt")
    model, adapter = model_of(request, Asked(model=asked.model), "generate")
    decoding = _decoding_of(asked)
    check_most(decoding.max_new_tokens, service.limits, "max_tokens")
    seconds = service.limits.seconds

    def make(text: str) -> Callable[[float], Ticket[Generated]]:
        return lambda seconds: model.engine.generate(text, decoding, adapter=adapter, seconds=seconds)

    reply = CompletionReply(
        id=f"cmpl-{secrets.token_hex(12)}", created=int(time.time()), model=asked.model or model.name, choices=[]
    )
    if asked.stream:
        if len(prompts) != 1:
            raise Problem(422, "wrong_field", "stream: goes with one prompt. Send one.", param="stream")
        writing = Completing(model, service.waiting.open(make(prompts[0]), seconds=seconds), asked, decoding)
        started = await while_there(request.receive, begun(_chunks(writing, reply, prompts)))
        return EventStream(started, stall_seconds=service.limits.stall_seconds)

    async def whole() -> CompletionReply:
        if not asked.stops:
            found = await service.waiting.all_of([make(prompt) for prompt in prompts], seconds=seconds)
            said = [(one.text, _reason(one, decoding), one.num_tokens) for one in found]
        else:
            said = []
            for prompt in prompts:
                one = Completing(model, service.waiting.open(make(prompt), seconds=seconds), asked, decoding)
                text = "".join([piece async for piece in one.pieces()])
                said.append((text, one.reason, one.num_tokens))
        choices = [Choice(text=text, index=at, finish_reason=reason) for at, (text, reason, _) in enumerate(said)]
        usage = await _usage(model, prompts, sum(count for _, _, count in said))
        return reply.model_copy(update={"choices": choices, "usage": usage})

    return as_json(await while_there(request.receive, whole()))


class Completing:
    """One text as it is written, up to the first stop."""

    def __init__(self, model: Served, held: Held[Generated], asked: CompletionAsked, decoding: Decoding) -> None:
        self.model, self.asked = model, asked
        self.reason: Reason = "stop"
        self.num_tokens = 0
        self._held, self._decoding = held, decoding

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Its pieces; once they end, `reason` and `num_tokens` are known."""
        cut, shown = Cut(self.asked.stops), ""
        async with self._held as held:
            async for piece in held.pieces():
                text = cut.push(piece)
                shown += text
                if text:
                    yield text
                if cut.ended:
                    self.num_tokens = await count_tokens(self.model, [shown])
                    return
            found = held.ticket.result(0)
            if rest := cut.rest():
                yield rest
            self.reason, self.num_tokens = _reason(found, self._decoding), found.num_tokens


class Cut:
    """Ends a growing text before the first of some stops, and holds back what may be the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.ended = False
        self._stops, self._held = stops, ""

    def push(self, piece: str) -> str:
        """What may be shown now."""
        text = self._held + piece
        places = [at for at in (text.find(stop) for stop in self._stops) if at >= 0]
        if places:
            self.ended, self._held = True, ""
            return text[: min(places)]
        begun = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - begun :]
        return text[: len(text) - begun]

    def rest(self) -> str:
        """What was held back: no stop came of it."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of a text with which the stop begins."""
    most = min(len(text), len(stop) - 1)
    return next((count for count in range(most, 0, -1) if text.endswith(stop[:count])), 0)


async def _chunks(writing: Completing, reply: CompletionReply, prompts: Sequence[str]) -> AsyncGenerator[str, None]:
    def chunk(choices: list[Choice], usage: Usage | None = None) -> str:
        fields = reply.model_copy(update={"choices": choices, "usage": usage}).model_dump()
        options = writing.asked.stream_options
        if options is None or not options.include_usage:
            del fields["usage"]
        return event(fields)

    async for piece in writing.pieces():
        yield chunk([Choice(text=piece, index=0, finish_reason=None)])
    yield chunk([Choice(text="", index=0, finish_reason=writing.reason)])
    if writing.asked.stream_options is not None and writing.asked.stream_options.include_usage:
        yield chunk([], await _usage(writing.model, prompts, writing.num_tokens))


async def _usage(model: Served, prompts: Sequence[str], written: int) -> Usage:
    read = await count_tokens(model, prompts)
    return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


def _decoding_of(asked: CompletionAsked) -> Decoding:
    values: dict[str, Any] = {} if asked.max_tokens is None else {"max_new_tokens": asked.max_tokens}
    if asked.temperature:
        seed = secrets.randbelow(1 << 31) if asked.seed is None else asked.seed
        values |= {"sample": True, "temperature": asked.temperature, "seed": seed, "top_p": asked.top_p}
    return Decoding(**values)


def _reason(found: Generated, decoding: Decoding) -> Reason:
    return "length" if found.num_tokens >= decoding.max_new_tokens else "stop"
