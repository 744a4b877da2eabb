"""BERT in the reference's files: the map of names, config.json both ways, heads that are there or not.

Files come from three classes (BertModel without a prefix, BertForMaskedLM, BertForPreTraining) and from years in which
a norm's weight and bias were called gamma and beta.
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
    from textfer.models.bert import Bert

M = TypeVar("M", bound="Bert")
MODEL_TYPES = ("bert",)

FIELDS = {
    "hidden_size": "model_dim",
    "intermediate_size": "ff_dim",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
    "max_position_embeddings": "max_positions",
    "type_vocab_size": "num_types",
    "hidden_dropout_prob": "dropout",
    "layer_norm_eps": "norm_eps",
}
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
FIXED = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}
"""What config.json may say, and must."""
DEFAULT_VOCAB = 30522
"""What the reference takes where a file says nothing; its other defaults are ours."""

OUTSIDE = {
    "embedding.weight": "bert.embeddings.word_embeddings.weight",
    "positions.weight": "bert.embeddings.position_embeddings.weight",
    "types.weight": "bert.embeddings.token_type_embeddings.weight",
    "norm": "bert.embeddings.LayerNorm",
    "pooler": "bert.pooler.dense",
    "masked_lm.dense": "cls.predictions.transform.dense",
    "masked_lm.norm": "cls.predictions.transform.LayerNorm",
    "masked_lm.bias": "cls.predictions.bias",
    "next_sentence": "cls.seq_relationship",
}
INSIDE = {
    "attention.q": "attention.self.query",
    "attention.k": "attention.self.key",
    "attention.v": "attention.self.value",
    "attention.o": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward.wi": "intermediate.dense",
    "feed_forward.wo": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}
HEADS = {
    "masked_lm": "cls.predictions.transform.dense.weight",
    "pooler": "bert.pooler.dense.weight",
    "next_sentence": "cls.seq_relationship.weight",
}
"""Head → a tensor that is there when the file has it."""
OF_HEADS = ("bert.pooler.", "cls.", "classifier.", "qa_outputs.")
"""What the tensors of heads begin with; those that nobody asked for are left unread."""
COPIES = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
UNUSED = "bert.embeddings.position_ids"
"""A buffer of old files: 0, 1, 2, …"""


def theirs(name: str) -> str:
    """The reference's name of our parameter."""
    if name in OUTSIDE:
        return OUTSIDE[name]
    part, _, last = name.rpartition(".")
    if part.startswith("layers."):
        _, number, inner = part.split(".", 2)
        return f"bert.encoder.layer.{number}.{INSIDE[inner]}.{last}"
    return f"{OUTSIDE[part]}.{last}"


def plain(name: str) -> str:
    """A file's name of a tensor as the newest files have it: with the prefix, and with weight and bias in norms."""
    if not name.startswith(("bert.", "cls.", "classifier.", "qa_outputs.")):
        name = f"bert.{name}"
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def names_of(model: Bert) -> dict[str, str]:
    """Our parameter → the reference's tensor, as the class in config.json has them; not what a method added."""
    prefixed = model.masked_lm is not None or model.next_sentence is not None
    found = {name: theirs(name) for name, _ in model.named_parameters() if not ADDED & set(name.split("."))}
    return found if prefixed else {name: other.removeprefix("bert.") for name, other in found.items()}


def config_of(model: Bert) -> dict[str, Any]:
    """config.json for these options."""
    options = model.options
    family = "BertModel"
    if options.masked_lm:
        family = "BertForPreTraining" if options.next_sentence else "BertForMaskedLM"
    elif options.next_sentence:
        family = "BertForNextSentencePrediction"
    return {
        "architectures": [family],
        "model_type": "bert",
        "vocab_size": model.vocab_size,
        **{key: getattr(options, name) for key, name in FIELDS.items()},
        "attention_probs_dropout_prob": options.attention_rate,
        "hidden_act": next(key for key, value in ACTIVATIONS.items() if value == options.activation),
        "position_embedding_type": "absolute",
        "initializer_range": 0.02,
        "pad_token_id": 0,
        "tie_word_embeddings": True,
    }


