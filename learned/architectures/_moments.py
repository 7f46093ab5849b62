"""The two moments of TensorFlow 1's Adam, which TaskSet's Adams all keep.

    m ← m + (1−β₁)(g − m),  v ← v + (1−β₂)(g² − v),  p₁ ← β₁ p₁,  p₂ ← β₂ p₂

p₁ and p₂ are βᵗ as products in float32, of which t factors have been rounded. With β₂ near
one, 1 − βᵗ is a difference of nearly equal numbers and these roundings are percents of it:
TaskSet's published runs have them, and with powers in their place the golden trajectories
are off by up to 1e-2, with the products by at most 1e-4.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from learned.architectures._descent import zeros


class Moments(NamedTuple):
    """What is remembered of one tensor. Shapes: m, v like the weights; p1, p2 []."""

    m: Float[Array, "..."]
    v: Float[Array, "..."]
    p1: Float[Array, ""]
    p2: Float[Array, ""]


def start(theta: PyTree, leaf: Any) -> Moments:
    """Before the first gradient."""
    m, v = zeros(2)(theta, leaf)
    one = jnp.ones((), jnp.float32)
    return Moments(m, v, one, one)


def follow(theta: PyTree, grad: Any, memories: tuple) -> Moments:
    """With one more gradient; θ has one_minus_b1 and one_minus_b2."""
    m, v, p1, p2 = memories
    a1, a2 = theta["one_minus_b1"], theta["one_minus_b2"]
    return Moments(
        m=m + a1 * (grad - m),
        v=v + a2 * (grad * grad - v),
        p1=p1 * (1 - a1),
        p2=p2 * (1 - a2),
    )
