"""What the routes share: a request's body as fields, its model, and its results while the client waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from textfer.serve.fields import Asked
from textfer.serve.limits import Limits
from textfer.serve.problems import Problem
from textfer.serve.service import Service
from textfer.serve.shelf import Served
from textfer.serve.strict_json import read_body
from textfer.serve.waiting import Make, while_there

B = TypeVar("B", bound=BaseModel)
R = TypeVar("R")


def service_of(request: Request) -> Service:
    """The server that was asked."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


def takes(kind: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """What the OpenAPI document says of a route's body."""
    schema = kind.model_json_schema()
    content = {"schema": _inlined(schema, schema.pop("$defs", {})), "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def _inlined(schema: Any, named: dict[str, Any]) -> Any:
    """A schema without references, which would lead nowhere from within another document."""
    if isinstance(schema, list):
        return [_inlined(one, named) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_inlined(named[schema["$ref"].rpartition("/")[2]], named), **_inlined(rest, named)}
    return {key: _inlined(value, named) for key, value in schema.items()}


async def body_of(request: Request, kind: type[B]) -> B:
    """The body as the fields that belong there. Errors: Problem."""
    sort = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sort != "application/json":
        words = f"The body is sent as '{sort}', expected application/json." if sort else "The body has no Content-Type."
        raise Problem(415, "not_json", f"{words} Send 'Content-Type: application/json'.")
    return read_body(await request.body(), kind)


def model_of(request: Request, asked: Asked, verb: str) -> tuple[Served, str | None]:
    """(the model that is asked, the adapter). Errors: Problem for unknown names, or a model that cannot do that."""
    model, adapter = service_of(request).shelf.find(asked.model, asked.adapter)
    able = model.can(adapter)
    if verb not in able:
        name = model.name if adapter is None else f"{model.name}:{adapter}"
        raise Problem(422, "cannot", f"The model '{name}' cannot {verb}; it can {', '.join(able)}.", param="model")
    request.scope["visit"].model = model.name
    return model, adapter


def several(one: str | list[str], limits: Limits, field: str) -> list[str]:
    """As a list. Errors: Problem for one that is too long."""
    texts = [one] if isinstance(one, str) else one
    if len(texts) > limits.items:
        words = f"{field}: has {len(texts):,} texts, and {limits.items:,} are taken at once. Send fewer."
        raise Problem(413, "too_large", words, param=field)
    return texts


def check_chars(count: int, limits: Limits, field: str) -> None:
    """Errors: Problem for texts that are too long together."""
    if count > limits.chars:
        words = f"{field}: the texts have {count:,} characters together, and {limits.chars:,} are taken. Send less."
        raise Problem(413, "too_large", words, param=field)


async def results(request: Request, makes: Sequence[Make[R]]) -> list[R]:
    """The results of all, in order; given up when the client leaves. Errors: Problem, and what the engine says."""
    service = service_of(request)
    return await while_there(request.receive, service.waiting.all_of(makes, seconds=service.limits.seconds))


async def count_tokens(model: Served, texts: Sequence[str]) -> int:
    """The tokens of all texts together."""
    return sum(await asyncio.to_thread(lambda: [model.count_tokens(text) for text in texts]))


def as_json(reply: BaseModel) -> Response:
    """An answer."""
    return Response(reply.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})
