"""TaskSet's family of convolutional classifiers with global pooling."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.random import RandomState

from opt_gym.records import Config, Spec, Task
from opt_gym.tasks import _config, _layers, _samplers
from opt_gym.tasks._activations import ACTIVATIONS
from opt_gym.tasks._classification import ImageSource, Model, build_classifier

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
FIELD = (3, 3)
STRIDE_PATTERNS = {"all_two": (2, 2), "one_two": (1, 2), "two_one": (2, 1)}

POOLS: dict[str, Callable[[Float[Array, "c b h w"]], Float[Array, "c b"]]] = {
    "mean": lambda x: jnp.mean(x, axis=(2, 3)),
    "max": lambda x: jnp.max(x, axis=(2, 3)),
    "squared_mean": lambda x: jnp.mean(x**2, axis=(2, 3)),
}
"""Name -> pooling of channel-major activations over height and width."""


class Convolution(NamedTuple):
    """One layer: what `_layers.convolve` needs besides arrays, and its kernel's shape."""

    kernel: tuple[int, int, int, int]
    strides: tuple[int, int]
    padding: str
    form: str


def sample_config(seed: int) -> Config:
    """TaskSet's published config `conv_pooling_family_seed<seed>`.

    Some of them cannot be built (a VALID convolution meets a map smaller than 3x3).
    """
    rng = RandomState(seed)
    depth = _samplers.pick(rng, (1, 2, 3, 4, 5))
    pattern = STRIDE_PATTERNS[_samplers.pick(rng, tuple(STRIDE_PATTERNS))]
    return {
        "strides": [[pattern[i % 2]] * 2 for i in range(depth)],
        "hidden_units": [_samplers.log_int(rng, 8, 64) for _ in range(depth)],
        "activation": _samplers.activation(rng),
        "w_init": _samplers.initializer(rng),
        "padding": [_samplers.pick(rng, ("SAME", "VALID")) for _ in range(depth)],
        "pool_type": _samplers.pick(rng, tuple(POOLS)),
        "use_bias": _samplers.pick(rng, (True, False)),
        "dataset": _samplers.image_dataset(rng),
        "center_data": _samplers.pick(rng, (True, False)),
    }


def build(config: Config) -> Task:
    """A classifier: 3x3 convolutions, the activation after each, pooling, a linear layer.

    φ = (w0, [b0,] w1, [b1,] ..., w, b): kernels [3, 3, in, out], their biases [out] where
    `use_bias`, then the linear layer's [channels, classes] and [classes].

    Raises:
        ValueError: a key or a value that cannot be used, by name; a layer whose VALID
            convolution meets a map smaller than 3x3.
    """
    config = _config.strip(FAMILY, config, KEYS)
    _check(config)
    activation = ACTIVATIONS[config["activation"]]
    pool, use_bias = POOLS[config["pool_type"]], config["use_bias"]

    def make_model(source: ImageSource) -> Model:
        layers = _layers_of(config, source)
        shapes: list[tuple[int, ...]] = []
        for layer in layers:
            shapes += [layer.kernel, (layer.kernel[3],)][: 1 + use_bias]
        shapes += [(layers[-1].kernel[3], source.num_classes), (source.num_classes,)]
        roles = tuple("kernel" if len(shape) > 1 else "bias" for shape in shapes)

        def logits(params: tuple[Array, ...], inputs: Array) -> Array:
            x = jnp.transpose(inputs, (3, 0, 1, 2))
            rest = iter(params)
            for _, strides, padding, form in layers:
                x = _layers.convolve(x, next(rest), strides, padding, form)
                if use_bias:
                    x = x + next(rest)[:, None, None, None]
                x = activation(x)
            return _layers.linear(pool(x).T, next(rest), next(rest))

        return Model(tuple(shapes), roles, logits)

    return build_classifier(FAMILY, config, make_model)


def _layers_of(config: Config, source: ImageSource) -> list[Convolution]:
    height, width, channels = source.shape
    size, layers = (height, width), []
    rows = zip(
        config["strides"], config["hidden_units"], config["padding"], strict=True
    )
    for index, (pair, units, padding) in enumerate(rows):
        strides = (pair[0], pair[1])
        kernel = (*FIELD, channels, units)
        if padding == "VALID" and min(size) < FIELD[0]:
            raise ValueError(
                f"{FAMILY}: infeasible config: layer {index} is a VALID 3x3 convolution "
                f"and its input only {size[0]}x{size[1]}"
            )
        form = _layers.conv_form(source.batch_size, size, kernel, strides, padding)
        layers.append(Convolution(kernel, strides, padding, form))
        size, channels = _layers.conv_output(size, FIELD, strides, padding), units
    return layers


def _check(config: dict[str, Any]) -> None:
    sizes, strides = config["hidden_units"], config["strides"]
    _config.check_sizes(FAMILY, "hidden_units", sizes)
    depth = len(sizes)
    _config.check(FAMILY, "hidden_units", sizes, depth > 0, "a list of one or more")
    pairs = isinstance(strides, list | tuple) and len(strides) == depth
    expected = f"{depth} pairs of integers >= 1"
    _config.check(FAMILY, "strides", strides, pairs, expected)
    for pair in strides:
        valid = isinstance(pair, list | tuple) and len(pair) == 2
        valid = valid and all(_config.is_int(stride, 1) for stride in pair)
        _config.check(FAMILY, "strides", strides, valid, expected)
    padding = config["padding"]
    valid = isinstance(padding, list | tuple) and len(padding) == depth
    valid = valid and all(p in ("SAME", "VALID") for p in padding)
    _config.check(FAMILY, "padding", padding, valid, f"{depth} of SAME, VALID")
    _config.check_activation(FAMILY, config["activation"])
    _config.check_choice(FAMILY, "pool_type", config["pool_type"], list(POOLS))
    _config.check_bool(FAMILY, "use_bias", config["use_bias"])


SPEC = Spec(
    kind="task",
    name=FAMILY,
    make=build,
    config=sample_config,
    source="Metz et al. 2020, arXiv 2002.11887, conv_pooling_family (google-research)",
)
