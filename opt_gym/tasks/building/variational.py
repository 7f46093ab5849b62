"""What variational autoencoders share: a latent sample, two terms of a bound, its noise.

Every array has the batch first and any axes after it.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

LIMIT = 10.0
"""A decoder's outputs are clipped to [-LIMIT, LIMIT]."""

PIXEL_LEVELS = 255
"""A pixel's step is 1/PIXEL_LEVELS, also where inputs are scaled to [-1, 1]."""


def draw_noise(
    key: PRNGKeyArray, latent: tuple[int, ...], pixels: tuple[int, ...]
) -> tuple[Array, Array]:
    """(N(0, 1) of shape `latent`, U(-1/2, 1/2) / 255 of shape `pixels`), batch included.

    `key` is split between them.
    """
    k_latent, k_pixels = jax.random.split(key)
    half = 0.5 / PIXEL_LEVELS
    return (
        jax.random.normal(k_latent, latent),
        jax.random.uniform(k_pixels, pixels, minval=-half, maxval=half),
    )


def sample_latent(
    mean: Float[Array, "b ..."],
    log_sigma: Float[Array, "b ..."],
    noise: Float[Array, "b ..."],
) -> Float[Array, "b ..."]:
    """A draw from N(mean, sigma²) as mean + sigma * noise, so that gradients pass.

    `mean`, `log_sigma` and `noise`, which is N(0, 1), have one shape [batch, ...].
    """
    return mean + jnp.exp(log_sigma) * noise


def kl_divergence(
    mean: Float[Array, "b ..."], log_sigma: Float[Array, "b ..."]
) -> Float[Array, " b"]:
    """KL(N(mean, sigma²) || N(0, 1)) in nats, summed over an example's latents.

    One latent's: (mean² + sigma² - 1) / 2 - log sigma. `mean` and `log_sigma` are [batch, ...].
    """
    terms = 0.5 * (mean**2 + jnp.exp(2.0 * log_sigma) - 1.0) - log_sigma
    return jnp.sum(terms.reshape(terms.shape[0], -1), axis=1)


def log_likelihood(
    x: Float[Array, "b ..."],
    quantisation: Float[Array, "b ..."],
    mean: Float[Array, "b ..."],
    log_sigma: Float[Array, "b ..."],
) -> Float[Array, " b"]:
    """The log density of x given z in nats, summed over an example's pixels.

    One pixel's: log N(x + quantisation; mean, sigma²) - log 255, a density made a
    probability by the width of a pixel's step. `mean` and `log_sigma` are clipped here to
    [-10, 10] (no gradient passes outside).
    """
    mean = jnp.clip(mean, -LIMIT, LIMIT)
    log_sigma = jnp.clip(log_sigma, -LIMIT, LIMIT)
    error = (x + quantisation - mean) * jnp.exp(-log_sigma)
    terms = 0.5 * error**2 + log_sigma
    count = math.prod(x.shape[1:])
    constant = count * (0.5 * math.log(2 * math.pi) + math.log(PIXEL_LEVELS))
    return -jnp.sum(terms.reshape(terms.shape[0], -1), axis=1) - constant


def negative_elbo(
    log_likelihoods: Float[Array, " b"], kl_divergences: Float[Array, " b"]
) -> Float[Array, ""]:
    """The loss: -mean_b(log p(x_b | z_b) - KL_b), in nats per example.

    `log_likelihoods` [batch] and `kl_divergences` [batch] are these two terms.
    """
    return jnp.mean(kl_divergences - log_likelihoods)


def elbo_floor(num_pixels: int) -> float:
    """A number that the loss of images of `num_pixels` values never goes below.

    D = `num_pixels` counts channels. The clip keeps log sigma >= -10, the squared error and
    the KL divergence are >= 0: loss >= D (log sqrt(2π) - 10 + log 255).
    """
    return num_pixels * (0.5 * math.log(2 * math.pi) - LIMIT + math.log(PIXEL_LEVELS))
