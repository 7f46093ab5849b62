"""TaskSet's initializers by name, as functions of a key and a shape.

Their meaning is that of TensorFlow 1.15, with its surprises kept.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of N(0, 1) kept within [-2, 2]."""


def initialize(
    key: PRNGKeyArray,
    name: str,
    scale: float | None,
    shapes: Sequence[tuple[int, ...]],
) -> tuple[Float[Array, "..."], ...]:
    """Float32 weight arrays drawn from the initializer `name`.

    Variance: he 2/fan_in; glorot 2/(fan_in + fan_out); variance_scaling scale/fan_in (these
    three correct the truncated normal's loss of variance); random_normal and
    truncated_normal N(0, scale); random_uniform U(-scale, scale); orthogonal: rows or
    columns orthonormal, times scale, all axes but the last flattened.
    Shapes: the last two axes are inputs and outputs, the ones before are a receptive
    field that multiplies both fans; a vector's two fans are its length.

    All arrays come from one draw: a draw of its own for each of four kernels takes 1.9
    core-seconds to compile.

    Raises:
        ValueError: no initializer of that name, or a scale where there must be none and
            the other way round.
    Source: Metz et al. 2020, arXiv 2002.11887; TensorFlow 1.15 `tf.initializers`.
        TaskSet's "truncated_normal" is a plain normal (its table points there).
    """
    check_initializer(name, scale)
    gain = 1.0 if scale is None else float(scale)
    if name == "orthogonal":
        keys = jax.random.split(key, len(shapes))
        return tuple(
            gain * _orthogonal(keys[i], shape) for i, shape in enumerate(shapes)
        )
    sizes = [math.prod(shape) for shape in shapes]
    draws = jnp.split(_standard(key, name, sum(sizes)), np.cumsum(sizes)[:-1])
    return tuple(
        _spread(name, gain, shape) * draw.reshape(shape)
        for shape, draw in zip(shapes, draws, strict=True)
    )


NAMES = (
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "truncated_normal",
    "variance_scaling",
)

SCALED = NAMES[4:]
"""Those that need a scale; the others must have None."""


def check_initializer(name: str, scale: float | None) -> None:
    """Raises a ValueError where (name, scale) is no initializer."""
    if name not in NAMES:
        raise ValueError(f"unknown initializer {name!r} (known: {', '.join(NAMES)})")
    if isinstance(scale, bool) or not isinstance(scale, int | float | None):
        raise ValueError(f"scale of {name!r} must be a number or null, got {scale!r}")
    if name in SCALED and not (scale is not None and scale > 0):
        raise ValueError(f"initializer {name!r} needs a scale > 0, got {scale!r}")
    if name not in SCALED and scale is not None:
        raise ValueError(f"initializer {name!r} takes no scale, got {scale!r}")


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight array."""
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


_TRUNCATED = ("glorot_normal", "he_normal", "variance_scaling")
_UNIFORM = ("glorot_uniform", "he_uniform", "random_uniform")


def _standard(key: PRNGKeyArray, name: str, size: int) -> Array:
    """The draw before its scale: N(0, 1), N(0, 1) within [-2, 2], or U(-1, 1)."""
    if name in _TRUNCATED:
        return jax.random.truncated_normal(key, -2.0, 2.0, (size,))
    if name in _UNIFORM:
        return jax.random.uniform(key, (size,), minval=-1.0, maxval=1.0)
    return jax.random.normal(key, (size,))


def _spread(name: str, gain: float, shape: tuple[int, ...]) -> float:
    """What the standard draw is multiplied by: a standard deviation, or a limit."""
    fan_in, fan_out = fans(shape)
    if name in ("random_normal", "truncated_normal", "random_uniform"):
        return gain
    variance = {
        "he": 2.0 / fan_in,
        "glorot": 2.0 / (fan_in + fan_out),
        "variance": gain / fan_in,
    }[name.split("_")[0]]
    if name in _UNIFORM:
        return math.sqrt(3.0 * variance)
    return math.sqrt(variance) / TRUNCATED_STD


def _orthogonal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall = (max(rows, columns), min(rows, columns))
    q, r = jnp.linalg.qr(jax.random.normal(key, tall))
    # The signs make it uniform over orthogonal matrices.
    q = q * jnp.sign(jnp.diagonal(r))[None, :]
    return (q if rows >= columns else q.T).reshape(shape)
