"""What the outer-trainers on antithetic pairs have in common: their settings and `SPEC`."""

from collections.abc import Callable, Sequence

import optax

from agents.trainers import _pairs
from agents.trainers._gradient_trainer import gradient_trainer
from opt_gym.plugins import Spec
from opt_gym.records import Env, GradientEstimator, LearnedOptimizer, OuterTrainer


def pair_spec(
    name: str, estimator: Callable[..., GradientEstimator], source: str
) -> Spec:
    """The `SPEC` of an estimator on antithetic pairs.

    Args:
        name: of the outer-trainer.
        estimator: (envs, learned_optimizer, num_pairs=, trunc_length=, sigma=, horizon=).
        source: where it comes from.
    """

    def make(
        *,
        envs: Sequence[Env],
        learned_optimizer: LearnedOptimizer,
        outer_optimizer: optax.GradientTransformation,
        num_pairs: int = 8,
        trunc_length: int = 50,
        sigma: float = 0.01,
        horizon: _pairs.Horizon = 1000,
        theta_average: float = 0.0,
    ) -> OuterTrainer:
        """The outer-trainer.

        Args:
            envs: the tasks, in turn, one an outer step.
            learned_optimizer: whose θ is trained.
            outer_optimizer: any optax transformation (`optax.MultiSteps(inner, k)` averages
                the gradients of k tasks).
            num_pairs: antithetic pairs (slots) of each task.
            trunc_length: K, the inner steps of a compiled window.
            sigma: standard deviation of the perturbations, in units of θ.
            horizon: a length, or (low, high) of a log-uniform one; rounded up to multiples
                of K.
            theta_average: decay of the average of θ that is handed out; 0 for the last θ.

        Raises:
            ValueError: a setting out of its range.
        """
        gradients = estimator(
            envs,
            learned_optimizer,
            num_pairs=num_pairs,
            trunc_length=trunc_length,
            sigma=sigma,
            horizon=horizon,
        )
        return gradient_trainer(
            gradients, envs, learned_optimizer, outer_optimizer, theta_average
        )

    return Spec("trainer", name, make, source)
