"""An architecture: Δφ = −(θ · features), one weight a feature."""

from typing import Any

import jax.numpy as jnp

from opt_gym import plugins
from opt_gym.maths.accumulators import like
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal


def make(limit: float = 0.1, start: float = 0.01) -> LearnedOptimizer:
    """The architecture "linear_rule"; limit is the action map's, start fills θ."""

    def step(
        theta: Any, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        deltas = []
        for tensor in observation.tensors:
            scaled = theta["w"] * tensor.scale
            gradient, sign = (block[0] for block in tensor.blocks)
            deltas.append(-(scaled[0] * gradient + scaled[1] * sign))
        return carry, (like(signal.params, deltas),)

    return LearnedOptimizer(
        features=plugins.build("features", "signed"),
        action_map=plugins.build("action", "clipped", {"limit": limit}),
        needs=(),
        init_theta=lambda key: {"w": jnp.full(2, start, jnp.float32)},
        init=lambda theta, params, roles: Memory(),
        step=step,
    )


SPEC = Spec("architecture", "linear_rule", make, "ours: for the example")
