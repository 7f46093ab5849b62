"""What the normalizing flows share: their config, input noise, permutations, likelihood.

A flow takes images of D values to a standard normal z. It is a chain of bijectors
x -> (x - shift) exp(-log scale), and between any two of them the D values change places.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from numpy.random import RandomState

from opt_gym.records import Batch, Config
from opt_gym.tasks.building import config_checks, image_sources, samplers
from opt_gym.tasks.building.model import Params, Tensor, linear_tensors

KEYS = ("activation", "w_init", "dataset", "hidden_units", "num_bijectors")

INPUT_NOISE = 0.01
"""Standard deviation of the noise on pixels in [0, 1]."""


class Permutation(NamedTuple):
    """An `order` of D values, and the `inverse` that undoes it. Both int32 [D]."""

    order: Any
    inverse: Any


def permutation(order: Sequence[int] | np.ndarray) -> Permutation:
    """The permutation that takes x to x[order], on the host."""
    return Permutation(np.asarray(order, np.int32), np.argsort(order).astype(np.int32))


def draw_permutations(
    key: PRNGKeyArray, count: int, length: int
) -> tuple[Permutation, ...]:
    """`count` permutations of `length` values, all from one sort of random bits of `key`."""
    if count == 0:
        return ()
    # Bits of 32: two of 3072 values tie in one of 1,000 draws, and keep their order then.
    bits = jax.random.bits(key, (count, length), jnp.uint32)
    orders = jnp.argsort(bits, axis=1).astype(jnp.int32)
    places = jnp.arange(length, dtype=jnp.int32)
    rows = [orders[i] for i in range(count)]
    return tuple(
        Permutation(row, jnp.zeros_like(row).at[row].set(places)) for row in rows
    )


@jax.custom_vjp
def permute(
    x: Float[Array, "b d"], order: Int[Array, " d"], inverse: Int[Array, " d"]
) -> Float[Array, "b d"]:
    """x[:, order]; `inverse` must undo `order`.

    Its gradient is the inverse gather, where JAX's own would be a scatter: a training step
    of a flow of 3 bijectors on 3,072 values takes 0.6x the time. Gradients of gradients are
    this function again; there is no forward mode.
    """
    return jnp.take(x, order, axis=1, mode="clip")


def _permute_forward(x: Array, order: Any, inverse: Any) -> tuple[Array, tuple]:
    return permute(x, order, inverse), (order, inverse)


def _permute_backward(residuals: tuple, gradient: Array) -> tuple[Array, None, None]:
    order, inverse = residuals
    return permute(gradient, inverse, order), None, None


permute.defvjp(_permute_forward, _permute_backward)


def straight_through_clip(
    x: Float[Array, "..."], low: float, high: float
) -> Float[Array, "..."]:
    """Clips x to [low, high] while every gradient passes as if it did not."""
    # x - x is exactly 0, so that the value is exactly the clipped one.
    return jax.lax.stop_gradient(jnp.clip(x, low, high)) + (
        x - jax.lax.stop_gradient(x)
    )


def negative_log_likelihood(
    invert: Callable[[Params, Array], tuple[Array, Array]],
    params: Params,
    permutations: Sequence[Permutation],
    x: Float[Array, "b d"],
) -> Float[Array, ""]:
    """The loss: -mean over examples of log p(x), in nats per example.

    log p(x) = sum_D log N(z; 0, 1) - sum over bijectors of their log scales.

    The last bijector comes first, in evaluation as in φ; after it the last permutation is
    undone, and so on to the first bijector.

    Args:
        invert: (one bijector's tensors, x [b, D]) -> (x nearer to z [b, D], log scales
            [b, k]).
        params: of all bijectors, the same number of tensors each.
        permutations: one fewer than bijectors.
    """
    size = len(params) // (len(permutations) + 1)
    total = jnp.zeros((x.shape[0],), x.dtype)
    for index in range(len(permutations) + 1):
        if index:
            order, inverse = permutations[-index]
            x = permute(x, inverse, order)
        x, log_scales = invert(params[index * size : (index + 1) * size], x)
        total += jnp.sum(log_scales, axis=1)
    constant = x.shape[1] * 0.5 * math.log(2 * math.pi)
    return jnp.mean(0.5 * jnp.sum(x**2, axis=1) + total) + constant


def entropy_floor(num_pixels: int) -> float:
    """The entropy in nats of the noise on an image of `num_pixels` = D values.

    E[-log p(x)] of any density p is at least the entropy of x, which is at least that of the
    noise in it: D (log(2πe) / 2 + log 0.01). This binds the mean over noise; the loss
    of a batch of b scatters about its own mean by about sqrt(D / (2 b)), a percent of it.
    """
    return num_pixels * (0.5 * math.log(2 * math.pi * math.e) + math.log(INPUT_NOISE))


def draw_noise(key: PRNGKeyArray, batch: Batch) -> tuple[Array, ...]:
    """N(0, 0.01²) from `key` for every pixel of `batch`: one array [b, D]."""
    count = batch.inputs.shape[0]
    size = math.prod(batch.inputs.shape[1:])
    return (INPUT_NOISE * jax.random.normal(key, (count, size)),)


def noisy(batch: Batch, noise: tuple[Array, ...]) -> Float[Array, "b d"]:
    """The images of `batch` as vectors with the noise on them: `noise` is ([b, D],)."""
    return image_sources.flat(batch.inputs) + noise[0]


def network_tensors(
    sizes: Sequence[int], count: int, w_init: Sequence[Any]
) -> tuple[Tensor, ...]:
    """Linear layers' w [in, out] and b [out], for `count` networks of one shape.

    Args:
        sizes: the widths of one, input and output included.
        count: how many.
        w_init: a config's [name, scale or null], for every w; b begins at zero.
    """
    return linear_tensors(sizes, (w_init[0], w_init[1])) * count


def sample_flow(seed: int) -> Config:
    """The config of a flow, every one of TaskSet's draws in its order, from `seed`."""
    rng = RandomState(seed)
    activation = samplers.activation(rng)
    w_init = samplers.initializer(rng)
    dataset = samplers.image_dataset(rng)
    depth = samplers.pick(rng, (1, 2))
    return {
        "activation": activation,
        "w_init": w_init,
        "dataset": dataset,
        "hidden_units": [samplers.log_int(rng, 16, 128) for _ in range(depth)],
        "num_bijectors": samplers.pick(rng, (1, 2, 3, 4)),
    }


def check_flow(family: str, config: Config, least_hidden: int) -> None:
    """Raises a ValueError where a value of the shared keys cannot be used.

    Args:
        family: whose config it is, for errors.
        config: with all of `KEYS`; its dataset is not looked at.
        least_hidden: hidden layers that it must have.
    """
    config_checks.check_activation(family, config["activation"])
    config_checks.check_initializer(family, "w_init", config["w_init"])
    config_checks.check_sizes(
        family, "hidden_units", config["hidden_units"], least_hidden
    )
    config_checks.check_int(family, "num_bijectors", config["num_bijectors"], 1)
