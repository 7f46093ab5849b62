"""Stacks of 3x3 convolutions: their config keys, their tensors and what they compute."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.random import RandomState

from opt_gym.tasks.building import config_checks, convolutions, layers, samplers
from opt_gym.tasks.building.initializers import Initializer
from opt_gym.tasks.building.model import Tensor, bias

FIELD = (3, 3)
STRIDE_PATTERNS = {"all_two": (2, 2), "one_two": (1, 2), "two_one": (2, 1)}
NORMS = ("none", "batch")
Activation = Callable[[Array], Array]


class Layer(NamedTuple):
    """One convolution: what `convolutions.convolve` needs besides arrays.

    Attributes:
        kernel: its shape: height, width, input channels, output channels.
        strides: down and across.
        padding: "SAME" or "VALID".
        form: "slices" or "lax", which `convolutions.conv_form` chose.
    """

    kernel: tuple[int, int, int, int]
    strides: tuple[int, int]
    padding: str
    form: str


class Stack(NamedTuple):
    """A stack of convolutions.

    Attributes:
        layers: bottom first.
        size: height and width of its output.
        norm: "none", or "batch" for batch normalization between convolution and activation.
        use_bias: whether a convolution has a bias.
    """

    layers: tuple[Layer, ...]
    size: tuple[int, int]
    norm: str = "none"
    use_bias: bool = True

    @property
    def channels(self) -> int:
        """Of the output."""
        return self.layers[-1].kernel[3]

    def tensors(self, init: Initializer) -> list[Tensor]:
        """φ's tensors: kernel, bias where there is one, β of the norm, layer by layer.

        Kernels are drawn by `init`, the others begin at zero.
        """
        tensors: list[Tensor] = []
        for layer in self.layers:
            units = layer.kernel[3]
            tensors.append(Tensor(layer.kernel, "kernel", init))
            if self.use_bias:
                tensors.append(bias(units))
            if self.norm == "batch":
                tensors.append(Tensor((1, 1, 1, units), "norm", ("zeros", None)))
        return tensors

    def apply(
        self,
        params: Iterator[Array],
        x: Float[Array, "i b h w"],
        activation: Activation,
    ) -> Float[Array, "o b h2 w2"]:
        """The channel-major output; takes its tensors off `params`.

        Args:
            params: the rest of φ, from the stack's first kernel on.
            x: [channels, batch, height, width].
            activation: after every layer, the last included.
        """
        for _, strides, padding, form in self.layers:
            x = convolutions.convolve(x, next(params), strides, padding, form)
            if self.use_bias:
                x = x + next(params)[:, None, None, None]
            if self.norm == "batch":
                x = layers.batch_norm(x, next(params))
            x = activation(x)
        return x


def channel_major(images: Float[Array, "b h w c"]) -> Float[Array, "c b h w"]:
    """`images` [b, h, w, c] in the layout that convolutions are quick in, [c, b, h, w]."""
    return jnp.transpose(images, (3, 0, 1, 2))


def channels_last(x: Float[Array, "c b h w"]) -> Float[Array, "b h w c"]:
    """`x` [c, b, h, w] in the layout of images, [b, h, w, c], which flattening follows."""
    return jnp.transpose(x, (1, 2, 3, 0))


def make_stack(
    family: str,
    batch_size: int,
    shape: tuple[int, int, int],
    units: Sequence[int],
    strides: Sequence[Sequence[int]],
    padding: Sequence[str],
    norm: str = "none",
    use_bias: bool = True,
) -> Stack:
    """The stack on inputs of a shape; the form of every convolution is chosen here.

    Args:
        family: whose config it is, for errors.
        batch_size: examples a batch, which the forms depend on.
        shape: height, width, channels of an input.
        units: output channels, one number a layer.
        strides: down and across, one pair a layer.
        padding: "SAME" or "VALID", one a layer.
        norm, use_bias: as in `Stack`.

    Raises:
        ValueError: a VALID convolution that meets a map smaller than 3x3.
    """
    height, width, channels = shape
    size, layers = (height, width), []
    for index, (count, pair, pad) in enumerate(
        zip(units, strides, padding, strict=True)
    ):
        step = (pair[0], pair[1])
        kernel = (*FIELD, channels, count)
        if pad == "VALID" and min(size) < FIELD[0]:
            raise ValueError(
                f"{family}: infeasible config: padding[{index}] is 'VALID', a 3x3 "
                f"convolution, and the input of layer {index} only {size[0]}x{size[1]}"
            )
        form = convolutions.conv_form(batch_size, size, kernel, step, pad)
        layers.append(Layer(kernel, step, pad, form))
        size, channels = convolutions.conv_output(size, FIELD, step, pad), count
    return Stack(tuple(layers), size, norm, use_bias)


def sample_stack(rng: RandomState) -> dict[str, Any]:
    """The first draws from `rng` of TaskSet's two families of convolutional classifiers."""
    depth = samplers.pick(rng, (1, 2, 3, 4, 5))
    pattern = STRIDE_PATTERNS[samplers.pick(rng, tuple(STRIDE_PATTERNS))]
    return {
        "strides": [[pattern[i % 2]] * 2 for i in range(depth)],
        "hidden_units": [samplers.log_int(rng, 8, 64) for _ in range(depth)],
        "activation": samplers.activation(rng),
        "w_init": samplers.initializer(rng),
        "padding": [samplers.pick(rng, ("SAME", "VALID")) for _ in range(depth)],
    }


def check_stack(family: str, config: dict[str, Any]) -> None:
    """Raises a ValueError for a bad value of the keys of `sample_stack`, or of "norm".

    The error names the `family`; `config` may leave out "norm" and no other of these keys.
    """
    sizes, strides = config["hidden_units"], config["strides"]
    config_checks.check_sizes(family, "hidden_units", sizes, least=1)
    depth = len(sizes)
    pairs = isinstance(strides, list | tuple) and len(strides) == depth
    expected = f"{depth} pairs of integers >= 1"
    config_checks.check(family, "strides", strides, pairs, expected)
    for pair in strides:
        valid = isinstance(pair, list | tuple) and len(pair) == 2
        valid = valid and all(config_checks.is_int(stride, 1) for stride in pair)
        config_checks.check(family, "strides", strides, valid, expected)
    padding = config["padding"]
    valid = isinstance(padding, list | tuple) and len(padding) == depth
    valid = valid and all(p in ("SAME", "VALID") for p in padding)
    config_checks.check(family, "padding", padding, valid, f"{depth} of SAME, VALID")
    config_checks.check_activation(family, config["activation"])
    config_checks.check_initializer(family, "w_init", config["w_init"])
    config_checks.check_choice(family, "norm", config.get("norm", "none"), NORMS)
