"""Anybody's predictions, read for marking: the JSON object `{id: text}` that the official SQuAD scripts take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textfer.data.formats import read_json
from textfer.errors import DataError


def read_predictions(path: Path, *, ids: Sequence[str] | None = None) -> dict[str, str]:
    """{id: predicted text}; with `ids`, of exactly these and in their order.

    **Errors**: DataError where the file is not such an object, an id stands in it twice, is missing or unknown, or a
    prediction is not text. (The official v1.1 script counts a missing answer as wrong, that of v2.0 breaks off.)
    """
    table = _by_id(path, ids, "a prediction")
    for key, value in table.items():
        if not isinstance(value, str):
            raise DataError(f"{path}: the prediction of '{key}' is {value!r}, expected text.")
    return table


def read_probabilities(path: Path, *, ids: Sequence[str] | None = None) -> dict[str, float]:
    """{id: probability of "no answer"}, under the same rules."""
    table = _by_id(path, ids, "a probability")
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DataError(f"{path}: the probability of '{key}' is {value!r}, expected a number.")
    return table


def _by_id(path: Path, ids: Sequence[str] | None, what: str) -> dict[str, Any]:
    table = read_json(path)
    if not isinstance(table, dict):
        raise DataError(f"{path}: got a {type(table).__name__}, expected an object {{id: …}}.")
    if ids is None:
        return table
    if missing := [key for key in ids if key not in table]:
        raise DataError(f"{path}: no entry for {_some(missing)}, expected {what} for all {len(ids)} questions.")
    known = set(ids)
    if extra := [key for key in table if key not in known]:
        raise DataError(f"{path}: {_some(extra)} is none of the {len(ids)} questions. Is it the right split?")
    return {key: table[key] for key in ids}


def _some(ids: Sequence[str]) -> str:
    return f"'{ids[0]}'" + (f" (and {len(ids) - 1} more)" if len(ids) > 1 else "")
