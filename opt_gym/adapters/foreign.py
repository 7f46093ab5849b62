"""Optimizers from elsewhere in the shape of a `LearnedOptimizer`."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray, PyTree

from opt_gym import plugins
from opt_gym.records import LearnedOptimizer, Memory, Observation, Signal


def from_optax(
    transformation: optax.GradientTransformation, name: str = "optax"
) -> LearnedOptimizer:
    """Any optax transformation as a policy of the environment; θ is ().

    Its state is the carry. One that takes extra arguments is given `value`, the loss, and
    `grad`. Its settings are closed over, so its results are never cached.

    Args:
        transformation: such as `optax.adam(1e-3)`, schedules and chains included.
        name: for reports.

    Raises:
        ValueError: not an optax transformation.
    """
    if not isinstance(transformation, optax.GradientTransformation):
        raise ValueError(
            "expected an optax.GradientTransformation such as optax.adam(1e-3), got "
            f"{transformation!r}"
        )
    takes_more = isinstance(transformation, optax.GradientTransformationExtraArgs)
    extended = optax.with_extra_args_support(transformation)

    def init_theta(key: PRNGKeyArray) -> tuple[()]:
        return ()

    def init(theta: tuple[()], params: PyTree, roles: tuple[str, ...]) -> Memory:
        # Python numbers in a state would change their type inside a scan.
        return Memory(shared=jax.tree.map(jnp.asarray, extended.init(params)))

    def step(
        theta: tuple[()], carry: Memory, signal: Signal, observation: Observation
    ) -> tuple[Memory, tuple[Any]]:
        updates, state = extended.update(
            signal.grad,
            carry.shared,
            signal.params,
            value=signal.loss,
            grad=signal.grad,
        )
        return Memory(shared=state), (updates,)

    return LearnedOptimizer(
        features=plugins.build("features", "none"),
        action_map=plugins.build("action", "update"),
        needs=("loss",) if takes_more else (),
        init_theta=init_theta,
        init=init,
        step=step,
        name=name,
    )
