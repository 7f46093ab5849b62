"""stable-baselines3's PPO and TD3 as outer-trainers."""

import sys
import tempfile
from functools import cache
from typing import Any

import jax
import numpy as np
import pytest
import torch
from gymnasium.utils import seeding

import agents
import learned
import opt_gym
from agents.rl.sb3 import sb3_trainer
from opt_gym.episode import start, unroll
from opt_gym.gym._core import draw_key
from tests.agents.sb3_problems import one_thread  # noqa: F401 — a fixture
from tests.gym.problems import quadratic

SMALL: dict[str, Any] = {
    "sb3_ppo": {"num_envs": 4, "horizon": 6, "num_minibatches": 3, "num_epochs": 2},
    "sb3_td3": {"num_envs": 4, "horizon": 6, "num_updates": 3, "batch_size": 8},
}
SQUASHING = {"sb3_ppo": "clip", "sb3_td3": "tanh"}


def mlp(squashing, **settings) -> Any:
    given = {"action_scale": 0.1, "step_multiplier": 0.02, "hidden": 8}
    return learned.make("mlp", squashing=squashing, **{**given, **settings})


@cache
def envs_of(optimizer_name, dims=(3, 2)):
    optimizer = mlp(SQUASHING[optimizer_name])
    envs = [opt_gym.make(quadratic(d), learned_optimizer=optimizer) for d in dims]
    return optimizer, envs, tuple(map(opt_gym.load_data, envs))


def trainer_of(name, dims=(3, 2), **settings):
    optimizer, envs, data = envs_of(name, dims)
    made = agents.make(
        name, envs=envs, learned_optimizer=optimizer, **{**SMALL[name], **settings}
    )
    return made, data


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow  # the kit asks every trainer for it, with less of the state
def test_a_resumed_run_of_ppo_is_the_unbroken_run_bit_for_bit(tmp_path):
    trainer, data = trainer_of("sb3_ppo")
    unbroken = agents.train(trainer, data, outer_steps=4)
    again, _ = trainer_of("sb3_ppo")
    agents.train(again, data, outer_steps=3, out=tmp_path)
    third, _ = trainer_of("sb3_ppo")
    resumed = agents.train(third, data, outer_steps=4, out=tmp_path, resume=True)
    same(resumed.theta, unbroken.theta)
    same(resumed.state, unbroken.state)
    assert resumed.reports[0].outer_loss == unbroken.reports[3].outer_loss


def test_a_second_run_of_one_trainer_is_that_of_a_fresh_one():
    trainer, data = trainer_of("sb3_ppo", dims=(3,))
    agents.train(trainer, data, outer_steps=2, seed=0)
    torch.manual_seed(1)
    np.random.seed(1)
    second = agents.train(trainer, data, outer_steps=2, seed=1)
    mine = float(torch.rand(())), np.random.rand()
    fresh, _ = trainer_of("sb3_ppo", dims=(3,))
    same(second.theta, agents.train(fresh, data, outer_steps=2, seed=1).theta)
    # The user's random numbers are not touched.
    torch.manual_seed(1)
    np.random.seed(1)
    assert mine == (float(torch.rand(())), np.random.rand())


def test_outer_steps_leave_no_folders_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    trainer, data = trainer_of("sb3_ppo", dims=(3,))
    agents.train(trainer, data, outer_steps=2)
    assert not list(tmp_path.iterdir())


def test_of_final_only_the_last_loss_is_paid_for():
    optimizer, envs, _ = envs_of("sb3_ppo", (3,))
    settings = {"num_envs": 2, "horizon": 3, "aggregation": "final", "bootstrap": False}
    vec_env = sb3_trainer._vec_env(envs[0], optimizer, settings)
    vec_env.reset()
    paid = []
    for _ in range(3):
        _, reward, _, infos = vec_env.step(np.zeros((2, 3), np.float32))
        paid.append(reward)
    np.testing.assert_array_equal(paid[:2], np.zeros((2, 2)))
    np.testing.assert_allclose(paid[2], [-info["cost"] for info in infos], rtol=1e-6)
    assert [info["episode"]["r"] for info in infos] == pytest.approx(paid[2], abs=1e-5)


def test_a_resumed_run_of_td3_says_that_it_is_not(tmp_path, caplog):
    trainer, data = trainer_of("sb3_td3", dims=(3,))
    agents.train(trainer, data, outer_steps=2, out=tmp_path)
    assert "replay" not in caplog.text
    again, _ = trainer_of("sb3_td3", dims=(3,))
    resumed = agents.train(again, data, outer_steps=4, out=tmp_path, resume=True)
    assert caplog.text.count("sb3_td3 goes on with an empty replay buffer") == 1
    assert int(resumed.state.num_updates) == 4 * SMALL["sb3_td3"]["num_updates"]


