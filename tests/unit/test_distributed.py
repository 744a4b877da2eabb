"""Which device a process takes, and what a missing extra says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from textfer.errors import ConfigError, MachineError
from textfer.training.distributed import World, pick_device, world
from textfer.training.events import Events


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("name", "rank", "expected"),
    [
        ("auto", None, "cuda:0"),
        ("auto", "1", "cuda:1"),
        ("cuda", "1", "cuda:1"),
        ("cuda:0", "1", "cuda:0"),
        ("cpu", "1", "cpu"),
    ],
)
def test_each_process_takes_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, name: str, rank: str | None, expected: str
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert pick_device(name) == torch.device(expected)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MachineError, match="no GPU number 5, 2 found"):
        pick_device("cuda:5")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(MachineError, match=r"no GPU number 2, 2 found\. Start fewer processes"):
        pick_device("auto")


def test_an_unknown_device_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^device: got 'gpu', expected auto, cpu, cuda, cuda:N or mps\.$"):
        pick_device("gpu")


def test_alone_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with world("cpu") as place:
        assert place == World(torch.device("cpu"), 0, 1)
        assert place.leads
        place.wait()
        tensor = torch.ones(2)
        assert place.add_up(tensor) is tensor


def test_without_tensorboard_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MachineError, match=r"TensorBoard is not installed\. pip install 'textfer\[log\]'"):
        Events(tmp_path)
    assert list(tmp_path.iterdir()) == []
