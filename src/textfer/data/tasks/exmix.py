"""ExMix, the 107 supervised tasks of ExT5 (Aribandi et al., 2022), as a table: which of them are declared here.

The paper's data were never released, and its table of tasks is known here from memory. Each family therefore says how
sure its row is: `agrees` = the number of training examples equals the sum of the sets' published sizes (or T5's
weights); `recalled` = nothing contradicts it, and nothing more. Members that could not be told are `unresolved` and
never count as tasks. **Source**: ExT5, appendix (recalled); sizes: the tasks' own files, T5's glue_utils.py.

The recalled sizes do not add up to the paper's 18,085,040 examples: at least one is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from textfer.data.task import MIXTURES, Mixture

NUM_TASKS = 107
MAX_EXAMPLES = 3e5
"""ExT5's cap K."""
AGREES, RECALLED = "agrees", "recalled"


class Family(NamedTuple):
    """A row of the table."""

    name: str
    what: str
    number: int
    """Tasks that the paper counts."""
    examples: int | None
    """Training examples of all of them; None = not known."""
    members: tuple[str, ...]
    """One task here for each of the paper's; a mixture where the paper's one task is several here."""
    metric: str
    """The metric that the sets are usually marked by; the paper has no such column."""
    sure: str

    @property
    def unresolved(self) -> int:
        """How many of the paper's tasks in this family could not be told."""
        return self.number - len(self.members)


def _names(text: str, prefix: str = "") -> tuple[str, ...]:
    return tuple(f"{prefix}{name}" for name in text.split())


GPT2 = "small_117m small_117m_k40 medium_345m medium_345m_k40 large_762m large_762m_k40 xl_1542m xl_1542m_k40"
FAMILIES = (
    Family("GLUE", "understanding", 7, 949_101, _names("cola sst2 mrpc qqp stsb mnli qnli"), "MCC, acc, F1", AGREES),
    Family(
        "SuperGLUE",
        "understanding; its examples count RTE's, and DPR's with WSC's",
        8,
        185_673,
        _names("boolq cb copa multirc record super_glue_rte wic wsc_dpr"),
        "acc, F1, EM",
        AGREES,
    ),
    Family(
        "KILT",
        "knowledge",
        9,
        3_129_859,
        _names("fever aidayago2 trex structured_zeroshot nq hotpotqa triviaqa eli5 wow", "kilt_"),
        "acc, EM, ROUGE-L, F1",
        RECALLED,
    ),
    Family(
        "Rainbow",
        "commonsense",
        6,
        324_742,
        _names("alpha_nli cosmos_qa hellaswag piqa social_i_qa winogrande"),
        "acc",
        AGREES,
    ),
    Family(
        "GEM",
        "generation, English",
        8,
        1_067_955,
        _names(
            "common_gen dart e2e_nlg schema_guided_dialog totto web_nlg_en wiki_auto_asset_turk wiki_lingua_en", "gem_"
        ),
        "BLEU, ROUGE-2",
        AGREES,
    ),
    Family(
        "DialoGLUE",
        "dialogue",
        6,
        76_122,
        _names("banking77 hwu_64 clinc_oos restaurant8k dstc8_slots top"),
        "acc, F1, EM",
        AGREES,
    ),
    Family(
        "TweetEval",
        "tweets; stance is five sets here",
        8,
        120_104,
        _names("emoji emotion hate irony offensive sentiment stance", "tweet_eval_"),
        "macro-F1",
        RECALLED,
    ),
    Family("CNN/DailyMail", "summarisation", 1, 287_113, ("cnn_dailymail",), "ROUGE", RECALLED),
    Family("XSum", "summarisation", 1, 203_577, ("xsum",), "ROUGE", RECALLED),
    Family("Multi-News", "summarisation", 1, 44_972, ("multi_news",), "ROUGE", AGREES),
    Family("AESLC", "e-mail subjects", 1, 14_436, ("aeslc",), "ROUGE", AGREES),
    Family("Gigaword", "headlines", 1, 3_803_957, ("gigaword",), "ROUGE", AGREES),
    Family("SAMSum", "dialogue summarisation", 1, 14_372, ("samsum",), "ROUGE", RECALLED),
    Family("ANLI", "inference; three rounds", 1, 162_865, ("anli",), "acc", AGREES),
    Family("e-SNLI", "inference with explanation", 1, 549_367, ("esnli",), "acc, BLEU", AGREES),
    Family("AgreeSum", "entailed summaries", 1, 7_750, ("agreesum",), "acc", RECALLED),
    Family("DocNLI", "inference on documents", 1, 942_314, ("docnli",), "F1", AGREES),
    Family("VitaminC", "fact checking", 1, 370_653, ("vitaminc",), "acc", RECALLED),
    Family("WebQuestions", "open questions", 1, 3_778, ("web_questions",), "EM", AGREES),
    Family("SQuAD", "reading", 1, 87_599, ("squad",), "EM, F1", AGREES),
    Family("QuAC", "reading in dialogue", 1, 83_568, ("quac",), "F1", RECALLED),
    Family("DROP", "reading and counting", 1, 77_409, ("drop",), "EM, F1", AGREES),
    Family("RACE", "exams; two parts are known", 3, 113_013, ("race_middle", "race_high"), "acc", RECALLED),
    Family("ELI5", "long answers; maybe KILT's", 1, 272_634, ("eli5",), "ROUGE-L", AGREES),
    Family("TweetQA", "questions on tweets", 1, 10_692, ("tweet_qa",), "BLEU, ROUGE", AGREES),
    Family("NewsQuizQA", "questions made", 1, 16_160, ("newsquiz_qa",), "ROUGE", RECALLED),
    Family("Amazon reviews", "stars", 1, None, ("amazon_reviews",), "acc", RECALLED),
    Family("GoEmotions", "emotions", 1, 43_410, ("go_emotions",), "macro-F1", AGREES),
    Family("IMDb", "sentiment", 1, 25_000, ("imdb",), "acc", AGREES),
    Family("Sentiment140", "sentiment", 1, 1_600_000, ("sentiment140",), "acc", AGREES),
    Family("Yelp", "sentiment", 1, 560_000, ("yelp_polarity",), "acc", AGREES),
    Family("AG News", "topics", 1, 120_000, ("ag_news",), "acc", AGREES),
    Family("TREC", "kinds of questions", 1, 5_000, ("trec",), "acc", RECALLED),
    Family("Civil Comments", "toxicity", 1, 1_804_874, ("civil_comments",), "AUC, acc", AGREES),
    Family("Wikipedia Toxicity", "toxicity", 1, 159_571, ("wiki_toxicity",), "AUC, acc", AGREES),
    Family("Yahoo! Answers", "topics", 1, 1_400_000, ("yahoo_answers",), "acc", AGREES),
    Family("UKP argument mining", "arguments", 1, 18_341, ("ukp_argument_mining",), "macro-F1", RECALLED),
    Family("FunQL", "semantic parsing", 3, 5_565, _names("atis geo jobs", "funql_"), "exact match", AGREES),
    Family("intermediate forms", "semantic parsing; four sets after Herzig et al.", 4, 117_318, (), "EM", RECALLED),
    Family("COGS", "semantic parsing", 1, 24_000, ("cogs",), "exact match", RECALLED),
    Family("GPT-2 detection", "who wrote it?", 8, 500_000, _names(GPT2, "gpt2_detection_"), "acc", RECALLED),
    Family("StylePTB", "style; four of its changes", 4, 53_546, (), "BLEU", RECALLED),
    Family(
        "Shakespeare",
        "style, both ways",
        2,
        36_790,
        _names("modern_to_original original_to_modern", "shakespeare_"),
        "BLEU",
        AGREES,
    ),
    Family("MS MARCO", "ranking, passage by passage", 1, 100_000, ("ms_marco",), "MRR, acc", RECALLED),
)
CO_TRAINED = {
    "summarisation": _names("cnn_dailymail xsum gem_wiki_lingua_en"),
    "dialogue": _names("gem_schema_guided_dialog kilt_wow top"),
    "nli": _names("anli mnli alpha_nli"),
    "classification": _names("imdb go_emotions civil_comments"),
    "semantic_parsing": _names("funql_atis funql_geo cogs"),
    "commonsense": _names("piqa social_i_qa winogrande"),
    "closed_book_qa": _names("kilt_nq kilt_triviaqa kilt_hotpotqa"),
    "reading": _names("squad boolq tweet_qa"),
}
"""The eight families of the paper's co-training study, three sets each."""
HELPFUL = ("nli", "commonsense", "classification", "closed_book_qa")
"""The families that helped others most in that study."""


