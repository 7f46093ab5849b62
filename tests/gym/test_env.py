import json
import subprocess
import sys
import warnings

import gymnasium as gym
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import (
    JaxToNumpy,
    NormalizeObservation,
    RecordEpisodeStatistics,
    TimeLimit,
)

import opt_gym
from envs_registry.names import families
from opt_gym.gym.env import OptEnv
from opt_gym.gym.vector import OptVectorEnv
from opt_gym.plugins import build
from opt_gym.records import Task
from tests.gym import problems

KNOWN_WARNINGS = (
    "observation space minimum value is -infinity",
    "observation space maximum value is infinity",
    "unconventional shape",
)


def unwrapped(**keywords) -> OptEnv:
    env = problems.single(**keywords).unwrapped
    assert isinstance(env, OptEnv)
    return env


def assert_checkers_pass(env: gym.Env) -> None:
    from stable_baselines3.common.env_checker import check_env as sb3_check_env

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
        sb3_check_env(env)
    for warning in caught:
        assert any(known in str(warning.message) for known in KNOWN_WARNINGS), warning


def small_config(family: str) -> dict:
    """A cheap config of any family, drawn as the registered id draws its own."""
    if family == "quadratic":
        return problems.quadratic()
    if family == "small_mlp":
        return problems.SMALL_MLP
    config = opt_gym.task_config(family)
    smaller = {
        "mlp": {"layer_sizes": [4], "dataset": ["mnist", {"bs": 8}, None]},
        "conv_pooling": {
            "cnn_def": None,
        },
    }
    return {**config, **smaller.get(family, {})}


