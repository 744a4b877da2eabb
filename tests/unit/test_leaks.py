"""What of an evaluation split stands in a train split."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from textfer.batch import Example
from textfer.data.leaks import NGRAM, SHORTEST, Leak, Probe, Watched, leaks, marks_of, texts_of

WORDS = [f"w{number}" for number in range(5000)]


def say(origin: str, *texts: str, options: Sequence[str] = ()) -> Example:
    """An example with fields; its input is what a task makes of them."""
    fields = {f"text{number}": text for number, text in enumerate(texts)}
    facts = {"options": tuple(options)} if options else {}
    inputs = f"{origin} " + " ".join(f"{key}: {text}" for key, text in fields.items())
    return Example(inputs=inputs, targets="yes", origin=origin, fields=fields, facts=facts)


def words(start: int, stop: int) -> str:
    return " ".join(WORDS[start:stop])


@pytest.mark.parametrize(
    ("train", "evaluation", "leaking"),
    [
        ("The trophy is too big.", "the  trophy is TOO big", True),
        ("It 's so good , he said", "It's so good, he said.", True),
        ("Der Straße nach", "der straße NACH!", True),
        ("café", "cafe\u0301", True),
        ("the trophy is too big", "the trophy is too small", False),
        ("ab c", "a bc", False),
        ("one two three", "three two one", False),
        ("", "", False),
        ("?!", "...", False),
        (words(0, 20), words(5, 5 + NGRAM), True),
        (words(0, 20), f"x {words(7, 20)} y", True),
        (words(0, 20), words(0, NGRAM - 1), False),
        (words(0, 20), f"{words(0, 12)} x {words(12, 20)}", False),
        (words(0, SHORTEST), words(0, SHORTEST + 1), False),
        ("我喜欢在下雨天喝茶看书写字", "昨天他说：我喜欢在下雨天喝茶看书写字。", True),
    ],
)
def test_the_same_words_and_13_in_a_row(train: str, evaluation: str, leaking: bool) -> None:
    assert leaks([say("t:0", train)], [say("e:0", evaluation)]) == ({"t:0"} if leaking else set())


def test_the_order_and_the_names_of_texts_do_not_count() -> None:
    found = leaks(
        [say("t:0", "Is it big?", "It is."), say("t:1", "Is it big? It is."), say("t:2", "Is it big?")],
        [say("e:0", "it is", "is it big")],
    )
    assert found == {"t:0"}


def test_a_whole_text_of_8_words_counts_where_the_other_texts_differ() -> None:
    shared, short = words(0, SHORTEST), words(0, SHORTEST - 1)
    train = [say("t:0", shared, "a"), say("t:1", short, "a")]
    assert leaks(train, [say("e:0", shared, "b"), say("e:1", short, "b")]) == {"t:0"}


def test_options_are_said_too() -> None:
    train = [say("t:0", "Which?", options=("a red one", "a blue one"))]
    assert leaks(train, [say("e:0", "Which?", options=("a blue one", "a red one"))]) == {"t:0"}
    assert leaks(train, [say("e:0", "Which?", options=("a blue one", "a green one"))]) == set()


def test_a_tasks_own_words_do_not_count() -> None:
    def asked(origin: str, text: str) -> Example:
        return Example(inputs=text, targets="x", origin=origin, fields={"text": text})

    assert texts_of(asked("t", "nq question: who is it: Ann?")) == ["who is it: Ann?"]
    assert leaks([asked("t:0", "nq question: who is it?")], [asked("e:0", "trivia question: Who is it")]) == {"t:0"}
    plain = Example(inputs="", targets=f"A page. {words(0, 30)}", origin="wiki:0")
    assert leaks([plain], [say("e:0", words(3, 17))]) == {"wiki:0"}


def plainly(texts: Sequence[str]) -> tuple[str, set[str]]:
    """(all words, all stretches) of a text by Python's own strings: what hashing stands for."""
    found: set[str] = set()
    whole = []
    for text in texts:
        own = re.findall(r"[a-z0-9]+", text.lower())
        whole.append(" ".join(own))
        if SHORTEST <= len(own) < NGRAM:
            found.add(f"whole: {' '.join(own)}")
        found |= {" ".join(own[at : at + NGRAM]) for at in range(len(own) - NGRAM + 1)}
    return "|".join(sorted(one for one in whole if one)), found


