"""MLP-Mixers: perceptrons over patches and over channels in turn, on images."""

from collections.abc import Iterator

import jax.numpy as jnp
from jaxtyping import Array
from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import (
    config_checks,
    image_sources,
    layers,
    patches,
    samplers,
    transformers,
)
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import (
    Design,
    Model,
    Params,
    family_spec,
    linear_tensors,
)

FAMILY = "mixer"
KEYS = (
    *("depth", "width", "token_width", "channel_width", "patch"),
    *("activation", "w_init", "dataset", "center_data"),
)


def sample_config(seed: int) -> Config:
    """A config of our own: 1-6 blocks, width 32-256, patches of 4 or 8 pixels.

    Activation, initializer and data set are drawn as TaskSet draws them, with batches of at
    most 128.
    """
    rng = RandomState(seed)
    name, settings, augmentation = samplers.image_dataset(rng)
    settings = {**settings, "bs": min(settings["bs"], 128)}
    return {
        "depth": samplers.log_int(rng, 1, 6),
        "width": samplers.log_int(rng, 32, 256),
        "token_width": samplers.log_int(rng, 16, 128),
        "channel_width": samplers.log_int(rng, 64, 512),
        "patch": samplers.pick(rng, (4, 8)),
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
        "dataset": [name, settings, augmentation],
        "center_data": samplers.pick(rng, (True, False)),
    }


def design(config: Config) -> Design:
    """A classifier: patches through a linear layer, blocks, a norm, the mean, a linear layer.

    A block on x [patches, d]: x ← x + P(LN(x)ᵀ)ᵀ, x ← x + Q(LN(x)), with two perceptrons of
    one hidden layer: P over patches (`token_width` units), Q over channels
    (`channel_width`).
    φ = (W [p²c, d], b; a block: γ, β, W, b, W, b of P, γ, β, W, b, W, b of Q; γ, β;
    W [d, classes], b).

    Source: Tolstikhin et al. 2021, arXiv 2105.01601. differs: sizes of our own.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(FAMILY, config, KEYS)
    for key in ("depth", "width", "token_width", "channel_width"):
        config_checks.check_int(FAMILY, key, config[key], 1)
    config_checks.check_activation(FAMILY, config["activation"])
    config_checks.check_initializer(FAMILY, "w_init", config["w_init"])
    config_checks.check_bool(FAMILY, "center_data", config["center_data"])
    images = image_sources.image_source(FAMILY, config["dataset"])
    patch = patches.check_patch(FAMILY, config["patch"], images.shape)
    width, count = config["width"], patches.num_patches(images.shape, patch)
    activation = ACTIVATIONS[config["activation"]]
    w_init = (config["w_init"][0], config["w_init"][1])

    of_block = (
        *transformers.norm_tensors(width),
        *linear_tensors((count, config["token_width"], count), w_init),
        *transformers.norm_tensors(width),
        *linear_tensors((width, config["channel_width"], width), w_init),
    )
    tensors = (
        *linear_tensors((patch * patch * images.shape[2], width), w_init),
        *of_block * config["depth"],
        *transformers.norm_tensors(width),
        *linear_tensors((width, images.num_classes), w_init),
    )

    def perceptron(rest: Iterator[Array], x: Array) -> Array:
        return layers.mlp([next(rest) for _ in range(4)], x, activation)

    def logits(params: Params, noise: tuple[Array, ...], inputs: Array) -> Array:
        rest, batch = iter(params), inputs.shape[0]
        x = patches.cut(inputs, patch)
        x = layers.linear(x.reshape(-1, x.shape[2]), next(rest), next(rest))
        for _ in range(config["depth"]):
            y = transformers.norm(rest, x).reshape(batch, count, width)
            y = perceptron(rest, jnp.swapaxes(y, 1, 2).reshape(-1, count))
            y = jnp.swapaxes(y.reshape(batch, width, count), 1, 2)
            x = x + y.reshape(x.shape)
            x = x + perceptron(rest, transformers.norm(rest, x))
        x = transformers.norm(rest, x).reshape(batch, count, width)
        return layers.linear(jnp.mean(x, axis=1), next(rest), next(rest))

    loss = image_sources.classifier_loss(logits, config["center_data"])
    return Design(FAMILY, config, Model(tensors, loss), images.source)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; Tolstikhin et al. 2021, arXiv 2105.01601",
)
