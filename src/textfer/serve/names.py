"""Names by which clients call models and adapters."""

from __future__ import annotations

import re
from pathlib import PurePath

from textfer.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""No colon, which divides a model from its adapter, and no slash."""


def check_name(name: str) -> None:
    """Refuses what cannot be a name. Errors: ConfigError."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"serve: '{name}' cannot be a name, expected letters, digits, '.', '_' and '-'.")


def name_of(place: str) -> str:
    """The name of a model that was given none: the last part of where it lies. Errors: ConfigError."""
    name = PurePath(place).name
    if not NAME.fullmatch(name):
        raise ConfigError(f"serve: '{place}' gives no name for the model. Give one: --name NAME={place}.")
    return name
