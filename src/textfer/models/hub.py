"""Hub-format folders: `config.json` and safetensors, in one file or in shards. Nothing pickled is ever read.

A model brings its own map of names; what is here finds, reads, checks and writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from textfer.errors import CheckpointError
from textfer.models import MODELS, Model
from textfer.models.packed import SCALES, check_digests, embedded_folder, restored

ONE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_SHARD_BYTES = 5 * 10**9
DOWNLOADED = ("*.json", "*.safetensors", "*.model", "*.txt")
LISTED = 5
"""Names in a message; the rest is a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """Where every tensor of a checkpoint went."""

    folder: Path
    loaded: Mapping[str, str]
    """Tensor of the file → parameter of the model."""
    ties: Mapping[str, str]
    """Tensor of the file → parameter of which it is a copy."""
    ignored: tuple[str, ...] = ()
    """Tensors that the reference has and never uses."""

    def lines(self) -> Iterator[str]:
        """One line a tensor, for people."""
        yield from (f"{name} → {ours}" for name, ours in self.loaded.items())
        yield from (f"{name} = {ours} (tied)" for name, ours in self.ties.items())
        yield from (f"{name}: ignored" for name in self.ignored)


def find_model(name: str | Path) -> Path:
    """The folder itself, that of a model in the package, or the hub's snapshot (safetensors only) of that name."""
    if (path := Path(name)).is_dir():
        return path
    if (embedded := embedded_folder(str(name))) is not None:
        return embedded
    if path.is_absolute() or str(name).startswith(".") or str(name).count("/") > 1:
        raise CheckpointError(f"{name}: no such folder. Give a folder with config.json and {ONE_FILE}, or a hub name.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(str(name), allow_patterns=list(DOWNLOADED)))
    except (RepositoryNotFoundError, HFValidationError):
        raise CheckpointError(f"{name}: neither a folder nor a model on the hub. Check the name.") from None
    except (LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{name}: no such folder, and the hub cannot be reached ({reason}).") from None


def read_json(path: Path) -> dict[str, Any]:
    """One JSON object, or a CheckpointError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). The copy may be incomplete.") from None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: got a {type(values).__name__}, expected a JSON object.")
    return values


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json."""
    return read_json(folder / "config.json")


def family_of(config: Mapping[str, Any], folder: Path) -> type[Model]:
    """The registered model that loads what `config` describes."""
    kind = config.get("model_type")
    for family in MODELS.each():
        if kind in family.model_types:
            return family
    if kind is None and (folder / "model.bin").is_file():
        raise CheckpointError(
            f"{folder}: was exported to CTranslate2, which answers (ask, generate, serve) and no more. "
            "Name the model it was made of."
        )
    known = ", ".join(kind for family in MODELS.each() for kind in family.model_types)
    raise CheckpointError(f"{folder}/config.json: model_type is {kind!r}, expected one of {known}.")


def check_rows(name: str, model: Model, vocab_size: int) -> None:
    """Refuses a vocabulary with more ids than the model has rows. Errors: CheckpointError."""
    if model.vocab_size < vocab_size:
        raise CheckpointError(
            f"{name}: the model has {model.vocab_size} token rows, its tokenizer {vocab_size} ids. "
            "Give the tokenizer that the weights were trained with."
        )


class TensorFiles:
    """The tensors of a folder by name, read one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._files: dict[str, Path] = {}
        check_digests(folder)
        for file, wanted in self._listed().items():
            with self._open(file) as opened:
                found = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
            if wanted is not None and (lost := sorted(wanted - found.keys())):
                raise CheckpointError(f"{file}: lacks {some(lost)}, which the index says it holds. Copy it again.")
            self.shapes |= {name: shape for name, shape in found.items() if not name.endswith(SCALES)}
            self._files |= dict.fromkeys(found, file)

    def read(self, name: str) -> Tensor:
        """A copy in memory: the file may go. What is stored in 8 bits is float32."""
        tensor = self._stored(name)
        return restored(tensor, self._stored(f"{name}{SCALES}")) if f"{name}{SCALES}" in self._files else tensor

    def _stored(self, name: str) -> Tensor:
        with self._open(self._files[name]) as opened:
            tensor: Tensor = opened.get_tensor(name).clone()
        return tensor

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors hold the same numbers."""
        return self.shapes[one] == self.shapes[other] and torch.equal(self.read(one), self.read(other))

    def _listed(self) -> dict[Path, set[str] | None]:
        """File → names that must be in it (None = all that are)."""
        if not self.folder.is_dir():
            raise CheckpointError(f"{self.folder}: no such folder.")
        if (index := self.folder / INDEX_FILE).exists():
            weights = read_json(index).get("weight_map")
            if not isinstance(weights, dict) or not all(_plain(file) for file in weights.values()):
                raise CheckpointError(f"{index}: has no weight_map of tensor names to file names. Copy it again.")
            files: dict[Path, set[str] | None] = {}
            for name, file in weights.items():
                names = files.setdefault(self.folder / file, set())
                assert names is not None
                names.add(name)
            return files
        if (file := self.folder / ONE_FILE).exists():
            return {file: None}
        if pickled := sorted(path.name for path in self.folder.glob("pytorch_model*.bin")):
            raise CheckpointError(
                f"{self.folder}: has only pickled weights ({pickled[0]}), and unpickling runs code. Convert them where "
                "you trust them: transformers' from_pretrained(…), then save_pretrained(…), writes safetensors."
            )
        raise CheckpointError(f"{self.folder}: has neither {ONE_FILE} nor {INDEX_FILE}.")

    @staticmethod
    def _open(file: Path) -> Any:
        try:
            return safe_open(file, framework="pt")
        except FileNotFoundError:
            raise CheckpointError(f"{file}: no such file. The copy is incomplete.") from None
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: is damaged or cut short ({error}). Copy it again.") from None


def holds_weights(folder: Path) -> bool:
    """Whether a folder has a model's weights."""
    return any((folder / name).exists() for name in (ONE_FILE, INDEX_FILE))


def _plain(file: object) -> bool:
    """A file name that stays in its folder."""
    return isinstance(file, str) and bool(file) and "/" not in file and "\\" not in file


def some(names: Sequence[str]) -> str:
    """The first few of a list, and how many more."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def match(files: TensorFiles, wanted: Mapping[str, tuple[str, tuple[int, ...]]], allowed: frozenset[str]) -> None:
    """Refuses a checkpoint that lacks a tensor of `wanted` (name → (parameter, shape)), or holds others.

    Errors: CheckpointError in one line, with all that is wrong.
    """
    lacking = [name for name in wanted if name not in files.shapes]
    unknown = [name for name in files.shapes if name not in wanted and name not in allowed]
    misshapen = [
        f"{name} is {list(files.shapes[name])}, expected {list(shape)}"
        for name, (_, shape) in wanted.items()
        if name in files.shapes and files.shapes[name] != shape
    ]
    problems = [
        f"{what} {some(names)}"
        for what, names in (("lacks", lacking), ("holds unknown", unknown), ("has misshapen", misshapen))
        if names
    ]
    if problems:
        raise CheckpointError(f"{files.folder}: {'; '.join(problems)}. Is config.json that of these weights?")


def file_tensors(
    parameters: Iterator[tuple[str, Tensor]], names: Mapping[str, str], *, folder: Path, family: str
) -> dict[str, Tensor]:
    """{name in the file: parameter} of all parameters, in the order of `names` (ours → the file's).

    Errors: CheckpointError where `family`'s format has no place for one, as for what a way of transfer has added.
    """
    ours = dict(parameters)
    if added := [name for name in ours if name not in names]:
        raise CheckpointError(
            f"{folder}: {family}'s format has no place for '{added[0]}'. Save by the method, or merge."
        )
    return {theirs: ours[name] for name, theirs in names.items()}


def write_model(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Writes config.json and the tensors, in shards and an index when they are more than `max_shard_bytes`."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in [folder / INDEX_FILE, *folder.glob("model*.safetensors")]:
        old.unlink(missing_ok=True)
    shards: list[list[str]] = [[]]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = ONE_FILE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({name: tensors[name].detach().cpu().contiguous() for name in names}, folder / file, {"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        total = sum(tensor.nbytes for tensor in tensors.values())
        _write_json(folder / INDEX_FILE, {"metadata": {"total_size": total}, "weight_map": weight_map})
    _write_json(folder / "config.json", config)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
