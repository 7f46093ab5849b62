"""Optimizers from elsewhere in the shape of a `LearnedOptimizer`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray, PyTree

from opt_gym import plugins
from opt_gym.records import Config, LearnedOptimizer, Memory, Observation, Signal

Evaluated = Callable[[Any, PyTree], PyTree]
"""(the optimizer's state, weights) -> the weights to measure and to keep."""


def from_optax(
    transformation: optax.GradientTransformation,
    name: str = "optax",
    evaluated: Evaluated | None = None,
) -> LearnedOptimizer:
    """Any optax transformation as a policy of the environment; θ is ().

    Its state is the carry. One that takes extra arguments is given `value`, the loss, and
    `grad`. Its settings are closed over, so its results are never cached.

    Args:
        transformation: such as `optax.adam(1e-3)`, schedules and chains included.
        name: for reports.
        evaluated: for one that trains other weights than it leaves, such as
            `optax.contrib.schedule_free_eval_params`.

    Raises:
        ValueError: not an optax transformation.
    """
    check_transformation(transformation)
    takes_more = isinstance(transformation, optax.GradientTransformationExtraArgs)
    policy = from_maker(
        lambda theta, horizon: transformation, (), name, evaluated=evaluated
    )
    return policy._replace(needs=("loss",) if takes_more else ())


def from_maker(
    make: Callable[[PyTree, Any], optax.GradientTransformation],
    theta: PyTree,
    name: str,
    config: Config | None = None,
    evaluated: Evaluated | None = None,
) -> LearnedOptimizer:
    """A policy whose transformation is made where it is used: of θ, and of the horizon.

    So that one compiled program serves many learning rates, and schedules of any length.

    Args:
        make: (θ, horizon) -> transformation; both may be traced. The tree of its state must
            not depend on them.
        theta: at the start; Python numbers.
        name, config: as those of a `LearnedOptimizer`; a config whose "foreign" tells all
            about the optimizer lets its results be cached.
        evaluated: see `from_optax`.
    """

    def made(theta: PyTree, horizon: Any) -> optax.GradientTransformationExtraArgs:
        return optax.with_extra_args_support(make(theta, horizon))

    def init_theta(key: PRNGKeyArray) -> PyTree:
        return jax.tree.map(jnp.float32, theta)

    def init(theta: PyTree, params: PyTree, roles: tuple[str, ...]) -> Memory:
        # Python numbers in a state would change their type inside a scan.
        state = made(theta, 1).init(params)
        return Memory(shared=jax.tree.map(jnp.asarray, state))

    def step(
        theta: PyTree, carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple[Any]]:
        updates, state = made(theta, signal.horizon).update(
            signal.grad,
            carry.shared,
            signal.params,
            value=signal.loss,
            grad=signal.grad,
        )
        return Memory(shared=state), (updates,)

    def of_state(theta: PyTree, carry: Memory, params: PyTree) -> PyTree:
        assert evaluated is not None
        return evaluated(carry.shared, params)

    return LearnedOptimizer(
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=("loss", "horizon"),
        init_theta=init_theta,
        init=init,
        step=step,
        name=name,
        config=config or {},
        evaluated=of_state if evaluated else None,
    )


def check_transformation(given: Any) -> None:
    """Raises ValueError for what is no optax transformation."""
    if not isinstance(given, optax.GradientTransformation):
        raise ValueError(
            "expected an optax.GradientTransformation such as optax.adam(1e-3), got "
            f"{given!r}"
        )
