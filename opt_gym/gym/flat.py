"""The array that agents see and the array they act with, as pure functions.

    env = opt_gym.make("quadratic")
    data = opt_gym.load_data(env)
    flat = opt_gym.flat(env, data)
    state, seen = flat.reset(key, data, horizon)
    state, seen, out = flat.step(data, state, action)

For loops of one's own under `jit`, `vmap` and `scan`: no numpy, no host. Nothing resets by
itself, for a reset inside of a scan would be computed at every step of every row under
`vmap`: a scan over a window of steps, then new episodes where `out.terminated |
out.truncated`, then the next window.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from opt_gym.gym._layout import Layout, make_layout, to_action, to_array
from opt_gym.gym._settings import ACTION_SCALE
from opt_gym.numerics import with_fixed_numerics
from opt_gym.records import Data, Env, EnvState, StepOut


class FlatEnv(NamedTuple):
    """A functional environment whose observations and actions are arrays.

    Attributes:
        layout: which row is whose.
        reset: (key, data, horizon) -> (state, observation).
        step: (data, state, action) -> (state, observation, StepOut).

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
        ValueError: the features show nothing at the action's level.
    """
    layout = layout_of(env, data)[0]
    if action_scale is None:
        action_scale = ACTION_SCALE if env.action_map.name == "update" else 1.0

    def reset(key: PRNGKeyArray, data: Data, horizon: Any) -> tuple[EnvState, Array]:
        state = env.reset(key, data, jnp.asarray(horizon, jnp.int32))
        return state, shown(env, layout, state)

    def step(
        data: Data, state: EnvState, action: Float[Array, "..."]
    ) -> tuple[EnvState, Array, StepOut]:
        state, out = acted(env, layout, data, state, action, jnp.float32(action_scale))
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
