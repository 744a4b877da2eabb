"""What one server takes on: everything that a stranger could make large has a bound."""

from __future__ import annotations

from pydantic import Field

from textfer.config import Options


class Limits(Options):
    """The bounds of a server."""

    body_bytes: int = Field(8 << 20, gt=0)
    """Of a request's body."""
    buffered_bytes: int = Field(128 << 20, gt=0)
    """Of all bodies that are held at once."""
    chars: int = Field(400_000, gt=0)
    """Of all texts of a request together, as often as they are read."""
    items: int = Field(64, gt=0)
    """Texts, questions or prompts of a request."""
    choices: int = Field(1000, gt=0)
    """Labels of a request."""
    new_tokens: int = Field(1024, gt=0)
    """That may be asked for in one answer."""
    beams: int = Field(8, gt=0)
    """That may be followed at once."""
    seconds: float = Field(60.0, gt=0)
    """From taking a request to its answer."""
    body_seconds: float = Field(30.0, gt=0)
    """Until a request's body has arrived."""
    stall_seconds: float = Field(20.0, gt=0)
    """That a client may leave a streamed answer unread."""
    grace_seconds: float = Field(20.0, ge=0)
    """For answers under way when the server is told to stop."""
    requests: int = Field(1024, gt=0)
    """Under way at once, of all models."""
