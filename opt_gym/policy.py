"""One step of a learned optimizer outside of an environment: signal in, Δφ out.

The same pure functions as in the environment, in the same order: the features' update,
observe, step, action map. Written for jax.numpy and torch, as they are.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from opt_gym import plugins
from opt_gym.records import LearnedOptimizer, Memory, Signal


class Memories(NamedTuple):
    """All that a learned optimizer remembers: of its features, its carry, its action map."""

    features: Memory
    carry: Memory
    action: Memory


def trained_for(
    learned_optimizer: LearnedOptimizer, horizon: int | None
) -> LearnedOptimizer:
    """The learned optimizer as θ leaves training: it knows the horizon it was trained for.

    Where the architecture has a clock that nobody has clamped (`time_clamp` is None), the
    clock stops there: beyond it, times would show what θ has never seen. Inside training it
    runs on.

    Args:
        learned_optimizer: the architecture.
        horizon: the longest that θ was trained for; None where there is none.
    """
    config = learned_optimizer.config
    if horizon is not None and config.get("time_clamp", 0) is None:
        clamped = {**config, "time_clamp": horizon}
        learned_optimizer = plugins.build(
            "architecture", learned_optimizer.name, clamped
        )
    return learned_optimizer._replace(trained_horizon=horizon)


def begin(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    params: PyTree,
    roles: tuple[str, ...],
) -> Memories:
    """Before the first step; params are float32, roles one a tensor."""
    return Memories(
        features=learned_optimizer.features.init(params),
        carry=learned_optimizer.init(theta, params, roles),
        action=learned_optimizer.action_map.init(params),
    )


def advance(
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    memories: Memories,
    signal: Signal,
) -> tuple[Memories, PyTree]:
    """(memories after the step, Δφ)."""
    f = learned_optimizer.features.update(memories.features, signal)
    observation = learned_optimizer.features.observe(f, signal)
    carry, action = learned_optimizer.step(theta, memories.carry, signal, observation)
    a, deltas = learned_optimizer.action_map.apply(memories.action, signal, action)
    return Memories(f, carry, a), deltas


def split(memories: Memories, count: int) -> tuple[list[tuple], tuple]:
    """(for each of `count` tensors what is remembered of it, what is shared).

    Both as (features', carry's, action map's), for who keeps memory with its tensor.
    """
    tensors = [
        tuple(memory.tensors[i] if memory.tensors else () for memory in memories)
        for i in range(count)
    ]
    return tensors, tuple(memory.shared for memory in memories)


def join(tensors: Sequence[tuple], shared: tuple) -> Memories:
    """The way back."""
    return Memories(
        *(
            Memory(tuple(tensor[part] for tensor in tensors), shared[part])
            for part in range(len(shared))
        )
    )


def roles_of(params: PyTree) -> tuple[str, ...]:
    """What each tensor of a user's φ is: by its name in Flax's words, else by its rank."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return tuple(_role(path, leaf) for path, leaf in leaves)


def _role(path: tuple[Any, ...], leaf: Any) -> str:
    name = getattr(path[-1], "key", "") if path else ""
    known = {
        "kernel": "kernel",
        "bias": "bias",
        "embedding": "embedding",
        "scale": "norm",
    }
    return known.get(name, "kernel" if leaf.ndim >= 2 else "bias")
