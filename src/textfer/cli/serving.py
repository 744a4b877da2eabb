"""The command that serves models over HTTP."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textfer.cli.parts import READER, WRITER, chosen_model, weights_option
from textfer.errors import ConfigError, DataError, MachineError

if TYPE_CHECKING:
    from textfer.models.int8 import Weights

NEEDED = ("fastapi", "uvicorn", "prometheus_client")
KEYS = "TEXTFER_API_KEYS"
MIN_KEY_CHARS = 16


@click.command()
@click.argument("models", nargs=-1, metavar="MODEL…")
@click.option("--name", "names", multiple=True, metavar="NAME=MODEL", help="A model under a name of your own.")
@click.option("--adapter", "adapters", multiple=True, metavar="MODEL:NAME=RUN", help="A run's changes, by request.")
@weights_option
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=8100, show_default=True, type=click.IntRange(0, 65535), help="0 = any that is free.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Another name it may be called by.")
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"One key a line; clients must send one.  [env: {KEYS}]",
)
@click.option("--runs", "runs_dir", type=click.Path(path_type=Path), help="A folder of runs, whose curves are shown.")
@click.option("--max-body-mb", type=click.IntRange(1, 1024), help="Of a request's body.  [default: 8]")
@click.option("--max-chars", type=click.IntRange(1), help="Of a request's texts.  [default: 400000]")
@click.option("--max-items", type=click.IntRange(1), help="Texts of a request.  [default: 64]")
@click.option("--max-new-tokens", type=click.IntRange(1), help="That a request may ask for.  [default: 1024]")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds to an answer.  [default: 60]")
@click.option("--grace", type=click.FloatRange(0), help="Seconds for answers under way at the end.  [default: 20]")
@click.option("--slots", type=click.IntRange(1), help="Texts that a model writes at once.  [default: 16]")
@click.option("--queue", type=click.IntRange(1), help="Requests that wait for a model.  [default: 256]")
def serve(
    models: Sequence[str],
    names: Sequence[str],
    adapters: Sequence[str],
    weights: Weights,
    host: str,
    port: int,
    hosts: Sequence[str],
    api_key_file: Path | None,
    runs_dir: Path | None,
    max_body_mb: int | None,
    max_chars: int | None,
    max_items: int | None,
    max_new_tokens: int | None,
    timeout: float | None,
    grace: float | None,
    slots: int | None,
    queue: int | None,
) -> int:
    """Answer over HTTP: a web page, routes for programs, OpenAI's completions. MODEL as for the other commands.

    Without a MODEL the starter models of the package are served. Ctrl-C ends it, after the answers under way.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise MachineError(f'serve: needs {missing[0].replace("_", "-")}. Run `pip install "textfer[serve]"`.')
    places = model_places(models, names)
    runs_of = adapter_places(adapters)
    keys = read_keys(api_key_file)
    if runs_dir is not None and not runs_dir.is_dir():
        raise ConfigError(f"--runs: {runs_dir} is no folder. Name the one that holds the run folders.")
    bounds = {
        "body_bytes": max_body_mb and max_body_mb << 20,
        "chars": max_chars,
        "items": max_items,
        "new_tokens": max_new_tokens,
        "seconds": timeout,
        "grace_seconds": grace,
    }
    from textfer.serve.server import bind, is_loopback

    listener = bind(host, port)  # what is wrong with it is said before models are loaded
    allowed = None if not is_loopback(host) and not hosts else [*hosts, host]
    if not is_loopback(host) and not keys:
        click.echo(f"warning: {host} can be reached from other machines, and no key is asked for.", err=True)
    try:
        told = _serve(
            listener,
            places=places,
            adapters=runs_of,
            weights=weights,
            engine={"slots": slots, "max_queue": queue, "timeout": timeout},
            about={"limits": bounds, "keys": keys, "hosts": allowed, "runs_dir": runs_dir},
        )
    finally:
        listener.close()
    if told == signal.SIGINT:
        raise KeyboardInterrupt
    return 0


