"""Commands about word vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from textfer.cli.parts import data_option, json_option, print_json
from textfer.errors import ConfigError

if TYPE_CHECKING:
    from textfer.models.cbow import CbowOptions, Progress
    from textfer.models.word_vectors import Near, WordVectors

path_type = click.Path(path_type=Path)
count_option = click.option("--count", default=10, show_default=True, type=click.IntRange(1), help="Words to show.")


@click.group()
def vectors() -> None:
    """Learn word vectors (CBOW), or look into some.

    Files: .txt and .vec (word2vec's text), .bin (word2vec's binary), .safetensors.
    """


@vectors.command(name="train")
@click.argument("out", type=path_type)
@click.option("--task", "tasks", required=True, multiple=True, help="A task, or a file, whose texts are read.")
@click.option("--split", default="train", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only the first examples of each task.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="dim=300, window=5, epochs=5, cut=spaces, …"
)
@click.option(
    "--tokenizer",
    "vocabulary",
    help="Vectors for the pieces of this vocabulary; OUT is then a folder: a model that heads can be put upon.",
)
@data_option
@json_option
def vectors_train(
    out: Path,
    tasks: Sequence[str],
    split: str,
    limit: int | None,
    settings: Sequence[str],
    vocabulary: str | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Learn a vector for every word of the tasks' texts, by CBOW, and write them to OUT."""
    from textfer.config import apply_overrides, build
    from textfer.evaluate import iter_examples
    from textfer.models.cbow import CbowOptions
    from textfer.models.cbow_files import SUFFIXES, file_format
    from textfer.recipe import find_task

    values = apply_overrides({}, settings)
    options = build(CbowOptions, values, where="--set")
    if vocabulary is None:
        file_format(out)
    elif "cut" in values:
        raise ConfigError("--set cut: cannot take effect, --tokenizer cuts the text. Drop one of them.")
    elif out.suffix in SUFFIXES or out.is_file():
        raise ConfigError(f"{out}: with --tokenizer a folder is written, expected the name of one.")
    chosen = [find_task(name) for name in tasks]

    def texts() -> Iterator[str]:
        for task in chosen:
            for example in islice(iter_examples(task, split, data_dir=data_dir), limit):
                yield from (text for text in (example.inputs, example.targets) if text)

    last: list[Progress] = []

    def told(now: Progress) -> None:
        if last and now.epoch > last[0].epoch:
            _tell(last[0])
        last[:] = [now]

    learnt = _learnt(out, vocabulary, texts(), options, told)
    _tell(last[0])
    facts = {"path": str(out), "words": len(learnt), "dim": learnt.dim, "read": last[0].of // options.epochs}
    if as_json:
        print_json({**facts, "epochs": options.epochs, "loss": last[0].loss})
        return
    what = "words" if vocabulary is None else "pieces"
    click.echo(f"{out}: {len(learnt):,} {what}, {learnt.dim} numbers each, from {facts['read']:,} {what} of text")
    click.echo(f"next: textfer vectors near {out} {learnt.words[0]}")


def _learnt(
    out: Path,
    vocabulary: str | None,
    texts: Iterator[str],
    options: CbowOptions,
    told: Callable[[Progress], None],
) -> WordVectors:
    """The vectors, written to OUT."""
    if vocabulary is None:
        from textfer.models.cbow import train_cbow
        from textfer.models.cbow_files import save_vectors

        vectors = train_cbow(texts, options, progress=told)
        save_vectors(vectors, out)
        return vectors
    from textfer.models.cbow_model import piece_vectors, train_pieces
    from textfer.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(vocabulary)
    model = train_pieces(texts, tokenizer, options, progress=told)
    model.save(out)
    tokenizer.save(out)
    return piece_vectors(model, tokenizer)


def _read(path: Path, *, limit: int | None = None) -> WordVectors:
    """The vectors of a file, or of a folder that --tokenizer wrote."""
    from textfer.models.cbow_files import read_vectors

    if not path.is_dir():
        return read_vectors(path, limit=limit)
    from textfer.models.cbow_model import Cbow, piece_vectors
    from textfer.models.word_vectors import WordVectors
    from textfer.tokenizers import load_tokenizer

    found = piece_vectors(Cbow.load(path), load_tokenizer(str(path)))
    return WordVectors(found.words[:limit], found.vectors[:limit])


def _tell(now: Progress) -> None:
    """One line an epoch."""
    speed = f"{now.words_per_second:,.0f} words/s"
    click.echo(f"epoch {now.epoch}: {now.words:,} of {now.of:,} words, loss {now.loss:.3f}, {speed}", err=True)


@vectors.command(name="near")
@click.argument("path", metavar="VECTORS", type=path_type)
@click.argument("words", nargs=-1, required=True)
@count_option
@json_option
def vectors_near(path: Path, words: Sequence[str], count: int, as_json: bool) -> None:
    """Show the words nearest to each WORD, with their cosines."""
    known = _read(path)
    found = {word: known.near(word, count) for word in words}
    if as_json:
        print_json({"near": {word: [near._asdict() for near in nearest] for word, nearest in found.items()}})
        return
    for word, nearest in found.items():
        click.secho(word, bold=True)
        _show(nearest)


@vectors.command(name="analogy")
@click.argument("path", metavar="VECTORS", type=path_type)
@click.argument("words", nargs=3, metavar="ONE OTHER THIRD")
@count_option
@json_option
def vectors_analogy(path: Path, words: tuple[str, str, str], count: int, as_json: bool) -> None:
    """Show what is to THIRD as OTHER is to ONE: `man king woman` should give queen."""
    found = _read(path).analogy(*words, count=count)
    if as_json:
        print_json({"analogy": [near._asdict() for near in found]})
        return
    _show(found)


@vectors.command(name="convert")
@click.argument("path", metavar="VECTORS", type=path_type)
@click.argument("out", type=path_type)
@click.option("--limit", type=click.IntRange(1), help="Only the first words, which are the most frequent ones.")
def vectors_convert(path: Path, out: Path, limit: int | None) -> None:
    """Write the vectors of a file in another format, as the suffix of OUT says."""
    from textfer.models.cbow_files import file_format, save_vectors

    file_format(out)
    known = _read(path, limit=limit)
    save_vectors(known, out)
    click.echo(f"{out}: {len(known):,} words, {known.dim} numbers each")


def _show(found: Sequence[Near]) -> None:
    for near in found:
        click.echo(f"  {near.cosine:6.3f}  {near.word}")
