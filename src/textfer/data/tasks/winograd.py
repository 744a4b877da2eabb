"""Winograd schemas as T5 says them: the pronoun stands between stars, and the model writes what it refers to.

`wsc: The town councillors refused … because *they* feared violence.` → `The town councillors`

SuperGLUE's WSC asks of one candidate whether it is the referent. T5 trains on the rows where it is, with the candidate
as target, and marks all rows: the label is 1 where what the model wrote names the candidate. Both are the task `wsc`
here, on every split: its `learnt` leaves the wrong candidates out of training. `wnli_wsc` makes such schemas of WNLI,
as T5 does for its GLUE scores; T5 never trains on them. DPR's rows name both candidates, and so do its examples.

**Source**: `wsc_simple`, `wnli_simple` and `definite_pronoun_resolution_simple` of t5/data/preprocessors.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from textfer.batch import Example, Row
from textfer.data.fields import int_field, label_field, text_field, texts_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import UNKNOWN, row_id, stripped
from textfer.metrics import accuracy, wsc, wsc_label

PRONOUNS = frozenset(("he", "she", "they", "it", "her", "his", "their", "them", "him"))
ARTICLES = ("a", "an", "the")
MARKS = ".,?!"
UNLABELLED = -1


def star_word(text: str, index: int, pronoun: str) -> str | None:
    """`text` with the pronoun, which is word `index` of it, between stars; None where it does not stand there.

    Where another word has that index, the nearest word that is the pronoun is taken, be it in another case. Where only
    punctuation hangs on it, that is parted: `"Give it to him," said Ann.` → `"Give it to *him* ," said Ann.` Both are
    as T5 has the two rows of WSC that need it.
    """
    words = text.split(" ")
    if index >= len(words) or words[index] != pronoun:
        places = [place for place, word in enumerate(words) if word == pronoun] or [
            place for place, word in enumerate(words) if word.lower() == pronoun.lower()
        ]
        if places:
            index = min(places, key=lambda place: abs(place - index))
        elif index < len(words) and (found := re.fullmatch(re.escape(pronoun) + r"(\W+)", words[index])):
            return " ".join([*words[:index], f"*{pronoun}*", found[1], *words[index + 1 :]]).rstrip()
        else:
            return None
    return " ".join([*words[:index], f"*{pronoun}*", *words[index + 1 :]])


def star_first(sentence: str, pronoun: str) -> str:
    """`sentence` with stars around the first place where the pronoun stands between a space and a space, dot or comma.

    Where there is none (it begins the sentence, say), the sentence is left as it is, as T5 leaves it.
    """
    return re.sub(rf" ({re.escape(pronoun)})( |\.|,)", r" *\1*\2", sentence, count=1)


def schema(premise: str, hypothesis: str) -> tuple[str, str] | None:
    """(the premise with its pronoun between stars, what the hypothesis has in its place); None without a pronoun.

    The pronoun is the one around which most words of the premise stand in the hypothesis too. The second text is empty
    where nothing is found. Worked: `The fish ate the worm. It was tasty.` and `The worm was tasty.` →
    `The fish ate the worm. *It* was tasty.` and `The worm`.
    """
    words, theirs = _words(premise), _words(hypothesis)
    places = [place for place, word in enumerate(words) if word in PRONOUNS]
    if not places:
        return None
    forwards, backwards = " ".join(theirs), " ".join(reversed(theirs))
    shared = {
        place: (_shared(words[:place][::-1], backwards), _shared(words[place + 1 :], forwards)) for place in places
    }
    best = max(places, key=lambda place: sum(shared[place]))
    num_before, num_after = shared[best]
    before, after = words[best - num_before : best], words[best + 1 : best + 1 + num_after]
    candidate = _between(before, after, forwards) if num_before + num_after else ""
    return _star_place(premise, best), _as_written(_from_last_article(candidate), hypothesis)


def names_referent(text: str, example: Example) -> int:
    """The label that an answer of `wsc` or `wnli_wsc` stands for: 1 where it names the candidate, else 0; empty: -1."""
    return wsc_label(text, example.facts["referent"])


def _words(text: str) -> list[str]:
    """Words in lower case, without the punctuation mark at their end."""
    words = [re.sub(r"[.,?!]$", "", word) for word in text.strip().lower().split(" ")]
    return [word for word in words if word]


def _shared(words: Sequence[str], text: str) -> int:
    """How many of the first words stand in `text`, in a row."""
    count = 0
    while count < len(words) and " ".join(words[: count + 1]) in text:
        count += 1
    return count


def _between(before: Sequence[str], after: Sequence[str], text: str) -> str:
    """What stands in `text` between the words; else before the last ones, or after the first ones."""
    left, right = ([re.escape(word) for word in words] for words in (before, after))
    patterns = ([*left, "(.+)", *right], ["^(.+)", *right], [*left, "(.+)$"])
    found = next(filter(None, (re.search(" ".join(pattern), text) for pattern in patterns)), None)
    return found[1] if found else ""


def _from_last_article(candidate: str) -> str:
    """The candidate from its last article on: what stands before belongs to the sentence."""
    words = candidate.split(" ")
    return " ".join(words[max((words.index(article) for article in ARTICLES if article in words), default=0) :])


def _as_written(candidate: str, hypothesis: str) -> str:
    """The candidate as it stands in the hypothesis, not possessive."""
    pattern = " ".join(rf"{re.escape(word)}[.,?!]?" for word in candidate.split(" "))
    found = re.search(pattern, hypothesis, re.IGNORECASE)
    text = found[0] if candidate and found else ""
    text = text[:-1] if text.endswith(tuple(MARKS)) else text
    return text.removesuffix("'") if text.endswith("'") else text.removesuffix("'s")


def _star_place(sentence: str, place: int) -> str:
    words = sentence.split(" ")
    word, mark = (words[place][:-1], words[place][-1]) if words[place][-1:] in [*MARKS] else (words[place], "")
    return " ".join([*words[:place], f"*{word}*{mark and ' ' + mark}", *words[place + 1 :]])


def _schema_example(row: Row, origin: str, *, text: str, referent: str, label: int, otherwise: str = "") -> Example:
    """The example of one candidate. The target is the candidate even where it is wrong, as T5 has it.

    Where there is none, T5's target is empty and no answer ever names it; here `otherwise` is the target.
    """
    idx = int_field(row, "idx", origin)
    return Example(
        inputs=f"wsc: {text}",
        targets=UNKNOWN if label == UNLABELLED else referent or otherwise,
        origin=origin,
        facts={**row_id(row), "idx": idx, "label": label, "referent": referent},
        fields={"text": text, "referent": referent},
    )


def _wsc(row: Row, origin: str) -> Iterable[Example]:
    text, referent = text_field(row, "text", origin), text_field(row, "span1_text", origin)
    pronoun, index = text_field(row, "span2_text", origin), int_field(row, "span2_index", origin)
    label = label_field(row, "label", origin, num_labels=2, unknown=UNLABELLED)
    if not referent.strip():
        raise wrong(referent, "span1_text", origin, "a candidate that is not empty")
    starred = star_word(text, index, pronoun) if index >= 0 and pronoun else None
    if starred is None:
        raise wrong(pronoun, "span2_text", origin, f"word {index} of the text")
    yield _schema_example(row, origin, text=starred, referent=referent, label=label)


def _wnli(row: Row, origin: str) -> Iterable[Example]:
    premise, hypothesis = text_field(row, "sentence1", origin), text_field(row, "sentence2", origin)
    label = label_field(row, "label", origin, num_labels=2, unknown=UNLABELLED)
    found = schema(premise, hypothesis)
    if found is None:
        raise wrong(premise, "sentence1", origin, f"a pronoun in it ({', '.join(sorted(PRONOUNS))})")
    yield _schema_example(row, origin, text=found[0], referent=found[1], label=label, otherwise=hypothesis)


def _dpr(row: Row, origin: str) -> Iterable[Example]:
    sentence, pronoun = text_field(row, "sentence", origin), text_field(row, "pronoun", origin)
    candidates = texts_field(row, "candidates", origin)
    if len(candidates) != 2:
        raise wrong(candidates, "candidates", origin, "two texts")
    label = label_field(row, "label", origin, num_labels=2, unknown=UNLABELLED)
    text = star_first(sentence, pronoun)
    yield Example(
        inputs=f"wsc: {text}",
        targets=UNKNOWN if label == UNLABELLED else candidates[label],
        origin=origin,
        facts={**row_id(row), "choices": candidates},
        fields={"text": text},
    )


def _is_referent(example: Example) -> bool:
    return example.facts["label"] == 1 and bool(example.facts["referent"])


def _mark_schemas(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    return wsc(
        [str(answer) for answer in answers],
        [example.facts["referent"] for example in examples],
        [example.facts["label"] for example in examples],
    )


def _mark_texts(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    return accuracy([str(answer) for answer in answers], [example.targets for example in examples])


FARMER = "The farmer thanked the smith because he had mended the plough."
WINDOW = "Ann asked Maud to close the window , and at last they shut it , but it was still cold."
WSC_SAMPLE = (
    {"text": FARMER, "span1_text": "the smith", "span2_index": 6, "span2_text": "he", "label": 1, "idx": 0},
    {"text": FARMER, "span1_text": "The farmer", "span2_index": 6, "span2_text": "he", "label": 0, "idx": 1},
    {"text": FARMER, "span1_text": "The farmer", "span2_index": 6, "span2_text": "he", "label": -1, "idx": 2},
    {"text": WINDOW, "span1_text": "the window", "span2_index": 12, "span2_text": "it", "label": 1, "idx": 3},
    {
        "text": '"Give it to him," said Ann. ',
        "span1_text": "Ann",
        "span2_index": 3,
        "span2_text": "him",
        "label": 0,
        "idx": 4,
    },
)
HEN = "The fox saw the hen. It ran away."
WNLI_SAMPLE = (
    {"sentence1": HEN, "sentence2": "The hen ran away.", "label": 1, "idx": 0},
    {"sentence1": HEN, "sentence2": "The fox ran away.", "label": 0, "idx": 1},
    {"sentence1": HEN, "sentence2": "The fox ran away.", "label": -1, "idx": 2},
    {"sentence1": "Jo gave Bo her hat.", "sentence2": "Jo gave Bo Bo's hat.", "label": 1, "idx": 3},
    {"sentence1": "It rained.", "sentence2": "Nobody came to the fair.", "label": 0, "idx": 4},
)

register(
    Task(
        name="wsc",
        source=Source(
            name="aps/super_glue",
            config="wsc.fixed",  # T5's: spans are spelled as in the text
            folder="aps/super_glue/wsc",
            columns=("text", "span1_text", "span2_index", "span2_text", "label", "idx"),
        ),
        to_examples=_wsc,
        learnt=_is_referent,
        metrics=_mark_schemas,
        answer=stripped,
        family="coreference",
        summary="WSC: what does the pronoun refer to? Trained on the right candidates, marked on all",
        licence="CC BY 4.0",
        train_ok=True,
        schema="data card of aps/super_glue",
        sizes={"train": 554, "validation": 104, "test": 146},
        sample=WSC_SAMPLE,
    )
)
register(
    Task(
        name="wnli_wsc",
        source=Source(name="nyu-mll/glue", config="wnli", columns=("sentence1", "sentence2", "label", "idx")),
        to_examples=_wnli,
        learnt=_is_referent,
        metrics=_mark_schemas,
        answer=stripped,
        family="coreference",
        summary="WNLI as Winograd schemas, T5's way to answer it; for evaluation only",
        licence="CC BY 4.0",
        train_ok=True,
        schema="data card of nyu-mll/glue",
        sizes={"train": 635, "validation": 71, "test": 146},
        sample=WNLI_SAMPLE,
    )
)
register(
    Task(
        name="dpr",
        source=Source(
            name="community-datasets/definite_pronoun_resolution",
            config="plain_text",
            columns=("sentence", "pronoun", "candidates", "label"),
        ),
        to_examples=_dpr,
        metrics=_mark_texts,
        answer=stripped,
        family="coreference",
        summary="Definite Pronoun Resolution: which of two candidates does the pronoun refer to? Read as `wsc`",
        licence="none stated",
        schema="data card of community-datasets/definite_pronoun_resolution",
        sizes={"train": 1_322, "test": 564},
        sample=(
            {"sentence": FARMER, "pronoun": "he", "candidates": ["The farmer", "the smith"], "label": 1},
            {
                "sentence": "Ann wrote to Maud, who never answered her.",
                "pronoun": "her",
                "candidates": ["Ann", "Maud"],
                "label": 0,
            },
            {"sentence": "She left Ann.", "pronoun": "She", "candidates": ["Ann", "Maud"], "label": 1},
        ),
    )
)
