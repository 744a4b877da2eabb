"""What goes wrong, as an answer: one JSON shape, OpenAI's, with words that say what to do."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from textfer.engine import Cancelled, Expired, Overloaded
from textfer.errors import TextferError

GONE = 499
"""The client went away; nobody reads this status but the log. The number is nginx's."""
BUSY, STOPPING, LATE = 429, 503, 504
RETRY_SECONDS = 1
MAX_MESSAGE = 1000
BRANCHES = {"str", "int", "float", "bool", "none"}
KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
CODES = {404: "not_found", 405: "method_not_allowed"}


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    """In words."""
    type: str
    param: str | None
    """The field that is meant."""
    code: str
    """For programs."""


class ErrorReply(BaseModel):
    """The answer where there is none."""

    error: ErrorBody


class Problem(HTTPException):
    """A refusal: its status, a code for programs, and words for people."""

    def __init__(self, status: int, code: str, message: str, *, param: str | None = None, wait: float = 0.0) -> None:
        """`wait`: the seconds after which another try makes sense."""
        headers = {"Retry-After": str(math.ceil(wait))} if wait else {}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        super().__init__(status, detail=message, headers=headers)
        self.code, self.param = code, param

    @property
    def body(self) -> dict[str, Any]:
        """For JSON."""
        kind = KINDS.get(self.status_code, "server_error" if self.status_code >= 500 else "invalid_request_error")
        message = printable(self.detail)
        return {"error": {"message": message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The answer that says it."""
        return JSONResponse(self.body, self.status_code, headers=self.headers)


def printable(text: str) -> str:
    """A message as one line of valid UTF-8 that is not too long."""
    line = " ".join(text.encode(errors="replace").decode().split())
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]} …"


def problem_of(error: BaseException) -> Problem | None:
    """What a client is told of an error; None for those that are no refusal but a fault of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        return Problem(error.status_code, CODES.get(error.status_code, "refused"), f"{str(error.detail).rstrip('.')}.")
    if isinstance(error, Overloaded):
        return busy("The model has as many requests as it takes. Try again in a moment.")
    if isinstance(error, Expired):
        return Problem(LATE, "too_slow", "The answer was not ready in time. Send less text, or try when it is quieter.")
    if isinstance(error, Cancelled):
        return stopping()
    if isinstance(error, TextferError):
        return Problem(422, "refused", str(error))
    return None


def busy(message: str) -> Problem:
    """Refused for now."""
    return Problem(BUSY, "busy", message, wait=RETRY_SECONDS)


def stopping() -> Problem:
    """Refused because the server is about to end."""
    return Problem(STOPPING, "stopping", "The server is stopping. Try again when it is back.", wait=5)


def fault() -> Problem:
    """An error of ours: the log says what, the client only that."""
    return Problem(STOPPING, "fault", "Something failed in the server; its log says what.")


def misfit(error: ValidationError) -> Problem:
    """A body whose fields are not what they should be: the first complaint, its field named."""
    complaints = error.errors(include_url=False, include_input=False, include_context=False)
    named = [([part for part in one["loc"] if not _is_branch(part)], one) for one in complaints]
    # of the branches of a union that which was come to deepest is what was meant
    path, first = max((one for one in named if one[0][:1] == named[0][0][:1]), key=lambda one: len(one[0]))
    wanted = list(dict.fromkeys(one["msg"].removeprefix("Input should be ") for at, one in named if at == path))
    place = ".".join(map(str, path))
    if first["type"] == "extra_forbidden":
        words = "no such field"
    elif first["type"] == "missing":
        words = "missing"
    elif first["type"] == "value_error":
        words = first["msg"].removeprefix("Value error, ")
    else:
        words = f"expected {' or '.join(wanted)}"
    return Problem(422, "wrong_field", f"{place or 'body'}: {words}.".replace("..", "."), param=place or None)


def _is_branch(part: object) -> bool:
    """Whether it names a branch of a union of types (`str`, `constrained-str`, `list[str]`) and no field."""
    return isinstance(part, str) and (part in BRANCHES or not part.isidentifier())


_WHY = {
    400: "Not JSON.",
    401: "No key, or a wrong one.",
    403: "Another host is meant.",
    404: "Not there.",
    408: "The body came too slowly.",
    413: "Too large.",
    415: "Not sent as JSON.",
    422: "A field, or the text, is not what it should be.",
    429: "Busy; Retry-After says when to try again.",
    503: "Stopping.",
    504: "Not done in time.",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "model": ErrorReply} for status, words in _WHY.items()
}
"""For the OpenAPI document."""
