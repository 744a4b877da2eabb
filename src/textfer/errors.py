"""What can go wrong through no fault of Textfer, one class for each way of telling the user.

`textfer` (the command) prints one line and leaves with `exit_code`. A bug of ours stays an AssertionError or whatever
Python raises, with its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TextferError(ValueError):
    """One line: *where*: *got*, *expected*. *What next.*"""

    exit_code = 1


class ConfigError(TextferError):
    """A recipe, an option or a name that does not fit."""

    exit_code = 2


class DataError(TextferError):
    """A file, a row or a text that cannot be what it should be."""

    exit_code = 3


class SplitError(DataError):
    """A data set that is there and has no such split."""


class CheckpointError(TextferError):
    """A saved model or run that is damaged or belongs to something else."""

    exit_code = 3


class MachineError(TextferError):
    """The machine said no: disk full, no such device, a missing extra."""

    exit_code = 4


class NotFiniteError(TextferError):
    """A loss or a gradient became infinite or not a number."""

    exit_code = 5


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message: the closest known name, or else a list of the known ones."""
    known = sorted(known)
    if close := get_close_matches(name, known, n=1, cutoff=0.6):
        return f" Did you mean '{close[0]}'?"
    if not known:
        return " None is known."
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f" Known: {shown}."
