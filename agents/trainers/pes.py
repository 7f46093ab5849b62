"""Persistent evolution strategies: unbiased gradients from truncated unrolls.

Every slot keeps an inner problem going from one outer step to the next, and sums the
perturbations since it began (as scores, Σ z, so that σ may vary):

    ξ_i ← ξ_i + z_i,  z_i ~ N(0, I)
    ĝ = mean_i (E[T]/T_i) · ξ_i · mean_K(ℓ̃(θ+σz_i) − ℓ̃(θ−σz_i)) / (2σ)

over a window of K inner steps. Its variance grows with the number of windows in an episode.
"""

from agents.estimators.gradient_trainer import evolution_spec
from agents.estimators.slots import SlotSettings, evolution_gradient, slots_estimator
from agents.records import GradientEstimator
from opt_gym.records import Env, LearnedOptimizer


def estimator(
    env: Env, learned_optimizer: LearnedOptimizer, settings: SlotSettings
) -> GradientEstimator:
    """The PES gradient estimator."""
    gradient = evolution_gradient(settings)
    return slots_estimator(env, learned_optimizer, settings, gradient, adds_up=True)


SPEC = evolution_spec(
    "pes",
    estimator,
    source="Vicol, Metz & Sohl-Dickstein 2021, arXiv:2112.13835, algorithm 2",
)
