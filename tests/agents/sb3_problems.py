"""stable-baselines3 on tiny problems: what several tests use."""

from typing import Any

import pytest
import torch
from stable_baselines3 import TD3
from stable_baselines3.common.vec_env import VecMonitor

import learned
from agents.rl.sb3.sb3_policy import PerParameterPolicy, PerParameterPPO
from agents.rl.sb3.sb3_td3_policy import PerParameterTD3Policy
from agents.rl.sb3.sb3_vec_env import Sb3VecEnv
from agents.rl.sb3.sb3_weights import update_settings
from tests.gym.problems import quadratic, vector

SCALE = 0.05


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mlp(squashing="clip", **settings) -> Any:
    """Steps of about the box's half-width."""
    given = {"action_scale": SCALE, "step_multiplier": SCALE, "exp_multiplier": 0.1}
    return learned.make("mlp", squashing=squashing, **{**given, **settings})


def adapted(num_envs=3, dims=3, optimizer=None, *, monitor=False, **keywords) -> Any:
    shown = {} if optimizer is None else {"features": optimizer.features, "horizon": 10}
    adapter = {k: keywords.pop(k) for k in ("bootstrap", "bounded") if k in keywords}
    envs = vector(
        num_envs, task=quadratic(dims), autoreset_mode="SameStep", **shown, **keywords
    )
    env = Sb3VecEnv(envs, **adapter)
    return VecMonitor(env) if monitor else env


def ppo(optimizer, env, **settings) -> Any:
    kwargs = {"settings": tuple(update_settings(optimizer))}
    kwargs |= {k: settings.pop(k) for k in ("ratio", "log_std_init") if k in settings}
    given = {"n_steps": 10, "batch_size": 15, "n_epochs": 2, "gamma": 1.0, "seed": 0}
    return PerParameterPPO(
        PerParameterPolicy,
        env,
        policy_kwargs=kwargs,
        device="cpu",
        **{**given, **settings},
    )


def td3(optimizer, env, **settings) -> Any:
    kwargs = {"settings": tuple(update_settings(optimizer))}
    return TD3(
        PerParameterTD3Policy,
        env,
        buffer_size=1000,
        policy_kwargs=kwargs,
        device="cpu",
        seed=0,
        **settings,
    )
