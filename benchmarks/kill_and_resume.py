"""Kills a training run at random moments (SIGKILL), resumes it, and compares it with an unbroken run, bit for bit.

The moments are spread evenly at random from the first checkpoint to the end, and lie anywhere within a step.

    python benchmarks/kill_and_resume.py pretrain-mini tokenizer.path=VOCABULARY training.num_steps=60 \\
        training.save_every=5 training.batch_size=4 --data DIR

Prints one JSON line; exit code 1 when a loss or a weight differs.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from textfer.models import load_model
from textfer.parts import model_folder
from textfer.recipe import load_recipe
from textfer.training.checkpoint import Run

TAIL_BYTES = 4096


def train(words: list[str], folder: Path, *, kill_at: float | None = None, step_seconds: float = 0.0) -> bool:
    """Runs `textfer train`; True when it came to its end. `kill_at` 7.4: 0.4 step times after step 7 was logged."""
    command = [sys.executable, "-m", "textfer", "train", *words, "--run", str(folder), "--quiet"]
    log = Run(folder).metrics_path
    before = log.stat().st_ino if log.exists() else None
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if kill_at is not None:  # a resumed run first writes its log anew
        while process.poll() is None and (not log.exists() or log.stat().st_ino == before):
            time.sleep(0.01)
        while process.poll() is None and last_step(folder) < int(kill_at):
            time.sleep(0.01)
        time.sleep(kill_at % 1 * step_seconds)
        if process.poll() is None:
            process.kill()
            process.communicate()
            return False
    _, said = process.communicate()
    if process.returncode:
        sys.exit(f"training failed: {said}")
    return True


def last_step(folder: Path) -> int:
    """The last step that a run has logged; 0 before the first."""
    path = Run(folder).metrics_path
    if not path.exists():
        return 0
    with path.open("rb") as file:
        start = file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().split(b"\n")
    whole = lines[1 if start else 0 : -1]
    return max((json.loads(line)["step"] for line in whole), default=0)


def losses(folder: Path) -> list[tuple[int, float, float]]:
    """(step, loss, gradient norm) as logged."""
    return [(one["step"], one["loss"], one["grad_norm"]) for one in Run(folder).records() if "loss" in one]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("words", nargs="+", help="recipe and overrides")
    parser.add_argument("--data")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    words = [*options.words, "training.log_every=1", *(["--data", options.data] if options.data else [])]
    chance = random.Random(options.seed)
    with TemporaryDirectory() as place:
        whole, broken = Path(place) / "whole", Path(place) / "broken"
        train(words, whole)
        seconds = sum(record["seconds"] for record in Run(whole).records() if "seconds" in record)
        num_steps = losses(whole)[-1][0]
        first = load_recipe(options.words[0], options.words[1:]).training.save_every
        if first is None or first >= num_steps:
            sys.exit("training.save_every: give a number of steps below training.num_steps")
        kills = []
        for moment in sorted(chance.uniform(first, num_steps) for _ in range(options.kills)):
            if train(words, broken, kill_at=moment, step_seconds=seconds / num_steps):
                break
            saved = Run(broken).steps()
            reached = {"logged_step": last_step(broken), "saved_step": saved[-1] if saved else None}
            kills.append({"moment": round(moment, 2), **reached})
        train(words, broken)
        same_losses = losses(whole) == losses(broken)
        one, other = (dict(load_model(model_folder(str(folder))).named_parameters()) for folder in (whole, broken))
        same_weights = all(torch.equal(value, other[name]) for name, value in one.items())
        row = {
            "name": "kill_and_resume",
            "kills": kills,
            "num_steps": num_steps,
            "step_seconds": round(seconds / num_steps, 4),
            "losses_equal": same_losses,
            "weights_equal": same_weights,
        }
    print(json.dumps(row))
    sys.exit(0 if same_losses and same_weights else 1)


if __name__ == "__main__":
    main()
