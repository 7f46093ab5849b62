"""A gradient estimator and an optax transformation make an outer-trainer."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from agents.estimators import theta_averages
from agents.estimators.live_programs import LivePrograms
from agents.estimators.trainer_record import outer_trainer
from agents.records import (
    Call,
    Estimate,
    GradientEstimator,
    GradientParts,
    OuterTrainer,
    Report,
    RunCalls,
)
from agents.task_mixes import TaskMix
from opt_gym.records import Config, Data, Env, LearnedOptimizer
from opt_gym.runtime import strategy


class GradientTrainerState(NamedTuple):
    """θ, its running average (unbiased when read), the optax state, and the estimators'.

    estimators: of every live task, by its place in the mix.
    """

    theta: PyTree
    average: PyTree
    count: Int[Array, ""]
    optimizer: PyTree
    estimators: dict[int, Any]


def gradient_trainer(
    name: str,
    config: Config,
    estimator: Callable[[Env], GradientEstimator],
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    outer_optimizer: optax.GradientTransformation,
    theta_average: float = 0.0,
) -> OuterTrainer:
    """The outer-trainer that follows an estimator's gradients.

    A gradient that is not finite never reaches θ: that task is left out of the step's mean
    and counted in the report, and where all of them are, θ stays.

    Args:
        name, config: of the estimator.
        estimator: env -> its estimator; called again for a task whose programs were freed.
        mix: the tasks.
        learned_optimizer: whose θ.
        outer_optimizer: any optax transformation; one that takes `value` (a learned
            optimizer does) is given the outer-loss.
        theta_average: decay of the average of θ that `theta` returns; 0 for the last θ.

    Raises:
        ValueError: theta_average outside [0, 1).
    """
    theta_averages.check_decay(theta_average)
    optimizer = optax.with_extra_args_support(outer_optimizer)
    estimators = LivePrograms(estimator, mix)
    mix.check_episodes(estimators.of(0, 0).num_windows)
    live = _live_states(estimators, mix)

    def init(
        key: PRNGKeyArray, data: tuple[Data, ...], theta: PyTree, outer_step: int = 0
    ) -> GradientTrainerState:
        return GradientTrainerState(
            theta=theta,
            average=jax.tree.map(jnp.zeros_like, theta),
            count=jnp.zeros((), jnp.int32),
            optimizer=optimizer.init(theta),
            estimators=live({}, key, data, theta, outer_step),
        )

    def estimate(data: Data, call: Call) -> tuple[Any, Estimate]:
        one = estimators.of(call.task, call.outer_step)
        return one.step(call.key, data, call.theta, call.state, call.outer_step)

    def run_here(
        data: tuple[Data, ...], calls: list[Call]
    ) -> list[tuple[Any, Estimate]]:
        return [estimate(data[call.task], call) for call in calls]

    step_with = _step_with(mix, live, _update(optimizer, theta_average))

    def theta(state: GradientTrainerState) -> PyTree:
        count = int(state.count)
        return theta_averages.read(state.theta, state.average, count, theta_average)

    return outer_trainer(
        name,
        {"estimator": {"name": name, **config}, "theta_average": theta_average},
        mix,
        learned_optimizer,
        init=init,
        step=step_with(run_here),
        theta=theta,
        parts=GradientParts(estimate, step_with),
    )


def _live_states(
    estimators: LivePrograms[GradientEstimator], mix: TaskMix
) -> Callable[..., dict[int, Any]]:
    """(known, key, data, θ, outer_step) -> the estimators' states of the live tasks."""

    def live(
        known: dict[int, Any],
        key: PRNGKeyArray,
        data: tuple[Data, ...],
        theta: PyTree,
        outer_step: int,
    ) -> dict[int, Any]:
        def begin(task: int) -> Any:
            # Calls of the same outer step have the keys of the tasks themselves.
            own_key = jax.random.fold_in(key, len(mix.envs) + task)
            one = estimators.of(task, outer_step)
            # Arrays that were not yet put anywhere would make its programs compile twice.
            return strategy.gather(one.init(own_key, data[task], theta))

        return mix.of_live(outer_step, known, begin)

    return live


def _step_with(
    mix: TaskMix, live: Callable[..., dict[int, Any]], apply: Callable[..., Any]
) -> Callable[[RunCalls], Callable[..., Any]]:
    """Who makes the estimates -> an outer step."""

    def step_with(run: RunCalls) -> Callable[..., Any]:
        def step(
            key: PRNGKeyArray, data: tuple[Data, ...], state: GradientTrainerState
        ) -> tuple[GradientTrainerState, Report]:
            outer_step, states = int(state.count), dict(state.estimators)
            calls = [
                Call(
                    task,
                    jax.random.fold_in(key, task),
                    state.theta,
                    states[task],
                    outer_step,
                )
                for task in mix.pick(outer_step)
            ]
            results = run(data, calls)
            for call, (new, _) in zip(calls, results, strict=True):
                states[call.task] = new
            estimates = [found for _, found in results]
            state, report = apply(state._replace(estimators={}), estimates)
            states = live(states, key, data, state.theta, outer_step + 1)
            return state._replace(estimators=states), report

        return step

    return step_with


def _update(
    optimizer: optax.GradientTransformationExtraArgs, theta_average: float
) -> Callable[..., tuple[GradientTrainerState, Report]]:
    """(state without estimators, estimates) -> (state after the update, Report)."""

    @jax.jit
    def apply(
        state: GradientTrainerState, estimates: list[Estimate]
    ) -> tuple[GradientTrainerState, Report]:
        grad, report = _averaged(estimates)
        updates, moved = optimizer.update(
            grad, state.optimizer, state.theta, value=report.outer_loss
        )
        moved = (optax.apply_updates(state.theta, updates), moved)
        some = report.skipped < len(estimates)
        theta, optimizer_state = jax.tree.map(
            lambda new, old: jnp.where(some, new, old),
            moved,
            (state.theta, state.optimizer),
        )
        average = theta_averages.updated(state.average, theta, theta_average)
        count = state.count + 1
        return GradientTrainerState(theta, average, count, optimizer_state, {}), report

    return apply


def _averaged(estimates: Sequence[Estimate]) -> tuple[PyTree, Report]:
    """The mean of the gradients that are finite, and what to tell of all of them."""
    norms = jnp.stack([optax.tree.norm(one.grad) for one in estimates])
    finite = jnp.isfinite(norms)
    weights = jnp.where(finite, 1.0, 0.0) / jnp.maximum(jnp.sum(finite), 1)

    def mean(*leaves: Float[Array, "..."]) -> Float[Array, "..."]:
        return sum(
            (
                w * jnp.where(ok, leaf, 0.0)
                for w, ok, leaf in zip(weights, finite, leaves, strict=True)
            ),
            jnp.zeros_like(leaves[0]),
        )

    grad = jax.tree.map(mean, *(one.grad for one in estimates))
    told = Report(
        outer_loss=jnp.nanmean(jnp.stack([one.outer_loss for one in estimates])),
        grad_norm=optax.tree.norm(grad),
        variance=jnp.mean(jnp.stack([one.variance for one in estimates])),
        dropped=sum(one.dropped for one in estimates),
        inner_steps=sum(one.inner_steps for one in estimates),
        skipped=jnp.sum(~finite),
    )
    return grad, told
