"""Single texts with a class: reviews, emotions, tweets, topics, arguments, toxic comments, texts that GPT-2 wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from textfer.batch import Example, Row
from textfer.data.fields import field, float_field, label_field, text_field, wrong
from textfer.data.source import Source
from textfer.data.task import Scores, Task, register
from textfer.data.tasks.classes import TextSet, declare, readable
from textfer.data.tasks.forms import by_label, key_values, labelled, row_id, stripped
from textfer.metrics import accuracy, auc, binary_f1, macro_f1

EMOTIONS = readable(
    "admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval "
    "disgust embarrassment excitement fear gratitude grief joy love nervousness optimism pride realization relief "
    "remorse sadness surprise neutral"
)
TOXIC = ("non-toxic", "toxic")
HALF = 0.5
TOPICS = (
    "Society & Culture",
    "Science & Mathematics",
    "Health",
    "Education & Reference",
    "Computers & Internet",
    "Sports",
    "Business & Finance",
    "Entertainment & Music",
    "Family & Relationships",
    "Politics & Government",
)
ARGUMENTS = ("no argument", "argument for", "argument against")
STARS = ("1", "2", "3", "4", "5")
WRITERS = ("human", "machine")
GPT2 = tuple(f"{size}{k40}" for size in ("small-117M", "medium-345M", "large-762M", "xl-1542M") for k40 in ("", "-k40"))
HUB = "code: huggingface/datasets:datasets/{0}/{0}.py"


def emotions_of(text: str) -> set[str]:
    """The emotions that a text names: `"joy, love"`."""
    return {part.strip() for part in text.split(",") if part.strip()}


def mark_emotions(answers: Sequence[object], examples: Sequence[Example]) -> Scores:
    """`macro_f1`, the mean F1 of the emotions that are named or gold, and `accuracy` of all of a text together."""
    found = [emotions_of(str(answer)) for answer in answers]
    golds = [emotions_of(example.targets) for example in examples]
    met = sorted(set().union(*found, *golds) & set(EMOTIONS))
    f1 = [
        binary_f1([int(emotion in one) for one in found], [int(emotion in one) for one in golds])["f1"]
        for emotion in met
    ]
    return {"macro_f1": sum(f1) / len(f1) if f1 else float("nan"), **accuracy(found, golds)}


def rank_toxic(scores: Sequence[Sequence[float]], examples: Sequence[Example]) -> Scores:
    """`auc` of how much more probable `toxic` is than `non-toxic`."""
    return auc([toxic - other for other, toxic in scores], [TOXIC.index(example.targets) for example in examples])


def _emotions(row: Row, origin: str) -> Iterable[Example]:
    texts = {"text": text_field(row, "text", origin)}
    labels = field(row, "labels", origin)
    if isinstance(labels, str | Mapping) or not isinstance(labels, Sequence) or not labels:
        raise wrong(labels, "labels", origin, "a list of one class or more")
    for label in labels:
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < len(EMOTIONS):
            raise wrong(label, "labels", origin, f"only classes of 0 to {len(EMOTIONS) - 1}")
    yield Example(
        inputs=key_values("go_emotions", texts),
        targets=", ".join(EMOTIONS[label] for label in sorted(set(labels))),
        origin=origin,
        facts=row_id(row),
        fields=texts,
    )


def _toxic(name: str, column: str, is_toxic: Callable[[Row, str], bool]) -> Callable[[Row, str], Iterable[Example]]:
    def examples(row: Row, origin: str) -> Iterable[Example]:
        texts = {"text": text_field(row, column, origin)}
        number = int(is_toxic(row, origin))
        yield Example(inputs=key_values(name, texts), targets=TOXIC[number], origin=origin, fields=texts)

    return examples


def _civil(row: Row, origin: str) -> bool:
    share = float_field(row, "toxicity", origin)
    if not 0 <= share <= 1:
        raise wrong(share, "toxicity", origin, "a share of 0 to 1")
    return share >= HALF


declare(
    "classification",
    TextSet(
        "yelp_polarity",
        "fancyzhx/yelp_polarity",
        ("negative", "positive"),
        "whether a review on Yelp praises (3 stars left out)",
        "Yelp terms (non-commercial)",
        ("Cold soup, and the waiter forgot us.", "Best bread in Aldon, and cheap."),
        config="plain_text",
        sizes={"train": 560_000, "test": 38_000},
        schema=HUB.format("yelp_polarity"),
    ),
    *(
        TextSet(
            f"gpt2_detection_{model.replace('-', '_').lower()}",
            "openai/gpt-2-output-dataset",
            WRITERS,
            f"whether a text is of the web or was written by GPT-2 ({model}); the public files have one writer each",
            "MIT (repository); web texts belong to their publishers",
            (
                "The council met on Monday to speak of the bridge.",
                "The bridge spoke of the council, which was a bridge.",
            ),
            config=model,
            sizes={"train": 500_000, "validation": 10_000, "test": 10_000},
            schema="assumed",
        )
        for model in GPT2
    ),
)
register(
    Task(
        name="amazon_reviews",
        source=Source(
            name="defunct-datasets/amazon_us_reviews",
            config="Books_v1_01",
            columns=("review_headline", "review_body", "star_rating"),
        ),
        to_examples=labelled(
            "amazon_reviews",
            {"headline": "review_headline", "text": "review_body"},
            STARS,
            label="star_rating",
            values=(1, 2, 3, 4, 5),
        ),
        choices=STARS,
        metrics=by_label(STARS, accuracy),
        answer=stripped,
        family="classification",
        summary="the stars of a review on Amazon; the hub has one config a category, this is the largest set of books",
        licence="Amazon terms (research only)",
        schema=HUB.format("amazon_us_reviews"),
        sizes={"train": 6_106_719},
        sample=tuple(
            {"review_headline": headline, "review_body": f"{headline}. I read it in a day.", "star_rating": star}
            for star, headline in enumerate(("Awful", "Poor", "Fair", "Good", "A gem"), start=1)
        ),
    )
)
register(
    Task(
        name="go_emotions",
        source=Source(
            name="google-research-datasets/go_emotions", config="simplified", columns=("id", "text", "labels")
        ),
        to_examples=_emotions,
        metrics=mark_emotions,
        answer=stripped,
        family="classification",
        summary="GoEmotions: which of 27 emotions a comment shows, or none (neutral); several may be right",
        licence="Apache-2.0",
        train_ok=True,
        schema=HUB.format("go_emotions"),
        sizes={"train": 43_410, "validation": 5_426, "test": 5_427},
        sample=(
            {"id": "a1", "text": "Thank you, this made my day!", "labels": [17, 15]},
            {"id": "a2", "text": "The mill opens at nine.", "labels": [27]},
        ),
    )
)
register(
    Task(
        name="sentiment140",
        source=Source(name="stanfordnlp/sentiment140", config="sentiment140", columns=("text", "sentiment")),
        to_examples=labelled(
            "sentiment140", ("text",), ("negative", "neutral", "positive"), label="sentiment", values=(0, 2, 4)
        ),
        choices=("negative", "neutral", "positive"),
        metrics=by_label(("negative", "neutral", "positive"), accuracy),
        answer=stripped,
        family="classification",
        summary="Sentiment140: the mood of a tweet; train rows are never neutral",
        licence="none stated",
        schema=HUB.format("sentiment140"),
        sizes={"train": 1_600_000, "test": 498},
        sample=(
            {"text": "missed the boat again", "sentiment": 0},
            {"text": "the boat leaves at six", "sentiment": 2},
            {"text": "on the boat, sun out, happy", "sentiment": 4},
        ),
    )
)
register(
    Task(
        name="civil_comments",
        source=Source(name="google/civil_comments", columns=("text", "toxicity")),
        to_examples=_toxic("civil_comments", "text", _civil),
        choices=TOXIC,
        metrics=by_label(TOXIC, accuracy),
        rank_metrics=rank_toxic,
        answer=stripped,
        family="classification",
        summary="Civil Comments: whether half of the readers or more found a comment toxic",
        licence="CC0 1.0",
        train_ok=True,
        schema=HUB.format("civil_comments"),
        sizes={"train": 1_804_874, "validation": 97_320, "test": 97_320},
        sample=(
            {"text": "I do not agree with the mayor.", "toxicity": 0.0},
            {"text": "You are all fools, and so is he.", "toxicity": 0.5},
        ),
    )
)
register(
    Task(
        name="wiki_toxicity",
        source=Source(name="google/jigsaw_toxicity_pred", columns=("comment_text", "toxic")),
        to_examples=_toxic(
            "wiki_toxicity", "comment_text", lambda row, at: label_field(row, "toxic", at, num_labels=2) == 1
        ),
        choices=TOXIC,
        metrics=by_label(TOXIC, accuracy),
        rank_metrics=rank_toxic,
        answer=stripped,
        family="classification",
        summary="Wikipedia Toxicity: whether a comment on a talk page is toxic",
        licence="CC0 1.0",
        train_ok=True,
        schema=HUB.format("jigsaw_toxicity_pred"),
        sizes={"train": 159_571, "test": 63_978},
        sample=(
            {"comment_text": "Please name your source for the date.", "toxic": 0},
            {"comment_text": "Only an idiot would write that date.", "toxic": 1},
        ),
    )
)
register(
    Task(
        name="yahoo_answers",
        source=Source(
            name="community-datasets/yahoo_answers_topics",
            config="yahoo_answers_topics",
            columns=("id", "topic", "question_title", "question_content", "best_answer"),
        ),
        to_examples=labelled(
            "yahoo_answers",
            {"question": "question_title", "details": "question_content", "answer": "best_answer"},
            TOPICS,
            label="topic",
        ),
        choices=TOPICS,
        metrics=by_label(TOPICS, accuracy),
        answer=stripped,
        family="classification",
        summary="Yahoo! Answers: the topic of a question and its best answer",
        licence="none stated",
        schema=HUB.format("yahoo_answers_topics"),
        sizes={"train": 1_400_000, "test": 60_000},
        sample=(
            {"id": 1, "topic": 2, "question_title": "Is tea good?", "question_content": "", "best_answer": "It is."},
            {"id": 2, "topic": 5, "question_title": "Who won?", "question_content": "Row", "best_answer": "Halden."},
        ),
    )
)
register(
    Task(
        name="ukp_argument_mining",
        source=Source(name="UKPLab/sentential-argument-mining", columns=("topic", "sentence", "annotation")),
        to_examples=labelled(
            "ukp_argument_mining",
            ("topic", "sentence"),
            ARGUMENTS,
            label="annotation",
            values=("NoArgument", "Argument_for", "Argument_against"),
        ),
        choices=ARGUMENTS,
        metrics=by_label(ARGUMENTS, macro_f1(len(ARGUMENTS)), accuracy),
        answer=stripped,
        family="classification",
        summary="UKP sentential argument mining: whether a sentence speaks for a topic, against it, or neither",
        licence="CC BY-NC (annotations, as commonly published)",
        sizes={"train": 18_341},
        sample=(
            {"topic": "school uniforms", "sentence": "Many schools have them.", "annotation": "NoArgument"},
            {"topic": "school uniforms", "sentence": "They hide who is poor.", "annotation": "Argument_for"},
            {"topic": "school uniforms", "sentence": "They cost a fortune.", "annotation": "Argument_against"},
        ),
    )
)
