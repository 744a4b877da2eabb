"""Models with heads put to use: texts of one's own, thresholds, what is held out, GPT-1's readings, and refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from textfer.batch import NO_TARGET, Example, Ids, Span, Specials
from textfer.data.headed import Framing, Labelled, head_of, heads_of, hold_out, read_all, word_places
from textfer.data.layout import LAYOUTS, Lens
from textfer.data.source import Source
from textfer.data.task import TASKS, Task
from textfer.data.tasks.squad import NO_ANSWER, mark_v2, original_or_none
from textfer.errors import ConfigError
from textfer.generate import Decoding
from textfer.heads import Head
from textfer.models.bert import Bert
from textfer.models.gpt import GPT
from textfer.models.headed import Headed, HeadOptions, with_heads
from textfer.read import HeadPredictor, samples_of
from textfer.reader import TextReader
from textfer.tokenizers import load_tokenizer
from textfer.training.loss import loss_of

pytestmark = pytest.mark.usefixtures("one_thread")

BYTES = load_tokenizer("bytes")
SPECIALS = Specials(pad=0, eos=3, cls=2, sep=3)
SHAPE = {"model_dim": 16, "ff_dim": 16, "num_heads": 2, "num_layers": 1, "max_positions": 64, "dropout": 0.0}
LABELS = ("bad", "good", "so so")
KINDS: list[Head] = [
    Head(name="class", kind="class", labels=LABELS, tasks=("reviews",)),
    Head(name="number", kind="number", tasks=("stars",)),
    Head(name="span", kind="span", tasks=("questions",), threshold=0.0, max_len=48),
    Head(name="tag", kind="tag", labels=("O", "B-place", "I-place"), tasks=("places",), max_len=20),
    Head(name="choice", kind="choice", tasks=("endings",)),
]


def model(heads: list[Head] | None = None, **options: Any) -> Headed:
    torch.manual_seed(2)
    reader = Bert.make(SHAPE, vocab_size=BYTES.vocab_size)
    made = with_heads(reader, KINDS if heads is None else heads, HeadOptions(**{"dropout": 0.0, **options}))
    with torch.no_grad():
        for name, weight in made.own_parameters():
            weight.normal_(std=0.5) if "heads" in name else weight
    return made.eval()


@pytest.fixture
def reader() -> TextReader:
    return TextReader(HeadPredictor(model(), BYTES), "runs/all")


# ---- texts of one's own


def test_an_answer_stands_in_the_context_however_long_that_is(reader: TextReader) -> None:
    context = "Aldon lies on a hill. " * 9 + "The mill burnt down in 1203."
    answer = reader.answer("When?", context=context)
    many = reader.answer(["When?", "Who?"], context=[context, "Maud Hale."])
    assert [type(one) for one in many] == [type(answer)] * 2
    assert many[0].text == answer.text
    for one, text in zip(many, (context, "Maud Hale."), strict=True):
        if one.text is not None:
            assert text[one.start : one.end] == one.text
            assert one.text in str(one.evidence)
        assert 0 < one.score <= 1


@pytest.mark.parametrize(("threshold", "silent"), [(math.inf, False), (-math.inf, True), (None, False)])
def test_the_threshold_decides_when_there_is_no_answer(threshold: float | None, silent: bool) -> None:
    heads = [KINDS[2].model_copy(update={"threshold": threshold})]
    answer = TextReader(HeadPredictor(model(heads), BYTES), "x").answer("Who?", context="Maud Hale sold it.")
    assert (answer.text is None) is silent
    assert (answer.start is None) is silent


def test_classes_numbers_tags_and_choices_of_texts(reader: TextReader) -> None:
    one = reader.classify("A fine mill.")
    assert one.choice in LABELS
    assert list(one.probs) == list(LABELS)
    assert sum(one.probs.values()) == pytest.approx(1)
    assert reader.classify(["A fine mill.", ("A mill.", "A hill.")])[0].probs == pytest.approx(one.probs, rel=1e-4)
    assert isinstance(reader.rate(("A mill.", "A hill.")), float)
    text = "Maud Hale left Aldon, and it rained on the old mill."
    tags = reader.tag(text)
    assert all(text[tag.start : tag.end] == tag.text and tag.label == "place" for tag in tags)
    assert reader.tag([text])[0] == tags
    chosen = reader.choose("It rained.", options=["We stayed.", "Seven."])
    assert chosen.choice in ("We stayed.", "Seven.")
    assert len(reader.choose(["It rained."], options=[["We stayed.", "Seven."]])) == 1


def test_it_says_what_it_is(reader: TextReader) -> None:
    assert "a class head (bad, good, so so) of reviews" in repr(reader)
    assert repr(reader).startswith("TextReader('runs/all', ")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda r: r.answer("Who?"), "answer: no context, and this model only finds answers in one"),
        (lambda r: r.answer(" ", context="x"), "answer: the question is empty"),
        (lambda r: r.answer("Who?", context=" "), "answer: the context is empty"),
        (lambda r: r.answer(["Who?"], context=["a", "b"]), "answer: got 1 questions and 2 contexts, expected as many"),
        (lambda r: r.answer("Who?", context="x", decoding=Decoding(beams=2)), "answer: beams and sampling cannot take"),
        (
            lambda r: r.answer("Who?", context="x", decoding=Decoding(max_input_tokens=99)),
            "max_len: got 99, and ",
        ),
        (lambda r: r.generate("x"), "generate: runs/all reads and writes nothing; it has a class head"),
        (lambda r: r.classify(" "), "the text is empty"),
        (
            lambda r: r.classify("x", task="sst2"),
            "classify: needs a class head, as training on sst2 gives (for ",
        ),
        (lambda r: r.choose("x", options=["one"]), "choose: got the options one, expected two or more, all different"),
        (lambda r: r.choose(["x"], options=[]), "choose: got 1 texts and 0 lists of options, expected as many"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(reader: TextReader, ask: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ask(reader)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_head_that_is_not_there_is_named(reader: TextReader) -> None:
    only = TextReader(HeadPredictor(model(KINDS[:1]), BYTES), "runs/one")
    for ask in (lambda: only.answer("a", context="b"), lambda: only.tag("a"), lambda: only.rate("a")):
        with pytest.raises(ConfigError, match=r"needs a (span|tag|number) head.*runs/one has a class head \(bad, good"):
            ask()
    twins = [KINDS[0], KINDS[0].model_copy(update={"name": "class_2", "labels": ("no", "yes"), "tasks": ("doubts",)})]
    two = TextReader(HeadPredictor(model(twins), BYTES), "runs/two")
    with pytest.raises(ConfigError, match=r"has several class heads\. Say which: task = one of reviews, doubts"):
        two.classify("x")
    assert two.classify("x", task="doubts").choice in ("no", "yes")


# ---- the same however examples lie


@pytest.mark.parametrize("head", KINDS, ids=lambda head: head.kind)
def test_examples_say_the_same_alone_packed_and_in_company(head: Head) -> None:
    """Beside examples of another head too."""
    made, draws = model(), np.random.default_rng(1)
    nothing = np.zeros(0, np.int32)

    def example(length: int) -> Ids:
        inputs = draws.integers(5, 100, length).astype(np.int32)
        told: dict[str, Any] = {
            "class": {"class": 1},
            "number": {"number": 0.5},
            "span": {"span.start": 1, "span.end": 2},
            "tag": {"tag": np.where(np.arange(length) % 2, NO_TARGET, 1).astype(np.int32)},
            "choice": {"choice": 1},
        }[head.kind]
        return Ids(inputs, nothing, heads=told, cuts=(length // 2,) if head.kind == "choice" else ())

    examples = [example(length) for length in (9, 4, 13)]
    other = Ids(draws.integers(5, 100, 12).astype(np.int32), nothing, heads={"choice": 0}, cuts=(4, 7))
    lens = Lens(64, 1)

    def loss(*rows: list[Ids]) -> torch.Tensor:
        found = loss_of(made, LAYOUTS["pair"].arrange(rows, lens, SPECIALS))
        assert float(found.count) == sum(ids.num_targets for row in rows for ids in row)
        return found.sum

    alone = torch.stack([loss([one]) for one in examples]).sum()
    torch.testing.assert_close(loss(examples), alone)
    torch.testing.assert_close(loss(*([one] for one in examples)), alone)
    torch.testing.assert_close(loss([examples[0], other], examples[1:]), alone + loss([other]))


def test_what_nothing_is_said_of_costs_nothing() -> None:
    made = model()
    inputs = np.array([2, 7, 8, 3], np.int32)
    silent = Ids(inputs, np.zeros(0, np.int32), heads={"class": NO_TARGET})
    told = Ids(inputs, np.zeros(0, np.int32), heads={"class": 2})
    both = loss_of(made, LAYOUTS["pair"].arrange([[silent], [told]], Lens(8, 1), SPECIALS))
    alone = loss_of(made, LAYOUTS["pair"].arrange([[told]], Lens(8, 1), SPECIALS))
    torch.testing.assert_close(both.sum, alone.sum)
    assert float(both.count) == float(alone.count) == 1


# ---- GPT-1's ways, each against a computation of its own


def gpt(**options: Any) -> Headed:
    torch.manual_seed(3)
    shape = {"model_dim": 16, "ff_dim": 16, "num_heads": 2, "num_layers": 2, "context_len": 40, "dropout": 0.0}
    head = Head(name="choice", kind="choice") if options.pop("choose", False) else KINDS[0]
    return with_heads(GPT.make(shape, vocab_size=50), [head], HeadOptions(dropout=0.0, **options)).eval()


@torch.no_grad()
def test_naming_the_next_words_beside_weighs_each_reading_alike() -> None:
    """The mean over readings of each one's mean, times the weight: `train_loss` of OpenAI's finetune code."""
    made, nothing = gpt(choose=True, lm_weight=0.5), np.zeros(0, np.int32)
    draws = np.random.default_rng(7)
    texts = [draws.integers(3, 50, length).astype(np.int32) for length in (5, 9, 3, 12)]
    examples = [
        Ids(np.concatenate(texts[at : at + 2]), nothing, heads={"choice": right}, cuts=(len(texts[at]),))
        for at, right in ((0, 1), (2, 0))
    ]
    loss = loss_of(made, LAYOUTS["pair"].arrange([examples], Lens(40, 1), SPECIALS))
    scores, words = [], []
    for text in texts:
        side = LAYOUTS["pair"].arrange([[Ids(text, nothing)]], Lens(40, 1), SPECIALS)
        hidden = made.base.hidden(side)[0]
        weight, _ = made.base.readout()
        words.append(F.cross_entropy(hidden[:-1] @ weight.T, torch.tensor(text[1:]).long()))
        scores.append(made.heads["choice"](hidden[-1])[0])
    choices = torch.stack(scores).view(2, 2)
    expected = F.cross_entropy(choices, torch.tensor([1, 0])) + 0.5 * torch.stack(words).mean()
    torch.testing.assert_close(loss.sum / loss.count, expected)


@torch.no_grad()
def test_both_orders_are_added_up() -> None:
    task = TASKS.get("mrpc")
    examples = [replace(one, targets=task.choices[0]) for one in samples_of(task)[:2]]
    head = head_of(task, examples)
    torch.manual_seed(3)
    made = with_heads(Bert.make({**SHAPE, "max_positions": 400}, vocab_size=BYTES.vocab_size), [head], None).eval()
    both = Framing(tokenizer=BYTES, head=head, max_len=400, both_orders=True)(examples)
    ahead = Framing(tokenizer=BYTES, head=head, max_len=400)(examples)
    turned = [replace(one, fields=dict(reversed(one.fields.items()))) for one in examples]
    behind = Framing(tokenizer=BYTES, head=head, max_len=400)(turned)

    def said(read: Any) -> torch.Tensor:
        rows = [[one.ids] for some in read for one in some]
        return made(LAYOUTS["pair"].arrange(rows, Lens(999, 1), BYTES.specials)).heads[head.name]

    torch.testing.assert_close(said(both), said(ahead) + said(behind))


# ---- what is learnt from rows


ASKED = Task(
    name="asked",
    source=Source(name="asked"),
    to_examples=lambda row, origin: (),
    metrics=mark_v2,
    answer=original_or_none,
)


def question(number: int, answer: str | None, context: str) -> Example:
    found = () if answer is None else (Span("context", context.index(answer), context.index(answer) + len(answer)),)
    return Example(
        inputs="",
        targets=answer or NO_ANSWER,
        origin=f"asked:{number}",
        facts={"id": str(number), "answers": () if answer is None else (answer,)},
        fields={"question": f"Number {number}?", "context": context},
        spans=found,
    )


def questions(count: int) -> list[Example]:
    return [
        question(at, None if at % 3 == 0 else f"{at // 2}", f"In {at // 2} it rained on {at // 2} mills.")
        for at in range(count)
    ]


def test_contexts_that_are_held_out_are_on_one_side_only() -> None:
    whole = Labelled(ASKED, "train", questions(200), "digest", 0)
    learnt, (held,) = hold_out({"asked": whole}, 0.25)
    sides = [{one.fields["context"] for one in part.examples} for part in (learnt["asked"], held)]
    assert not sides[0] & sides[1]
    assert len(learnt["asked"].examples) + len(held.examples) == 200
    assert 0.1 < len(held.examples) / 200 < 0.4
    assert (learnt["asked"].rows, held.rows) == ("digest", "digest")
    answered = replace(whole, examples=[one for one in whole.examples if one.spans])
    with pytest.raises(ConfigError, match=r"head\.dev_share: cannot take effect, every question of data\.tasks has an"):
        hold_out({"asked": answered}, 0.25)
    with pytest.raises(ConfigError, match=r"head\.dev_share: of 200 questions of 'asked' one side gets none"):
        hold_out({"asked": whole}, 1e-6)


def test_the_tuned_threshold_is_the_best_of_all_and_is_kept(tmp_path: Path) -> None:
    made = model([KINDS[2].model_copy(update={"tasks": ("asked",)})])
    predictor, examples = HeadPredictor(made, BYTES), questions(24)
    found = predictor.find(ASKED, examples)
    tuned = predictor.tune((ASKED, examples))
    assert made.kinds["span"].threshold == tuned.value
    assert predictor.tune((ASKED, examples[:9]), (ASKED, examples[9:])) == tuned, "several tasks on one head"

    def score(threshold: float) -> float:
        texts = [NO_ANSWER if one.no_answer > threshold else one.spans[0].text for one in found]
        return mark_v2([original_or_none(text, ex) for text, ex in zip(texts, examples, strict=True)], examples)["f1"]

    tried = [score(one.no_answer) for one in found] + [score(-math.inf)]
    assert tuned.score == pytest.approx(score(tuned.value)) == pytest.approx(max(tried))
    made.save(tmp_path)
    assert Headed.load(tmp_path).kinds["span"].threshold == tuned.value
    again = with_heads(made, [KINDS[2]], None)
    assert again.kinds["span"].threshold == tuned.value, "a run that is taken up keeps it"
    sst2 = TASKS.get("sst2")
    classes = HeadPredictor(model([head_of(sst2, samples_of(sst2))]), BYTES)
    with pytest.raises(ConfigError, match="has no answers to be found in texts"):
        classes.tune((sst2, samples_of(sst2)))


def test_answers_without_a_place_teach_nothing_and_windows_without_them_say_none() -> None:
    long = question(1, "mill", "It rained and rained and rained and rained and rained on the mill .")
    lost = replace(question(2, "hill", "The hill."), spans=())
    none = question(3, None, "The hill.")
    framing = Framing(tokenizer=BYTES, head=KINDS[2], max_len=40)
    windows, nowhere, silent = framing([long, lost, none])
    assert len(windows) > 1
    told = [(one.ids.heads["span.start"], one.ids.heads["span.end"]) for one in windows]
    assert told[0] == (0, 0)
    start, end = told[-1]
    assert BYTES.decode(windows[-1].ids.inputs[start : end + 1]) == "mill"
    assert {one.ids.num_targets for one in nowhere} == {0}
    assert [one.ids.heads["span.start"] for one in silent] == [0]
    table = read_all(Labelled(ASKED, "train", [long, lost, none], "", 0), framing, None)
    assert len(table) == len(windows) + 1
    with pytest.raises(ConfigError, match="task 'asked': none of its examples fits head 'span'"):
        read_all(Labelled(ASKED, "train", [lost], "", 0), framing, None)


def test_words_of_a_long_sentence_are_each_tagged_once() -> None:
    words = [f"w{number}" for number in range(30)]
    fields = {"sentence": " ".join(words)}
    spans = tuple(
        Span("sentence", start, end, "place") for start, end in word_places(fields["sentence"], blanks=True)[::4]
    )
    example = Example(inputs="", targets="", origin="x", fields=fields, spans=spans)
    (read,) = Framing(tokenizer=BYTES, head=KINDS[3], max_len=20)([example])
    assert len(read) > 3
    tags = np.concatenate([one.ids.heads["tag"] for one in read])
    assert (tags != NO_TARGET).sum() == 30
    assert (tags == 1).sum() == len(spans)


def test_heads_of_the_same_kind_and_labels_are_one() -> None:
    first, second = KINDS[0], KINDS[0].model_copy(update={"tasks": ("films",)})
    other = KINDS[0].model_copy(update={"labels": ("no", "yes"), "tasks": ("doubts",)})
    v1, v2 = Head(name="span", kind="span", tasks=("a",)), Head(name="span", kind="span", tasks=("b",), threshold=0.0)
    found = heads_of([first, v1, second, other, v2])
    assert [(head.name, head.tasks, head.threshold) for head in found] == [
        ("class", ("reviews", "films"), None),
        ("span", ("a", "b"), 0.0),
        ("class_2", ("doubts",), None),
    ]


# ---- which head answers a task


def test_a_task_finds_its_head() -> None:
    sst2, rte = TASKS.get("sst2"), TASKS.get("rte")
    heads = [head_of(task, samples_of(task)) for task in (sst2, rte)]
    predictor = HeadPredictor(model(heads_of(heads)), BYTES)
    assert predictor.head_for(sst2, []).tasks == ("sst2",)
    assert predictor.head_for(TASKS.get("imdb"), []).tasks == ("sst2",) if "imdb" in TASKS else True
    with pytest.raises(ConfigError, match=r"task 'squad': needs a span head of squad, and the model has a class head"):
        predictor.head_for(TASKS.get("squad"), [])
    with pytest.raises(ConfigError, match=r"task 'mnli': needs a class head \(entailment, neutral, contradiction\)"):
        predictor.head_for(TASKS.get("mnli"), [])
    few = Task(name="few", source=Source(name="few"), to_examples=lambda row, origin: ())
    rows = [Example(inputs="x", targets="positive", origin="few:0", fields={"text": "x"})]
    assert predictor.head_for(few, rows).tasks == ("sst2",), "a file of few rows whose answers are its labels"
    with pytest.raises(ConfigError, match="task 'few': its answers are texts to be written"):
        predictor.head_for(few, [replace(rows[0], targets="maybe")])
