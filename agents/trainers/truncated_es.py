"""Evolution strategies on truncated unrolls: short-sighted, cheap, and biased.

    ĝ = mean_i (E[T]/T_i) · z_i · mean_K(ℓ̃(θ+σz_i) − ℓ̃(θ−σz_i)) / (2σ),   z_i ~ N(0, I)

Every window draws new perturbations, and both halves begin it from one state, so that only
what a perturbation does within K steps is seen: a learning rate that is too small for the
whole unroll looks right.

differs: both halves go on from where the positive one is, as in google/learned_optimization;
the paper's figure has an unperturbed unroll beside, which costs a third more.
"""

from agents.estimators.gradient_trainer import evolution_spec
from agents.estimators.slots import SlotSettings, evolution_gradient, slots_estimator
from agents.records import GradientEstimator
from opt_gym.records import Env, LearnedOptimizer


def estimator(
    env: Env, learned_optimizer: LearnedOptimizer, settings: SlotSettings
) -> GradientEstimator:
    """The truncated ES gradient estimator."""
    gradient = evolution_gradient(settings)
    return slots_estimator(env, learned_optimizer, settings, gradient, merge=True)


SPEC = evolution_spec(
    "truncated_es",
    estimator,
    source="Metz et al. 2019, arXiv:1810.10180; google/learned_optimization, truncated_es.py",
)
