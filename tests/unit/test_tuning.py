"""What is chosen on questions kept for it: the threshold of "no answer", what scores mean; and what that is worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import textfer
from textfer.answer import TextToText
from textfer.batch import Example, Span
from textfer.calibration import Calibration, Scale, log_odds, write_calibration
from textfer.data.source import Source
from textfer.data.task import Task
from textfer.data.tasks.squad import NO_ANSWER, mark, mark_v2, original_or_none
from textfer.errors import ConfigError
from textfer.evaluate import Made
from textfer.generate import Decoding, Generated, Predictor
from textfer.heads import Head
from textfer.metrics.calibration import expected_calibration_error
from textfer.metrics.reliability_plot import draw
from textfer.models.bert import Bert
from textfer.models.headed import Headed, HeadOptions, with_heads
from textfer.models.t5 import T5
from textfer.read import HeadPredictor
from textfer.reader import TextReader, share_of
from textfer.scoreboard.calibrated import calibration_of, calibration_scores, signatures
from textfer.tokenizers import load_tokenizer
from textfer.tuning import Tuned, told, tune

pytestmark = pytest.mark.usefixtures("one_thread")

ASKED = Task(
    name="asked",
    source=Source(name="asked"),
    to_examples=lambda row, origin: (),
    metrics=mark_v2,
    answer=original_or_none,
)


def example(number: int, answer: str | None) -> Example:
    context = f"Mill {number} is Hale's, not Moor's."
    start = context.index(answer) if answer is not None else 0
    return Example(
        inputs="",
        targets=answer or NO_ANSWER,
        origin=f"asked:{number}",
        facts={"id": str(number), "answers": () if answer is None else (answer,)},
        fields={"question": f"Who owns mill {number}?", "context": context},
        spans=() if answer is None else (Span("context", start, start + len(answer)),),
    )


class Writer:
    """Writes "Hale", far too sure of it: right as often as the share's log odds, halved and shifted, say."""

    def __init__(self, *, none: bool = False) -> None:
        self.tokenizer = load_tokenizer("bytes")
        self.max_len, self.layout = None, "encdec"
        self.ends_inputs = True
        self.none = none

    def generate(self, texts: Sequence[str], decoding: Decoding | None = None) -> list[Generated]:
        made = []
        for text in texts:
            number = int(text.split("mill ")[1].split()[0])
            none = self.none and number % 4 == 0
            made.append(Generated(NO_ANSWER if none else "Hale", math.log(sure_of(number)), 2))
        return made


def sure_of(number: int) -> float:
    return float(1 / (1 + np.exp(-np.random.default_rng(number).normal(2.0, 2.0))))


def gold_of(number: int) -> str:
    truth = 1 / (1 + math.exp(-(log_odds(sure_of(number)) / 2 - 0.8)))
    return "Hale" if np.random.default_rng(number + 10**6).random() < truth else "Moor"


def tuned_writer(count: int) -> tuple[TextToText, Tuned]:
    reader = TextToText(cast(Predictor, Writer()), "writer")
    return reader, tune(reader, [(ASKED, [example(one, gold_of(one)) for one in range(count)])], fitted_on="mills")


def test_scores_become_shares_of_right_answers() -> None:
    reader, tuned = tuned_writer(3000)
    assert tuned.threshold is None
    assert tuned.calibration is not None
    assert tuned.calibration.answer.temperature == pytest.approx(2.0, rel=0.15)
    assert tuned.calibration.answer.bias == pytest.approx(-0.8, abs=0.15)
    assert (tuned.calibration.no_answer, tuned.calibration.num_questions) == (None, 3000)
    errors = tuned.errors()
    assert errors["ece_before"] == pytest.approx(expected_calibration_error(tuned.before, tuned.right))
    assert errors["ece_after"] < 5 < 15 < errors["ece_before"]
    assert errors["brier_after"] < errors["brier_before"]
    assert sum(tuned.right) == sum(gold_of(one) == "Hale" for one in range(3000))
    assert reader.calibration == tuned.calibration
    answer = reader.answer("Who owns mill 7?", context="Mill 7 is Hale's.")
    assert answer.calibrated
    assert answer.score == pytest.approx(tuned.calibration.answer(sure_of(7)))


