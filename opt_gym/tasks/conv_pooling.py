"""TaskSet's family of convolutional classifiers with global pooling."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import (
    config_checks,
    convnets,
    image_sources,
    layers,
    samplers,
)
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import (
    Design,
    Model,
    Params,
    Tensor,
    bias,
    family_spec,
)

FAMILY = "conv_pooling"
KEYS = (
    "strides",
    "hidden_units",
    "activation",
    "w_init",
    "padding",
    "pool_type",
    "use_bias",
    "dataset",
    "center_data",
)
OPTIONAL = ("norm", "head_w_init")

POOLS: dict[str, Callable[[Float[Array, "c b h w"]], Float[Array, "c b"]]] = {
    "mean": lambda x: jnp.mean(x, axis=(2, 3)),
    "max": lambda x: jnp.max(x, axis=(2, 3)),
    "squared_mean": lambda x: jnp.mean(x**2, axis=(2, 3)),
}
"""Name -> pooling of channel-major activations over height and width."""


def sample_config(seed: int) -> Config:
    """TaskSet's published config `conv_pooling_family_seed<seed>`.

    Some of them cannot be built (a VALID convolution meets a map smaller than 3x3).
    """
    rng = RandomState(seed)
    return {
        **convnets.sample_stack(rng),
        "pool_type": samplers.pick(rng, tuple(POOLS)),
        "use_bias": samplers.pick(rng, (True, False)),
        "dataset": samplers.image_dataset(rng),
        "center_data": samplers.pick(rng, (True, False)),
    }


def design(config: Config) -> Design:
    """A classifier: 3x3 convolutions, the activation after each, pooling, a linear layer.

    φ = (w0, [b0, β0,] w1, ..., w, b): kernels [3, 3, in, out], their biases [out] where
    `use_bias`, β [1, 1, 1, out] where `norm` is "batch", then the linear layer's
    [channels, classes] and [classes]. Options that TaskSet's fixed tasks use: `norm`
    ("none" or "batch", between convolution and activation), `head_w_init` for the linear
    layer where it is not that of the convolutions.

    Raises:
        ValueError: a key or a value that cannot be used, by name; a layer whose VALID
            convolution meets a map smaller than 3x3.
    """
    config = _checked(config)
    activation = ACTIVATIONS[config["activation"]]
    pool = POOLS[config["pool_type"]]
    images = image_sources.image_source(FAMILY, config["dataset"])
    stack = convnets.make_stack(
        FAMILY,
        images.source.batch_size,
        images.shape,
        config["hidden_units"],
        config["strides"],
        config["padding"],
        config.get("norm", "none"),
        config["use_bias"],
    )
    w_init, head = config["w_init"], config.get("head_w_init", config["w_init"])
    tensors = (
        *stack.tensors((w_init[0], w_init[1])),
        Tensor((stack.channels, images.num_classes), "kernel", (head[0], head[1])),
        bias(images.num_classes),
    )

    def logits(params: Params, noise: tuple[Array, ...], inputs: Array) -> Array:
        rest = iter(params)
        x = stack.apply(rest, convnets.channel_major(inputs), activation)
        return layers.linear(pool(x).T, next(rest), next(rest))

    loss = image_sources.classifier_loss(logits, config["center_data"])
    return Design(FAMILY, config, Model(tensors, loss), images.source)


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS, OPTIONAL)
    convnets.check_stack(FAMILY, config)
    config_checks.check_choice(FAMILY, "pool_type", config["pool_type"], list(POOLS))
    config_checks.check_bool(FAMILY, "use_bias", config["use_bias"])
    config_checks.check_bool(FAMILY, "center_data", config["center_data"])
    if "head_w_init" in config:
        config_checks.check_initializer(FAMILY, "head_w_init", config["head_w_init"])
    return config


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, conv_pooling_family (google-research)",
)
