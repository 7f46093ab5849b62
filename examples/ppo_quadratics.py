"""A policy trained by PPO as an optimizer, on quadratics that it has never seen.

    python examples/ppo_quadratics.py                          on the device
    python examples/ppo_quadratics.py --trainer sb3_ppo        stable-baselines3

PPO trains the architecture `mlp` on quadratics with ten weights, a new matrix every episode.
Then θ, without exploration, runs 1,024 others, beside the untrained θ and SGD at the best of 25
learning rates, chosen on those very quadratics. In FOLDER/<trainer>: log, checkpoint and θ of
each seed, curve.png and result.json.
"""

import json
import statistics
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jaxtyping import PyTree

import agents
import learned
import opt_gym
from agents.callbacks import ProgressBar
from agents.records import OuterTrainer
from envs_registry.benchmark_sets import QUADRATIC_10
from opt_gym.evaluation.house_style import write_picture
from opt_gym.records import Env, LearnedOptimizer

HORIZON, NUM_ENVS = 50, 256
SCALE = 0.1  # the unit of the policy's updates
UPDATES = 4 * 8  # epochs and minibatches of an outer step
NUM_HELD_OUT, HELD_OUT_SEED = 1024, 1_000_000
RATES = np.geomspace(1e-4, 1.0, 25)


def main(
    out: Path = Path("runs/ppo_quadratics"),
    trainer: Literal["ppo", "sb3_ppo"] = "ppo",
    outer_steps: int = 300,
    seeds: int = 3,
) -> None:
    """Trains and compares.

    Args:
        out: folder; a run that was cut off there goes on from its checkpoint.
        trainer: which road: on the device, or stable-baselines3.
        outer_steps: of 256 episodes each.
        seeds: of outer-training.
    """
    opt_gym.use_all_cores()
    out = out / trainer
    optimizer = learned.make("mlp", step_multiplier=SCALE, action_scale=SCALE)
    env = opt_gym.make(QUADRATIC_10, learned_optimizer=optimizer)
    built = make_trainer(trainer, env, optimizer, outer_steps)
    untrained, trained, curves = [], [], []
    for seed in range(seeds):
        folder = out / f"seed{seed}"
        theta = optimizer.init_theta(jax.random.key(seed))
        result = agents.train(
            built,
            [opt_gym.load_data(env)],
            outer_steps=outer_steps,
            seed=seed,
            theta=theta,
            out=folder,
            resume=any(folder.glob("checkpoint-*")),
            callbacks=[ProgressBar(f"{trainer}, seed {seed}")],
        )
        learned.save(
            folder / "theta.safetensors",
            result.learned_optimizer,
            result.theta,
            training={"trainer": trainer, "config": built.config, "seed": seed},
        )
        log = np.genfromtxt(folder / "log.csv", delimiter=",", names=True)
        curves.append(np.atleast_1d(log["outer_loss"]))
        untrained += held_out(env, optimizer, one_row(theta))
        trained += held_out(env, optimizer, one_row(result.theta))
    sgd = sgd_losses(env)
    found = {
        "trained": statistics.median(trained),
        "trained_each": trained,
        "untrained": statistics.median(untrained),
        "best_sgd": float(sgd.min()),
        "best_sgd_learning_rate": float(RATES[sgd.argmin()]),
    }
    (out / "result.json").write_text(json.dumps(found, indent=2) + "\n")
    draw(out / "curve.png", curves, found, trainer)
    print(json.dumps(found, indent=2))


def make_trainer(
    name: str, env: Env, optimizer: LearnedOptimizer, outer_steps: int
) -> OuterTrainer:
    """Either road, with the same settings."""
    common: dict[str, Any] = {
        "envs": [env],
        "learned_optimizer": optimizer,
        "num_envs": NUM_ENVS,
        "horizon": HORIZON,
    }
    if name == "sb3_ppo":
        return agents.make(name, **common, learning_rate=1e-3)
    rate = optax.cosine_decay_schedule(1e-3, outer_steps * UPDATES, 0.05)
    return agents.make(
        name,
        **common,
        outer_optimizer=optax.adam(rate),
        num_steps=HORIZON,
        action_scale=SCALE,
    )


def held_out(env: Env, optimizer: LearnedOptimizer, thetas: PyTree) -> list[float]:
    """The outer-loss of every row of θ on quadratics that nothing was trained on."""
    keys = jax.random.split(jax.random.key(HELD_OUT_SEED), NUM_HELD_OUT)
    data = opt_gym.load_data(env)

    def outer_loss(theta: PyTree) -> Any:
        def one(key: Any) -> Any:
            state = opt_gym.start(key, env, optimizer, theta, data, HORIZON)
            return opt_gym.unroll(env, optimizer, theta, data, state, HORIZON)[1].cost

        return jnp.mean(jax.vmap(one)(keys))

    losses = jax.jit(lambda rows: jax.lax.map(outer_loss, rows))(thetas)
    return [float(loss) for loss in losses]


def sgd_losses(env: Env) -> np.ndarray:
    """Outer-losses of SGD at each of `RATES`."""
    sgd = learned.make("sgd")
    same = opt_gym.make(env.task, learned_optimizer=sgd, normalizer=env.normalizer)
    rates = {"learning_rate": jnp.asarray(RATES, jnp.float32)}
    return np.array(held_out(same, sgd, rates))


def one_row(theta: PyTree) -> PyTree:
    """θ with a leading axis."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], theta)


def draw(path: Path, curves: list[Any], found: dict[str, Any], trainer: str) -> None:
    """Outer-losses while exploring, and those on held-out quadratics as levels."""

    def on(figure: Any) -> None:
        axes = figure.subplots()
        for seed, curve in enumerate(curves):
            axes.plot(curve, lw=1, label=f"{trainer}, exploring, seed {seed}")
        for name, line in (("trained", "-"), ("untrained", ":"), ("best_sgd", "--")):
            label = f"held out: {name.replace('_', ' ')}, {found[name]:.3g}"
            axes.axhline(found[name], color="black", lw=1, ls=line, label=label)
        axes.set(yscale="log", xlabel="outer step", ylabel="outer-loss")
        axes.legend(fontsize="small", frameon=False)

    write_picture(path, (6, 4), on)


if __name__ == "__main__":
    tyro.cli(main)
