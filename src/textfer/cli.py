"""The command line: reads words, calls one function, prints. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from textfer import __version__
from textfer.errors import ConfigError, TextferError

if TYPE_CHECKING:
    from textfer.answer import Answer

INTERRUPTED = 130
TERMINATED = 143

data_option = click.option(
    "--data",
    "data_dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="TEXTFER_DATA",
    help="A local mirror of hub data sets; without it the hub is asked. [env: TEXTFER_DATA]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
beams_option = click.option("--beams", default=1, show_default=True, type=click.IntRange(1), help="1 = greedy.")


class Commands(click.Group):
    """Lists the commands in the order of a first day's work, not of the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="textfer")
def cli() -> None:
    """Transfer learning in text-to-text form: every task is text in, text out.

    --debug, anywhere, shows the traceback of an error.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; leaves with 0, or with the code of the kind of error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        sys.exit(cli.main(words, standalone_mode=False) or 0)
    except TextferError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except click.exceptions.Exit as left:
        sys.exit(left.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted.", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        _fail(f"{type(error).__name__}: {error} (this is a bug; --debug shows where).", 1)


def _fail(message: str, code: int) -> None:
    click.echo(f"textfer: {message}", err=True)
    sys.exit(code)


def _print(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))


@cli.command()
@click.option("--run", "run_dir", type=click.Path(path_type=Path), default=Path("runs/quickstart"), show_default=True)
@click.option("--again", is_flag=True, help="Train anew even if the folder holds a finished quickstart.")
def quickstart(run_dir: Path, again: bool) -> None:
    """Train a small reader on a made-up task, mark it before and after, ask it three questions. Needs no network."""
    from textfer.display import Terminal
    from textfer.quickstart import run_quickstart

    with Terminal() as display:
        code = run_quickstart(run_dir, display=display, say=click.echo, again=again)
    sys.exit(code)


@cli.command()
@click.argument("question", required=False)
@click.option("--context", help="The text that holds the answer.")
@click.option(
    "--file", "files", type=click.Path(path_type=Path), multiple=True, help="A text file that holds the answer."
)
@click.option("--closed-book", is_flag=True, help="Answer from what the model remembers.")
@click.option("--model", required=True, help="A run folder, a hub-format folder or a hub name.")
@beams_option
@json_option
def ask(
    question: str | None,
    context: str | None,
    files: Sequence[Path],
    closed_book: bool,
    model: str,
    beams: int,
    as_json: bool,
) -> None:
    """Answer a QUESTION about a text. Without a QUESTION: one question a line, until the end of input."""
    from textfer import load
    from textfer.data.source import read_text
    from textfer.generate import Decoding

    given = [context is not None, bool(files), closed_book]
    if sum(given) != 1:
        raise ConfigError("ask: give exactly one of --context, --file and --closed-book.")
    if question is not None and not question.strip():
        raise ConfigError("ask: the question is empty.")
    text = "\n\n".join(map(read_text, files)) if files else context
    reader = load(model)
    decoding = Decoding(beams=beams)
    if question is not None:
        _show_answer(reader.answer(question, context=text, decoding=decoding), as_json)
        return
    for line in _lines("question> "):
        _show_answer(reader.answer(line, context=text, decoding=decoding), as_json)


def _lines(prompt: str) -> Iterable[str]:
    """Non-empty lines of stdin, with a prompt where a person types."""
    while True:
        if sys.stdin.isatty():
            click.echo(prompt, nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _show_answer(answer: Answer, as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps(
                {"answer": answer.text, **{k: v for k, v in answer.as_dict().items() if k != "text"}},
                ensure_ascii=False,
            )
        )
    elif answer.text is None:
        click.echo(f"No answer in this text.  ({answer.score:.2f})")
    else:
        place = f", characters {answer.start}–{answer.end}" if answer.start is not None else ""
        click.echo(f"{answer.text}  ({answer.score:.2f}{place})")
        if answer.evidence:
            click.echo(f"  “{answer.evidence}”")


@cli.command()
@click.argument("texts", nargs=-1)
@click.option("--model", required=True, help="A run folder, a hub-format folder or a hub name.")
@click.option("--task", "prefix", default="", help="Prefix words put before every text, such as 'summarize:'.")
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@beams_option
@click.option("--length-penalty", type=click.FloatRange(0), help="α of beam search.  [default: 0.6]")
@click.option("--sample", is_flag=True, help="Draw tokens at random.")
@click.option("--temperature", type=click.FloatRange(0, min_open=True), help="Sampling only.")
@click.option("--top-k", type=click.IntRange(1), help="Sampling only.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Sampling only.")
@click.option("--seed", type=int, help="Sampling only.")
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
    as_json: bool,
) -> None:
    """Write what follows each TEXT; lines of stdin when there is none."""
    from textfer import load
    from textfer.config import build
    from textfer.generate import Decoding, check_decoding

    values = {
        "max_new_tokens": max_new_tokens,
        "beams": beams,
        "length_penalty": length_penalty,
        "sample": sample,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }
    options = check_decoding(
        build(Decoding, {key: value for key, value in values.items() if value is not None}, where="")
    )
    inputs = list(texts) or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not inputs:
        raise ConfigError("generate: no text. Give some, or lines on stdin.")
    words = [f"{prefix} {text}" if prefix else text for text in inputs]
    found = load(model).generate(words, decoding=options)
    if as_json:
        _print({"outputs": [{"input": word, "output": text} for word, text in zip(words, found, strict=True)]})
    else:
        for text in found:
            click.echo(text)


@cli.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1)
@click.option("--run", "run_dir", type=click.Path(path_type=Path), help="The run's folder.  [default: runs/RECIPE]")
@data_option
@click.option("--dry-run", is_flag=True, help="Check everything, show the outline, train nothing.")
@click.option("--quiet", is_flag=True, help="No bar, no tables.")
def train(
    recipe: str, overrides: Sequence[str], run_dir: Path | None, data_dir: Path | None, dry_run: bool, quiet: bool
) -> None:
    """Train as RECIPE says (a preset, a file, or a run folder). The same command again resumes."""
    from textfer.display import Terminal
    from textfer.recipe import load_recipe
    from textfer.run import run_train

    made = load_recipe(recipe, overrides)
    folder = run_dir or Path("runs") / Path(recipe).stem
    with Terminal(quiet=quiet) as display:
        summary = run_train(made, folder, display=display, data_dir=data_dir, dry_run=dry_run)
    if summary is None:
        return
    if summary.stopped_by:
        click.echo(
            f"Stopped by {summary.stopped_by}; step {summary.step:,} is saved in {folder}. The same command resumes.",
            err=True,
        )
        sys.exit(TERMINATED if summary.stopped_by == "SIGTERM" else INTERRUPTED)
    scores = "  ".join(f"{name} {value:.2f}" for name, value in summary.scores.items())
    click.echo(f"{folder}: step {summary.step:,}, loss {summary.loss:.4f}  {scores}".rstrip(), err=True)
    click.echo(f'Curves: {folder / "report.html"}   Next: textfer ask --model {folder} --context … "…"', err=True)


@cli.command(name="eval")
@click.argument("model")
@click.option("--task", "tasks", required=True, multiple=True, help="A task, or a file with your own rows.")
@click.option("--split", default="validation", show_default=True)
@click.option("--limit", type=click.IntRange(1), help="Only the first examples.")
@click.option("--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@beams_option
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1))
@click.option("--predictions", type=click.Path(path_type=Path), help="Write {id: answer} here (one task).")
@data_option
@json_option
def evaluate(
    model: str,
    tasks: Sequence[str],
    split: str,
    limit: int | None,
    max_new_tokens: int,
    beams: int,
    batch_size: int,
    predictions: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Answer a task's split with MODEL and mark the answers with the task's official metrics."""
    from textfer import load
    from textfer.evaluate import evaluate as measure
    from textfer.generate import Decoding
    from textfer.recipe import find_task

    if predictions and len(tasks) > 1:
        raise ConfigError("eval: --predictions takes one --task.")
    decoding = Decoding(max_new_tokens=max_new_tokens, beams=beams, batch_size=batch_size)
    found = {}
    loaded = load(model)
    for name in tasks:
        report = measure(loaded.predictor, find_task(name), split, decoding=decoding, limit=limit, data_dir=data_dir)
        found[name] = dict(report.scores)
        if predictions:
            predictions.write_text(json.dumps(report.predictions, ensure_ascii=False, indent=0), encoding="utf-8")
    _show_scores(found, as_json)


