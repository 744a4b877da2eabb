"""T5 in the reference's files: the map of names, config.json both ways, tying.

Two generations of transformers read config.json differently: up to 4.x, `tie_word_embeddings` says whether the output
layer is the embedding table and whether states are scaled; from 5.x it says only the latter (saved as
`scale_decoder_outputs`), and a file with an `lm_head.weight` of its own is untied. What is written here serves both.
"""

from __future__ import annotations

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
    from textfer.models.t5 import T5

M = TypeVar("M", bound="T5")
MODEL_TYPES = ("t5", "mt5")
ONE_STACK = "textfer_t5"
"""model_type of what the reference does not have: decoder-only stacks, and one stack that reads and writes."""

FIELDS = {
    "d_model": "model_dim",
    "d_ff": "ff_dim",
    "d_kv": "head_dim",
    "num_heads": "num_heads",
    "num_layers": "num_layers",
    "num_decoder_layers": "num_decoder_layers",
    "dropout_rate": "dropout",
    "relative_attention_num_buckets": "num_buckets",
    "relative_attention_max_distance": "max_distance",
    "layer_norm_epsilon": "norm_eps",
}
DEFAULTS = {"d_model": 512, "d_ff": 2048, "d_kv": 64, "num_heads": 8, "num_layers": 6, "dropout_rate": 0.1}
"""What the reference takes where a file says nothing."""
DEFAULT_VOCAB = 32128
OURS = ("arrangement", "share_stacks")
"""Options that only our own files hold."""
FEED_FORWARD = {"relu": "relu", "gated-gelu": "gated_gelu", "gated-silu": "gated_silu"}
TYPES = {int: "a whole number", bool: "true or false"}
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
"""In the oldest files; the reference never reads it."""


def theirs(name: str, *, gated: bool, cross: bool) -> str:
    """The reference's name of our parameter."""
    if name in ("embedding.weight", "output.weight"):
        return {"embedding.weight": "shared.weight", "output.weight": "lm_head.weight"}[name]
    stack, kind, *rest = name.split(".")
    if kind == "norm":
        return f"{stack}.final_layer_norm.weight"
    if kind == "relative_bias":
        return f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    number, part, *last = rest
    layer = {"attention": 0, "cross": 1, "feed_forward": 1 + (cross and stack == "decoder")}[part.removesuffix("_norm")]
    place = f"{stack}.block.{number}.layer.{layer}"
    if part.endswith("_norm"):
        return f"{place}.layer_norm.weight"
    if part == "feed_forward":
        inner = {"gate": "wi_0", "wi": "wi_1" if gated else "wi", "wo": "wo"}[last[0]]
        return f"{place}.DenseReluDense.{inner}.weight"
    return f"{place}.{'SelfAttention' if part == 'attention' else 'EncDecAttention'}.{last[0]}.weight"


def names_of(model: T5) -> dict[str, str]:
    """Our parameter → the reference's tensor, for all parameters in order but what a way of transfer added."""
    gated, cross = model.options.feed_forward != "relu", model.options.arrangement == "encdec"
    names = [name for name, _ in model.named_parameters() if not ADDED & set(name.split("."))]
    return {name: theirs(name, gated=gated, cross=cross) for name in names}


def config_of(model: T5) -> dict[str, Any]:
    """config.json for these options, right for both generations of its readers."""
    options = model.options
    encdec = options.arrangement == "encdec"
    known = encdec and not options.share_stacks
    kind = next(key for key, value in FEED_FORWARD.items() if value == options.feed_forward)
    values: dict[str, Any] = {
        "architectures": ["T5ForConditionalGeneration" if known else "TextferT5"],
        "model_type": "t5" if known else ONE_STACK,
        "vocab_size": model.vocab_size,
        **{key: getattr(options, name) for key, name in FIELDS.items()},
        "num_decoder_layers": options.decoder_depth if encdec else None,
        "feed_forward_proj": kind,
        "is_gated_act": kind != "relu",
        "dense_act_fn": {"relu": "relu", "gated-gelu": "gelu_new", "gated-silu": "silu"}[kind],
        "tie_word_embeddings": options.tie_output,
        "scale_decoder_outputs": options.scales_output,
        "is_encoder_decoder": encdec,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        "initializer_factor": 1.0,
        "use_cache": True,
    }
    if known:
        return values
    return {**values, "arrangement": options.arrangement, "share_stacks": options.share_stacks}


