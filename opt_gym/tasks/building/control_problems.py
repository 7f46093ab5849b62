"""Control problems that run on the device, many episodes side by side."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from opt_gym.tasks.building import cart_pole

GYMNAX = "gymnax:"
"""Before the name of a problem of that package."""


class ControlProblem(NamedTuple):
    """A problem with a choice of actions; n episodes at once.

    Attributes:
        num_numbers: how many numbers a policy sees.
        num_actions: which it chooses from.
        most_reward: of a step, where it is known, else 0.
        start: (key, n) -> states, a pytree.
        see: states -> what a policy sees of them.
        step: (key, states, actions) -> (states, rewards, whether an episode has ended).
    """

    num_numbers: int
    num_actions: int
    most_reward: float
    start: Callable[[PRNGKeyArray, int], Any]
    see: Callable[[Any], Float[Array, "n d"]]
    step: Callable[
        [PRNGKeyArray, Any, Int[Array, " n"]],
        tuple[Any, Float[Array, " n"], Bool[Array, " n"]],
    ]


def control_problem(name: str) -> ControlProblem:
    """The problem of that name: "cart_pole", or "gymnax:" and a name of gymnax's.

    Raises:
        ValueError: there is none, gymnax is not installed, or its actions are no choice.
    """
    if name.startswith(GYMNAX):
        return _of_gymnax(name.removeprefix(GYMNAX))
    if name != "cart_pole":
        raise ValueError(
            f"problem must be 'cart_pole' or '{GYMNAX}' and a name, got {name!r}"
        )
    return ControlProblem(
        cart_pole.NUM_NUMBERS,
        cart_pole.NUM_ACTIONS,
        1.0,
        cart_pole.start,
        cart_pole.see,
        _push,
    )


def _push(
    key: PRNGKeyArray, states: Float[Array, "n 4"], actions: Int[Array, " n"]
) -> tuple[Array, Array, Array]:
    """A step pays where the pole stands before it, as in Gymnasium."""
    states = cart_pole.step(states, actions == 1)
    return states, jnp.ones(states.shape[:1]), ~cart_pole.stands(states)


def _of_gymnax(name: str) -> ControlProblem:
    """Its parameters are gymnax's defaults; its limit of an episode's length does not count."""
    try:
        import gymnax
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the problem {GYMNAX}{name} needs gymnax: pip install 'opt-gym[gymnax]'"
        ) from error
    if name not in gymnax.registered_envs:
        known = ", ".join(gymnax.registered_envs)
        raise ValueError(f"gymnax has no problem {name!r}; it has {known}")
    env, params = gymnax.make(name)
    if not hasattr(env.action_space(params), "n"):
        raise ValueError(f"the actions of {GYMNAX}{name} are numbers, not a choice")

    def start(key: PRNGKeyArray, count: int) -> Any:
        return jax.vmap(lambda one: env.reset_env(one, params))(
            jax.random.split(key, count)
        )

    def see(states: Any) -> Array:
        numbers = states[0].astype(jnp.float32)
        return numbers.reshape(numbers.shape[0], -1)

    def step(key: PRNGKeyArray, states: Any, actions: Array) -> Any:
        def one(key: PRNGKeyArray, state: Any, action: Array) -> Any:
            seen, state, reward, ends, _ = env.step_env(key, state, action, params)
            return (seen, state), jnp.asarray(reward, jnp.float32), ends

        keys = jax.random.split(key, actions.shape[0])
        return jax.vmap(one)(keys, states[1], actions)

    shape = env.observation_space(params).shape
    return ControlProblem(math.prod(shape), int(env.num_actions), 0.0, start, see, step)