def _serve(
    listener: Any,
    *,
    places: Mapping[str, str],
    adapters: Mapping[str, Mapping[str, Path]],
    weights: Weights,
    engine: Mapping[str, Any],
    about: dict[str, Any],
) -> int | None:
    """Loads the models and answers; the signal that ended it."""
    from textfer.engine import EngineOptions
    from textfer.serve.limits import Limits
    from textfer.serve.server import place_of, serve
    from textfer.serve.service import LOOPBACK, Service
    from textfer.serve.shelf import open_shelf

    limits = Limits(**{name: value for name, value in about.pop("limits").items() if value is not None})
    options = EngineOptions(**{name: value for name, value in engine.items() if value is not None})
    shelf = open_shelf(places, adapters, options=options, weights=weights)
    hosts = about.pop("hosts")
    service = Service(shelf, limits=limits, hosts=None if hosts is None else [*LOOPBACK, *hosts], log=_log, **about)
    for one in shelf:
        names = [f"{name} ({', '.join(one.can(name))})" for name in one.adapters]
        under = f"; adapters {', '.join(names)}" if names else ""
        click.echo(f"{one.name}: {', '.join(one.can())}{under}", err=True)
    click.echo(f"serving at {place_of(listener)} (Ctrl-C ends it)", err=True)
    return serve(service, listener)


def _log(line: str) -> None:
    from datetime import datetime

    click.echo(f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}", err=True)


def model_places(models: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Name → where the model lies. Errors: ConfigError for words that are not NAME=MODEL, or a name given twice."""
    from textfer.serve.names import name_of

    found: dict[str, str] = {}
    pairs = [_split(word, "--name", "NAME=MODEL") for word in names]
    pairs += [(name_of(model), model) for model in models or ([] if pairs else default_models())]
    for name, place in pairs:
        if name in found:
            raise ConfigError(f"serve: two models are called '{name}'. Name one otherwise: --name NAME={place}.")
        found[name] = place
    return found


def default_models() -> list[str]:
    """The package's starter models. Errors: ConfigError where there are none."""
    from textfer.models.packed import embedded_folder

    found = [name for name in (READER, WRITER) if embedded_folder(name) is not None]
    return found or [chosen_model(None, READER, WRITER)]


def adapter_places(words: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Model → adapter → run. Errors: ConfigError for words that are not MODEL:NAME=RUN."""
    found: dict[str, dict[str, Path]] = {}
    for word in words:
        both, run = _split(word, "--adapter", "MODEL:NAME=RUN")
        model, _, name = both.partition(":")
        if not name:
            raise ConfigError(f"--adapter: got '{word}', expected MODEL:NAME=RUN.")
        if name in found.setdefault(model, {}):
            raise ConfigError(f"--adapter: the model '{model}' gets two adapters '{name}'. Name one otherwise.")
        found[model][name] = Path(run)
    return found


def read_keys(path: Path | None) -> list[str]:
    """The keys of a file, else of the environment; none = no key is asked for. Errors: DataError, ConfigError."""
    if path is None:
        where, text = KEYS, os.environ.get(KEYS, "")
        keys = text.replace(",", " ").split()
    else:
        where = str(path)
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except UnicodeDecodeError:
            raise DataError(f"{path}: is not UTF-8. Give a text file with one key a line.") from None
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise DataError(f"{path}: holds no key, expected one a line.")
    for number, key in enumerate(keys, start=1):
        if len(key) < MIN_KEY_CHARS or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError(
                f"{where}: key {number} cannot be one, expected {MIN_KEY_CHARS} ASCII characters or more, no space. "
                "Draw one with `openssl rand -hex 24`."
            )
    return keys


def _split(word: str, option: str, form: str) -> tuple[str, str]:
    name, equals, place = word.partition("=")
    if not equals or not name or not place:
        raise ConfigError(f"{option}: got '{word}', expected {form}.")
    return name, place
