"""How long an episode of outer-training lasts: constant, log-uniform, on a curriculum.

Lengths are multiples of K, the inner steps of a compiled window, so that an episode ends only
between two windows.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from opt_gym.checks import check_whole

Horizon = int | tuple[int, int]


class Lengths(NamedTuple):
    """The distribution of lengths.

    Attributes:
        low, high: log-uniform between them, rounded up to a multiple of K; a constant where
            they are the same.
        trunc_length: K.
        curriculum: outer steps over which the upper bound grows, log-linearly, from low to
            high; 0 for high at once.
    """

    low: int
    high: int
    trunc_length: int
    curriculum: int = 0

    @property
    def num_windows(self) -> int:
        """Of the longest episode."""
        return math.ceil(self.high / self.trunc_length)

    def upper(self, outer_step: int) -> float:
        """The upper bound at an outer step."""
        if outer_step >= self.curriculum:
            return float(self.high)
        share = outer_step / self.curriculum
        return self.low * (self.high / self.low) ** share

    def draw(self, key: PRNGKeyArray, upper: Array | float) -> Int[Array, ""]:
        """One length; traceable."""
        if self.low == self.high:
            return jnp.int32(
                self.trunc_length * math.ceil(self.low / self.trunc_length)
            )
        low = math.log(self.low)
        share = jax.random.uniform(key)
        length = jnp.exp(low + share * (jnp.log(upper) - low))
        # The small slack keeps exp(log(100)) = 100.00001 from becoming 150.
        windows = jnp.ceil(length / self.trunc_length - 1e-4).astype(jnp.int32)
        return self.trunc_length * jnp.maximum(windows, 1)

    def mean(self, upper: float) -> float:
        """The mean of `draw`, exactly."""
        low, k = self.low, self.trunc_length
        if upper - low < 1e-6 * low:
            return float(k * math.ceil(low / k))
        total = 0.0
        for windows in range(math.ceil(low / k), math.ceil(upper / k) + 1):
            inside = min(windows * k, upper) / max((windows - 1) * k, low)
            total += windows * k * math.log(inside)
        return total / math.log(upper / low)


def lengths(horizon: Horizon, trunc_length: int, curriculum: int = 0) -> Lengths:
    """The distribution that a trainer's settings mean.

    Raises:
        ValueError: a horizon that is not >= 1 or 1 <= low <= high, trunc_length < 1,
            curriculum < 0, or one with a constant horizon; what is no integer.
    """
    check_whole("trunc_length", trunc_length, 1)
    check_whole("curriculum", curriculum, 0)
    bounds = tuple(horizon) if isinstance(horizon, Sequence) else (horizon, horizon)
    if not (
        len(bounds) == 2
        and all(isinstance(one, int) for one in bounds)
        and 1 <= bounds[0] <= bounds[1]
    ):
        raise ValueError(
            "horizon must be an integer >= 1, or two with 1 <= low <= high, got "
            f"{horizon!r}"
        )
    low, high = bounds
    if curriculum and low == high:
        raise ValueError(
            f"a curriculum needs a horizon (low, high) to grow in, got {horizon}"
        )
    return Lengths(low, high, trunc_length, curriculum)


def staggered(
    length: Int[Array, ""], index: Int[Array, ""], num: int, trunc_length: int
) -> Int[Array, ""]:
    """K·⌈(index+1)/num · length/K⌉: first episodes are really short, by different amounts.

    Slots then do not reset all at once.
    """
    count = (index.astype(jnp.int32) + 1) * (length // trunc_length)
    return trunc_length * ((count + num - 1) // num)
