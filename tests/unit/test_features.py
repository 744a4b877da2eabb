"""Features: heads upon a reader that stands still; what it said is kept on disk and never asked for twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from textfer.adapt import make_method
from textfer.adapt.adapted import Adapted, adapt, lay_changes, take_up
from textfer.adapt.features import Remembered
from textfer.adapt.store import INDEX, NUMBERS, RECORD, Store
from textfer.batch import Batch, Ids, Specials
from textfer.data.layout import LAYOUTS, Lens
from textfer.errors import CheckpointError, ConfigError, MachineError
from textfer.heads import Head
from textfer.models import MODELS, load_model
from textfer.models.headed import Headed, HeadOptions
from textfer.training.loss import loss_of
from textfer.training.optim import OptimOptions, make_optimizer

pytestmark = pytest.mark.usefixtures("one_thread")

FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "max_positions": 32, "dropout": 0.3},
    "gpt": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "context_len": 32, "dropout": 0.3},
    "t5": {"model_dim": 16, "ff_dim": 24, "num_heads": 2, "num_layers": 2, "dropout": 0.3},
    "cbow": {"model_dim": 16},
}
HEADS = [
    Head(name="kind", kind="class", labels=("x", "y", "z")),
    Head(name="tag", kind="tag", labels=("O", "B")),
]
BODY = {"layers": "mix", "body": "bilstm", "hidden_dim": 5, "dropout": 0.0, "pooling": "mean"}
NOTHING = np.zeros(0, np.int32)
NUM_STEPS = 4


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where states are kept."""
    monkeypatch.setenv("TEXTFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return written(tmp_path / "base", "bert")


def written(folder: Path, family: str, seed: int = 1) -> Path:
    torch.manual_seed(seed)
    MODELS.get(family).make(FAMILIES[family], vocab_size=40).save(folder)
    return folder


def begun(base: Path, **options: Any) -> Adapted:
    """Fresh heads upon the folder's reader, which stands still."""
    reader = load_model(base)
    torch.manual_seed(2)
    model = Headed(reader, HEADS, HeadOptions(**(options.pop("head", None) or BODY)))
    method = make_method({"name": "features", **options})
    adapted = adapt(model, method, num_steps=NUM_STEPS, seed=7, base=str(base))
    adapted.model.train()
    return adapted


def example(seed: int, length: int, *, types: bool = False) -> Ids:
    draws = np.random.default_rng(seed)
    told = {"kind": seed % 3, "tag": draws.integers(0, 2, length).astype(np.int32)}
    ids = draws.integers(4, 40, length).astype(np.int32)
    return Ids(ids, NOTHING, heads=told, types=np.ones(length, np.int32) if types else None)


def batch(*rows: list[Ids]) -> Batch:
    return LAYOUTS["pair"].arrange(rows, Lens(24, 1), Specials(pad=0, eos=1, cls=2, sep=3))


BATCHES = [batch([example(0, 5)], [example(1, 3)]), batch([example(2, 7), example(3, 2)], [example(4, 4)])]
NUM_TOKENS = 5 + 3 + 7 + 2 + 4


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts a BERT read, one number a call."""
    counts: list[int] = []
    bert: Any = MODELS.get("bert")
    once = bert.layer_states

    def counted(self: Any, rows: Batch) -> list[Tensor]:
        assert rows.encoder is not None
        counts.append(len(rows.encoder.runs))
        found: list[Tensor] = once(self, rows)
        return found

    monkeypatch.setattr(bert, "layer_states", counted)
    return counts


def steps(adapted: Adapted, first: int, last: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
    """Steps over the batches in turn; the optimiser."""
    optimizer = optimizer or make_optimizer(list(adapted.model.named_parameters()), OptimOptions(name="adamw", lr=0.05))
    for step in range(first, last):
        loss_of(adapted.model, BATCHES[step % 2]).sum.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return optimizer


def said(model: Any, rows: Batch) -> list[Tensor]:
    with torch.no_grad():
        return list(model(rows).heads.values())


def own(model: Any) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.own_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", [BODY, {"dropout": 0.0}, {"layers": (0, -1), "dropout": 0.0}], ids=str)
def test_what_is_remembered_is_what_the_reader_says(family: str, head: dict[str, Any], tmp_path: Path) -> None:
    if family == "cbow" and head.get("layers") == (0, -1):
        head = {**head, "layers": (0,)}
    base = written(tmp_path / family, family)
    kept, plain = begun(base, head=head), begun(base, head=head, cache=False)
    for rows in (*BATCHES, *BATCHES):
        for one, other in zip(said(kept.model, rows), said(plain.model, rows), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    mixed = batch([example(3, 2), example(0, 5), example(9, 6)])  # two of them known, from other batches
    for one, other in zip(said(kept.model, mixed), said(plain.model, mixed), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_only_what_stands_upon_the_reader_moves(base: Path) -> None:
    adapted = begun(base)
    before = {name: weight.detach().clone() for name, weight in adapted.model.named_parameters()}
    optimizer = steps(adapted, 0, NUM_STEPS)
    moved = {name for name, weight in adapted.model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == own(adapted.model).keys() == adapted.plan.saved
    assert any(name.startswith("chosen.mix") for name in moved)
    assert len(optimizer.state) == len(moved)


def test_a_text_is_read_once(base: Path, readings: list[int], cache: Path) -> None:
    adapted = begun(base)
    readings.clear()
    steps(adapted, 0, 2)
    assert readings == [2, 3]
    steps(adapted, 0, 4)
    assert readings == [2, 3], "the second epoch reads from disk"
    steps(begun(base), 0, 2)
    assert readings == [2, 3, 1], "nor does the next run read: what is counted is how many layers there are"
    [folder] = cache.iterdir()
    [numbers] = folder.glob(f"*{NUMBERS}")
    assert numbers.stat().st_size == NUM_TOKENS * 3 * 16 * 4


def test_the_same_text_twice_in_a_batch_and_types_that_differ(base: Path, readings: list[int]) -> None:
    adapted = begun(base)
    readings.clear()
    seen = adapted.model(batch([example(0, 5)], [example(0, 5)], [example(0, 5, types=True)])).hidden
    assert readings == [2]
    assert seen is not None
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(seen[0], seen[2])


def test_other_weights_layers_or_shapes_are_kept_apart(base: Path, tmp_path: Path, cache: Path) -> None:
    steps(begun(base), 0, 1)
    steps(begun(written(tmp_path / "other", "bert", seed=3)), 0, 1)
    steps(begun(base, head={**BODY, "layers": "last"}), 0, 1)
    assert len(list(cache.iterdir())) == 3


def test_nothing_is_drawn_inside_the_reader(base: Path) -> None:
    model: Any = begun(base, cache=False).model
    assert not model.reader.training
    assert all(torch.equal(*pair) for pair in zip(said(model, BATCHES[0]), said(model, BATCHES[0]), strict=True))
    model.eval()
    model.train()
    assert not model.reader.training
    assert model.heads.training


def test_saved_are_the_heads_upon_the_base_s_digest(base: Path, tmp_path: Path) -> None:
    adapted = begun(base)
    steps(adapted, 0, NUM_STEPS)
    adapted.save(tmp_path / "saved")
    whole = sum(path.stat().st_size for path in base.glob("*.safetensors"))
    assert sum(path.stat().st_size for path in (tmp_path / "saved").glob("*.safetensors")) < whole
    used: Any = lay_changes(tmp_path / "saved", load_model(base)).eval()
    assert used.memory is None, "what is asked in use is not kept"
    adapted.model.eval()
    for rows in BATCHES:
        for one, other in zip(said(used, rows), said(adapted.model, rows), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    with pytest.raises(CheckpointError, match="lies upon other weights than"):
        lay_changes(tmp_path / "saved", load_model(written(tmp_path / "other", "bert", seed=3)))


def test_a_run_taken_up_again_is_the_unbroken_one(base: Path, tmp_path: Path) -> None:
    unbroken = begun(base)
    steps(unbroken, 0, NUM_STEPS)
    first = begun(base)
    optimizer = steps(first, 0, 2)
    first.save(tmp_path / "halfway")
    second = begun(base)
    take_up(tmp_path / "halfway", second)
    later = make_optimizer(list(second.model.named_parameters()), OptimOptions(name="adamw", lr=0.05))
    later.load_state_dict(optimizer.state_dict())
    steps(second, 2, NUM_STEPS, later)
    for name, weight in own(unbroken.model).items():
        assert torch.equal(weight, own(second.model)[name]), name


# ---- the store


def test_damaged_numbers_are_computed_again(base: Path, readings: list[int], cache: Path) -> None:
    expected = said(begun(base).model, BATCHES[0])
    [numbers] = cache.glob(f"*/*{NUMBERS}")
    data = bytearray(numbers.read_bytes())
    data[100] ^= 1
    numbers.write_bytes(data)
    model = begun(base).model
    readings.clear()
    for one, other in zip(said(model, BATCHES[0]), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert readings == [1], "the damaged text alone is read again"
    later = begun(base).model
    readings.clear()
    said(later, BATCHES[0])
    assert readings == [], "and is found by those who come later"


def rows_of(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).random((count, 3), np.float32)


def key(number: int) -> bytes:
    return bytes([number]) * 16


def read(store: Store, number: int, count: int) -> Any:
    rows = np.zeros((count, 3), np.float32)
    return rows if store.read(key(number), rows) else None


@pytest.mark.parametrize("cut", [1, RECORD.itemsize - 1])
def test_a_record_that_is_half_written_does_not_count(tmp_path: Path, cut: int) -> None:
    store = Store(tmp_path, 3)
    store.write([key(1), key(2)], [rows_of(1, 4), rows_of(2, 2)])
    [index] = tmp_path.glob(f"*{INDEX}")
    index.write_bytes(index.read_bytes()[:-cut])
    again = Store(tmp_path, 3)
    np.testing.assert_array_equal(read(again, 1, 4), rows_of(1, 4))
    assert key(2) not in again
    again.write([key(2)], [rows_of(2, 2)])
    np.testing.assert_array_equal(read(Store(tmp_path, 3), 2, 2), rows_of(2, 2))


def test_rows_that_are_missing_do_not_count(tmp_path: Path) -> None:
    Store(tmp_path, 3).write([key(1), key(2)], [rows_of(1, 4), rows_of(2, 2)])
    [numbers] = tmp_path.glob(f"*{NUMBERS}")
    numbers.write_bytes(numbers.read_bytes()[:-1])
    again = Store(tmp_path, 3)
    assert len(again) == 1
    np.testing.assert_array_equal(read(again, 1, 4), rows_of(1, 4))
    numbers.unlink()
    assert read(Store(tmp_path, 3), 1, 4) is None
    assert read(again, 1, 3) is None, "another number of rows than was asked for"


def test_one_reads_while_another_writes(tmp_path: Path) -> None:
    one, other = Store(tmp_path, 3), Store(tmp_path, 3)
    one.write([key(1)], [rows_of(1, 4)])
    assert read(other, 1, 4) is None
    other.write([key(2)], [rows_of(2, 2)])
    other.refresh()
    np.testing.assert_array_equal(read(other, 1, 4), rows_of(1, 4))
    one.write([key(3)], [rows_of(3, 1)])
    other.refresh()
    np.testing.assert_array_equal(read(other, 3, 1), rows_of(3, 1))
    assert one.num_bytes == 7 * 3 * 4 + 3 * RECORD.itemsize


def test_a_disk_that_refuses_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("a file where a folder should be")
    with pytest.raises(MachineError, match=r"Make room, set TEXTFER_CACHE elsewhere, or method\.cache = false"):
        Store(tmp_path / "full", 3).write([key(1)], [rows_of(1, 4)])


# ---- what is refused


def test_a_reader_that_learns_is_not_remembered(base: Path, tmp_path: Path) -> None:
    model: Any = Headed(load_model(base), HEADS, HeadOptions())
    model.train()
    with pytest.raises(AssertionError, match="learns"):
        Remembered(model.base, model.chosen, tmp_path)(model.chosen, model.base, BATCHES[0])


def test_what_makes_no_sense_is_refused(base: Path, tmp_path: Path) -> None:
    method = make_method({"name": "features"})
    with pytest.raises(ConfigError, match=r"method\.name: got features, and there are no heads"):
        adapt(load_model(base), method, num_steps=1, seed=0, base=str(base))
    model = Headed(load_model(written(tmp_path / "gpt", "gpt")), HEADS, HeadOptions(lm_weight=0.5))
    with pytest.raises(ConfigError, match=r"head\.lm_weight: cannot take effect"):
        adapt(model, method, num_steps=1, seed=0, base=str(base))