def options_of(config: Mapping[str, Any], files: TensorFiles) -> dict[str, Any]:
    """T5Options' fields as config.json and the tensors themselves have them."""
    place = f"{files.folder}/config.json"
    kind = config.get("feed_forward_proj", "relu")
    if kind not in tuple(FEED_FORWARD):  # whatever JSON holds
        raise CheckpointError(f"{place}: feed_forward_proj is {kind!r}, expected one of {', '.join(FEED_FORWARD)}.")
    for key, type_ in (("vocab_size", int), ("tie_word_embeddings", bool), ("scale_decoder_outputs", bool)):
        if not isinstance(config.get(key, type_()), type_):
            raise CheckpointError(f"{place}: {key} is {config[key]!r}, expected {TYPES[type_]}.")
    found = {name: config.get(key, DEFAULTS.get(key)) for key, name in FIELDS.items()}
    if found["num_decoder_layers"] == found["num_layers"]:
        found["num_decoder_layers"] = None
    head, table = "lm_head.weight", embedding_name(files)
    flag = config.get("tie_word_embeddings", True) is not False
    own = head in files.shapes and not (flag and files.equal(head, table))
    if head not in files.shapes and not flag:
        raise CheckpointError(f"{files.folder}: lacks {head}, and config.json says tie_word_embeddings = false.")
    return {
        **{name: value for name, value in found.items() if value is not None},
        "feed_forward": FEED_FORWARD[kind],
        "tie_output": not own,
        "scale_output": bool(config.get("scale_decoder_outputs", flag)),
        **({name: config[name] for name in OURS if name in config} if config.get("model_type") == ONE_STACK else {}),
    }


def embedding_name(files: TensorFiles) -> str:
    """`shared.weight`, or the stack's own copy in files that lack it."""
    return next((name for name in ("shared.weight", *COPIES) if name in files.shapes), "shared.weight")


def load(make: type[M], folder: Path, changed: Mapping[str, Any], dtype: torch.dtype | None) -> M:
    """The folder's T5, with its report."""
    from textfer.models.t5 import T5Options  # that module imports this one

    config, files = read_config(folder), TensorFiles(folder)
    try:
        values = options_of(config, files)
        if values["scale_output"] == values["tie_output"]:
            values["scale_output"] = None
        options = build(T5Options, values, where=f"{folder}/config.json")
    except ConfigError as error:
        raise CheckpointError(f"{error} Is config.json that of a T5?") from None
    options = build(T5Options, {**options.model_dump(), **changed}, where="model")
    with torch.device("meta"):
        model = make(options, config.get("vocab_size", DEFAULT_VOCAB))
    table = embedding_name(files)
    names = {ours: table if ours == "embedding.weight" else name for ours, name in names_of(model).items()}
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    tied = ("lm_head.weight",) if options.tie_output else ()
    spare = frozenset({*COPIES, *tied, UNUSED}) - {table}
    match(files, {name: (ours, shapes[ours]) for ours, name in names.items()}, spare)
    copies = [name for name in files.shapes if name in spare and name != UNUSED]
    if different := [name for name in copies if not files.equal(name, table)]:
        raise CheckpointError(f"{folder}: {', '.join(different)} differs from {table}, expected a copy of it.")
    weights: dict[str, Tensor] = {ours: files.read(name).to(dtype or torch.float32) for ours, name in names.items()}
    model.load_state_dict(weights, assign=True)
    model.requires_grad_(True)
    model.load_report = LoadReport(
        folder=folder,
        loaded={name: ours for ours, name in names.items()},
        ties=dict.fromkeys(copies, "embedding.weight"),
        ignored=(UNUSED,) if UNUSED in files.shapes else (),
    )
    return model
