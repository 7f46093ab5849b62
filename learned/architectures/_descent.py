"""The frame of every hand-designed optimizer: θ is its hyperparameters, φ-shaped memory."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from opt_gym import plugins
from opt_gym.records import LearnedOptimizer, Observation, Signal


def hand_designed(
    name: str,
    hyperparameters: dict[str, float],
    start: Callable[[PyTree, Any], tuple],
    rule: Callable[[PyTree, Any, tuple, Signal], tuple[Any, tuple]],
    *,
    options: Mapping[str, Any] | None = None,
    needs: tuple[str, ...] = (),
) -> LearnedOptimizer:
    """An optimizer that applies `rule` to every tensor.

    Args:
        name: of the architecture.
        hyperparameters: their values at the start, θ = {name: scalar}.
        start: (θ, weights of one tensor) -> what is remembered of it; see `zeros`.
        rule: (θ, gradient, memories, signal) -> (Δφ, memories), for one tensor; the signal's
            params and grad are this tensor's alone.
        options: settings that are not in θ, because they choose the program. Together with
            the hyperparameters they are the config.
        needs: what the rule reads besides gradient, weights and t: see `LearnedOptimizer`.
    """

    def init_theta(key: PRNGKeyArray) -> PyTree:
        return {k: jnp.asarray(v, jnp.float32) for k, v in hyperparameters.items()}

    def init(theta: PyTree, params: PyTree) -> tuple:
        return tuple(start(theta, leaf) for leaf in jax.tree.leaves(params))

    def step(
        theta: PyTree, carry: tuple, signal: Signal, observation: Observation
    ) -> tuple[tuple, tuple]:
        grads, structure = jax.tree.flatten(signal.grad)
        leaves = jax.tree.leaves(signal.params)
        stepped = [
            rule(theta, grad, memories, signal._replace(params=leaf, grad=grad))
            for leaf, grad, memories in zip(leaves, grads, carry, strict=True)
        ]
        deltas = jax.tree.unflatten(structure, [delta for delta, _ in stepped])
        return tuple(memories for _, memories in stepped), (deltas,)

    return LearnedOptimizer(
        name=name,
        config={**hyperparameters, **(options or {})},
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=needs,
        trained_horizon=None,
        init_theta=init_theta,
        init=init,
        step=step,
    )


def zeros(num: int) -> Callable[[PyTree, Any], tuple]:
    """The `start` of so many memories shaped like the weights, all zero."""

    def start(theta: PyTree, leaf: Any) -> tuple:
        return (jnp.zeros(leaf.shape, jnp.float32),) * num

    return start
