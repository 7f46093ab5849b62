"""What the gradient estimators must get right, in numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import agents
from agents.estimators.slots import (
    SlotSettings,
    evolution_samples,
    moments,
)
from agents.records import lengths_of
from agents.trainers import (
    backprop,
    es,
    es_single,
    inverse_variance,
    pes,
    truncated_es,
)
from agents.trainers.inverse_variance import merged
from tests import toy

LEARNING_RATE, SIGMA = 0.1, 0.03


def run(estimator, theta, num_steps, seed=0):
    """The estimates of `num_steps` steps at a constant θ, and the last state."""
    key = jax.random.key(seed)
    state = estimator.init(key, {}, theta)
    found = []
    for i in range(num_steps):
        state, estimate = estimator.step(
            jax.random.fold_in(key, i), {}, theta, state, i
        )
        found.append(estimate)
    return found, state


def make(module, env, optimizer, *, trunc_length, horizon, curriculum=0, **settings):
    num = settings.pop("num_problems" if module is backprop else "num_pairs")
    lengths = lengths_of(horizon, trunc_length, curriculum)
    return module.estimator(env, optimizer, SlotSettings(num, lengths, **settings))


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
    estimator = make(
        es, env, optimizer, num_pairs=512, trunc_length=4, sigma=1e-2, horizon=8
    )
    values = gradients(run(estimator, theta, 6)[0])
    assert within(values, toy.outer_gradient(LEARNING_RATE, 8))
    assert np.std(values) < 0.2 * abs(np.mean(values))


def test_with_one_window_an_episode_all_of_evolution_is_one_and_the_same():
    env, optimizer, theta = toy.sgd_env(toy.quadratic(noise=0.1))
    settings = {"num_pairs": 4, "trunc_length": 6, "sigma": SIGMA, "horizon": 6}
    of_es, _ = run(make(es, env, optimizer, **settings), theta, 3)
    for module in (pes, es_single, truncated_es):
        others, _ = run(make(module, env, optimizer, **settings), theta, 3)
        for a, b in zip(of_es, others, strict=True):
            np.testing.assert_allclose(
                a.grad["learning_rate"], b.grad["learning_rate"], rtol=1e-5
            )
            np.testing.assert_allclose(a.outer_loss, b.outer_loss, rtol=1e-6)
            assert int(a.inner_steps) == int(b.inner_steps) == 2 * 4 * 6


def of_cycles(module, horizon, window, *, cycles=40, lr=LEARNING_RATE, **settings):
    """Gradients, each the mean over all windows of four (or one) episodes a slot.

    The first (short) episodes are left out. Four, so that perturbations that last an
    episode hardly tie one value to the next.
    """
    env, optimizer, theta = toy.sgd_env(toy.quadratic(), learning_rate=lr)
    estimator = make(
        module, env, optimizer, trunc_length=window, horizon=horizon, **settings
    )
    cycle = horizon // window
    values = gradients(run(estimator, theta, cycle * (cycles + 1))[0])[cycle:]
    group = 4 * cycle if cycles % 4 == 0 else cycle
    return values.reshape(-1, group).mean(1)


def test_pes_and_es_single_are_unbiased_where_truncated_es_is_not():
    settings = {"num_pairs": 512, "sigma": 0.01}
    truth = toy.outer_gradient(LEARNING_RATE, 8)
    for module in (pes, es_single):
        assert within(of_cycles(module, 8, 2, **settings), truth)
    biased = of_cycles(truncated_es, 8, 2, **settings)
    assert not within(biased, truth, num_errors=20)
    # What it finds is what two steps from where it stands would gain.
    assert within(biased, short_sighted(LEARNING_RATE, 8, 2), num_errors=5)


def short_sighted(learning_rate, horizon, window):
    """Mean over windows of the derivative of a window's mean cost, its start given."""
    starts = (1 - learning_rate) ** np.arange(0, horizon, window)
    return float(np.mean(starts**2) * toy.outer_gradient(learning_rate, window))


