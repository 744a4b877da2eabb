"""A BERT with one head as an ONNX graph: any number of rows, any length.

Letters: B rows, L tokens of a row, C classes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from textfer.export.probes import Reading, Said, likeliest
from textfer.heads import Head
from textfer.models.bert import Bert
from textfer.models.bert_blocks import Padded
from textfer.models.headed import Headed
from textfer.tokenizers import Tokenizer

FILE = "model.onnx"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
OPSET = 18


class Graph(nn.Module):
    """What is exported: ids in, numbers out."""

    def __init__(self, model: Headed) -> None:
        super().__init__()
        assert isinstance(model.reader, Bert), "only a BERT"
        [self.head] = model.kinds.values()
        self.bert, self.dense = model.reader, model.dense if model.dense is not None else model.reader.pooler
        self.told = model.heads[self.head.name]

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, ...]:
        """[B, L] ×3 → [B, L] ×2 of starts and ends, [B, L, C] of tags, or [B, C]"""
        bert = self.bert
        x = bert.embedding(ids) + bert.types(types) + bert.positions.weight[: ids.shape[1]]
        x = bert.norm(x)
        sight = Padded((mask > 0)[:, None, None, :])
        for layer in bert.layers:
            x = layer(x, sight)
        if self.head.kind in ("class", "number"):
            assert self.dense is not None, "a class is told from a dense layer"
            x = torch.tanh(self.dense(x[:, 0]))
        said: Tensor = self.told(x)
        return (said[..., 0], said[..., 1]) if self.head.kind == "span" else (said,)


def write_onnx(model: Headed, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the graph, in float32, and the vocabulary."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = Graph(model).eval()
    outputs = ["start_logits", "end_logits"] if graph.head.kind == "span" else ["logits"]
    example = tuple(torch.ones(2, 8, dtype=torch.int64) for _ in INPUTS)
    axes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens", min=2, max=model.max_len)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of its own parts that will go, and of switches it does not have
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # of packages that are not needed
        with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):  # oneDNN's own product is no part of ONNX
            torch.onnx.export(
                graph,
                example,
                str(folder / FILE),
                input_names=list(INPUTS),
                output_names=outputs,
                dynamic_shapes=(axes, axes, axes),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    tokenizer.save(folder)


def read_onnx(folder: Path, head: Head, readings: Sequence[Reading]) -> list[Said]:
    """What onnxruntime says: of every probe by itself, and of a batch with padding, which must not matter."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / FILE), options, providers=["CPUExecutionProvider"])
    longest, found = max(one.ids.shape[1] for one in readings), []
    for one in readings:
        length = one.ids.shape[1]
        parts = [
            nn.functional.pad(part, (0, longest - length)).numpy()
            for part in (one.ids, torch.ones_like(one.ids), one.types)
        ]
        out = [torch.from_numpy(part) for part in session.run(None, dict(zip(INPUTS, parts, strict=True)))]
        told = torch.stack([out[0][0], out[1][0]], -1) if head.kind == "span" else out[0]
        told = told[0] if head.kind == "tag" else told
        told = told[:length] if head.kind in ("span", "tag") else told
        found.append(Said(likeliest(head, told), told))
    return found
