"""The record of an outer-trainer, and which settings identify its runs."""

from collections.abc import Mapping
from typing import Any

from agents.records import GradientParts, OuterTrainer
from agents.task_mixes import TaskMix
from opt_gym.numerics import own_buffers, record_with_fixed_numerics
from opt_gym.records import LearnedOptimizer

_GIVEN_TO_ALL = ("mix", "learned_optimizer", "outer_optimizer")


def settings_among(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer's own settings among the arguments of its `make`.

    Its first line is `settings = settings_among(locals())`: so each is written once.
    """
    return {
        name: value for name, value in arguments.items() if name not in _GIVEN_TO_ALL
    }


def with_own_buffers(init: Any) -> Any:
    """An `init` whose arrays can each be donated."""

    def begin(*arguments: Any, **named: Any) -> Any:
        return own_buffers(init(*arguments, **named))

    return begin


def outer_trainer(
    name: str,
    settings: dict[str, Any],
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    *,
    init: Any,
    step: Any,
    theta: Any,
    parts: GradientParts | None = None,
    horizon: int | None = None,
) -> OuterTrainer:
    """An `OuterTrainer` whose config is its settings, its learned optimizer and its tasks.

    Args:
        name: of the plug-in.
        settings: JSON, all that else identifies a run.
        mix, learned_optimizer: the tasks, and whose θ.
        init, step, theta, parts, horizon: as the attributes of `OuterTrainer`.
    """
    trainer = OuterTrainer(
        name=name,
        config={
            **settings,
            "learned_optimizer": [learned_optimizer.name, learned_optimizer.config],
            "mix": mix.config,
        },
        envs=mix.envs,
        learned_optimizer=learned_optimizer,
        init=with_own_buffers(init),
        step=step,
        theta=theta,
        parts=None if parts is None else record_with_fixed_numerics(parts),
        horizon=horizon,
    )
    return record_with_fixed_numerics(trainer)
