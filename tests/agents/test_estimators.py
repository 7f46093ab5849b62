"""What the gradient estimators must get right, in numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.trainers import _pairs, es, pes
from tests import toy

LEARNING_RATE, SIGMA = 0.1, 0.03


def run(estimator, theta, num_steps, seed=0):
    """The estimates of `num_steps` steps at a constant θ, and the last state."""
    key = jax.random.key(seed)
    state = estimator.init(key, ({},), theta)
    found = []
    for i in range(num_steps):
        state, estimate = estimator.step(
            jax.random.fold_in(key, i), ({},), theta, state
        )
        found.append(estimate)
    return found, state


def gradients(estimates):
    return np.array([float(e.grad["learning_rate"]) for e in estimates])


def within(values, truth, num_errors=4.0):
    """Whether the mean of independent values is within so many standard errors."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return abs(np.mean(values) - truth) <= num_errors * error


def test_backprop_through_the_unroll_is_the_hand_worked_gradient():
    from opt_gym import start, unroll

    env, optimizer, theta = toy.sgd_env(toy.quadratic(), learning_rate=LEARNING_RATE)

    def mean_cost(theta):
        state = start(jax.random.key(0), env, optimizer, theta, {}, 8)
        return jnp.mean(unroll(env, optimizer, theta, {}, state, 8)[1].cost)

    value, grad = jax.value_and_grad(mean_cost)(theta)
    np.testing.assert_allclose(value, toy.outer_loss(LEARNING_RATE, 8), rtol=1e-6)
    expected = toy.outer_gradient(LEARNING_RATE, 8)
    np.testing.assert_allclose(grad["learning_rate"], expected, rtol=1e-5)


def test_es_of_a_small_sigma_is_the_gradient():
    env, optimizer, theta = toy.sgd_env(toy.quadratic(), learning_rate=LEARNING_RATE)
    estimator = es.estimator(
        [env], optimizer, num_pairs=512, trunc_length=4, sigma=1e-2, horizon=8
    )
    values = gradients(run(estimator, theta, 6)[0])
    assert within(values, toy.outer_gradient(LEARNING_RATE, 8))
    assert np.std(values) < 0.2 * abs(np.mean(values))


def test_pes_with_one_truncation_is_es_on_the_same_perturbations():
    env, optimizer, theta = toy.sgd_env(toy.quadratic(noise=0.1))
    settings = {"num_pairs": 4, "trunc_length": 6, "sigma": SIGMA, "horizon": 6}
    of_es, _ = run(es.estimator([env], optimizer, **settings), theta, 3)
    of_pes, _ = run(pes.estimator([env], optimizer, **settings), theta, 3)
    for a, b in zip(of_es, of_pes, strict=True):
        np.testing.assert_allclose(
            a.grad["learning_rate"], b.grad["learning_rate"], rtol=1e-5
        )
        np.testing.assert_allclose(a.outer_loss, b.outer_loss, rtol=1e-6)
        assert int(a.inner_steps) == int(b.inner_steps) == 2 * 4 * 6


def test_pes_is_unbiased_where_truncated_es_is_not():
    horizon, window, pairs = 8, 2, 512
    env, optimizer, theta = toy.sgd_env(toy.quadratic(), learning_rate=LEARNING_RATE)
    estimator = pes.estimator(
        [env],
        optimizer,
        num_pairs=pairs,
        trunc_length=window,
        sigma=SIGMA,
        horizon=horizon,
    )
    # The first (short) episodes are over after horizon / window steps.
    cycle = horizon // window
    values = gradients(run(estimator, theta, cycle * 13)[0])[cycle:]
    values = values.reshape(-1, cycle).mean(1)
    truth = toy.outer_gradient(LEARNING_RATE, horizon)
    assert within(values, truth)
    biased = truncated_es(env, optimizer, theta, horizon, window, pairs, cycles=12)
    assert not within(biased, truth, num_errors=20)


