"""TweetEval: what tweets express. Eleven tasks; the stance sets are one a target.

Each leads with the official score: macro F1, but macro recall for sentiment, F1 of the ironic class for irony, and the
mean F1 of against and favor for stance. The official stance score is taken over the five targets together; here each
target has its own. Emojis are said as words, as most vocabularies lack them.

**Source**: Barbieri et al., TweetEval, 2020; evaluation script of cardiffnlp/tweeteval.
"""

from __future__ import annotations

from textfer.data.tasks.classes import LabelScore, TextSet, declare, readable
from textfer.metrics import accuracy, binary_f1, macro_f1, macro_recall, stance_f1

SOURCE = "cardiffnlp/tweet_eval"
LICENCE = "Twitter terms"
EMOJIS = readable(
    "red_heart smiling_face_with_heart_eyes face_with_tears_of_joy two_hearts fire smiling_face_with_smiling_eyes "
    "smiling_face_with_sunglasses sparkles blue_heart face_blowing_a_kiss camera United_States sun purple_heart "
    "winking_face hundred_points beaming_face_with_smiling_eyes Christmas_tree camera_with_flash "
    "winking_face_with_tongue"
)
STANCES = ("none", "against", "favor")
TARGETS = {
    "abortion": ("legal abortion", {"train": 587, "validation": 66, "test": 280}),
    "atheism": ("atheism", {"train": 461, "validation": 52, "test": 220}),
    "climate": ("climate change as a real concern", {"train": 355, "validation": 40, "test": 169}),
    "feminist": ("the feminist movement", {"train": 597, "validation": 67, "test": 285}),
    "hillary": ("Hillary Clinton", {"train": 620, "validation": 69, "test": 295}),
}


def _set(
    name: str, words: tuple[str, ...], summary: str, texts: tuple[str, ...], sizes: dict[str, int], score: LabelScore
) -> TextSet:
    return TextSet(
        f"tweet_eval_{name}",
        SOURCE,
        words,
        summary,
        LICENCE,
        texts,
        config=name,
        scores=(score, accuracy),
        sizes=sizes,
    )


declare(
    "sentiment",
    _set(
        "emotion",
        ("anger", "joy", "optimism", "sadness"),
        "the emotion of a tweet",
        ("@user who took my lamp?!", "my shoes came today :)", "tomorrow will be dry #aldon", "the old mill is gone"),
        {"train": 3_257, "validation": 374, "test": 1_421},
        macro_f1(4),
    ),
    _set(
        "sentiment",
        ("negative", "neutral", "positive"),
        "whether a tweet is negative, neutral or positive",
        ("@user worst soup in Aldon", "The mill opens at nine.", "best soup in Aldon, thanks @user"),
        {"train": 45_615, "validation": 2_000, "test": 12_284},
        macro_recall,
    ),
)
declare(
    "topic and other classification",
    _set(
        "emoji",
        EMOJIS,
        "which of twenty emojis a tweet had at its end",
        ("dinner with my sister @ Aldon", "this view of the castle", "my cat fell into the bath"),
        {"train": 45_000, "validation": 5_000, "test": 50_000},
        macro_f1(20),
    ),
    _set(
        "hate",
        ("non-hate", "hate"),
        "whether a tweet is hateful to women or migrants",
        ("@user the well is dry again", "@user throw them all out of the country"),
        {"train": 9_000, "validation": 1_000, "test": 2_970},
        macro_f1(2),
    ),
    _set(
        "irony",
        ("non-irony", "irony"),
        "whether a tweet is ironic",
        ("my shoes came today", "another Monday in the rain, how lovely"),
        {"train": 2_862, "validation": 955, "test": 784},
        binary_f1,
    ),
    _set(
        "offensive",
        ("non-offensive", "offensive"),
        "whether a tweet is offensive",
        ("@user see you at the mill", "@user you are a fool and so is your dog"),
        {"train": 11_916, "validation": 1_324, "test": 860},
        macro_f1(2),
    ),
    *(
        _set(
            f"stance_{_target}",
            STANCES,
            f"whether a tweet is for or against {_subject}",
            ("Good morning from Aldon #SemST", "Nobody needs this. #SemST", "High time that all saw it. #SemST"),
            _sizes,
            stance_f1,
        )
        for _target, (_subject, _sizes) in TARGETS.items()
    ),
)
