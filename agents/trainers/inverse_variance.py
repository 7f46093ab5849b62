"""ES and backprop merged: every coordinate of θ listens to the one that is surer of it.

Both estimate the gradient of the outer-loss smoothed by N(0, σ²I), from the same unrolls of
θ ± σz_i and with the same noise:

    a_i = z_i · (ℓ̃⁺ − ℓ̃⁻)_i / (2σ)              evolution: from values
    b_i = ½ ∂/∂θ (ℓ⁺ + ℓ⁻)_i                     reparameterisation: by backprop
    ĝ = (ā/v_a + b̄/v_b) / (1/v_a + 1/v_b),       v: variance over i of one coordinate, + 1e-8

Short unrolls give backprop the smaller variance; long ones, whose losses are rough functions
of θ, give it to evolution. K = T for whole unrolls; with K < T both see one window only
(biased), as in the paper.

differs: K, which grows during training there, is constant (a window is one compiled program;
a `curriculum` lets T grow). The released code gives both samples a factor of 2, which the
outer Adam there does not see. A particle that diverged has no b_i and keeps its a_i, whose
clipped losses say that it should not have.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from agents.estimators.gradient_trainer import evolution_spec
from agents.estimators.particles import WindowOut
from agents.estimators.slots import (
    GradientMoments,
    SlotSettings,
    evolution_samples,
    moments,
    slots_estimator,
)
from agents.records import GradientEstimator
from opt_gym.records import Env, LearnedOptimizer

VARIANCE_FLOOR = 1e-8
"""Added to a variance before it divides (the released code)."""


def estimator(
    env: Env, learned_optimizer: LearnedOptimizer, settings: SlotSettings
) -> GradientEstimator:
    """The merged gradient.

    Raises:
        ValueError: sign=True (a sign is no estimate of the gradient that backprop takes),
            or one pair (it has no variance).
    """
    if settings.sign:
        raise ValueError(
            "inverse_variance cannot take signs: sign must be False, got True"
        )
    if settings.num < 2:
        raise ValueError(f"inverse_variance needs num_pairs >= 2, got {settings.num}")

    def gradient(scores: Any, weights: Any, out: WindowOut) -> GradientMoments:
        evolution = evolution_samples(scores, out.difference, settings.sigma)
        return merged(weights[:, None] * evolution, weights[:, None] * out.slope)

    return slots_estimator(
        env, learned_optimizer, settings, gradient, merge=True, slopes=True
    )


def merged(
    evolution: Float[Array, "n d"], slopes: Float[Array, "n d"]
) -> GradientMoments:
    """ĝ of the two, and the variance that such a mean has if they are independent.

    Fewer than two finite slopes have no variance, and those of a chaotic unroll may have one
    that overflows: then evolution is believed.
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


SPEC = evolution_spec(
    "inverse_variance",
    estimator,
    source="Metz et al. 2019, arXiv:1810.10180, section 3.3 and its released code",
    sigma=0.01,
    horizon=1000,
    theta_average=0.0,
)
