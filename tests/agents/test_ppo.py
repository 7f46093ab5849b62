"""PPO on the device: its numbers by hand, its promises, and that it learns."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

import agents
import learned
import opt_gym
from agents.trainers import _critic, _ppo_programs, _ppo_rollout, _ppo_update
from agents.trainers._ppo_rollout import Actor, Credit
from opt_gym.records import Batch, EnvState
from tests import toy

OUTER_LOSS = Credit(gamma=1.0, gae_lambda=0.95, bootstrap=False)
SMALL = {"num_envs": 8, "num_steps": 4, "horizon": 4, "num_minibatches": 2}


def two_tensors():
    """(|W v − 1|² + |b|²) / 20, so that there is more than one tensor, of different ranks."""

    def loss(key, params, instance, batch):
        weight, bias = params
        residual = weight @ jnp.arange(3.0) - 1.0
        return (jnp.sum(residual**2) + jnp.sum(bias**2)) / 20.0, {}

    def init(key, data):
        k_weight, k_bias = jax.random.split(key)
        return (
            jax.random.normal(k_weight, (2, 3)),
            jax.random.normal(k_bias, (4,)),
        ), ()

    return toy.quadratic()._replace(
        roles=("kernel", "bias"),
        init=init,
        loss=loss,
        sample_batch=lambda key, data, instance, split: Batch((), ()),
    )


def env_for(optimizer, task=None):
    return opt_gym.make(
        task or toy.quadratic(), learned_optimizer=optimizer, normalizer=toy.NORMALIZER
    )


def trainer(optimizer=None, envs=None, learning_rate=1e-2, **settings):
    optimizer = optimizer or mlp()
    return agents.make(
        "ppo",
        envs=envs or [env_for(optimizer)],
        learned_optimizer=optimizer,
        outer_optimizer=optax.adam(learning_rate),
        **{**SMALL, "action_scale": 0.1, "critic_hidden": 8, **settings},
    )


@cache
def mlp():
    return learned.make("mlp", hidden=8, step_multiplier=0.1)


@cache  # one compilation for all that look at it; two windows an episode
def shared_trainer():
    return trainer(
        envs=[env_for(mlp(), toy.quadratic(noise=0.1))],
        num_envs=32,
        num_steps=5,
        horizon=10,
        theta_average=0.5,
    )


class Played(NamedTuple):
    """A window of one environment, and who played it."""

    state: EnvState
    rollout: _ppo_rollout.Rollout
    actor: Actor
    mean: _ppo_rollout.Mean


TASKS = {
    "quadratic": toy.quadratic,
    "two tensors": two_tensors,
    "fragile": lambda: toy.quadratic(dies_above=1.05),
}


@cache
def player(task, credit, scale):
    env = _ppo_rollout.update_env(env_for(mlp(), TASKS[task]()), mlp())
    mean = _ppo_rollout.policy_mean(mlp(), env.task.roles, scale)

    @jax.jit
    def play(actor, key, horizon):
        k_reset, k_noise = jax.random.split(key)
        state = env.reset(k_reset, {}, horizon)
        size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        noise = jax.random.normal(k_noise, (4, size))
        return _ppo_rollout.play(env, mean, actor, {}, state, noise, scale, credit)

    return play, mean


def played(task="quadratic", *, credit=OUTER_LOSS, scale=0.1, horizon=4, value=0.0):
    """Four steps of a fresh actor, whose critic says `value` everywhere."""
    play, mean = player(task, credit, scale)
    k_theta, k_critic, k_play = jax.random.split(jax.random.key(0), 3)
    critic = _critic.init(k_critic, mlp().features, 8) | {"d": jnp.float32(value)}
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
    found = _ppo_rollout.advantages(reward, value, next_value, end, credit=credit)
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
    update_env = _ppo_rollout.update_env(env, optimizer)
    theta = optimizer.init_theta(jax.random.key(1))
    roles, scale = env.task.roles, 0.01
    mean = _ppo_rollout.policy_mean(optimizer, roles, scale)

    @jax.jit
    def step(state):
        signal, observation = env.observe(state)
        _, mu, lost = _ppo_rollout.observe(env, mean, theta, state)
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
    again = _ppo_rollout.log_prob(samples.action, mu, actor.log_std)
    assert again.shape == (4, 10)
    np.testing.assert_allclose(again, samples.log_prob, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("ratio", _ppo_update.RATIOS)
def test_at_ratio_one_the_gradient_is_the_plain_policy_gradient(ratio):
    _, rollout, actor, mean = played("two tensors")
    sample = jax.tree.map(lambda leaf: leaf[1], rollout.samples)
    moment = sample.moment

    def log_probs(theta, log_std):
        mu = mean(theta, moment.signal, moment.seen)
        return _ppo_rollout.log_prob(sample.action, mu, log_std)

    at = (actor.theta, actor.log_std)
    old = log_probs(*at)

    def clipped(theta, log_std):
        d = log_probs(theta, log_std) - old
        return _ppo_update.surrogate(d, jnp.float32(-1.5), 0.2, ratio)

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
            lambda d, ratio=ratio: _ppo_update.surrogate(d, jnp.ones(()), 0.2, ratio)
        )(log_ratio)
        for ratio in _ppo_update.RATIOS
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
    assert not np.any(jax.grad(_ppo_update.surrogate)(far, one, 0.2, "joint"))
    assert np.isfinite(_ppo_update.surrogate(far, -one, 0.2, "joint"))


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
        return float(_ppo_rollout.lost_value(t, horizon, credit))

    assert worth() == -1.5
    assert worth(gamma=0.5) == pytest.approx(-0.5 * (1 + 0.5 + 0.25))
    assert worth(gamma=0.5, bootstrap=True) == pytest.approx(-0.5 * 2)
    assert worth(aggregation="final") == -2.0
    assert worth(aggregation="final", gamma=0.5) == pytest.approx(-2 * 0.25)
    assert _ppo_rollout.lost_value(
        horizon, horizon, OUTER_LOSS._replace(aggregation="final")
    ) == pytest.approx(0.0)


def test_diverging_environments_never_poison_theta():
    # 7 environments: on one device.
    env = env_for(mlp(), TASKS["fragile"]())
    run = trainer(envs=[env], num_envs=7, action_scale=1.0, num_epochs=1)
    result = agents.train(run, [{}], outer_steps=4)
    assert all(report.dropped > 0 for report in result.reports)
    assert np.all(np.isfinite(np.array(result.reports)))
    assert np.all(np.isfinite(ravel_pytree(result.state.learner)[0]))


@pytest.mark.slow
def test_tasks_of_other_sizes_take_turns_with_one_theta_and_critic():
    envs = [env_for(mlp(), TASKS[name]()) for name in ("quadratic", "two tensors")]
    run = trainer(envs=envs, num_envs=16, learning_rate=3e-3)
    result = agents.train(run, [{}, {}], outer_steps=60)
    for task, shapes in enumerate([((16, 1),), ((16, 2, 3), (16, 4))]):
        env = result.state.slots[task].env
        assert jax.tree.map(jnp.shape, env.params) == shapes
        losses = [report.outer_loss for report in result.reports[task::2]]
        assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])


def test_a_resumed_run_is_the_unbroken_run_bit_for_bit(tmp_path):
    run = shared_trainer()
    unbroken = agents.train(run, [{}], outer_steps=5)
    agents.train(run, [{}], outer_steps=2, out=tmp_path)
    resumed = agents.train(run, [{}], outer_steps=5, out=tmp_path, resume=True)
    jax.tree.map(np.testing.assert_array_equal, resumed.theta, unbroken.theta)
    jax.tree.map(
        np.testing.assert_array_equal, resumed.state.learner, unbroken.state.learner
    )
    assert resumed.reports == unbroken.reports[2:]


@pytest.mark.slow
def test_so_is_one_whose_tasks_take_turns_at_being_live(tmp_path):
    envs = [env_for(mlp(), TASKS[name]()) for name in ("quadratic", "two tensors")]
    run = trainer(envs=agents.task_mix(envs, max_programs=1, refresh_every=2))
    unbroken = agents.train(run, [{}, {}], outer_steps=5)
    assert list(unbroken.state.slots) == [0]
    agents.train(run, [{}, {}], outer_steps=3, out=tmp_path)
    resumed = agents.train(run, [{}, {}], outer_steps=5, out=tmp_path, resume=True)
    jax.tree.map(np.testing.assert_array_equal, resumed.theta, unbroken.theta)
    assert resumed.reports == unbroken.reports[3:]


def test_theta_is_an_unbiased_average_over_outer_steps():
    run = shared_trainer()
    thetas = []
    result = agents.train(
        run,
        [{}],
        outer_steps=3,
        callbacks=[lambda p: thetas.append(p.state.learner.actor.theta["b"])],
    )
    weights = np.array([0.25, 0.5, 1.0])[:, None] / 1.75
    np.testing.assert_allclose(
        result.theta["b"], np.sum(weights * np.array(thetas), 0), rtol=1e-5, atol=1e-8
    )


def test_windows_are_parts_of_episodes_with_staggered_first_ones():
    run, key = shared_trainer(), jax.random.key(0)
    state = run.init(key, ({},), mlp().init_theta(key))
    done, moments = [], []
    for i in range(3):
        state, report = run.step(jax.random.fold_in(key, i), ({},), state)
        done.append(np.asarray(state.slots[0].done))
        moments.append(np.asarray(state.slots[0].env.t))
    first = np.arange(32) < 16  # their first episode is one window long
    np.testing.assert_array_equal(done, [first, ~first, first])
    np.testing.assert_array_equal(moments[1], np.where(first, 5, 10))
    assert np.all(np.asarray(state.slots[0].env.horizon) == 10)
    assert int(report.inner_steps) == 32 * 5


def test_it_learns():
    result = agents.train(shared_trainer(), [{}], outer_steps=40)
    losses = [report.outer_loss for report in result.reports]
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:2])
    assert float(result.state.learner.actor.log_std) < -0.1  # it became surer


@pytest.mark.slow
def test_large_environments_go_one_after_the_other_to_the_same_end(monkeypatch):
    ends = []
    for tiny in (0, 50):
        monkeypatch.setattr(_ppo_programs, "TINY", tiny)
        ends.append(agents.train(trainer(), [{}], outer_steps=2).reports[-1])
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer >= 1, got 0"),
        ({"num_steps": 0}, "num_steps must be an integer >= 1, got 0"),
        ({"horizon": 6}, "horizon must be a multiple of num_steps, got 6 and 4"),
        ({"num_epochs": 0}, "num_epochs must be an integer >= 1"),
        ({"num_minibatches": 3}, "num_minibatches=3 must divide .* = (16|32)$"),
        ({"clip_range": 0.0}, "clip_range must be a number > 0"),
        ({"ratio": "jiont"}, "unknown ratio: 'jiont'; did you mean 'joint'"),
        ({"gamma": 1.1}, r"gamma must be in \[0, 1\], got 1.1"),
        ({"gae_lambda": -1.0}, r"gae_lambda must be in \[0, 1\]"),
        ({"bootstrap": True}, "bootstrap=True needs gamma < 1"),
        ({"aggregation": "last"}, "unknown aggregation: 'last'"),
        (
            {"bootstrap": True, "gamma": 0.9, "aggregation": "final"},
            "got gamma 0.9 and 'final'",
        ),
        ({"action_scale": 0.0}, "action_scale must be a number > 0"),
        ({"theta_average": 1.0}, r"theta_average must be in \[0, 1\), got 1.0"),
        ({"critic_hidden": 0}, "critic_hidden must be an integer >= 1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        trainer(**settings)


def test_what_it_cannot_train_is_refused_by_name():
    with pytest.raises(ValueError, match="cannot train 'lstm': it remembers"):
        trainer(learned.make("lstm"))
    memory = opt_gym.plugins.build("action", "hyperparameters", {"level": "parameter"})
    with pytest.raises(ValueError, match="action map 'hyperparameters' has a memory"):
        trainer(mlp()._replace(action_map=memory))
    with pytest.raises(ValueError, match=r"features are 'mlp'.*made for"):
        trainer(learned.make("nominal"), [env_for(mlp())])


def test_a_buffer_too_large_is_refused_with_the_arithmetic():
    run = trainer(max_buffer_gb=1e-6)
    with pytest.raises(
        ValueError, match=r"8 envs x 4 steps x \d+ numbers x 4 bytes = "
    ):
        run.init(jax.random.key(0), ({},), mlp().init_theta(jax.random.key(0)))
