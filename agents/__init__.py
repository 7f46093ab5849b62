"""Outer-training: one file a method, one loop around them all."""

from collections.abc import Sequence
from typing import Any

import optax

from agents.loop import TrainResult, train
from opt_gym import plugins
from opt_gym.records import Env, LearnedOptimizer, OuterTrainer

__all__ = ["TrainResult", "make", "names", "train"]


def names() -> list[str]:
    """Every outer-trainer."""
    return plugins.names("trainer")


def make(
    name: str,
    *,
    envs: Sequence[Env],
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformation,
    **config: Any,
) -> OuterTrainer:
    """The outer-trainer of a name.

    Args:
        name: one of `names()`.
        envs: the tasks, in turn, one an outer step.
        learned_optimizer: whose θ is trained.
        outer_optimizer: any optax transformation.
        config: the trainer's own settings (`num_pairs`, `trunc_length`, `sigma`, ...).

    Raises:
        ValueError: unknown name or setting (near matches are named), a bad value, no envs.
    """
    found = plugins.spec("trainer", name)
    config = plugins.with_defaults(found, config)
    if not envs:
        raise ValueError("an outer-trainer needs at least one env, got none")
    return found.make(
        envs=envs,
        learned_optimizer=learned_optimizer,
        outer_optimizer=outer_optimizer,
        **config,
    )
