"""Names that people give, as tasks: a registered task, a mixture's tasks, a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from textfer.data.task import MIXTURES, TASKS, Task
from textfer.data.tasks.files import file_task
from textfer.errors import ConfigError, nearest


def find_task(name: str) -> Task:
    """The registered task of that name, or one made of the file of that name. **Errors**: ConfigError for neither."""
    if name in TASKS:
        return TASKS.get(name)
    if _is_file(name):
        return file_task(name)
    raise ConfigError(f"unknown task '{name}'.{nearest(name, [*TASKS.names(), *MIXTURES.names()])}")


def routes(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """{task: the mixtures it is in, outermost first} of all tasks under tasks and mixtures, in order.

    **Errors**: ConfigError where a name is unknown, a task is reached twice, or a mixture holds itself.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        _walk(name, (), found)
    return found


def task_names(names: Sequence[str]) -> list[str]:
    """All tasks under tasks and mixtures, in order. **Errors**: as `routes`."""
    return list(routes(names))


def _walk(name: str, above: tuple[str, ...], found: dict[str, tuple[str, ...]]) -> None:
    where = f"mixture '{above[-1]}'" if above else "data.tasks"
    if name in MIXTURES:
        if name in above:
            raise ConfigError(f"mixture '{name}': contains itself ({' → '.join([*above, name])}).")
        for part in MIXTURES.get(name).parts:
            _walk(part, (*above, name), found)
        return
    if name not in TASKS and not _is_file(name):
        raise ConfigError(f"{where}: unknown task '{name}'.{nearest(name, [*TASKS.names(), *MIXTURES.names()])}")
    if name in found:
        ways = [[*way, name] for way in (found[name], above)]
        shared = [one for one, other in zip(*ways, strict=False) if one == other and one != name]
        where = f"mixture '{shared[-1]}'" if shared else "data.tasks"
        shown = " and ".join(f"'{' → '.join(way)}'" for way in ways)
        raise ConfigError(f"{where}: task '{name}' is in it twice, as {shown}. Drop one; data.weights raises a rate.")
    found[name] = above


def _is_file(name: str) -> bool:
    return "/" in name or "." in name or Path(name).exists()
