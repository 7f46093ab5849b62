"""A learned optimizer and an environment in one scan."""

from typing import Any

import jax
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from opt_gym.records import Data, Env, LearnedOptimizer, StepOut, UnrollState


def start(
    key: PRNGKeyArray,
    env: Env,
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    data: Data,
    horizon: Int[Array, ""] | int,
) -> UnrollState:
    """Resets the environment and the learned optimizer's carry.

    Raises:
        ValueError: the environment shows other features, or takes other actions, than the
            learned optimizer's.
    """
    check_compatible(env, learned_optimizer)
    state = env.reset(key, data, horizon)
    return UnrollState(state, learned_optimizer.init(theta, state.params))


def unroll(
    env: Env,
    learned_optimizer: LearnedOptimizer,
    theta: PyTree,
    data: Data,
    state: UnrollState,
    num_steps: int,
) -> tuple[UnrollState, StepOut]:
    """num_steps inner steps.

    Returns:
        The state after them, and a StepOut whose fields have a leading axis [num_steps].

    Raises:
        ValueError: as `start`; num_steps < 1.
    """
    check_compatible(env, learned_optimizer)
    if num_steps < 1:
        raise ValueError(f"num_steps must be >= 1, got {num_steps}")

    def body(state: UnrollState, _: None) -> tuple[UnrollState, StepOut]:
        # `observe` at the top of the body: an observation in the scan's carry costs 10 %.
        signal, observation = env.observe(state.env)
        carry, action = learned_optimizer.step(theta, state.carry, signal, observation)
        env_state, out = env.step(data, state.env, action)
        return UnrollState(env_state, carry), out

    return jax.lax.scan(body, state, None, length=num_steps)


def check_compatible(env: Env, learned_optimizer: LearnedOptimizer) -> None:
    """Raises ValueError unless env has the learned optimizer's features and action map."""
    pairs: list[tuple[str, Any, Any]] = [
        ("features", env.features, learned_optimizer.features),
        ("action map", env.action_map, learned_optimizer.action_map),
    ]
    for what, has, wants in pairs:
        if (has.name, has.config) != (wants.name, wants.config):
            raise ValueError(
                f"this environment's {what} are {has.name!r} {has.config}, but the learned "
                f"optimizer {learned_optimizer.name!r} was made for {wants.name!r} "
                f"{wants.config}: make the environment with opt_gym.make(..., "
                "learned_optimizer=...)"
            )
