"""PPO on the device against stable-baselines3's, quadratics with 10 weights, learning included.

256 environments of 50 inner steps; the policy of both is the architecture "mlp" with noise on
its updates, the critic pools over parameters; 4 epochs of 8 minibatches, every ratio and clip
a parameter's own. The two take turns, so that a slow moment of the machine meets both.

`examples/ppo_quadratics.py` trains and says what θ gains.
"""

import os
import statistics
from collections.abc import Callable
from typing import Any

import optax

import agents
import learned
import opt_gym
from agents.records import OuterTrainer
from benchmarks._outer_steps import Timed, stepper
from envs_registry.benchmark_sets import QUADRATIC_10
from opt_gym.records import Env, LearnedOptimizer

HORIZON, NUM_ENVS = 50, 256
SCALE = 0.1
LEARNING_RATE = 1e-3
ROUNDS = 10


def alone() -> dict[str, Any]:
    """Environment steps a second of ours, updates included."""
    step = _stepper(_ours(*_optimizer_and_env()))
    seconds = [step().seconds for _ in range(ROUNDS)]
    steps = NUM_ENVS * HORIZON
    return {"env_steps_per_s": steps / statistics.median(seconds)}


def run() -> dict[str, Any]:
    """Environment steps a second of both and their ratio.

    torch's are measured with one thread and with one a core; the better ones count.
    """
    import torch

    optimizer, env = _optimizer_and_env()
    ours, theirs = _stepper(_ours(optimizer, env)), _stepper(_sb3(optimizer, env))
    threads = (1, len(os.sched_getaffinity(0)))
    seconds: dict[Any, list[float]] = {"ours": [], **{count: [] for count in threads}}
    for _ in range(ROUNDS):
        seconds["ours"].append(ours().seconds)
        for count in threads:
            torch.set_num_threads(count)
            seconds[count].append(theirs().seconds)
    steps = NUM_ENVS * HORIZON
    best = min(threads, key=lambda count: statistics.median(seconds[count]))
    pairs = zip(seconds["ours"], seconds[best], strict=True)
    return {
        "env_steps_per_s": steps / statistics.median(seconds["ours"]),
        "baseline_env_steps_per_s": steps / statistics.median(seconds[best]),
        "baseline_threads": best,
        "ratio": statistics.median(b / a for a, b in pairs),
    }


def _optimizer_and_env() -> tuple[LearnedOptimizer, Env]:
    # The unit of both policies: a step of the network's output 1 is one of their actions.
    settings = {"step_multiplier": SCALE, "action_scale": SCALE}
    optimizer = learned.make("mlp", **settings)
    return optimizer, opt_gym.make(QUADRATIC_10, learned_optimizer=optimizer)


def _ours(optimizer: LearnedOptimizer, env: Env) -> OuterTrainer:
    return agents.make(
        "ppo",
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=optax.adam(LEARNING_RATE),
        num_envs=NUM_ENVS,
        num_steps=HORIZON,
        horizon=HORIZON,
        action_scale=SCALE,
    )


def _sb3(optimizer: LearnedOptimizer, env: Env) -> OuterTrainer:
    return agents.make(
        "sb3_ppo",
        envs=[env],
        learned_optimizer=optimizer,
        num_envs=NUM_ENVS,
        horizon=HORIZON,
        learning_rate=LEARNING_RATE,
    )


def _stepper(trainer: OuterTrainer) -> Callable[[], Timed]:
    return stepper(trainer, (opt_gym.load_data(trainer.envs[0]),))
