"""What the convolutional autoencoders share: config keys, an encoder and a decoder."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from jaxtyping import Array, Float
from numpy.random import RandomState

from opt_gym.data import catalog
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
from opt_gym.tasks.building.image_sources import ImageSource
from opt_gym.tasks.building.initializers import Initializer
from opt_gym.tasks.building.model import Tensor, bias

KEYS = (
    "enc_hidden_units",
    "latent_size",
    "dec_hidden_units",
    "activation",
    "w_init",
    "dataset",
)
CODE_CHANNELS = 32
"""Of the small map that a decoder begins with."""

INITIALIZERS = ("sonnet", "glorot_normal", "glorot_uniform")
"""Those that configs are drawn with: wider ones start a variational loss at 1e12 or NaN."""

FIELD = (3, 3)
STRIDES = (2, 2)
Activation = Callable[[Array], Array]


class Coder(NamedTuple):
    """An encoder and a decoder as shapes and pure functions.

    Attributes:
        images: the source of the inputs.
        tensors: φ's, the encoder's first.
        encode: (the rest of φ, x [c, b, h, w]) -> [b, codes].
        decode: (the rest of φ, z [b, latents]) -> [outputs, b, h, w], not squashed.
    """

    images: ImageSource
    tensors: tuple[Tensor, ...]
    encode: Callable[[Iterator[Array], Array], Array]
    decode: Callable[[Iterator[Array], Array], Array]


def sample_config(seed: int) -> Config:
    """A config of our own, drawn from `seed` as TaskSet draws: 1-3 layers of 8-64 units a side.

    A decoder begins with a map of at least 4x4, so it has fewer layers for small images;
    a crop, which leaves sizes that it cannot make, is set to 0.
    """
    rng = RandomState(seed)
    dataset = samplers.image_dataset(rng)
    if dataset[2] is not None:
        dataset[2]["crop_amount"] = 0
    side = catalog.image_set(dataset[0]).shape[0]
    deepest = max(n for n in (1, 2, 3) if side % 2**n == 0 and side // 2**n >= 4)
    num_encoder = samplers.pick(rng, (1, 2, 3))
    num_decoder = samplers.pick(rng, tuple(range(1, deepest + 1)))
    return {
        "enc_hidden_units": [samplers.log_int(rng, 8, 64) for _ in range(num_encoder)],
        "latent_size": samplers.log_int(rng, 8, 128),
        "dec_hidden_units": [samplers.log_int(rng, 8, 64) for _ in range(num_decoder)],
        "activation": samplers.activation(rng),
        "w_init": [samplers.pick(rng, INITIALIZERS), None],
        "dataset": dataset,
    }


def make_coder(family: str, config: Config, codes: int, outputs: int) -> Coder:
    """The networks of a checked config.

    The encoder gives codes * latents numbers, the decoder outputs * channels maps.
    Encoder: 3x3 convolutions of stride 2, the activation after each, flattened, a linear
    layer. Decoder: a linear layer to a map [s, s, 32], 3x3 transposed convolutions of
    stride 2, the activation after each, a 1x1 convolution.
    φ: kernels [3, 3, in, out] and biases [out]; [features, codes * latents] and its bias;
    [latents, s * s * 32] and its bias; transposed kernels [3, 3, out, in] and biases [out];
    [1, 1, in, outputs * channels] and its bias.

    Args:
        family: whose config it is, for errors.
        config: that `checked` gave; its dataset is checked here.
        codes, outputs: 1 each; 2 for the mean and the log sigma of a distribution.

    Raises:
        ValueError: images whose height or width the decoder's layers cannot double up to.
    """
    activation = ACTIVATIONS[config["activation"]]
    images = image_sources.image_source(family, config["dataset"])
    height, width, channels = images.shape
    units, bs = config["dec_hidden_units"], images.source.batch_size
    scale = 2 ** len(units)
    if height % scale or width % scale:
        raise ValueError(
            f"{family}: infeasible config: dec_hidden_units doubles {len(units)} times, "
            f"got {units!r}, and images of {height}x{width} (dataset {images.source.name})"
        )
    start = (height // scale, width // scale)
    w_init = (config["w_init"][0], config["w_init"][1])
    depth = len(config["enc_hidden_units"])
    stack = convnets.make_stack(
        family,
        bs,
        images.shape,
        config["enc_hidden_units"],
        [STRIDES] * depth,
        ["SAME"] * depth,
    )
    features = math.prod(stack.size) * stack.channels
    latents, area = config["latent_size"], math.prod(start) * CODE_CHANNELS
    tensors = [
        *stack.tensors(w_init),
        Tensor((features, codes * latents), "kernel", w_init),
        bias(codes * latents),
        Tensor((latents, area), "kernel", w_init),
        bias(area),
    ]
    fan_in, size, forms = CODE_CHANNELS, start, []
    for count in units:
        kernel = (*FIELD, count, fan_in)
        tensors += [Tensor(kernel, "kernel", _upward(w_init, kernel)), bias(count)]
        forms.append(convolutions.transposed_form(bs, size, kernel, STRIDES))
        size, fan_in = (size[0] * 2, size[1] * 2), count
    last = outputs * channels
    tensors += [Tensor((1, 1, fan_in, last), "kernel", w_init), bias(last)]

    def encode(
        rest: Iterator[Array], x: Float[Array, "c b h w"]
    ) -> Float[Array, "b codes"]:
        x = stack.apply(rest, x, activation)
        x = image_sources.flat(convnets.channels_last(x))
        return layers.linear(x, next(rest), next(rest))

    def decode(
        rest: Iterator[Array], z: Float[Array, "b latents"]
    ) -> Float[Array, "outputs b h w"]:
        x = layers.linear(z, next(rest), next(rest))
        x = x.reshape(z.shape[0], *start, CODE_CHANNELS)
        return decode_map(rest, convnets.channel_major(x), forms, activation)

    return Coder(images, tuple(tensors), encode, decode)


def decode_map(
    rest: Iterator[Array],
    x: Float[Array, "i b h w"],
    forms: list[str],
    activation: Activation,
) -> Float[Array, "outputs b h2 w2"]:
    """The convolutional part of a decoder, one form of `transposed` a layer.

    Args:
        rest: of φ, from the first transposed kernel on; its tensors are taken off it.
        x: the map that a decoder begins with, channel-major: [32, b, h, w].
        forms: "slices" or "lax" for each transposed convolution; the 1x1 needs none.
        activation: after each of these layers, not after the last.
    """
    for form in forms:
        x = convolutions.transposed(x, next(rest), STRIDES, form)
        x = activation(x + next(rest)[:, None, None, None])
    kernel = next(rest)[0, 0]
    y = (kernel.T @ x.reshape(x.shape[0], -1)).reshape(-1, *x.shape[1:])
    return y + next(rest)[:, None, None, None]


def checked(family: str, config: Any) -> Config:
    """The config without its key "family", once all but its dataset is right.

    Raises:
        ValueError: a key or a value that cannot be used, by name.
    """
    config = config_checks.strip(family, config, KEYS)
    config_checks.check_sizes(family, "enc_hidden_units", config["enc_hidden_units"], 1)
    config_checks.check_sizes(family, "dec_hidden_units", config["dec_hidden_units"], 1)
    config_checks.check_int(family, "latent_size", config["latent_size"], 1)
    config_checks.check_activation(family, config["activation"])
    config_checks.check_initializer(family, "w_init", config["w_init"])
    return config


def _upward(w_init: Initializer, kernel: tuple[int, ...]) -> Initializer:
    """The initializer of a transposed kernel [height, width, out, in].

    Sonnet's default counts the inputs that meet, height * width * in. All others count as
    TensorFlow does, axis by axis: their fan-in is height * width * out.
    """
    if w_init[0] != "sonnet":
        return w_init
    return "truncated", (kernel[0] * kernel[1] * kernel[3]) ** -0.5
