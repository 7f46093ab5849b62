"""Running averages that several feature sets share. Written for jax.numpy and torch.

A block holds one average per decay along a leading axis: [k, *shape].
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from opt_gym.maths.array_namespace import constant, is_torch, namespace, over
from opt_gym.records import Signal


def average(block: Any, value: Any, decays: Sequence[float]) -> Any:
    """β·block + (1−β)·value for each β of `decays`.

    Shapes: block [k, *shape]; value [*shape].
    """
    return follow(block, value, constant(decays, value))


def follow(block: Any, value: Any, decays: Any) -> Any:
    """`average` of `block` and `value` for `decays` that are an array [k], as a part of θ."""
    decay = over(decays, value)
    if is_torch(value):  # one call, a fourth of the time of three
        return block.lerp(value[None], 1.0 - decay)
    return decay * block + (1.0 - decay) * value[None]


def debias(decays: Sequence[float], age: Any, like: Any) -> Any:
    """1 / (1 − β^(age+1)): the factor that makes an average that began at zero unbiased.

    Shapes: result [k, 1, ..., 1], one for each β of `decays`, for a block over `like`. age
    counts updates before this one.
    """
    # Shaped at the end: XLA then computes it once for all tensors of one age.
    return over(1.0 / (1.0 - constant(decays, like) ** (age + 1)), like)


def debias_each(
    decays: Sequence[float], ages: Sequence[Any], likes: Sequence[Any]
) -> list[Any]:
    """`debias` of `decays` for each of many tensors `likes` of these `ages`."""
    if not likes or not is_torch(likes[0]):
        return [
            debias(decays, age, like) for age, like in zip(ages, likes, strict=True)
        ]
    steps = namespace(ages[0]).stack([*ages])[None] + 1
    factors = 1.0 / (1.0 - constant(decays, ages[0])[:, None] ** steps)
    of_rank = {
        rank: factors.reshape(*factors.shape, *(1,) * rank).unbind(1)
        for rank in {like.ndim for like in likes}
    }
    return [of_rank[like.ndim][place] for place, like in enumerate(likes)]


def clock(signal: Signal, clamp: int | None) -> Any:
    """What features of time show: t of `signal`, at most `clamp`."""
    if clamp is None:
        return signal.t
    return namespace(signal.loss).clip(signal.t, max=clamp)


def leaves(tree: PyTree) -> list[Any]:
    """The tensors of a `tree` like φ in the order everything here uses."""
    return jax.tree.leaves(tree)


def first(tree: PyTree) -> Any:
    """Some tensor of φ, the `tree`, for what is made like it; a zero where φ has none."""
    tensors = jax.tree.leaves(tree)
    return tensors[0] if tensors else jnp.zeros(())


def like(tree: PyTree, tensors: Sequence[Any]) -> PyTree:
    """`tensors`, in the order of `leaves`, in the structure of `tree`, such as φ."""
    return jax.tree.unflatten(jax.tree.structure(tree), tensors)
