"""Commands that ask a model: questions, and any text."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textfer.cli.parts import beams_option, cut_option, json_option, model_option, print_json, stdin_lines
from textfer.errors import ConfigError

if TYPE_CHECKING:
    from textfer.answer import Answer


@click.command()
@click.argument("question", required=False)
@click.option("--context", help="The text that holds the answer.")
@click.option(
    "--file", "files", type=click.Path(path_type=Path), multiple=True, help="A text file that holds the answer."
)
@click.option("--closed-book", is_flag=True, help="Answer from what the model remembers.")
@model_option
@beams_option
@cut_option
@json_option
def ask(
    question: str | None,
    context: str | None,
    files: Sequence[Path],
    closed_book: bool,
    model: str,
    beams: int,
    max_input_tokens: int | None,
    as_json: bool,
) -> None:
    """Answer a QUESTION about a text. Without a QUESTION: one question a line, until the end of input."""
    if [context is not None, bool(files), closed_book].count(True) != 1:
        raise ConfigError("ask: give exactly one of --context, --file and --closed-book.")
    for what, text in (("question", question), ("context", context)):
        if text is not None and not text.strip():
            raise ConfigError(f"ask: the {what} is empty.")

    from textfer.data.source import read_text  # what is wrong above is said before torch is imported

    text = "\n\n".join(map(read_text, files)) if files else context
    from textfer import load
    from textfer.generate import Decoding

    reader = load(model)
    decoding = Decoding(beams=beams, max_input_tokens=max_input_tokens)
    questions = [question] if question is not None else stdin_lines("question> ")
    for one in questions:
        if one.strip():
            _show_answer(reader.answer(one.strip(), context=text, decoding=decoding), as_json)


def _show_answer(answer: Answer, as_json: bool) -> None:
    if as_json:
        values = answer.as_dict()
        click.echo(json.dumps({"answer": values.pop("text"), **values}, ensure_ascii=False))
    elif answer.text is None:
        click.echo(f"No answer.  ({answer.score:.2f})")
    else:
        place = f", characters {answer.start}–{answer.end}" if answer.start is not None else ""
        click.echo(f"{answer.text}  ({answer.score:.2f}{place})")
        if answer.evidence:
            click.echo(f"  “{answer.evidence}”")
    sys.stdout.flush()  # whoever sent the question through a pipe waits for this line


@click.command()
@click.argument("texts", nargs=-1)
@model_option
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
    model: str,
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
    found = iter(load(model).generate(words, decoding=decoding))
    outputs = [(text, next(found) if text.strip() else "") for text in inputs]
    if as_json:
        print_json({"outputs": [{"input": text, "output": output} for text, output in outputs]})
    else:
        for _, output in outputs:
            click.echo(output)
