"""Nesterov's momentum is optax's."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import learned


def test_it_is_optax_s():
    optimizer = learned.make("nesterov", learning_rate=0.05, decay=0.8)
    ours: Any = learned.to_optax(optimizer, optimizer.init_theta(jax.random.key(0)))
    theirs: Any = optax.sgd(0.05, momentum=0.8, nesterov=True)
    params: Any = {"a": jnp.ones((3, 2)), "b": jnp.zeros(2)}
    state, their_state = ours.init(params), theirs.init(params)
    for t in range(10):
        grads = {
            key: jax.random.normal(jax.random.key(t), leaf.shape)
            for key, leaf in params.items()
        }
        updates, state = ours.update(grads, state, params)
        expected, their_state = theirs.update(grads, their_state, params)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
            updates,
            expected,
        )
