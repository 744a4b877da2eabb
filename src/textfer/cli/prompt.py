"""Questions as a person types them: a prompt with editing and history where the terminal has them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

from textfer.cli.parts import stdin_lines
from textfer.errors import TextferError

LEAVE = {":q", ":quit", ":exit"}
HINT = "Ctrl-C drops a line; :q or Ctrl-D leaves."


def on_terminal() -> bool:
    """Whether a person types, and sees what is printed."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def questions(prompt: str) -> Iterator[str]:
    """Lines without white space around, those that are empty left out: typed at a prompt, or from stdin.

    At a prompt the arrow keys bring back earlier lines, which are not kept on disk.
    """
    lines = _typed(prompt) if on_terminal() else stdin_lines(prompt)
    return (line.strip() for line in lines if line.strip())


@contextmanager
def staying(*, where: bool) -> Iterator[None]:
    """Says an error in one line and goes on, where a person can ask again; elsewhere an error is an error."""
    try:
        yield
    except TextferError as error:
        if not where:
            raise
        click.echo(f"textfer: {error}", err=True)


def _typed(prompt: str) -> Iterator[str]:
    with suppress(ImportError):  # not on every system; lines are typed all the same
        import readline  # noqa: F401  from now on `input` has it
    click.echo(HINT, err=True)
    while True:
        try:
            line = input(prompt)
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:
            click.echo(err=True)
            continue
        except UnicodeDecodeError:
            click.echo("textfer: the line is not UTF-8. Set the terminal to UTF-8.", err=True)
            continue
        if line.strip() in LEAVE:
            return
        yield line
