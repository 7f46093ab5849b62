"""Residual networks that classify images, normalized without statistics of a batch."""

from collections.abc import Iterator

from jaxtyping import Array
from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import config_checks, residual_networks
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import Design, family_spec
from opt_gym.tasks.building.residual_networks import Layer, Maps, Place

FAMILY = "resnet"


def sample_config(seed: int) -> Config:
    """A config of our own, drawn as TaskSet draws: 1-3 stages of 1-2 blocks."""
    return residual_networks.sample_config(RandomState(seed))


def design(config: Config) -> Design:
    """A classifier: a convolution, stages of residual blocks, mean pooling, a linear layer.

    A block: x -> activation(shortcut(x) + N(K₂ * activation(N(K₁ * x)))) with 3x3
    convolutions without bias and N the group norm. `blocks` counts them stage by stage;
    `width` is the number of channels of the first stage, every later one doubles it and
    halves height and width. There the shortcut is a 1x1 convolution of stride 2 with a
    norm, else the identity. Layers with weights, projections not counted: 2 + 2 * blocks:
    [2, 2, 2] is ResNet-14, [3, 4, 6, 3] ResNet-34.
    `groups` 1 is layer norm over channels, height and width.
    φ = (K, γ, β; K₁, γ, β, K₂, γ, β [, P, γ, β] per block; w, b), K [3, 3, in, out],
    P [1, 1, in, out], γ and β [out], w [channels, classes].

    Source: He et al. 2016, arXiv 1512.03385, sections 3.3 and 4.2 (first convolution 3x3
        without pooling, as for CIFAR-10); Wu & He 2018, arXiv 1803.08494. differs: the
        depths 14 and 34 at small widths are ours.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(FAMILY, config, residual_networks.KEYS)
    residual_networks.check(FAMILY, config)
    return residual_networks.design(FAMILY, config, _block)


def _block(config: Config, place: Place) -> Layer:
    """Two convolutions beside a shortcut, which is a projection where shapes change."""
    activation = ACTIVATIONS[config["activation"]]
    w_init, groups = residual_networks.initializer(config), config["groups"]
    inner = Place(place.batch, place.size_after, place.outputs, place.outputs)
    first = residual_networks.normed_conv(place, w_init, groups)
    second = residual_networks.normed_conv(inner, w_init, groups)
    tensors, projection = (*first.tensors, *second.tensors), None
    if place.stride > 1:
        projection = residual_networks.normed_pointwise(place, w_init, groups)
        tensors += projection.tensors

    def apply(rest: Iterator[Array], x: Maps) -> Maps:
        y = second.apply(rest, activation(first.apply(rest, x)))
        if projection is not None:
            x = projection.apply(rest, x)
        return activation(x + y)

    return Layer(tensors, apply)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; He et al. 2016, arXiv 1512.03385, with group norm, Wu & He 2018, "
    "arXiv 1803.08494",
)
