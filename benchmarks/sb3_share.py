"""The share of PPO's wall time that our environment and its adapter take.

stable-baselines3's PPO on quadratics with 10 weights, 256 environments, horizon 50, one thread
of torch. An iteration is a rollout of one episode and 4 passes in 8 minibatches, which is
little learning for a rollout (SB3's defaults are 10 passes in minibatches of 64), and so hard
on us. With the policy shared over parameters, and with SB3's own MlpPolicy.
"""

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym

import opt_gym  # noqa: F401 — registers the ids
from envs_registry.benchmark_sets import QUADRATIC_10

NUM_ENVS, HORIZON, ITERATIONS = 256, 50, 5


def alone() -> dict[str, Any]:
    """There is no baseline to leave out."""
    return run()


def run() -> dict[str, Any]:
    """By policy: shares of wall time, and environment steps a second."""
    import torch

    torch.set_num_threads(1)
    found: dict[str, Any] = {"num_envs": NUM_ENVS, "horizon": HORIZON}
    for name in ("per_parameter", "stock_mlp"):
        found |= {f"{name}_{key}": value for key, value in _measure(name).items()}
    return found


def _measure(name: str) -> dict[str, float]:
    from agents.rl.sb3.sb3_vec_env import Sb3VecEnv

    envs = gym.make_vec(
        "OptTask-quadratic-v0",
        num_envs=NUM_ENVS,
        task=QUADRATIC_10,
        horizon=HORIZON,
        autoreset_mode="SameStep",
    )
    adapter = Sb3VecEnv(envs)
    model = _model(name, adapter)
    size = NUM_ENVS * HORIZON
    model.learn(size)  # compiles
    inside = {"env": 0.0, "both": 0.0}
    _clock(envs, "step", inside, "env")
    _clock(adapter, "step_wait", inside, "both")
    began = time.perf_counter()
    model.learn(ITERATIONS * size, reset_num_timesteps=False)
    seconds = time.perf_counter() - began
    return {
        "share_of_env_and_adapter": inside["both"] / seconds,
        "share_of_adapter": (inside["both"] - inside["env"]) / seconds,
        "ms_a_step": 1e3 * inside["both"] / (ITERATIONS * HORIZON),
        "env_steps_per_s": ITERATIONS * size / seconds,
    }


def _model(name: str, env: Any) -> Any:
    from stable_baselines3 import PPO

    import learned
    from agents.rl.sb3.sb3_policy import PerParameterPolicy, PerParameterPPO
    from agents.rl.sb3.sb3_weights import update_settings

    settings: dict[str, Any] = {
        "n_steps": HORIZON,
        "batch_size": NUM_ENVS * HORIZON // 8,
        "n_epochs": 4,
        "gamma": 1.0,
        "device": "cpu",
        "seed": 0,
    }
    if name == "stock_mlp":
        return PPO("MlpPolicy", env, **settings)
    shared = {"settings": tuple(update_settings(learned.make("mlp")))}
    return PerParameterPPO(PerParameterPolicy, env, policy_kwargs=shared, **settings)


def _clock(owner: Any, method: str, seconds: dict[str, float], name: str) -> None:
    """Adds up the time in a method of this object."""
    call: Callable[..., Any] = getattr(owner, method)

    def timed(*args: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*args)
        finally:
            seconds[name] += time.perf_counter() - began

    setattr(owner, method, timed)
