"""Residual networks that classify images: all but their blocks, which are a family's own."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import (
    config_checks,
    convnets,
    convolutions,
    image_sources,
    layers,
    samplers,
)
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.convnets import FIELD
from opt_gym.tasks.building.initializers import Initializer
from opt_gym.tasks.building.model import Design, Model, Params, Tensor, bias

KEYS = (
    "blocks",
    "width",
    "groups",
    "activation",
    "w_init",
    "dataset",
    "center_data",
)
EPSILON = 1e-5

Pair = tuple[int, int]
Maps = Float[Array, "c b h w"]


class Place(NamedTuple):
    """Where a layer stands.

    batch, size: examples, height and width that it meets; inputs, outputs: channels; stride:
    down and across.
    """

    batch: int
    size: Pair
    inputs: int
    outputs: int
    stride: int = 1

    @property
    def strides(self) -> Pair:
        """Down and across."""
        return self.stride, self.stride

    @property
    def size_after(self) -> Pair:
        """Height and width of what a 3x3 "SAME" layer of that stride makes of it."""
        return convolutions.conv_output(self.size, FIELD, self.strides, "SAME")


class Layer(NamedTuple):
    """φ's tensors, and what they make of maps: apply takes its own from an iterator."""

    tensors: tuple[Tensor, ...]
    apply: Callable[[Iterator[Array], Maps], Maps]


MakeBlock = Callable[[Config, Place], Layer]


