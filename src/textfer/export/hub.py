"""Folders that `transformers` reads, and what it makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from textfer.errors import CheckpointError
from textfer.export.probes import TEXTS, Reading, Said, Writing, likeliest
from textfer.heads import Head
from textfer.models.headed import Headed
from textfer.models.t5 import T5
from textfer.tokenizers import Tokenizer
from textfer.tokenizers.pieces import SentencePiece
from textfer.tokenizers.unigram_json import needs_json, unigram_json

CLASSES = {
    "span": "AutoModelForQuestionAnswering",
    "class": "AutoModelForSequenceClassification",
    "number": "AutoModelForSequenceClassification",
    "tag": "AutoModelForTokenClassification",
}


def write_hub(model: T5 | Headed, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes weights and vocabulary; one that spells in bytes gets a `tokenizer.json` too."""
    model.save(folder)
    tokenizer.save(folder)
    if isinstance(tokenizer, SentencePiece) and needs_json(tokenizer):
        (folder / "tokenizer.json").write_text(unigram_json(tokenizer), encoding="utf-8")
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def check_ids(folder: Path, tokenizer: Tokenizer) -> None:
    """Refuses a folder whose vocabulary makes other ids in transformers. Errors: CheckpointError."""
    import transformers

    log: Any = transformers.logging
    log.set_verbosity_error()
    log.disable_progress_bar()
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    for text, ids in zip(TEXTS, tokenizer.encode_many(list(TEXTS)), strict=True):
        found = theirs(text, add_special_tokens=False).input_ids
        if found != ids.tolist():
            pairs = enumerate(zip(found, ids.tolist(), strict=False))
            at = next((place for place, (one, other) in pairs if one != other), min(len(found), len(ids)))
            raise CheckpointError(
                f"export: transformers' {type(theirs).__name__} cuts a probe elsewhere than ours from token {at + 1} "
                f"on ({found[at : at + 3]}, expected {ids[at : at + 3].tolist()}). Nothing was written."
            )


def _loaded(kind: str, folder: Path) -> Any:
    """A class of transformers with the folder's weights, without its progress bar, which --json has no place for."""
    import transformers

    logging: Any = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return getattr(transformers, kind).from_pretrained(str(folder)).eval()
    finally:
        if shown:
            logging.enable_progress_bar()


def hub_writes(folder: Path, writings: Sequence[Writing]) -> list[Said]:
    """What transformers writes, and its logits of what ours wrote."""
    model = _loaded("AutoModelForSeq2SeqLM", folder)
    start, found = model.config.decoder_start_token_id, []
    for one in writings:
        inputs, count = torch.tensor([one.inputs]), len(one.tokens)
        with torch.inference_mode():
            made = model.generate(inputs, max_new_tokens=count, do_sample=False, num_beams=1)[0, 1 : count + 1]
            before = torch.tensor([[start, *one.tokens[:-1]]])
            logits = model(input_ids=inputs, decoder_input_ids=before).logits[0]
        found.append(Said(tuple(made.tolist()), logits))
    return found


def hub_reads(folder: Path, head: Head, readings: Sequence[Reading]) -> list[Said]:
    """What the class of transformers for such a head says."""
    model = _loaded(CLASSES[head.kind], folder)
    found = []
    for one in readings:
        with torch.inference_mode():
            out = model(input_ids=one.ids, attention_mask=torch.ones_like(one.ids), token_type_ids=one.types)
        told = torch.stack([out.start_logits[0], out.end_logits[0]], -1) if head.kind == "span" else out.logits
        told = told[0] if head.kind == "tag" else told
        found.append(Said(likeliest(head, told), told))
    return found