def test_backprop_is_the_hand_worked_gradient_whole_and_truncated():
    whole = of_cycles(backprop, 8, 8, num_problems=2, cycles=1)
    np.testing.assert_allclose(whole, toy.outer_gradient(0.1, 8), rtol=1e-5)
    truncated = of_cycles(backprop, 8, 2, num_problems=4, cycles=1)
    np.testing.assert_allclose(truncated, short_sighted(0.1, 8, 2), rtol=1e-5)


def test_backprop_through_a_long_unroll_in_segments_is_the_same():
    values = of_cycles(backprop, 96, 96, num_problems=1, cycles=1, lr=0.01)
    np.testing.assert_allclose(values, toy.outer_gradient(0.01, 96), rtol=1e-5)


def test_reparameterised_backprop_is_the_gradient_of_the_smoothed_outer_loss():
    sigma = 0.3
    values = of_cycles(backprop, 4, 4, num_problems=256, sigma=sigma, cycles=20)
    z = np.random.default_rng(0).standard_normal(4000)
    truths = [toy.outer_gradient(LEARNING_RATE + sigma * one, 4) for one in z]
    assert abs(np.mean(truths) - toy.outer_gradient(LEARNING_RATE, 4)) > 0.05
    error = np.std(truths) / np.sqrt(len(truths)) + np.std(values) / np.sqrt(
        len(values)
    )
    assert abs(np.mean(values) - np.mean(truths)) <= 4 * error


def test_the_merger_weighs_each_coordinate_by_its_inverse_variance():
    first = jnp.array([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]])  # variances 1, 3
    second = jnp.array([[5.0, 1.0], [7.0, 1.0], [9.0, 1.0]])  # variances 4, 0
    grad, variance, _ = merged(first, second)
    v = np.array([[1.0, 3.0], [4.0, 0.0]]) + 1e-8
    means = np.array([[2.0, 1.0], [7.0, 1.0]])
    expected = (means / v).sum(0) / (1 / v).sum(0)
    np.testing.assert_allclose(grad, expected, rtol=1e-5)
    np.testing.assert_allclose(
        expected, [(2 / 1 + 7 / 4) / (1 + 1 / 4), 1.0], rtol=1e-6
    )
    np.testing.assert_allclose(variance, 1 / (1 / v).sum(0), rtol=1e-5)


@pytest.mark.slow
def test_inverse_variance_listens_to_backprop_where_losses_are_smooth():
    # Without perturbed noise, backprop's samples hardly vary and evolution's do.
    settings = {"num_pairs": 16, "sigma": 1e-3}
    values = of_cycles(inverse_variance, 8, 8, cycles=5, **settings)
    np.testing.assert_allclose(values, toy.outer_gradient(0.1, 8), rtol=0.02)
    noisy = of_cycles(es, 8, 8, cycles=5, **settings)
    assert np.std(values) < 0.05 * np.std(noisy)