def test_each_score_is_judged_by_others() -> None:
    """Scores of one context's questions come from a fit without them."""
    _, tuned = tuned_writer(300)
    assert tuned.calibration is not None
    own = [tuned.calibration.answer(share) for share in tuned.before]
    assert not any(one == pytest.approx(other, rel=1e-9) for one, other in zip(tuned.after, own, strict=True))
    flipped = [example(0, "Moor" if gold_of(0) == "Hale" else "Hale"), *(example(n, gold_of(n)) for n in range(1, 300))]
    other = tune(TextToText(cast(Predictor, Writer()), "writer"), [(ASKED, flipped)], fitted_on="mills")
    assert other.after[0] == tuned.after[0], "whether it is right does not touch its own score"
    assert other.calibration != tuned.calibration


def test_no_answer_has_a_scale_of_its_own() -> None:
    reader = TextToText(cast(Predictor, Writer(none=True)), "writer")
    examples = [example(one, None if one % 3 == 0 else gold_of(one)) for one in range(600)]
    tuned = tune(reader, [(ASKED, examples[:100]), (ASKED, examples[100:])], fitted_on="mills")
    assert tuned.calibration is not None
    assert tuned.calibration.no_answer is not None
    right = [
        (one % 3 == 0) if one % 4 == 0 else one % 3 > 0 and gold_of(one) == "Hale" for one in range(600)
    ]  # what says none is right where there is none
    assert list(tuned.right) == right
    assert reader.answer("Who owns mill 8?", context="Mill 8 is lost.").calibrated


def test_nothing_to_fit() -> None:
    reader = TextToText(cast(Predictor, Writer()), "writer")
    tuned = tune(reader, [(ASKED, [example(one, "Moor") for one in range(40)])], fitted_on="mills")
    assert (tuned.calibration, tuned.threshold) == (None, None)
    assert tuned.after == tuned.before
    assert not reader.answer("Who owns mill 7?", context="Mill 7 is Hale's.").calibrated


def test_tasks_that_ask_nothing_about_a_text_are_refused() -> None:
    reader = TextToText(cast(Predictor, Writer()), "writer")
    strange = Example(inputs="a", targets="b", origin="asked:1", fields={"text": "a"})
    with pytest.raises(ConfigError, match=r"^task 'asked': has no questions about a text"):
        tune(reader, [(ASKED, [strange])], fitted_on="mills")


def pointer(threshold: float | None) -> TextReader:
    """A small BERT whose head is drawn at random."""
    torch.manual_seed(2)
    vocabulary = load_tokenizer("bytes")
    shape: dict[str, Any] = {"model_dim": 16, "ff_dim": 16, "num_heads": 2, "num_layers": 1, "max_positions": 96}
    head = Head(name="span", kind="span", tasks=("asked",), threshold=threshold)
    made = with_heads(Bert.make({**shape, "dropout": 0.0}, vocab_size=vocabulary.vocab_size), [head], HeadOptions())
    with torch.no_grad():
        for name, weight in made.own_parameters():
            weight.normal_(std=0.5) if "heads" in name else weight
    return TextReader(HeadPredictor(made.eval(), vocabulary), "pointer")


def gold_by(reader: TextReader, number: int) -> str | None:
    """What the model would say, for some questions; none for others."""
    one = example(number, "Hale")
    if number % 3 == 0:
        return None
    said = reader.find_each([one.fields["question"]], [one.fields["context"]])[0].spans[number % 2]
    return said.text


def test_a_head_gets_both_and_keeps_them(tmp_path: Path) -> None:
    reader = pointer(0.0)
    examples = [example(one, gold_by(reader, one)) for one in range(30)]
    tuned = tune(reader, [(ASKED, examples)], fitted_on="mills")
    assert tuned.threshold is not None
    assert tuned.calibration is not None
    assert reader.calibration == tuned.calibration
    other = pointer(0.0)
    assert other.predictor.tune((ASKED, examples)) == tuned.threshold
    reader.predictor.model.save(tmp_path)
    kept = Headed.load(tmp_path).kinds["span"]
    assert (kept.threshold, kept.calibration) == (tuned.threshold.value, tuned.calibration)
    answer = reader.answer(examples[1].fields["question"], context=examples[1].fields["context"], candidates=3)
    raw = other.answer(examples[1].fields["question"], context=examples[1].fields["context"], candidates=3)
    assert answer.calibrated
    assert not raw.calibrated
    assert [one.text for one in answer.candidates] == [one.text for one in raw.candidates]
    assert len(answer.candidates) == 3
    for one, theirs in zip(answer.candidates, raw.candidates, strict=True):
        assert one.score == pytest.approx(tuned.calibration.answer(theirs.score))
        assert examples[1].fields["context"][one.start : one.end] == one.text
    again = with_heads(reader.predictor.model, [reader.heads[0].model_copy(update={"calibration": None})], None)
    assert again.kinds["span"].calibration is None, "what is trained on has other scores"


