"""The frame of every hand-designed optimizer: θ is its hyperparameters, φ-shaped memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from opt_gym import plugins
from opt_gym.records import LearnedOptimizer, Observation, Signal


def hand_designed(
    name: str,
    hyperparameters: dict[str, float],
    num_memories: int,
    rule: Callable[[PyTree, Any, tuple, Signal], tuple[Any, tuple]],
    initial_memory: float = 0.0,
) -> LearnedOptimizer:
    """An optimizer that applies `rule` to every tensor.

    Args:
        name: of the architecture.
        hyperparameters: their values at the start, θ = {name: scalar}; also its config.
        num_memories: arrays shaped like φ that it remembers.
        rule: (θ, gradient, memories, signal) -> (Δφ, memories), for one tensor.
        initial_memory: what the memories begin at.
    """

    def init_theta(key: PRNGKeyArray) -> PyTree:
        return {k: jnp.asarray(v, jnp.float32) for k, v in hyperparameters.items()}

    def init(theta: PyTree, params: PyTree) -> tuple:
        def full(leaf: Any) -> Any:
            return jnp.full(leaf.shape, initial_memory, jnp.float32)

        return tuple((full(leaf),) * num_memories for leaf in jax.tree.leaves(params))

    def step(
        theta: PyTree, carry: tuple, signal: Signal, observation: Observation
    ) -> tuple[tuple, tuple]:
        grads, structure = jax.tree.flatten(signal.grad)
        stepped = [
            rule(theta, grad, memories, signal)
            for grad, memories in zip(grads, carry, strict=True)
        ]
        deltas = jax.tree.unflatten(structure, [delta for delta, _ in stepped])
        return tuple(memories for _, memories in stepped), (deltas,)

    return LearnedOptimizer(
        name=name,
        config=dict(hyperparameters),
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=(),
        trained_horizon=None,
        init_theta=init_theta,
        init=init,
        step=step,
    )
