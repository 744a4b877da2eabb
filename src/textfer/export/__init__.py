"""Models for other programs: written, tried on probes, and only then put where they were asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Literal, get_args

import torch

from textfer.calibration import read_calibration, write_calibration
from textfer.errors import ConfigError, MachineError
from textfer.export.ct2 import names_of_ids, read_ct2, write_ct2
from textfer.export.hub import check_ids, hub_reads, hub_writes, write_hub
from textfer.export.onnx import read_onnx, write_onnx
from textfer.export.probes import Reading, Said, Writing, compare, likeliest, read, written
from textfer.models import Model
from textfer.models.bert import Bert
from textfer.models.bert_heads import has_a_class
from textfer.models.headed import Headed
from textfer.models.hub import check_rows
from textfer.models.t5 import T5
from textfer.parts import model_folder, open_model, tokenizer_of
from textfer.tokenizers import Tokenizer

Form = Literal["hf", "onnx", "ct2"]
NEEDS = {"hf": ("transformers",), "onnx": ("onnx", "onnxscript", "onnxruntime"), "ct2": ("ctranslate2",)}
"""What writes a form, and what it is tried with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    folder: Path
    form: str
    num_probes: int
    """Texts on which it answered as ours does."""
    furthest: float
    """The largest difference of numbers, as a share of the largest of its probe."""
    num_bytes: int
    """Of all files together."""


def export(name: str, form: Form, out: Path) -> Exported:
    """Writes the model of that name in another form into `out`, a new folder, when it answers the probes as ours does.

    `hf`: the hub's format, tried with transformers. `ct2`: CTranslate2's, of a T5. `onnx`: a graph, of a BERT with a
    head. All in float32. Errors: ConfigError for a folder that is there or a model that has no such form; MachineError
    where what it is tried with is not installed; CheckpointError where an answer is another.
    """
    if form not in get_args(Form):
        raise ConfigError(f"export: --to is '{form}', expected one of {', '.join(get_args(Form))}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: is there already. Name a new folder.")
    if missing := [one for one in NEEDS[form] if find_spec(one) is None]:
        raise MachineError(f"export: --to {form} needs {' and '.join(missing)}. pip install 'textfer[export]'")
    model, tokenizer = open_model(model_folder(name)), tokenizer_of(name)
    check_rows(name, model, tokenizer.vocab_size)
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    beside = Path(mkdtemp(prefix=f".{out.name}-", dir=out.absolute().parent))
    try:
        count, furthest = _tried(model, tokenizer, form, beside, name)
        if (calibration := read_calibration(model_folder(name))) is not None:
            write_calibration(calibration, beside)
        beside.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(beside, out)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Exported(folder=out, form=form, num_probes=count, furthest=furthest, num_bytes=size)


def _tried(model: Model, tokenizer: Tokenizer, form: Form, folder: Path, name: str) -> tuple[int, float]:
    """(number of probes, largest difference) of what was written into the folder."""
    if isinstance(model, T5) and model.layout == "encdec":
        return _writer(model.eval(), tokenizer, form, folder)
    if isinstance(model, Headed) and isinstance(model.reader, Bert) and has_a_class(model):
        return _reader(model.eval(), tokenizer, form, folder)
    raise ConfigError(
        f"export: {name} has no such form: a T5 with encoder and decoder has, and a BERT with one head on its last "
        "states. Its own folder can be copied."
    )


def _writer(model: T5, tokenizer: Tokenizer, form: Form, folder: Path) -> tuple[int, float]:
    if form == "onnx":
        raise ConfigError("export: --to onnx takes models that read; a T5 writes token by token. Take ct2.")
    if model.encoder is None:
        raise ConfigError("export: a T5 whose encoder is its decoder has no such form. Its own folder can be copied.")
    probes = written(model, tokenizer)
    if form == "hf":
        write_hub(model, tokenizer, folder)
        check_ids(folder, tokenizer)
        ours = [Said(one.tokens, one.logits) for one in probes]
        return len(probes), compare(ours, hub_writes(folder, probes), form=form)
    write_ct2(model, tokenizer, folder)
    ours = [_log_probs(one, tokenizer.specials.eos) for one in probes]
    names = names_of_ids(tokenizer, model.vocab_size)
    return len(probes), compare(ours, read_ct2(folder, names, probes), form=form)


def _log_probs(one: Writing, eos: int) -> Said:
    """What CTranslate2 can be asked for: the tokens before the end mark, and the log probability of each token."""
    tokens = torch.tensor(one.tokens)
    log_probs = one.logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    return Said(tuple(token for token in one.tokens if token != eos), log_probs)


def _reader(model: Headed, tokenizer: Tokenizer, form: Form, folder: Path) -> tuple[int, float]:
    [head] = model.kinds.values()
    if form == "ct2":
        raise ConfigError("export: CTranslate2 has no heads that read. Take onnx.")
    if head.kind == "choice":
        raise ConfigError("export: a head of choices has no such form yet. Its own folder can be copied.")
    probes: Sequence[Reading] = read(model, tokenizer)
    ours = [Said(likeliest(head, one.told), one.told) for one in probes]
    if form == "hf":
        write_hub(model, tokenizer, folder)
        return len(probes), compare(ours, hub_reads(folder, head, probes), form=form)
    write_onnx(model, tokenizer, folder)
    return len(probes), compare(ours, read_onnx(folder, head, probes), form=form)
