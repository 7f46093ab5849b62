"""Running averages that several feature sets share. Written for jax.numpy and torch.

A block holds one average per decay along a leading axis: [k, *shape].
"""

from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import PyTree

from opt_gym.array_namespace import namespace


def column(values: Sequence[float], like: Any) -> Any:
    """Values along a leading axis, broadcastable over `like`: [k, 1, ..., 1]."""
    xp = namespace(like)
    column = xp.asarray(values, dtype=xp.float32)
    return xp.reshape(column, (len(values),) + (1,) * like.ndim)


def zeros(params: PyTree, num: int) -> tuple[Any, ...]:
    """One zero block [num, *shape] for every tensor of φ, float32."""

    def block(leaf: Any) -> Any:
        xp = namespace(leaf)
        return xp.zeros((num, *leaf.shape), dtype=xp.float32)

    return tuple(block(leaf) for leaf in leaves(params))


def average(block: Any, value: Any, decays: Sequence[float]) -> Any:
    """β·block + (1−β)·value for each decay β. Shapes: block [k, *shape]; value [*shape]."""
    decay = column(decays, value)
    return decay * block + (1.0 - decay) * value[None]


def debias(decays: Sequence[float], t: Any, like: Any) -> Any:
    """1 / (1 − β^(t+1)): the factor that makes an average that began at zero unbiased.

    Shapes: result [k, 1, ..., 1] for a block over `like`. t counts updates before this one.
    """
    decay = column(decays, like)
    return 1.0 / (1.0 - decay ** (t + 1))


def leaves(tree: PyTree) -> list[Any]:
    """The tensors of φ in the order everything here uses."""
    return jax.tree.leaves(tree)
