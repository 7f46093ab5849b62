"""The learned optimizer "general": what it starts as, and what does not matter to it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import learned
from agents.rl.seen_observations import of_observation, to_observation
from opt_gym import policy
from opt_gym.testing.architecture_checks import moving_theta
from opt_gym.testing.made_up_signals import PARAMS, ROLES, gradient, signal_at

HORIZON = 10


@pytest.fixture(scope="module")
def optimizer():
    return learned.make("general")


@pytest.fixture(scope="module")
def theta(optimizer):
    return moving_theta(optimizer, optimizer.init_theta(jax.random.key(0)))


@pytest.fixture(scope="module")
def run(optimizer):
    @jax.jit
    def run(theta, signals):
        def step(memories, signal):
            return policy.advance(optimizer, theta, memories, signal)

        begun = policy.begin(optimizer, theta, PARAMS, ROLES)
        return jax.lax.scan(step, begun, signals)

    return run


def stream(change=lambda signal: signal, num=6):
    signals = [change(signal_at(t)) for t in range(num)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *signals)


def test_untrained_it_is_adam_with_a_warm_up_and_a_cosine(optimizer, run):
    theta = optimizer.init_theta(jax.random.key(0))
    deltas = run(theta, stream())[1]

    def schedule(t):
        falling = 0.01 + 0.99 * 0.5 * (1 + jnp.cos(jnp.pi * t / HORIZON))
        return 0.003 * (t + 1) / 10 * falling

    adam = optax.adam(schedule, eps=1e-12)
    state = adam.init(PARAMS)
    for t in range(6):
        expected, state = adam.update(gradient(t), state)
        for delta, wanted in zip(deltas, jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(delta[t], wanted, rtol=1e-4, atol=1e-9)


def test_without_a_horizon_nothing_decays(optimizer, run):
    theta = optimizer.init_theta(jax.random.key(0))
    known, unknown = (
        run(theta, stream(lambda s, h=h: s._replace(horizon=jnp.int32(h))))[1]
        for h in (HORIZON, 0)
    )
    falling = 0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * 5 / HORIZON))
    np.testing.assert_allclose(known[0][5], falling * unknown[0][5], rtol=1e-5)


def test_minus_gradients_and_weights_are_minus_the_step(theta, run):
    def turned(signal):
        minus = jax.tree.map(jnp.negative, (signal.params, signal.grad))
        return signal._replace(params=minus[0], grad=minus[1])

    deltas, opposite = run(theta, stream())[1], run(theta, stream(turned))[1]
    for delta, other in zip(deltas, opposite, strict=True):
        np.testing.assert_array_equal(delta, -other)
        assert float(jnp.abs(delta).min()) > 0


def test_no_gradient_is_no_step(theta, run):
    def without(signal):
        return signal._replace(grad=jax.tree.map(jnp.zeros_like, signal.grad))

    for delta in run(theta, stream(without))[1]:
        np.testing.assert_array_equal(delta, 0.0)


@pytest.mark.parametrize(("factor", "offset"), [(1024.0, 0.0), (0.125, -3.0)])
def test_what_a_loss_is_measured_in_does_not_matter(theta, run, factor, offset):
    def measured(signal):
        return signal._replace(
            loss=factor * signal.loss + offset,
            grad=jax.tree.map(lambda g: factor * g, signal.grad),
        )

    deltas, others = run(theta, stream())[1], run(theta, stream(measured))[1]
    for delta, other in zip(deltas, others, strict=True):
        np.testing.assert_allclose(delta, other, rtol=2e-4, atol=1e-8)


def test_a_loss_that_nobody_tells_is_not_looked_at(optimizer, theta, run):
    def told(loss):
        return lambda s: s._replace(loss=loss(s.t), has_loss=jnp.bool_(False))

    one, other = (run(theta, stream(told(f)))[1] for f in (jnp.float32, jnp.cos))
    for delta, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(delta, same)
    heard = run(theta, stream())[1]
    assert float(jnp.abs(heard[0][5] - one[0][5]).max()) > 0


def test_an_optimizer_that_reads_neither_is_one_that_is_told_neither(theta, run):
    deaf = learned.make("general", reads_loss=False, reads_horizon=False)
    assert deaf.welcomes == ()

    def hidden(signal):
        return signal._replace(
            horizon=jnp.int32(0), loss=jnp.zeros(()), has_loss=jnp.bool_(False)
        )

    expected = run(theta, stream(hidden))[1]
    memories = policy.begin(deaf, theta, PARAMS, ROLES)
    advance = jax.jit(lambda memories, s: policy.advance(deaf, theta, memories, s))
    for t in range(6):
        memories, deltas = advance(memories, signal_at(t))
        for delta, wanted in zip(deltas, expected, strict=True):
            np.testing.assert_allclose(delta, wanted[t], rtol=1e-5, atol=1e-9)


def test_rates_move_by_their_speeds(optimizer, run):
    """Speeds that are one constant: the rate is its sum over 1/(t + 10), by hand."""
    theta = optimizer.init_theta(jax.random.key(0))
    plain = run(theta, stream())[1]
    skip = theta["tensor"]["w_skip"]
    has_horizon = optimizer.features.shared_names.index("has_horizon")  # always 1 here
    skip = skip.at[1, has_horizon].set(1.5).at[2, has_horizon].set(-0.5)
    moved = {**theta, "tensor": {**theta["tensor"], "w_skip": skip}}
    deltas = run(moved, stream())[1]
    speed = 3 * np.tanh(1.5 / 3) + 3 * np.tanh(-0.5 / 3)
    rates = np.cumsum(speed / (np.arange(6) + 10.0))
    for delta, before in zip(deltas, plain, strict=True):
        for t in range(6):
            np.testing.assert_allclose(
                delta[t], np.exp(rates[t]) * before[t], rtol=1e-5
            )


def test_it_steps_as_well_on_what_a_rollout_keeps():
    """Features as one matrix a tensor, small ones in one go or not."""
    still = learned.make("general", searching=False)
    theta = moving_theta(still, still.init_theta(jax.random.key(0)))
    signal = signal_at(2)
    seen = still.features.update(still.features.init(PARAMS), signal)
    observation = still.features.observe(seen, signal)
    kept = to_observation(of_observation(observation))
    carry = still.init(theta, PARAMS, ROLES)
    assert jax.tree.leaves(carry) == []
    one, other = (
        still.step(theta, carry, signal, each)[1] for each in (observation, kept)
    )
    for delta, same in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(delta, same, rtol=1e-5, atol=1e-9)


def test_a_wide_layer_takes_smaller_steps_and_an_embedding_does_not(optimizer):
    """Untrained it is Adam, whose first step has one size: what differs is the rule."""
    theta = optimizer.init_theta(jax.random.key(0))
    shapes, roles = (
        ((64, 3), (640, 3), (3,), (640, 3)),
        ("kernel", "kernel", "bias", "embedding"),
    )
    params = tuple(map(jnp.ones, shapes))
    signal = signal_at(0)._replace(params=params, grad=params, ages=(jnp.int32(0),) * 4)
    begun = policy.begin(optimizer, theta, params, roles)
    deltas = policy.advance(optimizer, theta, begun, signal)[1]
    narrow, wide, bias, embedding = (float(delta.ravel()[0]) for delta in deltas)
    assert wide == pytest.approx(narrow / 10, rel=1e-4)
    assert bias == pytest.approx(narrow, rel=1e-4)
    assert embedding == pytest.approx(narrow, rel=1e-4)
