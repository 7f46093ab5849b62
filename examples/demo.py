"""Train a learned optimizer in minutes, compare it with tuned Adam, take it home.

    python examples/demo.py            (or: make demo)

1. PES trains the optimizer `nominal` (Adam, and a small net that sets the step size of every
   tensor: 305 weights) on six small networks that classify 8x8 digits.
2. It trains twelve other networks, beside Adam at the best of 14 learning rates: one rate for
   all tasks (chosen on the training tasks), and the best one of each task in hindsight.
3. It is used as an ordinary optax optimizer in a plain Flax training loop.

Everything is written to `runs/demo`; Ctrl-C leaves a checkpoint that the next start goes on
from.
"""

import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import tyro
from flax import linen as nn
from tqdm import tqdm

import agents
import learned
import opt_gym
from agents.callbacks import ProgressBar
from agents.outer_optimizers import clipped, outer_optimizer
from envs_registry.benchmark_sets import SMALL_MLP_HELD_OUT, SMALL_MLP_TRAIN
from opt_gym.evaluation.baselines import GLOBAL_ADAM, PER_TASK_ADAM, evaluate_baselines
from opt_gym.evaluation.comparison import compare, format_summaries, format_tasks
from opt_gym.evaluation.curves import write_csv
from opt_gym.evaluation.plots import plot_comparison
from opt_gym.evaluation.runs import EvaluationSettings, Runs
from opt_gym.records import LearnedOptimizer

HORIZON = 1000
NUM_TASKS = 6  # of the training list: each is a program to compile
TASKS_A_STEP = 2  # whose gradients are averaged
NUM_FAR = 6  # held-out tasks that are also run for five times the trained horizon
NAME = "learned (nominal)"


def main(
    out: Path = Path("runs/demo"),
    outer_steps: int = 500,
    seed: int = 0,
    held_out: int = 12,
    num_seeds: int = 5,
) -> None:
    """Trains, evaluates, and uses a learned optimizer.

    Args:
        out: folder for the checkpoints, θ, curves and the picture.
        outer_steps: of PES, each 50 inner steps of 16 unrolls of two tasks.
        seed: of outer-training.
        held_out: how many of the 12 held-out tasks to evaluate on.
        num_seeds: episodes of each of them.
    """
    began = time.monotonic()
    opt_gym.use_all_cores()  # before JAX starts
    optimizer, theta = outer_train(out, outer_steps, seed)
    tasks = SMALL_MLP_HELD_OUT[:held_out]
    runs = evaluate(optimizer, theta, tasks, num_seeds)
    report(out, runs)
    use_as_optax(optimizer, theta)
    print(f"\n{out}/theta.safetensors, curves.csv and picture.png are yours.")
    print(f"{time.monotonic() - began:.0f} seconds in all.")


def outer_train(out: Path, outer_steps: int, seed: int) -> tuple[LearnedOptimizer, Any]:
    """PES on the training tasks; the trained optimizer and its θ."""
    # The per-parameter net would gain more on training losses, and lose on test losses.
    optimizer = learned.make("nominal", per_parameter=False)
    envs = [
        opt_gym.make(task, learned_optimizer=optimizer, data="embedded")
        for task in SMALL_MLP_TRAIN[:NUM_TASKS]
    ]
    trainer = agents.make(
        "pes",
        envs=agents.task_mix(envs, per_step=TASKS_A_STEP),
        learned_optimizer=optimizer,
        outer_optimizer=clipped(outer_optimizer("adam", 1e-2, outer_steps), norm=1.0),
        num_pairs=8,
        trunc_length=50,
        sigma=0.1,
        horizon=(50, HORIZON),
        theta_average=0.996,
    )
    resume = any(out.glob("checkpoint-*"))
    print(f"Outer-training on {NUM_TASKS} tasks (the first steps compile).")
    if resume:
        print(
            f"Going on from the checkpoint in {out}; delete the folder to begin anew."
        )
    result = agents.train(
        trainer,
        [opt_gym.load_data(env) for env in envs],
        outer_steps=outer_steps,
        seed=seed,
        out=out,
        resume=resume,
        callbacks=[ProgressBar()],
    )
    training = {
        "trainer": "pes",
        "tasks": SMALL_MLP_TRAIN[:NUM_TASKS],
        "outer_steps": result.outer_step,
        "seed": seed,
        "seconds_of_last_call": round(result.seconds),
    }
    trained = result.learned_optimizer
    learned.save(out / "theta.safetensors", trained, result.theta, training=training)
    if result.interrupted:
        print(f"\nStopped after {result.outer_step} outer steps. θ so far is in")
        print(f"{out}/theta.safetensors; the same command goes on from here.")
        sys.exit(130)
    return trained, result.theta


