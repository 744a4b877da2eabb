"""Mixtures that people ask for by name: the suites of T5, the groups of ExT5 (its own are in exmix.py), BLiMP.

A part without a weight counts as many examples as it has. The suites have T5's own weights: the number of training
examples of each set as published, whatever is on disk. T5 gives a weight of 0 to what is for evaluation only (AX, AX-b,
AX-g, MNLI's two validation sets); such parts are left out.

**Source**: t5/data/glue_utils.py, t5/data/mixtures.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textfer.data.task import MIXTURES, Mixture
from textfer.data.tasks.blimp import PHENOMENA
from textfer.data.tasks.exmix import FAMILIES, MAX_EXAMPLES

GLUE = {
    "cola": 8_551.0,
    "sst2": 67_349.0,
    "mrpc": 3_668.0,
    "qqp": 363_849.0,
    "stsb": 5_749.0,
    "mnli": 392_702.0,
    "qnli": 104_743.0,
    "rte": 2_490.0,
}
"""Without WNLI: T5 trains on WSC and DPR instead."""
WSC_DPR = {"dpr": 1_322.0, "wsc": 259.0}
SUPER_GLUE = {
    **WSC_DPR,
    "boolq": 9_427.0,
    "cb": 250.0,
    "copa": 400.0,
    "multirc": 27_243.0,
    "record": 138_854.0,
    "super_glue_rte": 2_490.0,
    "wic": 5_428.0,
}
BOTH_SUITES = ("rte", "super_glue_rte")
"""The same rows twice: each counts half where both suites are heard."""
FAMILY = {family.name: family for family in FAMILIES}
BLIMP_EXAMPLES = 32_160.0
"""As how many examples BLiMP's sets count together in exmix_free."""
T5_MAX_EXAMPLES = 2.0**19
"""The cap of T5's multi-task runs (table 12 of the paper)."""


def add(name: str, parts: Mapping[str, float | None], summary: str, *, max_examples: float | None = None) -> Mixture:
    """Registers a mixture."""
    return MIXTURES.add(name, Mixture(name=name, parts=parts, max_examples=max_examples, summary=summary))


def counted(names: Iterable[str]) -> dict[str, float | None]:
    """Parts that count as many examples as they have."""
    return dict.fromkeys(names)


def names(text: str) -> tuple[str, ...]:
    """The names in a text, which blanks and lines part."""
    return tuple(text.split())


FREE = names(
    """
    ai2_arc_challenge ai2_arc_easy aqua_rat banking77 boolq boolq_question_only clinc_oos clinc_single_domain_oos
    commonsense_qa comparative_sentences comve copa cosmos_qa counterfactual_nli covid_qa_deepset efficientqa
    fairytale_qa fairytale_qa_question fever_gold_evidence flores_de_en flores_en_de flores_en_es flores_en_fr
    flores_en_ro flores_en_zh flores_es_en flores_fr_en flores_ro_en flores_zh_en gap gsm8k hwu_64 jnlpba mag math_qa
    mawps mbpp movie_reviews nq_open openbookqa opentriviaqa opentriviaqa_choices product_reviews
    product_reviews_aspects pros_cons pubmed_qa pubmed_qa_long_answer qnli rotten_tomatoes schema_guided_act
    schema_guided_response schema_guided_state scicite scitldr scitldr_title snips_intent snips_slots squad
    squad_answer_sentences squad_question_generation squad_v2 squad_v2_answerability subj svamp text2sql_advising
    text2sql_wikisql web_questions wikiann_de wikiann_en wikiann_fr winogrande wnli wnut_17 wsc wsc273
    """
)
"""Tasks whose licence lets a model trained on them be given away (`train_ok`)."""
RESTRICTED = names(
    """
    addsub ag_news atis_intent atis_slots bbc_news_summary bbc_news_topic bc5cdr cb chemprot citation_intent cola
    counterfactual_sentiment dpr dream ebmnlp imdb jfleg lama_trex mctest_160 mctest_500 mit_movie_trivia mrpc
    multi30k_cs_en multi30k_de_en multi30k_en_cs multi30k_en_de multi30k_en_fr multi30k_fr_en multiarith multirc
    ncbi_disease piqa qqp rte samsum sciie_ner sciie_relation sciq sick sick_relatedness singleeq social_i_qa sst2 stsb
    subjqa_books subjqa_electronics subjqa_grocery subjqa_movies subjqa_restaurants subjqa_tripadvisor super_glue_rte
    text2sql_geography text2sql_scholar trec trec_fine trecqa tweet_eval_emoji tweet_eval_emotion tweet_eval_hate
    tweet_eval_irony tweet_eval_offensive tweet_eval_sentiment tweet_eval_stance_abortion tweet_eval_stance_atheism
    tweet_eval_stance_climate tweet_eval_stance_feminist tweet_eval_stance_hillary wic
    """
)
"""Tasks for research only: a model trained on them is not given away."""
LEFT_OUT = {
    "strategy_qa": "carries a canary: keep out of training",
    "disfl_qa": "covers the articles of SQuAD's validation split",
    **dict.fromkeys(names("xquad_de xquad_en xquad_es xquad_ro xquad_zh"), "SQuAD's validation split, translated"),
    "squad_span": "the inputs of squad with other targets",
    "squad_twins": "the rows of squad, and rows made of them",
    "squad_trivia": "the questions of squad without their texts",
    "wnli_wsc": "the rows of wnli; T5 never trains on them",
    **dict.fromkeys(
        names("recurring_spans_wikipedia recurring_spans_wikipedia_v2"), "made of plain text: no supervision"
    ),
}
"""Tasks with training rows that are in neither mixture, and why."""


add("glue", GLUE, "GLUE with T5's weights; without WNLI")
add("super_glue", SUPER_GLUE, "SuperGLUE with T5's weights; DPR's pronouns beside WSC's")
add("wsc_dpr", WSC_DPR, "WSC and DPR with T5's weights")
add(
    "t5_all",
    {
        **{name: weight / 2 if name in BOTH_SUITES else weight for name, weight in (GLUE | SUPER_GLUE).items()},
        **counted(names("cnn_dailymail squad wmt_t2t_ende wmt15_enfr wmt16_enro")),
    },
    "all that T5 was tried on, RTE counted once for both suites; data.ratio says how much plain text goes with it",
    max_examples=T5_MAX_EXAMPLES,
)
add("gem", counted(FAMILY["GEM"].members), "GEM's English sets, as ExT5 has them")
add("rainbow", counted(FAMILY["Rainbow"].members), "Rainbow: six commonsense sets")
add("cbqa", counted(names("nq_open web_questions trivia_qa_open")), "closed-book question answering")
add("blimp", counted(f"blimp_{name.lower()}" for name in names(PHENOMENA)), "BLiMP's 67 pairs of sentences")
add(
    "exmix_open",
    counted((*FREE, *RESTRICTED)),
    "many tasks with open data, after ExMix; for research: some licences forbid giving away the model",
    max_examples=MAX_EXAMPLES,
)
add(
    "exmix_free",
    {**counted(FREE), "blimp": BLIMP_EXAMPLES},
    "the same for models to give away: only tasks whose licence allows it; BLiMP counts as one",
    max_examples=MAX_EXAMPLES,
)
