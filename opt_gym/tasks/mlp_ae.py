"""TaskSet's family of MLP autoencoders."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpy.random import RandomState

from opt_gym.records import Batch, Config
from opt_gym.tasks.building import config_checks, image_sources, layers, samplers
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import (
    Design,
    Loss,
    Model,
    Params,
    family_spec,
    linear_tensors,
)

FAMILY = "mlp_ae"
KEYS = (
    "hidden_units",
    "activation",
    "w_init",
    "dataset",
    "output_type",
    "loss_type",
    "reduction_type",
)

SQUASHES = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "linear_center": lambda x: x,
    "linear": lambda x: x,
}
"""output_type -> function of the last layer's output."""

CENTERED = ("tanh", "linear_center")
"""The output types whose inputs are mapped to [-1, 1]."""

ERRORS = {"l2": jnp.square, "l1": jnp.abs}
REDUCTIONS = {"reduce_mean": jnp.mean, "reduce_sum": jnp.sum}


def sample_config(seed: int) -> Config:
    """TaskSet's published config `mlp_ae_family_seed<seed>`: 1-6 layers of 32-128."""
    rng = RandomState(seed)
    depth = samplers.pick(rng, (1, 2, 3, 4, 5, 6))
    kinds = ("tanh", "tanh", "sigmoid", "sigmoid", "linear_center", "linear")
    return {
        "hidden_units": [samplers.log_int(rng, 32, 128) for _ in range(depth)],
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
        "dataset": samplers.image_dataset(rng),
        "output_type": samplers.pick(rng, kinds),
        "loss_type": samplers.pick(rng, ("l2", "l2", "l1")),
        "reduction_type": samplers.pick(rng, tuple(REDUCTIONS)),
    }


def design(config: Config) -> Design:
    """An MLP that gives back its input: flattened images of D values, D outputs.

    loss = mean over examples of the mean or sum over D of |x - y|^1 or |x - y|^2.
    φ = (w0, b0, w1, b1, ...), w [in, out], b [out]; `hidden_units` are the hidden widths.
    `output_type` squashes y by "tanh", by "sigmoid" or not; "tanh" and "linear_center" map
    the images to [-1, 1] first.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = _checked(config)
    activation = ACTIVATIONS[config["activation"]]
    images = image_sources.image_source(FAMILY, config["dataset"])
    features = math.prod(images.shape)
    sizes = [features, *config["hidden_units"], features]
    w_init = (config["w_init"][0], config["w_init"][1])
    tensors = linear_tensors(sizes, w_init)
    squash = SQUASHES[config["output_type"]]
    center = config["output_type"] in CENTERED
    error, reduction = ERRORS[config["loss_type"]], config["reduction_type"]

    def loss(
        params: Params, instance: Any, noise: tuple[Array, ...], batch: Batch
    ) -> Loss:
        x = image_sources.flat(image_sources.centered(batch.inputs, center))
        y = squash(layers.mlp(params, x, activation))
        return jnp.mean(REDUCTIONS[reduction](error(y - x), axis=1)), {}

    return Design(FAMILY, config, Model(tuple(tensors), loss), images.source)


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS)
    config_checks.check_sizes(FAMILY, "hidden_units", config["hidden_units"])
    config_checks.check_activation(FAMILY, config["activation"])
    config_checks.check_initializer(FAMILY, "w_init", config["w_init"])
    for key, known in (
        ("output_type", SQUASHES),
        ("loss_type", ERRORS),
        ("reduction_type", REDUCTIONS),
    ):
        config_checks.check_choice(FAMILY, key, config[key], list(known))
    return config


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, mlp_ae_family (google-research/task_set)",
)
