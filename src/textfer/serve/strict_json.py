"""Bodies as JSON by the letter of RFC 8259: UTF-8, no NaN, nothing nested without end, no half characters."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from textfer.serve.problems import Problem, misfit

B = TypeVar("B", bound=BaseModel)
MAX_DEPTH = 16
MAX_DIGITS = 40
HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""How half of a character of two UTF-16 units begins; a pair of them is a whole one."""


def read_json(body: bytes) -> Any:
    """The value that a body holds. Errors: Problem."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _bad(f"byte {error.start} is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise _bad("it begins with a byte order mark")
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_int=_int, parse_float=_float)
        depth = depth_of(value)
    except json.JSONDecodeError as error:
        raise _bad(f"{error.msg} at character {error.pos}") from None
    except RecursionError:
        depth = MAX_DEPTH + 1
    if depth > MAX_DEPTH:
        raise _bad(f"it is nested more than {MAX_DEPTH} deep")
    if HALF.search(body):
        _check_characters(value)
    return value


def read_body(body: bytes, kind: type[B]) -> B:
    """A body as what is asked for there; 1 is no text, "1" no number. Errors: Problem."""
    value = read_json(body)
    if not isinstance(value, dict):
        raise Problem(422, "wrong_field", "body: expected an object of fields.")
    try:
        return kind.model_validate(value, strict=True)
    except ValidationError as error:
        raise misfit(error) from None


def depth_of(value: Any) -> int:
    """How deep lists and objects are nested; no further than one more than `MAX_DEPTH`."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        inner = [one for one in level if isinstance(one, dict | list)]
        depth += bool(inner)
        level = [part for one in inner for part in (one.values() if isinstance(one, dict) else one)]
        level = [part for part in level if isinstance(part, dict | list)]
    return depth


def _check_characters(value: Any) -> None:
    """Refuses texts that no encoding can write."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _bad("a text holds half a character (a lone surrogate)") from None
    elif isinstance(value, dict):
        for key, part in value.items():
            _check_characters(key)
            _check_characters(part)
    elif isinstance(value, list):
        for part in value:
            _check_characters(part)


def _no_constant(name: str) -> NoReturn:
    raise _bad(f"{name} is no JSON")


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _bad(f"a number has {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise _bad("a number is too large")
    return value


def _bad(what: str) -> Problem:
    return Problem(400, "invalid_json", f"The body is not valid JSON: {what}.")
