"""What exported models are tried on: texts written for it, what our model says of them, and how far others may be off.

Letters: T tokens written, V vocabulary, L tokens of a row, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from textfer.batch import Batch, Example, Ids
from textfer.data.headed import Framing
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError
from textfer.generate import Decoding
from textfer.generate.decoding import decode
from textfer.heads import Head
from textfer.models.headed import Headed
from textfer.models.t5 import T5
from textfer.tokenizers import Tokenizer

TOLERANCE = 1e-3
"""The most that a number may differ, as a share of the largest of its probe (or of 1 where all are smaller)."""
MOST_WRITTEN = 16
"""Tokens written after each probe."""
FACTS = (
    ("Who built the mill?", "The mill of Ostra was built by Nils Varga in 1841. It burnt down twice."),
    ("Where do the herons nest?", "Each spring some forty herons nest on the island below the weir, says Ida Lund."),
    ("When is the bridge closed?", "The bridge is closed from 4 May to 9 June; boats take 20 minutes instead."),
    ("What does a loaf cost?", "Jonah's bakery sells loaves for €3.20, rolls for 70 ct – and “yesterday's” for half."),
)
"""Questions and texts, made up."""
TEXTS = (
    *(f"question: {question} context: {text}" for question, text in FACTS),
    "translate English to German: The harbour was quiet, and nobody had seen the Żółw since 1998.",
    "summarize: Rain again. The council met for six hours, agreed on nothing and went home 🙂.",
    "sst2 sentence: a slow, lovely and slightly silly film",
    "nonsense: ქართული 漢字 ¿qué? ... aaaaaaaaaaaaaaaa 0123456789",
)


@dataclass(frozen=True, slots=True)
class Writing:
    """One probe of a model that writes, and what ours wrote after it."""

    inputs: tuple[int, ...]
    tokens: tuple[int, ...]
    logits: Tensor
    """[T, V] before each of these tokens."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One probe of a model that reads, and what ours said of it."""

    ids: Tensor
    """[1, L] int64"""
    types: Tensor
    """[1, L] int64"""
    told: Tensor
    """[L, 2] of starts and ends, [L, C] of tags, [1, C] of classes, [1, 1] of a number."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an exported model says of one probe."""

    tokens: tuple[int, ...]
    """What it wrote, or the likeliest of each column or row of `numbers`."""
    numbers: Tensor
    """To be compared with ours."""


def written(model: T5, tokenizer: Tokenizer) -> list[Writing]:
    """What the model writes after each text, greedily."""
    specials, found = tokenizer.specials, []
    for ids in tokenizer.encode_many(list(TEXTS)):
        row = np.append(ids, np.int32(specials.eos)).astype(np.int32)
        whole = LAYOUTS["encdec"].arrange([[Ids(row, np.zeros(1, np.int32))]], Lens(len(row), 1), specials)
        batch = Batch(encoder=whole.encoder)
        with torch.inference_mode():
            tokens, _ = decode(model, batch, Decoding(max_new_tokens=MOST_WRITTEN), specials)[0]
            before = torch.tensor([[specials.pad, *tokens[:-1]]])
            logits = model.follow(before, model.begin(batch))[0]
        found.append(Writing(tuple(row.tolist()), tuple(tokens), logits.clone()))
    return found


def read(model: Headed, tokenizer: Tokenizer) -> list[Reading]:
    """What the model's one head says of each question and text, or of each text."""
    [head] = model.kinds.values()
    framing = Framing(tokenizer=tokenizer, head=head, max_len=min(model.max_len or 128, 128), both_orders=False)
    found = []
    for number, (question, text) in enumerate(FACTS):
        fields = {"question": question, "context": text} if head.kind == "span" else {"text": text}
        example = Example(inputs=" ".join(fields.values()), targets="", origin=f"probe {number}", fields=fields)
        one = framing([example])[0][0]
        row = replace(one.ids, heads={})
        batch = LAYOUTS["pair"].arrange([[row]], Lens(len(row.inputs), 0), tokenizer.specials)
        with torch.inference_mode():
            heads = model(batch).heads
        side = batch.encoder
        assert side is not None, "readers read the encoder's side"
        types = torch.zeros_like(side.ids) if side.types is None else side.types
        found.append(Reading(side.ids.long(), types.long(), _told(head, {k: v.clone() for k, v in heads.items()})))
    return found


def _told(head: Head, heads: dict[str, Tensor]) -> Tensor:
    """One table of what a head says of one row."""
    if head.kind == "span":
        return torch.stack([heads[f"{head.name}.start"][0], heads[f"{head.name}.end"][0]], -1)
    return heads[head.name][0] if head.kind == "tag" else heads[head.name].reshape(1, -1)


def likeliest(head: Head, told: Tensor) -> tuple[int, ...]:
    """The answer in a table: the best places, the best tag of each token, the best class."""
    return tuple(told.argmax(0 if head.kind == "span" else -1).tolist())


def compare(ours: Sequence[Said], theirs: Sequence[Said], *, form: str) -> float:
    """The largest difference of numbers, as a share of the largest number of its probe.

    Errors: CheckpointError where an answer is another, or a number is too far off.
    """
    furthest = 0.0
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True), start=1):
        if mine.tokens != other.tokens:
            raise CheckpointError(
                f"export: on probe {number} of {len(ours)} the {form} model answers {list(other.tokens)[:8]}, expected "
                f"{list(mine.tokens)[:8]}. Nothing was written."
            )
        size = max(1.0, float(mine.numbers.abs().max()))
        off = float((mine.numbers - other.numbers).abs().max()) / size
        if not off <= TOLERANCE:
            raise CheckpointError(
                f"export: on probe {number} of {len(ours)} the {form} model's numbers are off by {off:.2g} of the "
                f"largest, expected at most {TOLERANCE:g}. Nothing was written."
            )
        furthest = max(furthest, off)
    return furthest
