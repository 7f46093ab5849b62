"""One perturbation for a whole inner problem, however many windows it is cut into.

    ĝ = mean_i (E[T]/T_i) · z_i · mean_K(ℓ̃(θ+σz_i) − ℓ̃(θ−σz_i)) / (2σ)

with z_i drawn when slot i begins an episode: the windows of an episode add up to the gradient
that `es` takes from it, without waiting for its end. Unbiased for a smoothed outer-loss, and
its variance does not grow with the number of windows, as that of `pes` does. Also known as
noise-reuse evolution strategies.
"""

from agents.estimators.gradient_trainer import evolution_spec
from agents.estimators.slots import SlotSettings, evolution_gradient, slots_estimator
from agents.records import GradientEstimator
from opt_gym.records import Env, LearnedOptimizer


def estimator(
    env: Env, learned_optimizer: LearnedOptimizer, settings: SlotSettings
) -> GradientEstimator:
    """The ES-Single gradient estimator."""
    gradient = evolution_gradient(settings)
    return slots_estimator(
        env, learned_optimizer, settings, gradient, noise_lasts="episode"
    )


SPEC = evolution_spec(
    "es_single",
    estimator,
    source="Vicol 2023, arXiv:2304.11153 (ES-Single); Li et al. 2023, arXiv:2304.12180 (NRES)",
)
