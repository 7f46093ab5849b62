"""Layers and losses that task families share."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

MOST_PATCH_BYTES = 2**30
"""The slices of one convolution may take this much memory; see `conv_form`."""

Pair = tuple[int, int]


def linear(
    x: Float[Array, "b i"], weight: Float[Array, "i o"], bias: Float[Array, " o"]
) -> Float[Array, "b o"]:
    """The affine map x W + b."""
    return x @ weight + bias[None, :]


def mlp(
    params: Sequence[Array],
    x: Float[Array, "b i"],
    activation: Callable[[Array], Array],
) -> Float[Array, "b o"]:
    """Linear layers w0, b0, w1, b1, ... with the activation between them."""
    for index in range(0, len(params), 2):
        if index:
            x = activation(x)
        x = linear(x, params[index], params[index + 1])
    return x


def conv_output(size: Pair, field: Pair, strides: Pair, padding: str) -> Pair:
    """Height and width after a convolution; below 1 where VALID leaves nothing."""
    if padding == "SAME":
        rows, columns = (-(-n // s) for n, s in zip(size, strides, strict=True))
    else:
        rows, columns = (
            (n - k) // s + 1 for n, k, s in zip(size, field, strides, strict=True)
        )
    return rows, columns


def conv_form(
    batch: int, size: Pair, kernel: tuple[int, ...], strides: Pair, padding: str
) -> str:
    """Which form of `convolve` a task is built with: "slices", unless they are huge.

    Training steps per second on 2 cores, batch 8 / 64, jax 0.10.2, inside a scan inside
    `lax.map`, gradients included, 3x3 kernels on 32x32x3 images ("thin" 8-8-8, "mid"
    16-32-32, "wide" 64-64-64 channels; strides 2-2-2 or 1-2-1):

        net           slices          lax
        mid 2-2-2     1,718 / 421     231 / 10.9
        wide 2-2-2      312 / 88      44.5 / 1.5
        thin 1-2-1    1,135 / 125     231 / 6.6
        wide 1-2-1       71 / 12       6.4 / 0.2

    As a jitted step of its own, without a loop, slices took 0.9 to 4 times as many steps
    per second as lax (batch 8, 128, 256). So memory is what is left to decide by. (One
    matmul per tap instead of one for all nine needs less of it: 0.2 to 1.1 times the
    speed, most often half.) The machine was shared: the ratios count, not the rates.

    Args:
        batch, size: examples, and height and width of the convolution's input.
        kernel: height, width, input channels, output channels.
        strides, padding: as for `convolve`.
    """
    height, width = conv_output(size, (kernel[0], kernel[1]), strides, padding)
    patch = kernel[0] * kernel[1] * kernel[2]
    return "slices" if 4 * patch * batch * height * width <= MOST_PATCH_BYTES else "lax"


def convolve(
    x: Float[Array, "i b h w"],
    kernel: Float[Array, "kh kw i o"],
    strides: Pair,
    padding: str,
    form: str,
) -> Float[Array, "o b h2 w2"]:
    """A convolution of channel-major activations, "SAME" or "VALID" as in TensorFlow.

    The form "slices" stacks the kh * kw shifted, strided views of x and multiplies once:
    y = Kᵀ S with S [kh kw i, b h2 w2]. The form "lax" is `lax.conv_general_dilated`.
    Choose with `conv_form`.
    """
    if form == "lax":
        numbers = ("CNHW", "HWIO", "CNHW")
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=numbers
        )
    channels, batch = x.shape[:2]
    field = (kernel.shape[0], kernel.shape[1])
    size = (x.shape[2], x.shape[3])
    rows, columns = conv_output(size, field, strides, padding)
    if padding == "SAME":
        pads = [
            max((out - 1) * s + k - n, 0)
            for out, s, k, n in zip((rows, columns), strides, field, size, strict=True)
        ]
        # An odd amount of padding has its larger half at the end.
        x = jnp.pad(x, ((0, 0), (0, 0), *((p // 2, p - p // 2) for p in pads)))
    reach = ((rows - 1) * strides[0] + 1, (columns - 1) * strides[1] + 1)
    slices = [
        jax.lax.slice(
            x,
            (0, 0, i, j),
            (channels, batch, i + reach[0], j + reach[1]),
            (1, 1, *strides),
        )
        for i in range(field[0])
        for j in range(field[1])
    ]
    stacked = jnp.concatenate(slices).reshape(len(slices) * channels, -1)
    product = kernel.reshape(len(slices) * channels, -1).T @ stacked
    return product.reshape(-1, batch, rows, columns)


def softmax_cross_entropy(
    logits: Float[Array, "b c"], labels: Int[Array, " b"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(mean cross entropy in nats per example, accuracy), from one pass over the logits.

    loss = mean_b [ log sum_c exp(z_bc) - z_b,label ]. Accuracy is the expected share of
    right answers when ties for the largest logit are broken at random: a network that
    says the same of every class scores 1/c, not 1.

    The label's logit is picked by comparison with the class numbers, because the gradient
    of a gather is a scatter, which is slow on CPU.
    """
    classes = jnp.arange(logits.shape[1], dtype=labels.dtype)
    is_label = labels[:, None] == classes[None, :]
    largest = jax.lax.stop_gradient(jnp.max(logits, axis=1, keepdims=True))
    shifted = logits - largest
    normalizer = jnp.log(jnp.sum(jnp.exp(shifted), axis=1))
    of_label = jnp.sum(jnp.where(is_label, shifted, 0.0), axis=1)
    best = shifted >= 0
    ties = jnp.maximum(jnp.sum(best, axis=1), 1)
    accuracy = jnp.mean(jnp.sum(best & is_label, axis=1) / ties)
    return jnp.mean(normalizer - of_label), accuracy
