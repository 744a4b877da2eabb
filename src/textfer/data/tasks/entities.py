"""Names and terms in sentences: people and places, diseases, chemicals, genes, and CoNLL-2003's tags and phrases.

The text form is that of tagging.py. CoNLL-2003 is declared as the hub has it; its text may not be passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from textfer.batch import Row
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.classes import NO_HUB
from textfer.data.tasks.forms import stripped
from textfer.data.tasks.tagging import iob, mark_entities, mark_tags, part_of_speech, tagged

PUBMED = "none stated (PubMed text)"
WIKIANN = iob("person", "organization", "location")


class _Set(NamedTuple):
    name: str
    source: str
    config: str
    names: tuple[str, ...]
    """The tags in the order of their indices."""
    summary: str
    licence: str
    sentences: tuple[tuple[str, tuple[int, ...]], ...]
    """Sample sentences written for this project, with a tag index for every word."""
    train_ok: bool = False
    sizes: Mapping[str, int] = MappingProxyType({})
    schema: str = ""
    tags: str = "ner_tags"


def _rows(sentences: tuple[tuple[str, tuple[int, ...]], ...], tags: str) -> tuple[Row, ...]:
    return tuple({"tokens": text.split(), tags: list(numbers)} for text, numbers in sentences)


def _wikiann(code: str, language: str, *sentences: tuple[str, tuple[int, ...]]) -> _Set:
    return _Set(
        f"wikiann_{code}",
        "unimelb-nlp/wikiann",
        code,
        WIKIANN,
        f"people, organizations and places in {language} Wikipedia sentences",
        "ODC-BY",
        sentences,
        train_ok=True,
        sizes={"train": 20_000, "validation": 10_000, "test": 10_000},
    )


SETS = (
    _Set(
        "wnut_17",
        "leondz/wnut_17",
        "wnut_17",
        iob("corporation", "creative work", "group", "location", "person", "product"),
        "rare and new names in tweets and other posts",
        "CC BY 4.0",
        (
            ("@ada met Maud Hale in Aldon ; nice", (0, 0, 9, 10, 0, 7, 0, 0)),
            ("just rain today", (0, 0, 0)),
            ("Aldon vs Aldon Wells , live on HalTV", (0, 0, 5, 6, 0, 0, 0, 1)),
        ),
        train_ok=True,
        sizes={"train": 3_394, "validation": 1_009, "test": 1_287},
    ),
    _wikiann(
        "en", "English", ("Ada Lund of Aldon", (1, 2, 0, 5)), ("Aldon ( Aldon ) Mill Company", (0, 0, 5, 0, 3, 4))
    ),
    _wikiann("de", "German", ("Ada Lund lebte in Aldon .", (1, 2, 0, 0, 5, 0)), ("' Aldon '", (0, 5, 0))),
    _wikiann("fr", "French", ("REDIRECTION Moulin d' Aldon", (0, 5, 6, 6)), ("Maud Hale , Ada Lund", (1, 2, 0, 1, 2))),
    _Set(
        "ncbi_disease",
        "ncbi/ncbi_disease",
        "ncbi_disease",
        iob("disease"),
        "names of diseases in abstracts of medicine",
        PUBMED,
        (("Aldon fever ( AF ) is rare .", (1, 2, 0, 1, 0, 0, 0, 0)), ("No gene was found .", (0, 0, 0, 0, 0))),
        sizes={"train": 5_433, "validation": 924, "test": 941},
    ),
    _Set(
        "bc5cdr",
        "allenai/scibert",
        "bc5cdr",
        iob("entity"),
        "chemicals and diseases, as one type, in abstracts of medicine",
        PUBMED,
        (("Halanol cures Aldon fever .", (1, 0, 1, 2, 0)), ("All were well .", (0, 0, 0, 0))),
        schema=NO_HUB,
    ),
    _Set(
        "sciie_ner",
        "allenai/scibert",
        "sciie_ner",
        iob("generic", "material", "method", "metric", "other scientific term", "task"),
        "methods, tasks, measures and other terms in abstracts of computer science (SciERC)",
        "none stated",
        (("Our tagger raises F1 on news", (0, 5, 0, 7, 0, 3)),),
        schema=NO_HUB,
    ),
    _Set(
        "jnlpba",
        "allenai/scibert",
        "jnlpba",
        iob("DNA", "RNA", "cell line", "cell type", "protein"),
        "genes, proteins and cells in abstracts of biology",
        "CC BY 3.0 (GENIA)",
        (("The ALD1 gene binds HAL and LUN2 .", (0, 1, 2, 0, 9, 0, 9, 0)),),
        train_ok=True,
        schema=NO_HUB,
    ),
    _Set(
        "ebmnlp",
        "allenai/scibert",
        "ebmnlp",
        iob("intervention", "outcome", "participants"),
        "who was treated, with what, and what was measured, in abstracts of trials (PICO)",
        PUBMED,
        (("Halanol against sleep loss ; nurses ; one year", (1, 0, 3, 4, 0, 5, 6, 6, 6)),),
        schema=NO_HUB,
    ),
)
CONLL = "eriktks/conll2003"
CONLL_SIZES = {"train": 14_041, "validation": 3_250, "test": 3_453}
POS = (
    *('"', "''", "#", "$", "(", ")", ",", ".", ":", "``", "CC", "CD", "DT", "EX", "FW", "IN", "JJ", "JJR", "JJS", "LS"),
    *("MD", "NN", "NNP", "NNPS", "NNS", "NN|SYM", "PDT", "POS", "PRP", "PRP$", "RB", "RBR", "RBS", "RP", "SYM", "TO"),
    *("UH", "VB", "VBD", "VBG", "VBN", "VBP", "VBZ", "WDT", "WP", "WP$", "WRB"),
)
CHUNKS = iob(
    "adjective phrase",
    "adverb phrase",
    "conjunction phrase",
    "interjection",
    "list marker",
    "noun phrase",
    "prepositional phrase",
    "particle",
    "subordinate clause",
    "unlike coordinated phrase",
    "verb phrase",
)
_CONLL_SETS = (
    (
        "ner",
        iob("person", "organization", "location", "miscellaneous"),
        "people, organizations, places and other names",
    ),
    ("chunk", CHUNKS, "phrases without phrases in them"),
    ("pos", POS, "the part of speech of every word"),
)
_CONLL_TAGS = {"ner": (1, 2, 0, 5, 0), "chunk": (11, 12, 21, 11, 0), "pos": (22, 22, 38, 22, 7)}

for _one in (
    *SETS,
    *(
        _Set(
            f"conll2003_{_kind}",
            CONLL,
            "conll2003",
            _names,
            f"{_summary} in news sentences (CoNLL-2003)",
            "Reuters corpus terms (research only)",
            (("Ada Lund left Aldon .", _CONLL_TAGS[_kind]),),
            sizes=CONLL_SIZES,
            tags=f"{_kind}_tags",
        )
        for _kind, _names, _summary in _CONLL_SETS
    ),
):
    _each = _one.tags == "pos_tags"
    register(
        Task(
            name=_one.name,
            source=Source(name=_one.source, config=_one.config, columns=("tokens", _one.tags)),
            to_examples=(part_of_speech if _each else tagged)(_one.name, _one.tags, _one.names),
            metrics=mark_tags if _each else mark_entities,
            answer=stripped,
            family="tagging",
            summary=_one.summary,
            licence=_one.licence,
            train_ok=_one.train_ok,
            schema=_one.schema or f"data card of {_one.source}",
            sizes=_one.sizes,
            sample=_rows(_one.sentences, _one.tags),
        )
    )
