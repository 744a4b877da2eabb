"""The networks: options + module + the reference's file format, one file a family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, cast, runtime_checkable

from textfer.config import Options, Registry, build
from textfer.errors import ConfigError

if TYPE_CHECKING:  # torch takes seconds to import and only the networks need it
    import torch
    from torch import Tensor
    from torch.nn import Parameter

    from textfer.batch import Batch, Output
    from textfer.models.cache import Cache
    from textfer.tokenizers import Tokenizer


ADDED = frozenset({"adapter", "lora", "prompt"})
"""Parts of the names of parameters that a way of transfer added to a model."""


class Model(Protocol):
    """A network that learns from batches: a torch module with these methods besides."""

    options_class: ClassVar[type[Options]]
    """The options that give its shape."""
    model_types: ClassVar[tuple[str, ...]]
    """What `config.json` calls it in the files that it loads."""
    training: bool
    vocab_size: int

    @classmethod
    def make(cls, options: Mapping[str, Any], *, vocab_size: int) -> Self:
        """A model with new weights from torch's default generator."""
        ...

    @classmethod
    def load(cls, folder: Path, options: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None) -> Self:
        """The model of a hub-format folder; `options` replace those of the file. None = float32."""
        ...

    def save(self, folder: Path) -> None:
        """Writes the folder that `load` reads."""
        ...

    @property
    def layout(self) -> str:
        """The name of the layout that makes its batches."""
        ...

    @property
    def max_len(self) -> int | None:
        """The most tokens of a row that it can place; None = any number."""
        ...

    def __call__(self, batch: Batch) -> Output: ...

    def states(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(states [M, D] ready for `readout`, targets [M], weights [M]) of the target tokens with weight > 0."""
        ...

    def readout(self) -> tuple[Tensor, Tensor | None]:
        """([V, D] weight, [V] bias or None) that turn states into logits."""
        ...

    def depth(self) -> list[list[str]]:
        """Names of all parameters, bottom to top, one list a layer."""
        ...

    def parameters(self) -> Iterator[Parameter]: ...

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...

    def to(self, device: torch.device | str) -> Self: ...

    def train(self, mode: bool = True) -> Self: ...

    def eval(self) -> Self: ...


@runtime_checkable
class Speller(Protocol):
    """A model that reads tokens by their characters."""

    def spell(self, tokenizer: Tokenizer) -> None:
        """Tells the model how the tokens of its vocabulary are spelt."""
        ...


class Generator(Model, Protocol):
    """A model that also writes, one token after the other."""

    def begin(self, batch: Batch) -> Cache:
        """The memory of a generation that has read the batch."""
        ...

    def step(self, ids: Tensor, cache: Cache) -> Tensor:
        """[R, t] tokens just written → [R, V] logits of the next one."""
        ...

    def follow(self, ids: Tensor, cache: Cache) -> Tensor:
        """The same → [R, t, V] logits after every one of them."""
        ...

    def lay_for_generation(self) -> None:
        """Moves the weights to where writing reads them fastest; for models that will not be trained."""
        ...


MODELS: Registry[type[Model]] = Registry(
    "model", [f"textfer.models.{name}" for name in ("t5", "gpt", "bert", "cbow_model", "elmo")]
)


def model_options(values: Mapping[str, Any], *, where: str) -> Options:
    """The checked options of the model that `values["name"]` names, from the other keys."""
    options = MODELS.get(values["name"], where=f"{where}.name").options_class
    return build(options, {key: value for key, value in values.items() if key != "name"}, where=where)


def as_generator(model: Model, *, where: str) -> Generator:
    """The model itself, which writes. Errors: ConfigError where it only reads."""
    if not hasattr(model, "begin"):
        raise ConfigError(f"{where}: got a {type(model).__name__}, which reads but does not write. Name one that does.")
    return cast("Generator", model)


def load_model(folder: Path, options: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None) -> Model:
    """The model of a folder, of whatever family its config.json names; with heads where heads.json lies beside."""
    from textfer.models.headed import Headed, has_heads

    return (Headed.load if has_heads(folder) else load_reader)(folder, options, dtype=dtype)


def load_reader(folder: Path, options: Mapping[str, Any] | None = None, *, dtype: torch.dtype | None = None) -> Model:
    """The same without heads of ours."""
    from textfer.models.hub import family_of, read_config

    return family_of(read_config(folder), folder).load(folder, options, dtype=dtype)
