"""Convolutions that are quick inside a scan on CPU, with weights of their own per unroll."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MOST_PATCH_BYTES = 2**30
"""The slices of one convolution may take this much memory; see `conv_form`."""

Pair = tuple[int, int]


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


def transposed(
    x: Float[Array, "i b h w"],
    kernel: Float[Array, "kh kw o i"],
    strides: Pair,
    form: str,
) -> Float[Array, "o b h2 w2"]:
    """The transposed "SAME" convolution: h2 = h * strides[0], w2 = w * strides[1].

    It is the transpose of the convolution that maps its output to its input, and is made
    so, in whatever form that has.
    """
    size = (x.shape[2] * strides[0], x.shape[3] * strides[1])
    like = jax.ShapeDtypeStruct((kernel.shape[2], x.shape[1], *size), x.dtype)

    def forward(y: Float[Array, "o b h2 w2"]) -> Float[Array, "i b h w"]:
        return convolve(y, kernel, strides, "SAME", form)

    (result,) = jax.linear_transpose(forward, like)(x)
    return result
