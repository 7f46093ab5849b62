"""Noise and sparsity of a gradient, carried by the loss itself.

The value of a loss stays what it is; what `jax.grad` makes of it is `keep * (g + noise)`,
so that an environment and a plain loop see the same. The derivative of that gradient is
`keep * H`, the objective's own: neither noise nor mask is differentiated, and where a
program differentiates a value that came beside a gradient, it sees the objective.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from opt_gym.records import Batch
from opt_gym.tasks.building.model import Loss, Params

Objective = Callable[[Params, Batch], Loss]


@jax.custom_jvp
def masked(x: Float[Array, "..."], keep: Float[Array, "..."]) -> Float[Array, "..."]:
    """x, whose gradient is multiplied by `keep`.

    A rule rather than `stop_gradient(x) + keep * (x - stop_gradient(x))`: that gives the
    second derivative keep * H * keep.
    """
    return x


@masked.defjvp
def _masked_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    x, keep = primals
    return x, keep * tangents[0]


@jax.custom_jvp
def sloped(x: Float[Array, "..."], slope: Float[Array, "..."]) -> Float[Array, ""]:
    """0, whose gradient with respect to x is `slope`."""
    return jnp.zeros((), x.dtype)


@sloped.defjvp
def _sloped_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    x, slope = primals
    return jnp.zeros((), x.dtype), jnp.sum(slope * tangents[0])


def perturb(
    objective: Objective,
    noise_stdev: float,
    zero_probability: float,
    spread: Callable[[Batch], tuple[Any, ...]] | None = None,
) -> Callable[[PRNGKeyArray, Params, Batch], Loss]:
    """(key, φ, batch) -> the objective's loss, with a gradient of keep * (g + noise).

    Args:
        objective: (φ, batch) -> (value, aux).
        noise_stdev: of the noise, N(0, noise_stdev) for every entry and evaluation.
        zero_probability: with which an entry of the gradient is zero, noise included.
        spread: batch -> what the noise is multiplied by, one factor a tensor.
    """
    if not noise_stdev and not zero_probability:
        return lambda key, params, batch: objective(params, batch)

    def loss(key: PRNGKeyArray, params: Params, batch: Batch) -> Loss:
        k_noise, k_keep = jax.random.split(key)
        keeps: tuple[Any, ...] = (1.0,) * len(params)
        seen = params
        if zero_probability:
            drawn = _split(params, lambda n: _keep(k_keep, zero_probability, n))
            keeps, seen = drawn, tuple(map(masked, params, drawn))
        value, aux = objective(seen, batch)
        if noise_stdev:
            factors = spread(batch) if spread else (1.0,) * len(params)
            draws = _split(params, lambda n: jax.random.normal(k_noise, (n,)))
            for x, noise, keep, factor in zip(
                params, draws, keeps, factors, strict=True
            ):
                slope = keep * factor * noise_stdev * noise
                value += sloped(x, slope.astype(x.dtype))
        return value, aux

    return loss


def _keep(key: PRNGKeyArray, zero_probability: float, size: int) -> Float[Array, " n"]:
    kept = jax.random.bernoulli(key, 1.0 - zero_probability, (size,))
    return kept.astype(jnp.float32)


def _split(params: Params, draw: Callable[[int], Array]) -> tuple[Array, ...]:
    """One draw for all tensors, cut into their shapes: it compiles faster than many."""
    sizes = [math.prod(x.shape) for x in params]
    pieces = jnp.split(draw(sum(sizes)), np.cumsum(sizes)[:-1])
    return tuple(
        piece.reshape(x.shape) for x, piece in zip(params, pieces, strict=True)
    )
