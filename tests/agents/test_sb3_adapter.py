"""Our vector environment as stable-baselines3 sees it."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from agents.rl.sb3.sb3_vec_env import Sb3VecEnv, check_rollout_size
from tests.agents.sb3_problems import adapted, mlp, one_thread, ppo, td3  # noqa: F401
from tests.gym.problems import ID, quadratic, vector


def test_the_adapter_shows_what_the_environments_do():
    theirs = vector(autoreset_mode="SameStep")
    env = adapted()
    env.seed(5)
    observation, _ = theirs.reset(seed=5)
    np.testing.assert_array_equal(env.reset(), observation)
    for t in range(7):
        actions = np.full((3, 3), 0.1 * t, np.float32)
        observation, reward, _, truncated, info = theirs.step(actions)
        shown, paid, done, infos = env.step(actions)
        np.testing.assert_array_equal(shown, observation)
        np.testing.assert_array_equal(paid, reward.astype(np.float32))
        np.testing.assert_array_equal(done, truncated)
        assert paid.dtype == np.float32
        assert shown.flags.writeable
        assert paid.flags.writeable
        assert len({id(one) for one in infos}) == 3  # wrappers write into them
        if not done.any():
            assert infos == [{}, {}, {}]
            continue
        for i, one in enumerate(infos):
            np.testing.assert_array_equal(
                one["terminal_observation"], info["final_obs"][i]
            )
            assert one["TimeLimit.truncated"] is False
            assert one["cost"] == info["final_info"]["cost"][i]


def test_observations_are_not_copied(monkeypatch):
    env = adapted()
    env.reset()
    given = []

    def step(actions):
        given.append(type(env.envs).step(env.envs, actions))
        return given[-1]

    monkeypatch.setattr(env.envs, "step", step)
    assert env.step(np.zeros((3, 3), np.float32))[0] is given[0][0]


def test_truncation_is_told_only_where_asked_and_divergence_never_is():
    env = adapted(bootstrap=True)
    env.reset()
    *_, infos = (env.step(np.zeros((3, 3), np.float32))[3] for _ in range(5))
    assert [one["TimeLimit.truncated"] for one in infos] == [True] * 3
    actions = np.zeros((3, 3), np.float32)
    actions[1] = np.nan
    _, reward, done, infos = env.step(actions)
    assert done.tolist() == [False, True, False]
    assert infos[1]["TimeLimit.truncated"] is False
    assert reward[1] == -2.0  # the whole episode is charged


def test_a_monitored_return_is_minus_the_mean_cost():
    env = adapted(monitor=True)
    env.seed(0)
    env.reset()
    costs = np.zeros(3)
    probe = vector(autoreset_mode="SameStep")
    probe.reset(seed=0)
    for _ in range(5):
        actions = np.full((3, 3), 0.3, np.float32)
        infos = env.step(actions)[3]
        info = probe.step(actions)[4]
        costs += info["final_info"]["cost"] if "final_info" in info else info["cost"]
    returns = [one["episode"]["r"] for one in infos]
    np.testing.assert_allclose(returns, -costs / 5, rtol=1e-5)
    assert [one["episode"]["l"] for one in infos] == [5] * 3


def test_mistakes_in_adapting_are_named():
    with pytest.raises(ValueError, match=r"autoreset_mode='SameStep'.*NEXT_STEP"):
        Sb3VecEnv(vector())
    with pytest.raises(ValueError, match="output='numpy', got 'jax'"):
        Sb3VecEnv(vector(autoreset_mode="SameStep", output="jax"))
    env = adapted()
    env.set_options([{"task_seed": 0}, {}, {}])
    with pytest.raises(ValueError, match="all rows take the same options"):
        env.reset()
    for call in (env.set_attr, env.env_method):
        with pytest.raises(NotImplementedError, match="got 'horizon'"):
            call("horizon", 3)
    assert env.get_attr("horizon") == [5] * 3
    assert env.env_is_wrapped(gym.Wrapper) == [False] * 3


def test_a_buffer_that_is_too_large_is_refused_with_the_arithmetic():
    assert check_rollout_size(50, 64, (10, 31)) == 50 * 64 * 10 * 31 * 4
    message = (
        r"50 steps × 64 environments × 10000 × 31 numbers × 4 bytes = 3.97 GB exceeds"
    )
    with pytest.raises(ValueError, match=message):
        check_rollout_size(50, 64, (10_000, 31))
    with pytest.raises(ValueError, match=r"4 bytes × 2 observations = 2.48 GB"):
        check_rollout_size(1000, 1, (10_000, 31), copies=2)
    with pytest.raises(ValueError, match="environments × 3 × 31 numbers"):
        ppo(mlp(), adapted(optimizer=mlp()), n_steps=10**7)


@pytest.mark.slow
def test_stock_ppo_learns_on_hyperparameters():
    env = adapted(action="hyperparameters", level="global", monitor=True)
    model: Any = PPO("MlpPolicy", env, n_steps=5, batch_size=15, device="cpu", seed=0)
    before = model.policy.action_net.weight.detach().clone()
    model.learn(30)
    assert model.num_timesteps == 30
    assert len(model.ep_info_buffer) == 6
    assert not torch.equal(model.policy.action_net.weight, before)


def test_infos_hold_each_step_s_numbers_on_request():
    given = {"task": quadratic(), "horizon": 3, "autoreset_mode": "SameStep"}
    envs = Sb3VecEnv(gym.make_vec(ID, num_envs=2, **given), step_infos=True)
    envs.reset()
    assert [{*info} for info in envs.reset_infos] == [
        {"train_loss", "inner_step", "diverged"}
    ] * 2
    for step in range(3):
        _, _, _, infos = envs.step(np.zeros((2, 3), np.float32))
        assert all({"loss", "cost"} <= {*info} for info in infos)
        assert all("terminal_observation" in info for info in infos) == (step == 2)
    quiet = Sb3VecEnv(gym.make_vec(ID, num_envs=2, **given))
    quiet.reset()
    assert quiet.step(np.zeros((2, 3), np.float32))[3] == [{}, {}]


def test_options_that_change_shapes_are_refused():
    given = {"horizon": 3, "autoreset_mode": "SameStep", "data": "embedded"}
    envs = Sb3VecEnv(gym.make_vec("OptTask-quadratic-v0", num_envs=2, **given))
    shape: Any = envs.observation_space.shape
    envs.set_options({"task_seed": 94})
    with pytest.raises(ValueError, match=rf"from \({shape[0]}, \d+\) to \(10, \d+\)"):
        envs.reset()
    assert envs.reset().shape == (2, *shape)
