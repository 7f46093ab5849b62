"""The array that agents see and the array they act with, as pure functions.

    env = opt_gym.make("quadratic")
    data = opt_gym.load_data(env)
    flat = opt_gym.flat(env, data)
    state, seen = flat.reset(key, data, horizon)
    state, seen, out = flat.step(data, state, action)

For loops of one's own under `jit`, `vmap` and `scan`: no numpy, no host. Nothing resets by
itself, for a reset inside of a scan would be computed at every step of every row under
`vmap`: a scan over a window of steps, then new episodes where `out.terminated |
out.truncated`, then the next window. What is left of a window after an episode's end pays
nothing, so that the rewards of an episode add up to its return.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from opt_gym.checks import check_whole
from opt_gym.env import COST_LIMIT
from opt_gym.gym._actions import as_actions
from opt_gym.gym._layout import Layout, make_layout, to_action, to_array
from opt_gym.gym._settings import ACTION_SCALE, LARGEST_HORIZON, check_action_scale
from opt_gym.numerics import with_fixed_numerics
from opt_gym.records import Data, Env, EnvState, StepOut


class FlatEnv(NamedTuple):
    """A functional environment whose observations and actions are arrays.

    Attributes:
        layout: which row is whose.
        reset: (key, data, horizon) -> (state, observation).
        step: (data, state, action) -> (state, observation, StepOut); a divergence pays at
            once for every step that is left, as that of `gym.make` does, and a step after
            the end 0.

    Shapes: observation and action as those of `gym.make`.
    """

    layout: Layout
    reset: Callable[
        [PRNGKeyArray, Data, Int[Array, ""] | int],
        tuple[EnvState, Float[Array, "..."]],
    ]
    step: Callable[
        [Data, EnvState, Float[Array, "..."]],
        tuple[EnvState, Float[Array, "..."], StepOut],
    ]


def flat(env: Env, data: Data, action_scale: float | None = None) -> FlatEnv:
    """The pure functions behind `gym.make`.

    Args:
        env: from `opt_gym.make`.
        data: its data; only shapes are looked at.
        action_scale: what actions are multiplied by; by default 0.01 for updates, as
            `gym.make` has it, and 1 for other action maps.

    Raises:
        ValueError: the features show nothing at the action's level; an action scale that
            float32 does not hold; in its functions, a horizon or an action that cannot be.
    """
    layout = layout_of(env, data)[0]
    if action_scale is None:
        action_scale = ACTION_SCALE if env.action_map.name == "update" else 1.0
    check_action_scale(action_scale)

    def reset(key: PRNGKeyArray, data: Data, horizon: Any) -> tuple[EnvState, Array]:
        _check_horizon(horizon)
        state = env.reset(key, data, jnp.asarray(horizon, jnp.int32))
        return state, shown(env, layout, state)

    def step(
        data: Data, state: EnvState, action: Float[Array, "..."]
    ) -> tuple[EnvState, Array, StepOut]:
        action = as_actions(action, layout.action_shape)
        over = state.dead | (state.t >= state.horizon)
        state, out = acted(env, layout, data, state, action, jnp.float32(action_scale))
        out = out._replace(reward=jnp.where(over, 0.0, paid(state, out)))
        return state, shown(env, layout, state), out

    return FlatEnv(layout, with_fixed_numerics(reset), with_fixed_numerics(step))


@with_fixed_numerics
def layout_of(env: Env, data: Data) -> tuple[Layout, dict[str, Any]]:
    """(the layout, the shapes of what a loss tells beside itself)."""

    def first_loss(key: Any, data: Data) -> tuple[PyTree, dict[str, Any]]:
        params, instance = env.task.init(key, data)
        batch = env.task.sample_batch(key, data, instance, "train")
        return params, env.task.loss(key, params, instance, batch)[1]

    params, aux = jax.eval_shape(first_loss, jax.random.key(0), data)
    return make_layout(env, params), aux


def shown(env: Env, layout: Layout, state: EnvState) -> Float[Array, "..."]:
    """What an agent sees of a state; zeros once it is dead."""
    _, observation = env.observe(state)
    return to_array(layout, observation, state.dead)


def _check_horizon(horizon: Any) -> None:
    # The value of an array may be traced; its kind is known.
    if not isinstance(horizon, jax.Array):
        check_whole("horizon", horizon, 1, LARGEST_HORIZON)
    elif horizon.shape or not jnp.issubdtype(horizon.dtype, jnp.integer):
        raise ValueError(
            f"horizon must be an integer, got {horizon.dtype} of shape {horizon.shape}"
        )


def paid(state: EnvState, out: StepOut) -> Float[Array, ""]:
    """The reward of a step; one that diverges pays for every step that is left."""
    left = jnp.maximum(state.horizon - state.t, 0) / state.horizon
    return out.reward - jnp.where(out.terminated, COST_LIMIT * left, 0.0)


def acted(
    env: Env,
    layout: Layout,
    data: Data,
    state: EnvState,
    action: Float[Array, "..."],
    scale: Float[Array, ""],
) -> tuple[EnvState, StepOut]:
    """One inner step; an action that is not finite is a divergence."""
    # An action may be infinite and its update finite: the sigmoid of a momentum.
    usable = jnp.all(jnp.isfinite(action))
    state = state._replace(dead=state.dead | ~usable)
    return env.step(data, state, to_action(layout, scale * action.astype(jnp.float32)))
