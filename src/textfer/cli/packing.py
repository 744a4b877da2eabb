"""The command that makes a trained model small enough to lie in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from textfer.cli.parts import json_option, print_json

MIB = 1 << 20
TEXT = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@click.argument("run")
@click.argument("name")
@click.option("--bits", type=click.Choice(["8", "16"]), default="8", show_default=True, help="Of a weight.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the folder NAME goes.  [default: the package, where every command finds NAME]",
)
@click.option("--summary", help="One line.  [default: that of the run's recipe]")
@click.option("--licence", default="", help="Of the weights, such as Apache-2.0.")
@click.option("--made-from", help="What the weights began as.  [default: as the run says]")
@click.option("--licence-file", type=TEXT, help="The licence's text.  [default: a draft]")
@click.option("--notice", type=TEXT, help="What the weights' beginnings and data ask to be said.  [default: a draft]")
@click.option("--card", type=TEXT, help="The model card.  [default: a draft]")
@json_option
def pack(
    run: str,
    name: str,
    bits: Literal["8", "16"],
    out: Path | None,
    summary: str | None,
    licence: str,
    made_from: str | None,
    licence_file: Path | None,
    notice: Path | None,
    card: Path | None,
    as_json: bool,
) -> None:
    """Write the model of RUN (its best checkpoint; or any hub-format folder) as NAME: small, with digests.

    Beside the weights lie LICENSE, NOTICE and card.md. `textfer show models` lists what is in the package.
    """
    from textfer.models.packed import read_manifest
    from textfer.shipping import ship

    given = {"LICENSE": licence_file, "NOTICE": notice, "card.md": card}
    about = {"summary": summary, "licence": licence, "made_from": made_from}
    shipped = ship(
        run,
        name,
        bits=8 if bits == "8" else 16,
        out=out,
        about={key: text for key, text in about.items() if text is not None},
        papers={paper: path for paper, path in given.items() if path is not None},
    )
    if as_json:
        print_json(
            {"folder": str(shipped.folder), "num_bytes": shipped.num_bytes, "drafted": list(shipped.drafted)},
        )
        return
    click.echo(f"{shipped.folder}: {shipped.num_bytes / MIB:,.1f} MiB, digests in packed.json.")
    if shipped.drafted:
        click.echo(f"Drafts, to be read before it is given away: {', '.join(shipped.drafted)}.")
    model = name if out is None else shipped.folder
    finds = "finds answers" in str(read_manifest(shipped.folder).get("can"))
    command = f"ask --model {model} --context …" if finds else f"generate --model {model}"
    click.echo(f'Next: textfer {command} "…"')
