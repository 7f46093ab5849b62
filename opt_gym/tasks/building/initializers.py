"""TaskSet's initializers by name, as functions of a key and shapes.

Their meaning is that of TensorFlow 1.15 and Sonnet 1.36, with their surprises kept.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from opt_gym.setting_kinds import is_finite_number

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of N(0, 1) kept within [-2, 2]."""

Initializer = tuple[str, float | None]
"""Its name and its scale, the scale None where the name fixes it."""

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
"""Those that TaskSet draws from."""

SCALED = NAMES[4:]
"""Those of them that need a scale; the others must have None."""

_OTHERS = {
    "sonnet": False,
    "contrib_variance_scaling": True,
    "truncated": True,
    "identity": False,
    "zeros": False,
    "ones": False,
}
"""What fixed tasks and layers use besides: name -> whether it needs a scale."""

SONNET: Initializer = ("sonnet", None)
"""The default of Sonnet's linear and convolutional layers."""


def initialize(
    key: PRNGKeyArray,
    initializers: Sequence[Initializer],
    shapes: Sequence[tuple[int, ...]],
) -> tuple[Float[Array, "..."], ...]:
    """Float32 arrays, each drawn from its initializer.

    Variance: he 2/fan_in; glorot 2/(fan_in + fan_out); variance_scaling scale/fan_in (these
    three correct the truncated normal's loss of variance); random_normal and
    truncated_normal N(0, scale); random_uniform U(-scale, scale); orthogonal: rows or
    columns orthonormal, times scale, all axes but the last flattened. Truncated normals
    whose loss of variance is not corrected, of nominal variance: sonnet 1/fan_in;
    contrib_variance_scaling scale/fan_in; truncated scale².
    Shapes: the last two axes are inputs and outputs, the ones before are a receptive
    field that multiplies both fans; a vector's two fans are its length.

    All arrays of one distribution come from one draw: a draw of its own for each of four
    kernels takes 1.9 core-seconds to compile.

    Args:
        key: for all of them.
        initializers, shapes: one of each an array.

    Raises:
        ValueError: no initializer of that name, or a scale where there must be none and
            the other way round.
    Source: Metz et al. 2020, arXiv 2002.11887; TensorFlow 1.15 `tf.initializers`; Sonnet
        1.36. TaskSet's "truncated_normal" is a plain normal (its table points there).
    """
    for name, scale in initializers:
        check_initializer(name, scale)
    kinds = [_kind(name) for name, _ in initializers]
    distinct = [kind for kind in dict.fromkeys(kinds) if kind != "constant"]
    # One key is used as it is, so that a net with one initializer splits nothing.
    keys = [key] if len(distinct) < 2 else list(jax.random.split(key, len(distinct)))
    arrays: dict[int, Array] = {}
    for kind, k_kind in zip(distinct, keys, strict=False):
        places = [i for i, other in enumerate(kinds) if other == kind]
        own = [shapes[i] for i in places]
        drawn = _draw(k_kind, kind, [initializers[i] for i in places], own)
        arrays.update(zip(places, drawn, strict=True))
    return tuple(
        arrays[i] if i in arrays else _constant(initializers[i][0], shape)
        for i, shape in enumerate(shapes)
    )


def check_initializer(name: str, scale: float | None) -> None:
    """Raises a ValueError where (name, scale) is no initializer."""
    known = (*NAMES, *_OTHERS)
    if name not in known:
        raise ValueError(f"unknown initializer {name!r} (known: {', '.join(known)})")
    if isinstance(scale, bool) or not isinstance(scale, int | float | None):
        raise ValueError(f"scale of {name!r} must be a number or null, got {scale!r}")
    scaled = name in SCALED or _OTHERS.get(name, False)
    if scaled and (scale is None or not is_finite_number(scale) or scale <= 0):
        raise ValueError(f"initializer {name!r} needs a scale > 0, got {scale!r}")
    if not scaled and scale is not None:
        raise ValueError(f"initializer {name!r} takes no scale, got {scale!r}")


