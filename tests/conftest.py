"""What tests share: a cache of their own, a small vocabulary, and a recipe that trains in a second."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

TINY = """
[model]
name = "t5"
model_dim = 32
ff_dim = 48
head_dim = 8
num_heads = 4
num_layers = 2
dropout = {dropout}

[tokenizer]
path = "{vocabulary}"

[data]
tasks = ["reading"]
inputs_len = 96
targets_len = 12
limit = 400

[training]
num_steps = {num_steps}
batch_size = 8
log_every = 1

[training.optimizer]
name = "adamw"
lr = 3e-3
"""


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTFER_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SentencePiece vocabulary of 250 pieces, learnt from made-up paragraphs."""
    from textfer.data.tasks.reading import reading_row
    from textfer.tokenizers import TokenizerOptions, train_sentencepiece

    rows = (reading_row("train", index) for index in range(400))
    texts = (str(row[column]) for row in rows for column in ("context", "question"))
    folder = tmp_path_factory.mktemp("vocabulary")
    train_sentencepiece(texts, folder, TokenizerOptions(vocab_size=250, num_sentinels=20, byte_fallback=False))
    return folder


@pytest.fixture
def tiny_recipe(vocabulary: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes the file of a recipe: a T5 of 60 thousand parameters on the made-up reading task."""

    def write(*, num_steps: int = 6, dropout: float = 0.1, more: Sequence[str] = ()) -> Path:
        path = tmp_path / "tiny.toml"
        path.write_text(
            "\n".join([TINY.format(vocabulary=vocabulary, num_steps=num_steps, dropout=dropout), *more]),
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny tensors: threads cost more than they bring."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    torch.set_num_threads(before)
    del os.environ["OMP_NUM_THREADS"]
