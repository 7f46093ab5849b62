"""The two moments of TensorFlow 1's Adam, which TaskSet's Adams all keep.

    m ← m + (1−β₁)(g − m),  v ← v + (1−β₂)(g² − v),  p₁ = β₁ᵗ,  p₂ = β₂ᵗ

p₁ and p₂ are products in float32, of which t factors have been rounded. With β₂ near one,
1 − βᵗ is a difference of nearly equal numbers and these roundings are percents of it:
TaskSet's published runs have them. With powers in their place the golden trajectories are
off by up to 1e-2, with the products by at most 1e-4.
"""

from typing import Any, NamedTuple

from jaxtyping import Array, Float, PyTree

from learned.building.descent import zeros


class AdamMoments(NamedTuple):
    """What is remembered of one tensor. Shapes: m, v like the weights; p1, p2 [].

    As in TensorFlow, p1 and p2 are those of the step to come. Were they those of the last
    one, then 1 − p·β would be compiled into one instruction, which does not round p·β.
    """

    m: Float[Array, "..."]
    v: Float[Array, "..."]
    p1: Float[Array, ""]
    p2: Float[Array, ""]


def start(theta: PyTree, leaf: Any) -> AdamMoments:
    """Before the first gradient.

    Args:
        theta: has one_minus_b1 and one_minus_b2, scalars.
        leaf: the weights of one tensor.
    """
    m, v = zeros(2)(theta, leaf)
    return AdamMoments(m, v, 1.0 - theta["one_minus_b1"], 1.0 - theta["one_minus_b2"])


def follow(
    theta: PyTree, grad: Any, memories: tuple
) -> tuple[AdamMoments, AdamMoments]:
    """With one more gradient: what this step uses, and what is remembered.

    Args:
        theta: as that of `start`.
        grad: of one tensor.
        memories: its `AdamMoments`, as last remembered.
    """
    m, v, p1, p2 = memories
    a1, a2 = theta["one_minus_b1"], theta["one_minus_b2"]
    now = AdamMoments(m + a1 * (grad - m), v + a2 * (grad * grad - v), p1, p2)
    return now, now._replace(p1=p1 * (1 - a1), p2=p2 * (1 - a2))