def test_a_head_that_never_learnt_none_gets_no_threshold_where_all_have_answers() -> None:
    reader = pointer(None)
    task = Task(**{**{name: getattr(ASKED, name) for name in ("name", "source", "to_examples")}, "metrics": mark})
    examples = [example(one, gold_by(reader, one) or "Moor") for one in range(30)]
    tuned = tune(reader, [(task, examples)], fitted_on="mills")
    assert (tuned.threshold, reader.heads[0].threshold) == (None, None)
    assert tuned.calibration is not None
    assert tuned.calibration.no_answer is None


def test_errors_of_answers_that_were_made() -> None:
    """By hand: 1 right of share 0.8, 1 wrong of 0.6, no answer right at 0.9 and wrong at 0.5: all in other bins."""
    examples = [example(0, "Hale"), example(1, "Moor"), example(2, None), example(3, "Hale")]
    made = [Made("Hale", share=0.8), Made("Hale", share=0.6), Made(NO_ANSWER, share=0.9), Made(NO_ANSWER, share=0.5)]
    found = calibration_scores(ASKED, examples, made, None)
    assert found["ece"] == pytest.approx(100 * (0.2 + 0.6 + 0.1 + 0.5) / 4)
    assert found["brier"] == pytest.approx((0.04 + 0.36 + 0.01 + 0.25) / 4)
    flat = Scale(temperature=2.0)
    fitted = Calibration(answer=flat, no_answer=Scale(temperature=4.0), num_questions=9, fitted_on="mills")
    scaled = [flat(0.8), flat(0.6), Scale(temperature=4.0)(0.9), 0.5]
    errors = [1 - scaled[0], scaled[1], 1 - scaled[2], scaled[3]]
    assert calibration_scores(ASKED, examples, made, fitted)["brier"] == pytest.approx(
        math.fsum(one * one for one in errors) / 4
    )
    assert "calibrated on 9 of mills" in signatures(fitted)["ece"]
    assert "not calibrated" in signatures(None)["ece"]
    with pytest.raises(ConfigError, match="--calibration: the answers to 'asked' have no scores"):
        calibration_scores(ASKED, examples[:1], [Made("Hale")], None)


def test_shares_are_those_of_answers() -> None:
    """What `eval` keeps of a head's answer is the score that `answer` gives."""
    for threshold in (0.0, -math.inf, math.inf, None):
        reader = pointer(threshold)
        one = example(5, "Hale").fields
        found = reader.find_each([one["question"]], [one["context"]])[0]
        answer = reader.answer(one["question"], context=one["context"])
        assert found.says_none == (answer.text is None)
        assert share_of(found) == pytest.approx(answer.score)


def test_in_words() -> None:
    assert told(Scale(temperature=2.0)) == "log odds / 2.00 (0.90 becomes 0.75)"
    assert told(Scale(temperature=1.0, bias=-1.0)) == "log odds / 1.00 -1.00 (0.90 becomes 0.77)"
    assert Calibration(answer=Scale(temperature=1.0), num_questions=1, fitted_on="").no_answer is None


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    right = [one % 3 > 0 for one in range(60)]
    scores = [one / 60 for one in range(60)]
    draw(tmp_path / "a.png", "mills", {"before": scores, "after": scores[::-1]}, right)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="unknown kind of picture"):
        draw(tmp_path / "a.txt", "mills", {"before": scores}, right)


def test_a_model_that_writes_keeps_its_calibration_beside_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vocabulary = load_tokenizer("bytes")
    shape = {"model_dim": 16, "ff_dim": 16, "num_heads": 2, "head_dim": 8, "num_layers": 1, "num_decoder_layers": 1}
    T5.make(shape, vocab_size=vocabulary.vocab_size).save(tmp_path)
    vocabulary.save(tmp_path / "tokenizer")
    kept = Calibration(answer=Scale(temperature=2.0), num_questions=9, fitted_on="mills")
    assert textfer.load(str(tmp_path), device="cpu").calibration is None
    write_calibration(kept, tmp_path)
    reader = textfer.load(str(tmp_path), device="cpu")
    assert isinstance(reader, TextToText)
    assert reader.calibration == kept == calibration_of(str(tmp_path))
