"""A `make_vec` step, against Gymnasium's own vector environment for JAX.

Ours: a quadratic with 10 weights, 64 environments, numpy in and out. Theirs:
`FunctionalJaxVectorEnv` on its own CartPole, 64 environments. Random actions; the two take
turns, so that a slow moment of the machine meets both; the median of their rounds counts.
"""

import statistics
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.phys2d.cartpole import CartPoleJaxVectorEnv

import opt_gym  # noqa: F401 — registers the ids
from envs_registry.benchmark_sets import QUADRATIC_10

NUM_ENVS = 64
ROUNDS, STEPS = 10, 100


def alone() -> dict[str, Any]:
    """Vector steps a second of ours."""
    ours = _ours()
    rounds = [_seconds_a_step(ours, seed) for seed in range(ROUNDS + 1)]
    mine = 1.0 / statistics.median(rounds[1:])
    return {"num_envs": NUM_ENVS, "steps_per_s": mine}


def run() -> dict[str, Any]:
    """Vector steps a second of both and their ratio."""
    ours = _ours()
    theirs = CartPoleJaxVectorEnv(num_envs=NUM_ENVS, max_episode_steps=200)
    seconds = {name: [] for name in ("ours", "theirs")}
    for round_number in range(ROUNDS + 1):
        for name, envs in (("ours", ours), ("theirs", theirs)):
            measured = _seconds_a_step(envs, seed=round_number)
            if round_number > 0:  # the first one compiles
                seconds[name].append(measured)
    mine, baseline = (1.0 / statistics.median(s) for s in seconds.values())
    return {
        "num_envs": NUM_ENVS,
        "steps_per_s": mine,
        "inner_steps_per_s": mine * NUM_ENVS,
        "baseline_steps_per_s": baseline,
        "ratio": mine / baseline,
    }


def _ours() -> gym.vector.VectorEnv:
    return gym.make_vec("OptTask-quadratic-v0", num_envs=NUM_ENVS, task=QUADRATIC_10)


def _seconds_a_step(envs: gym.vector.VectorEnv, seed: int) -> float:
    envs.action_space.seed(seed)
    actions = [envs.action_space.sample() for _ in range(STEPS)]
    envs.reset(seed=seed)
    observation = None
    start = time.perf_counter()
    for action in actions:
        observation = envs.step(action)[0]
    np.asarray(observation)  # theirs stays on the device: wait for it
    return (time.perf_counter() - start) / STEPS
