"""The command that gives vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from textfer.cli.parts import json_option, model_option, print_json, stdin_lines
from textfer.errors import ConfigError

if TYPE_CHECKING:
    from textfer.embed import Embedder


@click.command()
@click.argument("texts", nargs=-1)
@model_option
@click.option(
    "--pooling", type=click.Choice(["mean", "first", "last"]), help="Over tokens.  [default: the model's rule]"
)
@click.option("--layers", metavar="N,N,…", help="The mean of these: 0 = the embeddings, -1 = the top.  [default: -1]")
@click.option("--raw", is_flag=True, help="Vectors as they are, not of length 1.")
@click.option("--tokens", is_flag=True, help="A vector for every token.")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1))
@json_option
def embed(
    texts: Sequence[str],
    model: str,
    pooling: str | None,
    layers: str | None,
    raw: bool,
    tokens: bool,
    batch_size: int,
    as_json: bool,
) -> None:
    """Turn each TEXT into a vector: a line of numbers each; lines of stdin when there is none."""
    given: dict[str, object] = {} if pooling is None else {"pooling": pooling}
    if layers is not None:
        try:
            given["layers"] = tuple(int(part) for part in layers.split(","))
        except ValueError:
            raise ConfigError(
                f"--layers: got '{layers}', expected numbers with commas between, such as -1,-2."
            ) from None
    if raw:
        given["normalise"] = False
    if tokens and (pooling is not None or raw):
        raise ConfigError(
            "--tokens: every token has its own vector; --pooling and --raw cannot take effect. Drop them."
        )
    inputs = list(texts) or list(stdin_lines())
    if not any(text.strip() for text in inputs):
        raise ConfigError("embed: no text. Give some, or lines on stdin.")
    from textfer import load
    from textfer.config import build
    from textfer.embed import Embedder, EmbedOptions
    from textfer.reader import TextReader

    reader = load(model)
    rule = reader.rule if isinstance(reader, TextReader) else EmbedOptions()
    options = build(EmbedOptions, {**rule.model_dump(), **given}, where="embed")
    embedder = Embedder(reader.predictor.model, reader.predictor.tokenizer, options)
    if tokens:
        _show_tokens(embedder, inputs, as_json)
        return
    found = embedder.vectors(inputs, batch_size=batch_size)
    if as_json:
        vectors = [{"text": text, "vector": row.tolist()} for text, row in zip(inputs, found, strict=True)]
        print_json({"dim": found.shape[1], "options": options.model_dump(mode="json"), "vectors": vectors})
        return
    for row in found:
        click.echo(" ".join(f"{number:.7g}" for number in row))


def _show_tokens(embedder: Embedder, inputs: Sequence[str], as_json: bool) -> None:
    found = [(text, *embedder.embed_tokens(text)) for text in inputs]
    if as_json:
        print_json(
            {
                "dim": found[0][2].shape[1],
                "texts": [{"text": text, "tokens": pieces, "vectors": rows.tolist()} for text, pieces, rows in found],
            }
        )
        return
    for _, pieces, rows in found:
        for piece, row in zip(pieces, rows, strict=True):
            click.echo(f"{piece}\t" + " ".join(f"{number:.7g}" for number in row))
        click.echo("")
