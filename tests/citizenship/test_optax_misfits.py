"""What does not fit is named, and what optax.adam can do in the same place is done."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import learned
from tests.citizenship.subjects import EVERY_ARCHITECTURE, PARAMS, transformation
from tests.learned.problems import moving_theta

GRADS: Any = jax.tree.map(lambda leaf: 0.3 * leaf + 0.1, PARAMS)

MOST_SLOW = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "velo_like" else pytest.mark.slow)
        for name in learned.names()
    ],
)
"""The two rules of this kind are of the branch, and the same for all."""


def after(tx: Any, steps: int = 2) -> Any:
    state = tx.init(PARAMS)
    for _ in range(steps):
        _, state = tx.update(GRADS, state, PARAMS, value=1.0)
    return state


@EVERY_ARCHITECTURE
def test_no_array_of_a_state_is_empty(name):
    """Checkpointers refuse empty ones."""
    state = after(transformation(name))
    assert all(leaf.size for leaf in jax.tree.leaves(state))


@EVERY_ARCHITECTURE
def test_a_state_may_be_cast(name):
    tx = transformation(name)
    state = optax.tree.cast(after(tx), jnp.bfloat16)
    updates, state = tx.update(GRADS, state, PARAMS, value=1.0)
    kinds = jax.tree.map(jnp.result_type, state)
    assert kinds == jax.tree.map(jnp.result_type, after(tx))
    assert int(state.t) == 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(updates))


@MOST_SLOW
def test_each_device_may_train_a_model_of_its_own(name):
    """`shard_map` tells what differs over devices; both branches of a step must."""
    tx = transformation(name)
    mesh = Mesh(np.array(jax.devices()[:1]), ("x",))

    def train(params):
        updates, state = tx.update(params, tx.init(params), params, value=1.0)
        return tx.update(updates, state, params, value=jnp.sum(params["w"]))[0]

    cut: Any = jax.shard_map(train, mesh=mesh, in_specs=P("x"), out_specs=P("x"))
    params = {"w": PARAMS["w"], "b": PARAMS["b"]}
    # Not bit for bit: another program.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        jax.jit(cut)(params),
        jax.jit(train)(params),
    )


@MOST_SLOW
def test_a_loss_that_differs_over_devices_is_no_error_of_types(name):
    tx = transformation(name)
    mesh = Mesh(np.array(jax.devices()[:1]), ("x",))
    state = tx.init(PARAMS)

    def step(x):
        grads = jax.tree.map(lambda g: g * jnp.sum(x), GRADS)
        updates, _ = tx.update(grads, state, PARAMS, value=jnp.sum(x))
        return jax.tree.map(lambda leaf: leaf[None], updates)

    cut = jax.shard_map(step, mesh=mesh, in_specs=P("x"), out_specs=P("x"))
    assert jax.tree.all(jax.tree.map(jnp.isfinite, jax.jit(cut)(jnp.ones(1)))["s"])


@EVERY_ARCHITECTURE
def test_nan_may_be_hunted(name):
    with jax.debug_nans(True):
        tx = transformation(name)
        tx.update(GRADS, tx.init(PARAMS), PARAMS, value=1.0)


@EVERY_ARCHITECTURE
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": jnp.ones((4, 3))}, r"of another shape: w \[4, 3\] instead of \[3, 4\]"),
        ({"w": None}, "missing: w"),
        ({"extra": jnp.ones(2)}, "unexpected: extra"),
    ],
)
def test_gradients_that_do_not_fit_are_named(name, change, message):
    tx = transformation(name)
    grads = {**GRADS, **change}
    with pytest.raises(ValueError, match=f"gradients do not fit .*{message}"):
        tx.update(grads, tx.init(PARAMS), PARAMS, value=1.0)


@EVERY_ARCHITECTURE
def test_a_state_of_another_optimizer_or_of_other_parameters_is_named(name):
    tx = transformation(name)
    other = transformation("sgd" if name != "sgd" else "adam")
    fewer = {"w": PARAMS["w"]}
    wider = {**PARAMS, "w": jnp.ones((3, 5))}
    states = [other.init(PARAMS), tx.init(fewer), optax.adam(0.1).init(PARAMS)]
    if jax.tree.leaves(tx.init(PARAMS).tensors):
        states.append(tx.init(wider))
    else:  # remembering nothing, it has one state for all
        states = states[:1] + states[2:]
    for state in states:
        with pytest.raises(ValueError, match="this state is of another optimizer"):
            tx.update(GRADS, state, PARAMS, value=1.0)


@pytest.mark.parametrize("name", ["hierarchical", "nominal", "velo_like"])
def test_a_loss_is_one_number(name):
    tx = transformation(name)
    state = tx.init(PARAMS)
    for one in (1.0, np.float64(1.0), jnp.ones(1), jnp.ones((1, 1))):
        tx.update(GRADS, state, PARAMS, value=one, value_valid=one)
    for other in (jnp.ones(3), "x", {"loss": 1.0}, jnp.ones(0)):
        with pytest.raises(ValueError, match="value must be one number"):
            tx.update(GRADS, state, PARAMS, value=other)
        with pytest.raises(ValueError, match="value_valid must be one number"):
            tx.update(GRADS, state, PARAMS, value=1.0, value_valid=other)


@EVERY_ARCHITECTURE
def test_numbers_beyond_float32_are_finite(name):
    with jax.enable_x64(True):
        tx = transformation(name, weight_decay=0.1)
        for scale, size in ((1.0, 1e39), (1e39, 1.0), (1e200, 1e-200)):
            params = jax.tree.map(lambda x, s=scale: jnp.float64(x) * s, PARAMS)
            grads = jax.tree.map(lambda x, s=size: jnp.float64(x) * s, GRADS)
            state = tx.init(params)
            for _ in range(2):
                updates, state = tx.update(
                    grads, state, params, value=jnp.float64(size)
                )
                assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(updates))
            assert int(state.skipped) == 0


ODD_HORIZONS = (0, -5, 1.5, 2**31, float("nan"), "a", np.int64(0), jnp.int32(0), [3])


@pytest.mark.parametrize("horizon", ODD_HORIZONS, ids=repr)
def test_a_horizon_is_a_whole_number(horizon):
    for name in ("velo_like", "nominal", "nn_adam"):
        with pytest.raises(ValueError, match="horizon must be"):
            learned.to_optax(*moving_theta(name), horizon=horizon)


def test_a_horizon_of_any_type_warns():
    lopt, theta = learned.load("nominal_small")
    for horizon in (10**6, 1e6, np.int64(10**6), jnp.int32(10**6)):
        with pytest.warns(UserWarning, match="was trained for"):
            learned.to_optax(lopt, theta, horizon=horizon)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"roles": ("kern", "bias", "bias")}, "unknown role: 'kern'"),
        ({"roles": "abc"}, "roles must name 3 tensors, got 'abc'"),
        ({"roles": ("bias",)}, "roles must name 3 tensors"),
        ({"learning_rate": float("nan")}, "learning_rate must be >= 0 and finite"),
        ({"weight_decay": float("nan")}, "weight_decay must be >= 0 and finite"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0 and finite, got -1.0"),
        ({"weight_decay": "a"}, "weight_decay must be a number, got 'a'"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        transformation("nominal", **settings).init(PARAMS)


@EVERY_ARCHITECTURE
def test_counts_end_at_their_greatest_number(name):
    tx = transformation(name)
    late, last = (
        tx.update(GRADS, tx.init(PARAMS)._replace(t=jnp.int32(t)), PARAMS, value=1.0)
        for t in (2**31 - 100, 2**31 - 1)
    )
    assert int(last[1].t) == 2**31 - 1
    for before, after in zip(*map(jax.tree.leaves, (late[0], last[0])), strict=True):
        assert np.isfinite(after).all()
        assert np.any(after) == np.any(before)  # a rate may have decayed to nothing
