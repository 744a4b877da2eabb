"""Commands about vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textfer.cli.parts import data_option, json_option, print_json, stdin_lines

if TYPE_CHECKING:
    from textfer.tokenizers.base import Piece


@click.group()
def tokenizer() -> None:
    """Learn a vocabulary, or look into one."""


@tokenizer.command(name="train")
@click.argument("out_dir", type=click.Path(path_type=Path))
@click.option("--task", "tasks", required=True, multiple=True, help="A task, or a file, whose texts are read.")
@click.option("--split", default="train", show_default=True)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="vocab_size=16000, algorithm=bpe, marks=true, algorithm=wordpiece, …",
)
@data_option
@json_option
def tokenizer_train(
    out_dir: Path, tasks: Sequence[str], split: str, settings: Sequence[str], data_dir: Path | None, as_json: bool
) -> None:
    """Learn a vocabulary and write it to OUT_DIR.

    SentencePiece with T5's sentinels; with --set marks=true also [CLS], [SEP] and [MASK], for one vocabulary of all
    models; with --set algorithm=wordpiece (lowercase=false: cased) BERT's kind, which transformers reads.
    """
    from dataclasses import asdict

    from textfer.config import apply_overrides, build
    from textfer.evaluate import iter_examples
    from textfer.recipe import find_task
    from textfer.tokenizers import TokenizerOptions, WordPieceOptions, train_sentencepiece, train_wordpiece

    table = apply_overrides({}, settings)
    chosen = [find_task(name) for name in tasks]
    examples = (example for task in chosen for example in iter_examples(task, split, data_dir=data_dir))
    texts = (text for example in examples for text in (example.inputs, example.targets) if text)
    if table.get("algorithm") == "wordpiece":
        report = train_wordpiece(texts, out_dir, build(WordPieceOptions, table, where="--set"))
    else:
        report = train_sentencepiece(texts, out_dir, build(TokenizerOptions, table, where="--set"))
    if as_json:
        print_json(asdict(report))
        return
    coverage = report.coverage
    click.echo(f"{out_dir}: {report.num_pieces:,} pieces, {report.vocab_size:,} rows, {report.seconds:.1f} s")
    click.echo(
        f"learnt from {report.sample_chars:,} of {report.num_chars:,} characters; on {report.measured_on}: "
        f"{coverage.tokens_per_word:.2f} tokens a word, {coverage.unknown_chars:.4%} of characters unknown, "
        f"{coverage.byte_chars:.4%} spelt in bytes"
    )
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)


@tokenizer.command(name="inspect")
@click.argument("name")
@click.argument("texts", nargs=-1)
@json_option
def tokenizer_inspect(name: str, texts: Sequence[str], as_json: bool) -> None:
    """Show pieces, ids and what became unknown, for each TEXT (lines of stdin when there is none)."""
    from textfer.tokenizers import load_tokenizer

    of_run = Path(name) / "tokenizer"
    vocabulary = load_tokenizer(str(of_run) if of_run.is_dir() else name)
    seen = [(text, vocabulary.normalise(text), vocabulary.inspect(text)) for text in list(texts) or stdin_lines()]
    if as_json:
        print_json({"texts": [_as_dict(text, normal, pieces) for text, normal, pieces in seen]})
        return
    for text, normal, pieces in seen:
        click.echo(f"{text!r} is seen as {normal!r}, {len(pieces)} tokens")
        for piece in pieces:
            note = "" if piece.kind == "known" else piece.kind
            click.echo(f"  {piece.id:>7}  {piece.piece:<24}  {note}".rstrip())


def _as_dict(text: str, normal: str, pieces: Sequence[Piece]) -> dict[str, Any]:
    return {"text": text, "seen_as": normal, "pieces": [piece._asdict() for piece in pieces]}
