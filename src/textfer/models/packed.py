"""Models small enough to lie in the package: weights in 8 or 16 bits, with the digest of every file.

src/textfer/embedded/NAME/  config.json  model.safetensors  tokenizer/  heads.json …   as of any hub-format model
                            packed.json   the digests, and what it is: bits, parameters, licence, where it comes from
                            LICENSE NOTICE card.md   as its data and its beginnings ask for

In 8 bits a matrix is stored as whole numbers in blocks of a row, each with a scale beside it (`NAME.scales`);
vectors stay as they are. Reading a tensor gives numbers again (`hub.TensorFiles`), so that every family loads it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from textfer.errors import CheckpointError, ConfigError
from textfer.tokenizers import load_tokenizer

EMBEDDED_DIR = Path(__file__).resolve().parents[1] / "embedded"
MANIFEST = "packed.json"
FORMAT = 1
SCALES = ".scales"
BLOCK = 64
"""Numbers of a row that share a scale, where the row can be cut so; else all of it."""
SMALLEST = 4096
"""Matrices with fewer numbers stay as they are."""
MAX_BYTES = 64 << 20
SHARD_BYTES = 48 << 20
BESIDE = ("heads.json", "heads.safetensors", "modules.json", "1_Pooling/config.json", "LICENSE", "NOTICE", "card.md")
"""What else belongs to a model."""
LARGEST = 127
Bits = Literal[8, 16]


def squeezed(name: str, tensor: Tensor, bits: Bits) -> dict[str, Tensor]:
    """What is stored of a tensor: {name: numbers} and, in 8 bits, the scales of its blocks.

    Shapes: [R, C] → int8 [R, C] and bfloat16 [R, C / block].
    """
    if tensor.ndim != 2 or tensor.numel() < SMALLEST or not tensor.is_floating_point():
        return {name: tensor}
    if bits == 16:
        return {name: tensor.to(torch.bfloat16)}
    rows, columns = tensor.shape
    blocks = tensor.float().view(rows, -1, BLOCK if columns % BLOCK == 0 else columns)
    scales = blocks.abs().amax(-1) / LARGEST * (1 + 2**-8)  # bfloat16 rounds by less, so that none is too small
    scales = scales.to(torch.bfloat16)
    whole = (blocks / scales.float().clamp(min=1e-30)[..., None]).round().clamp(-LARGEST, LARGEST)
    return {name: whole.to(torch.int8).view(rows, columns), f"{name}{SCALES}": scales}


def restored(whole: Tensor, scales: Tensor) -> Tensor:
    """The float32 numbers of a matrix stored in 8 bits. Shapes: [R, C], [R, blocks] → [R, C]."""
    rows, blocks = scales.shape
    return (whole.view(rows, blocks, -1).float() * scales.float()[..., None]).view(whole.shape)


def pack_model(
    folder: Path,
    out: Path,
    *,
    bits: Bits = 8,
    tokenizer: Path | None = None,
    about: Mapping[str, Any] | None = None,
    papers: Mapping[str, str] | None = None,
) -> int:
    """Writes the model of a folder into `out`, small; returns its bytes, all files together.

    `tokenizer`: its vocabulary's folder; None = what lies in the folder or beside it. `about` goes into the manifest:
    summary, licence, what it was made of. `papers`: file → text of LICENSE, NOTICE and card.md, in place of those that
    lie in the folder.

    Errors: ConfigError where it is larger than a model in the package may be, or `out` is there.
    """
    from textfer.models.hub import TensorFiles, read_config, write_model  # it reads what is written here

    if out.exists():
        raise ConfigError(f"{out}: is there already. Name another folder, or delete it.")
    files, config = TensorFiles(folder), read_config(folder)
    tensors: dict[str, Tensor] = {}
    for name in files.shapes:
        tensors |= squeezed(name, files.read(name), bits)
    if (size := sum(tensor.nbytes for tensor in tensors.values())) > MAX_BYTES:
        raise ConfigError(
            f"{folder}: {size:,} bytes in {bits} bits, expected at most {MAX_BYTES:,}. Take a smaller model."
        )
    work = out.with_name(f".{out.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    try:
        write_model(work, config, tensors, max_shard_bytes=SHARD_BYTES)
        _copy_beside(folder, tokenizer, work)
        for name, text in (papers or {}).items():
            (work / name).write_text(text, encoding="utf-8")
        record = {
            "format": FORMAT,
            "bits": bits,
            "num_parameters": sum(torch.Size(shape).numel() for shape in files.shapes.values()),
            **(about or {}),
            "files": {str(path.relative_to(work)): _digest(path) for path in sorted(work.rglob("*")) if path.is_file()},
        }
        (work / MANIFEST).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for path in work.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # whoever installs the package, all may read it
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return sum(path.stat().st_size for path in out.rglob("*") if path.is_file())


def _copy_beside(folder: Path, tokenizer: Path | None, out: Path) -> None:
    for name in BESIDE:
        if (folder / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, out / name)
    own = (tokenizer, folder / "tokenizer", folder.parent / "tokenizer", folder)
    place = next(path for path in own if path is not None and path.is_dir())
    load_tokenizer(place).save(out / "tokenizer")


def check_digests(folder: Path) -> None:
    """Compares every file of a packed model with its digest; of other folders it asks nothing.

    Errors: CheckpointError where one is missing or damaged.
    """
    if not (folder / MANIFEST).exists():
        return
    for name, digest in read_manifest(folder)["files"].items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path}: missing. Install textfer again.")
        if _digest(path) != digest:
            raise CheckpointError(f"{path}: damaged (its digest is not that of {MANIFEST}). Install textfer again.")


def read_manifest(folder: Path) -> dict[str, Any]:
    """A packed model's record. Errors: CheckpointError."""
    path = folder / MANIFEST
    try:
        record = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Install textfer again.") from None
    if not isinstance(record.get("files"), dict) or record.get("format") != FORMAT:
        raise CheckpointError(f"{path}: is no record of format {FORMAT}. Install textfer again.")
    return record


def embedded_folder(name: str) -> Path | None:
    """The folder of the model of that name in the package; None where there is none."""
    folder = EMBEDDED_DIR / name
    plain = "/" not in name and "\\" not in name and not name.startswith(".") and bool(name)
    return folder if plain and (folder / MANIFEST).is_file() else None


def embedded_models() -> list[dict[str, Any]]:
    """What is known of each model in the package, its name first, without digests.

    `state` is "whole", or what is wrong with its files.
    """
    found = []
    for path in sorted(EMBEDDED_DIR.glob(f"*/{MANIFEST}")):
        folder, record, state = path.parent, {}, "whole"
        try:
            record = {key: value for key, value in read_manifest(folder).items() if key not in ("format", "files")}
            check_digests(folder)
        except CheckpointError as error:
            state = str(error)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        found.append({"name": folder.name, "num_bytes": size, **record, "state": state})
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
