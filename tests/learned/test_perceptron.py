"""A tensor seen as a matrix: the same outputs, and a structure that is the same each time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.rl import seen_observations
from learned.building import networks
from opt_gym.records import Observation, TensorObservation

SHAPE = (3, 4)


def rows(x):
    return x[:2], x[2:]


def seen(key):
    x = jax.random.normal(key, (5, *SHAPE))
    scale, numbers = jnp.arange(1.0, 6.0), jnp.zeros(0)
    tensor = TensorObservation(rows, (x,), scale, numbers)
    observation = Observation((tensor,), jnp.zeros(0))
    kept = seen_observations.of_observation(observation)
    return tensor, seen_observations.to_observation(kept).tensors[0]


def test_what_a_buffer_kept_has_the_features_as_a_matrix():
    tensor, kept = seen(jax.random.key(0))
    assert tensor.matrix is None
    assert kept.matrix is not None
    theta = networks.perceptron_theta(jax.random.key(1), 5, 0, (6, 2))
    like, expected = jnp.zeros(SHAPE), kept.matrix(*kept.sources)
    blocks = networks.rows(kept.blocks)
    np.testing.assert_array_equal(expected, blocks.T)
    outputs = [networks.perceptron(theta, one, like) for one in (tensor, kept)]
    assert outputs[0].shape == (2, *SHAPE)
    np.testing.assert_allclose(*outputs, rtol=1e-5, atol=1e-6)


def test_the_matrix_is_what_a_first_layer_reads():
    _, kept = seen(jax.random.key(0))
    theta = networks.perceptron_theta(jax.random.key(1), 5, 0, (6, 2))

    def refuse(*sources):
        raise RuntimeError("read")

    read = TensorObservation(
        kept.rows, kept.sources, kept.scale, kept.numbers, matrix=refuse
    )
    with pytest.raises(RuntimeError, match="read"):
        networks.perceptron(theta, read, jnp.zeros(SHAPE))


def test_two_samples_have_one_structure():
    a, b = (seen(jax.random.key(k))[1] for k in (0, 1))
    assert jax.tree.structure(a) == jax.tree.structure(b)
    assert jax.tree.map(jnp.add, a, b).matrix is a.matrix
    assert jax.tree.structure(a) != jax.tree.structure(seen(jax.random.key(0))[0])


def test_sizes_that_do_not_fit_are_named():
    tensor, _ = seen(jax.random.key(0))
    like = jnp.zeros(SHAPE)
    for sizes, shared, message in (
        ((4, 0), None, "θ is made for 4 features of a parameter, got 5"),
        ((5, 2), jnp.zeros(3), "θ is made for 2 numbers that all .* share, got 3"),
        ((5, 2), None, "θ is made for 2 numbers that all .* share, got 0"),
    ):
        theta = networks.perceptron_theta(jax.random.key(1), *sizes, (6, 2))
        with pytest.raises(ValueError, match=message):
            networks.perceptron(theta, tensor, like, shared)
