"""STAR: its nominal terms exactly, its network against numpy, and what it does untrained."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learned
from opt_gym import plugins
from opt_gym.features import adafactor
from opt_gym.maths import pieces
from tests.learned.hand_worked import count, moved, signal_of, signals, updates
from tests.learned.problems import perceptron

DECAYS = np.array([0.9, 0.99, 0.999])


def silent(theta):
    """The same θ with a network that says 0."""
    theta["net"]["rest"][-1] = jax.tree.map(np.zeros_like, theta["net"]["rest"][-1])
    return {**theta, "decays": jax.tree.map(np.zeros_like, theta["decays"])}


def nominal(name, m, v, g):
    root = (v + 1e-6) ** 0.5
    return {
        "sgd": g,
        "momentum": m[2],
        "aggmo": (m[0] + m[1] + m[2]) / 3,
        "adam": m[2] / root,
        "adam_aggmo": (m[0] + m[1] + m[2]) / 3 / root,
    }[name]


def test_it_has_the_weights_of_its_source():
    assert count(learned.make("star")) == 200 + 7


@pytest.mark.parametrize("name", ["sgd", "momentum", "aggmo", "adam", "adam_aggmo"])
def test_the_nominal_terms_and_the_weight_decay_by_hand(name):
    optimizer = learned.make(
        "star", nominal=name, learning_rate=0.02, weight_decay=0.003
    )
    given = list(signals(4))
    ours = updates(optimizer, silent(moved(optimizer)), given)
    m, v = np.zeros((3, 3, 4)), np.zeros((3, 4))
    for deltas, (params, grads, _, _) in zip(ours, given, strict=True):
        g = np.float64(grads[0])
        decay = DECAYS.reshape(3, 1, 1)
        m, v = decay * m + (1 - decay) * g, 0.999 * v + 0.001 * g * g
        expected = -0.02 * nominal(name, m, v, g) - 0.003 * params[0]
        np.testing.assert_allclose(deltas[0], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("magnitudes", ["parameter", "tensor"])
def test_the_first_step_by_hand(magnitudes, preconditioned):
    optimizer = learned.make(
        "star",
        magnitudes=magnitudes,
        preconditioned=preconditioned,
        weight_decay=0.1,
        exp_multiplier=0.5,
    )
    theta, given = moved(optimizer), list(signals(1))
    theta["decays"] = jax.tree.map(np.zeros_like, theta["decays"])
    params, grads = given[0][:2]
    for index, delta in enumerate(updates(optimizer, theta, given)[0]):
        out = outputs(theta["net"], given[0], index)
        d, sizes = out[0], out[1:]
        if magnitudes == "tensor":
            sizes = np.broadcast_to(sizes.mean(1, keepdims=True), sizes.shape)
        own, alpha, decay = np.exp(0.5 * sizes)
        p, g = (np.float64(x[index]).ravel() for x in (params, grads))
        root = (0.001 * g * g + 1e-6) ** 0.5
        u = nominal(
            "adam_aggmo", [(1 - beta) * g for beta in DECAYS], root**2 - 1e-6, g
        )
        own = own * d / (root if preconditioned else 1.0)
        expected = -0.001 * alpha * u - 0.001 * own - 0.1 * decay * p
        np.testing.assert_allclose(delta.ravel(), expected, rtol=1e-4, atol=1e-7)


def outputs(net, given, index):
    """The network of every parameter of a tensor [4, n], on features that others test."""
    features = plugins.build("features", "adafactor")
    signal = signal_of(0, *given)
    f = features.update(features.init(signal.params), signal)
    shown = features.observe(f, signal)
    tensor = shown.tensors[index]
    shape = (-1, *given[0][index].shape)
    rows = np.concatenate(
        [
            np.broadcast_to(b, (len(b), *shape[1:])).reshape(len(b), -1)
            for b in tensor.blocks
        ]
    )
    h = net["w_rows"] @ (rows * np.asarray(tensor.scale)[:, None])
    h = h + (net["w_shared"] @ np.asarray(shown.numbers) + net["b"])[:, None]
    for layer in net["rest"]:
        h = layer["w"] @ np.maximum(h, 0) + layer["b"][:, None]
    assert len(rows) == len(adafactor.ROW_NAMES)
    return np.asarray(h, np.float64)


def test_magnitudes_that_are_not_read_do_not_matter():
    optimizer = learned.make(
        "star", weight_decay=0.1, nominal_magnitude=False, decay_magnitude=False
    )
    theta, given = moved(optimizer), list(signals(2))
    before = updates(optimizer, theta, given)
    last = theta["net"]["rest"][-1]
    last["b"] = last["b"] + np.array([0, 0, 1e3, -1e3], np.float32)
    jax.tree.map(
        np.testing.assert_array_equal, updates(optimizer, theta, given), before
    )


@pytest.mark.parametrize("size", [5, 10_000])
def test_torch_and_jax_agree_on_magnitudes_of_tensors(size, monkeypatch):
    monkeypatch.setattr(pieces, "SIZE", size)  # pieces, or the whole
    monkeypatch.setattr(pieces, "JAX_SIZE", size)
    optimizer = learned.make("star", magnitudes="tensor", weight_decay=0.01)
    theta, given = moved(optimizer), list(signals(3))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-8),
        updates(optimizer, theta, given),
        updates(optimizer, theta, given, jnp.asarray),
    )


def test_untrained_it_descends():
    params, loss_fn = perceptron()
    optimizer = learned.make("star")
    transform: Any = learned.to_optax(
        optimizer, optimizer.init_theta(jax.random.key(0))
    )

    def body(carry, t):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_fn, argnums=1)(jax.random.key(t), params)
        updates, state = transform.update(grads, state, params)
        return (jax.tree.map(jnp.add, params, updates), state), loss

    @jax.jit
    def train(params):
        return jax.lax.scan(body, (params, transform.init(params)), jnp.arange(300))[1]

    losses = train(params)
    assert np.mean(losses[-30:]) < 0.5 * np.mean(losses[:5])


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="unknown nominal term: 'adm'"):
        learned.make("star", nominal="adm")
    with pytest.raises(ValueError, match="unknown level of magnitudes: 'global'"):
        learned.make("star", magnitudes="global")
    with pytest.raises(ValueError, match="num_layers must be an integer >= 1"):
        learned.make("star", num_layers=0)
