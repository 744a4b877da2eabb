"""What several commands share: options, lines of stdin, JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from textfer.errors import ConfigError, DataError

data_option = click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="TEXTFER_DATA",
    help="A local mirror of hub data sets; without it the hub is asked. [env: TEXTFER_DATA]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
model_option = click.option("--model", required=True, help="A run folder, a hub-format folder or a hub name.")
READER, WRITER = "starter-reader", "starter-t5"
"""Models that come with the package: one that points at answers, one that writes them."""
chosen_model_option = click.option(
    "--model", help="A run folder, a hub-format folder or a hub name.  [default: the package's starter models]"
)
beams_option = click.option("--beams", default=1, show_default=True, type=click.IntRange(1), help="1 = greedy.")
weights_option = click.option(
    "--weights",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "int8"]),
    help="int8: several times as fast on a CPU; some answers are others.",
)
cut_option = click.option(
    "--max-input-tokens", type=click.IntRange(2), help="Longer inputs lose their end.  [default: nothing is cut]"
)


def chosen_model(model: str | None, *defaults: str) -> str:
    """The model that was asked for, else the first of these that lies in the package.

    Errors: ConfigError where none does.
    """
    if model is not None:
        return model
    from textfer.models.packed import embedded_folder  # tensors are imported with it, and they take a second

    found = next((name for name in defaults if embedded_folder(name) is not None), None)
    if found is None:
        raise ConfigError(
            f"--model: got none, and {' or '.join(defaults)} is not in this copy of textfer. Name a run folder, a "
            "hub-format folder or a hub name; `textfer show models` lists what is here."
        )
    return found


def print_json(value: object) -> None:
    """Prints one JSON value, indented."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))


def stdin_lines(prompt: str = "") -> Iterator[str]:
    """Lines of stdin without their ends, with a prompt where a person types. Errors: DataError when not UTF-8."""
    number = 0
    while True:
        if prompt and sys.stdin.isatty():
            click.echo(prompt, nl=False, err=True)
        number += 1
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError:
            raise DataError(f"stdin:{number}: is not UTF-8. Convert it first.") from None
        if not line:
            return
        yield line.rstrip("\r\n")
