"""Backprop through the unroll, whole or truncated, of θ itself or of a smoothed outer-loss.

    ĝ = mean_i (E[T]/T_i) · ∂/∂θ mean_K ℓ(θ)                                sigma = 0
    ĝ = mean_i (E[T]/T_i) · ½ ∂/∂θ mean_K (ℓ(θ+σz_i) + ℓ(θ−σz_i))           sigma > 0

over windows of K inner steps; the state that a window begins with is taken as given. K = T is
backprop through the whole unroll; smaller windows are biased (short-sighted). With σ > 0 it
is the reparameterisation gradient of the outer-loss smoothed by N(0, σ²I), which `es`
estimates from values alone. ℓ is the normalized loss without its clip, for the clip's gradient
is zero exactly where training diverges. An unroll whose gradient is not finite is left out.

Gradients of gradients are left out, as is usual, unless the environments are made with
`second_derivatives=True`. Only the state of every step is kept and the rest is computed
again; beyond 64 steps only about √K states are.
"""

from typing import Any

import optax

from agents.estimators.gradient_trainer import slots_trainer
from agents.estimators.particles import WindowOut
from agents.estimators.slots import (
    GradientMoments,
    SlotSettings,
    moments,
    slots_estimator,
)
from agents.records import GradientEstimator, Horizon, OuterTrainer, lengths_of
from agents.task_mixes import TaskMix
from opt_gym.checks import check_not_negative, check_whole
from opt_gym.plugins import Spec
from opt_gym.records import Env, LearnedOptimizer


def estimator(
    env: Env, learned_optimizer: LearnedOptimizer, settings: SlotSettings
) -> GradientEstimator:
    """The gradient by backprop."""

    def gradient(scores: Any, weights: Any, out: WindowOut) -> GradientMoments:
        return moments(weights[:, None] * out.slope)

    return slots_estimator(env, learned_optimizer, settings, gradient, slopes=True)


def make(
    *,
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformation,
    num_problems: int = 8,
    trunc_length: int = 20,
    horizon: Horizon = 1000,
    curriculum: int = 0,
    aggregation: str = "mean",
    sigma: float = 0.0,
    theta_average: float = 0.0,
) -> OuterTrainer:
    """The outer-trainer "backprop".

    Args:
        mix: the tasks.
        learned_optimizer: whose θ is trained.
        outer_optimizer: any optax transformation; clip what it is given.
        num_problems: inner problems (slots) of each task.
        trunc_length: K, the inner steps that are backpropagated through.
        horizon, curriculum, aggregation, theta_average: as those of `pes`.
        sigma: of the perturbations of θ; 0 for none.

    Raises:
        ValueError: a setting out of its range.
    """
    check_whole("num_problems", num_problems, 1)
    check_not_negative(sigma=sigma)
    lengths = lengths_of(horizon, trunc_length, curriculum)
    return slots_trainer(
        "backprop",
        {"num_problems": num_problems, "sigma": sigma},
        estimator,
        SlotSettings(num_problems, lengths, sigma, aggregation),
        mix,
        learned_optimizer,
        outer_optimizer,
        theta_average,
    )


SPEC = Spec(
    kind="trainer",
    name="backprop",
    make=make,
    source="Andrychowicz et al. 2016, arXiv:1606.04474; Kingma & Welling 2013, "
    "arXiv:1312.6114, and Metz et al. 2019, arXiv:1810.10180, for sigma > 0",
)
