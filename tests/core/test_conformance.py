"""What every plug-in must do, over whatever discovery finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learned
from opt_gym import plugins
from opt_gym.records import Signal

PARAMS = (jnp.ones((3, 4)), jnp.linspace(-1.0, 1.0, 4), jnp.full((2, 2, 4, 2), 0.3))
ROLES = ("kernel", "bias", "kernel")
ACTION_MAPS = [
    ("update", {}),
    *(
        ("direction_magnitude", {"squashing": squashing})
        for squashing in ("none", "clip", "tanh")
    ),
    *(
        ("hyperparameters", {"level": level, "controls": controls})
        for level in ("parameter", "tensor", "global")
        for controls in ("sgd", "adam")
    ),
]


def signal_at(t, seed=0, scale=1.0):
    keys = jax.random.split(jax.random.key(seed + 100 * t), len(PARAMS))
    grad = tuple(
        scale * jax.random.normal(k, p.shape) for k, p in zip(keys, PARAMS, strict=True)
    )
    return Signal(
        ages=(jnp.int32(t),) * len(PARAMS),
        params=PARAMS,
        grad=grad,
        loss=jnp.float32(1.0 / (t + 1)),
        valid_loss=jnp.zeros(()),
        has_valid=jnp.zeros((), bool),
        t=jnp.int32(t),
        horizon=jnp.int32(10),
    )


def shapes(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize("name", plugins.names("features"))
def test_features(name):
    features = plugins.build("features", name)
    f = features.init(PARAMS)
    for t in range(3):
        before, f = f, features.update(f, signal_at(t))
        assert shapes(before) == shapes(f)  # a scan's carry
        observation = features.observe(f, signal_at(t))
        assert observation.numbers.shape == (len(features.shared_names),)
        for leaf, tensor in zip(PARAMS, observation.tensors, strict=True):
            count = sum(block.shape[0] for block in tensor.blocks)
            assert count == tensor.scale.shape[0] == len(features.row_names)
            assert tensor.numbers.shape == (len(features.tensor_names),)
            for block in tensor.blocks:
                assert jnp.broadcast_shapes(block.shape[1:], leaf.shape) == leaf.shape
        for leaf in jax.tree.leaves(observation):
            assert leaf.dtype == jnp.float32
            assert np.all(np.isfinite(leaf))
    jitted = jax.jit(features.observe)(f, signal_at(2))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        observation,
        jitted,
    )
    assert plugins.build("features", name, features.config).config == features.config


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e15])
@pytest.mark.parametrize("name", plugins.names("features"))
def test_features_are_finite_at_extreme_gradients(name, scale):
    features = plugins.build("features", name)
    signal = signal_at(0, scale=scale)
    observation = features.observe(
        features.update(features.init(PARAMS), signal), signal
    )
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(observation))


@pytest.mark.parametrize("name", learned.names())
def test_architectures(name):
    optimizer = learned.make(name)
    theta = optimizer.init_theta(jax.random.key(0))
    features = optimizer.features
    f, carry = features.init(PARAMS), optimizer.init(theta, PARAMS, ROLES)
    signal = signal_at(0)
    f = features.update(f, signal)
    after, action = optimizer.step(theta, carry, signal, features.observe(f, signal))
    assert shapes(after) == shapes(carry)
    assert len(action) == len(optimizer.action_map.controls)
    memory = optimizer.action_map.init(PARAMS)
    kept, delta = optimizer.action_map.apply(memory, signal, action)
    assert shapes(kept) == shapes(memory)
    assert shapes(delta) == shapes(PARAMS)
    assert set(features.needs) <= set(optimizer.needs)
    assert learned.make(name, **optimizer.config).config == optimizer.config


@pytest.mark.parametrize("name", learned.names())
def test_a_permutation_of_parameters_permutes_updates(name):
    optimizer = learned.make(name)
    theta = optimizer.init_theta(jax.random.key(0))
    order = jax.random.permutation(jax.random.key(1), 12)

    def update(params, grad):
        signal = signal_at(0)._replace(
            params=(params,), grad=(grad,), ages=(jnp.int32(0),)
        )
        f = optimizer.features.update(optimizer.features.init((params,)), signal)
        observation = optimizer.features.observe(f, signal)
        _, action = optimizer.step(
            theta, optimizer.init(theta, (params,), ("kernel",)), signal, observation
        )
        memory = optimizer.action_map.init((params,))
        return optimizer.action_map.apply(memory, signal, action)[1][0]

    params, grad = (
        jnp.linspace(-1.0, 1.0, 12),
        jax.random.normal(jax.random.key(2), (12,)),
    )
    np.testing.assert_allclose(
        update(params, grad)[order],
        update(params[order], grad[order]),
        rtol=1e-4,
        atol=1e-7,
    )


@pytest.mark.parametrize(("name", "config"), ACTION_MAPS)
def test_action_maps(name, config):
    action_map = plugins.build("action", name, config)
    one = {
        "parameter": jax.tree.map(lambda p: 0.1 * jnp.ones_like(p), PARAMS),
        "tensor": tuple(jnp.float32(0.1) for _ in PARAMS),
        "global": jnp.float32(0.1),
    }[action_map.level]
    action = (one,) * len(action_map.controls)
    memory = action_map.init(PARAMS)
    for t in range(2):
        after, delta = action_map.apply(memory, signal_at(t), action)
        assert shapes(after) == shapes(memory)
        assert shapes(delta) == shapes(PARAMS)
        memory = after


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
