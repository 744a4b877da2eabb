"""What this machine has, and what is missing for which job."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from textfer.data.digest import cache_dir

CORE = (
    "torch",
    "numpy",
    "sentencepiece",
    "tokenizers",
    "safetensors",
    "huggingface-hub",
    "pyarrow",
    "pydantic",
    "click",
    "rich",
)
EXTRAS = {"log": ("tensorboard",), "test": ("pytest", "hypothesis", "transformers")}
LITTLE_ROOM_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    value: str
    ok: bool = True
    hint: str = ""
    """What to do when it is not."""


def examine(data_dir: Path | None = None) -> Iterator[Finding]:
    """Versions, device, threads, cache, data folder, room on the disk."""
    yield Finding("python", platform.python_version())
    yield Finding("platform", platform.platform())
    for name in CORE:
        found = _version(name)
        yield Finding(name, found or "missing", found is not None, f"pip install {name}")
    for extra, packages in EXTRAS.items():
        missing = [name for name in packages if _version(name) is None]
        yield Finding(f"extra '{extra}'", f"lacks {', '.join(missing)}" if missing else "installed")
    if importlib.util.find_spec("torch"):
        yield from _devices()
    cache = cache_dir()
    size, features = (_num_bytes(place) for place in (cache, cache / "features"))
    kept = f", {features / 1e6:,.0f} MB of them features" if features else ""
    yield Finding("cache", f"{cache} ({size / 1e6:,.0f} MB{kept})")
    folder = next((place for place in (cache, *cache.parents) if place.exists()), Path("."))
    free = shutil.disk_usage(folder).free
    yield Finding(
        "free disk",
        f"{free / 1e9:,.1f} GB",
        free > LITTLE_ROOM_BYTES,
        "make room, or set TEXTFER_CACHE to another disk",
    )
    writable = os.access(folder, os.W_OK)
    yield Finding("cache is writable", "yes" if writable else "no", writable, "set TEXTFER_CACHE to a folder of yours")
    mirror = data_dir or (Path(os.environ["TEXTFER_DATA"]) if os.environ.get("TEXTFER_DATA") else None)
    if mirror is None:
        yield Finding("data", "none named: data sets come from the hub (see --data and TEXTFER_DATA)")
    else:
        yield Finding(
            "data",
            str(mirror),
            mirror.is_dir(),
            "name a folder laid out <namespace>/<dataset>/<config>/<split>.parquet",
        )


def _devices() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(number)
            bf16 = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16"
            yield Finding(f"cuda:{number}", f"{card.name}, {card.total_memory / 2**30:.0f} GiB, {bf16}")
    else:
        yield Finding(
            "accelerator", "mps" if torch.backends.mps.is_available() else "none: training runs on the CPU in float32"
        )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    yield Finding("threads", f"{threads} of {cores} cores", threads <= cores, f"set OMP_NUM_THREADS={cores}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _num_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.exists() else 0
