"""Convolutional autoencoders: a family of ours around TaskSet's fixed tasks."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from opt_gym.records import Batch, Config
from opt_gym.tasks.building import conv_autoencoders, convnets
from opt_gym.tasks.building.model import Design, Loss, Model, Params, family_spec

FAMILY = "conv_ae"
KEYS = conv_autoencoders.KEYS


def sample_config(seed: int) -> Config:
    """See `conv_autoencoders.sample_config`."""
    return conv_autoencoders.sample_config(seed)


def design(config: Config) -> Design:
    """A convolutional encoder and decoder that give back their input, pixels in [0, 1].

    loss = mean over examples and pixels of (x - sigmoid(y))². The networks, φ and what
    cannot be built are in `conv_autoencoders.make_coder`.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = conv_autoencoders.checked(FAMILY, config)
    coder = conv_autoencoders.make_coder(FAMILY, config, codes=1, outputs=1)

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        rest, x = iter(params), convnets.channel_major(batch.inputs)
        y = jax.nn.sigmoid(coder.decode(rest, coder.encode(rest, x)))
        # One sum over all of a batch would lose four digits in float32.
        return jnp.mean(jnp.mean((x - y) ** 2, axis=(2, 3))), {}

    return Design(FAMILY, config, Model(coder.tensors, loss), coder.images.source)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; networks and loss of TaskSet's fixed conv AEs, Metz et al. 2020, "
    "arXiv 2002.11887",
)
