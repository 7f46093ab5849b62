"""What a learned optimizer answers, looked at where it is traced.

An answer that fits nothing would fail far from here, in a scan or an action map, with words
about those.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from opt_gym.maths.array_namespace import is_torch
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal


def answer(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    carry: Memory,
    signal: Signal,
    observation: Observation,
) -> tuple[Memory, tuple]:
    """The `step` of a learned optimizer, and whether its answer is one.

    In torch, where it would be asked at every step, the latter is taken for granted.

    Raises:
        ValueError: an action that is no tuple of its action map's controls, or a memory of
            another structure, or of other shapes, than before.
    """
    after, action = learned_optimizer.step(theta, carry, signal, observation)
    if is_torch(signal.loss):
        return after, action
    controls = learned_optimizer.action_map.controls
    what = f"step of the learned optimizer {learned_optimizer.name!r}"
    if type(action) is not tuple or len(action) != len(controls):
        size = f" of {len(action)}" if isinstance(action, tuple | list) else ""
        raise ValueError(
            f"{what} must give a memory and an action, a tuple of {len(controls)} "
            f"{controls}, got a {type(action).__name__}{size} for the action"
        )
    if _shapes(after) != _shapes(carry):
        raise ValueError(
            f"{what} must give a memory with the structure, shapes and types that it had: "
            f"{_shapes(carry)} became {_shapes(after)}"
        )
    return after, action


def _shapes(memory: Memory) -> Any:
    return jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", memory)
