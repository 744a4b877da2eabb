"""Porter's stemmer for English, with the small departures that ROUGE's reference implementation inherits from NLTK.

**Source**: M. F. Porter, An algorithm for suffix stripping, Program 14(3), 1980. The departures are those of NLTK's
default mode, as `rouge-score` uses it: a few irregular words; `-ies` and `-ied` of four-letter words keep an e; y
becomes i only after a consonant that is not the first letter; `-alli` is tried first; `-fulli` and `-logi` exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

Condition = Callable[[str], bool]

IRREGULAR = {
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "innings": "inning",
    "outings": "outing",
    "cannings": "canning",
    **{word: word for word in ("sky", "news", "inning", "outing", "canning", "howe", "proceed", "exceed", "succeed")},
}
STEP_1A = (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", ""))
STEP_2 = (
    *(("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble")),
    *(("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate")),
    *(("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al")),
    *(("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful"), ("logi", "log")),
)
STEP_3 = (
    *(("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")),
)
STEP_4 = (
    *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate"),
    *("iti", "ous", "ive", "ize"),
)


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """The stem of a word in lower case. Words of one or two letters stay as they are."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    word = _past_and_progressive(_plural(word))
    if word.endswith("y") and len(word) > 2 and _consonants(word)[-2]:
        word = word[:-1] + "i"
    return _final_letters(_fourth(_third(_second(word))))


def _plural(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    return _replace(word, STEP_1A, lambda start: True)


def _past_and_progressive(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for ending in ("ed", "ing"):
        start = word.removesuffix(ending)
        if start != word and not all(_consonants(start)):
            return _mended(start)
    return word


def _mended(start: str) -> str:
    """What is left after -ed or -ing, with the e it lost or without the consonant it doubled."""
    if start.endswith(("at", "bl", "iz")):
        return start + "e"
    if len(start) > 1 and start[-1] == start[-2] and _consonants(start)[-1]:
        return start if start[-1] in "lsz" else start[:-1]
    return start + "e" if _measure(start) == 1 and _short(start) else start


def _second(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _second(word[:-2])
    if word.endswith("logi"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    return _replace(word, STEP_2, lambda start: _measure(start) > 0)


def _third(word: str) -> str:
    return _replace(word, STEP_3, lambda start: _measure(start) > 0)


def _fourth(word: str) -> str:
    ending = next((ending for ending in STEP_4 if word.endswith(ending)), "")
    start = word.removesuffix(ending)
    if not ending or _measure(start) < 2 or (ending == "ion" and start[-1] not in "st"):
        return word
    return start


def _final_letters(word: str) -> str:
    if word.endswith("e"):
        start = word[:-1]
        measure = _measure(start)
        if measure > 1 or (measure == 1 and not _short(start)):
            word = start
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word


def _replace(word: str, rules: Sequence[tuple[str, str]], condition: Condition) -> str:
    """The first rule whose ending fits decides, whether its condition holds or not."""
    for ending, new in rules:
        if word.endswith(ending):
            start = word[: -len(ending)]
            return start + new if condition(start) else word
    return word


def _consonants(text: str) -> list[bool]:
    """For every letter whether it is a consonant: not a, e, i, o, u, and not y after a consonant."""
    flags: list[bool] = []
    for letter in text:
        flags.append(not (flags and flags[-1]) if letter == "y" else letter not in "aeiou")
    return flags


def _measure(text: str) -> int:
    """Porter's m: how many times a vowel is followed by a consonant."""
    flags = _consonants(text)
    return sum(after and not before for before, after in pairwise(flags))


def _short(text: str) -> bool:
    """Porter's *o: consonant, vowel, consonant other than w, x, y at the end; or a vowel and a consonant alone."""
    flags = _consonants(text)
    if len(text) == 2:
        return flags == [False, True]
    return flags[-3:] == [True, False, True] and text[-1] not in "wxy"
