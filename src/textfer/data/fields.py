"""Typed looks into a row. Anything else is a DataError: which row, which field, what it is and what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from textfer.batch import Row
from textfer.errors import DataError, nearest


def field(row: Row, name: str, origin: str) -> Any:
    """The value of column `name`; dots lead into nested columns: `"answers.text"`."""
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            known = value if isinstance(value, Mapping) else {}
            raise DataError(f"{origin}: no field '{name}'.{nearest(part, known)}")
        value = value[part]
    return value


def text_field(row: Row, name: str, origin: str) -> str:
    """A text, which may be empty."""
    value = field(row, name, origin)
    if not isinstance(value, str):
        raise wrong(value, name, origin, "text")
    return value


def int_field(row: Row, name: str, origin: str) -> int:
    """A whole number. Text that is one ("3", as every CSV value is text) counts."""
    value = field(row, name, origin)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(value) if isinstance(value, str) else _whole(value)
    except (ValueError, TypeError, OverflowError):
        raise wrong(value, name, origin, "a whole number") from None


def float_field(row: Row, name: str, origin: str) -> float:
    """A number, or text that is one."""
    value = field(row, name, origin)
    try:
        if isinstance(value, bool):
            raise ValueError
        return float(value)
    except (ValueError, TypeError):
        raise wrong(value, name, origin, "a number") from None


def label_field(row: Row, name: str, origin: str, *, num_labels: int, unknown: int | None = None) -> int:
    """A class index in 0 … `num_labels` - 1, or `unknown` (the mark of unlabelled rows)."""
    value = int_field(row, name, origin)
    if value != unknown and not 0 <= value < num_labels:
        names = [str(number) for number in range(num_labels)]
        raise wrong(
            value, name, origin, f"{', '.join(names[:-1])} or {names[-1]}" if num_labels < 10 else f"0 to {names[-1]}"
        )
    return value


def texts_field(row: Row, name: str, origin: str) -> tuple[str, ...]:
    """A list of texts, which may be empty."""
    value = field(row, name, origin)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise wrong(value, name, origin, "a list of texts")
    for part in value:
        if not isinstance(part, str):
            raise wrong(part, name, origin, "only texts in it")
    return tuple(value)


def wrong(value: object, name: str, origin: str, expected: str) -> DataError:
    """The complaint about a field: `squad/train:4711: field 'label' is 'x', expected 0 or 1.`"""
    shown = "null" if value is None else repr(value)
    return DataError(
        f"{origin}: field '{name}' is {shown if len(shown) <= 60 else shown[:59] + '…'}, expected {expected}."
    )


def _whole(value: Any) -> int:
    if isinstance(value, bool) or value != int(value):
        raise ValueError
    return int(value)
