"""Commands that ask a model: questions, and any text."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textfer.cli.parts import (
    READER,
    WRITER,
    beams_option,
    chosen_model,
    chosen_model_option,
    cut_option,
    json_option,
    print_json,
    stdin_lines,
    weights_option,
)
from textfer.cli.prompt import on_terminal, questions, staying
from textfer.cli.sources import index_option, open_folder, show_reading
from textfer.errors import ConfigError

if TYPE_CHECKING:
    from textfer.answer import Answer
    from textfer.documents.document import Document
    from textfer.models.int8 import Weights


@click.command()
@click.argument("question", required=False)
@click.option("--context", help="The text that holds the answer.")
@click.option("--file", "files", type=click.Path(path_type=Path), multiple=True, help="A document that holds it.")
@click.option(
    "--docs", type=click.Path(path_type=Path), metavar="DIR", help="A folder of documents; it is indexed first."
)
@click.option("--closed-book", is_flag=True, help="Answer from what the model remembers.")
@chosen_model_option
@weights_option
@click.option(
    "--passages", "count", type=click.IntRange(1), help="Passages read at most.  [default: 10 of --docs, else 64]"
)
@click.option("--min-score", default=0.0, type=click.FloatRange(0, 1), help="Less likely answers are not given.")
@index_option
@beams_option
@cut_option
@json_option
def ask(
    question: str | None,
    context: str | None,
    files: Sequence[Path],
    docs: Path | None,
    closed_book: bool,
    model: str | None,
    weights: Weights,
    count: int | None,
    min_score: float,
    place: Path | None,
    beams: int,
    max_input_tokens: int | None,
    as_json: bool,
) -> None:
    """Answer a QUESTION about a text, from documents or from memory; without a QUESTION, a prompt.

    Texts of any length are read in passages. The answer comes with its file, its page or line, and its sentence.
    """
    if [context is not None, bool(files), docs is not None, closed_book].count(True) != 1:
        raise ConfigError("ask: give exactly one of --context, --file, --docs and --closed-book.")
    for what, text in (("question", question), ("context", context)):
        if text is not None and not text.strip():
            raise ConfigError(f"ask: the {what} is empty.")
    if closed_book and model is None:
        raise ConfigError("--closed-book: needs a model that remembers; those of the package do not. Add --model.")
    if place is not None and docs is None:
        raise ConfigError("ask: --index cannot take effect without --docs. Drop it.")

    # what is wrong with sources is said before torch is imported
    documents = _documents(context, files)
    folder = open_folder(docs, place) if docs is not None else None
    from textfer import load
    from textfer.generate import Decoding
    from textfer.open_book import FOUND_PASSAGES, TEXT_PASSAGES, text_index
    from textfer.open_book import ask as read_and_answer

    reader = load(chosen_model(model, READER), weights=weights)
    decoding = Decoding(beams=beams, max_input_tokens=max_input_tokens)
    index = folder or (text_index(documents, reader.predictor.tokenizer) if documents else None)
    most = count or (FOUND_PASSAGES if folder else TEXT_PASSAGES)
    typed = question is None and on_terminal()
    for one in [question.strip()] if question is not None else questions("question> "):
        with staying(where=typed):
            if index is None:
                _show_answer(reader.answer(one, decoding=decoding), as_json)
                continue
            found = read_and_answer(reader, index, one, count=most, min_score=min_score, decoding=decoding)
            if as_json:
                click.echo(json.dumps(found.as_dict(), ensure_ascii=False))
            else:
                show_reading(found, with_path=context is None)
        sys.stdout.flush()  # whoever sent the question through a pipe waits for this line


def _documents(context: str | None, files: Sequence[Path]) -> list[Document]:
    from textfer.documents.read import parse, read_document

    if context is not None:
        return [parse(context.encode(errors="replace"), ".txt", name="--context")]
    documents = [read_document(path) for path in dict.fromkeys(files)]
    for document in documents:
        for note in document.notes:
            click.echo(f"note: {document.path}: {note}", err=True)
    return documents


def _show_answer(answer: Answer, as_json: bool) -> None:
    if as_json:
        values = answer.as_dict()
        click.echo(json.dumps({"answer": values.pop("text"), **values}, ensure_ascii=False))
    else:
        click.echo(f"{answer.text if answer.text is not None else 'No answer.'}  ({answer.score:.2f})")
    sys.stdout.flush()


@click.command()
@click.argument("texts", nargs=-1)
@chosen_model_option
@weights_option
@click.option("--task", "prefix", default="", help="Prefix words put before every text, such as 'summarize:'.")
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@beams_option
@click.option("--length-penalty", type=click.FloatRange(0), help="α of beam search.  [default: 0.6]")
@click.option("--sample", is_flag=True, help="Draw tokens at random.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), help="Sampling only.")
@click.option("--top-k", type=click.IntRange(1), help="Sampling only.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Sampling only.")
@click.option("--seed", type=int, help="Sampling only.")
@cut_option
@json_option
def generate(
    texts: Sequence[str],
    model: str | None,
    weights: Weights,
    prefix: str,
    max_new_tokens: int,
    beams: int,
    length_penalty: float | None,
    sample: bool,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    max_input_tokens: int | None,
    as_json: bool,
) -> None:
    """Write what follows each TEXT; lines of stdin when there is none. An empty line gives an empty line."""
    from textfer import load
    from textfer.config import build
    from textfer.generate import Decoding, check_decoding

    given = {
        "max_new_tokens": max_new_tokens,
        "beams": beams,
        "length_penalty": length_penalty,
        "sample": sample,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "max_input_tokens": max_input_tokens,
    }
    values = {name: value for name, value in given.items() if value is not None}
    decoding = check_decoding(build(Decoding, values, where="generate"), where="generate")
    inputs = list(texts) or list(stdin_lines())
    if not any(text.strip() for text in inputs):
        raise ConfigError("generate: no text. Give some, or lines on stdin.")
    words = [f"{prefix} {text}" if prefix else text for text in inputs if text.strip()]
    found = iter(load(chosen_model(model, WRITER), weights=weights).generate(words, decoding=decoding))
    outputs = [(text, next(found) if text.strip() else "") for text in inputs]
    if as_json:
        print_json({"outputs": [{"input": text, "output": output} for text, output in outputs]})
    else:
        for _, output in outputs:
            click.echo(output)
