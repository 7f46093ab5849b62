"""TaskSet's family of convolutional classifiers with fully connected layers on top."""

import math

from jaxtyping import Array
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
    family_spec,
    linear_tensors,
)

FAMILY = "conv_fc"
KEYS = (
    "strides",
    "hidden_units",
    "activation",
    "w_init",
    "padding",
    "fc_hidden_units",
    "use_bias",
    "dataset",
    "center_data",
)


def sample_config(seed: int) -> Config:
    """TaskSet's published config `conv_fc_family_seed<seed>`.

    Some of them cannot be built (a VALID convolution meets a map smaller than 3x3).
    """
    rng = RandomState(seed)
    stack = convnets.sample_stack(rng)
    depth = samplers.pick(rng, (0, 1, 2, 3))
    return {
        **stack,
        "fc_hidden_units": [samplers.log_int(rng, 32, 128) for _ in range(depth)],
        "use_bias": samplers.pick(rng, (True, False)),
        "dataset": samplers.image_dataset(rng),
        "center_data": samplers.pick(rng, (True, False)),
    }


def design(config: Config) -> Design:
    """A classifier: 3x3 convolutions, the activation after each, then an MLP.

    φ = (w0, [b0,] w1, ..., v0, c0, v1, c1, ...): kernels [3, 3, in, out] and their biases
    [out] where `use_bias`; then the linear layers' [in, out] and [out], the activation
    between them. The first of these sees height, width and channels flattened in this order.

    Raises:
        ValueError: a key or a value that cannot be used, by name; a layer whose VALID
            convolution meets a map smaller than 3x3.
    """
    config = _checked(config)
    activation = ACTIVATIONS[config["activation"]]
    images = image_sources.image_source(FAMILY, config["dataset"])
    stack = convnets.make_stack(
        FAMILY,
        images.source.batch_size,
        images.shape,
        config["hidden_units"],
        config["strides"],
        config["padding"],
        use_bias=config["use_bias"],
    )
    w_init = (config["w_init"][0], config["w_init"][1])
    features = math.prod(stack.size) * stack.channels
    sizes = [features, *config["fc_hidden_units"], images.num_classes]
    tensors = (*stack.tensors(w_init), *linear_tensors(sizes, w_init))

    def logits(params: Params, noise: tuple[Array, ...], inputs: Array) -> Array:
        rest = iter(params)
        x = stack.apply(rest, convnets.channel_major(inputs), activation)
        return layers.mlp(
            tuple(rest), image_sources.flat(convnets.channels_last(x)), activation
        )

    loss = image_sources.classifier_loss(logits, config["center_data"])
    return Design(FAMILY, config, Model(tuple(tensors), loss), images.source)


def _checked(config: Config) -> Config:
    config = config_checks.strip(FAMILY, config, KEYS)
    convnets.check_stack(FAMILY, config)
    config_checks.check_sizes(FAMILY, "fc_hidden_units", config["fc_hidden_units"])
    config_checks.check_bool(FAMILY, "use_bias", config["use_bias"])
    config_checks.check_bool(FAMILY, "center_data", config["center_data"])
    return config


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, conv_fc_family (google-research)",
)
