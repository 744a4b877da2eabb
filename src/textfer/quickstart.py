"""The first minutes: the package's models answer, one of them learns a small file, and is marked and asked again."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from textfer.answer import TextToText
from textfer.data.named import find_task
from textfer.data.task import Task
from textfer.errors import CheckpointError
from textfer.evaluate import Report, evaluate, load_examples, load_labelled, mark
from textfer.models.packed import embedded_folder, read_manifest
from textfer.parts import load
from textfer.reader import TextReader
from textfer.recipe import load_recipe
from textfer.run import Display, run_train

READER, WRITER = "starter-reader", "starter-t5"
SAMPLES = Path(__file__).parent / "samples"
SHOP = SAMPLES / "bicycle_shop"
NEW = (
    "My brakes hardly work any more, when do you have time for them?",
    "Was I billed for the helmet as well? The sum looks too high.",
    "We'd like three bikes for an outing on Saturday.",
)
"""Messages of neither file."""
WRITTEN = ("step_*", "tokenizer", "*.jsonl", "predictions-*.json", "recipe.json", "run.json", "report.html")
NEXT = """Next:
  textfer ask --context "…" "…"            a question about a text; --file FILE and --docs DIR for documents
  textfer train quickstart data.tasks='["my.csv"]' eval.tasks='["my.csv"]' --run runs/mine
                                           the same on your own file of two columns
  textfer show models                      what is in the package"""


def run_quickstart(
    run_dir: Path,
    *,
    display: Display,
    say: Callable[[str], None],
    again: bool = False,
    overrides: Sequence[str] = (),
) -> int:
    """Runs the whole demonstration in `run_dir`; the exit code of the command. A second run only measures and asks.

    `again` begins anew; `overrides` change the recipe.
    Errors: CheckpointError where the package holds no reader.
    """
    if embedded_folder(READER) is None:
        raise CheckpointError(
            f"{READER}: is not in this copy of textfer, and the quickstart begins with it. Install a release, or make "
            f"it: textfer train {READER} init=MODEL --data DIR, then textfer pack runs/{READER} {READER}."
        )
    if again:
        _clear(run_dir)
    say("Textfer quickstart: everything here comes with the package; nothing is downloaded.\n")
    _ask(say)
    say(f"\n2. {READER} learns a file of two columns: messages to a bicycle shop, and each one's department.\n")
    code = _learn(run_dir, display, say, overrides)
    if code == 0:
        say(f"Curves and samples: {run_dir / 'report.html'}\n\n{NEXT}")
    return code


def _clear(run_dir: Path) -> None:
    """Removes what a run wrote, and nothing else that may lie there."""
    for pattern in WRITTEN:
        for path in run_dir.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _ask(say: Callable[[str], None]) -> None:
    """Questions on the package's own passages, answered by the models that are there."""
    models = {READER: load(READER)}
    writer = embedded_folder(WRITER)
    learnt = read_manifest(writer).get("data", {}) if writer is not None else {}
    if "squad" in learnt:
        models[WRITER] = load(WRITER)
    say(f"1. {READER} finds answers in texts that were written for this. One question has none.")
    for passage in _sample("passages"):
        say(f"\n  {passage['text']}")
        for one in passage["questions"]:
            right = one["answers"][0] if one["answers"] else "no answer"
            say(f"  Question: {one['question']}   (right: {right})")
            for name, model in models.items():
                answer = model.answer(one["question"], context=passage["text"])
                said = answer.text if answer.text is not None else "No answer."
                say(f"    {name + ':':16}{said}   ({answer.score:.2f})")
    asked = [one for one in _sample("prefixes") if one["task"] in learnt]
    if asked:
        say(f"\n  {WRITER} writes, and knows a task by its first words:")
        made = cast(TextToText, load(WRITER)).generate([one["input"] for one in asked])
        for one, said in zip(asked, made, strict=True):
            say(f"    {one['input']}\n      → {said}   (right: {one['right']})")


def _learn(run_dir: Path, display: Display, say: Callable[[str], None], overrides: Sequence[str]) -> int:
    """Fine-tunes on the package's file, with held-out scores before and after; the exit code."""
    where = json.dumps([str(SHOP)])
    recipe = load_recipe("quickstart", [f"data.tasks={where}", f"eval.tasks={where}", *overrides])
    task, limit = find_task(str(SHOP)), recipe.eval.limit
    before = _constant(task, limit)
    say(f"Held out: {before.num_examples} messages. The commonest department as the answer to all:  {_line(before)}")
    summary = run_train(recipe, run_dir, display=display)
    assert summary is not None
    if summary.stopped_by:
        say("Stopped and saved. The same command goes on from here.")
        return 130
    tuned = load(str(run_dir))
    assert isinstance(tuned, TextReader), "its task is for a head"
    after = evaluate(tuned.predictor, task, "validation", limit=limit)
    say(f"After {summary.step:,} steps on other messages, on the same:  {_line(after)}\n\n3. New messages:\n")
    for message, ranked in zip(NEW, tuned.classify(list(NEW)), strict=True):
        share = ranked.probs[ranked.choice]
        say(f"  {message}\n    → {ranked.choice}   ({share:.2f})")
    say(f'\nFrom Python: textfer.load("{run_dir}").classify("…")')
    return 0


def _constant(task: Task, limit: int | None) -> Report:
    """What the commonest department of the training messages scores: the least that a model must beat."""
    (commonest, _), *_ = Counter(one.targets for one in load_examples(task, "train")).most_common(1)
    examples = load_labelled(task, "validation", limit=limit)
    return mark(task, "validation", examples, [commonest] * len(examples))


def _line(report: Report) -> str:
    return "  ".join(f"{name} {value:5.1f}" for name, value in report.scores.items())


def _sample(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return found
