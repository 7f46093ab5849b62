"""Layers against hand-worked values and lax.conv."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym.tasks.building import layers


def test_cross_entropy_by_hand():
    logits = jnp.array([[0.0, 0.0], [np.log(3.0), 0.0]])
    labels = jnp.array([0, 1], jnp.int32)
    loss, accuracy = layers.softmax_cross_entropy(logits, labels)
    # -log(1/2) and -log(1/4); a tie of two is half right, the second is wrong.
    assert float(loss) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)
    assert float(accuracy) == 0.25


def test_cross_entropy_gradient_is_softmax_minus_one_hot():
    logits = jax.random.normal(jax.random.key(0), (5, 4))
    labels = jnp.array([0, 3, 2, 1, 1], jnp.int32)
    grad = jax.grad(lambda z: layers.softmax_cross_entropy(z, labels)[0])(logits)
    expected = (jax.nn.softmax(logits) - jax.nn.one_hot(labels, 4)) / 5
    np.testing.assert_allclose(grad, expected, atol=1e-7)


def test_cross_entropy_stands_large_logits_and_shows_lost_ones():
    labels = jnp.array([0, 1], jnp.int32)
    large = jnp.array([[1e4, 0.0], [0.0, 1e4]])
    assert float(layers.softmax_cross_entropy(large, labels)[0]) == 0.0
    lost = large.at[0, 0].set(jnp.nan)
    assert not jnp.isfinite(layers.softmax_cross_entropy(lost, labels)[0])


def test_mlp_by_hand():
    params = (
        jnp.array([[1.0, -1.0]]),
        jnp.array([0.5, 0.0]),
        jnp.array([[2.0], [3.0]]),
        jnp.array([-1.0]),
    )
    x = jnp.array([[1.0], [-2.0]])
    # relu(1.5, -1) = (1.5, 0) -> 2; relu(-1.5, 2) = (0, 2) -> 5.
    np.testing.assert_allclose(layers.mlp(params, x, jax.nn.relu), [[2.0], [5.0]])
