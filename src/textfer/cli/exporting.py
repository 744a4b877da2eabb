"""The command that writes models for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from textfer.cli.parts import json_option, print_json

if TYPE_CHECKING:
    from textfer.export import Form


@click.command()
@click.argument("model")
@click.argument("out", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "form",
    required=True,
    type=click.Choice(["hf", "onnx", "ct2"]),
    help="hf: for transformers. onnx: a graph, of models that read. ct2: for CTranslate2, of a T5.",
)
@json_option
def export(model: str, out: Path, form: Form, as_json: bool) -> None:
    """Write MODEL for another program into DIR, once it answers there as it does here.

    The other program is asked the same texts; where an answer or a number is another, nothing is written.
    """
    from textfer.export import export as write

    done = write(model, form, out)
    if as_json:
        print_json(
            {
                "folder": str(done.folder),
                "form": done.form,
                "num_probes": done.num_probes,
                "furthest": done.furthest,
                "num_bytes": done.num_bytes,
            }
        )
        return
    click.echo(
        f"{done.folder}: {done.num_bytes / 1e6:,.1f} MB. All {done.num_probes} probes are answered as here; "
        f"numbers differ by {done.furthest:.1g} of the largest at most."
    )
