"""GPT-2 in the reference's files: the map of names, config.json both ways, tying, transposed weights.

The reference stores the weights of a block as [inputs, outputs], ours are [outputs, inputs]. Files of the bare network
name their tensors without the `transformer.` in front that files of the language model have; both are read, the latter
is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from textfer.config import build
from textfer.errors import CheckpointError, ConfigError
from textfer.models import ADDED
from textfer.models.hub import LoadReport, TensorFiles, match, read_config

if TYPE_CHECKING:
    from textfer.models.gpt import GPT

M = TypeVar("M", bound="GPT")
MODEL_TYPES = ("gpt2",)
PREFIX = "transformer."
HEAD = "lm_head.weight"
UNUSED = re.compile(r"(transformer\.)?h\.\d+\.attn\.(bias|masked_bias)")
"""Causal masks that old files carry along; nothing is learnt in them."""

FIELDS = {
    "n_embd": "model_dim",
    "n_inner": "ff_dim",
    "n_head": "num_heads",
    "n_layer": "num_layers",
    "n_positions": "context_len",
    "layer_norm_epsilon": "norm_eps",
    "scale_attn_by_inverse_layer_idx": "scale_by_depth",
    "resid_pdrop": "dropout",
}
DROPOUTS = {"attn_pdrop": "attention_dropout", "embd_pdrop": "embedding_dropout"}
DEFAULT_DROPOUT = 0.1
"""What the reference takes where a file says nothing; its other defaults are those of GPTOptions."""
DEFAULT_VOCAB = 50257
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
SUPPORTED = {"scale_attn_weights": True, "add_cross_attention": False}
"""What other values would change has no counterpart here."""
MARKS = ("bos_token_id", "eos_token_id", "pad_token_id")
PARTS = {
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.o": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.wi": "mlp.c_fc",
    "feed_forward.wo": "mlp.c_proj",
}
OUTSIDE = {"embedding": "wte", "positions": "wpe", "norm": "ln_f"}


def theirs(name: str, *, prefix: str) -> str:
    """The reference's name of our parameter."""
    part, _, kind = name.rpartition(".")
    if part == "output":
        return HEAD
    if part in OUTSIDE:
        return f"{prefix}{OUTSIDE[part]}.{kind}"
    _, number, inner = part.split(".", 2)
    return f"{prefix}h.{number}.{PARTS[inner]}.{kind}"


def is_turned(name: str) -> bool:
    """Whether the reference stores our parameter transposed."""
    return name.startswith("layers.") and name.endswith(("qkv.weight", "o.weight", "wi.weight", "wo.weight"))


def names_of(model: GPT, *, prefix: str = PREFIX) -> dict[str, str]:
    """Our parameter → the reference's tensor, for all parameters in order but what a way of transfer added."""
    names = [name for name, _ in model.named_parameters() if not ADDED & set(name.split("."))]
    return {name: theirs(name, prefix=prefix) for name in names}


def config_of(model: GPT) -> dict[str, Any]:
    """config.json for these options."""
    options = model.options
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": MODEL_TYPES[0],
        "vocab_size": model.vocab_size,
        **{key: getattr(options, name) for key, name in FIELDS.items()},
        "attn_pdrop": options.attention_rate,
        "embd_pdrop": options.embedding_rate,
        "activation_function": next(key for key, value in ACTIVATIONS.items() if value == options.activation),
        **SUPPORTED,
        "tie_word_embeddings": options.tie_output,
        **{mark: model.marks.get(mark) for mark in MARKS},
        "use_cache": True,
    }


def options_of(config: Mapping[str, Any], files: TensorFiles, prefix: str) -> dict[str, Any]:
    """GPTOptions' fields as config.json and the tensors themselves have them."""
    place = f"{files.folder}/config.json"
    kind = config.get("activation_function", "gelu_new")
    if kind not in tuple(ACTIVATIONS):  # whatever JSON holds
        raise CheckpointError(f"{place}: activation_function is {kind!r}, expected one of {', '.join(ACTIVATIONS)}.")
    for key, value in SUPPORTED.items():
        if config.get(key, value) is not value:
            raise CheckpointError(f"{place}: {key} is {config[key]!r}, expected {str(value).lower()}.")
    vocab_size, tied = config.get("vocab_size", DEFAULT_VOCAB), config.get("tie_word_embeddings", True)
    if not isinstance(vocab_size, int) or isinstance(vocab_size, bool) or vocab_size < 1:
        raise CheckpointError(f"{place}: vocab_size is {vocab_size!r}, expected a whole number above 0.")
    if not isinstance(tied, bool):
        raise CheckpointError(f"{place}: tie_word_embeddings is {tied!r}, expected true or false.")
    if not tied and HEAD not in files.shapes:
        raise CheckpointError(f"{files.folder}: lacks {HEAD}, and config.json says tie_word_embeddings = false.")
    own = HEAD in files.shapes and not (tied and files.equal(HEAD, f"{prefix}wte.weight"))
    found = {name: config[key] for key, name in FIELDS.items() if config.get(key) is not None}
    dropout = found.setdefault("dropout", DEFAULT_DROPOUT)
    rates = {name: config.get(key, DEFAULT_DROPOUT) for key, name in DROPOUTS.items()}
    rates = {name: rate for name, rate in rates.items() if rate != dropout}
    return {**found, **rates, "activation": ACTIVATIONS[kind], "tie_output": not own}


def load(make: type[M], folder: Path, changed: Mapping[str, Any], dtype: torch.dtype | None) -> M:
    """The folder's GPT, with its report."""
    from textfer.models.gpt import GPTOptions  # that module imports this one

    config, files = read_config(folder), TensorFiles(folder)
    prefix = PREFIX if any(name.startswith(PREFIX) for name in files.shapes) else ""
    table = f"{prefix}wte.weight"
    if table not in files.shapes:
        raise CheckpointError(f"{folder}: lacks {table}. Is config.json that of these weights?")
    try:
        options = build(GPTOptions, options_of(config, files, prefix), where=f"{folder}/config.json")
    except ConfigError as error:
        raise CheckpointError(f"{error} Is config.json that of a GPT-2?") from None
    options = build(GPTOptions, {**options.model_dump(), **changed}, where="model")
    with torch.device("meta"):
        model = make(options, config.get("vocab_size", DEFAULT_VOCAB))
    names = names_of(model, prefix=prefix)
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    wanted = {name: (ours, shapes[ours][::-1] if is_turned(ours) else shapes[ours]) for ours, name in names.items()}
    unused = tuple(name for name in files.shapes if UNUSED.fullmatch(name))
    copies = (HEAD,) if options.tie_output and HEAD in files.shapes else ()
    match(files, wanted, frozenset({*unused, *copies}))
    if copies and not files.equal(HEAD, table):
        raise CheckpointError(f"{folder}: {HEAD} differs from {table}, expected a copy of it.")
    weights: dict[str, Tensor] = {}
    for ours, name in names.items():
        tensor = files.read(name).to(dtype or torch.float32)
        weights[ours] = tensor.t().contiguous() if is_turned(ours) else tensor
    model.load_state_dict(weights, assign=True)
    model.requires_grad_(True)
    model.marks = {mark: config[mark] for mark in MARKS if config.get(mark) is not None}
    model.load_report = LoadReport(
        folder=folder,
        loaded={name: ours for ours, name in names.items()},
        ties=dict.fromkeys(copies, "embedding.weight"),
        ignored=unused,
    )
    return model