@cli.command()
@click.option("--task", required=True)
@click.option("--split", default="validation", show_default=True)
@click.option("--predictions", required=True, type=click.Path(path_type=Path), help="{id: answer} as JSON.")
@data_option
@json_option
def score(task: str, split: str, predictions: Path, data_dir: Path | None, as_json: bool) -> None:
    """Mark anybody's predictions with the task's official metrics."""
    from textfer.evaluate import score_file
    from textfer.recipe import find_task

    report = score_file(find_task(task), split, predictions, data_dir=data_dir)
    _show_scores({task: dict(report.scores)}, as_json)


def _show_scores(found: dict[str, dict[str, float]], as_json: bool) -> None:
    if as_json:
        _print(next(iter(found.values())) if len(found) == 1 else found)
        return
    for name, scores in found.items():
        click.echo("  ".join([f"{name:24}", *(f"{key} {value:.2f}" for key, value in scores.items())]))


@cli.command()
@click.argument("recipe", required=False)
@click.option("--task", help="Only a task: its row and its text.")
@click.option(
    "--example", "number", default=0, show_default=True, help="Which example: stream position, or row of the task."
)
@click.option("--split", default="train", show_default=True, help="With --task.")
@data_option
@json_option
def trace(recipe: str | None, task: str | None, number: int, split: str, data_dir: Path | None, as_json: bool) -> None:
    """Show one example after every stage, from the file to the loss."""
    from textfer.recipe import find_task, load_recipe
    from textfer.trace import trace_recipe, trace_task

    if (recipe is None) == (task is None):
        raise ConfigError("trace: give a RECIPE or --task.")
    if recipe is not None:
        stages = trace_recipe(load_recipe(recipe), number, data_dir=data_dir)
    else:
        stages = trace_task(find_task(str(task)), split, number, data_dir=data_dir)
    if as_json:
        _print({"stages": [{"name": stage.name, "where": stage.where, "lines": stage.lines} for stage in stages]})
        return
    for step, stage in enumerate(stages, start=1):
        click.secho(f"{step}. {stage.name}", bold=True, nl=False)
        click.secho(f"  {stage.where}", dim=True)
        for line in stage.lines:
            click.echo(f"   {line}")


