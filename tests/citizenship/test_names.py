"""What a tensor is, by the names that JAX's libraries give it."""

from dataclasses import dataclass
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import learned
from opt_gym import policy
from tests.citizenship.subjects import EVERY_ARCHITECTURE
from tests.learned.problems import moving_theta

EXPECTED = ["bias", "embedding", "kernel", "kernel", "norm"]


def test_flax_nnx():
    class Net(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.embed = nnx.Embed(5, 4, rngs=rngs)
            self.layers = nnx.List([nnx.Linear(4, 4, use_bias=False, rngs=rngs)] * 1)
            self.conv = nnx.Conv(4, 4, (3,), use_bias=False, rngs=rngs)
            self.norm = nnx.LayerNorm(4, rngs=rngs)

    state = nnx.state(Net(), nnx.Param)
    assert sorted(policy.roles_of(state)) == EXPECTED
    assert sorted(policy.roles_of(nnx.to_pure_dict(state))) == EXPECTED


def test_flax_linen():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            h = linen.Embed(5, 4)(x)
            h = linen.Dense(4, use_bias=False)(h)
            return linen.LayerNorm()(linen.Dense(4, use_bias=False)(h))

    params = Net().init(jax.random.key(0), jnp.zeros(3, int))["params"]
    assert sorted(policy.roles_of(params)) == EXPECTED


class EquinoxNet(equinox.Module):
    """An embedding, two layers in a list and a normalization."""

    embed: equinox.nn.Embedding
    layers: list[equinox.nn.Linear]
    norm: equinox.nn.LayerNorm

    def __init__(self) -> None:
        keys = jax.random.split(jax.random.key(0), 3)
        self.embed = equinox.nn.Embedding(5, 4, key=keys[0])
        self.layers = [
            equinox.nn.Linear(4, 4, use_bias=False, key=key) for key in keys[1:]
        ]
        self.norm = equinox.nn.LayerNorm(4)

    def __call__(self, x: Any) -> Any:
        h = self.embed(x)
        for layer in self.layers:
            h = jnp.tanh(layer(h))
        return self.norm(h)


def test_equinox():
    net = equinox.filter(EquinoxNet(), equinox.is_inexact_array)
    assert sorted(policy.roles_of(net)) == EXPECTED


def test_equinox_has_outputs_first():
    keys = jax.random.split(jax.random.key(0), 3)
    layers = (
        equinox.nn.Linear(7, 4, key=keys[0]),
        equinox.nn.Conv2d(3, 5, (2, 1), use_bias=False, key=keys[1]),
        equinox.nn.Embedding(6, 4, key=keys[2]),
    )
    net = equinox.filter(layers, equinox.is_inexact_array)
    assert policy.shown_shapes(net) == [(7, 4), (4,), (3, 2, 1, 5), (6, 4)]


@pytest.mark.parametrize("name", ["general", "nominal"])
def test_a_layer_is_as_wide_whoever_made_it(name):
    """A wide layer of Equinox takes the steps of its transpose."""
    tx: Any = learned.to_optax(*moving_theta(name), horizon=10)

    def steps(weight: Any, key: str) -> Any:
        params = {"layer": {key: weight, "bias": jnp.zeros(3)}}
        state = tx.init(params)
        for _ in range(3):
            updates, state = tx.update(params, state, params, value=jnp.ones(()))
        return updates["layer"][key]

    weight = jnp.sin(1.0 + jnp.arange(600.0)).reshape(200, 3)
    expected = steps(weight, "kernel")
    np.testing.assert_allclose(steps(weight.T, "weight").T, expected, rtol=1e-5)
    assert jnp.abs(steps(weight.T, "kernel").T / expected - 1).max() > 1e-3


@EVERY_ARCHITECTURE
def test_equinox_trains_with_it(name):
    optimizer, theta = moving_theta(name)
    tx: Any = learned.to_optax(optimizer, theta, horizon=10)
    net = EquinoxNet()
    state = tx.init(equinox.filter(net, equinox.is_inexact_array))

    @equinox.filter_jit
    def step(net: Any, state: Any) -> Any:
        def loss_of(net: Any) -> Any:
            return jnp.sum((net(jnp.int32(2)) - 1.0) ** 2)

        loss, grads = equinox.filter_value_and_grad(loss_of)(net)
        params = equinox.filter(net, equinox.is_inexact_array)
        updates, state = tx.update(grads, state, params, value=loss)
        return equinox.apply_updates(net, updates), state

    before = net
    for _ in range(2):
        net, state = step(net, state)
    moved = jax.tree.map(lambda a, b: np.any(a != b), *map(_arrays, (before, net)))
    assert any(jax.tree.leaves(moved))
    assert int(state.t) == 2


def _arrays(net: Any) -> Any:
    return equinox.filter(net, equinox.is_inexact_array)


def test_lists_and_dataclasses():
    @jax.tree_util.register_dataclass
    @dataclass
    class Params:
        embedding: Any
        scale: Any
        kernels: Any

    matrix, vector = jnp.ones((3, 3)), jnp.ones(3)
    params = Params([matrix, matrix], [vector], {"kernel": [matrix]})
    assert policy.roles_of(params) == ("embedding", "embedding", "norm", "kernel")
    assert policy.roles_of([matrix, vector]) == ("kernel", "bias")
    assert policy.roles_of(vector) == ("bias",)