def options_of(config: Mapping[str, Any], folder: Path, held: frozenset[str]) -> dict[str, Any]:
    """BertOptions' fields as config.json and the names of the tensors have them."""
    place = f"{folder}/config.json"
    for key, expected in FIXED.items():
        if config.get(key, expected) != expected:
            raise CheckpointError(f"{place}: {key} is {config[key]!r}, expected {expected!r}, BERT as it was released.")
    if not isinstance(config.get("vocab_size", 0), int):
        raise CheckpointError(f"{place}: vocab_size is {config['vocab_size']!r}, expected a whole number.")
    kind = config.get("hidden_act", "gelu")
    if kind not in tuple(ACTIVATIONS):  # whatever JSON holds
        raise CheckpointError(f"{place}: hidden_act is {kind!r}, expected one of {', '.join(ACTIVATIONS)}.")
    found = {name: config[key] for key, name in FIELDS.items() if key in config}
    rates = config.get("attention_probs_dropout_prob", 0.1), config.get("hidden_dropout_prob", 0.1)
    if rates[0] != rates[1]:
        found["attention_dropout"] = rates[0]
    return {**found, "activation": ACTIVATIONS[kind], **{head: name in held for head, name in HEADS.items()}}


class RenamedFiles(TensorFiles):
    """The tensors of a folder under the newest names."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files_names = {plain(name): name for name in self.shapes}
        if len(self.files_names) < len(self.shapes):
            raise CheckpointError(f"{folder}: holds a tensor under two names, expected each once. Copy it again.")
        self.shapes = {plain(name): shape for name, shape in self.shapes.items()}

    def read(self, name: str) -> Tensor:
        """A copy in memory, by its newest name."""
        return super().read(self.files_names[name])


def load(make: type[M], folder: Path, changed: Mapping[str, Any], dtype: torch.dtype | None) -> M:
    """The folder's BERT, with its report."""
    from textfer.models.bert import BertOptions  # that module imports this one

    config, files = read_config(folder), RenamedFiles(folder)
    try:
        values = options_of(config, folder, frozenset(files.shapes))
        values["next_sentence"] &= values["pooler"]
        options = build(BertOptions, values, where=f"{folder}/config.json")
    except ConfigError as error:
        raise CheckpointError(f"{error} Is config.json that of a BERT?") from None
    options = build(BertOptions, {**options.model_dump(), **changed}, where="model")
    with torch.device("meta"):
        model = make(options, config.get("vocab_size", DEFAULT_VOCAB))
    shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    names = {ours: theirs(ours) for ours in shapes}
    if (bias := "cls.predictions.decoder.bias") in files.shapes and names.get("masked_lm.bias") not in files.shapes:
        names = {ours: bias if ours == "masked_lm.bias" else name for ours, name in names.items()}
    wanted = set(names.values())
    copies = {name: of for name, of in COPIES.items() if options.masked_lm and name in files.shapes.keys() - wanted}
    unread = [name for name in files.shapes if name.startswith(OF_HEADS) and name not in wanted | copies.keys()]
    match(files, {name: (ours, shapes[ours]) for ours, name in names.items()}, frozenset({*copies, *unread, UNUSED}))
    if different := [name for name, of in copies.items() if not files.equal(name, of)]:
        first = different[0]
        raise CheckpointError(f"{folder}: {first} differs from {copies[first]}, expected a copy: the layers are one.")
    model.load_state_dict(
        {ours: files.read(name).to(dtype or torch.float32) for ours, name in names.items()}, assign=True
    )
    model.requires_grad_(True)
    ours_of = {name: ours for ours, name in names.items()}
    ignored = (*unread, *([UNUSED] if UNUSED in files.shapes else []))
    model.load_report = LoadReport(
        folder=folder,
        loaded={files.files_names[name]: ours for name, ours in ours_of.items()},
        ties={files.files_names[name]: ours_of[of] for name, of in copies.items()},
        ignored=tuple(files.files_names[name] for name in ignored),
    )
    return model
