"""Words read by their characters: bytes of UTF-8 through filters of several widths, highways and one product.

Letters: N words, C characters of a word, c width of a character's vector, F filters of all widths, D outputs.
Source: Kim et al. 2016, arXiv 1508.06615; ids and order of operations as in allenai/bilm-tf (data.py, training.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Int32
from textfer.errors import DataError
from textfer.models.layers import BiasedLinear, Table
from textfer.tokenizers import Tokenizer

NUM_CHARACTERS = 261
BEGIN_TEXT, END_TEXT, BEGIN_WORD, END_WORD, NO_CHARACTER = range(256, NUM_CHARACTERS)
"""Behind the 256 bytes."""
NUM_BOUNDS = 2
"""Every word has a character before and one behind it."""
SPACE = "▁"
"""How SentencePiece writes one."""
BYTE = re.compile("<0x([0-9A-F]{2})>")

Filters = tuple[tuple[int, int], ...]
"""(characters that it sees at once, how many there are) of each kind."""


def spelt(word: Sequence[int], max_chars: int) -> Int32:
    """[C] the characters of one word, its bounds set, what is too long cut, what is left over filled."""
    found = np.full(max_chars, NO_CHARACTER, np.int32)
    kept = word[: max_chars - NUM_BOUNDS]
    found[: len(kept) + NUM_BOUNDS] = [BEGIN_WORD, *kept, END_WORD]
    return found


def spelt_pieces(tokenizer: Tokenizer, vocab_size: int, max_chars: int) -> Tensor:
    """[V + 2, C] int32: how every piece of a vocabulary is spelt, then the marks before and behind a text.

    A space is one character, a byte piece (`<0x0A>`) that byte; marks of texts are those of bilm-tf, other marks are
    spelt by their names.
    """
    specials = tokenizer.specials
    marks = {specials.bos: BEGIN_TEXT, specials.cls: BEGIN_TEXT, specials.eos: END_TEXT, specials.sep: END_TEXT}
    table = np.empty((vocab_size + 2, max_chars), np.int32)
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    pieces += [f"<row_{number}>" for number in range(len(pieces), vocab_size)]
    for number, piece in enumerate(pieces[:vocab_size]):
        byte = BYTE.fullmatch(piece)
        word = [int(byte[1], 16)] if byte else list(piece.replace(SPACE, " ").encode())
        table[number] = spelt([marks[number]] if number in marks else word, max_chars)
    table[vocab_size:] = [spelt([mark], max_chars) for mark in (BEGIN_TEXT, END_TEXT)]
    return torch.from_numpy(table)


def spelt_numbers(vocab_size: int, max_chars: int) -> Tensor:
    """[V + 2, C] the same where nothing but numbers is known of the tokens: `<17>` stands for the 17th."""
    table = np.empty((vocab_size + 2, max_chars), np.int32)
    for number in range(vocab_size):
        table[number] = spelt(list(f"<{number}>".encode()), max_chars)
    table[vocab_size:] = [spelt([mark], max_chars) for mark in (BEGIN_TEXT, END_TEXT)]
    return torch.from_numpy(table)


def spelt_words(texts: Sequence[Sequence[str]], max_chars: int) -> Tensor:
    """[B, L, C] int64 characters of words, plus one; 0 where no word stands, as bilm-tf's Batcher has them.

    Without marks before and behind a text: the model sets its own.

    Errors: DataError for a text without words, or something that is no word.
    """
    if not texts or not all(texts):
        raise DataError("texts: got one without words, expected one word or more in each. Drop it.")
    found = np.zeros((len(texts), max(map(len, texts)), max_chars), np.int64)
    for row, words in enumerate(texts):
        for place, word in enumerate(words):
            if not isinstance(word, str) or not word:
                raise DataError(f"texts: got {word!r} as word {place} of text {row}, expected letters. Drop it.")
            found[row, place] = spelt(list(word.encode(errors="ignore")), max_chars) + 1
    return torch.from_numpy(found)


class Highway(nn.Module):
    """A gate decides how much of every number is replaced: g · relu(change) + (1 − g) · x."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate, self.change = BiasedLinear(dim, dim), BiasedLinear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[N, F] → [N, F]"""
        gate = torch.sigmoid(self.gate(x))
        return x + gate * (F.relu(self.change(x)) - x)


class Characters(nn.Module):
    """[N, C] characters → [N, D]. Of every filter the strongest place in the word counts, filling included."""

    def __init__(self, char_dim: int, filters: Filters, *, num_highways: int, dim: int) -> None:
        super().__init__()
        self.widest = max(width for width, _ in filters)
        total = sum(count for _, count in filters)
        self.embedding = Table(NUM_CHARACTERS, char_dim)
        self.filters = nn.ModuleList(_Filter(char_dim, count, width) for width, count in filters)
        self.highways = nn.ModuleList(Highway(total) for _ in range(num_highways))
        self.projection = BiasedLinear(total, dim) if total != dim else None

    @torch.no_grad()
    def initialise(self) -> None:
        """Draws the weights as the release does; highways begin by leaving most of a word as it is."""
        nn.init.uniform_(self.embedding.weight, -1.0, 1.0)
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.constant_(weight, -2.0 if ".gate." in name else 0.0)
            elif name.startswith("filters."):
                nn.init.uniform_(weight, -0.05, 0.05)
            elif weight is not self.embedding.weight:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def forward(self, characters: Tensor) -> Tensor:
        """[N, C] → [N, D]"""
        longest = int((characters != NO_CHARACTER).sum(1).max()) if len(characters) else 0
        # places of filling alone are all alike: one of every width is enough
        characters = characters[:, : longest + self.widest].long()
        x = F.embedding(characters, self.embedding.weight).transpose(1, 2)
        x = torch.cat([F.relu(one(x).amax(2)) for one in self.filters], 1)
        for highway in self.highways:
            x = highway(x)
        out: Tensor = x if self.projection is None else self.projection(x)
        return out


class _Filter(nn.Conv1d):
    """Set by the model."""

    def reset_parameters(self) -> None:
        """Nothing."""
