"""TD3 of stable-baselines3 with a policy shared over parameters.

The actor is the architecture "mlp" with squashing "tanh" (agents/rl/sb3/sb3_td3_policy.py);
noise is added to its actions while it learns. The replay buffer is not part of a checkpoint:
a resumed run says so and fills a new one.
"""

from functools import partial
from typing import Any

import numpy as np

from agents.estimators.trainer_record import settings_among
from agents.records import OuterTrainer, TrainerTraits
from agents.rl.sb3.sb3_trainer import check_settings, sb3_trainer
from agents.task_mixes import TaskMix
from opt_gym.checks import check_between
from opt_gym.plugins import Spec
from opt_gym.records import LearnedOptimizer


def make(
    *,
    mix: TaskMix,
    learned_optimizer: LearnedOptimizer,
    num_envs: int = 16,
    horizon: int = 50,
    num_updates: int = 200,
    batch_size: int = 256,
    buffer_size: int = 50_000,
    learning_rate: float = 1e-3,
    noise: float = 0.2,
    tau: float = 0.005,
    policy_delay: int = 2,
    critic_hidden: int = 32,
    gamma: float = 1.0,
    bootstrap: bool = False,
    aggregation: str = "mean",
) -> OuterTrainer:
    """The outer-trainer.

    Args:
        mix: the tasks.
        learned_optimizer: of the architecture "mlp", squashing "tanh".
        num_envs, horizon: an outer step is one episode of `horizon` inner steps in each.
        num_updates, batch_size: gradient steps of the critics after that, and their batch.
        buffer_size: inner steps that are kept, of every task.
        learning_rate: of Adam.
        noise: standard deviation of what is added to actions, in units of `action_scale`.
        tau: how far the targets move at an update.
        policy_delay: updates of the critics for one of the actor.
        critic_hidden: units of the critics' layers.
        gamma, bootstrap, aggregation: as those of "sb3_ppo".

    Raises:
        ValueError: a setting out of its range, or a replay buffer above 2 GB.
    """
    settings = settings_among(locals())
    whole = (
        "num_updates",
        "batch_size",
        "buffer_size",
        "policy_delay",
        "critic_hidden",
    )
    check_settings(settings, whole, ("learning_rate", "noise", "tau"))
    check_between("tau", tau, 0.0, 1.0, closed="right")
    build = partial(_model, settings)
    return sb3_trainer("sb3_td3", settings, mix, learned_optimizer, ("tanh",), build)


def _model(settings: dict[str, Any], vec_env: Any, update_settings: Any) -> Any:
    """The model of stable-baselines3."""
    from stable_baselines3 import TD3
    from stable_baselines3.common.noise import NormalActionNoise

    from agents.rl.sb3.sb3_td3_policy import PerParameterTD3Policy
    from agents.rl.sb3.sb3_vec_env import check_rollout_size

    num_envs = settings["num_envs"]
    steps_of_each = settings["buffer_size"] // num_envs
    shape = vec_env.observation_space.shape
    check_rollout_size(steps_of_each, num_envs, shape, copies=2)
    zeros = np.zeros(vec_env.action_space.shape, np.float32)
    passed_on = (
        "learning_rate",
        "buffer_size",
        "batch_size",
        "tau",
        "gamma",
        "policy_delay",
    )
    return TD3(
        PerParameterTD3Policy,
        vec_env,
        learning_starts=0,
        train_freq=(settings["horizon"], "step"),
        gradient_steps=settings["num_updates"],
        action_noise=NormalActionNoise(zeros, zeros + settings["noise"]),
        policy_kwargs={
            "settings": tuple(update_settings),
            "critic_hidden": settings["critic_hidden"],
        },
        device="cpu",
        **{name: settings[name] for name in passed_on},
    )


SPEC = Spec(
    kind="trainer",
    name="sb3_td3",
    make=make,
    source="Fujimoto et al. 2018, arXiv:1802.09477; stable-baselines3 (Raffin et al. 2021)",
    traits=TrainerTraits(
        architecture_options={"action_scale": 0.1, "squashing": "tanh"},
        settings={"num_envs": 64},
    ),
)
