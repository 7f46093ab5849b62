"""Classifiers of images by inverted bottlenecks with depthwise convolutions."""

from collections.abc import Iterator

from jaxtyping import Array
from numpy.random import RandomState

from opt_gym.records import Config
from opt_gym.tasks.building import config_checks, residual_networks, samplers
from opt_gym.tasks.building.activations import ACTIVATIONS
from opt_gym.tasks.building.model import Design, family_spec
from opt_gym.tasks.building.residual_networks import Layer, Maps, Place

FAMILY = "mobilenet"
KEYS = (*residual_networks.KEYS, "expansion")
EXPANSIONS = (1, 2, 4, 6)


def sample_config(seed: int) -> Config:
    """A config of our own: as of a `resnet`, bottlenecks 1 to 6 times as wide inside."""
    rng = RandomState(seed)
    return {
        **residual_networks.sample_config(rng),
        "expansion": samplers.pick(rng, EXPANSIONS),
    }


def design(config: Config) -> Design:
    """A classifier: a convolution, stages of inverted residual blocks, pooling, a linear layer.

    A block: y = N(P₂ activation(N(D * activation(N(P₁ x))))), and x + y where x and y have one
    shape, in the first block of a later stage y alone. P₁ widens channels `expansion`-fold, D
    is a 3x3 convolution of each channel on its own, of stride 2 where a stage begins, P₂
    narrows; nothing is squashed behind it. Stages, `width` and `groups` as of a `resnet`.
    φ = (K, γ, β; P₁, γ, β, D, γ, β, P₂, γ, β per block; w, b), K [3, 3, in, out], P [1, 1, in,
    out], D [3, 3, 1, channels], γ and β [out], w [channels, classes].

    Source: Sandler et al. 2018, arXiv 1801.04381, table 1 and figure 4 (MobileNetV2).
        differs: group norm for batch norm, any activation, no 1x1 convolution at the end, and
        P₁ also where the expansion is 1.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(FAMILY, config, KEYS)
    residual_networks.check(FAMILY, config)
    config_checks.check_int(FAMILY, "expansion", config["expansion"], 1)
    return residual_networks.design(FAMILY, config, _block)


def _block(config: Config, place: Place) -> Layer:
    activation = ACTIVATIONS[config["activation"]]
    w_init, groups = residual_networks.initializer(config), config["groups"]
    inside = config["expansion"] * place.inputs
    size = place.size_after
    widen = place._replace(outputs=inside, stride=1)
    narrow = Place(place.batch, size, inside, place.outputs)
    parts = (
        residual_networks.normed_pointwise(widen, w_init, groups),
        residual_networks.normed_depthwise(
            widen._replace(inputs=inside, stride=place.stride), w_init, groups
        ),
        residual_networks.normed_pointwise(narrow, w_init, groups),
    )
    keeps_shape = place.stride == 1 and place.inputs == place.outputs

    def apply(rest: Iterator[Array], x: Maps) -> Maps:
        first, deep, last = parts
        y = activation(first.apply(rest, x))
        y = last.apply(rest, activation(deep.apply(rest, y)))
        return x + y if keeps_shape else y

    return Layer(tuple(tensor for part in parts for tensor in part.tensors), apply)


SPEC = family_spec(
    FAMILY,
    design,
    sample_config,
    source="ours; Sandler et al. 2018, arXiv 1801.04381 (MobileNetV2), with group norm",
)
