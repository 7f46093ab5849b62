"""Unlike tasks on one and on two Ray workers, each pinned to a core: inner steps a second.

PES on four small networks an outer step, 8 pairs x 50 inner steps each. The two take turns, a
few outer steps at a time, so that a slow moment of the machine meets both.
"""

import statistics
import time
import warnings
from typing import Any

import jax
import optax

import agents
import learned
import opt_gym
from agents.ray_workers import ray_workers

NUM_TASKS, ROUNDS, STEPS = 4, 5, 4


def make_trainer() -> tuple[Any, tuple[Any, ...]]:
    """What the learner and every worker make."""
    optimizer = learned.make("mlp")
    envs = [
        opt_gym.make(
            f"small_mlp_family_seed{seed}", learned_optimizer=optimizer, data="embedded"
        )
        for seed in range(NUM_TASKS)
    ]
    trainer = agents.make(
        "pes",
        envs=agents.task_mix(envs, per_step=NUM_TASKS),
        learned_optimizer=optimizer,
        outer_optimizer=optax.adam(3e-4),
        num_pairs=8,
        trunc_length=50,
        horizon=1000,
        sigma=0.01,
        theta_average=0.0,
    )
    return trainer, tuple(opt_gym.load_data(env) for env in envs)


def alone() -> dict[str, Any]:
    """Both, as `run`."""
    return run()


def run() -> dict[str, Any]:
    """Inner steps a second of both, and the median ratio of rounds."""
    warnings.filterwarnings("ignore", message=".*os.fork")
    trainer, data = make_trainer()
    rates: dict[int, list[float]] = {1: [], 2: []}
    with ray_workers(make_trainer, 1) as one, ray_workers(make_trainer, 2) as two:
        states = {}
        for count, workers in ((1, one), (2, two)):
            spread = workers.spread(trainer)
            key = jax.random.key(0)
            state = spread.init(key, data, trainer.learned_optimizer.init_theta(key))
            states[count] = (spread, spread.step(key, data, state)[0])
        for _ in range(ROUNDS):
            for count, (spread, state) in states.items():
                began, steps = time.perf_counter(), 0.0
                for i in range(STEPS):
                    state, report = spread.step(jax.random.key(i), data, state)
                    steps += float(report.inner_steps)
                rates[count].append(steps / (time.perf_counter() - began))
                states[count] = (spread, state)
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    return {
        "one_worker": statistics.median(rates[1]),
        "two_workers": statistics.median(rates[2]),
        "ratio": statistics.median(ratios),
    }
