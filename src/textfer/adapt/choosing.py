"""Methods that add nothing: all parameters, those that match a pattern, or more and more of them from the top."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import ClassVar, Literal

from pydantic import Field

from textfer.adapt import METHODS, Method, Plan, one_stage
from textfer.errors import ConfigError
from textfer.models import Model

SHOWN = 3
"""Names of parameters given as examples in a message."""


@METHODS.named("full")
class Full(Method):
    """All parameters, from the first step to the last."""

    def plan(self, model: Model, *, num_steps: int) -> Plan:
        """Everything."""
        del num_steps
        return one_stage(name for name, _ in model.named_parameters())


@METHODS.named("frozen")
class Frozen(Method):
    """Only the parameters whose names match a pattern; all others stay as they are."""

    partial: ClassVar[bool] = True
    train: tuple[str, ...] = Field(min_length=1)
    """Patterns of names with `*`, `?` and `[…]`: `decoder.*`, `*norm.weight`."""

    def plan(self, model: Model, *, num_steps: int) -> Plan:
        """What matches."""
        del num_steps
        names = [name for name, _ in model.named_parameters()]
        for pattern in self.train:
            if not any(fnmatchcase(name, pattern) for name in names):
                examples = ", ".join(names[:: max(1, len(names) // SHOWN)][:SHOWN])
                raise ConfigError(
                    f"method.train: '{pattern}' matches no parameter. Names are like {examples}; `*` is any part."
                )
        chosen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in self.train)]
        if len(chosen) == len(names):
            raise ConfigError('method.train: matches every parameter, so nothing is frozen. Set method.name = "full".')
        return one_stage(chosen)


@METHODS.named("gradual")
class Gradual(Method):
    """Gradual unfreezing: the top layers first, one further layer down with every episode.

    Source: T5 §3.5.1 (`t5`): as many equal episodes as a stack has layers, encoder and decoder in parallel, the tables
    over the vocabulary trained all the time; Howard and Ruder 2018, arXiv 1801.06146 §3.3 (`ulmfit`).
    """

    variant: Literal["t5", "ulmfit"] = "t5"
    """t5: embeddings and output layer are trained from the start. ulmfit: the embeddings come last, in an episode of
    their own."""
    num_episodes: int | None = Field(None, ge=2)
    """Equal parts of the run; with fewer than layers, several thaw at once. None = one layer an episode."""

    def plan(self, model: Model, *, num_steps: int) -> Plan:
        """One stage an episode: episode e of E begins at step ⌈e · num_steps / E⌉."""
        rungs = [frozenset(names) for names in model.depth()]
        always: frozenset[str] = frozenset()
        if self.variant == "t5":
            tables = {name for name, weight in model.named_parameters() if model.vocab_size in weight.shape[:1]}
            always, rungs = frozenset(tables), [rungs[0] | rungs[1], *rungs[2:]]
        num_rungs = len(rungs)
        episodes = self.num_episodes or num_rungs
        if num_rungs == 1:
            raise ConfigError('method.name: got gradual, and the model has one layer. Set method.name = "full".')
        if episodes > num_rungs:
            raise ConfigError(f"method.num_episodes: got {episodes}, and the model thaws in {num_rungs} parts at most.")
        if num_steps < episodes:
            raise ConfigError(
                f"training.num_steps: got {num_steps}, expected at least one step for each of {episodes} episodes."
            )
        stages = []
        for episode in range(episodes):
            open_rungs = -(-(episode + 1) * num_rungs // episodes)
            names = always.union(*rungs[num_rungs - open_rungs :])
            stages.append((-(-episode * num_steps // episodes), names))
        return Plan(stages=tuple(stages), saved=stages[-1][1])
