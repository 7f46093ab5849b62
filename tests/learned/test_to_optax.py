"""The ways out: the numbers of the environment in optax and torch, and good manners."""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learned
import opt_gym
from opt_gym.records import Normalizer
from tests.learned.problems import TorchTwin, moving_theta

TASK = {
    "family": "small_mlp",
    "layer_sizes": [8],
    "activation": "tanh",
    "w_init": ["glorot_normal", None],
    "dataset": ["digits", {"bs": 16}, None],
    "center_data": True,
}
STEPS, KEY = 20, jax.random.key(3)
IN_FULL = ("adafactor_mlp", "hierarchical_rnn", "lstm", "nadamw", "nominal")
"""Each a kind of its own: factored averages, messages between tensors, recurrent memory, a
schedule, shared numbers. All architectures do the same on a bowl (`opt_gym.testing`)."""


@functools.cache
def small_task() -> tuple[Any, Any, Any]:
    """(the task, its data, an episode of it that was drawn beforehand)."""
    task = opt_gym.make_task(TASK)
    data = jax.device_put(task.load_data("embedded"))
    return task, data, opt_gym.replay(task, data, KEY)


def losses_in_the_environment(optimizer, theta):
    """Of the first step and of those after it, in one program."""
    task, data, _ = small_task()
    env = opt_gym.make(
        task, learned_optimizer=optimizer, normalizer=Normalizer(2.3, 0.0, "given")
    )

    @jax.jit
    def run(data):
        state = opt_gym.start(KEY, env, optimizer, theta, data, STEPS)
        _, out = opt_gym.unroll(env, optimizer, theta, data, state, STEPS)
        return jnp.concatenate([state.env.loss[None], out.loss])

    return run(data)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in IN_FULL else pytest.mark.slow)
        for name in learned.names()
    ],
)
def test_the_environment_a_plain_optax_loop_and_torch_do_the_same(name):
    optimizer, theta = moving_theta(name)
    task, data, replay = small_task()
    tx: Any = learned.to_optax(optimizer, theta, horizon=STEPS)

    @jax.jit
    def step(t, params, state, data):
        replay = opt_gym.replay(task, data, KEY)

        def loss_fn(params):
            batch = replay.batch(t)
            return task.loss(replay.loss_key(t), params, replay.instance, batch)[0]

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(grads, state, params, value=loss)
        moved = task.constrain(optax.apply_updates(params, updates))
        return (params, grads, updates, loss), moved, state

    params: Any = replay.params
    state, losses = jax.jit(tx.init)(params), []
    twin = TorchTwin(optimizer, theta, params, STEPS)
    for t in range(STEPS + 1):
        parts, params, state = step(np.int32(t), params, state, data)
        twin.check(*parts)
        losses.append(parts[-1])
    assert cast(Any, step)._cache_size() == 1  # no recompilation on the second call
    in_env = losses_in_the_environment(optimizer, theta)
    np.testing.assert_allclose(in_env, losses, rtol=1e-5)
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

    @jax.jit
    def step(grads, both):
        after = []
        for tx, (params, state) in zip((ours, reference), both, strict=True):
            updates, state = tx.update(grads, state, params)
            after.append((optax.apply_updates(params, updates), state))
        return after

    params = {"a": np.ones((3, 2), np.float32), "b": np.zeros(2, np.float32)}
    both = jax.jit(
        lambda params: [(params, tx.init(params)) for tx in (ours, reference)]
    )(params)
    random = np.random.default_rng(0)
    for _ in range(30):
        grads = {
            name: random.standard_normal(leaf.shape).astype(np.float32)
            for name, leaf in params.items()
        }
        both = step(grads, both)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            both[0][0],
            both[1][0],
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
    update = jax.jit(tx.update)
    _, before = update(good, tx.init(params), params, value=1.0)
    bad = {"w": good["w"].at[0, 0].set(jnp.nan), "b": good["b"]}
    updates, after = update(bad, before, params, value=1.0)
    assert all(float(jnp.abs(leaf).max()) == 0.0 for leaf in jax.tree.leaves(updates))
    assert int(after.skipped) == learned.skipped(after) == 1
    jax.tree.map(
        np.testing.assert_array_equal, before, after._replace(skipped=before.skipped)
    )
    if "loss" in optimizer.needs:
        _, after = update(good, before, params, value=jnp.inf)
        assert int(after.skipped) == 1


def test_it_is_a_good_citizen_of_optax():
    """Not compiled; `test_optax_citizen.py` asks all architectures, compiled."""
    optimizer, theta = moving_theta("adam")
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
    with pytest.raises(ValueError, match="horizon must be an integer >= 1, got 0"):
        learned.to_optax(nominal, {}, horizon=0)
