"""The action is a direction d and a log-magnitude m per parameter.

Δφ = −step_multiplier · d · exp(exp_multiplier · m), both multipliers 0.001 as published: an
untrained network then takes steps of 1e-4, a safe start.

A policy that reinforcement learning trained acts in a box of half-width `action_scale`: what
it meant may be squashed into it, and θ must be used as it was trained,

    Δφ ← action_scale · squash(Δφ / action_scale),   squash: none, clip to [−1, 1], or tanh
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import PyTree

from opt_gym.checks import check_not_negative, check_positive
from opt_gym.maths.array_namespace import namespace
from opt_gym.plugins import Spec, unknown
from opt_gym.records import ActionMap, Memory, Signal

SQUASHINGS = ("none", "clip", "tanh")


def make(
    step_multiplier: float = 0.001,
    exp_multiplier: float = 0.001,
    squashing: str = "none",
    action_scale: float = 0.01,
) -> ActionMap:
    """The action map "direction_magnitude": two controls, each shaped like φ.

    Args:
        step_multiplier, exp_multiplier: see the module's text.
        squashing: "none", "clip" or "tanh".
        action_scale: the largest |Δφ| of a squashed step.

    Raises:
        ValueError: unknown squashing, or a number out of its range.
    """
    if squashing not in SQUASHINGS:
        raise ValueError(unknown("squashing", squashing, list(SQUASHINGS)))
    check_positive("action_scale", action_scale)
    check_not_negative(step_multiplier=step_multiplier, exp_multiplier=exp_multiplier)
    squash = _squash(squashing, action_scale)

    def init(params: PyTree) -> Memory:
        return Memory()

    def apply(a: Memory, signal: Signal, action: tuple) -> tuple[Memory, PyTree]:
        direction, magnitude = action
        xp = namespace(signal.loss)
        delta = jax.tree.map(
            lambda d, m: squash(-step_multiplier * d * xp.exp(exp_multiplier * m)),
            direction,
            magnitude,
        )
        return a, delta

    return ActionMap(
        controls=("direction", "magnitude"),
        level="parameter",
        init=init,
        apply=apply,
    )


def _squash(squashing: str, scale: float) -> Callable[[Any], Any]:
    if squashing == "none":
        return lambda delta: delta
    if squashing == "tanh":
        return lambda delta: scale * namespace(delta).tanh(delta / scale)
    return lambda delta: scale * namespace(delta).clip(delta / scale, -1.0, 1.0)


SPEC = Spec(
    kind="action",
    name="direction_magnitude",
    make=make,
    source="Metz et al. 2019, arXiv:1810.10180, and its released fast_rolling_mlp.py; "
    "squashing is ours, after stable-baselines3's PPO (clip) and TD3 (tanh)",
)
