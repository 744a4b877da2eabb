"""The command line: reads words, calls one function, prints. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from textfer import __version__
from textfer.cli.answering import ask, generate
from textfer.cli.checkup import doctor
from textfer.cli.compare import compare
from textfer.cli.embedding import embed
from textfer.cli.exporting import export
from textfer.cli.looking import show, trace
from textfer.cli.marking import evaluate, score, submit
from textfer.cli.packing import pack
from textfer.cli.preparing import prepare
from textfer.cli.running import quickstart, train, verify_resume
from textfer.cli.serving import serve
from textfer.cli.sources import index_folder, search
from textfer.cli.tuning import tune
from textfer.cli.vectors import vectors
from textfer.cli.vocabulary import tokenizer
from textfer.cli.writing import summarize, translate
from textfer.errors import ConfigError, MachineError, TextferError

INTERRUPTED = 130
BUG = 1


class Commands(click.Group):
    """Lists the commands in the order of a first day's work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were added."""
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="textfer")
@click.option("--import", "modules", multiple=True, metavar="MODULE", help="A Python file here with parts of your own.")
def cli(modules: Sequence[str]) -> None:
    """Transfer learning in text-to-text form: every task is text in, text out.

    --debug, anywhere, shows the traceback of an error.
    """
    if modules:
        sys.path.insert(0, os.getcwd())
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"--import: '{module}' cannot be imported ({error}).") from None


for command in (
    quickstart,
    ask,
    index_folder,
    search,
    summarize,
    translate,
    generate,
    embed,
    serve,
    prepare,
    train,
    evaluate,
    score,
    tune,
    submit,
    export,
    trace,
    show,
    tokenizer,
    vectors,
    compare,
    verify_resume,
    pack,
    doctor,
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; leaves with 0, or with the code of the kind of error."""
    # Threads that wait sleep instead of spin: beside another busy process spinning made training 30 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported, which comes later
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        code = cli.main(words, prog_name="textfer", standalone_mode=False) or 0
        sys.stdout.flush()
        sys.exit(code)
    except click.exceptions.Exit as left:
        sys.exit(left.exit_code)
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # no word at all; click 8.1 has no such class
            error.show(sys.stdout)
            sys.exit(0)
        _fail(_usage(error), 2)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted.", INTERRUPTED)
    except BrokenPipeError:  # the reader has seen enough; nothing is left to flush when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        _fail(*_told(error))


def _usage(error: click.ClickException) -> str:
    """What was wrong with the words, in one line that says where help is."""
    message = error.format_message().replace("\n", " ").rstrip()
    message += "" if message.endswith((".", "?", "!", ")")) else "."
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "textfer"
    own = path.removeprefix("textfer").strip()
    return f"{own}: {message} See {path} --help." if own else f"{message} See {path} --help."


def _told(error: Exception) -> tuple[str, int]:
    """(one line, exit code) for an error."""
    if isinstance(error, TextferError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}. Check the place, its rights and its room.", MachineError.exit_code
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        line = str(error).partition("\n")[0] or "out of memory"
        return f"{line}. Take a smaller batch_size, shorter texts or a smaller model.", MachineError.exit_code
    line = " ".join(str(error).split())
    return f"{type(error).__name__}: {line} (this is a bug; --debug shows where).", BUG


def _fail(message: str, code: int) -> None:
    click.echo(f"textfer: {message}", err=True)
    sys.exit(code)
