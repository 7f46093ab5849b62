"""Celo2: the published numbers, Adam for the rest, and the size of a step."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import learned
from learned.architectures.normalized_direction import newton_schulz
from tests.learned.published import WAYS, summary, theta

NAME = "normalized_direction"
PUBLISHED = {
    "Celo2-base": {
        "matrix": [0.8795068264007568, 1.3101238012313843, 1.0],
        "scale": [1.0, 1.0, 1.0],
        "vector": [0.9960155487060547, 1.1331936120986938, 1.0],
    },
    "Celo2": {
        "matrix": [-0.3461875319480896, 0.7002096772193909, 1.0],
        "scale": [1.0, 1.0, 1.0],
        "vector": [0.9960155487060547, 1.1331936120986938, 1.0],
    },
}
"""From celo2_optax.py of github.com/amoudgl/celo2, without its Adam."""


def test_it_has_the_published_number_of_weights():
    optimizer = learned.make(NAME)
    shapes = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 347
    assert optimizer.needs == ()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_its_directions_are_those_of_the_published_code(name, way):
    optimizer = learned.make(
        NAME, learning_rate=1.0, adamw=False, orthogonalize=name == "Celo2"
    )
    updates = WAYS[way](optimizer, theta(optimizer, 0.5))
    for tensor, expected in PUBLISHED[name].items():
        found = summary(updates[tensor])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_step_has_the_users_size_and_the_rest_is_adam():
    optimizer = learned.make(NAME, learning_rate=0.01)
    params: Any = {
        "embedding": jax.random.normal(jax.random.key(0), (7, 3)),
        "matrix": jax.random.normal(jax.random.key(1), (4, 6)),
        "vector": jnp.ones(5),
    }
    learned_theta = optimizer.init_theta(jax.random.key(2))
    ours: Any = learned.to_optax(
        optimizer, learned_theta, learning_rate=0.5, weight_decay=0.1
    )
    adam: Any = optax.adam(20 * 0.01, b1=0.9, b2=0.95)
    state, adam_state = ours.init(params), adam.init(params)
    update = jax.jit(ours.update)
    for t in range(5):
        keys = dict(zip(params, jax.random.split(jax.random.key(t), 3), strict=True))
        grads = {
            k: 1e4 * jax.random.normal(keys[k], p.shape) for k, p in params.items()
        }
        updates, state = update(grads, state, params)
        expected, adam_state = adam.update(grads, adam_state, params)
        for name in ("embedding", "vector"):
            np.testing.assert_allclose(
                updates[name], 0.5 * (expected[name] - 0.1 * params[name]), rtol=1e-4
            )
        direction = updates["matrix"] / 0.5 + 0.1 * params["matrix"]
        np.testing.assert_allclose(summary(direction)[2], 0.01, rtol=1e-4)


def test_a_tensor_of_adam_keeps_two_averages():
    optimizer = learned.make(NAME)
    params = (jnp.ones((7, 3)), jnp.ones((4, 6)), jnp.ones(5))
    carry = optimizer.init({}, params, ("embedding", "kernel", "bias"))
    sizes = [sum(x.size for x in jax.tree.leaves(memory)) for memory in carry.tensors]
    assert sizes == [2 * 21, 4 * 24 + 3 * (4 + 6), 2 * 5]


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6), (2, 3, 4, 5)])
def test_newton_schulz_gives_singular_values_near_one(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    out = newton_schulz(jnp.asarray(x))
    u, _, vt = np.linalg.svd(x.reshape(-1, shape[-1]), full_matrices=False)
    in_their_basis = u.T @ np.asarray(out).reshape(-1, shape[-1]) @ vt.T
    values = np.diag(in_their_basis)
    assert np.all((values > 0.68) & (values < 1.21))
    np.testing.assert_allclose(in_their_basis, np.diag(values), atol=2e-4)
    of_torch = newton_schulz(torch.tensor(x)).numpy()
    np.testing.assert_allclose(of_torch, out, atol=1e-4)


def test_what_it_cannot_be_is_said():
    with pytest.raises(ValueError, match="hidden must be an integer >= 1, got 0"):
        learned.make(NAME, hidden=0)
