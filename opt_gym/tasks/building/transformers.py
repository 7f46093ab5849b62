"""Pre-norm transformer blocks: attention and a perceptron, each added to what enters.

    x ← x + Attention(LN(x)),  x ← x + W₂ act(W₁ LN(x) + b₁) + b₂

φ of a block: γ, β [d]; W [d, 3d], b [3d] of queries, keys and values, heads side by side;
W [d, d], b [d] of the output; γ, β [d]; W₁ [d, m·d], b₁, W₂ [m·d, d], b₂.

Activations are [batch · time, d], so that every layer is one matmul.

Source: Vaswani et al. 2017, arXiv 1706.03762; the norm before each part: Xiong et al. 2020,
arXiv 2002.04745; rotary positions: Su et al. 2021, arXiv 2104.09864, in halves as GPT-NeoX
has them.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import config_checks, layers, samplers
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.initializers import Initializer
from opt_gym.tasks.building.model import Tensor, linear_tensors

KEYS = ("depth", "width", "heads", "expansion", "activation", "w_init")
"""Of a config: blocks, d, heads, m, and what is inside."""

EMBEDDING: Initializer = ("random_normal", 0.02)
"""Of embeddings and positions, as GPT-2 has it."""

ROTARY_BASE = 10_000.0


HEADS = (1, 2, 4, 8)


def sample_blocks(rng: RandomState, heads: int) -> Config:
    """1-6 blocks of width 32-256; activation and initializer as TaskSet draws them.

    Args:
        rng: what they are drawn from.
        heads: one of `HEADS`, drawn before; of an even number of features each.
    """
    return {
        "depth": samplers.log_int(rng, 1, 6),
        "width": 2 * heads * max(1, samplers.log_int(rng, 32, 256) // (2 * heads)),
        "heads": heads,
        "expansion": samplers.pick(rng, (2, 4)),
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
    }


class Blocks(NamedTuple):
    """A stack of blocks, without the norm after the last.

    Attributes:
        tensors: of φ, in creation order.
        apply: (iterator over φ, x [b·t, d], batch b) -> [b·t, d]; takes its tensors.
    """

    tensors: tuple[Tensor, ...]
    apply: Callable[[Iterator[Array], Array, int], Array]


def make_blocks(
    where: str, config: Config, time: int, *, causal: bool, rotary: bool = False
) -> Blocks:
    """The blocks of a config that has `KEYS`.

    Args:
        where: whose config it is, for errors.
        config: its values are checked here.
        time: t, positions of an example.
        causal: whether a position sees those before it and itself alone.
        rotary: whether queries and keys are turned by their position.

    Raises:
        ValueError: a value that cannot be used, by name.
    """
    _check(where, config, rotary)
    width, heads = config["width"], config["heads"]
    activation = ACTIVATIONS[config["activation"]]
    w_init = (config["w_init"][0], config["w_init"][1])
    hidden = config["expansion"] * width
    of_block = (
        *norm_tensors(width),
        *linear_tensors((width, 3 * width), w_init),
        *linear_tensors((width, width), w_init),
        *norm_tensors(width),
        *linear_tensors((width, hidden, width), w_init),
    )
    turns = angles(time, width // heads) if rotary else None

    def apply(rest: Iterator[Array], x: Array, batch: int) -> Array:
        for _ in range(config["depth"]):
            y = norm(rest, x)
            y = layers.linear(y, next(rest), next(rest))
            y = attention(y.reshape(batch, time, 3, heads, -1), causal, turns)
            x = x + layers.linear(y.reshape(x.shape), next(rest), next(rest))
            y = norm(rest, x)
            y = activation(layers.linear(y, next(rest), next(rest)))
            x = x + layers.linear(y, next(rest), next(rest))
        return x

    return Blocks(of_block * config["depth"], apply)


def attention(
    projected: Float[Array, "b t 3 h k"],
    causal: bool,
    angles: Float[np.ndarray, "t k2"] | None = None,
) -> Float[Array, "b t h k"]:
    """softmax(Q Kᵀ/√k) V of every head.

    Args:
        projected: queries, keys and values.
        causal: whether later positions are hidden.
        angles: by which queries and keys are turned; None for no turn.
    """
    time, size = projected.shape[1], projected.shape[4]
    q, k, v = jnp.moveaxis(projected, (2, 3), (0, 2))  # [b, h, t, k] each
    if angles is not None:
        q, k = _turned(q, angles), _turned(k, angles)
    scores = jnp.einsum("bhtk,bhsk->bhts", q, k) * (1.0 / math.sqrt(size))
    if causal:
        hidden = np.triu(np.ones((1, 1, time, time), bool), 1)
        scores = jnp.where(hidden, -jnp.inf, scores)
    shares = jax.nn.softmax(scores)
    return jnp.einsum("bhts,bhsk->bthk", shares, v)


def norm(rest: Iterator[Array], x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Layer norm of `x`, whose γ and β are the next of `rest`."""
    return layers.layer_norm(x, next(rest), next(rest))


def norm_tensors(width: int) -> tuple[Tensor, Tensor]:
    """γ and β of a layer norm over `width` features."""
    return Tensor((width,), "norm", ("ones", None)), Tensor(
        (width,), "norm", ("zeros", None)
    )


def angles(time: int, size: int) -> Float[np.ndarray, "t k2"]:
    """Of position t and pair i of k/2: t · base^(−2i/k).

    Args:
        time: positions.
        size: k, features of a head.
    """
    frequencies = ROTARY_BASE ** (-np.arange(0, size, 2) / size)
    return np.arange(time)[:, None] * frequencies[None, :]


def _turned(
    x: Float[Array, "b h t k"], angles: Float[np.ndarray, "t k2"]
) -> Float[Array, "b h t k"]:
    """Each pair (x_i, x_(i + k/2)) turned by its angle."""
    first, second = jnp.split(x, 2, axis=-1)
    turns = angles[None, None]
    cos, sin = np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)
    return jnp.concatenate(
        [first * cos - second * sin, first * sin + second * cos], axis=-1
    )


def _check(where: str, config: Config, rotary: bool) -> None:
    for key in ("depth", "width", "heads", "expansion"):
        config_checks.check_int(where, key, config[key], 1)
    width, heads = config["width"], config["heads"]
    fits = width % heads == 0
    config_checks.check(where, "heads", heads, fits, f"a divisor of the width {width}")
    if rotary:
        even = (width // heads) % 2 == 0
        expected = f"half of the width {width}, or a divisor of that half"
        config_checks.check(where, "heads", heads, even, expected)
    config_checks.check_activation(where, config["activation"])
    config_checks.check_initializer(where, "w_init", config["w_init"])