@pytest.mark.parametrize("name", ["sb3_ppo", "sb3_td3"])
def test_it_starts_from_theta_and_its_outer_loss_is_that_of_the_episodes(name):
    quiet: dict[str, Any] = {
        "sb3_ppo": {"log_std_init": -20.0},
        "sb3_td3": {"noise": 1e-9},
    }
    trainer, data = trainer_of(name, dims=(3,), **quiet[name])
    (env,), optimizer = trainer.envs, trainer.learned_optimizer
    theta = jax.jit(optimizer.init_theta)(jax.random.key(5))
    state = trainer.init(jax.random.key(0), data, theta)
    same(trainer.theta(state), theta)
    key = jax.random.key(7)
    state, report = trainer.step(key, data, state)
    with sb3_trainer._seeded(jax.random.fold_in(key, 0)) as seed:
        pass

    @jax.jit
    def outer_loss(words) -> Any:
        key = jax.random.wrap_key_data(words)
        begun = start(key, env, optimizer, theta, data[0], 6)
        return unroll(env, optimizer, theta, data[0], begun, 6)[1].cost.mean()

    keys = (draw_key(seeding.np_random(seed + i)[0]) for i in range(4))
    expected = np.mean([outer_loss(words) for words in keys])
    np.testing.assert_allclose(report.outer_loss, expected, rtol=1e-5)
    assert (report.inner_steps, report.dropped) == (24, 0)
    moved = trainer.theta(state)
    assert not np.array_equal(moved["w_rows"], theta["w_rows"])


def test_a_diverged_episode_is_counted_and_charged():
    optimizer = mlp("none", step_multiplier=1e6)
    env = opt_gym.make(quadratic(3), learned_optimizer=optimizer)
    trainer = agents.make(
        "sb3_ppo", envs=[env], learned_optimizer=optimizer, **SMALL["sb3_ppo"]
    )
    theta = jax.tree.map(
        lambda x: np.full(x.shape, 1e6, np.float32),
        jax.eval_shape(optimizer.init_theta, jax.random.key(0)),
    )
    data = (opt_gym.load_data(env),)
    state = trainer.init(jax.random.key(0), data, theta)
    _, report = trainer.step(jax.random.key(1), data, state)
    assert report.dropped == 24  # each first step blows up
    assert report.outer_loss == 2.0


def test_updates_that_are_not_finite_are_undone_and_counted():
    trainer, data = trainer_of("sb3_ppo", dims=(3,), learning_rate=1e30)
    theta = jax.jit(trainer.learned_optimizer.init_theta)(jax.random.key(5))
    state = trainer.init(jax.random.key(0), data, theta)
    after, report = trainer.step(jax.random.key(1), data, state)
    assert report.skipped == 1
    same(trainer.theta(after), theta)
    same(after._replace(turn=state.turn), state)


def test_the_discounted_form_begins_alike_and_learns_something_else():
    plain, data = trainer_of("sb3_ppo", dims=(3,))
    other, _ = trainer_of("sb3_ppo", dims=(3,), gamma=0.9, bootstrap=True)
    first, second = (agents.train(x, data, outer_steps=1) for x in (plain, other))
    assert first.reports[0].outer_loss == second.reports[0].outer_loss
    assert not np.array_equal(first.theta["w_rows"], second.theta["w_rows"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sb3_ppo", "sb3_td3"])
def test_it_learns(name):
    optimizer = mlp(SQUASHING[name], step_multiplier=0.01, hidden=32)
    env = opt_gym.make(quadratic(10), learned_optimizer=optimizer)
    trainer = agents.make(name, envs=[env], learned_optimizer=optimizer)
    reports = agents.train(trainer, [opt_gym.load_data(env)], outer_steps=40).reports
    assert all(report.grad_norm > 0.0 for report in reports)
    losses = [report.outer_loss for report in reports]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:2])


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ImportError, match=r"pip install 'opt-gym\[rl\]'"):
        trainer_of("sb3_ppo")


def test_mistakes_are_named():
    optimizer, envs, _ = envs_of("sb3_ppo")

    def make(name="sb3_ppo", optimizer=optimizer, envs=envs, **settings):
        return agents.make(name, envs=envs, learned_optimizer=optimizer, **settings)

    adam = learned.make("adam")
    of_adam = [opt_gym.make("quadratic", learned_optimizer=adam)]
    with pytest.raises(ValueError, match=r"trains the architecture 'mlp'.*got 'adam'"):
        make(optimizer=adam, envs=of_adam)
    with pytest.raises(ValueError, match=r"squashing for 'sb3_td3'.*'clip'.*tanh"):
        make("sb3_td3")
    with pytest.raises(ValueError, match="features are 'mlp'"):
        make(optimizer=mlp("clip", features="momenta"))
    with pytest.raises(ValueError, match=r"horizon must be an integer, got \("):
        make(horizon=(50, 1000))
    with pytest.raises(ValueError, match="learning_rate must be a number > 0, got 0"):
        make(learning_rate=0.0)
    with pytest.raises(ValueError, match=r"3200 steps .* 7 equal minibatches"):
        make(num_minibatches=7)
    with pytest.raises(ValueError, match=r"gamma must be in \(0, 1\], got 1.5"):
        make(gamma=1.5)
    with pytest.raises(ValueError, match=r"bootstrap=True .* needs gamma < 1"):
        make(bootstrap=True)
