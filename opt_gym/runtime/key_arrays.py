"""PRNG keys are arrays that numpy cannot hold: what to do with a leaf that may be one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a key (or many), or the shape of one."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def zeros(shapes: PyTree, leading: tuple[int, ...]) -> PyTree:
    """Zeros of these shapes, with more axes in front; keys among them.

    Made on the host: every shape of `jnp.zeros` is a program, 20 ms each.
    """

    def zero(leaf: Any) -> Any:
        if is_key(leaf):
            data = jax.eval_shape(jax.random.key_data, leaf)
            host = np.zeros(leading + data.shape, data.dtype)
            return jax.random.wrap_key_data(jnp.asarray(host))
        return jnp.asarray(np.zeros(leading + leaf.shape, leaf.dtype))

    return jax.tree.map(zero, shapes)