@cli.command()
@click.argument("what")
@click.argument("name", required=False)
@json_option
def show(what: str, name: str | None, as_json: bool) -> None:
    """List tasks, models, objectives, mixtures or presets; or show one recipe, resolved."""
    from textfer.listing import LISTS, listing

    if what in LISTS:
        _show_rows(what, listing(what, name), as_json)
        return
    from textfer.recipe import load_recipe

    _print(load_recipe(what).model_dump(mode="json"))


def _show_rows(what: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        _print({what: rows})
        return
    for row in rows:
        first, *others = row.values()
        click.echo(
            "  ".join([f"{first!s:22}", *(str(value) for value in others if value not in ("", None, []))]).rstrip()
        )


@cli.group()
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
    help="vocab_size=16000, algorithm=bpe, byte_fallback=false, …",
)
@data_option
@json_option
def tokenizer_train(
    out_dir: Path, tasks: Sequence[str], split: str, settings: Sequence[str], data_dir: Path | None, as_json: bool
) -> None:
    """Learn a SentencePiece vocabulary with T5's sentinels and write it to OUT_DIR."""
    from dataclasses import asdict

    from textfer.config import apply_overrides, build
    from textfer.evaluate import iter_examples
    from textfer.recipe import find_task
    from textfer.tokenizers.training import TokenizerOptions, train_sentencepiece

    options = build(TokenizerOptions, apply_overrides({}, settings), where="")
    examples = (example for name in tasks for example in iter_examples(find_task(name), split, data_dir=data_dir))
    texts = (text for example in examples for text in (example.inputs, example.targets) if text)
    report = asdict(train_sentencepiece(texts, out_dir, options))
    if as_json:
        _print(report)
        return
    coverage = report["coverage"]
    click.echo(
        f"{out_dir}: {report['num_pieces']:,} pieces, {report['vocab_size']:,} rows with sentinels, "
        f"{report['seconds']:.1f} s"
    )
    click.echo(
        f"learnt from {report['sample_chars']:,} of {report['num_chars']:,} characters; on {report['measured_on']}: "
        f"{coverage['tokens_per_word']:.2f} tokens a word, {coverage['unknown_chars']:.4%} of characters unknown, "
        f"{coverage['byte_chars']:.4%} spelt in bytes"
    )
    for warning in report["warnings"]:
        click.echo(f"warning: {warning}", err=True)


