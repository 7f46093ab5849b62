"""Two minutes of stock PPO on the learning rate and momentum of SGD, on quadratics.

stable-baselines3's PPO with its own MlpPolicy, action "hyperparameters" at level "global",
horizon 50, γ = 1, one thread of torch, a rollout of one episode of 64 environments, Adam at
1e-3 and noise of e^-0.5 at first. (SB3's default noise of 1 is six decades of learning rate:
on 10 weights it then learned, in a minute, to be careful; with e^-1 it never found the small
rates that the default task needs. One seed each.) Mean returns of the same 100 evaluation
episodes (deterministic policy): before training, after it, and of SGD with the constant
learning rate 1e-3; the median of three seeds. On quadratics of 10 weights, and on the task of
the id OptTask-quadratic-v0, whose losses are so large that SGD diverges from 1e-5 on.
"""

import statistics
import time
from typing import Any

import gymnasium as gym
import numpy as np

import opt_gym  # noqa: F401 — registers the ids
from envs_registry.benchmark_sets import QUADRATIC_10

ID = "OptTask-quadratic-v0"
TASKS: dict[str, dict[str, Any]] = {"10_weights": {"task": QUADRATIC_10}, "default": {}}
NUM_ENVS, EPISODES, HORIZON = 64, 100, 50
SECONDS, SEEDS = 120.0, (0, 1, 2)
PLAIN_SGD: Any = (0.0, -10.0)
"""The action of lr 10^(3·0 − 3) and momentum sigmoid(2.2 − 46) = 1e-19."""


def alone() -> dict[str, Any]:
    """There is no baseline to leave out."""
    return run()


def run() -> dict[str, Any]:
    """By task: median returns before and after, of the constant rate, and whether it won."""
    import torch

    torch.set_num_threads(1)
    found: dict[str, Any] = {"seconds": SECONDS, "seeds": len(SEEDS)}
    for name, task in TASKS.items():
        rows = [_one_seed(seed, task) for seed in SEEDS]
        medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        won = medians["after"] > max(medians["before"], medians["constant"])
        found |= {f"{name}_{key}": value for key, value in medians.items()}
        found |= {f"{name}_all_after": [round(row["after"], 4) for row in rows]}
        found |= {f"{name}_beats_both": won}
    return found


def _one_seed(seed: int, task: dict[str, Any]) -> dict[str, float]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.vec_env import VecMonitor

    from agents.rl.sb3.sb3_vec_env import Sb3VecEnv

    class Clock(BaseCallback):
        """Ends training when the time is over."""

        def _on_step(self) -> bool:
            return time.perf_counter() - began < SECONDS

    model = PPO(
        "MlpPolicy",
        VecMonitor(Sb3VecEnv(_envs(NUM_ENVS, task))),
        n_steps=HORIZON,
        batch_size=NUM_ENVS * HORIZON // 10,
        gamma=1.0,
        device="cpu",
        learning_rate=1e-3,
        policy_kwargs={"log_std_init": -0.5},
        seed=seed,
    )

    def policy(observation: np.ndarray) -> np.ndarray:
        return model.predict(observation, deterministic=True)[0]

    before = _mean_return(policy, task)
    began = time.perf_counter()
    model.learn(10**9, callback=Clock())
    constant = np.tile(np.float32(PLAIN_SGD), (EPISODES, 1))
    return {
        "before": before,
        "after": _mean_return(policy, task),
        "constant": _mean_return(lambda _: constant, task),
        "inner_steps": float(model.num_timesteps),
    }


def _envs(num_envs: int, task: dict[str, Any]) -> gym.vector.VectorEnv:
    return gym.make_vec(
        ID,
        num_envs=num_envs,
        horizon=HORIZON,
        action="hyperparameters",
        level="global",
        autoreset_mode="SameStep",
        **task,
    )


def _mean_return(policy: Any, task: dict[str, Any]) -> float:
    envs = _envs(EPISODES, task)
    observation, _ = envs.reset(seed=10_000)
    total, going = np.zeros(EPISODES), np.ones(EPISODES, bool)
    for _ in range(HORIZON):
        observation, reward, terminated, truncated, _ = envs.step(policy(observation))
        total += np.where(going, reward, 0.0)
        going &= ~(terminated | truncated)
    return float(total.mean())
