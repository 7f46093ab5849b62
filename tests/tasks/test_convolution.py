"""Convolutions against hand-worked values and lax.conv."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opt_gym.tasks.building import convolutions


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(
    st.integers(3, 9),
    st.integers(3, 9),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([(1, 1), (2, 2), (1, 2), (3, 1)]),
    st.sampled_from(["SAME", "VALID"]),
)
def test_slices_equal_lax_conv(height, width, inputs, outputs, strides, padding):
    rng = np.random.RandomState(height + 10 * width)
    x = rng.randn(inputs, 2, height, width).astype(np.float32)
    kernel = rng.randn(3, 3, inputs, outputs).astype(np.float32)
    size = convolutions.conv_output((height, width), (3, 3), strides, padding)
    weight = rng.randn(outputs, 2, *size).astype(np.float32)

    def values(form, x, kernel):
        def weighted(x, kernel):
            y = convolutions.convolve(x, kernel, strides, padding, form)
            return jnp.sum(weight * y), y

        differentiate = jax.value_and_grad(weighted, argnums=(0, 1), has_aux=True)
        (_, y), grads = differentiate(x, kernel)
        return y, *grads

    def both(x, kernel):
        return values("slices", x, kernel), values("lax", x, kernel)

    # One program an example, compiled without optimization: compiling is what it costs.
    program = jax.jit(both, compiler_options={"xla_backend_optimization_level": 0})
    # Sums of at most 9 * 3 products (and as many as the map has pixels, in a kernel's
    # gradient) in another order: a few float32 roundings.
    for ours, reference in zip(*program(x, kernel), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=2e-5)


def test_convolution_by_hand():
    x = jnp.arange(9.0).reshape(1, 1, 3, 3)
    kernel = jnp.zeros((3, 3, 1, 1)).at[0, 2, 0, 0].set(1.0)
    # The tap up and to the right: row r, column c shows x[r-1, c+1], zero outside.
    shown = convolutions.convolve(x, kernel, (1, 1), "SAME", "slices")[0, 0]
    np.testing.assert_array_equal(shown, [[0, 0, 0], [1, 2, 0], [4, 5, 0]])
    only = convolutions.convolve(x, kernel, (1, 1), "VALID", "slices")
    assert only.shape == (1, 1, 1, 1)
    assert float(only[0, 0, 0, 0]) == 2.0


def test_conv_form_follows_the_memory_of_the_slices():
    kernel = (3, 3, 64, 64)
    assert convolutions.conv_form(64, (32, 32), kernel, (1, 1), "SAME") == "slices"
    assert convolutions.conv_form(512, (32, 32), kernel, (1, 1), "SAME") == "lax"
    assert convolutions.conv_form(512, (32, 32), kernel, (2, 2), "SAME") == "slices"


@pytest.mark.parametrize("form", ["slices", "lax"])
@pytest.mark.parametrize(("size", "stride"), [(5, 2), (4, 1)])
def test_the_transposed_convolution_equals_laxs(form, size, stride):
    rng = np.random.RandomState(size)
    x = jnp.asarray(rng.randn(3, 2, size, size), jnp.float32)
    kernel = jnp.asarray(rng.randn(3, 3, 4, 3), jnp.float32)
    ours = convolutions.transposed(x, kernel, (stride, stride), form)
    reference = jax.lax.conv_transpose(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("CNHW", "HWIO", "CNHW"),
        transpose_kernel=True,
    )
    assert ours.shape == (4, 2, size * stride, size * stride)
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)
