"""BLiMP: 67 sets of sentence pairs, one a phenomenon of English grammar; which of the two is acceptable?

Text form (ours, after COPA's): `blimp choice1: … choice2: …` in, `choice1` or `choice2` out. All sets ask the same, so
that all have the same prefix. Where the good sentence stands is drawn from the pair's text, so that a row always says
the same and neither place is right more often. Encoders read the two sentences in that order.

The hub has one split, `train`; a data folder may have `train` (the first 80 %) and `validation`.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

from textfer.batch import Example, Row
from textfer.data.fields import text_field
from textfer.data.source import Source
from textfer.data.task import Task, register
from textfer.data.tasks.forms import CHOICES, by_label, key_values, stripped
from textfer.metrics import accuracy

PLACES = CHOICES[:2]
PHENOMENA = """
adjunct_island anaphor_gender_agreement anaphor_number_agreement animate_subject_passive animate_subject_trans
causative complex_NP_island coordinate_structure_constraint_complex_left_branch
coordinate_structure_constraint_object_extraction determiner_noun_agreement_1 determiner_noun_agreement_2
determiner_noun_agreement_irregular_1 determiner_noun_agreement_irregular_2 determiner_noun_agreement_with_adj_2
determiner_noun_agreement_with_adj_irregular_1 determiner_noun_agreement_with_adj_irregular_2
determiner_noun_agreement_with_adjective_1 distractor_agreement_relational_noun distractor_agreement_relative_clause
drop_argument ellipsis_n_bar_1 ellipsis_n_bar_2 existential_there_object_raising existential_there_quantifiers_1
existential_there_quantifiers_2 existential_there_subject_raising expletive_it_object_raising inchoative intransitive
irregular_past_participle_adjectives irregular_past_participle_verbs irregular_plural_subject_verb_agreement_1
irregular_plural_subject_verb_agreement_2 left_branch_island_echo_question left_branch_island_simple_question
matrix_question_npi_licensor_present npi_present_1 npi_present_2 only_npi_licensor_present only_npi_scope passive_1
passive_2 principle_A_c_command principle_A_case_1 principle_A_case_2 principle_A_domain_1 principle_A_domain_2
principle_A_domain_3 principle_A_reconstruction regular_plural_subject_verb_agreement_1
regular_plural_subject_verb_agreement_2 sentential_negation_npi_licensor_present sentential_negation_npi_scope
sentential_subject_island superlative_quantifiers_1 superlative_quantifiers_2 tough_vs_raising_1 tough_vs_raising_2
transitive wh_island wh_questions_object_gap wh_questions_subject_gap wh_questions_subject_gap_long_distance
wh_vs_that_no_gap wh_vs_that_no_gap_long_distance wh_vs_that_with_gap wh_vs_that_with_gap_long_distance
"""


def pair_examples(row: Row, origin: str) -> Iterable[Example]:
    """The pair as a choice of two; nothing where both sentences are the same."""
    good, bad = (text_field(row, column, origin) for column in ("sentence_good", "sentence_bad"))
    if good == bad:
        return
    second = crc32(f"{good}\n{bad}".encode()) % 2
    texts = dict(zip(PLACES, (bad, good) if second else (good, bad), strict=True))
    yield Example(inputs=key_values("blimp", texts), targets=PLACES[second], origin=origin, fields=texts)


def _sample() -> tuple[Row, ...]:
    pairs = (
        ("The cook who met the girls sings.", "The cook who met the girls sing."),
        ("Ada had seen these wells.", "Ada had seen these well."),
        ("Maud and Ada admire themselves.", "Maud and Ada admire herself."),
        ("The mill burns.", "The mill burns."),
    )
    return tuple({"sentence_good": good, "sentence_bad": bad} for good, bad in pairs)


for _phenomenon in PHENOMENA.split():
    register(
        Task(
            name=f"blimp_{_phenomenon.lower()}",
            source=Source(name="nyu-mll/blimp", config=_phenomenon, columns=("sentence_good", "sentence_bad")),
            to_examples=pair_examples,
            choices=PLACES,
            metrics=by_label(PLACES, accuracy),
            answer=stripped,
            family="grammar (BLiMP minimal pairs)",
            summary=f"BLiMP: which of two sentences is acceptable ({_phenomenon.replace('_', ' ')})",
            licence="CC BY 4.0",
            train_ok=True,
            schema="data card of nyu-mll/blimp",
            sizes={"train": 1_000},
            drops="pairs of two equal sentences (a few of the source's): neither is the better one",
            sample=_sample(),
        )
    )
