"""What may stand between a reader and heads: a choice or mix of its layers, and a small network.

Letters: B rows, L tokens of a row, R runs, N tokens of all runs, D width of the states, H width of a body.
Source: Devlin et al. 2019, arXiv 1810.04805 §5.3 (features for a two-layer biLSTM; the last four layers side by side);
Peters et al. 2018, arXiv 1802.05365 §3.2 (layers mixed).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from textfer.batch import Batch, Run, Side
from textfer.errors import ConfigError
from textfer.models.layers import BiasedLinear, drop
from textfer.models.mix import ScalarMix

Layers: TypeAlias = Literal["last", "mix"] | tuple[int, ...]
Body: TypeAlias = Literal["linear", "mlp", "bilstm"]
LSTM_LAYERS = 2


class Runs(NamedTuple):
    """Where the runs of a side are, as tensors."""

    rows: Tensor
    """[R]"""
    starts: Tensor
    """[R]"""
    ends: Tensor
    """[R]"""

    @classmethod
    def of(cls, side: Side) -> Runs:
        """Those of a side."""
        table = torch.tensor([tuple(run) for run in side.runs], device=side.ids.device).view(-1, 3)
        return cls(*table.unbind(1))

    def laid(self, row_len: int) -> tuple[Tensor, Tensor]:
        """([R, longest] places in rows laid end to end, [R, longest] whether the run is that long).

        Beyond a run's end stands some other place.
        """
        lens = self.ends - self.starts
        count = torch.arange(int(lens.max()), device=lens.device)
        inside = count < lens[:, None]
        return torch.where(inside, self.rows[:, None] * row_len + self.starts[:, None] + count, 0), inside


class Chosen(nn.Module):
    """Which of a reader's layers are seen: the last, chosen ones side by side, or all, mixed by learnt weights."""

    def __init__(self, reader: Any, layers: Layers, dim: int) -> None:
        """`dim`: D. Errors: ConfigError for a layer that the reader does not have."""
        super().__init__()
        self.numbers: tuple[int, ...] | None = None
        """The layers that are asked for, 0 = the embeddings; None = the last states."""
        self.mix: ScalarMix | None = None
        if layers != "last":
            count = num_layers_of(reader)
            self.numbers = tuple(range(count)) if layers == "mix" else within(layers, count)
            self.mix = ScalarMix(count) if layers == "mix" else None
        self.dim = dim if self.numbers is None or self.mix is not None else len(self.numbers) * dim
        """The width of what is seen."""

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """What `read` gave → [B, L, dim]"""
        if self.mix is not None:
            out: Tensor = self.mix(states)
            return out
        return states[0] if len(states) == 1 else torch.cat(list(states), -1)

    def read(self, reader: Any, batch: Batch) -> list[Tensor]:
        """[B, L, D] of each layer that is asked for."""
        if self.numbers is None:
            return [reader.hidden(batch)]
        found = reader.layer_states(batch)
        return [found[number] for number in self.numbers]


def num_layers_of(reader: Any) -> int:
    """How many layers' states a reader gives, that of its embeddings included."""
    device = next(reader.parameters()).device
    ids, ones = torch.zeros(1, 1, dtype=torch.int64, device=device), torch.ones(1, 1, dtype=torch.int64, device=device)
    training = reader.training
    reader.eval()
    with torch.no_grad():
        count = len(reader.layer_states(Batch(encoder=Side(ids, ones, torch.zeros_like(ids), (Run(0, 0, 1),)))))
    reader.train(training)
    return count


def within(layers: Sequence[int], count: int, *, where: str = "head.layers") -> tuple[int, ...]:
    """The numbers of layers counted from the bottom. Errors: ConfigError for one that is not there, or stands twice."""
    for number in layers:
        if not -count <= number < count:
            raise ConfigError(f"{where}: got {number}, and the model's layers are 0 (the embeddings) to {count - 1}.")
    if not layers or len({number % count for number in layers}) < len(layers):
        raise ConfigError(f"{where}: got {list(layers)}, expected layers, each once. 0 = the embeddings, -1 = the top.")
    return tuple(number % count for number in layers)


class Mlp(nn.Module):
    """One layer of its own, for every token or text by itself."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.dense = BiasedLinear(dim, hidden_dim)
        self.dim = hidden_dim
        nn.init.kaiming_uniform_(self.dense.weight, nonlinearity="relu")
        nn.init.zeros_(self.dense.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[…, D] → […, H]"""
        return F.relu(self.dense(x))


class BiLstm(nn.Module):
    """Two layers that read each run from both sides, H wide each. Texts of any lengths stand without padding."""

    def __init__(self, dim: int, hidden_dim: int, *, dropout: float) -> None:
        super().__init__()
        from textfer.models.lstm import Bounds, Layer  # imports a compiler, which other bodies do without

        self.dropout, self.dim = dropout, 2 * hidden_dim
        self.layers = nn.ModuleList()
        for width in (dim, *(LSTM_LAYERS - 1) * [self.dim]):
            sides = [Layer(width, hidden_dim, num_states=hidden_dim, bounds=Bounds(None, None)) for _ in range(2)]
            for side in sides:
                side.initialise()
            self.layers.append(nn.ModuleList(sides))

    def forward(self, x: Tensor, runs: Runs) -> Tensor:
        """[B, L, D] → [B, L, 2H], zeros where nothing stands"""
        from textfer.models.lstm import Order

        lens = (runs.ends - runs.starts).cpu().numpy()
        starts = (runs.rows * x.shape[1] + runs.starts).cpu().numpy()
        order = Order(lens)
        numbers, steps = order.entries()
        forth = torch.from_numpy(starts[numbers] + steps).to(x.device)
        back = torch.from_numpy(starts[numbers] + lens[numbers] - 1 - steps).to(x.device)
        flat = x.flatten(0, 1)
        for number, sides in enumerate(self.layers):
            if number:
                flat = drop(flat, self.dropout if self.training else 0.0)
            said = [side(flat[places], order)[0] for side, places in zip(cast(Any, sides), (forth, back), strict=True)]
            empty = said[0].new_zeros(len(flat), said[0].shape[-1])
            flat = torch.cat([empty.index_copy(0, forth, said[0]), empty.index_copy(0, back, said[1])], -1)
        return flat.view(*x.shape[:2], -1)


def body_of(kind: Body, dim: int, hidden_dim: int | None, *, dropout: float) -> Mlp | BiLstm | None:
    """The small network of that kind; None = there is none, heads are linear."""
    if kind == "linear":
        return None
    width = hidden_dim or dim
    return Mlp(dim, width) if kind == "mlp" else BiLstm(dim, width, dropout=dropout)


def same_shape(one: nn.Module | None, other: nn.Module | None) -> bool:
    """Whether the parameters of one could be those of the other."""
    shapes = [
        {} if part is None else {name: weight.shape for name, weight in part.named_parameters()}
        for part in (one, other)
    ]
    return shapes[0] == shapes[1]
