"""VeLO and Celo: sizes and updates as published, features by hand, messages."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import learned
from learned.torch import LearnedOptim
from opt_gym import plugins
from tests.core.test_conformance import PARAMS, signal_at
from tests.learned.published import HORIZON, LOSSES, WAYS, inputs, summary, theta

NAME = "velo_like"
FORMS = {
    "VeLO": {"num_banks": 3, "step_multiplier": 1.0},
    "VeLO, bugged": {
        "num_banks": 3,
        "step_multiplier": 1.0,
        "bugged_lstm_state": True,
        "bugged_loss_features": True,
    },
    "Celo": {"form": "celo", "num_banks": 3, "step_multiplier": 100.0},
    "Celo, first phase": {
        "form": "celo",
        "num_banks": 1,
        "step_multiplier": 1.0,
        "scaled": False,
    },
}
PUBLISHED = {
    "VeLO": {
        "kernel": [0.8875883222, 0.8616320491, 0.8114548914],
        "matrix": [0.4942906499, 0.5680117011, 0.5515170489],
        "scale": [0.5605457425, 0.5605457425, 0.5605457425],
        "vector": [0.3128318191, 0.5176726580, 0.4027356463],
    },
    "VeLO, bugged": {
        "kernel": [1.6556509733, 2.2583312988, 1.6148170835],
        "matrix": [1.4438054562, 1.6032130718, 1.4178808229],
        "scale": [1.3824491501, 1.3824491501, 1.3824491501],
        "vector": [1.0790584087, 0.9756833315, 1.0659062781],
    },
    "Celo": {
        "kernel": [0.0886813030, 0.0889884233, 0.0885046502],
        "matrix": [0.0972048640, 0.0975034237, 0.0971434545],
        "scale": [0.1155064702, 0.1155064702, 0.1155064702],
        "vector": [0.0641619265, 0.0635201335, 0.0641161090],
    },
    "Celo, first phase": {
        "kernel": [0.0625967756, 0.0432714224, 0.0651749652],
        "matrix": [0.0781049132, 0.0691203177, 0.0756072826],
        "scale": [0.1021155715, 0.1021155715, 0.1021155715],
        "vector": [0.0441703647, 0.0664039850, 0.0478710335],
    },
}
"""From hyper_v2.py of google/learned_optimization and celo.py of github.com/amoudgl/celo."""


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({"lstm_hidden": 512, "num_banks": 256}, 2_320_385),
        ({"lstm_hidden": 128, "num_banks": 64}, 162_305),
        ({"form": "celo", "lstm_hidden": 64, "num_banks": 1}, 37_089),
    ],
)
def test_it_has_the_published_number_of_weights(config, count):
    optimizer = learned.make(NAME, unused_layer=True, **config)
    shapes = jax.eval_shape(optimizer.init_theta, jax.random.key(0))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == count
    assert optimizer.needs == ("loss", "horizon")


@pytest.mark.parametrize(
    ("name", "way"),
    [*((name, "torch") for name in FORMS), ("VeLO", "optax"), ("Celo", "optax")],
)
def test_its_updates_are_those_of_the_published_code(name, way):
    optimizer = learned.make(NAME, unused_layer=True, lstm_hidden=6, **FORMS[name])
    updates = WAYS[way](optimizer, theta(optimizer, 0.2))
    for tensor, expected in PUBLISHED[name].items():
        np.testing.assert_allclose(summary(updates[tensor]), expected, rtol=1e-4)


def progress_by_hand(losses, horizon):
    """The 9 loss features after these losses, as the paper's code writes them down."""
    decays = np.exp(-1 / np.logspace(1, np.log10(horizon), 10))
    means, lowest = np.zeros(10), np.full(10, np.inf)
    corrected = means
    for t, loss in enumerate(losses):
        so_far = np.max(means / (1 - decays ** (t + 1)))
        loss = loss if t == 0 else min(loss, 2 * abs(so_far))
        means = decays * means + (1 - decays) * loss
        corrected = means / (1 - decays ** (t + 1))
        lowest = np.minimum(lowest, corrected)
    span = np.maximum(corrected[1:] - lowest[:-1], 1e-8)
    return np.clip((corrected[:-1] - lowest[:-1]) / span - 1, -1, 1)


def test_the_features_of_the_run_by_hand():
    features = plugins.build("features", "velo")
    horizon, params = 1000, (jnp.ones(()),)

    @jax.jit
    def seen(f, t, loss, horizon):
        signal = signal_at(0)._replace(
            params=params, grad=params, t=t, loss=loss, horizon=horizon
        )
        f = features.update(f, signal)
        return f, features.observe(f, signal).numbers

    f = features.init(params)
    for t, loss in enumerate(LOSSES):
        f, numbers = seen(f, t, loss, horizon)
        expected = progress_by_hand(LOSSES[: t + 1], horizon) if t > 1 else np.zeros(9)
        np.testing.assert_allclose(numbers[9:], expected, rtol=1e-4, atol=1e-4)
        taus = np.array([0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1])
        clock = np.tanh(10 * (t / horizon - taus))
        np.testing.assert_allclose(numbers[:9], clock, rtol=1e-4)
    at, beyond = (seen(f, t, 1.0, horizon)[1][:9] for t in (horizon, 5 * horizon))
    np.testing.assert_array_equal(at, beyond)


