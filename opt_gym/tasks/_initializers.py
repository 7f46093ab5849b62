"""TaskSet's initializers by name, as functions of a key and a shape.

Their meaning is that of TensorFlow 1.15, with its surprises kept.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of N(0, 1) kept within [-2, 2]."""


def initialize(
    key: PRNGKeyArray, name: str, scale: float | None, shape: tuple[int, ...]
) -> Float[Array, "..."]:
    """A float32 weight array drawn from the initializer `name`.

    Variance: he 2/fan_in; glorot 2/(fan_in + fan_out); variance_scaling scale/fan_in (these
    three correct the truncated normal's loss of variance); random_normal and
    truncated_normal N(0, scale); random_uniform U(-scale, scale); orthogonal: rows or
    columns orthonormal, times scale, all axes but the last flattened.
    Shapes: the last two axes are inputs and outputs, the ones before are a receptive
    field that multiplies both fans; a vector's two fans are its length.

    Raises:
        ValueError: no initializer of that name, or a scale where there must be none and
            the other way round.
    Source: Metz et al. 2020, arXiv 2002.11887; TensorFlow 1.15 `tf.initializers`.
        TaskSet's "truncated_normal" is a plain normal (its table points there).
    """
    check_initializer(name, scale)
    fan_in, fan_out = fans(shape)
    factor = 1.0 if scale is None else float(scale)
    if name in ("he_normal", "variance_scaling"):
        variance = (2.0 if name == "he_normal" else factor) / fan_in
        return _truncated(key, variance, shape)
    if name == "glorot_normal":
        return _truncated(key, 2.0 / (fan_in + fan_out), shape)
    if name == "he_uniform":
        return _symmetric(key, math.sqrt(6.0 / fan_in), shape)
    if name == "glorot_uniform":
        return _symmetric(key, math.sqrt(6.0 / (fan_in + fan_out)), shape)
    if name == "random_uniform":
        return _symmetric(key, factor, shape)
    if name == "orthogonal":
        return factor * _orthogonal(key, shape)
    return factor * jax.random.normal(key, shape)


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


def _truncated(key: PRNGKeyArray, variance: float, shape: tuple[int, ...]) -> Array:
    std = math.sqrt(variance) / TRUNCATED_STD
    return std * jax.random.truncated_normal(key, -2.0, 2.0, shape)


def _symmetric(key: PRNGKeyArray, limit: float, shape: tuple[int, ...]) -> Array:
    return jax.random.uniform(key, shape, minval=-limit, maxval=limit)


def _orthogonal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall = (max(rows, columns), min(rows, columns))
    q, r = jnp.linalg.qr(jax.random.normal(key, tall))
    # The signs make it uniform over orthogonal matrices.
    q = q * jnp.sign(jnp.diagonal(r))[None, :]
    return (q if rows >= columns else q.T).reshape(shape)
