"""The way out: the same numbers as the environment, and a good citizen of optax."""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learned
import opt_gym
from tests.learned.problems import QUICK, moving_theta

TASK = {
    "family": "small_mlp",
    "layer_sizes": [12],
    "activation": "tanh",
    "w_init": ["glorot_normal", None],
    "dataset": ["digits", {"bs": 16}, None],
    "center_data": True,
}
STEPS = 20
ARCHITECTURES = learned.names()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_environment_and_a_plain_optax_loop_give_the_same_losses(name):
    optimizer, theta = moving_theta(name)
    env = opt_gym.make(TASK, learned_optimizer=optimizer, data="embedded")
    data, key = opt_gym.load_data(env), jax.random.key(3)

    @partial(jax.jit, compiler_options=QUICK)
    def in_env(data):
        state = opt_gym.start(key, env, optimizer, theta, data, STEPS)
        _, out = opt_gym.unroll(env, optimizer, theta, data, state, STEPS)
        return jnp.concatenate([state.env.loss[None], out.loss])

    tx: Any = learned.to_optax(optimizer, theta, horizon=STEPS)

    @partial(jax.jit, compiler_options=QUICK)
    def step(t, params, state, data):
        replay = opt_gym.replay(env.task, data, key)

        def loss_fn(params):
            batch = replay.batch(t)
            return env.task.loss(replay.loss_key(t), params, replay.instance, batch)[0]

        loss, grad = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(grad, state, params, value=loss)
        return env.task.constrain(optax.apply_updates(params, updates)), state, loss

    params: Any = opt_gym.replay(env.task, data, key).params
    state, losses = tx.init(params), []
    for t in range(STEPS + 1):
        params, state, loss = step(jnp.int32(t), params, state, data)
        losses.append(loss)
    assert cast(Any, step)._cache_size() == 1  # no recompilation on the second call
    np.testing.assert_allclose(in_env(data), losses, rtol=1e-5)
    assert int(state.t) == STEPS + 1


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("sgd", optax.sgd(0.05)),
        ("momentum", optax.sgd(0.05, momentum=0.8)),
        ("rmsprop", optax.rmsprop(0.05, decay=0.8, eps=1e-6)),
        ("adam", optax.adam(0.05)),
    ],
)
def test_hand_designed_optimizers_are_optax_s(name, reference):
    config = {
        "sgd": {},
        "momentum": {"decay": 0.8},
        "rmsprop": {"decay": 0.8, "epsilon": 1e-6},
        "adam": {},
    }[name]
    optimizer = learned.make(name, learning_rate=0.05, **config)
    ours: Any = learned.to_optax(optimizer, optimizer.init_theta(jax.random.key(0)))
    params: Any = {"a": jnp.ones((3, 2)), "b": jnp.zeros(2)}
    state, their_state = ours.init(params), reference.init(params)
    their_params = params
    for t in range(30):
        keys = jax.random.split(jax.random.key(t))
        grads = {
            "a": jax.random.normal(keys[0], (3, 2)),
            "b": jax.random.normal(keys[1], (2,)),
        }
        updates, state = ours.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        updates, their_state = reference.update(grads, their_state, their_params)
        their_params = optax.apply_updates(their_params, updates)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            params,
            their_params,
        )


def test_an_untrained_nominal_is_adam():
    optimizer = learned.make("nominal", learning_rate=0.02)
    ours: Any = learned.to_optax(optimizer, optimizer.init_theta(jax.random.key(0)))
    adam: Any = optax.adam(0.02)
    params: Any = {"w": jnp.ones((4, 3)), "b": jnp.zeros(3)}
    state, adam_state = ours.init(params), adam.init(params)
    update = jax.jit(ours.update)
    for t in range(10):
        k_w, k_b = jax.random.split(jax.random.key(t))
        grads = {"w": jax.random.normal(k_w, (4, 3)), "b": jax.random.normal(k_b, (3,))}
        updates, state = update(grads, state, params, value=1.0)
        expected, adam_state = adam.update(grads, adam_state, params)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), updates, expected
        )


@pytest.mark.parametrize(
    ("name", "config", "weights"),
    [
        ("mlp", {}, 1090),
        ("mlp", {"features": "momenta", "num_layers": 2}, 1762),
        ("adafactor_mlp", {}, 190 + 7),
        ("adafactor_mlp", {"hidden": 32}, 2402 + 7),
    ],
)
def test_the_published_numbers_of_weights(name, config, weights):
    theta = learned.make(name, **config).init_theta(jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(theta)) == weights


@pytest.mark.parametrize("name", ["mlp", "nominal"])
def test_a_gradient_that_is_not_finite_changes_only_the_count(name):
    optimizer, theta = moving_theta(name)
    tx: Any = learned.to_optax(optimizer, theta, horizon=10)
    params: Any = {"w": jnp.ones((4, 3)), "b": jnp.zeros(3)}
    good = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}
    _, before = tx.update(good, tx.init(params), params, value=1.0)
    bad = {"w": jnp.ones((4, 3)).at[0, 0].set(jnp.nan), "b": jnp.ones(3)}
    updates, after = tx.update(bad, before, params, value=1.0)
    assert all(float(jnp.abs(leaf).max()) == 0.0 for leaf in jax.tree.leaves(updates))
    assert int(after.skipped) == 1
    jax.tree.map(
        np.testing.assert_array_equal, before, after._replace(skipped=before.skipped)
    )
    if "loss" in optimizer.needs:
        _, after = tx.update(good, before, params, value=jnp.inf)
        assert int(after.skipped) == 1


@pytest.mark.parametrize("name", ["mlp", "nominal", "adam"])
def test_it_is_a_good_citizen_of_optax(name):
    optimizer, theta = moving_theta(name)
    tx: Any = optax.chain(
        optax.clip_by_global_norm(1.0),
        learned.to_optax(optimizer, theta, horizon=100),
        optax.scale_by_schedule(optax.cosine_decay_schedule(1.0, 10)),
    )
    params: Any = {"w": jnp.ones((4, 3), jnp.bfloat16), "s": jnp.ones(())}
    grads = jax.tree.map(jnp.ones_like, params)
    state = tx.init(params)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype), state)
    for _ in range(2):
        updates, state = tx.update(
            grads, state, params, value=0.5, unexpected="argument"
        )
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == shapes
        assert updates["w"].dtype == jnp.bfloat16
        params = optax.apply_updates(params, updates)
    assert np.all(np.isfinite(np.asarray(params["w"], np.float32)))


def test_what_is_missing_is_said():
    nominal = learned.make("nominal")
    tx: Any = learned.to_optax(nominal, nominal.init_theta(jax.random.key(0)))
    params: Any = {"w": jnp.ones((2, 2))}
    state = tx.init(params)
    with pytest.raises(ValueError, match="needs params"):
        tx.update(params, state)
    with pytest.raises(ValueError, match="needs the loss: update"):
        tx.update(params, state, params)
    with pytest.raises(ValueError, match="horizon must be >= 1, got 0"):
        learned.to_optax(nominal, {}, horizon=0)