def truncated_es(env, optimizer, theta, horizon, window, pairs, cycles):
    """Each window credited to its own perturbation only: one value an episode."""
    programs = _pairs.programs(
        env,
        optimizer,
        num_pairs=pairs,
        trunc_length=window,
        sigma=SIGMA,
        horizon=horizon,
        common_length=True,
    )
    key, values = jax.random.key(1), []
    for episode in range(cycles):
        k_episode = jax.random.fold_in(key, episode)
        everyone, no = jnp.ones(pairs, bool), jnp.bool_(False)
        slots = programs.reset(k_episode, {}, programs.empty(theta, {}), everyone, no)
        grads = []
        for i in range(horizon // window):
            k_window = jax.random.fold_in(k_episode, i)
            slots, out = programs.window(k_window, theta, {}, slots)
            grads.append(np.mean(out.score[:, 0] * out.difference) / (2 * SIGMA))
        values.append(np.mean(grads))
    return np.array(values)


def test_the_accumulator_restarts_exactly_after_an_episode_s_last_step():
    env, optimizer, theta = toy.sgd_env(toy.quadratic())
    estimator = pes.estimator(
        [env], optimizer, num_pairs=2, trunc_length=3, sigma=SIGMA, horizon=6
    )
    key = jax.random.key(0)
    state = estimator.init(key, ({},), theta)
    xi, done = [], []
    for i in range(5):
        state, _ = estimator.step(jax.random.fold_in(key, i), ({},), theta, state)
        xi.append(np.asarray(state.slots[0].xi[:, 0]))
        done.append(np.asarray(state.slots[0].done))
    # Staggering: slot 0's first episode is 3 steps, slot 1's is 6; then all are 6.
    np.testing.assert_array_equal(
        done,
        [[True, False], [False, True], [True, False], [False, True], [True, False]],
    )
    scores = [score(jax.random.fold_in(key, i)) for i in range(5)]
    expected = [
        [scores[0][0], scores[0][1]],
        [scores[1][0], scores[0][1] + scores[1][1]],
        [scores[1][0] + scores[2][0], scores[2][1]],
        [scores[3][0], scores[2][1] + scores[3][1]],
        [scores[3][0] + scores[4][0], scores[4][1]],
    ]
    np.testing.assert_allclose(xi, expected, rtol=1e-5)


def score(step_key):
    """z of both slots in one outer step, as documented: fold_in(k_eps, i)."""
    _, k_eps = jax.random.split(step_key)
    return [
        float(jax.random.normal(jax.random.fold_in(k_eps, i), (1,))[0]) for i in (0, 1)
    ]


def test_mixed_horizons_minimize_the_mean_over_episodes_not_over_steps():
    window, pairs = 2, 256
    env, optimizer, theta = toy.sgd_env(toy.quadratic(), learning_rate=0.02)
    estimator = pes.estimator(
        [env],
        optimizer,
        num_pairs=pairs,
        trunc_length=window,
        sigma=0.005,
        horizon=(2, 16),
    )
    values = gradients(run(estimator, theta, 8 + 8 * 25)[0])[8:].reshape(-1, 8).mean(1)
    lengths = np.arange(2, 17, 2)
    share = np.log(lengths / np.maximum(lengths - 2, 2))[1:] / np.log(8)
    truths = np.array([toy.outer_gradient(0.02, int(n)) for n in lengths[1:]])
    over_episodes = np.sum(share * truths)
    over_steps = np.sum(share * lengths[1:] * truths) / np.sum(share * lengths[1:])
    assert within(values, over_episodes)
    assert not within(values, over_steps)


def test_mean_length_is_the_mean_of_the_drawn_lengths():
    for horizon, window in [(100, 30), ((50, 1000), 50), ((7, 100), 10)]:
        keys = jax.random.split(jax.random.key(0), 4000)
        draw = jax.vmap(lambda k, h=horizon, w=window: _pairs.draw_length(k, h, w))
        lengths = np.asarray(draw(keys))
        assert np.all(lengths % window == 0)
        expected = _pairs.mean_length(horizon, window)
        assert abs(lengths.mean() - expected) <= 4 * lengths.std() / 63 + 1e-9


def test_a_dead_half_is_charged_and_never_poisons_the_gradient():
    # θ + σz above 2 makes |φ| grow past 1.05, where the loss is NaN: that half pays 2 a step.
    task = toy.quadratic(dies_above=1.05)
    env, optimizer, theta = toy.sgd_env(task, learning_rate=1.95)
    settings = {"num_pairs": 64, "trunc_length": 4, "sigma": 0.2, "horizon": 8}
    for module in (es, pes):
        estimates, _ = run(module.estimator([env], optimizer, **settings), theta, 4)
        assert all(int(e.dropped) > 0 for e in estimates)
        assert np.all(np.isfinite(gradients(estimates)))
        assert np.mean(gradients(estimates)) > 0  # a larger learning rate is worse
        assert all(0 < float(e.outer_loss) <= 2 for e in estimates)


def test_a_dead_half_costs_two_to_its_horizon():
    from opt_gym import start, unroll

    env, optimizer, theta = toy.sgd_env(
        toy.quadratic(dies_above=1.05), learning_rate=2.5
    )
    state = start(jax.random.key(0), env, optimizer, theta, {}, 6)
    _, out = unroll(env, optimizer, theta, {}, state, 6)
    np.testing.assert_array_equal(out.cost, [2.0] * 6)
    np.testing.assert_array_equal(out.terminated, [True] * 6)
    np.testing.assert_array_equal(out.truncated, [False] * 5 + [True])
    np.testing.assert_allclose(np.sum(out.reward), -2.0, rtol=1e-6)


def test_variance_is_that_of_one_particle():
    scores = jnp.array([[1.0, 0.0], [2.0, 1.0], [3.0, -1.0]])
    coefficients = jnp.array([1.0, 2.0, jnp.nan])  # not finite: counts as 0
    combined = _pairs.combine(scores, coefficients, jnp.ones(3), jnp.zeros(3, bool))
    grads = np.array([[1.0, 0.0], [4.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(combined.grad, grads.mean(0), rtol=1e-6)
    np.testing.assert_allclose(
        combined.variance, grads.var(0, ddof=1).mean(), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_pairs": 0}, "num_pairs must be >= 1, got 0"),
        ({"trunc_length": 0}, "trunc_length must be >= 1, got 0"),
        ({"sigma": 0.0}, "sigma must be > 0, got 0.0"),
        ({"horizon": 0}, "horizon must be >= 1"),
        ({"horizon": (10, 5)}, r"got \(10, 5\)"),
    ],
)
def test_bad_settings_are_named(settings, message):
    env, optimizer, _ = toy.sgd_env(toy.quadratic())
    for module in (es, pes):
        with pytest.raises(ValueError, match=message):
            module.estimator([env], optimizer, **settings)
