"""Pytrees of arrays on their way between processes: numpy for JAX, and back."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from opt_gym.runtime.key_arrays import is_key


class _RawKey(NamedTuple):
    """The data of a PRNG key: keys themselves cannot be sent."""

    data: np.ndarray


def to_host(tree: PyTree) -> PyTree:
    """Numpy arrays for JAX arrays, in the same structure."""

    def convert(leaf: Any) -> Any:
        if not isinstance(leaf, jax.Array):
            return leaf
        if is_key(leaf):
            return _RawKey(np.asarray(jax.random.key_data(leaf)))
        return np.asarray(leaf)

    return jax.tree.map(convert, tree)


def from_host(tree: PyTree) -> PyTree:
    """The way back from `to_host`."""

    def is_raw(leaf: Any) -> bool:
        return isinstance(leaf, _RawKey)

    def convert(leaf: Any) -> Any:
        if is_raw(leaf):
            return jax.random.wrap_key_data(jnp.asarray(leaf.data))
        return leaf if isinstance(leaf, int) else jnp.asarray(leaf)

    return jax.tree.map(convert, tree, is_leaf=is_raw)
