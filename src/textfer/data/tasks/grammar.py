"""Grammar as correction: JFLEG, sentences of learners with four people's corrections of each.

`exact_match` leads, as it alone gives a person's correction full marks. JFLEG's own measure is GLEU; beside it
stands what the sentences get when nothing is corrected, which is much: of BLEU four fifths.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from textfer.batch import Example, Row
from textfer.data.fields import text_field, texts_field
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.forms import by_text, key_values, stripped, written
from textfer.metrics import bleu, exact_match
from textfer.metrics.means import mean

ORDER = 4


def _corrections(row: Row, origin: str) -> Sequence[str]:
    return [text.strip() for text in texts_field(row, "corrections", origin) if text.strip()]


def gleu(texts: Sequence[str], golds: Sequence[Sequence[str]], sentences: Sequence[str]) -> Scores:
    """`gleu` of the corpus: BLEU's precisions, less the n-grams of the sentence that its correction does away with.

    Each sentence is held against one correction at a time, in as many rounds as there are corrections, and the rounds
    are averaged. The authors draw corrections at random 500 times, which comes to the same but for luck. Words are what
    stands between spaces.

    **Source**: Napoles et al., Ground Truth for GEC Metrics, 2015, and GLEU Without Tuning, 2016.
    """
    width = max((len(all_) for all_ in golds), default=0)
    rounds = []
    for turn in range(width):
        chosen = [all_[(number + turn) % len(all_)] for number, all_ in enumerate(golds)]
        rounds.append(_round(list(zip(texts, chosen, sentences, strict=True))))
    return {"gleu": mean(rounds)}


def _round(triples: Sequence[tuple[str, str, str]]) -> float:
    num_ours = sum(len(text.split()) for text, _, _ in triples)
    num_gold = sum(len(gold.split()) for _, gold, _ in triples)
    logs = []
    for size in range(1, ORDER + 1):
        hits = told = 0
        for parts in triples:
            ours, gold, sentence = (_ngrams(part.split(), size) for part in parts)
            left = Counter({ngram: count for ngram, count in sentence.items() if ngram not in gold})
            hits += max((ours & gold).total() - (ours & left).total(), 0)
            told += ours.total()
        if not hits:
            return 0.0
        logs.append(math.log(hits / told))
    return math.exp(min(0.0, 1 - num_gold / num_ours) + sum(logs) / ORDER)


def _ngrams(words: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[start : start + size]) for start in range(len(words) + 1 - size))


def correction_scores(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`exact_match`, `gleu` and `bleu` of the answers, and the last two of the sentences as they are (`copied_…`)."""
    sentences = [example.fields["sentence"] for example in examples]

    def against_sentences(texts: Sequence[str], golds: Sequence[Sequence[str]]) -> Scores:
        return {**gleu(texts, golds, sentences), **bleu(texts, golds)}

    copied = by_text(against_sentences)(sentences, examples)
    return {
        **by_text(exact_match, against_sentences)(answers, examples),
        **{f"copied_{name}": value for name, value in copied.items()},
    }


def _jfleg(row: Row, origin: str) -> Iterable[Example]:
    sentence = text_field(row, "sentence", origin).strip()
    for example in _form(row, origin):
        yield Example(
            inputs=example.inputs,
            targets=example.targets,
            origin=origin,
            facts=example.facts,
            fields={"sentence": sentence},
        )


_form = written(
    lambda row, origin: key_values("jfleg", {"sentence": text_field(row, "sentence", origin).strip()}), _corrections
)

register(
    Task(
        name="jfleg",
        source=Source(name="jhu-clsp/jfleg", columns=("sentence", "corrections")),
        to_examples=_jfleg,
        metrics=correction_scores,
        answer=stripped,
        family="grammar",
        summary="JFLEG: sentences of learners of English made correct and fluent",
        licence="CC BY-NC-SA 4.0",
        schema="data card of jhu-clsp/jfleg",
        sizes={"validation": 755, "test": 748},
        sample=(
            {
                "sentence": "The goat have ate all of flower . ",
                "corrections": ["The goat has eaten all of the flowers . ", "The goat ate all the flowers . ", ""],
            },
        ),
    )
)