def sample_config(rng: RandomState) -> Config:
    """1-3 stages of 1-2 blocks, drawn with `rng` as TaskSet draws; crops need no care."""
    stages = samplers.pick(rng, (1, 2, 3))
    groups = samplers.pick(rng, (1, 2, 4, 8))
    return {
        "blocks": [samplers.pick(rng, (1, 1, 2)) for _ in range(stages)],
        "width": groups * max(1, samplers.log_int(rng, 8, 32) // groups),
        "groups": groups,
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
        "dataset": samplers.image_dataset(rng),
        "center_data": samplers.pick(rng, (True, False)),
    }


def check(family: str, config: Config) -> None:
    """Checks the values of `KEYS` in the `config` of a `family`.

    Raises:
        ValueError: one that cannot be used, by name.
    """
    config_checks.check_sizes(family, "blocks", config["blocks"], 1)
    config_checks.check_int(family, "width", config["width"], 1)
    config_checks.check_int(family, "groups", config["groups"], 1)
    width, groups = config["width"], config["groups"]
    divides = width % groups == 0
    config_checks.check(
        family, "groups", groups, divides, f"a divisor of the width {width}"
    )
    config_checks.check_activation(family, config["activation"])
    config_checks.check_initializer(family, "w_init", config["w_init"])
    config_checks.check_bool(family, "center_data", config["center_data"])


def design(family: str, config: Config, make_block: MakeBlock) -> Design:
    """A 3x3 convolution with norm and activation, the blocks, mean pooling, a linear layer.

    Args:
        family: name.
        config: checked, with `KEYS` among its keys: `blocks` counts the blocks stage by stage,
            `width` is the number of channels of the first stage; every later one doubles it,
            and halves height and width in its first block.
        make_block: (config, place) -> a block there.
    """
    activation = ACTIVATIONS[config["activation"]]
    images = image_sources.image_source(family, config["dataset"])
    batch, (*size, colors) = images.source.batch_size, images.shape
    w_init = initializer(config)
    place = Place(batch, (size[0], size[1]), colors, config["width"])
    stem = normed_conv(place, w_init, config["groups"])
    blocks = []
    for inputs, outputs, stride in _steps(config):
        place = Place(batch, place.size_after, inputs, outputs, stride)
        blocks.append(make_block(config, place))
    tensors = (
        *stem.tensors,
        *(tensor for block in blocks for tensor in block.tensors),
        Tensor((place.outputs, images.num_classes), "kernel", w_init),
        bias(images.num_classes),
    )

    def logits(params: Params, noise: tuple[Array, ...], inputs: Array) -> Array:
        # Written out: a scan over the equal blocks of a stage compiles no faster (about 12
        # core-seconds for 34 layers). Rematerialized, it runs at 0.9 of the speed and
        # takes 0.3 instead of 1.4 GB at batch 128.
        rest = iter(params)
        x = activation(stem.apply(rest, convnets.channel_major(inputs)))
        for block in blocks:
            x = block.apply(rest, x)
        return layers.linear(jnp.mean(x, axis=(2, 3)).T, next(rest), next(rest))

    loss = image_sources.classifier_loss(logits, config["center_data"])
    return Design(family, config, Model(tensors, loss), images.source)


def initializer(config: Config) -> Initializer:
    """Of all kernels of a `config`."""
    return config["w_init"][0], config["w_init"][1]


def _steps(config: Config) -> Iterator[tuple[int, int, int]]:
    """(channels in, channels out, stride) of every block."""
    channels = config["width"]
    for stage, count in enumerate(config["blocks"]):
        for index in range(count):
            down = stage > 0 and index == 0
            width = 2 * channels if down else channels
            yield channels, width, 2 if down else 1
            channels = width


def normed_conv(place: Place, w_init: Initializer, groups: int) -> Layer:
    """N(K * x), a 3x3 "SAME" convolution without bias and its norm; φ (K, γ, β).

    Args:
        place: where it stands.
        w_init: of K.
        groups: of the norm.
    """
    kernel, strides = (*FIELD, place.inputs, place.outputs), place.strides
    form = convolutions.conv_form(place.batch, place.size, kernel, strides, "SAME")

    def apply(rest: Iterator[Array], x: Maps) -> Maps:
        x = convolutions.convolve(x, next(rest), strides, "SAME", form)
        return group_norm(x, next(rest), next(rest), groups)

    return Layer(_normed(kernel, w_init), apply)


def normed_depthwise(place: Place, w_init: Initializer, groups: int) -> Layer:
    """As `normed_conv`, with a 3x3 kernel for every channel: K [3, 3, 1, channels].

    Args:
        place, w_init, groups: as there.
    """

    def apply(rest: Iterator[Array], x: Maps) -> Maps:
        x = convolutions.depthwise(x, next(rest), place.strides)
        return group_norm(x, next(rest), next(rest), groups)

    return Layer(_normed((*FIELD, 1, place.outputs), w_init), apply)


def normed_pointwise(place: Place, w_init: Initializer, groups: int) -> Layer:
    """As `normed_conv`, with a 1x1 kernel: a product, pixel by pixel.

    Args:
        place, w_init, groups: as there.
    """
    stride = place.stride

    def apply(rest: Iterator[Array], x: Maps) -> Maps:
        x, kernel = x[:, :, ::stride, ::stride], next(rest)[0, 0]
        y = (kernel.T @ x.reshape(x.shape[0], -1)).reshape(-1, *x.shape[1:])
        return group_norm(y, next(rest), next(rest), groups)

    return Layer(_normed((1, 1, place.inputs, place.outputs), w_init), apply)


def _normed(kernel: tuple[int, ...], w_init: Initializer) -> tuple[Tensor, ...]:
    units = kernel[3]
    return (
        Tensor(kernel, "kernel", w_init),
        Tensor((units,), "norm", ("ones", None)),
        Tensor((units,), "norm", ("zeros", None)),
    )


def group_norm(
    x: Maps, gamma: Float[Array, " c"], beta: Float[Array, " c"], groups: int
) -> Maps:
    """γ (x - mean) / sqrt(variance + 1e-5) + β; moments per example and group.

    A group is c / groups neighbouring channels with all their pixels. No norm looks at
    another example, so that a loss needs no state and is the same at evaluation.

    Args:
        x: [channels, batch, height, width].
        gamma, beta: γ and β [channels].
        groups: how many.

    Source: Wu & He 2018, arXiv 1803.08494, equations 1-6.
    """
    channels, batch = x.shape[:2]

    def mean(y: Maps) -> Float[Array, "c b 1 1"]:
        grouped = y.reshape(groups, -1, *y.shape[1:])
        each = jnp.mean(grouped, axis=(1, 3, 4))[:, None]
        shape = (groups, channels // groups, batch)
        return jnp.broadcast_to(each, shape).reshape(channels, batch, 1, 1)

    # Everything by group is done on [c, b]: 1.3 to 2 times as fast as on five axes.
    centered = x - mean(x)
    scale = jax.lax.rsqrt(mean(centered**2) + EPSILON) * gamma[:, None, None, None]
    return centered * scale + beta[:, None, None, None]
