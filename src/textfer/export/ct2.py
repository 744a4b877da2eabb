"""A T5 in CTranslate2's format: weights as they are, and the vocabulary as its own names of ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from textfer.export.probes import Said, Writing
from textfer.models.attention import Attention, RelativeBias
from textfer.models.blocks import Stack
from textfer.models.t5 import T5
from textfer.tokenizers import Tokenizer

ACTIVATIONS = {"relu": "RELU", "gated_gelu": "GELUTanh", "gated_silu": "SWISH"}


def write_ct2(model: T5, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the model, in float32: whoever loads it chooses `compute_type`."""
    from ctranslate2.specs import common_spec, transformer_spec

    options = model.options
    assert model.encoder is not None, "with encoder and decoder"
    spec = transformer_spec.TransformerSpec.from_config(
        (options.num_layers, options.decoder_depth),
        options.num_heads,
        pre_norm=True,
        activation=getattr(common_spec.Activation, ACTIVATIONS[options.feed_forward]),
        relative_attention_bias=True,
        ffn_glu=options.feed_forward != "relu",
        rms_norm=True,
    )
    _stack(spec.encoder, model.encoder, model.embedding.weight)
    _stack(spec.decoder, model.decoder, model.embedding.weight)
    spec.decoder.projection.weight = _array(model.readout()[0])
    if options.scales_output:
        spec.decoder.scale_outputs = np.float32(options.model_dim**-0.5)
    names = names_of_ids(tokenizer, model.vocab_size)
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    specials = tokenizer.specials
    spec.config.bos_token = spec.config.decoder_start_token = names[specials.pad]
    spec.config.eos_token = names[specials.eos]
    spec.config.unk_token = names[specials.pad if specials.unk is None else specials.unk]
    spec.validate()
    spec.optimize(quantization=None)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    tokenizer.save(folder)


def names_of_ids(tokenizer: Tokenizer, count: int) -> list[str]:
    """The name of every row, no two alike: CTranslate2 is given names and not ids."""
    names = tokenizer.pieces(range(count))
    seen: set[str] = set()
    for row, name in enumerate(names):
        names[row] = f"<row_{row}>" if name in seen else name
        seen.add(names[row])
    return names


def read_ct2(folder: Path, names: Sequence[str], writings: Sequence[Writing]) -> list[Said]:
    """What CTranslate2 itself writes after the probes, and how likely it finds what we wrote."""
    import ctranslate2

    translator = ctranslate2.Translator(str(folder), device="cpu", compute_type="float32", intra_threads=1)
    place = {name: row for row, name in enumerate(names)}
    found = []
    for one in writings:
        source = [names[i] for i in one.inputs]
        made = translator.translate_batch([source], beam_size=1, max_decoding_length=len(one.tokens))[0].hypotheses[0]
        target = [names[i] for i in one.tokens]
        scored = translator.score_batch([source], [target])[0].log_probs
        ids = [place[name] for name in made]
        found.append(Said(tokens=tuple(ids), numbers=torch.tensor(scored[: len(target)])))
    return found


def _stack(spec: Any, stack: Stack, table: Tensor) -> None:
    """Fills one side."""
    inner = spec.embeddings[0] if isinstance(spec.embeddings, list) else spec.embeddings
    inner.weight = _array(table)
    spec.scale_embeddings = False
    spec.layer_norm.gamma = _array(stack.norm.weight)
    for part, block in zip(spec.layer, stack.blocks(), strict=True):
        _attention(part.self_attention, block.attention, looks_at_itself=True)
        part.self_attention.layer_norm.gamma = _array(block.attention_norm.weight)
        _bias(part.self_attention, stack.relative_bias)
        if hasattr(block, "cross"):
            _attention(part.attention, block.cross, looks_at_itself=False)
            part.attention.layer_norm.gamma = _array(block.cross_norm.weight)
        forward = block.feed_forward
        if forward.kind == "relu":
            part.ffn.linear_0.weight = _product(forward.wi)
        else:
            part.ffn.linear_0.weight = _product(forward.gate)
            part.ffn.linear_0_noact.weight = _product(forward.wi)
        part.ffn.linear_1.weight = _product(forward.wo)
        part.ffn.layer_norm.gamma = _array(block.feed_forward_norm.weight)


def _attention(spec: Any, part: Attention, *, looks_at_itself: bool) -> None:
    """Products with the same input side by side; scores are not divided."""
    spec.queries_scale = np.float32(1.0)
    q, k, v, o = (_product(one) for one in (part.q, part.k, part.v, part.o))
    groups = [[q, k, v]] if looks_at_itself else [[q], [k, v]]
    for linear, group in zip(spec.linear, [*groups, [o]], strict=True):
        linear.weight = np.concatenate(group)


def _bias(spec: Any, bias: RelativeBias) -> None:
    spec.relative_attention_bias = _array(bias.weight)
    spec.relative_attention_max_distance = np.int32(bias.max_distance)


def _product(part: nn.Module) -> Any:
    """[F, D]"""
    weight = part.weight
    assert isinstance(weight, Tensor), "a plain product"
    return _array(weight)


def _array(weight: Tensor) -> Any:
    return weight.detach().float().contiguous().numpy()
