"""A pole on a cart: a control problem of four numbers and two actions.

Source: Barto, Sutton & Anderson 1983, with the constants and the Euler steps of Gymnasium's
CartPole-v1.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

NUM_NUMBERS, NUM_ACTIONS = 4, 2
GRAVITY, MASS_OF_CART, MASS_OF_POLE, HALF_LENGTH = 9.8, 1.0, 0.1, 0.5
FORCE, SECONDS = 10.0, 0.02
WIDEST, STEEPEST = 2.4, 12.0 * 2.0 * math.pi / 360.0
START = 0.05
SCALE = (1.0, 1.0, 10.0, 1.0)
"""Of what a policy sees: an angle is small."""


def start(key: PRNGKeyArray, count: int) -> Float[Array, "count 4"]:
    """`count` states within ±0.05, drawn with `key`: place, speed, angle, its speed."""
    return jax.random.uniform(key, (count, NUM_NUMBERS), minval=-START, maxval=START)


def see(states: Float[Array, "n 4"]) -> Float[Array, "n 4"]:
    """What a policy sees of `states`: all of it, in numbers of one size."""
    return states * jnp.asarray(SCALE)[None]


def step(states: Float[Array, "n 4"], right: Bool[Array, " n"]) -> Float[Array, "n 4"]:
    """A fiftieth of a second later.

    Args:
        states: as `start` has them.
        right: whether the cart is pushed to the right.
    """
    place, speed, angle, turning = states.T
    force = jnp.where(right, FORCE, -FORCE)
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    total = MASS_OF_CART + MASS_OF_POLE
    lever = MASS_OF_POLE * HALF_LENGTH
    pushed = (force + lever * turning**2 * sine) / total
    inertia = HALF_LENGTH * (4.0 / 3.0 - MASS_OF_POLE * cosine**2 / total)
    falling = (GRAVITY * sine - cosine * pushed) / inertia
    moving = pushed - lever * falling * cosine / total
    return jnp.stack(
        [
            place + SECONDS * speed,
            speed + SECONDS * moving,
            angle + SECONDS * turning,
            turning + SECONDS * falling,
        ],
        axis=1,
    )


def stands(states: Float[Array, "n 4"]) -> Bool[Array, " n"]:
    """Whether in each of `states` the cart is on its track, the pole within twelve degrees."""
    return (jnp.abs(states[:, 0]) <= WIDEST) & (jnp.abs(states[:, 2]) <= STEEPEST)
