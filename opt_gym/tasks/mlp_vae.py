"""TaskSet's family of MLP variational autoencoders."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray
from numpy.random import RandomState

from opt_gym.records import Batch, Config
from opt_gym.tasks.building import (
    config_checks,
    image_sources,
    layers,
    samplers,
    variational,
)
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import (
    Design,
    Loss,
    Model,
    Params,
    family_spec,
    linear_tensors,
)

FAMILY = "mlp_vae"
KEYS = ("enc_hidden_units", "dec_hidden_units", "activation", "w_init", "dataset")
OPTIONAL = ("center_data",)


def sample_config(seed: int) -> Config:
    """TaskSet's published config `mlp_vae_family_seed<seed>`: layers of 32-128 units."""
    rng = RandomState(seed)
    num_encoder = samplers.pick(rng, (1, 2, 3, 4))
    encoder = [samplers.log_int(rng, 32, 128) for _ in range(num_encoder)]
    num_decoder = samplers.pick(rng, (1, 2, 3))
    return {
        "enc_hidden_units": encoder,
        "dec_hidden_units": [
            samplers.log_int(rng, 32, 128) for _ in range(num_decoder)
        ],
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
        "dataset": samplers.image_dataset(rng),
    }


def design(config: Config) -> Design:
    """An encoder and a decoder of flattened images, D values each, and L latents.

    loss = -mean_b(log p(x_b | z_b) - KL(q(z | x_b) || N(0, 1))), in nats per example; the
    terms are in `variational`. The encoder's last layer gives mean and log sigma of q,
    [b, L] each, one z is drawn, and the decoder's last layer gives those of the pixels,
    [b, D] each. L is the last of `enc_hidden_units`, the others are hidden widths.
    φ = (w0, b0, w1, b1, ...), the encoder's first. `center_data` (false if left out; true
    in TaskSet's fixed tasks) maps the images to [-1, 1].
    Noise: N(0, 1) [b, L] for z, U(-1/2, 1/2) / 255 [b, D] for the pixels.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = _checked(config)
    activation = ACTIVATIONS[config["activation"]]
    images = image_sources.image_source(FAMILY, config["dataset"])
    features = math.prod(images.shape)
    *hidden, latents = config["enc_hidden_units"]
    w_init = (config["w_init"][0], config["w_init"][1])
    center = config.get("center_data", False)
    encoder = [features, *hidden, 2 * latents]
    decoder = [latents, *config["dec_hidden_units"], 2 * features]
    tensors = (*linear_tensors(encoder, w_init), *linear_tensors(decoder, w_init))
    num_encoder = 2 * (len(encoder) - 1)

    def noise(key: PRNGKeyArray, batch: Batch) -> tuple[Array, ...]:
        count = batch.inputs.shape[0]
        return variational.draw_noise(key, (count, latents), (count, features))

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        x = image_sources.flat(image_sources.centered(batch.inputs, center))
        code = layers.mlp(params[:num_encoder], x, activation)
        mean, log_sigma = jnp.split(code, 2, axis=1)
        z = variational.sample_latent(mean, log_sigma, noise[0])
        pixels = layers.mlp(params[num_encoder:], z, activation)
        likelihood = variational.log_likelihood(
            x, noise[1], *jnp.split(pixels, 2, axis=1)
        )
        kl = variational.kl_divergence(mean, log_sigma)
        return variational.negative_elbo(likelihood, kl), {}

    floor = variational.elbo_floor(features)
    model = Model(tuple(tensors), loss, noise, floor=floor)
    return Design(FAMILY, config, model, images.source)


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS, OPTIONAL)
    config_checks.check_sizes(FAMILY, "enc_hidden_units", config["enc_hidden_units"], 1)
    config_checks.check_sizes(FAMILY, "dec_hidden_units", config["dec_hidden_units"])
    config_checks.check_activation(FAMILY, config["activation"])
    config_checks.check_initializer(FAMILY, "w_init", config["w_init"])
    config_checks.check_bool(FAMILY, "center_data", config.get("center_data", False))
    return config


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, mlp_vae_family (google-research)",
)