@jax.custom_batching.sequential_vmap
def qr(matrix: Float[Array, "n k"]) -> tuple[Array, Array]:
    """`jnp.linalg.qr`, one matrix at a time under `vmap`.

    On CPU a batch of factorizations waits for threads of the pool it runs in: as many of
    them as there are cores, in one program or in two, wait for ever (jaxlib 0.10.2).
    """
    q, r = jnp.linalg.qr(matrix)
    return q, r


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight array of `shape`, as `initialize` counts them."""
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


_UNCORRECTED = ("sonnet", "contrib_variance_scaling", "truncated")
_TRUNCATED = ("glorot_normal", "he_normal", "variance_scaling", *_UNCORRECTED)
_UNIFORM = ("glorot_uniform", "he_uniform", "random_uniform")


def _kind(name: str) -> str:
    """The distribution behind an initializer: those of one kind share a draw."""
    if name in ("zeros", "ones", "identity"):
        return "constant"
    if name in _TRUNCATED:
        return "truncated"
    if name in _UNIFORM:
        return "uniform"
    return "orthogonal" if name == "orthogonal" else "normal"


def _draw(
    key: PRNGKeyArray,
    kind: str,
    initializers: Sequence[Initializer],
    shapes: Sequence[tuple[int, ...]],
) -> tuple[Array, ...]:
    if kind == "orthogonal":
        keys = jax.random.split(key, len(shapes))
        return tuple(
            float(scale or 1.0) * _orthogonal(keys[i], shapes[i])
            for i, (_, scale) in enumerate(initializers)
        )
    sizes = [math.prod(shape) for shape in shapes]
    draws = jnp.split(_standard(key, kind, sum(sizes)), np.cumsum(sizes)[:-1])
    return tuple(
        _spread(name, 1.0 if scale is None else float(scale), shape)
        * draw.reshape(shape)
        for (name, scale), shape, draw in zip(initializers, shapes, draws, strict=True)
    )


def _standard(key: PRNGKeyArray, kind: str, size: int) -> Array:
    """The draw before its scale: N(0, 1), N(0, 1) within [-2, 2], or U(-1, 1)."""
    if kind == "truncated":
        return jax.random.truncated_normal(key, -2.0, 2.0, (size,))
    if kind == "uniform":
        return jax.random.uniform(key, (size,), minval=-1.0, maxval=1.0)
    return jax.random.normal(key, (size,))


def _spread(name: str, gain: float, shape: tuple[int, ...]) -> float:
    """What the standard draw is multiplied by: a standard deviation, or a limit."""
    fan_in, fan_out = fans(shape)
    if name in ("random_normal", "truncated_normal", "random_uniform", "truncated"):
        return gain
    variance = {
        "he": 2.0 / fan_in,
        "glorot": 2.0 / (fan_in + fan_out),
        "variance": gain / fan_in,
        "contrib": gain / fan_in,
        "sonnet": 1.0 / fan_in,
    }[name.split("_")[0]]
    if name in _UNIFORM:
        return math.sqrt(3.0 * variance)
    deviation = math.sqrt(variance)
    return deviation if name in _UNCORRECTED else deviation / TRUNCATED_STD


def _constant(name: str, shape: tuple[int, ...]) -> Array:
    if name == "identity":
        return jnp.eye(*shape, dtype=jnp.float32)
    return jnp.full(shape, 1.0 if name == "ones" else 0.0, jnp.float32)


def _orthogonal(key: PRNGKeyArray, shape: tuple[int, ...]) -> Array:
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tall = (max(rows, columns), min(rows, columns))
    q, r = qr(jax.random.normal(key, tall))
    # The signs make it uniform over orthogonal matrices.
    q = q * jnp.sign(jnp.diagonal(r))[None, :]
    return (q if rows >= columns else q.T).reshape(shape)
