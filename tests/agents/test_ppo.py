"""PPO on the device: its numbers by hand."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import learned
from agents.rl import pooled_critic, ppo_rollout, ppo_update
from agents.rl.ppo_rollout import Actor, Credit
from opt_gym.records import EnvState
from tests.agents.ppo_problems import TASKS, env_for, mlp, two_tensors

OUTER_LOSS = Credit(gamma=1.0, gae_lambda=0.95, bootstrap=False)


class Played(NamedTuple):
    """A window of one environment, and who played it."""

    state: EnvState
    rollout: ppo_rollout.Rollout
    actor: Actor
    mean: ppo_rollout.Mean


@cache
def player(task, credit, scale):
    env = ppo_rollout.update_env(env_for(mlp(), TASKS[task]()), mlp())
    mean = ppo_rollout.policy_mean(mlp(), env.task.roles, scale)

    @jax.jit
    def play(actor, key, horizon):
        k_reset, k_noise = jax.random.split(key)
        state = env.reset(k_reset, {}, horizon)
        size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        noise = jax.random.normal(k_noise, (4, size))
        return ppo_rollout.play(env, mean, actor, {}, state, noise, scale, credit)

    return play, mean


def played(task="quadratic", *, credit=OUTER_LOSS, scale=0.1, horizon=4, value=0.0):
    """Four steps of a fresh actor, whose critic says `value` everywhere."""
    play, mean = player(task, credit, scale)
    k_theta, k_critic, k_play = jax.random.split(jax.random.key(0), 3)
    critic = pooled_critic.init(k_critic, mlp().features, 8) | {"d": jnp.float32(value)}
    actor = Actor(mlp().init_theta(k_theta), jnp.float32(-0.5), critic)
    state, rollout = play(actor, k_play, jnp.int32(horizon))
    return Played(state, rollout, actor, mean)


def test_advantages_stop_at_the_end_of_an_episode():
    # Three steps of one episode, whose horizon is reached, and one of the next.
    reward = jnp.array([1.0, 2.0, 3.0, 4.0])
    value = jnp.array([0.5, 1.0, 1.5, 2.0])
    next_value = jnp.array([1.0, 1.5, 0.0, 5.0])  # after the horizon nothing
    end = jnp.array([False, False, True, False])
    credit = Credit(gamma=0.5, gae_lambda=0.8, bootstrap=False)
    # δ: 1 + .5·1 − .5 = 1;  2 + .5·1.5 − 1 = 1.75;  3 − 1.5 = 1.5;  4 + .5·5 − 2 = 4.5
    # A_t = δ_t + .4 A_{t+1}, and A_2 = δ_2
    found = ppo_rollout.advantages(reward, value, next_value, end, credit=credit)
    expected = [1 + 0.4 * (1.75 + 0.4 * 1.5), 1.75 + 0.4 * 1.5, 1.5, 4.5]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_with_lambda_one_the_target_is_the_return_to_the_horizon():
    credit = OUTER_LOSS._replace(gae_lambda=1.0)
    state, rollout, *_ = played(credit=credit, value=0.3)
    targets = rollout.samples.target
    rewards = targets - jnp.append(targets[1:], 0.0)
    np.testing.assert_allclose(-jnp.sum(rewards), rollout.cost, rtol=1e-5)
    np.testing.assert_allclose(-4 * rewards[-1], state.loss, rtol=1e-5)
    assert bool(rollout.done)
    assert bool(jnp.all(rollout.samples.usable))


def test_of_final_only_the_last_loss_is_paid_for():
    credit = OUTER_LOSS._replace(gae_lambda=1.0, aggregation="final")
    state, rollout, *_ = played(credit=credit, value=0.3)
    np.testing.assert_allclose(
        rollout.samples.target, -state.loss * jnp.ones(4), rtol=1e-5
    )
    assert (float(rollout.cost), bool(rollout.counts)) == (float(state.loss), True)
    going_on = played(credit=credit, value=0.3, horizon=8).rollout
    assert not going_on.counts
    np.testing.assert_allclose(going_on.samples.target, 0.3 * jnp.ones(4), rtol=1e-5)


def test_only_bootstrap_asks_the_critic_about_the_last_moment():
    credit = Credit(gamma=0.9, gae_lambda=0.0, bootstrap=False)
    plain = played(credit=credit, value=7.0).rollout.samples.advantage
    booted = credit._replace(bootstrap=True)
    booted = played(credit=booted, value=7.0).rollout.samples.advantage
    np.testing.assert_allclose(booted - plain, [0, 0, 0, 0.9 * 7], atol=1e-5)
    # Before the horizon, the moment after the window is the critic's in either case.
    going_on = played(credit=credit, value=7.0, horizon=8).rollout.samples.advantage
    np.testing.assert_allclose(going_on[-1] - plain[-1] / 2, 0.9 * 7 - 7 / 2, atol=0.5)


@pytest.mark.parametrize("architecture", ["mlp", "nominal", "sgd"])
def test_the_policy_s_mean_is_the_learned_optimizer_s_update(architecture):
    optimizer = learned.make(architecture)
    env = env_for(optimizer, two_tensors())
    update_env = ppo_rollout.update_env(env, optimizer)
    theta = optimizer.init_theta(jax.random.key(1))
    roles, scale = env.task.roles, 0.01
    mean = ppo_rollout.policy_mean(optimizer, roles, scale)

    @jax.jit
    def step(state):
        signal, observation = env.observe(state)
        _, mu, lost = ppo_rollout.observe(env, mean, theta, state)
        carry = optimizer.init(theta, state.params, roles)
        _, action = optimizer.step(theta, carry, signal, observation)
        _, delta = optimizer.action_map.apply(state.action, signal, action)
        # The environment whose action is the update goes where the other one goes.
        moved = update_env.step({}, state, (delta,))[0].params
        state = env.step({}, state, action)[0]
        flat = [ravel_pytree(tree)[0] for tree in (delta, moved, state.params)]
        return state, scale * mu, lost, flat

    state = env.reset(jax.random.key(2), {}, jnp.int32(10))
    for _ in range(3):
        state, scaled, lost, (delta, moved, params) = step(state)
        np.testing.assert_allclose(scaled, delta, rtol=2e-4, atol=1e-8)
        np.testing.assert_allclose(moved, params, rtol=1e-6)
        assert float(jnp.max(jnp.abs(delta))) > 1e-6
        assert not bool(lost)


def test_what_the_buffer_keeps_gives_back_the_probabilities_it_was_played_with():
    _, rollout, actor, mean = played("two tensors")
    samples = rollout.samples
    mu = jax.vmap(lambda m: mean(actor.theta, m.signal, m.seen))(samples.moment)
    again = ppo_rollout.log_prob(samples.action, mu, actor.log_std)
    assert again.shape == (4, 10)
    np.testing.assert_allclose(again, samples.log_prob, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ratio", ppo_update.PPO_RATIOS)
def test_at_ratio_one_the_gradient_is_the_plain_policy_gradient(ratio):
    _, rollout, actor, mean = played("two tensors")
    sample = jax.tree.map(lambda leaf: leaf[1], rollout.samples)
    moment = sample.moment

    def log_probs(theta, log_std):
        mu = mean(theta, moment.signal, moment.seen)
        return ppo_rollout.log_prob(sample.action, mu, log_std)

    at = (actor.theta, actor.log_std)
    old = log_probs(*at)

    def clipped(theta, log_std):
        d = log_probs(theta, log_std) - old
        return ppo_update.surrogate(d, jnp.float32(-1.5), 0.2, ratio)

    def plain(theta, log_std):
        reduce = jnp.sum if ratio == "joint" else jnp.mean
        return -1.5 * reduce(log_probs(theta, log_std))

    found, expected = (jax.grad(f, argnums=(0, 1))(*at) for f in (clipped, plain))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        found,
        expected,
    )
    assert float(jnp.linalg.norm(ravel_pytree(found)[0])) > 1e-3


def test_the_clip_is_each_parameter_s_own_or_one_for_all():
    log_ratio = jnp.log(jnp.array([1.5, 0.5, 1.1]))
    gain = {
        ratio: jax.value_and_grad(
            lambda d, ratio=ratio: ppo_update.surrogate(d, jnp.ones(()), 0.2, ratio)
        )(log_ratio)
        for ratio in ppo_update.PPO_RATIOS
    }
    # A = 1: gains are capped at 1.2, losses are not.
    np.testing.assert_allclose(gain["parameter"][0], (1.2 + 0.5 + 1.1) / 3, rtol=1e-6)
    np.testing.assert_allclose(gain["parameter"][1], [0.0, 0.5 / 3, 1.1 / 3], rtol=1e-6)
    product = 1.5 * 0.5 * 1.1
    np.testing.assert_allclose(gain["joint"][0], product, rtol=1e-6)
    np.testing.assert_allclose(gain["joint"][1], [product] * 3, rtol=1e-6)
    mean = product ** (1 / 3)
    np.testing.assert_allclose(gain["geometric"][0], mean, rtol=1e-6)
    np.testing.assert_allclose(gain["geometric"][1], [mean / 3] * 3, rtol=1e-6)
    # A joint ratio far outside stops everybody, and none overflows.
    far = jnp.full(100, 1.0)
    one = jnp.ones(())
    assert not np.any(jax.grad(ppo_update.surrogate)(far, one, 0.2, "joint"))
    assert np.isfinite(ppo_update.surrogate(far, -one, 0.2, "joint"))


def test_a_lost_episode_is_charged_to_its_horizon_and_is_no_sample():
    # The loss is NaN beyond |φ| = 1.05; steps of several units get there soon.
    state, rollout, *_ = played("fragile", scale=30.0)
    samples = rollout.samples
    assert bool(state.dead)
    assert bool(rollout.dead)
    first = int(np.argmin(samples.usable))
    assert 1 <= first <= 3
    assert not np.any(samples.usable[first:])
    remaining = 4 - np.arange(first, 4)
    np.testing.assert_allclose(samples.target[first:], -2 / 4 * remaining, rtol=1e-6)
    # The step that killed it is blamed for all that follows.
    assert float(samples.advantage[first - 1]) < -2 / 4 * remaining[0]
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(samples) if x.size)


def test_what_a_lost_episode_still_pays():
    t, horizon = jnp.int32(1), jnp.int32(4)

    def worth(**changes):
        credit = OUTER_LOSS._replace(**changes)
        return float(ppo_rollout.lost_value(t, horizon, credit))

    assert worth() == -1.5
    assert worth(gamma=0.5) == pytest.approx(-0.5 * (1 + 0.5 + 0.25))
    assert worth(gamma=0.5, bootstrap=True) == pytest.approx(-0.5 * 2)
    assert worth(aggregation="final") == -2.0
    assert worth(aggregation="final", gamma=0.5) == pytest.approx(-2 * 0.25)
    assert ppo_rollout.lost_value(
        horizon, horizon, OUTER_LOSS._replace(aggregation="final")
    ) == pytest.approx(0.0)
