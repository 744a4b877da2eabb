"""Textfer: transfer learning in text-to-text form.

import textfer
reader = textfer.load("starter-reader")
reader.answer("Who wrote it?", context=text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Answer", "Decoding", "TextReader", "TextToText", "load"]

if TYPE_CHECKING:
    from textfer.answer import Answer, TextToText
    from textfer.generate import Decoding
    from textfer.parts import load
    from textfer.reader import TextReader

_PLACES = {
    "Answer": "textfer.answer",
    "Decoding": "textfer.generate",
    "TextReader": "textfer.reader",
    "TextToText": "textfer.answer",
    "load": "textfer.parts",
}


def __getattr__(name: str) -> Any:
    """Imports torch and what stands on it only when something of it is asked for."""
    from importlib import import_module

    if name not in _PLACES:
        raise AttributeError(f"module 'textfer' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)
