"""The action is a direction d and a log-magnitude m per parameter.

Δφ = −step_multiplier · d · exp(exp_multiplier · m), both multipliers 0.001 as published: an
untrained network then takes steps of 1e-4, a safe start.
"""

import jax
from jaxtyping import PyTree

from opt_gym.array_namespace import namespace
from opt_gym.plugins import Spec
from opt_gym.records import ActionMap, Memory, Signal


def make(step_multiplier: float = 0.001, exp_multiplier: float = 0.001) -> ActionMap:
    """The action map "direction_magnitude": two controls, each shaped like φ."""

    def init(params: PyTree) -> Memory:
        return Memory()

    def apply(a: Memory, signal: Signal, action: tuple) -> tuple[Memory, PyTree]:
        direction, magnitude = action
        xp = namespace(signal.loss)
        delta = jax.tree.map(
            lambda d, m: -step_multiplier * d * xp.exp(exp_multiplier * m),
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


SPEC = Spec(
    kind="action",
    name="direction_magnitude",
    make=make,
    source="Metz et al. 2019, arXiv:1810.10180, and its released fast_rolling_mlp.py",
)
