"""What may be answered, and nothing else: choices as a trie of tokens that decoding walks, and their ranking.

Letters: N decoded rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

import torch
from torch import Tensor

from textfer.errors import ConfigError
from textfer.tokenizers import Tokenizer

Node: TypeAlias = "dict[int, Node]"
"""Token → what may follow it. An empty node bars nothing: any text may follow, or the answer has ended."""
Choices: TypeAlias = Sequence[str] | Sequence[Sequence[str]]
"""The same choices for every text, or one list for each."""
Normalise = Literal["none", "tokens", "characters", "unconditional"]
NORMALISATIONS: tuple[str, ...] = get_args(Normalise)
"""How the log probability of a choice becomes its score; see `normalised`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """The choices for one text, weighed against each other."""

    choice: str
    """The one with the highest score; of equal ones the first."""
    probs: dict[str, float]
    """Choice → softmax of the scores over the choices; without normalisation, the model's probabilities given that the
    answer is one of them."""
    log_probs: tuple[float, ...]
    """The natural log of each choice's own probability, end mark included, whatever the normalisation."""


def per_text(choices: Choices, num_texts: int, *, where: str) -> list[tuple[str, ...]]:
    """One tuple of choices a text. Errors: ConfigError for another number of lists, or a choice that stands twice."""
    if isinstance(choices, str):
        raise ConfigError(f"{where}: choices is one text ({choices!r}), expected a list of texts.")
    if all(isinstance(one, str) for one in choices) and (choices or num_texts != 0):
        lists = [tuple(str(one) for one in choices)] * num_texts
    else:
        lists = [tuple(some) for some in choices]
    if len(lists) != num_texts:
        raise ConfigError(f"{where}: got {num_texts} texts and {len(lists)} lists of choices, expected as many.")
    for some in dict.fromkeys(lists):
        if len(set(some)) < len(some):
            twice = next(one for number, one in enumerate(some) if one in some[:number])
            raise ConfigError(f"{where}: the choice {twice!r} stands twice. Give each once.")
    return lists


@final
class Trie:
    """One list of choices as paths of tokens, each closed by the end mark."""

    def __init__(self, choices: Sequence[str], tokenizer: Tokenizer) -> None:
        specials = tokenizer.specials
        self.root: Node = {}
        self.num_tokens: dict[str, int] = {}
        """Choice → its tokens, end mark included."""
        self._texts: dict[tuple[int, ...], str] = {}
        for choice, array in zip(choices, tokenizer.encode_many(list(choices)), strict=True):
            ids = (*array.tolist(), specials.eos)
            self.num_tokens[choice] = len(ids)
            if (other := self._texts.setdefault(ids, choice)) != choice and specials.unk in ids:
                raise ConfigError(
                    f"choices: {other!r} and {choice!r} are the same unknown tokens to this vocabulary. "
                    "Say them in other words, or take a vocabulary that spells unknown letters in bytes."
                )
            node = self.root
            for token in ids:
                node = node.setdefault(token, {})

    @property
    def longest(self) -> int:
        """Tokens of the longest choice, end mark included."""
        return max(self.num_tokens.values(), default=0)

    def text(self, ids: Sequence[int]) -> str:
        """The choice whose tokens these are, to the letter."""
        return self._texts[tuple(ids)]


def tries_of(lists: Sequence[tuple[str, ...]], tokenizer: Tokenizer, *, longest: int) -> list[Trie | None]:
    """A trie for each list of choices, shared where lists are equal; None where any text may be the answer.

    Errors: ConfigError where a choice has more than `longest` tokens.
    """
    made = {some: Trie(some, tokenizer) if some else None for some in dict.fromkeys(lists)}
    for trie in made.values():
        if trie is not None and trie.longest > longest:
            choice = next(one for one, count in trie.num_tokens.items() if count == trie.longest)
            raise ConfigError(
                f"choices: {choice!r} is {trie.longest} tokens long with its end mark, "
                f"expected max_new_tokens ({longest}) at most. Raise max_new_tokens."
            )
    return [made[some] for some in lists]


@final
class Walks:
    """Where each decoded row stands in the trie of its choices."""

    def __init__(self, tries: Sequence[Trie | None]) -> None:
        self._nodes: list[Node] = [trie.root if trie else {} for trie in tries]

    def expand(self, beams: int) -> None:
        """Every row becomes `beams` rows next to each other."""
        self._nodes = [node for node in self._nodes for _ in range(beams)]

    def barred(self, logits: Tensor) -> Tensor:
        """[N, V] bool: the tokens with which no choice goes on from where the row stands."""
        barred = torch.zeros(logits.shape, dtype=torch.bool)
        rows = [row for row, node in enumerate(self._nodes) if node]
        barred[rows] = True
        places = [(row, token) for row in rows for token in self._nodes[row]]
        if places:
            at, tokens = torch.tensor(places).unbind(-1)
            barred[at, tokens] = False
        return barred.to(logits.device)

    def go(self, rows: Sequence[int], tokens: Sequence[int]) -> None:
        """Row n stands where row `rows[n]` stood, one token further."""
        self._nodes = [self._nodes[row].get(token, {}) for row, token in zip(rows, tokens, strict=True)]

    def keep(self, rows: Sequence[int]) -> None:
        """Only these rows go on."""
        self._nodes = [self._nodes[row] for row in rows]


def normalised(
    log_probs: Sequence[float],
    choices: Sequence[str],
    how: str,
    *,
    num_tokens: Sequence[int] = (),
    unconditional: Sequence[float] = (),
) -> list[float]:
    """The scores by which choices are ranked, from the logs of their probabilities.

    `none`: as they are. `tokens`, `characters`: divided by the choice's number of tokens (end mark included) or
    characters, for choices of unlike length. `unconditional`: less the log probability of the choice after an empty
    text, for choices that are unlikely in themselves (pointwise mutual information).

    **Source**: the names' rules are those of lm-evaluation-harness (acc, acc_norm, acc_mutual_info) and T-Few.
    """
    if how == "none":
        return list(log_probs)
    if how == "tokens":
        return [value / count for value, count in zip(log_probs, num_tokens, strict=True)]
    if how == "characters":
        return [value / max(1, len(choice)) for value, choice in zip(log_probs, choices, strict=True)]
    assert how == "unconditional", f"normalisation {how}"
    return [value - prior for value, prior in zip(log_probs, unconditional, strict=True)]


def check_normalise(normalise: str, *, where: str) -> None:
    """Refuses an unknown name."""
    if normalise not in NORMALISATIONS:
        raise ConfigError(f"{where}: normalise is '{normalise}', expected one of {', '.join(NORMALISATIONS)}.")


def ranked(choices: Sequence[str], log_probs: Sequence[float], scores: Sequence[float]) -> Ranked:
    """The best of the choices and the share of each."""
    best = max(range(len(choices)), key=lambda number: scores[number])
    weights = [math.exp(score - scores[best]) for score in scores]
    total = math.fsum(weights)
    probs = {choice: weight / total for choice, weight in zip(choices, weights, strict=True)}
    return Ranked(choice=choices[best], probs=probs, log_probs=tuple(log_probs))
