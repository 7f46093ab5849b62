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

from agents.estimators.estimates import GradientMoments, evolution_samples, merged
from agents.estimators.evolution import PairSettings, evolution_spec
from agents.estimators.particle_programs import WindowOut
from agents.estimators.slots import slots_estimator
from agents.records import GradientEstimator
from opt_gym.records import Env, LearnedOptimizer


def estimator(
    env: Env, learned_optimizer: LearnedOptimizer, settings: PairSettings
) -> GradientEstimator:
    """The merged gradient; arguments as `evolution.evolution_spec` explains.

    Raises:
        ValueError: sign=True (a sign is no estimate of the gradient that backprop takes),
            or one pair (it has no variance).
    """
    num_pairs, drawn, sigma, sign, aggregation = settings
    if sign:
        raise ValueError("inverse_variance cannot take signs: sign must be False")
    if num_pairs < 2:
        raise ValueError(f"inverse_variance needs num_pairs >= 2, got {num_pairs}")

    def gradient(scores: Any, weights: Any, out: WindowOut) -> GradientMoments:
        evolution = evolution_samples(scores, out.difference, sigma, sign)
        return merged(weights[:, None] * evolution, weights[:, None] * out.slope)

    return slots_estimator(
        env,
        learned_optimizer,
        gradient,
        num=num_pairs,
        lengths=drawn,
        sigma=sigma,
        aggregation=aggregation,
        merge=True,
        slopes=True,
    )


SPEC = evolution_spec(
    "inverse_variance",
    estimator,
    source="Metz et al. 2019, arXiv:1810.10180, section 3.3 and its released code",
)