def test_slopes_that_are_not_finite_are_left_out_and_alone_are_not_believed():
    slopes = jnp.array([[1.0, 2.0], [jnp.nan, 9.0], [3.0, 4.0]])
    mean, variance, count = moments(slopes)
    np.testing.assert_allclose(mean, [2.0, 3.0])
    np.testing.assert_allclose(variance, [2.0, 2.0])
    assert int(count) == 2
    evolution = jnp.array([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]])
    grad, variance, _ = merged(evolution, slopes.at[0, 0].set(jnp.inf))
    np.testing.assert_allclose(grad, [2.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(variance, [1.0, 3.0], rtol=1e-6)


def test_the_accumulator_restarts_exactly_after_an_episode_s_last_step():
    env, optimizer, theta = toy.sgd_env(toy.quadratic())
    estimator = make(
        pes, env, optimizer, num_pairs=2, trunc_length=3, sigma=SIGMA, horizon=6
    )
    key = jax.random.key(0)
    state = estimator.init(key, {}, theta)
    xi, done = [], []
    for i in range(5):
        state, _ = estimator.step(jax.random.fold_in(key, i), {}, theta, state, i)
        xi.append(np.asarray(state.scores[:, 0]))
        done.append(np.asarray(state.done))
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


def test_es_single_keeps_its_perturbation_to_the_end_of_an_episode():
    env, optimizer, theta = toy.sgd_env(toy.quadratic())
    estimator = make(
        es_single, env, optimizer, num_pairs=2, trunc_length=3, sigma=SIGMA, horizon=6
    )
    key = jax.random.key(0)
    state = estimator.init(key, {}, theta)
    found = []
    for i in range(5):
        state, _ = estimator.step(jax.random.fold_in(key, i), {}, theta, state, i)
        found.append(np.asarray(state.scores[:, 0]))
    s = [score(jax.random.fold_in(key, i)) for i in range(5)]
    expected = [
        [s[0][0], s[0][1]],
        [s[1][0], s[0][1]],
        [s[1][0], s[2][1]],
        [s[3][0], s[2][1]],
        [s[3][0], s[4][1]],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def score(step_key):
    """z of both slots in one outer step, as documented: fold_in(k_noise, i)."""
    _, k_noise = jax.random.split(step_key)
    return [
        float(jax.random.normal(jax.random.fold_in(k_noise, i), (1,))[0])
        for i in (0, 1)
    ]


def test_mixed_horizons_minimize_the_mean_over_episodes_not_over_steps():
    window, pairs = 2, 256
    env, optimizer, theta = toy.sgd_env(toy.quadratic(), learning_rate=0.02)
    estimator = make(
        pes,
        env,
        optimizer,
        num_pairs=pairs,
        trunc_length=window,
        sigma=0.005,
        horizon=(2, 16),
    )
    values = gradients(run(estimator, theta, 8 + 8 * 25)[0])[8:].reshape(-1, 8).mean(1)
    sizes = np.arange(2, 17, 2)
    share = np.log(sizes / np.maximum(sizes - 2, 2))[1:] / np.log(8)
    truths = np.array([toy.outer_gradient(0.02, int(n)) for n in sizes[1:]])
    over_episodes = np.sum(share * truths)
    over_steps = np.sum(share * sizes[1:] * truths) / np.sum(share * sizes[1:])
    assert within(values, over_episodes)
    assert not within(values, over_steps)


def test_the_final_loss_can_be_what_counts():
    # mean of the last window's two costs: its derivative by hand.
    def final(lr):
        return jnp.mean(0.5 * (1 - lr) ** jnp.array([14.0, 16.0]))

    truth = float(jax.grad(final)(LEARNING_RATE))
    settings = {"num_pairs": 512, "sigma": 0.01, "aggregation": "final"}
    assert within(of_cycles(es_single, 8, 2, **settings), truth)
    env, optimizer, theta = toy.sgd_env(toy.quadratic(), learning_rate=LEARNING_RATE)
    estimator = make(es, env, optimizer, trunc_length=2, horizon=8, **settings)
    found, _ = run(estimator, theta, 4)
    assert within(gradients(found), truth)
    np.testing.assert_allclose(found[0].outer_loss, final(LEARNING_RATE), rtol=0.05)


def test_signs_only_say_which_half_was_better():
    scores = jnp.array([[1.0], [2.0], [-1.0]])
    differences = jnp.array([0.5, -100.0, 0.0])
    samples = evolution_samples(scores, differences, 0.1, sign=True)
    np.testing.assert_allclose(samples[:, 0], [5.0, -10.0, 0.0], rtol=1e-6)
    env, optimizer, theta = toy.sgd_env(toy.quadratic(), learning_rate=LEARNING_RATE)
    settings = {"num_pairs": 8, "sigma": SIGMA, "horizon": 4, "trunc_length": 2}
    found, _ = run(make(pes, env, optimizer, sign=True, **settings), theta, 3)
    assert np.mean(gradients(found)) < 0  # a larger learning rate is better


def test_lengths_have_the_mean_they_say_and_grow_on_a_curriculum():
    for horizon, window, curriculum, outer_step in [
        (100, 30, 0, 0),
        ((50, 1000), 50, 0, 0),
        ((7, 100), 10, 0, 3),
        ((50, 1000), 50, 100, 0),
        ((50, 1000), 50, 100, 50),
        ((50, 1000), 50, 100, 200),
    ]:
        drawn = lengths_of(horizon, window, curriculum)
        upper = drawn.upper(outer_step)
        keys = jax.random.split(jax.random.key(0), 4000)
        values = np.asarray(jax.vmap(lambda k, d=drawn, u=upper: d.draw(k, u))(keys))
        assert np.all(values % window == 0)
        assert np.all(values <= window * np.ceil(upper / window))
        assert abs(values.mean() - drawn.mean(upper)) <= 4 * values.std() / 63 + 1e-9
    uppers = [lengths_of((50, 1000), 50, 100).upper(i) for i in (0, 50, 100, 101)]
    np.testing.assert_allclose(uppers, [50, 50 * 20**0.5, 1000, 1000])


def test_a_dead_half_is_charged_and_never_poisons_the_gradient():
    # θ + σz above 2 makes |φ| grow past 1.05, where the loss is NaN: that half pays 2 a step.
    task = toy.quadratic(dies_above=1.05)
    env, optimizer, theta = toy.sgd_env(task, learning_rate=1.95)
    settings = {"num_pairs": 64, "trunc_length": 4, "sigma": 0.2, "horizon": 8}
    for module in (es, pes, inverse_variance):
        estimates, _ = run(make(module, env, optimizer, **settings), theta, 4)
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
    differences = jnp.array([1.0, 2.0, jnp.nan])  # not finite: counts as 0
    samples = evolution_samples(scores, differences, 0.5, sign=False)
    mean, variance, _ = moments(samples)
    grads = np.array([[1.0, 0.0], [4.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(mean, grads.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, grads.var(0, ddof=1), rtol=1e-6)


def test_of_one_particle_the_variance_and_of_none_the_gradient_is_unknown():
    mean, variance, count = moments(jnp.array([[1.0, 2.0], [jnp.nan, 0.0]]))
    np.testing.assert_array_equal(mean, [1.0, 2.0])
    assert (int(count), np.all(np.isnan(variance))) == (1, True)
    assert np.all(np.isnan(moments(jnp.full((2, 2), jnp.inf)).mean))


def test_backprop_of_nothing_but_diverged_unrolls_is_skipped_and_counted():
    env, optimizer, theta = toy.sgd_env(toy.quadratic(dies_above=0.0))
    settings = {"num_problems": 4, "trunc_length": 4, "horizon": 4}
    found, _ = run(make(backprop, env, optimizer, **settings), theta, 1)
    assert np.isnan(gradients(found)[0])
    assert int(found[0].dropped) == 4


@pytest.mark.parametrize("name", ["es", "pes", "backprop", "inverse_variance"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num": 0}, "must be an integer >= 1, got 0"),
        ({"trunc_length": 10.0}, "trunc_length must be an integer, got 10.0"),
        ({"sigma": -1.0}, r"sigma must be a number (> 0|>= 0), got -1\.0"),
        ({"horizon": 0}, "horizon must be an integer >= 1"),
        ({"horizon": 1e3}, "got 1000.0"),
        ({"horizon": (100,)}, r"got \(100,\)"),
        ({"horizon": 100, "curriculum": 5}, "curriculum needs a horizon"),
        ({"horizon": (10, 5)}, r"got \(10, 5\)"),
        ({"curriculum": -1}, "curriculum must be an integer >= 0, got -1"),
        ({"aggregation": "max"}, "unknown aggregation: 'max'"),
        ({"theta_average": 1.0}, r"theta_average must be in \[0, 1\), got 1.0"),
    ],
)
def test_bad_settings_are_named(name, settings, message):
    env, optimizer, _ = toy.sgd_env(toy.quadratic())
    num = "num_problems" if name == "backprop" else "num_pairs"
    settings = {num if key == "num" else key: v for key, v in settings.items()}
    with pytest.raises(ValueError, match=message):
        agents.make(
            name,
            envs=[env],
            learned_optimizer=optimizer,
            outer_optimizer=optax.sgd(1.0),
            **settings,
        )
