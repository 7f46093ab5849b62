"""TaskSet's activations by name."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Activation = Callable[[Float[Array, "..."]], Float[Array, "..."]]


def _leaky_relu(slope: float) -> Activation:
    return lambda x: jax.nn.leaky_relu(x, slope)


ACTIVATIONS: dict[str, Activation] = {
    "cos": jnp.cos,
    "elu": jax.nn.elu,
    "leaky_relu1": _leaky_relu(0.1),
    "leaky_relu2": _leaky_relu(0.2),
    "leaky_relu4": _leaky_relu(0.4),
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "swish": jax.nn.swish,
    "tanh": jnp.tanh,
}
"""Name -> function of one array; leaky_relu<N> has slope 0.N below zero."""
