"""PPO on the device against stable-baselines3's, quadratics with 10 weights, learning included.

256 environments of 50 inner steps; the policy of both is the architecture "mlp" with noise on
its updates, the critic pools over parameters; 4 epochs of 8 minibatches, every ratio and clip
a parameter's own. The two take turns, so that a slow moment of the machine meets both.

    python -m benchmarks.ppo_quadratic --out FOLDER

trains instead, and compares θ on quadratics never trained on with the untrained θ and with
SGD at the best of 25 learning rates, chosen on those very quadratics: log, curve and θ of
three seeds are left in FOLDER, and one JSON line is printed.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

import agents
import learned
import opt_gym
from agents.records import OuterTrainer
from benchmarks.vector_step import TASK
from opt_gym.records import Env, LearnedOptimizer

HORIZON, NUM_ENVS = 50, 256
SCALE = 0.1
LEARNING_RATE, OUTER_STEPS, SEEDS = 1e-3, 300, (0, 1, 2)
ROUNDS = 10
NUM_HELD_OUT = 1024
HELD_OUT_SEED = 1_000_000
RATES = np.geomspace(1e-4, 1.0, 25)


def alone() -> dict[str, Any]:
    """Environment steps a second of ours, updates included."""
    step = _stepper(_ours(*_optimizer_and_env()))
    seconds = [step() for _ in range(ROUNDS)]
    steps = NUM_ENVS * HORIZON
    return {"env_steps_per_s": steps / statistics.median(seconds)}


def run() -> dict[str, Any]:
    """Environment steps a second of both and their ratio, where SB3's is there.

    torch's are measured with one thread and with one a core; the better ones count.
    """
    if "sb3_ppo" not in agents.names():
        return alone()
    import torch

    optimizer, env = _optimizer_and_env()
    ours, theirs = _stepper(_ours(optimizer, env)), _stepper(_sb3(optimizer, env))
    threads = (1, len(os.sched_getaffinity(0)))
    seconds: dict[Any, list[float]] = {"ours": [], **{count: [] for count in threads}}
    for _ in range(ROUNDS):
        seconds["ours"].append(ours())
        for count in threads:
            torch.set_num_threads(count)
            seconds[count].append(theirs())
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
    return optimizer, opt_gym.make(TASK, learned_optimizer=optimizer)


def _ours(
    optimizer: LearnedOptimizer, env: Env, outer_optimizer: Any = None
) -> OuterTrainer:
    return agents.make(
        "ppo",
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=outer_optimizer or optax.adam(LEARNING_RATE),
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


def _stepper(trainer: OuterTrainer) -> Callable[[], float]:
    """Seconds of one more outer step; two are done before, to compile."""
    key = jax.random.key(0)
    data = (opt_gym.load_data(trainer.envs[0]),)
    state = trainer.init(key, data, trainer.learned_optimizer.init_theta(key))
    done = 0

    def step() -> float:
        nonlocal state, done
        began = time.perf_counter()
        state, report = trainer.step(jax.random.fold_in(key, done), data, state)
        jax.block_until_ready(report)
        done += 1
        return time.perf_counter() - began

    for _ in range(2):
        step()
    return step


def train(out: Path) -> dict[str, Any]:
    """Three trainings and what they gain on held-out quadratics.

    Returns:
        Outer-losses on the held-out quadratics, medians over seeds where there are seeds, and
        the best learning rate of SGD.
    """
    optimizer, env = _optimizer_and_env()
    rate = optax.cosine_decay_schedule(
        LEARNING_RATE, OUTER_STEPS * 4 * 8, 0.05
    )  # epochs and minibatches
    trainer = _ours(optimizer, env, optax.adam(rate))
    data = opt_gym.load_data(env)
    untrained, trained, curves = [], [], []
    for seed in SEEDS:
        folder = out / f"seed{seed}"
        theta = optimizer.init_theta(jax.random.key(seed))
        result = agents.train(
            trainer, [data], outer_steps=OUTER_STEPS, seed=seed, theta=theta, out=folder
        )
        learned.save(
            folder / "theta.safetensors",
            optimizer._replace(trained_horizon=HORIZON),
            result.theta,
            training={"trainer": "ppo", "config": trainer.config, "seed": seed},
        )
        curves.append([report.outer_loss for report in result.reports])
        untrained.append(_held_out(env, optimizer, theta)[0])
        trained.append(_held_out(env, optimizer, result.theta)[0])
    sgd = _sgd_losses(env)
    best = int(np.argmin(sgd))
    found = {
        "outer_loss_trained": statistics.median(trained),
        "outer_loss_untrained": statistics.median(untrained),
        "outer_loss_best_sgd": float(sgd[best]),
        "best_sgd_learning_rate": float(RATES[best]),
        "outer_loss_trained_each": trained,
    }
    _draw(out / "curve.png", curves, found)
    (out / "result.json").write_text(json.dumps(found, indent=2))
    return found


def _held_out(
    env: Env, optimizer: LearnedOptimizer, theta: PyTree, num_rates: int = 0
) -> list[float]:
    """Outer-losses on the held-out quadratics; one a row of θ, if it has rows."""
    keys = jax.random.split(jax.random.key(HELD_OUT_SEED), NUM_HELD_OUT)
    data = opt_gym.load_data(env)

    def outer_loss(theta: PyTree) -> Any:
        def one(key: Any) -> Any:
            state = opt_gym.start(key, env, optimizer, theta, data, HORIZON)
            return opt_gym.unroll(env, optimizer, theta, data, state, HORIZON)[1].cost

        return jnp.mean(jax.vmap(one)(keys))

    rows = theta if num_rates else jax.tree.map(lambda leaf: leaf[None], theta)
    return [float(x) for x in jax.jit(lambda rows: jax.lax.map(outer_loss, rows))(rows)]


def _sgd_losses(env: Env) -> np.ndarray:
    """Outer-loss of SGD on the held-out quadratics, at each of `RATES`."""
    sgd = learned.make("sgd")
    theta = sgd.init_theta(jax.random.key(0)) | {
        "learning_rate": jnp.asarray(RATES, jnp.float32)
    }
    same = opt_gym.make(env.task, learned_optimizer=sgd, normalizer=env.normalizer)
    return np.array(_held_out(same, sgd, theta, len(RATES)))


def _draw(path: Path, curves: list[list[float]], found: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for seed, curve in zip(SEEDS, curves, strict=True):
        axes.plot(curve, lw=1, label=f"PPO, exploring, seed {seed}")
    for name, style in (("trained", "-"), ("untrained", ":"), ("best_sgd", "--")):
        level = found[f"outer_loss_{name}"]
        label = f"held out: {name.replace('_', ' ')}, {level:.3g}"
        axes.axhline(level, color="black", lw=1, ls=style, label=label)
    axes.set(yscale="log", xlabel="outer step", ylabel="outer-loss (lower is better)")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Trains and compares."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ppo_quadratic")
    parser.add_argument("--out", type=Path, required=True)
    opt_gym.use_all_cores()
    print(json.dumps(train(parser.parse_args().out)))


if __name__ == "__main__":
    main()
