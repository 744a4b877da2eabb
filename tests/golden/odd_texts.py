"""Texts and labels that scores stumble over: empty, punctuation only, Unicode, articles only, doubled words."""

from __future__ import annotations

import random

WORDS = (
    *("the", "The", "a", "an", "AN", "cat", "cats", "Cat's", "running", "runner", "happily", "relational", "skies"),
    *(
        "dying",
        "agreed",
        "ad",
        "ads",
        "its",
        "1,000.5",
        "a1",
        "2024",
        "U.S.",
        "x-ray",
        "snake_case",
        "...",
        "!?",
        ",",
        ".",
        "“quoted”",
    ),
    *("‘it’s’", "`tick`", "´", "Über", "naïve", "café", "cafe\u0301", "İstanbul", "ﬁne", "ｆｕｌｌ", "中文", "日本"),
    *("🙂", "👍🏽", "\u00a0", "\t", "\n", "\u200b", "\u2028", "<unk>", "</s>", "&amp;", "\\n", "0", "-1"),
)
GAPS = (" ", " ", " ", "  ", "", "\n", " . ")


def odd_text(draw: random.Random, longest: int = 12) -> str:
    """A text of up to so many odd words; now and then empty or spaces only."""
    count = draw.choice((0, 1, 2, 3, longest // 2, longest))
    gap = draw.choice(GAPS)
    return draw.choice(("", " ")) + gap.join(draw.choice(WORDS) for _ in range(count))


def near_text(draw: random.Random, text: str) -> str:
    """The text with some words lost, doubled, swapped or put in other case; often as it was."""
    words = text.split(" ")
    for _ in range(draw.randrange(3)):
        place = draw.randrange(len(words))
        words[place : place + 1] = draw.choice(([], [words[place]] * 2, [words[place].upper()], [draw.choice(WORDS)]))
        words = words or [""]
    return " ".join(words)


def odd_pairs(count: int, *, seed: int, longest: int = 12, most_golds: int = 3) -> tuple[list[str], list[list[str]]]:
    """So many texts, each with one to `most_golds` gold texts, some of which resemble it."""
    draw = random.Random(seed)
    golds = [[odd_text(draw, longest) for _ in range(draw.randint(1, most_golds))] for _ in range(count)]
    texts = [near_text(draw, draw.choice(all_)) if draw.random() < 0.7 else odd_text(draw, longest) for all_ in golds]
    return texts, golds
