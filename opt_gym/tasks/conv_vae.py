"""Convolutional variational autoencoders: a family of ours around TaskSet's fixed tasks."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from opt_gym.records import Batch, Config
from opt_gym.tasks.building import (
    conv_autoencoders,
    convnets,
    image_sources,
    variational,
)
from opt_gym.tasks.building.model import Design, Loss, Model, Params, family_spec

FAMILY = "conv_vae"
KEYS = conv_autoencoders.KEYS


def sample_config(seed: int) -> Config:
    """See `conv_autoencoders.sample_config`."""
    return conv_autoencoders.sample_config(seed)


def design(config: Config) -> Design:
    """A convolutional encoder and decoder of distributions, inputs in [-1, 1].

    loss = -mean_b(log p(x_b | z_b) - KL(q(z | x_b) || N(0, 1))), in nats per example; the
    terms are in `variational`. The encoder gives mean and log sigma of q, [b, latents]
    each, one z is drawn, and the decoder gives those of the pixels, its first c channels
    and its last c. The networks, φ and what cannot be built are in
    `conv_autoencoders.make_coder`.
    Noise: N(0, 1) [b, latents] for z, U(-1/2, 1/2) / 255 [b, h, w, c] for the pixels.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = conv_autoencoders.checked(FAMILY, config)
    coder = conv_autoencoders.make_coder(FAMILY, config, codes=2, outputs=2)
    shape, latents = coder.images.shape, config["latent_size"]

    def noise(key: PRNGKeyArray, batch: Batch) -> tuple[Array, ...]:
        count = batch.inputs.shape[0]
        return variational.draw_noise(key, (count, latents), (count, *shape))

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        rest = iter(params)
        x = convnets.channel_major(image_sources.centered(batch.inputs, True))
        mean, log_sigma = jnp.split(coder.encode(rest, x), 2, axis=1)
        z = variational.sample_latent(mean, log_sigma, noise[0])
        pixels = jnp.split(coder.decode(rest, z), 2, axis=0)
        # The terms want the batch first; the order of the axes after it is free.
        quantisation = convnets.channel_major(noise[1])
        terms = (jnp.swapaxes(part, 0, 1) for part in (x, quantisation, *pixels))
        likelihood = variational.log_likelihood(*terms)
        kl = variational.kl_divergence(mean, log_sigma)
        return variational.negative_elbo(likelihood, kl), {}

    floor = variational.elbo_floor(shape[0] * shape[1] * shape[2])
    model = Model(coder.tensors, loss, noise, floor=floor)
    return Design(FAMILY, config, model, coder.images.source)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; networks and loss of TaskSet's fixed conv VAEs, Metz et al. 2020, "
    "arXiv 2002.11887",
)
