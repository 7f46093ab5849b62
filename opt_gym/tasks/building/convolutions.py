"""Convolutions that are quick inside a scan on CPU, with weights of their own per unroll."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MOST_PATCH_BYTES = 2**30
"""The slices of one convolution may take this much memory; see `conv_form`."""

Pair = tuple[int, int]


def conv_output(size: Pair, field: Pair, strides: Pair, padding: str) -> Pair:
    """Height and width after a convolution; below 1 where VALID leaves nothing.

    Args:
        size, field: height and width of its input and of its kernel.
        strides, padding: as for `convolve`.
    """
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

    Args:
        x: [input channels, batch, height, width].
        kernel: [height, width, input channels, output channels].
        strides: down and across.
        padding: "SAME" or "VALID".
        form: "slices" or "lax".
    """
    if form == "lax":
        numbers = ("CNHW", "HWIO", "CNHW")
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=numbers
        )
    slices = _taps(x, (kernel.shape[0], kernel.shape[1]), strides, padding)
    inputs = len(slices) * x.shape[0]
    product = kernel.reshape(inputs, -1).T @ jnp.concatenate(slices).reshape(inputs, -1)
    return product.reshape(-1, *slices[0].shape[1:])


def depthwise(
    x: Float[Array, "c b h w"], kernel: Float[Array, "kh kw 1 c"], strides: Pair
) -> Float[Array, "c b h2 w2"]:
    """A "SAME" convolution of every channel on its own: the sum of its weighted shifted views.

    Args:
        x: [channels, batch, height, width].
        kernel: [height, width, 1, channels].
        strides: down and across.
    """
    height, width, _, channels = kernel.shape
    weights = kernel.reshape(height * width, channels)[:, :, None, None, None]
    slices = _taps(x, (height, width), strides, "SAME")
    return sum(
        (weight * tap for weight, tap in zip(weights, slices, strict=True)),
        jnp.zeros((), x.dtype),
    )


def _taps(x: Array, field: Pair, strides: Pair, padding: str) -> list[Array]:
    """The shifted, strided views of x [c, b, h, w] that a kernel's pixels meet, row by row."""
    channels, batch = x.shape[:2]
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
    return [
        jax.lax.slice(
            x,
            (0, 0, i, j),
            (channels, batch, i + reach[0], j + reach[1]),
            (1, 1, *strides),
        )
        for i in range(field[0])
        for j in range(field[1])
    ]


def transposed(
    x: Float[Array, "i b h w"],
    kernel: Float[Array, "kh kw o i"],
    strides: Pair,
    form: str,
) -> Float[Array, "o b h2 w2"]:
    """The transposed "SAME" convolution: h2 = h * strides[0], w2 = w * strides[1].

    It is the transpose of the convolution that maps its output to its input, which gives
    y[p] = sum_{k, q: s q + k - low = p} K[k] x[q] in each direction. Output pixels of one
    remainder p mod s see the same taps, so the s[0] * s[1] phases are the channels of one
    convolution on the small map, whose result is then interleaved. At stride 2 the zeros
    that pad a 3x3 kernel to 4x4 are 7 of its 16 multiplications, and still it is quickest.

    Training steps per second of decoders (layers of stride 2 with 3x3 kernels, a 1x1
    convolution on top) with the form "slices", inside a scan inside `lax.map`, gradients
    included, against the linear transpose of `convolve` and `lax.conv_transpose`; 2 cores
    with other work on them, jax 0.10.2. It also compiles in three quarters of the time.

        channels, images, batch        phases   transpose   lax
        64-32, 28x28x1, 128               9.9         5.6   0.4
        64-32, 28x28x1, 8                 418         304   9.5
        128-64-32, 32x32x3, 128           7.3         5.7     -
    """
    pads, ends, taps = [], [], []
    for size, stride in zip(kernel.shape[:2], strides, strict=True):
        low = max(size - stride, 0) // 2
        before = -low % stride
        count = -(-(size + before) // stride)
        after = (low + before) // stride
        pads.append((count - 1 - after, after))
        ends.append((before, count * stride - size - before))
        taps.append(count)
    outputs, inputs = kernel.shape[2:]
    # Tap k = stride * m + phase meets the pixel m before, so m runs backwards.
    phases = jnp.pad(kernel, (*ends, (0, 0), (0, 0)))
    phases = phases.reshape(taps[0], strides[0], taps[1], strides[1], outputs, inputs)
    phases = jnp.transpose(jnp.flip(phases, (0, 2)), (0, 2, 5, 1, 3, 4))
    phases = phases.reshape(*taps, inputs, -1)
    padded = jnp.pad(x, ((0, 0), (0, 0), *pads))
    y = convolve(padded, phases, (1, 1), "VALID", form)
    y = y.reshape(*strides, outputs, *x.shape[1:])
    size = (x.shape[2] * strides[0], x.shape[3] * strides[1])
    return jnp.transpose(y, (2, 3, 4, 0, 5, 1)).reshape(outputs, x.shape[1], *size)


def transposed_form(
    batch: int, size: Pair, kernel: tuple[int, ...], strides: Pair
) -> str:
    """Which form of `transposed` a task is built with: that of its one convolution.

    Args:
        batch, size: examples, and height and width of the input.
        kernel: height, width, output channels, input channels.
        strides: as for `transposed`.
    """
    taps = [-(-k // s) for k, s in zip(kernel[:2], strides, strict=True)]
    phases = (*taps, kernel[3], kernel[2] * strides[0] * strides[1])
    return conv_form(batch, size, phases, (1, 1), "SAME")
