"""The main job on a task made on the fly: learn a vocabulary, train a small T5, mark it before and after, ask it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from textfer.answer import TextToText
from textfer.data.source import open_rows
from textfer.data.task import TASKS
from textfer.evaluate import Report, evaluate, load_examples
from textfer.generate import Predictor
from textfer.models import as_generator
from textfer.parts import build_model, build_tokenizer, load
from textfer.recipe import Recipe, load_recipe
from textfer.run import Display, run_train
from textfer.tokenizers.training import TokenizerOptions, train_sentencepiece

TASK = "reading"
VOCAB_SIZE = 500
VOCAB_ROWS = 2000
NUM_QUESTIONS = 3
WRITTEN = ("step_*", "tokenizer", "*.jsonl", "predictions-*.json", "recipe.json", "run.json", "report.html")
CAN = """What this model can do: answer questions of the kind it was trained on, about people it has never met.
What it cannot: anything else. It has 1–2 million parameters, a vocabulary of made-up paragraphs, and no knowledge of
the world; questions about real text need a larger model and real training data."""


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
    """
    if again:
        _clear(run_dir)
    say("Textfer quickstart: everything below is made on this machine; nothing is downloaded.\n")
    recipe = _recipe(run_dir, overrides, say)
    before = _scores_before(recipe)
    say(f"\nBefore training, on {before.num_examples} held-out questions:  {_line(before)}")
    summary = run_train(recipe, run_dir, display=display)
    assert summary is not None
    if summary.stopped_by:
        say("Stopped and saved. The same command goes on from here.")
        return 130
    reader = load(str(run_dir))
    assert isinstance(reader, TextToText), "its recipe has no heads"
    after = _measure(reader.predictor, recipe)
    say(f"After {summary.step:,} steps, on the same questions:       {_line(after)}\n")
    _ask(reader, say)
    say(CAN)
    say(f"\nCurves and samples: {run_dir / 'report.html'}")
    say(f'Ask it yourself:    textfer ask --model {run_dir} --context "…" "…"')
    say(
        f"Your own rows:      textfer train finetune init={run_dir} data.tasks='[\"my.csv\"]' eval.tasks='[\"my.csv\"]'"
    )
    return 0


def _clear(run_dir: Path) -> None:
    """Removes what a run wrote, and nothing else that may lie there."""
    for pattern in WRITTEN:
        for path in run_dir.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _recipe(run_dir: Path, overrides: Sequence[str], say: Callable[[str], None]) -> Recipe:
    vocabulary = run_dir / "tokenizer"
    if not (vocabulary / "training.json").exists():
        rows = open_rows(TASKS.get(TASK).source, "train")
        texts = (text for _, row in rows.read(0, VOCAB_ROWS) for text in (row["context"], row["question"]))
        report = train_sentencepiece(texts, vocabulary, TokenizerOptions(vocab_size=VOCAB_SIZE, num_threads=2))
        say(f"Vocabulary: {report.num_pieces:,} pieces from {report.num_chars:,} characters, {report.seconds:.1f} s.")
    return load_recipe("quickstart", [f'tokenizer.path="{vocabulary.resolve()}"', *overrides])


def _scores_before(recipe: Recipe) -> Report:
    tokenizer = build_tokenizer(recipe)
    untrained = as_generator(build_model(recipe, tokenizer, None), where="quickstart")
    return _measure(Predictor(untrained, tokenizer), recipe)


def _measure(predictor: Predictor, recipe: Recipe) -> Report:
    return evaluate(
        predictor, TASKS.get(TASK), recipe.eval.split, answering=recipe.eval.answering, limit=recipe.eval.limit
    )


def _line(report: Report) -> str:
    return "  ".join(f"{name} {value:5.1f}" for name, value in report.scores.items())


def _ask(reader: TextToText, say: Callable[[str], None]) -> None:
    for example in load_examples(TASKS.get(TASK), "validation", limit=NUM_QUESTIONS):
        context, question = example.fields["context"], example.fields["question"]
        answer = reader.answer(question, context=context)
        gold = " / ".join(example.facts["answers"])
        say(f"  {context}\n  Question: {question}\n  Answer:   {answer.text}   ({answer.score:.2f}; right: {gold})\n")
