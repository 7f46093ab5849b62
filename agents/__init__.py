"""Outer-training: one file a method, one loop around them all."""

import inspect
from collections.abc import Sequence
from typing import Any

import optax

from agents.loop import train
from agents.records import OuterTrainer, TrainResult, traits_of
from agents.task_mixes import TaskMix, task_mix
from opt_gym import plugins
from opt_gym.episode import check_compatible
from opt_gym.numerics import fixed_numerics
from opt_gym.records import Env, LearnedOptimizer

__all__ = [
    "TaskMix",
    "TrainResult",
    "make",
    "names",
    "takes_outer_optimizer",
    "task_mix",
    "train",
    "updates_per_step",
]


def names() -> list[str]:
    """Every outer-trainer."""
    return plugins.names("trainer")


def takes_outer_optimizer(name: str) -> bool:
    """Whether the outer-trainer `name` follows gradients with an outer optimizer."""
    make = plugins.spec("trainer", name).make
    return "outer_optimizer" in inspect.signature(make).parameters


def updates_per_step(name: str, per_step: int = 1, **config: Any) -> int:
    """How often an outer step calls the outer optimizer: how long its schedule is to be.

    Args:
        name: of the outer-trainer.
        per_step: tasks an outer step takes.
        config: the trainer's own settings.

    Raises:
        ValueError: unknown name or setting.
    """
    spec = plugins.spec("trainer", name)
    settings = plugins.with_defaults(spec, config)
    return traits_of(spec).updates_per_step(settings, per_step)


def make(
    name: str,
    *,
    envs: Sequence[Env] | TaskMix,
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformation | None = None,
    **config: Any,
) -> OuterTrainer:
    """The outer-trainer of a name.

    Args:
        name: one of `names()`.
        envs: the tasks, in turn, one an outer step; or a `task_mix`.
        learned_optimizer: whose θ is trained.
        outer_optimizer: any optax transformation; for the trainers that follow gradients.
        config: the trainer's own settings (`num_pairs`, `trunc_length`, `sigma`, ...).

    Raises:
        ValueError: unknown name or setting (near matches are named), a bad value, no envs,
            an outer optimizer that is missing or has no use, an env that was made for
            another learned optimizer.
    """
    spec = plugins.spec("trainer", name)
    config = plugins.with_defaults(spec, config)
    takes_one = takes_outer_optimizer(name)
    if takes_one and outer_optimizer is None:
        raise ValueError(f"the outer-trainer {name!r} needs an outer_optimizer")
    if outer_optimizer is not None and not takes_one:
        raise ValueError(
            f"the outer-trainer {name!r} has no use for an outer_optimizer"
        )
    optional = {"outer_optimizer": outer_optimizer} if takes_one else {}
    mix = envs if isinstance(envs, TaskMix) else task_mix(envs)
    for env in mix.envs:
        check_compatible(env, learned_optimizer)
    with fixed_numerics():
        return spec.make(
            mix=mix, learned_optimizer=learned_optimizer, **optional, **config
        )
