"""What every feature set and action map must do (`opt_gym.testing`), and some by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from opt_gym import plugins
from opt_gym.records import Signal
from opt_gym.testing import action_map_checks, features_checks

PARAMS = (jnp.ones((3, 4)), jnp.linspace(-1.0, 1.0, 4), jnp.full((2, 2, 4, 2), 0.3))
SETTINGS = {
    "direction_magnitude": [{"squashing": name} for name in ("none", "clip", "tanh")],
    "hyperparameters": [
        {"level": level, "controls": controls}
        for level in ("parameter", "tensor", "global")
        for controls in ("sgd", "adam")
    ],
}
"""Beside the defaults, which every action map has."""


def signal_at(t):
    keys = jax.random.split(jax.random.key(100 * t), len(PARAMS))
    grad = tuple(
        jax.random.normal(k, p.shape) for k, p in zip(keys, PARAMS, strict=True)
    )
    return Signal(
        ages=(jnp.int32(t),) * len(PARAMS),
        params=PARAMS,
        grad=grad,
        loss=jnp.float32(1.0 / (t + 1)),
        has_loss=jnp.ones((), bool),
        valid_loss=jnp.zeros(()),
        has_valid=jnp.zeros((), bool),
        t=jnp.int32(t),
        horizon=jnp.int32(10),
    )


@pytest.fixture(scope="module", params=plugins.specs("features"), ids=lambda s: s.name)
def features(request):
    return features_checks.prepare(request.param)


@pytest.mark.parametrize("check", features_checks.CHECKS, ids=lambda c: c.__name__)
def test_a_feature_set(features, check):
    check(features)


def test_a_large_gradient_is_not_seen_as_large_numbers_later(features):
    """What one average remembers and another forgot must not be divided without a bound."""
    features = features.features

    def step(f, t, factor):
        signal = signal_at(t)
        factor = jnp.where(t == 5, factor, 1.0)
        grad = jax.tree.map(lambda g: factor * g, signal.grad)
        signal = signal._replace(grad=grad, loss=factor * signal.loss)
        f = features.update(f, signal)
        return f, largest(features.observe(f, signal))

    @jax.jit
    def worst(factor):
        steps = jnp.arange(600)
        f = features.init(PARAMS)
        return jnp.max(jax.lax.scan(lambda f, t: step(f, t, factor), f, steps)[1])

    assert worst(1e6) < max(8.0, 3.0 * worst(1.0))


def largest(observation):
    """Of all that is seen."""
    rows = [
        scale * jnp.max(jnp.abs(row))
        for tensor in observation.tensors
        for row, scale in zip(rows_of(tensor), tensor.scale, strict=True)
    ]
    seen = observation.numbers, [x.numbers for x in observation.tensors], rows
    sizes = [jnp.max(jnp.abs(x), initial=0.0) for x in jax.tree.leaves(seen)]
    return jnp.max(jnp.stack(sizes))


def rows_of(tensor):
    return [row for block in tensor.blocks for row in block]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((spec, config), id=f"{spec.name}-{'-'.join(config.values())}")
        for spec in plugins.specs("action")
        for config in ({}, *SETTINGS.get(spec.name, []))
    ],
)
def action_map(request):
    return action_map_checks.prepare(*request.param)


@pytest.mark.parametrize("check", action_map_checks.CHECKS, ids=lambda c: c.__name__)
def test_an_action_map(action_map, check):
    check(action_map)


@pytest.mark.parametrize("controls", ["sgd", "adam"])
def test_constant_hyperparameters_are_the_optax_optimizer(controls):
    import optax

    # u = (1/3, −0.00060…): lr = 10^-2, β = sigmoid(2.2 + 4.6 u₁) = 0.9
    u1 = (np.log(0.9 / 0.1) - 2.2) / 4.6
    action = (jnp.float32(1 / 3), jnp.float32(u1))
    config = {"level": "global", "controls": controls}
    action_map = plugins.build("action", "hyperparameters", config)
    reference = {"sgd": optax.sgd(1e-2, momentum=0.9), "adam": optax.adam(1e-2)}[
        controls
    ]
    memory, state = action_map.init(PARAMS), reference.init(PARAMS)
    for t in range(5):
        signal = signal_at(t)
        memory, delta = action_map.apply(memory, signal, action)
        expected, state = reference.update(signal.grad, state, PARAMS)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
            delta,
            expected,
        )


def test_the_mlp_features_by_hand():
    features = plugins.build("features", "mlp")
    signal = signal_at(0)
    observation = features.observe(
        features.update(features.init(PARAMS), signal), signal
    )
    rows = np.concatenate(
        [np.asarray(b).reshape(b.shape[0], -1) for b in observation.tensors[0].blocks]
    )
    names = features.row_names
    g = np.asarray(signal.grad[0]).ravel()
    m, v = 0.1 * g, 0.1 * g * g  # after one step, decay 0.9
    expected = {
        "gradient": g,
        "parameter": np.ones(12),
        "momentum_0.9": m,
        "second_moment_0.9": v,
        "reciprocal_rms_0.9": (v + 1e-6) ** -0.5,
        "normalized_momentum_0.9": m * (v + 1e-6) ** -0.5,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(rows[names.index(name)], values, rtol=1e-4)
    scale = observation.tensors[0].scale
    np.testing.assert_allclose(
        scale, (1e-5 + np.mean(rows.astype(np.float64) ** 2, 1)) ** -0.5, rtol=1e-4
    )
    taus = np.array([3, 10, 30, 100, 300, 1000, 3000, 10000, 300000])
    np.testing.assert_allclose(observation.numbers, np.tanh(0 / taus - 1), rtol=1e-5)


def test_time_is_clamped_at_the_trained_horizon():
    features = plugins.build("features", "nominal", {"time_clamp": 50})
    f = features.update(features.init(PARAMS), signal_at(0))
    at, beyond = (features.observe(f, signal_at(t)).numbers[:7] for t in (50, 5000))
    np.testing.assert_allclose(at, beyond, rtol=1e-6)
    before = features.observe(f, signal_at(20)).numbers[:7]
    assert not np.allclose(before, at)