@tokenizer.command(name="inspect")
@click.argument("name")
@click.argument("texts", nargs=-1)
@json_option
def tokenizer_inspect(name: str, texts: Sequence[str], as_json: bool) -> None:
    """Show pieces, ids and what became unknown, for each TEXT (lines of stdin when there is none)."""
    from textfer.tokenizers import load_tokenizer

    vocabulary = load_tokenizer(name)
    shown = []
    for text in list(texts) or [line.rstrip("\n") for line in sys.stdin]:
        pieces = vocabulary.inspect(text)
        shown.append(
            {"text": text, "seen_as": vocabulary.normalise(text), "pieces": [piece._asdict() for piece in pieces]}
        )
    if as_json:
        _print({"texts": shown})
        return
    for one in shown:
        click.echo(f"{one['text']!r} is seen as {one['seen_as']!r}, {len(one['pieces'])} tokens")
        for piece in one["pieces"]:
            note = "" if piece["kind"] == "known" else piece["kind"]
            click.echo(f"  {piece['id']:>7}  {piece['piece']:<24}  {note}".rstrip())


@cli.command(name="verify-resume")
@click.argument("recipe")
@click.argument("overrides", nargs=-1)
@click.option("--steps", default=6, show_default=True, type=click.IntRange(2), help="Steps of the unbroken run.")
@click.option(
    "--stop-at", default=3, show_default=True, type=click.IntRange(1), help="Where the other run stops and resumes."
)
@data_option
@json_option
def verify_resume(
    recipe: str, overrides: Sequence[str], steps: int, stop_at: int, data_dir: Path | None, as_json: bool
) -> None:
    """Train a few steps of RECIPE unbroken, and again with a stop and a resume: both must be equal bit for bit."""
    from dataclasses import asdict

    from textfer.display import Terminal
    from textfer.recipe import load_recipe
    from textfer.verify import verify_resume as verify

    made = load_recipe(recipe, overrides)
    check = verify(made, num_steps=steps, stop_at=stop_at, display=Terminal(quiet=True), data_dir=data_dir)
    if as_json:
        _print({**asdict(check), "equal": check.equal})
    else:
        for name in ("batches", "losses", "weights"):
            click.echo(f"{name:8} {'equal' if getattr(check, f'{name}_equal') else 'DIFFERENT'}")
    sys.exit(0 if check.equal else 1)


@cli.command()
@data_option
@json_option
def doctor(data_dir: Path | None, as_json: bool) -> None:
    """Say what this machine has and what is missing."""
    from dataclasses import asdict

    from textfer.doctor import examine

    findings = list(examine(data_dir))
    if as_json:
        _print({"findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = click.style("ok ", fg="green") if finding.ok else click.style("NO ", fg="red")
            click.echo(f"{mark} {finding.name:20} {finding.value}{'' if finding.ok else f'  → {finding.hint}'}")
    sys.exit(0 if all(finding.ok for finding in findings) else 4)


if __name__ == "__main__":
    main()