def members(families: Iterable[Family] = FAMILIES) -> tuple[str, ...]:
    """The names of all that is declared: tasks, and the mixtures that stand for one task of the paper."""
    return tuple(name for family in families for name in family.members)


def counts() -> dict[str, int]:
    """How many of the paper's tasks are `declared` here and how many are `unresolved`; together 107."""
    return {"declared": len(members()), "unresolved": sum(family.unresolved for family in FAMILIES)}


def mix(name: str, parts: Iterable[str], summary: str) -> Mixture:
    """Registers a mixture by numbers of examples under ExT5's cap."""
    return MIXTURES.add(
        name, Mixture(name=name, parts=dict.fromkeys(parts), max_examples=MAX_EXAMPLES, summary=summary)
    )


mix("anli", _names("r1 r2 r3", "anli_"), "ANLI's three rounds")
mix(
    "tweet_eval_stance",
    _names("abortion atheism climate feminist hillary", "tweet_eval_stance_"),
    "TweetEval's stance on five topics",
)
mix(
    "exmix",
    members(),
    f"ExMix (ExT5): {counts()['declared']} of its {NUM_TASKS} tasks; unresolved: {counts()['unresolved']}",
)
for _family, _parts in CO_TRAINED.items():
    mix(f"exmix_{_family}", _parts, f"{_family.replace('_', ' ')} in ExT5's co-training study")
mix(
    "exmix_best_effort",
    [f"exmix_{family}" for family in HELPFUL],
    "the families that helped others most in ExT5's co-training study; the paper's own choice of 48 tasks is not known",
)
