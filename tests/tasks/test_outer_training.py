"""The outer-loss is what a loop of optax gives, and its gradients are what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from opt_gym import plugins
from opt_gym.tasks import outer_training
from opt_gym.tasks.building import layers

CONFIG = {
    "family": "outer_training",
    "architecture": "sgd",
    "settings": {},
    "estimator": "backprop",
    "num_steps": 4,
    "num_unrolls": 2,
    "inputs": 3,
    "hidden": 4,
    "batch_size": 5,
}
EVOLVED = {**CONFIG, "estimator": "es", "sigma": 0.02}
BATCH = None


def loss_of(config):
    task = plugins.spec("task", "outer_training").make(config)
    return lambda params: task.loss(jax.random.key(5), params, (), BATCH)[0]


def by_hand(key, rate):
    """One unroll of SGD with optax, batch by batch."""
    k_teacher, k_start, k_batches = jax.random.split(key, 3)
    teacher, params = (outer_training.net(k, 3, 4) for k in (k_teacher, k_start))
    tx, losses = optax.sgd(rate), []
    state = tx.init(params)
    for k in jax.random.split(k_batches, 4):
        x = jax.random.normal(k, (5, 3))

        def loss(params, x=x):
            wanted, given = (layers.mlp(p, x, jnp.tanh) for p in (teacher, params))
            return jnp.mean((given - wanted) ** 2)

        value, grad = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grad, state)
        params = optax.apply_updates(params, updates)
        losses.append(float(value))
    return np.mean(np.minimum(np.array(losses) / losses[0], 4.0))


def test_the_loss_is_that_of_a_loop_by_hand():
    found = jax.jit(loss_of(CONFIG))((jnp.asarray(0.1),))
    keys = jax.random.split(jax.random.key(5), 2)
    expected = np.mean([by_hand(key, 0.1) for key in keys])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_backprop_is_the_slope():
    loss = jax.jit(loss_of(CONFIG))
    grad = jax.jit(jax.grad(loss_of(CONFIG)))((jnp.asarray(0.1),))[0]
    above, below = (loss((jnp.asarray(0.1 + h),)) for h in (5e-3, -5e-3))
    np.testing.assert_allclose(grad, (above - below) / 1e-2, rtol=1e-2)


def test_evolution_is_the_estimate_of_its_pairs():
    rate = jnp.asarray(0.1)
    value, (grad,) = jax.jit(jax.value_and_grad(loss_of(EVOLVED)))((rate,))
    values, grads = [], []
    for key in jax.random.split(jax.random.key(5), 2):
        k_unroll, k_noise = jax.random.split(key)
        noise = 0.02 * jax.random.normal(jax.random.split(k_noise, 1)[0], ())
        above, below = (by_hand(k_unroll, rate + s * noise) for s in (1, -1))
        values.append((above + below) / 2)
        grads.append(noise * (above - below) / (2 * 0.02**2))
    np.testing.assert_allclose(value, np.mean(values), rtol=1e-5)
    np.testing.assert_allclose(grad, np.mean(grads), rtol=1e-2)


def test_an_unroll_that_explodes_costs_four():
    wild = {**CONFIG, "num_steps": 40}
    value = jax.jit(loss_of(wild))((jnp.asarray(1e6),))
    assert 3.5 < value <= 4.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"architecture": "adamw"}, "architecture"),
        ({"settings": {"rate": 1}}, "rate"),
        ({"settings": None}, "settings must be a dict"),
        ({"estimator": "pes"}, "estimator"),
        ({"sigma": 0.1}, "sigma must be given with the estimator es"),
        ({"estimator": "es"}, "sigma must be given with the estimator es"),
        ({"num_steps": 0}, "num_steps"),
    ],
)
def test_what_cannot_be_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        plugins.spec("task", "outer_training").make({**CONFIG, **change})
