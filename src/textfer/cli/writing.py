"""Commands that write a text anew: shorter, or in another language."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textfer.cli.parts import WRITER, chosen_model, chosen_model_option, json_option, print_json
from textfer.errors import ConfigError, DataError

if TYPE_CHECKING:
    from textfer.answer import TextToText

files_option = click.option(
    "--file", "files", type=click.Path(path_type=Path), multiple=True, help="A document: text, HTML, PDF, DOCX."
)


@click.command()
@click.argument("texts", nargs=-1)
@files_option
@chosen_model_option
@click.option("--max-new-tokens", default=200, show_default=True, type=click.IntRange(1), help="Longest summary.")
@json_option
def summarize(
    texts: Sequence[str], files: Sequence[Path], model: str | None, max_new_tokens: int, as_json: bool
) -> None:
    """Write a summary of each TEXT or file, or of stdin; of any length.

    The model must have learnt it after T5's words `summarize: `.
    """

    def act(writer: TextToText, inputs: list[str]) -> list[str]:
        from textfer.writing import SUMMARY

        return writer.summarize(inputs, decoding=SUMMARY.model_copy(update={"max_new_tokens": max_new_tokens}))

    _write("summarize", _sources("summarize", texts, files), model, act, as_json=as_json)


@click.command()
@click.argument("texts", nargs=-1)
@files_option
@chosen_model_option
@click.option("--from", "source", default="English", show_default=True, help="Language of the text.")
@click.option("--to", "target", default="German", show_default=True, help="Language to be written.")
@json_option
def translate(
    texts: Sequence[str], files: Sequence[Path], model: str | None, source: str, target: str, as_json: bool
) -> None:
    """Write each TEXT or file, or stdin, in another language, sentence by sentence; of any length.

    The model must have learnt it after T5's words `translate English to German: `, with the languages' names.
    """

    def act(writer: TextToText, inputs: list[str]) -> list[str]:
        return writer.translate(inputs, source=source, target=target)

    _write("translate", _sources("translate", texts, files), model, act, as_json=as_json)


def _sources(where: str, texts: Sequence[str], files: Sequence[Path]) -> list[tuple[str | None, str]]:
    """(file, text) of all that was given; of stdin where nothing was."""
    if texts and files:
        raise ConfigError(f"{where}: got texts and files, expected one of both. Drop one.")
    if files:
        from textfer.documents.read import read_document

        documents = [read_document(path) for path in files]
        for document in documents:
            for note in document.notes:
                click.echo(f"note: {document.path}: {note}", err=True)
        return [(document.path, document.text) for document in documents]
    if not texts:
        try:
            texts = [sys.stdin.read()]
        except UnicodeDecodeError:
            raise DataError("stdin: is not UTF-8. Convert it first.") from None
        if not texts[0].strip():
            raise ConfigError(f"{where}: no text. Give some, a --file, or text on stdin.")
    return [(None, text) for text in texts]


def _write(
    where: str,
    sources: Sequence[tuple[str | None, str]],
    model: str | None,
    act: Callable[[TextToText, list[str]], list[str]],
    *,
    as_json: bool,
) -> None:
    """Prints what was written of each."""
    name = chosen_model(model, WRITER)
    from textfer import TextToText, load

    writer = load(name)
    if not isinstance(writer, TextToText):
        raise ConfigError(f"{where}: {name} reads and writes nothing. Name a model that writes.")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", UserWarning)
        outputs = act(writer, [text for _, text in sources])
    for one in told:
        click.echo(f"note: {one.message}", err=True)
    if as_json:
        values = [{"file": file, "output": output} for (file, _), output in zip(sources, outputs, strict=True)]
        print_json({"outputs": values})
    else:
        for output in outputs:
            click.echo(output)
