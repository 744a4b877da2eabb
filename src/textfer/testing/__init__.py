"""The test kit: what any part must keep to, for the parts that come with Textfer and for yours.

from textfer.testing import check_task
check_task(my_task)

`check_task(task)`, `check_model(name, options, folder)` and `check_method(method, base, folder)` return when all is
well, and raise an AssertionError that says what is wrong.
"""

from __future__ import annotations

from textfer.testing.methods import check_method
from textfer.testing.models import check_model
from textfer.testing.tasks import check_task

__all__ = ["check_method", "check_model", "check_task"]
