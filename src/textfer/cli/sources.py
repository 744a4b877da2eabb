"""Commands about folders of documents; and what `ask` shows of where an answer stands."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import click

from textfer.cli.parts import json_option, print_json
from textfer.errors import MachineError

if TYPE_CHECKING:
    from textfer.documents.index import Hit, Index, Refreshed
    from textfer.open_book import Reading, Sourced

SHOWN_SKIPPED = 20
"""Files that are listed one by one; --json lists all."""
SHOWN_SECONDS = 0.5
SHOWN_CHARS = 300
"""Of a passage."""
folder_argument = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
index_option = click.option(
    "--index",
    "place",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The index's file.  [default: in the cache]",
)


@click.command(name="index")
@folder_argument
@index_option
@click.option("--rebuild", is_flag=True, help="Delete the index and read every file anew.")
@json_option
def index_folder(folder: Path, place: Path | None, rebuild: bool, as_json: bool) -> None:
    """Read the documents of DIR into an index, or bring it up to date: text, Markdown, HTML, PDF, DOCX.

    Files that have not changed are not read again. A run that was stopped goes on where it was.
    """
    from textfer.documents.database import remove_index
    from textfer.documents.index import index_place, open_index

    place = place or index_place(folder)
    if rebuild:
        remove_index(place)
    with open_index(place, write=True) as index:
        found = index.refresh(folder, watch=_watch())
        documents, passages = index.num_documents, index.num_passages
    if as_json:
        print_json(
            {
                "index": str(place),
                "documents": documents,
                "passages": passages,
                "new": found.num_new,
                "changed": found.num_changed,
                "unchanged": found.num_unchanged,
                "removed": found.num_removed,
                "skipped": [{"path": path, "reason": why} for path, why in found.skipped],
                "notes": [{"path": path, "note": note} for path, note in found.notes],
                "seconds": found.seconds,
            }
        )
        return
    click.echo(
        f"{folder}: {documents:,} documents, {passages:,} passages; {found.num_new:,} new, "
        f"{found.num_changed:,} changed, {found.num_unchanged:,} unchanged, {found.num_removed:,} removed "
        f"({found.seconds:.1f} s)"
    )
    click.echo(f"index: {place}")
    _tell_skipped(found)


@click.command()
@folder_argument
@click.argument("words")
@index_option
@click.option("--count", default=5, show_default=True, type=click.IntRange(1), help="Passages shown.")
@json_option
def search(folder: Path, words: str, place: Path | None, count: int, as_json: bool) -> None:
    """Find the passages of DIR that fit WORDS best; the index is made or brought up to date first."""
    with open_folder(folder, place) as index:
        hits = index.search(words, count=count)
        passages = index.num_passages
    if as_json:
        print_json({"hits": [_as_dict(hit) for hit in hits], "passages": passages})
        return
    if not hits:
        click.echo(f"Nothing found in {passages:,} passages.")
    for hit in hits:
        click.echo(f"{hit.path}, {hit.place()}  ({hit.score:.3g})")
        click.echo(f"  {' '.join(hit.text.split())}")


def open_folder(folder: Path, place: Path | None) -> Index:
    """The index of a folder, up to date, or as it stands where another process writes it. Tells of files not read."""
    from textfer.documents.index import index_place, open_index

    place = place or index_place(folder)
    try:
        index = open_index(place, write=True)
        found = index.refresh(folder, watch=_watch())
    except MachineError as error:
        if "is locked" not in str(error) or not place.exists():
            raise
        click.echo("the folder is being indexed by another process: searched as far as that is.", err=True)
        return open_index(place)
    if found.skipped:
        count = len(found.skipped)
        click.echo(f"{count:,} file{'s' * (count > 1)} not read: textfer index {folder} lists them.", err=True)
    return index


def show_reading(reading: Reading, *, with_path: bool) -> None:
    """Prints an answer with its place, other answers, and how much was read."""
    best = reading.answer
    if best is None:
        click.echo(f"No answer.  ({reading.no_answer:.2f})")
    else:
        click.echo(f"{best.text}  ({best.score:.2f}, {_where(best, with_path=with_path)})")
        if best.start is not None:
            click.echo(f"  “{best.evidence}”")
        else:
            click.echo(f"  not in these words: “{shorten(best.evidence, SHOWN_CHARS, placeholder=' …')}”")
    for other in reading.alternatives:
        click.echo(
            f"  {'or' if best else 'perhaps'}: {other.text}  ({other.score:.2f}, {_where(other, with_path=with_path)})"
        )
    if reading.num_read < reading.num_passages:
        click.echo(
            f"  read {reading.num_read:,} of {reading.num_passages:,} passages: those that fit the question's words"
        )


def _where(answer: Sourced, *, with_path: bool) -> str:
    if with_path:
        also = f", and {answer.num_places - 1} more" if answer.num_places > 1 else ""
        return f"{answer.path}, {answer.place}{also}"
    return f"characters {answer.start}–{answer.end}" if answer.start is not None else "not word for word"


def _as_dict(hit: Hit) -> dict[str, object]:
    place = hit.place()
    return {
        "path": hit.path,
        "title": hit.title,
        "place": {"unit": place.unit, "first": place.first, "last": place.last},
        "start": hit.start,
        "end": hit.end,
        "score": hit.score,
        "text": hit.text,
    }


def _tell_skipped(found: Refreshed) -> None:
    for path, note in found.notes[:SHOWN_SKIPPED]:
        click.echo(f"note: {path}: {note}", err=True)
    kinds = Counter(why for _, why in found.skipped if why.startswith("unknown kind"))
    told = [f"{path}: {why}" for path, why in found.skipped if why not in kinds]
    for line in told[:SHOWN_SKIPPED]:
        click.echo(f"skipped: {line}", err=True)
    if len(told) > SHOWN_SKIPPED:
        click.echo(f"skipped: {len(told) - SHOWN_SKIPPED:,} more; --json lists all", err=True)
    for why, count in kinds.items():
        click.echo(f"skipped: {count:,} file{'s' * (count > 1)} of {why}", err=True)


def _watch() -> Callable[[str], None] | None:
    """Shows on a terminal how far reading is."""
    if not sys.stderr.isatty():
        return None
    state = {"count": 0, "shown": time.monotonic()}

    def watch(path: str) -> None:
        state["count"] += 1
        if time.monotonic() - state["shown"] > SHOWN_SECONDS:
            state["shown"] = time.monotonic()
            click.echo(f"\r\x1b[K{state['count']:,} files read: {path[-60:]}\r", nl=False, err=True)

    return watch
