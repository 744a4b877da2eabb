"""Many requests at once through one model: they are read in batches, and written beside each other as they come."""

from __future__ import annotations

from textfer.engine.engine import Engine
from textfer.engine.scheduler import EngineOptions
from textfer.engine.ticket import Cancelled, Expired, Overloaded, Ticket

__all__ = ["Cancelled", "Engine", "EngineOptions", "Expired", "Overloaded", "Ticket"]
