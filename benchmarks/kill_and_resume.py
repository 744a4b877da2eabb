"""Kills a training run at random moments (SIGKILL), resumes it, and compares it with an unbroken run, bit for bit.

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
from textfer.training.checkpoint import Run


def train(words: list[str], folder: Path, *, kill_after: float | None = None) -> bool:
    """Runs `textfer train`; True when it came to its end. `kill_after`: seconds from its first step on."""
    command = [sys.executable, "-m", "textfer", "train", *words, "--run", str(folder), "--quiet"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    before = len(Run(folder).records())
    while kill_after is not None and process.poll() is None and len(Run(folder).records()) <= before:
        time.sleep(0.05)
    try:
        _, said = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return False
    if process.returncode:
        sys.exit(f"training failed: {said}")
    return True


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
        moments, killed = [], 0
        while killed < options.kills:
            moment = chance.uniform(0.02, 0.16) * seconds
            if train(words, broken, kill_after=moment):
                break
            killed += 1
            saved = Run(broken).steps()
            moments.append({"seconds": round(moment, 2), "saved_step": saved[-1] if saved else None})
        train(words, broken)
        same_losses = losses(whole) == losses(broken)
        one, other = (dict(load_model(model_folder(str(folder))).named_parameters()) for folder in (whole, broken))
        same_weights = all(torch.equal(value, other[name]) for name, value in one.items())
        row = {
            "name": "kill_and_resume",
            "kills": moments,
            "num_steps": losses(whole)[-1][0],
            "losses_equal": same_losses,
            "weights_equal": same_weights,
        }
    print(json.dumps(row))
    sys.exit(0 if same_losses and same_weights else 1)


if __name__ == "__main__":
    main()
