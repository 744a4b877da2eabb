"""What requests and replies hold, field by field: the shape that the OpenAPI document shows."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

MAX_SEED = 2**63 - 1
Text = Annotated[str, Field(min_length=1)]
Texts: TypeAlias = Text | Annotated[list[Text], Field(min_length=1)]
"""One text gives one result, a list a list."""
Name = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1)]


class Asked(BaseModel):
    """What every request may say."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    model: Name | None = None
    """One of `/v1/models`, or "MODEL:ADAPTER"; None = the first."""
    adapter: Name | None = None
    """Changes of another run, put on for this request."""


class AnswerAsked(Asked):
    """Questions, about a text or about what the model remembers."""

    question: Texts
    context: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    """One for all questions, or one for each; None = from memory."""
    candidates: int = Field(5, ge=0, le=20)
    """The likeliest answers that are listed at most."""
    max_input_tokens: int | None = Field(None, ge=2, le=1 << 20)
    """Longer inputs lose their end; None = all is read, in windows."""


class GenerateAsked(Asked):
    """Texts to be gone on with, prefix words and all."""

    text: Texts
    stream: bool = False
    """Piece by piece, as server-sent events; one text only."""
    max_new_tokens: int = Field(64, ge=1)
    beams: int = Field(1, ge=1)
    length_penalty: float | None = Field(None, ge=0, le=100)
    """α of beam search."""
    sample: bool = False
    """Draw tokens at random instead of taking the likeliest."""
    temperature: float | None = Field(None, gt=0, le=100)
    """Sampling only."""
    top_k: int | None = Field(None, ge=1, le=1 << 31)
    """Sampling only."""
    top_p: float | None = Field(None, gt=0, le=1)
    """Sampling only."""
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    """Sampling only."""
    max_input_tokens: int | None = Field(None, ge=2, le=1 << 20)
    """Longer inputs lose their end, and prompts that are only gone on with their beginning."""


class ClassifyAsked(Asked):
    """Texts whose label is asked for."""

    text: Texts
    choices: Annotated[list[Text], Field(min_length=1)] | None = None
    """The labels; None = those that the model was trained on, where it has a head for them."""


class EmbedAsked(Asked):
    """Texts whose vectors are asked for."""

    text: Texts


class Candidate(BaseModel):
    """One of several answers."""

    text: str
    score: float
    start: int | None
    end: int | None
    evidence: str | None


class AnswerReply(BaseModel):
    """An answer, or none, and where it stands."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    answer: str | None
    """None = the model says that there is none."""
    score: float
    start: int | None
    """In the context, in characters (Unicode code points); None where it does not stand there word for word."""
    end: int | None
    evidence: str | None
    """The sentence around it."""
    calibrated: bool = False
    """Whether scores were fitted to how often such answers are right."""
    candidates: list[Candidate] = []
    """The likeliest answers, this one among them; where there is none, what it might be."""
    num_read: int = 1
    """Passages of the context that were read."""
    num_passages: int = 1
    """Passages that it has."""
    note: str | None = None
    """What was not read."""


class AnswersReply(BaseModel):
    """One for each question, in order."""

    model: str
    answers: list[AnswerReply]


class OneAnswerReply(AnswerReply):
    """The answer to one question."""

    model: str


class Written(BaseModel):
    """What the model wrote."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    text: str
    log_prob: float
    """The natural log of its probability, end mark included."""
    num_tokens: int
    finish_reason: Literal["stop", "length"]
    """Whether the model ended it, or `max_new_tokens`."""


class GenerateReply(Written):
    """What the model wrote after one text."""

    model: str


class GeneratesReply(BaseModel):
    """One for each text, in order."""

    model: str
    outputs: list[Written]


class Labelled(BaseModel):
    """The likeliest label, and the share of every one."""

    choice: str
    probs: dict[str, Share]


class ClassifyReply(Labelled):
    """The label of one text."""

    model: str


class ClassifiesReply(BaseModel):
    """One for each text, in order."""

    model: str
    results: list[Labelled]


class EmbedReply(BaseModel):
    """The vector of one text."""

    model: str
    vector: list[float]


class EmbedsReply(BaseModel):
    """One for each text, in order."""

    model: str
    vectors: list[list[float]]


class Ability(BaseModel):
    """What a model can under an adapter."""

    can: list[str]
    labels: dict[str, list[str]] = {}


class ModelInfo(BaseModel):
    """A model that can be asked."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    object: Literal["model"] = "model"
    created: int
    """Seconds since 1970 at which it was loaded."""
    owned_by: str = "textfer"
    can: list[str]
    """What it may be asked for without an adapter: answer, generate, classify, embed."""
    labels: dict[str, list[str]] = {}
    """Task → labels, where it has heads for them."""
    adapters: list[str] = []
    under: dict[str, Ability] = {}
    """Adapter → what it may be asked for with it; a model that reads gets heads of the adapter's own."""


class ModelsReply(BaseModel):
    """All models; the first is asked where a request names none."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]


class StateReply(BaseModel):
    """How the server is."""

    status: str


class RunInfo(BaseModel):
    """A run folder."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    modified: float
    """Seconds since 1970 at which its log grew."""


class RunsReply(BaseModel):
    """The runs of the folder, the newest first."""

    data: list[RunInfo]


class CurveReply(BaseModel):
    """A run's numbers so far; a number that is not finite is null."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    summary: str | None
    step: int
    """The last that left a line."""
    num_steps: int | None
    """That it is to take."""
    seconds_ago: float
    """Since its log grew."""
    points: list[dict[str, Any]]
    """Lines of the log: step, loss, lr, grad_norm, tokens, seconds; or step and eval, the scores by name."""
    samples: list[dict[str, Any]]
    """The newest answers to the same few examples: step, inputs, targets, answer."""
