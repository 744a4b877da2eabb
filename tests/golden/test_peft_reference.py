"""LoRA files against PEFT itself: what we write it reads, what it writes we read, and both say the same numbers.

Provenance: PEFT 0.21.2 with transformers; skipped where they are not installed (`pip install peft`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from textfer.adapt import make_method
from textfer.adapt.adapted import adapt
from textfer.batch import Batch, Run, Side
from textfer.models import load_model
from textfer.models.gpt import GPT
from textfer.models.t5 import T5
from textfer.parts import open_model

pytestmark = pytest.mark.filterwarnings("ignore")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft", exc_type=ImportError)

SHAPE = {"model_dim": 16, "ff_dim": 24, "head_dim": 6, "num_heads": 3, "num_layers": 2, "dropout": 0.0}
VOCAB = 40
INPUTS = torch.tensor([[5, 9, 7, 22, 1], [30, 2, 17, 8, 1]])
OUTPUTS = torch.tensor([[0, 4, 6], [0, 12, 39]])


def side(ids: torch.Tensor) -> Side:
    count = torch.arange(ids.shape[1]).expand_as(ids)
    return Side(ids, torch.ones_like(ids), count, tuple(Run(row, 0, ids.shape[1]) for row in range(ids.shape[0])))


def our_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.eval()(Batch(encoder=side(INPUTS), decoder=side(OUTPUTS))).logits
    return out


def their_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model.eval()(input_ids=INPUTS, decoder_input_ids=OUTPUTS, use_cache=False).logits
    return out


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    T5.make(SHAPE, vocab_size=VOCAB).save(tmp_path / "base")
    return tmp_path / "base"


def stirred(model: Any) -> None:
    """Pairs begin as zero: gives them numbers."""
    torch.manual_seed(4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora" in name:
                weight.normal_(std=0.3)


@pytest.mark.parametrize("targets", [("q", "v"), ("wi", "wo", "decoder.layers.1.cross.k")])
def test_peft_reads_what_we_write(base: Path, tmp_path: Path, targets: tuple[str, ...]) -> None:
    method = make_method({"name": "lora", "rank": 3, "alpha": 5.0, "targets": targets})
    adapted = adapt(load_model(base), method, num_steps=1, seed=0, base=str(base))
    stirred(adapted.model)
    adapted.save(tmp_path / "ours")
    plain = transformers.T5ForConditionalGeneration.from_pretrained(base)
    before = their_logits(plain)
    theirs = their_logits(peft.PeftModel.from_pretrained(plain, tmp_path / "ours"))
    torch.testing.assert_close(our_logits(adapted.model), theirs, rtol=1e-5, atol=1e-5)
    assert (theirs - before).abs().max() > 0.1


def test_gpt2_both_ways(tmp_path: Path) -> None:
    """Its products lie transposed in the reference's files; what is added does not."""
    torch.manual_seed(3)
    GPT.make({"model_dim": 16, "num_heads": 2, "num_layers": 2, "dropout": 0.0}, vocab_size=VOCAB).save(
        tmp_path / "base"
    )
    method = make_method({"name": "lora", "rank": 3, "targets": ["qkv", "feed_forward.wo"]})
    adapted = adapt(load_model(tmp_path / "base"), method, num_steps=1, seed=0, base=str(tmp_path / "base"))
    stirred(adapted.model)
    adapted.save(tmp_path / "ours")
    plain = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "base")
    theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "ours")
    seen = Batch(decoder=side(INPUTS))
    with torch.no_grad():
        expected = theirs.eval()(input_ids=INPUTS).logits
        torch.testing.assert_close(adapted.model.eval()(seen).logits, expected, rtol=1e-5, atol=1e-5)
        theirs.save_pretrained(tmp_path / "theirs")
        torch.testing.assert_close(open_model(tmp_path / "theirs").eval()(seen).logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_we_read_what_peft_writes(base: Path, tmp_path: Path, rank_stabilised: bool) -> None:
    plain = transformers.T5ForConditionalGeneration.from_pretrained(base)
    config = peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM", r=4, lora_alpha=6, target_modules=["k", "wi_1", "o"], use_rslora=rank_stabilised
    )
    model = peft.get_peft_model(plain, config)
    stirred(model)
    model.save_pretrained(tmp_path / "theirs")
    torch.testing.assert_close(our_logits(open_model(tmp_path / "theirs")), their_logits(model), rtol=1e-5, atol=1e-5)
