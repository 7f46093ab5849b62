"""What losg_tasks draw once per problem: linear systems and small synthetic data sets.

Every drawing is written once, over a `Randomness` that comes from numpy (a problem seed, the
original's stream) or from a JAX key (everything anew).
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray
from numpy.random import RandomState

NUM_IDS = 5
"""Symbols in an example of the noisy parity."""

NUM_SYMBOLS = 2
PARITY_NOISE = 0.25
LABEL_LAYERS, LABEL_WIDTH = 6, 20
"""The random network that labels a classification set."""

_TAIL = 20.0
"""Bounds on drawn numbers hold with a probability above 1 - exp(-20)."""


class Arrays(NamedTuple):
    """What a problem has drawn.

    Shapes: of a linear system, inputs W [d, d] and targets y [d, 1]; of a data set, inputs
    [n, features] float32 or [n, 5] int32, and targets [n] int32 or None.
    """

    inputs: Any
    targets: Any


class Randomness(NamedTuple):
    """Draws of any shape, independent of all earlier ones.

    Attributes:
        normal: shape -> N(0, 1), float32.
        coin: (shape, probability) -> int32, 1 with that probability, else 0.
    """

    normal: Callable[[tuple[int, ...]], Any]
    coin: Callable[[tuple[int, ...], float], Any]


Draw = Callable[[Randomness], Arrays]


def from_state(rng: RandomState) -> Randomness:
    """Draws of numpy's legacy generator, rounded to float32 as the original does."""
    return Randomness(
        normal=lambda shape: rng.standard_normal(shape).astype(np.float32),
        coin=lambda shape, p: (rng.random_sample(shape) < p).astype(np.int32),
    )


def from_key(key: PRNGKeyArray) -> Randomness:
    """Draws of JAX; the keys are folds of `key`, in the order of the calls."""
    keys = (jax.random.fold_in(key, i) for i in itertools.count())
    return Randomness(
        normal=lambda shape: jax.random.normal(next(keys), shape, jnp.float32),
        coin=lambda shape, p: jax.random.bernoulli(next(keys), p, shape).astype(
            jnp.int32
        ),
    )


def linear_system(dim: int) -> Draw:
    """W [d, d], then y [d, 1], all N(0, 1)."""

    def draw(random: Randomness) -> Arrays:
        matrix = random.normal((dim, dim))
        return Arrays(matrix, random.normal((dim, 1)))

    return draw


def normal_rows(num: int, features: int) -> Draw:
    """Inputs [n, features] of N(0, 1), without labels."""
    return lambda random: Arrays(random.normal((num, features)), None)


def symmetric_rows(num: int, features: int) -> Draw:
    """Inputs z and then -z, z of N(0, 1) and ⌊n/2⌋ rows; their sum is 0."""
    signs = np.array([1.0, -1.0], np.float32)[:, None, None]

    def draw(random: Randomness) -> Arrays:
        half = random.normal((num // 2, features))
        return Arrays((signs * half[None]).reshape(-1, features), None)

    return draw


def random_mlp(num: int, features: int) -> Draw:
    """Inputs of N(0, 1), labelled 1 where the first unit of a random network is above 0.

    Six layers of 20 ReLUs without biases, every weight N(0, 2 / features): deep layers too
    have the variance that fits the first.
    """

    def draw(random: Randomness) -> Arrays:
        inputs = random.normal((num, features))
        hidden, width = inputs, features
        scale = np.float32(math.sqrt(2.0 / features))
        for _ in range(LABEL_LAYERS):
            hidden = hidden @ (scale * random.normal((width, LABEL_WIDTH)))
            hidden, width = hidden * (hidden > 0), LABEL_WIDTH
        return Arrays(inputs, (hidden[:, 0] > 0).astype(np.int32))

    return draw


def noisy_parity(num: int) -> Draw:
    """Five bits an example; the label is their parity, flipped with probability 1/4."""

    def draw(random: Randomness) -> Arrays:
        ids = random.coin((num, NUM_IDS), 0.5)
        flips = random.coin((num,), PARITY_NOISE)
        return Arrays(ids, ((ids.sum(1) + flips) % 2).astype(np.int32))

    return draw


def largest_square_norm(num: int, features: int) -> float:
    """No |row|² of n rows of `features` N(0, 1) is above it, but for one draw in e^20.

    d + 2 sqrt(d t) + 2 t with t = log n + 20.

    Source: Laurent & Massart 2000, Annals of Statistics 28(5), lemma 1, with a union bound.
    """
    t = math.log(num) + _TAIL
    return features + 2 * math.sqrt(features * t) + 2 * t


def largest_normal(num: int) -> float:
    """No one of n N(0, 1) is above it, but for one draw in e^20: sqrt(2 (log n + 20))."""
    return math.sqrt(2 * (math.log(num) + _TAIL))
