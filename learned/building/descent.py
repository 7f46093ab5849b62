"""The frame of every hand-designed optimizer: θ is its hyperparameters, φ-shaped memory."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from opt_gym import plugins
from opt_gym.maths.accumulators import leaves, like
from opt_gym.maths.array_namespace import zeros_over
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal


def hand_designed(
    hyperparameters: dict[str, float],
    start: Callable[[PyTree, Any], tuple],
    rule: Callable[[PyTree, Any, tuple, Signal], tuple[Any, tuple]],
    *,
    needs: tuple[str, ...] = (),
) -> LearnedOptimizer:
    """An optimizer that applies `rule` to every tensor.

    Args:
        hyperparameters: their values at the start, θ = {name: scalar}.
        start: (θ, weights of one tensor) -> what is remembered of it; see `zeros`.
        rule: (θ, gradient, memories, signal) -> (Δφ, memories), for one tensor; the signal's
            params, grad and ages are this tensor's alone.
        needs: what the rule reads besides gradient, weights and t: see `LearnedOptimizer`.
    """

    def init_theta(key: PRNGKeyArray) -> PyTree:
        return {k: jnp.asarray(v, jnp.float32) for k, v in hyperparameters.items()}

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        return Memory(tuple(start(theta, leaf) for leaf in leaves(params)))

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple]:
        params, grads = leaves(signal.params), leaves(signal.grad)
        stepped = [
            rule(
                theta,
                grad,
                memories,
                signal._replace(params=param, grad=grad, ages=(age,)),
            )
            for param, grad, memories, age in zip(
                params, grads, carry.tensors, signal.ages, strict=True
            )
        ]
        deltas = like(signal.params, [delta for delta, _ in stepped])
        return Memory(tuple(memories for _, memories in stepped)), (deltas,)

    return LearnedOptimizer(
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=needs,
        init_theta=init_theta,
        init=init,
        step=step,
    )


def zeros(num: int) -> Callable[[PyTree, Any], tuple]:
    """The `start` of `num` memories shaped like the weights, all zero."""

    def start(theta: PyTree, leaf: Any) -> tuple:
        return tuple(zeros_over(1, leaf)[0] for _ in range(num))

    return start
