"""A gradient estimator and an optax transformation make an outer-trainer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from opt_gym.records import (
    Data,
    Env,
    Estimate,
    GradientEstimator,
    LearnedOptimizer,
    OuterTrainer,
    Report,
)


class GradientTrainerState(NamedTuple):
    """θ, its running average (unbiased when read), the optax state, the estimator's."""

    theta: PyTree
    average: PyTree
    count: Int[Array, ""]
    optimizer: PyTree
    estimator: Any


def gradient_trainer(
    estimator: GradientEstimator,
    envs: Sequence[Env],
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformation,
    theta_average: float = 0.0,
) -> OuterTrainer:
    """The outer-trainer that follows an estimator's gradients.

    A gradient that is not finite never reaches θ: that step changes nothing but the
    estimator's state, and its report says a norm that is not finite.

    Args:
        estimator: gives the gradients.
        envs, learned_optimizer: what it was made for.
        outer_optimizer: any optax transformation.
        theta_average: decay of the average of θ that `theta` returns; 0 for the last θ.

    Raises:
        ValueError: theta_average outside [0, 1).
    """
    if not 0.0 <= theta_average < 1.0:
        raise ValueError(f"theta_average must be in [0, 1), got {theta_average}")

    def init(
        key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree
    ) -> GradientTrainerState:
        return GradientTrainerState(
            theta=theta,
            average=jax.tree.map(jnp.zeros_like, theta),
            count=jnp.zeros((), jnp.int32),
            optimizer=outer_optimizer.init(theta),
            estimator=estimator.init(key, data, theta),
        )

    @jax.jit
    def apply(
        state: GradientTrainerState, estimate: Estimate
    ) -> tuple[PyTree, PyTree, PyTree, Float[Array, ""]]:
        norm = optax.tree.norm(estimate.grad)
        finite = jnp.isfinite(norm)
        grad = jax.tree.map(lambda g: jnp.where(finite, g, 0.0), estimate.grad)
        updates, optimizer = outer_optimizer.update(grad, state.optimizer, state.theta)
        theta = optax.apply_updates(state.theta, updates)
        moved = (theta, optimizer)
        theta, optimizer = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old),
            moved,
            (state.theta, state.optimizer),
        )
        average = jax.tree.map(
            lambda a, b: theta_average * a + (1.0 - theta_average) * b,
            state.average,
            theta,
        )
        return theta, average, optimizer, norm

    def step(
        key: PRNGKeyArray, data: tuple[Data, ...], state: GradientTrainerState
    ) -> tuple[GradientTrainerState, Report]:
        estimator_state, estimate = estimator.step(
            key, data, state.theta, state.estimator
        )
        theta, average, optimizer, norm = apply(state._replace(estimator=()), estimate)
        report = Report(
            outer_loss=estimate.outer_loss,
            grad_norm=norm,
            variance=estimate.variance,
            dropped=estimate.dropped,
            inner_steps=estimate.inner_steps,
        )
        state = GradientTrainerState(
            theta, average, state.count + 1, optimizer, estimator_state
        )
        return state, report

    def theta(state: GradientTrainerState) -> PyTree:
        if theta_average == 0.0 or int(state.count) == 0:
            return state.theta
        unbias = 1.0 - theta_average ** int(state.count)
        return jax.tree.map(lambda leaf: leaf / unbias, state.average)

    return OuterTrainer(
        name=estimator.name,
        config={
            "estimator": estimator.config,
            "theta_average": theta_average,
            "learned_optimizer": [learned_optimizer.name, learned_optimizer.config],
            "envs": [env.config for env in envs],
        },
        envs=tuple(envs),
        learned_optimizer=learned_optimizer,
        init=init,
        step=step,
        theta=theta,
    )