def random_examples(draw: random.Random, name: str, number: int) -> list[Example]:
    """Texts cut out of one long text, so that many overlap."""
    made = []
    for index in range(number):
        texts = []
        for _ in range(draw.randint(1, 3)):
            start, size = draw.randrange(60), draw.choice([0, 1, 2, 7, 8, 12, 13, 14, 25])
            own = WORDS[start : start + size]
            joined = "".join(word.upper() + draw.choice([" ", ", ", "—"]) for word in own)
            texts.append(joined)
        made.append(say(f"{name}:{index}", *texts))
    return made


@pytest.mark.parametrize("seed", range(5))
def test_hashes_find_what_strings_find(seed: int) -> None:
    draw = random.Random(seed)
    train, evaluation = (random_examples(draw, name, 80) for name in "te")
    said = [plainly(list(one.fields.values())) for one in evaluation]
    wholes, stretches = {whole for whole, _ in said if whole}, set().union(*(grams for _, grams in said))
    expected = {
        one.origin for one in train if (own := plainly(list(one.fields.values())))[0] in wholes or own[1] & stretches
    }
    assert 0 < len(expected) < len(train)
    assert leaks(train, evaluation) == expected


def counted(watched: Watched, train: Iterable[Example]) -> list[Leak]:
    probe = Probe(watched, "mine/train")
    for example in train:
        probe.add([example], marks_of([example]))
    return probe.found()


def test_counts_and_samples_of_each_group() -> None:
    watched = Watched()
    groups = {
        "a/test": [say("a:0", "same thing"), say("a:1", words(0, 20)), say("a:2", "own"), say("a:3", "same thing")],
        "b/test": [say("b:0", words(4, 30)), say("b:1", "nothing of it")],
        "c/test": [say("c:0", "nobody says this")],
    }
    for name, examples in groups.items():
        watched.add(name, examples, marks_of(examples))
    train = [say("t:0", "Same thing!"), say("t:1", words(2, 18)), say("t:2", "new"), say("t:3", words(4, 18))]
    a, b = counted(watched, train)
    assert (a.train, a.evaluation, a.same, a.overlapping, a.num_evaluation, a.num_train) == (
        "mine/train",
        "a/test",
        2,
        1,
        4,
        3,
    )
    assert [(train, evaluation) for train, evaluation, _ in a.samples] == [
        ("t:0", "a:0"),
        ("t:1", "a:1"),
        ("t:3", "a:1"),
    ]
    assert (b.same, b.overlapping, b.num_evaluation, b.num_train) == (0, 1, 2, 2)
    assert b.samples[0][:2] == ("t:1", "b:0")
    assert b.samples[0][2].startswith("w2 w3 w4")


def test_memory_is_bounded_and_long_overlaps_are_still_found() -> None:
    draw = random.Random(0)
    evaluation = [say(f"e:{n}", " ".join(draw.choices(WORDS, k=200))) for n in range(30)]
    watched = Watched(max_grams=600)
    for example in evaluation:
        watched.add("e", [example], marks_of([example]))
    assert watched.every == 16
    by_whole, by_gram = watched.indices()
    assert len(by_whole.keys) == 30
    assert 0 < len(by_gram.keys) <= 600
    train = [say(f"t:{n}", example.fields["text0"] + " x") for n, example in enumerate(evaluation)]
    (leak,) = counted(watched, [*train, say("t:n", " ".join(draw.choices(WORDS, k=2000)))])
    assert (leak.same, leak.overlapping, leak.num_train) == (0, 30, 30)


def test_nothing_to_watch_and_nothing_said() -> None:
    assert leaks([say("t:0", "a")], []) == set()
    assert leaks([], [say("e:0", "a")]) == set()
    marks = marks_of([])
    assert [len(one) for one in marks] == [0, 0, 0]
    assert marks.whole.dtype == marks.grams.dtype == np.uint64
