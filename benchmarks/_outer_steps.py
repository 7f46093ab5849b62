"""Outer steps of a trainer, timed one by one."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from agents.records import OuterTrainer


class Timed(NamedTuple):
    """One outer step: its wall time, and the inner steps that it executed."""

    seconds: float
    inner_steps: float

    @property
    def rate(self) -> float:
        """Inner steps a second."""
        return self.inner_steps / self.seconds


def stepper(
    trainer: OuterTrainer, data: tuple[Any, ...], before: int = 2
) -> Callable[[], Timed]:
    """A function that makes one more outer step; `before` are made now, to compile."""
    key, done = jax.random.key(0), 0
    state = trainer.init(key, data, trainer.learned_optimizer.init_theta(key))

    def step() -> Timed:
        nonlocal state, done
        began = time.perf_counter()
        state, report = trainer.step(jax.random.fold_in(key, done), data, state)
        jax.block_until_ready(report)
        seconds = time.perf_counter() - began
        done += 1
        return Timed(seconds, float(report.inner_steps))

    for _ in range(before):
        step()
    return step