def evaluate(
    optimizer: LearnedOptimizer, theta: Any, tasks: tuple[str, ...], num_seeds: int
) -> list[Runs]:
    """The learned optimizer and both Adams, at the trained horizon and at five times it."""
    print(f"\nEvaluating on {len(tasks)} held-out tasks, {num_seeds} seeds each.")
    runs, adams, choices = [], [], []
    with tqdm(total=2 * len(tasks), unit="task") as bar:

        def progress(name: str, done: int, total: int) -> None:
            bar.set_postfix_str(name, refresh=False)
            bar.update(1)

        groups = {(HORIZON, 5 * HORIZON): tasks[:NUM_FAR], (HORIZON,): tasks[NUM_FAR:]}
        for horizon, some in groups.items():
            if not some:
                continue
            settings = EvaluationSettings(horizon, num_seeds, data="embedded")
            runs += opt_gym.evaluate(
                optimizer,
                some,
                theta,
                name=NAME,
                progress=progress,
                **settings._asdict(),
            )
            found, choices = evaluate_baselines(
                [GLOBAL_ADAM, PER_TASK_ADAM],
                some,
                training_tasks=SMALL_MLP_TRAIN,
                settings=settings,
                progress=progress,
            )
            adams += found
    rate = choices[0].setting(next(iter(choices[0].trials)))["learning_rate"]
    print(f"One Adam for all: learning rate {rate:g}, the best on the training tasks.")
    return [*runs, *adams]


def report(out: Path, runs: list[Runs]) -> None:
    """The tables, the CSV and the picture."""
    usual = [one for one in runs if one.horizon == HORIZON]
    print("\nMean normalized loss of each task (0 is the best any Adam reached, 1 is")
    print("the loss at the start; mean over the run):\n")
    print(format_tasks(usual, NAME))
    for horizon in (HORIZON, 5 * HORIZON):
        there = [one for one in runs if one.horizon == horizon]
        for reference in (GLOBAL_ADAM.title, PER_TASK_ADAM.title):
            print(f"\n{horizon:,} steps; differences from: {reference}")
            print(format_summaries(compare(there, reference), "reference"))
    write_csv(out / "curves.csv", runs)
    title = "Held-out tasks: small networks on 8x8 digits"
    plot_comparison(out / "picture.png", usual, subject=NAME, title=title)


def use_as_optax(optimizer: LearnedOptimizer, theta: Any) -> None:
    """The way out: the learned optimizer in a plain Flax loop, as one would use Adam."""
    print("The same θ as an optax optimizer, in a Flax loop on all digits:")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: Any) -> Any:
            return nn.Dense(10)(nn.relu(nn.Dense(48)(x)))

    digits = opt_gym.make_task(opt_gym.task_config("small_mlp", 0)).load_data(
        "embedded"
    )
    train, test = digits["train"], digits["test"]
    net = Net()
    x = jnp.asarray(train.images, jnp.float32).reshape(len(train.images), -1) / 255
    y = jnp.asarray(train.labels)
    params = net.init(jax.random.key(0), x[:1])
    tx = learned.to_optax(optimizer, theta)
    state = tx.init(params)

    @jax.jit
    def step(params: Any, state: Any, key: Any) -> tuple[Any, Any, Any]:
        index = jax.random.randint(key, (64,), 0, len(x))

        def loss_fn(params: Any) -> Any:
            logits: Any = net.apply(params, x[index])
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, y[index])
            return losses.mean()

        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = tx.update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    for t in range(HORIZON):
        params, state, loss = step(params, state, jax.random.key(t))
        if t in (0, 9, 99, HORIZON - 1):
            print(f"  step {t + 1:5d}  loss {float(loss):.4f}")
    images = jnp.asarray(test.images, jnp.float32).reshape(len(test.images), -1) / 255
    found = jnp.argmax(jnp.asarray(net.apply(params, images)), -1)
    print(f"  test accuracy {float(jnp.mean(found == jnp.asarray(test.labels))):.3f}")


if __name__ == "__main__":
    tyro.cli(main)
