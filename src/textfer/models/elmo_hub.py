"""ELMo's files: config.json with the options, and safetensors under our own names; how tokens are spelt is one of them.

The release kept TensorFlow's variables in HDF5; no hub format came after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from textfer.config import build
from textfer.errors import CheckpointError, ConfigError
from textfer.models.characters import NUM_BOUNDS, NUM_CHARACTERS
from textfer.models.hub import LoadReport, TensorFiles, file_tensors, match, read_config, write_model

if TYPE_CHECKING:
    from textfer.models.elmo import Elmo

M = TypeVar("M", bound="Elmo")
MODEL_TYPES = ("elmo",)
SPELLINGS = "spellings"
SPELT = "is_spelt"


def save(model: Elmo, folder: Path, max_shard_bytes: int) -> None:
    """Writes the model's folder."""
    tensors = file_tensors(model.named_parameters(), model.file_names(), folder=folder, family="ELMo")
    config = {
        "model_type": MODEL_TYPES[0],
        "vocab_size": model.vocab_size,
        SPELT: model.is_spelt,
        **model.options.model_dump(mode="json"),
    }
    write_model(folder, config, {**tensors, SPELLINGS: model.spellings}, max_shard_bytes=max_shard_bytes)


def load(make: type[M], folder: Path, changed: Mapping[str, Any], dtype: torch.dtype | None) -> M:
    """The folder's ELMo, with its report. Errors: CheckpointError."""
    from textfer.models.elmo import ElmoOptions  # that module imports this one

    config, files = read_config(folder), TensorFiles(folder)
    size = config.pop("vocab_size", None)
    if not isinstance(size, int) or size < 1:
        raise CheckpointError(f"{folder}/config.json: vocab_size is {size!r}, expected a whole number.")
    is_spelt = config.pop(SPELT, True)
    config.pop("model_type", None)
    try:
        options = build(ElmoOptions, config, where=f"{folder}/config.json")
    except ConfigError as error:
        raise CheckpointError(f"{error} Is config.json that of an ELMo?") from None
    options = build(ElmoOptions, {**options.model_dump(), **changed}, where="model")
    with torch.device("meta"):
        model = make(options, size)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    wanted = {name: (name, shape) for name, shape in shapes.items()}
    wanted[SPELLINGS] = (SPELLINGS, (size + NUM_BOUNDS, options.max_chars))
    unread = [name for name in files.shapes if name.startswith("output.") and not options.lm]
    match(files, wanted, frozenset(unread))
    spellings = files.read(SPELLINGS)
    if spellings.dtype.is_floating_point or spellings.min() < 0 or spellings.max() >= NUM_CHARACTERS:
        raise CheckpointError(f"{folder}: {SPELLINGS} holds numbers that are no characters. Copy it again.")
    tensors = {name: files.read(name).to(dtype or torch.float32) for name in shapes}
    model.load_state_dict({**tensors, SPELLINGS: spellings.to(torch.int32)}, assign=True)
    model.requires_grad_(True)
    model.is_spelt = bool(is_spelt)
    model.load_report = LoadReport(
        folder=folder, loaded={name: name for name in wanted}, ties={}, ignored=tuple(unread)
    )
    return model
