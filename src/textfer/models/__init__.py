"""The networks: options + module + the reference's file format, one file a family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textfer.config import Registry

if TYPE_CHECKING:  # torch takes seconds to import and only the networks need it
    from textfer.models.t5 import T5

MODELS: Registry[type[T5]] = Registry("model", ["textfer.models.t5"])
