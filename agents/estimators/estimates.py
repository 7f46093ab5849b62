"""From particles to one gradient: a weighted mean, and its variance.

What a particle says is a sample [d]. An evolution sample is always finite (losses are
clipped); a backprop sample is not where the unroll diverged, and such a particle is left out.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from agents.estimators.particle_programs import WindowOut
from agents.records import Estimate

VARIANCE_FLOOR = 1e-8
"""Added to a variance before it divides (Metz et al. 2019, released code)."""


def evolution_samples(
    scores: Float[Array, "n d"],
    differences: Float[Array, " n"],
    sigma: float,
    sign: bool,
) -> Float[Array, "n d"]:
    """score_i · (ℓ̃⁺ − ℓ̃⁻)_i / (2σ), or with the difference's sign in its place."""
    if sign:
        differences = jnp.sign(differences)
    coefficients = differences / (2 * sigma)
    return jnp.where(jnp.isfinite(coefficients), coefficients, 0.0)[:, None] * scores


class GradientMoments(NamedTuple):
    """Of finite samples: mean [d], (unbiased) variance [d] of one, how many there are.

    NaN for what too few of them do not tell: the mean of none, the variance of one.
    """

    mean: Float[Array, " d"]
    variance: Float[Array, " d"]
    count: Int[Array, ""]


def moments(samples: Float[Array, "n d"]) -> GradientMoments:
    """The mean and variance over the particles whose samples are finite."""
    finite = jnp.all(jnp.isfinite(samples), 1)
    count = jnp.sum(finite)
    samples = jnp.where(finite[:, None], samples, 0.0)
    mean = jnp.sum(samples, 0) / count
    centred = jnp.where(finite[:, None], samples - mean[None], 0.0)
    variance = jnp.sum(jnp.square(centred), 0) / (count - 1)
    return GradientMoments(mean, jnp.where(count > 1, variance, jnp.nan), count)


def merged(
    evolution: Float[Array, "n d"], slopes: Float[Array, "n d"]
) -> GradientMoments:
    """Two estimates of one gradient, each coordinate weighted by its inverse variance.

        g = (a/v_a + b/v_b) / (1/v_a + 1/v_b),    v ← v + 1e-8

    Fewer than two finite slopes have no variance, and those of a chaotic unroll may have one
    that overflows: then evolution is believed.

    Returns:
        g, and the variance that such a mean has if the two are independent.
    Source: Metz et al. 2019, arXiv:1810.10180, section 3.3.
    """
    (a, v_a, count), (b, v_b, finite) = moments(evolution), moments(slopes)
    v_a, v_b = v_a + VARIANCE_FLOOR, v_b + VARIANCE_FLOOR
    # (a·v_b + b·v_a) / (v_a + v_b): the same, without the inverse of a small number.
    both = ((a * v_b + b * v_a) / (v_a + v_b), v_a * v_b / (v_a + v_b))
    known = (finite > 1) & jnp.isfinite(v_a * v_b) & jnp.isfinite(a * v_b + b * v_a)
    grad, variance = (
        jnp.where(known, x, y) for x, y in zip(both, (a, v_a), strict=True)
    )
    return GradientMoments(grad, variance, count)


def as_estimate(
    theta: PyTree,
    gradient: GradientMoments,
    out: WindowOut,
    inner_steps: Int[Array, ""] | int,
) -> Estimate:
    """A flat gradient and what the particles did as one `Estimate`. Traceable."""
    return Estimate(
        grad=ravel_pytree(theta)[1](gradient.mean),
        outer_loss=jnp.mean(out.cost),
        variance=jnp.mean(gradient.variance),
        dropped=jnp.maximum(jnp.sum(out.dead), out.dead.size - gradient.count),
        inner_steps=jnp.asarray(inner_steps, jnp.int32),
    )
