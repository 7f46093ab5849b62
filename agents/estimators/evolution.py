"""What the outer-trainers that perturb θ have in common: their settings and their `SPEC`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax

from agents.estimators.estimates import GradientMoments, evolution_samples, moments
from agents.estimators.gradient_trainer import gradient_trainer
from agents.estimators.lengths import Horizon, Lengths, lengths
from agents.estimators.particle_programs import WindowOut
from agents.estimators.slots import slots_estimator
from agents.estimators.unrolled_windows import check_aggregation
from agents.records import GradientEstimator, OuterTrainer
from agents.task_mixes import TaskMix
from opt_gym.checks import check_positive, check_whole
from opt_gym.plugins import Spec
from opt_gym.records import Env, LearnedOptimizer


class PairSettings(NamedTuple):
    """What an estimator on antithetic pairs is told; see `evolution_spec`'s `make`."""

    num_pairs: int
    lengths: Lengths
    sigma: float
    sign: bool = False
    aggregation: str = "mean"


Estimator = Callable[[Env, LearnedOptimizer, PairSettings], GradientEstimator]


def evolution_spec(name: str, estimator: Estimator, source: str) -> Spec:
    """The `SPEC` of an estimator on antithetic pairs.

    Args:
        name: of the outer-trainer.
        estimator: what it does on one environment.
        source: where it comes from.
    """

    def make(
        *,
        mix: TaskMix,
        learned_optimizer: LearnedOptimizer,
        outer_optimizer: optax.GradientTransformation,
        num_pairs: int = 8,
        trunc_length: int = 50,
        sigma: float = 0.01,
        horizon: Horizon = 1000,
        curriculum: int = 0,
        aggregation: str = "mean",
        sign: bool = False,
        theta_average: float = 0.0,
    ) -> OuterTrainer:
        """The outer-trainer.

        Args:
            mix: the tasks.
            learned_optimizer: whose θ is trained.
            outer_optimizer: any optax transformation.
            num_pairs: antithetic pairs (slots) of each task.
            trunc_length: K, the inner steps of a compiled window.
            sigma: standard deviation of the perturbations, in units of θ.
            horizon: a length, or (low, high) of a log-uniform one; rounded up to multiples
                of K.
            curriculum: outer steps over which `high` grows from `low`; 0 for none.
            aggregation: what is minimized: the "mean" over an unroll, or the "final" loss
                (the mean over the last K steps).
            sign: take only the sign of a pair's difference (VeLO), so that tasks whose
                losses differ in scale count alike.
            theta_average: decay of the average of θ that is handed out; 0 for the last θ.

        Raises:
            ValueError: a setting out of its range.
        """
        drawn = lengths(horizon, trunc_length, curriculum)
        check_pairs(num_pairs, sigma)
        check_aggregation(aggregation)
        settings = PairSettings(num_pairs, drawn, sigma, sign, aggregation)
        config = settings._asdict()
        config |= config.pop("lengths")._asdict()

        def of_env(env: Env) -> GradientEstimator:
            return estimator(env, learned_optimizer, settings)

        return gradient_trainer(
            name,
            config,
            of_env,
            mix,
            learned_optimizer,
            outer_optimizer,
            theta_average,
        )

    return Spec("trainer", name, make, source)


def check_pairs(num_pairs: int, sigma: float) -> None:
    """Raises ValueError for pairs that cannot be."""
    check_whole("num_pairs", num_pairs, 1)
    check_positive("sigma", sigma)


def persistent_pairs(
    noise_lasts: str = "window", adds_up: bool = False, merge: bool = False
) -> Estimator:
    """An estimator on pairs whose episodes go on; arguments as `slots_estimator`'s."""

    def estimator(
        env: Env, learned_optimizer: LearnedOptimizer, settings: PairSettings
    ) -> GradientEstimator:
        def gradient(scores: Any, weights: Any, out: WindowOut) -> GradientMoments:
            samples = evolution_samples(
                scores, out.difference, settings.sigma, settings.sign
            )
            return moments(weights[:, None] * samples)

        return slots_estimator(
            env,
            learned_optimizer,
            gradient,
            num=settings.num_pairs,
            lengths=settings.lengths,
            sigma=settings.sigma,
            aggregation=settings.aggregation,
            noise_lasts=noise_lasts,
            adds_up=adds_up,
            merge=merge,
        )

    return estimator
