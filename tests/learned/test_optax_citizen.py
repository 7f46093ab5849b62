"""What optax asks of its contributed optimizers, asked of every architecture."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import learned
from tests.learned.problems import moving_theta

SOME = ("adam", "hierarchical_rnn", "nominal")
SOME_AND_ALL_IN_THE_SLOW_SUITE = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SOME else pytest.mark.slow)
        for name in learned.names()
    ],
)
"""`opt_gym.testing` asks all architectures for the same, traced."""

PARAMS: Any = {
    "w": jnp.ones((4, 3), jnp.bfloat16),
    "s": jnp.ones(()),
    "b": jnp.linspace(-1.0, 1.0, 6),
}
GRADS = jax.tree.map(lambda leaf: 0.3 * jnp.ones_like(leaf), PARAMS)


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@SOME_AND_ALL_IN_THE_SLOW_SUITE
def test_a_chain_of_everything(name):
    """Extra arguments, a chain, accumulation, a mask: compiled once, shapes stable."""
    optimizer, theta = moving_theta(name)
    mask = {"w": True, "s": True, "b": False}
    tx: Any = optax.MultiSteps(
        optax.chain(
            optax.clip_by_global_norm(1.0),
            optax.masked(learned.scale_by_learned(optimizer, theta, horizon=100), mask),
            optax.add_decayed_weights(1e-2),
            optax.scale_by_learning_rate(optax.cosine_decay_schedule(1.0, 10)),
        ),
        every_k_schedule=2,
    )
    step: Any = jax.jit(tx.update)
    state = jax.jit(tx.init)(PARAMS)
    known = shapes(state)
    params, move = PARAMS, jax.jit(optax.apply_updates)
    for number in range(4):
        updates, state = step(GRADS, state, params, value=0.5, unexpected=1.0)
        assert shapes(state) == known
        assert shapes(updates) == shapes(PARAMS)
        moved = abs(float(updates["s"]))
        assert (moved > 0) == (number % 2 == 1), moved  # every second call steps
        params = move(params, updates)
    assert step._cache_size() == 1
    assert all(
        np.all(np.isfinite(np.asarray(leaf, np.float32)))
        for leaf in jax.tree.leaves(params)
    )


@pytest.mark.parametrize("name", ["nominal", "adam"])
def test_hyperparameters_can_be_injected(name):
    optimizer, theta = moving_theta(name)

    def make(learning_rate, weight_decay=0.0):
        return learned.to_optax(
            optimizer,
            theta,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            horizon=10,
        )

    tx: Any = optax.inject_hyperparams(make)(learning_rate=0.5, weight_decay=0.1)
    state = jax.jit(tx.init)(PARAMS)
    state.hyperparams["learning_rate"] = jnp.float32(0.0)
    updates, state = jax.jit(tx.update)(GRADS, state, PARAMS, value=1.0)
    assert all(np.all(np.asarray(leaf) == 0) for leaf in jax.tree.leaves(updates))
    tx = optax.inject_hyperparams(make)(learning_rate=optax.constant_schedule(0.5))
    updates, _ = jax.jit(tx.update)(GRADS, jax.jit(tx.init)(PARAMS), PARAMS, value=1.0)
    assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(updates))


@SOME_AND_ALL_IN_THE_SLOW_SUITE
def test_a_state_can_be_mapped(name):
    optimizer, theta = moving_theta(name)
    tx: Any = learned.to_optax(optimizer, theta, horizon=10)
    state = jax.jit(tx.init)(PARAMS)
    mapped = optax.tree.map_params(tx, lambda leaf: leaf, state)
    jax.tree.map(np.testing.assert_array_equal, mapped, state)


SLOW_TO_COMPILE = (
    *("velo_like", "hierarchical", "hierarchical_rnn", "lstm", "nominal"),
    "adafactor_mlp",
)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in SLOW_TO_COMPILE else [])
        for name in learned.names()
    ],
)
def test_updates_keep_the_sharding_of_parameters(name):
    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("one device")
    optimizer, theta = moving_theta(name)
    tx: Any = learned.to_optax(optimizer, theta, horizon=10)
    mesh = Mesh(np.array(devices[:2]), ("x",))
    sharding = NamedSharding(mesh, PartitionSpec("x"))
    params = {"w": jax.device_put(jnp.ones((8, 4)), sharding)}
    grads = {"w": jax.device_put(jnp.ones((8, 4)), sharding)}
    state = jax.jit(tx.init)(params)
    step: Any = jax.jit(tx.update)
    updates, _ = step(grads, state, params, value=1.0)
    assert updates["w"].sharding.is_equivalent_to(sharding, 2)


@pytest.mark.parametrize(
    ("decay", "by_hand"),
    [
        ("cosine", lambda t: 0.5 * (1 + np.cos(np.pi * min(t, 200) / 200))),
        ("linear", lambda t: max(1 - t / 200, 0)),
        ("wsd", lambda t: min((t + 1) / 2, 1, max(1 - t / 200, 0) / 0.2)),
    ],
)
def test_decays_are_those_by_hand_in_both_frameworks(decay, by_hand):
    import torch

    from learned.torch import LearnedOptim

    sgd = learned.make("sgd", learning_rate=1.0)
    theta = sgd.init_theta(jax.random.key(0))
    tx: Any = learned.to_optax(sgd, theta, decay=decay, horizon=200)
    adam = learned.make("adam", learning_rate=1.0, decay=decay)
    params = {"w": jnp.zeros(1)}
    state = tx.init(params)
    tensor = torch.nn.Parameter(torch.zeros(1))
    optimizer = LearnedOptim([tensor], (sgd, theta), horizon=200, decay=decay)
    ours = learned.to_optax(adam, adam.init_theta(jax.random.key(0)), horizon=200)
    own = ours.init(params)
    step, step_of_adam = jax.jit(tx.update), jax.jit(ours.update)
    for t in range(210):
        updates, state = step({"w": -jnp.ones(1)}, state, params)
        np.testing.assert_allclose(updates["w"], by_hand(t), rtol=1e-5, atol=1e-6)
        updates, own = step_of_adam({"w": -jnp.ones(1)}, own, params)
        np.testing.assert_allclose(updates["w"], by_hand(t), rtol=1e-4, atol=1e-6)
        before = tensor.detach().clone()
        tensor.grad = -torch.ones(1)
        optimizer.step()
        moved = (tensor.detach() - before).numpy()
        np.testing.assert_allclose(moved, by_hand(t), rtol=1e-3, atol=1e-5)


def test_learning_rate_and_decoupled_weight_decay():
    sgd = learned.make("sgd", learning_rate=1.0)
    theta = sgd.init_theta(jax.random.key(0))
    tx: Any = learned.to_optax(
        sgd,
        theta,
        learning_rate=lambda t: 0.5 / (1.0 + t),
        weight_decay=0.1,
        decay="cosine",
        horizon=4,
    )
    params = {"w": jnp.full(3, 2.0)}
    state = tx.init(params)
    for t in range(6):
        updates, state = tx.update({"w": jnp.ones(3)}, state, params)
        cosine = 0.5 * (1 + np.cos(np.pi * min(t, 4) / 4))
        expected = 0.5 / (1 + t) * cosine * (-1.0 - 0.1 * 2.0)
        np.testing.assert_allclose(updates["w"], expected, rtol=1e-5, atol=1e-7)


def test_the_clock_of_a_loaded_theta_stops_at_its_horizon(tmp_path):
    mlp = learned.make("mlp")._replace(trained_horizon=50)
    theta = mlp.init_theta(jax.random.key(0))
    path = learned.save(tmp_path / "theta.safetensors", mlp, theta)
    loaded, _ = learned.load(path)
    assert loaded.config["time_clamp"] == 50
    assert loaded.features.config["time_clamp"] == 50


def test_a_weight_decay_as_adamws_is_told():
    learned.to_optax(weight_decay=9e-4)
    learned.to_optax(learning_rate=0.05, weight_decay=0.01)
    learned.to_optax(learning_rate=lambda t: 1.0, weight_decay=0.01)
    learned.to_optax(weight_decay=0.01, warn=False)
    untrained = learned.make("general")
    theta = untrained.init_theta(jax.random.key(0))
    learned.to_optax(untrained, theta, weight_decay=0.01)
    with pytest.warns(
        UserWarning, match=r"weight_decay=0.01 .* takes 0.01 of every"
    ) as told:
        learned.to_optax(weight_decay=0.01)
    assert [one.filename for one in told] == [__file__]


def test_a_model_far_larger_than_those_of_training_is_told():
    optimizer, theta = learned.load("nominal_small")
    optimizer = optimizer._replace(trained_size=2)
    learned.to_optax(optimizer, theta).init({"w": jnp.ones(20)})
    with pytest.warns(UserWarning, match="up to 2 weights, and this one has 21"):
        learned.to_optax(optimizer, theta).init({"w": jnp.ones(21)})
    learned.scale_by_learned(optimizer, theta, warn=False).init({"w": jnp.ones(21)})


def test_a_validation_loss_reaches_the_optimizer():
    adam = learned.make("adam")

    def step(theta, carry, signal, observation):
        seen = signal.valid_loss + 10.0 * signal.has_valid
        return carry, (jax.tree.map(lambda leaf: 0 * leaf + seen, signal.params),)

    lopt = adam._replace(step=step)
    tx: Any = learned.to_optax(lopt, adam.init_theta(jax.random.key(0)))
    params = {"w": jnp.ones(2)}
    state = tx.init(params)
    for given, seen in ((None, 0.0), (0.7, 10.7), (jnp.nan, 0.0)):
        updates, _ = tx.update(params, state, params, value_valid=given)
        np.testing.assert_allclose(updates["w"], seen, rtol=1e-6)
