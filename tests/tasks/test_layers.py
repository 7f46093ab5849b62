"""Layers against hand-worked values and lax.conv."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opt_gym.tasks import _layers


def test_cross_entropy_by_hand():
    logits = jnp.array([[0.0, 0.0], [np.log(3.0), 0.0]])
    labels = jnp.array([0, 1], jnp.int32)
    loss, accuracy = _layers.softmax_cross_entropy(logits, labels)
    # -log(1/2) and -log(1/4); a tie of two is half right, the second is wrong.
    assert float(loss) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)
    assert float(accuracy) == 0.25


def test_cross_entropy_gradient_is_softmax_minus_one_hot():
    logits = jax.random.normal(jax.random.key(0), (5, 4))
    labels = jnp.array([0, 3, 2, 1, 1], jnp.int32)
    grad = jax.grad(lambda z: _layers.softmax_cross_entropy(z, labels)[0])(logits)
    expected = (jax.nn.softmax(logits) - jax.nn.one_hot(labels, 4)) / 5
    np.testing.assert_allclose(grad, expected, atol=1e-7)


def test_cross_entropy_stands_large_logits_and_shows_lost_ones():
    labels = jnp.array([0, 1], jnp.int32)
    large = jnp.array([[1e4, 0.0], [0.0, 1e4]])
    assert float(_layers.softmax_cross_entropy(large, labels)[0]) == 0.0
    lost = large.at[0, 0].set(jnp.nan)
    assert not jnp.isfinite(_layers.softmax_cross_entropy(lost, labels)[0])


def test_mlp_by_hand():
    params = (
        jnp.array([[1.0, -1.0]]),
        jnp.array([0.5, 0.0]),
        jnp.array([[2.0], [3.0]]),
        jnp.array([-1.0]),
    )
    x = jnp.array([[1.0], [-2.0]])
    # relu(1.5, -1) = (1.5, 0) -> 2; relu(-1.5, 2) = (0, 2) -> 5.
    np.testing.assert_allclose(_layers.mlp(params, x, jax.nn.relu), [[2.0], [5.0]])


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
    size = _layers.conv_output((height, width), (3, 3), strides, padding)
    weight = rng.randn(outputs, 2, *size).astype(np.float32)

    def values(form, x, kernel):
        def weighted(x, kernel):
            y = _layers.convolve(x, kernel, strides, padding, form)
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
    shown = _layers.convolve(x, kernel, (1, 1), "SAME", "slices")[0, 0]
    np.testing.assert_array_equal(shown, [[0, 0, 0], [1, 2, 0], [4, 5, 0]])
    only = _layers.convolve(x, kernel, (1, 1), "VALID", "slices")
    assert only.shape == (1, 1, 1, 1)
    assert float(only[0, 0, 0, 0]) == 2.0


def test_conv_form_follows_the_memory_of_the_slices():
    kernel = (3, 3, 64, 64)
    assert _layers.conv_form(64, (32, 32), kernel, (1, 1), "SAME") == "slices"
    assert _layers.conv_form(512, (32, 32), kernel, (1, 1), "SAME") == "lax"
    assert _layers.conv_form(512, (32, 32), kernel, (2, 2), "SAME") == "slices"
