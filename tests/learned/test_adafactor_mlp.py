"""`adafactor_mlp` against its equations, written again in numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learned

DECAYS = np.array([0.9, 0.99, 0.999])
STEPS = 3


def by_hand(theta, params, grads):
    """The updates of `STEPS` steps for one tensor of two axes or of one, in float64."""
    net = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), theta["net"])
    shape = params.shape
    m, v = np.zeros((3, *shape)), np.zeros(shape)
    full, rows, columns = np.zeros((3, *shape)), 0.0, 0.0
    found = []
    for t, g in enumerate(grads):
        g = np.asarray(g, np.float64)
        across = DECAYS.reshape(-1, *(1,) * g.ndim)
        m = across * m + (1 - across) * g
        v = 0.999 * v + 0.001 * g * g
        square = g * g + 1e-30
        if g.ndim == 2:
            # The larger axis is the second here: rows are means over it.
            d = across
            rows = d * rows + (1 - d) * square.mean(1, keepdims=True)[None]
            columns = d * columns + (1 - d) * square.mean(0, keepdims=True)[None]
            mean = rows.mean(1, keepdims=True)
            factor = np.maximum(rows / (mean + 1e-9), 1e-9) ** -0.5
            factor = factor * np.maximum(columns, 1e-9) ** -0.5
            of_g, of_m = g * factor, m * factor
            r, c = np.broadcast_to(rows, m.shape), np.broadcast_to(columns, m.shape)
        else:
            full = across * full + (1 - across) * square
            r = c = full
            of_g = g * np.maximum(full + 1e-9, 1e-9) ** -0.5
            of_m = m * (full + 1e-6) ** -0.5
        reciprocal = (v + 1e-6) ** -0.5
        x = np.concatenate(
            [
                *(g[None], np.asarray(params)[None], m, v[None], m * reciprocal),
                *(reciprocal[None], of_g, r, c, (r + 1e-8) ** -0.5),
                *((c + 1e-8) ** -0.5, of_m),
            ]
        ).reshape(28, -1)
        x = x / np.sqrt(1e-5 + (x**2).mean(1, keepdims=True))
        taus = np.array([1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5])
        bias = net["b"] + net["w_shared"] @ np.tanh(t / taus - 1)
        h = net["w_rows"] @ x + bias[:, None]
        for layer in net["rest"]:
            h = layer["w"] @ np.maximum(h, 0) + layer["b"][:, None]
        found.append((-0.001 * h[0] * np.exp(0.001 * h[1])).reshape(shape))
    return found


@pytest.mark.parametrize("shape", [(3, 5), (7,)])
def test_updates_by_hand(shape):
    lopt = learned.make("adafactor_mlp", hidden=5)
    theta = lopt.init_theta(jax.random.key(0))
    params = jax.random.normal(jax.random.key(1), shape)
    grads = list(jax.random.normal(jax.random.key(2), (STEPS, *shape)))
    tx: Any = learned.to_optax(lopt, theta)
    state, step = tx.init(params), jax.jit(tx.update)
    for expected, grad in zip(by_hand(theta, params, grads), grads, strict=True):
        updates, state = step(grad, state, params)
        np.testing.assert_allclose(updates, expected, rtol=2e-4, atol=1e-8)


def test_decays_are_a_part_of_theta():
    lopt = learned.make("adafactor_mlp")
    theta = lopt.init_theta(jax.random.key(0))
    # β = 1 − exp(10·(log(0.1)/10 + δ)): with δ = log(5)/10 it is 0.5 where it was 0.9.
    offsets = jnp.array([np.log(5.0) / 10, 0.0, 0.0])
    moved = {**theta, "decays": {**theta["decays"], "momentum": offsets}}
    tx: Any = learned.to_optax(lopt, moved)
    params = jnp.zeros(4)
    _, state = tx.update(jnp.ones(4), tx.init(params), params)
    momentum = state.tensors[1].momentum
    np.testing.assert_allclose(momentum[:2, 0], [0.5, 0.01], rtol=1e-4)
