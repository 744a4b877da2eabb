"""Imported by recipes that are run in a process of their own: the toy tasks, for good."""

from __future__ import annotations

from toys import TOYS

from textfer.data.task import register

for task in TOYS.values():
    register(task)