def test_the_features_of_a_tensor_by_hand():
    features = plugins.build("features", "velo")
    params = (PARAMS[2],)  # [2, 2, 4, 2], all 0.3
    f, grad = features.init(params), None
    for t in range(2):
        grad, before = signal_at(t).grad[2], grad
        signal = signal_at(t)._replace(params=params, grad=(grad,))
        f = jax.jit(features.update)(f, signal)
    # Those of the first gradient, not of the second.
    g = np.asarray(before, np.float64)
    m = np.stack([(1 - beta) * g for beta in (0.9, 0.99, 0.999)]) / 0.3
    v = 0.001 * g * g / 0.3

    def log(x):
        return np.clip(np.log(1e-8 + np.abs(10 * x)), -5, 5) / 2

    mean = m.mean(axis=(1, 2, 3, 4), keepdims=True)
    expected = [
        log(v.mean())[None],
        [0.0, 0.0, 0.0, 0.0, 1.0],
        log(((m - mean) ** 2).mean(axis=(1, 2, 3, 4))),
        log(((v - mean) ** 2).mean(axis=(1, 2, 3, 4))),
    ]
    numbers = f.tensors[0].numbers
    np.testing.assert_allclose(numbers, np.concatenate(expected), rtol=1e-4)


def updates(names, silent=()):
    """Those of one step of torch, which compiles nothing."""
    optimizer = learned.make(NAME, lstm_hidden=6, num_banks=2, step_multiplier=1.0)
    params, grads = inputs(4)
    tensors = {name: torch.tensor(np.array(params[name])) for name in names}
    for name in set(names) - set(silent):
        tensors[name].grad = torch.tensor(np.array(grads[name]))
    chosen = (optimizer, theta(optimizer, 0.2))
    LearnedOptim(tensors.values(), chosen, horizon=HORIZON).step(loss=1.0)
    return {name: tensors[name].numpy() - np.array(params[name]) for name in names}


def test_tensors_hear_of_each_other_and_no_order_matters():
    together = updates(["matrix", "scale", "vector"])
    for name, update in updates(["vector", "matrix", "scale"]).items():
        np.testing.assert_allclose(update, together[name], rtol=1e-4)
    alone = updates(["matrix"])["matrix"]
    assert not np.allclose(alone, together["matrix"], rtol=1e-3)


def test_no_tensor_at_all_is_no_error():
    optimizer = learned.make(NAME)
    tx: Any = learned.to_optax(optimizer, theta(optimizer, 0.2), horizon=HORIZON)
    assert tx.update({}, tx.init({}), {}, value=1.0)[0] == {}


def test_a_tensor_without_a_gradient_is_silent():
    some, alone = updates(["scale", "matrix"], silent=["scale"]), updates(["matrix"])
    np.testing.assert_array_equal(some["matrix"], alone["matrix"])
    assert some["scale"] == 0.0


@pytest.mark.parametrize(
    ("name", "tensors", "config"),
    [
        (NAME, ["vector"], {"lstm_hidden": 6, "num_banks": 2, "step_multiplier": 0.01}),
        (
            "normalized_direction",
            ["matrix", "vector"],
            {"learning_rate": 0.01, "orthogonalize": True},
        ),
    ],
)
def test_an_outer_gradient_goes_through_zero_gradients(name, tensors, config):
    """φ[0] of every tensor has no gradient, as a unit that is never active."""
    optimizer = learned.make(name, **config)
    weights = theta(optimizer, 0.3)
    start = {tensor: inputs(0)[0][tensor] for tensor in tensors}

    def loss(params):
        return sum(jnp.sum((leaf[1:] - 0.5) ** 2) for leaf in params.values())

    @jax.jit
    @jax.value_and_grad
    def outer_loss(shift):
        moved = jax.tree.map(lambda leaf: leaf + shift, weights)
        tx: Any = learned.to_optax(optimizer, moved, horizon=HORIZON)

        def one(carried, _):
            params, state = carried
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = tx.update(grads, state, params, value=value)
            return (jax.tree.map(jnp.add, params, updates), state), value

        (params, _), _ = jax.lax.scan(one, (start, tx.init(start)), length=2)
        return loss(params)

    slope = outer_loss(0.0)[1]
    below, above = (outer_loss(shift)[0] for shift in (-5e-4, 5e-4))
    np.testing.assert_allclose(slope, (above - below) / 1e-3, rtol=0.05)


def test_what_it_cannot_be_is_said():
    with pytest.raises(ValueError, match="unknown form: 'elo'"):
        learned.make(NAME, form="elo")
    with pytest.raises(ValueError, match="num_banks must be an integer >= 1"):
        learned.make(NAME, num_banks=0)
