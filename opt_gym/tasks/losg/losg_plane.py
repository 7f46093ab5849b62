"""The two-dimensional test functions of losg_tasks, and where training begins on them."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Scalar = Float[Array, ""]


class PlaneFunction(NamedTuple):
    """A function of (x, y).

    Attributes:
        value: (x, y) -> the function.
        floor: its infimum over the plane, where it is known, else below it.
        low, high: the start is uniform between these corners; None: it is N(0, 1).
    """

    value: Callable[[Scalar, Scalar], Scalar]
    floor: float = 0.0
    low: tuple[float, float] | None = None
    high: tuple[float, float] | None = None

    def start(self, key: PRNGKeyArray) -> Float[Array, " 2"]:
        """A random start point."""
        if self.low is None or self.high is None:
            return jax.random.normal(key, (2,))
        low, high = jnp.array(self.low), jnp.array(self.high)
        return low + (high - low) * jax.random.uniform(key, (2,))


def _cube(
    value: Callable[[Scalar, Scalar], Scalar], low: float, high: float, floor: float
) -> PlaneFunction:
    return PlaneFunction(value, floor, (low, low), (high, high))


def _ackley(x: Scalar, y: Scalar) -> Scalar:
    near = jnp.exp(-0.2 * jnp.sqrt(0.5 * (x**2 + y**2)))
    waves = jnp.exp(0.5 * (jnp.cos(2 * math.pi * x) + jnp.cos(2 * math.pi * y)))
    return 20.0 + math.e - 20.0 * near - waves


def _beale(x: Scalar, y: Scalar) -> Scalar:
    first = 1.5 - x + x * y
    second = 2.25 - x + x * y**2
    third = 2.625 - x + x * y**3
    return first**2 + second**2 + third**2


def _branin(x: Scalar, y: Scalar) -> Scalar:
    bent = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bent**2 + 10 * (1 - 1 / (8 * math.pi)) * jnp.cos(x) + 10


def _logsumexp(x: Scalar, y: Scalar) -> Scalar:
    ways = jnp.exp(x + 3 * y - 0.1) + jnp.exp(x - 3 * y - 0.1) + jnp.exp(-x - 0.1)
    return jnp.log(ways + 1.0)


def _matyas(x: Scalar, y: Scalar) -> Scalar:
    return 0.26 * (x**2 + y**2) - 0.48 * x * y


def _michalewicz(x: Scalar, y: Scalar) -> Scalar:
    first = jnp.sin(x) * jnp.sin(x**2 / math.pi) ** 10
    second = jnp.sin(y) * jnp.sin(2 * y**2 / math.pi) ** 10
    return 2.0 - (first + second)


def _rosenbrock(x: Scalar, y: Scalar) -> Scalar:
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def _styblinski_tang(x: Scalar, y: Scalar) -> Scalar:
    of_x, of_y = (v**4 - 16 * v**2 + 5 * v for v in (x, y))
    return 0.5 * (of_x + of_y) + 80.0


SAMPLED = (
    "StyblinskiTang",
    "ackley",
    "beale",
    "branin",
    "logsumexp",
    "matyas",
    "michalewicz",
    "rosenbrock",
)
"""Those that TaskSet draws from, in its order."""

FUNCTIONS = {
    "StyblinskiTang": _cube(_styblinski_tang, -5.0, 5.0, 1.66766),
    "ackley": _cube(_ackley, -32.768, 32.768, 0.0),
    "beale": _cube(_beale, -4.5, 4.5, 0.0),
    "branin": PlaneFunction(_branin, 0.397887, (-5.0, 0.0), (10.0, 15.0)),
    # At y = 0 and exp(2 x) = 1/2.
    "logsumexp": PlaneFunction(_logsumexp, math.log(1 + 8**0.5 * math.exp(-0.1))),
    "matyas": _cube(_matyas, -10.0, 10.0, 0.0),
    # Over the whole plane; where training begins, the lowest value is 0.193.
    "michalewicz": _cube(_michalewicz, 0.0, math.pi, 0.0),
    "rosenbrock": _cube(_rosenbrock, -5.0, 10.0, 0.0),
    # Our own: the picture of a valley that every optimizer must find the bottom of.
    "half_squared_difference": PlaneFunction(lambda x, y: 0.5 * (x - y) ** 2),
}
"""Name -> function. Below the floors of StyblinskiTang and branin, which are rounded down,
lies nothing."""
