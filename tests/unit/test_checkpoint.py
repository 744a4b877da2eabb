"""A run's folder: checkpoints are whole or not there, whatever happens in between."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from textfer.errors import CheckpointError, MachineError
from textfer.training import checkpoint as module
from textfer.training.checkpoint import (
    Run,
    load_optimizer,
    open_checkpoint,
    optimizer_tensors,
    read_records,
    read_state,
    read_tensors,
    saving,
)


def write_model(text: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_text(text)

    return save


TENSORS = {"w/exp": torch.arange(6.0).view(2, 3).T, "w/step": torch.tensor(3.0)}


def saved(run: Run, step: int, **state: Any) -> Path:
    return run.save(step, write_model(f"weights {step}"), TENSORS, state)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "run")
    made.create()
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_checkpoint_comes_back(run: Run) -> None:
    assert run.latest() is None
    assert run.best() is None
    path = saved(run, 5, cursor=[1, 2])
    latest = run.latest()
    assert latest is not None
    assert (latest.path, latest.step, latest.state["cursor"]) == (path, 5, [1, 2])
    assert path == run.at(5) == run.path / "step_00000005"
    assert set(latest.state["files"]) == {"config.json", "model.safetensors", "optimizer.safetensors"}
    tensors = read_tensors(path / "optimizer.safetensors")
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_steps_are_numbers_in_order_and_only_whole_ones(run: Run) -> None:
    for step in (100_000_000, 20, 3):
        saved(run, step)
    for name in ("step_00000007", "step_x", "step_", ".step_00000009.part"):
        (run.path / name).mkdir()
    (run.path / ".step_00000009.part" / "state.json").write_text("{}")
    assert run.steps() == [3, 20, 100_000_000]


def test_best_is_the_one_named_while_it_is_there(run: Run) -> None:
    saved(run, 1, best=None)
    assert run.best() == run.at(1)
    saved(run, 2, best={"step": 1})
    assert run.best() == run.at(1)
    run.keep([2])
    assert run.best() == run.at(2)


def test_keep_removes_all_others_for_good(run: Run) -> None:
    for step in range(4):
        saved(run, step)
    run.keep([1, 3, 77])
    assert run.steps() == [1, 3]
    assert sorted(path.name for path in run.path.iterdir()) == ["step_00000001", "step_00000003"]


def test_a_removal_that_is_interrupted_leaves_no_half_checkpoint(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 2):
        saved(run, step)
    removing = module.shutil.rmtree

    def cut_off(path: Path, **options: Any) -> None:
        if path.exists():
            (path / "model.safetensors").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "rmtree", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run.keep([2])
    assert run.steps() == [2]
    monkeypatch.setattr(module.shutil, "rmtree", removing)
    saved(run, 3)
    assert not list(run.path.glob(".step_*")), "the next save clears what was left"


# ---- a crash in the middle


CRASHES = [KeyboardInterrupt(), RuntimeError("boom"), MemoryError()]


@pytest.mark.parametrize("error", CRASHES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["model", "save_file", "_digest", "_sync", "replace"])
def test_a_crash_while_saving_leaves_the_old_ones(
    run: Run, monkeypatch: pytest.MonkeyPatch, place: str, error: BaseException
) -> None:
    saved(run, 1)
    before = content(run.path)

    def crash(*arguments: object) -> None:
        raise error

    model = write_model("new")
    if place == "model":
        model = crash  # type: ignore[assignment]
    elif place == "replace":
        monkeypatch.setattr(module.os, "replace", crash)
    else:
        monkeypatch.setattr(module, place, crash)
    with pytest.raises(type(error)):
        run.save(2, model, TENSORS, {})
    assert run.steps() == [1]
    assert content(run.path) == before


def test_what_a_power_cut_leaves_is_not_taken_for_a_checkpoint(run: Run) -> None:
    saved(run, 1)
    left = run.path / ".step_00000002.part"
    left.mkdir()
    (left / "model.safetensors").write_text("half")
    assert run.steps() == [1]
    saved(run, 2)
    assert not left.exists()
    assert (run.at(2) / "model.safetensors").read_text() == "weights 2"


def test_the_same_step_can_be_saved_again(run: Run) -> None:
    saved(run, 1, scores={})
    run.save(1, write_model("other"), {}, {"scores": {"em": 1.0}})
    assert read_state(run.at(1))["scores"] == {"em": 1.0}
    assert (run.at(1) / "model.safetensors").read_text() == "other"
    assert not (run.at(1) / "optimizer.safetensors").exists()


# ---- a full disk


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", FULL, ids=["full", "quota", "safetensors"])
def test_a_full_disk_is_told_and_the_old_checkpoint_untouched(run: Run, error: Exception) -> None:
    saved(run, 1)
    before = content(run.path)

    def fails(folder: Path) -> None:
        (folder / "model.safetensors").write_text("half")
        raise error

    with pytest.raises(
        MachineError, match=r"step_00000002: the disk is full\. What was saved before is untouched"
    ) as told:
        run.save(2, fails, TENSORS, {})
    assert told.value.exit_code == 4
    assert "\n" not in str(told.value)
    assert content(run.path) == before
    assert run.latest() is not None


def test_a_full_disk_while_logging_is_told_and_half_a_line_is_left_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.log({"step": 1})

    def full(*arguments: object, **options: object) -> None:
        raise FULL[0]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(MachineError, match=r"metrics\.jsonl: the disk is full"):
            run.log({"step": 2})
    with run.metrics_path.open("a") as file:
        file.write('{"step": 2, "lo')
    assert run.records() == [{"step": 1}]
    run.rewind(1)
    run.log({"step": 2})
    assert run.records() == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize("what", ["json", "rewind", "create"])
def test_every_writing_tells_of_a_full_disk(run: Run, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    run.log({"step": 1})
    run.write_json("recipe.json", {"a": 1})
    before = content(run.path)

    def full(*arguments: object, **options: object) -> None:
        raise FULL[0]

    writing = {"json": lambda: run.write_json("recipe.json", {}), "rewind": lambda: run.rewind(0), "create": run.create}
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", full)
        patch.setattr(Path, "mkdir", full)
        with pytest.raises(MachineError, match="the disk is full"):
            writing[what]()
    assert content(run.path) == before, "nothing half-written stays"


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(errno.EROFS, "Read-only file system")]
)
def test_a_folder_that_cannot_be_written_is_told(error: OSError) -> None:
    with pytest.raises(MachineError, match=rf"^x: cannot be written \({error.strerror}\)\."), saving(Path("x")):
        raise error


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(OSError, match="odd"), saving(Path("x")):
        raise OSError(errno.EIO, "odd")


# ---- damage


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "config.json"])
@pytest.mark.parametrize(("damage", "told"), [(truncate, "damaged"), (flip, "damaged"), (Path.unlink, "missing")])
def test_a_damaged_file_is_named(run: Run, name: str, damage: Callable[[Path], None], told: str) -> None:
    path = saved(run, 4)
    damage(path / name)
    with pytest.raises(CheckpointError) as caught:
        run.latest()
    assert str(caught.value).startswith(f"{path / name}: {told}")
    assert "Delete step_00000004" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"step": 1}', "\x00\x01"])
def test_a_damaged_state_is_told(run: Run, text: str) -> None:
    path = saved(run, 4)
    (path / "state.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"state\.json: (cannot be read|has no 'files').*Delete step_00000004"):
        open_checkpoint(path)


@pytest.mark.parametrize("damage", [truncate, Path.unlink, lambda path: path.write_text("")])
def test_tensors_that_cannot_be_read_are_told(run: Run, damage: Callable[[Path], None]) -> None:
    path = saved(run, 4) / "optimizer.safetensors"
    damage(path)
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors: cannot be read"):
        read_tensors(path)


# ---- the log


def test_rewinding_drops_what_comes_after_and_nothing_else(run: Run) -> None:
    lines: list[dict[str, object]] = [
        {"step": 1, "loss": 2.5},
        {"step": 2, "loss": 0.1 + 0.2},
        {"step": 2, "eval": {"em": 1.0}},
        {"step": 2, "resumed": True, "time": 1.5},
        {"step": 3, "loss": 2.0},
        {"step": 4, "eval": {"em": 3.0}},
    ]
    for line in lines:
        run.log(line)
    run.samples_path.write_text("".join(json.dumps({"step": step, "answer": "é"}) + "\n" for step in (2, 4)))
    run.rewind(2)
    assert run.records() == lines[:4]
    assert read_records(run.samples_path) == [{"step": 2, "answer": "é"}]
    run.rewind(2)
    assert run.records() == lines[:4]
    run.rewind(-1)
    assert run.records() == []


def test_rewinding_without_a_log_is_nothing(run: Run) -> None:
    run.rewind(3)
    assert list(run.path.iterdir()) == []


def test_a_damaged_line_is_named(run: Run) -> None:
    run.metrics_path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:2: not a record of a run\. Delete the line\."):
        run.records()


# ---- optimisers


def trained(steps: int) -> tuple[nn.Module, torch.optim.Optimizer, dict[nn.Parameter, str]]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(steps):
        layer(torch.ones(3)).sum().backward()
        optimizer.step()
    return layer, optimizer, {parameter: name for name, parameter in layer.named_parameters()}


def test_an_optimiser_comes_back(tmp_path: Path) -> None:
    _, optimizer, names = trained(3)
    tensors = optimizer_tensors(optimizer, names)
    assert set(tensors) == {f"{name}/{key}" for name in ("weight", "bias") for key in ("step", "exp_avg", "exp_avg_sq")}
    module.save_file(tensors, tmp_path / "optimizer.safetensors")
    _, other, other_names = trained(0)
    load_optimizer(other, other_names, tmp_path)
    again = optimizer_tensors(other, other_names)
    assert all(torch.equal(value, again[name]) for name, value in tensors.items())


def test_an_optimiser_of_another_model_is_refused(tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = {"decoder.weight/step": torch.zeros(())}
    module.save_file(tensors, tmp_path / "optimizer.safetensors")
    _, optimizer, names = trained(0)
    with pytest.raises(CheckpointError, match=r"remembers 'decoder.weight', which the model does not have"):
        load_optimizer(optimizer, names, tmp_path)
