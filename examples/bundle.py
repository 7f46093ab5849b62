"""Outer-trains one architecture from a random θ and measures it: how bundled θ are made.

    python examples/bundle.py mlp

PES on four small networks that classify 8x8 digits, then 1,000 steps on the twelve held-out
ones. A few minutes on one core; θ, its log and a model card are in `runs/bundle/<name>`. The
recipes start from the published forms; only step sizes are larger, for unrolls of 1,000 steps.
"""

import sys
import textwrap
import time
from pathlib import Path
from typing import Any, NamedTuple

import optax
import tyro

import agents
import learned
import opt_gym
from agents.callbacks import ProgressBar
from envs_registry.benchmark_sets import SMALL_MLP_HELD_OUT, SMALL_MLP_TRAIN
from opt_gym.evaluation.comparison import Summary, compare
from opt_gym.records import LearnedOptimizer

HORIZON = 1000
NUM_TASKS = 4  # of the training list: each is a program to compile
NUM_SEEDS = 3
ONE_ADAM, BEST_ADAM = 0.0229, 0.0186  # measured by examples/demo.py on the same tasks
LARGER_STEPS = {"step_multiplier": 0.01, "exp_multiplier": 0.3}


class Recipe(NamedTuple):
    """What differs between architectures: σ, outer rate and the architecture's settings."""

    outer_steps: int
    config: dict[str, Any]
    sigma: float = 0.03
    learning_rate: float = 0.01


RECIPES = {
    "mlp": Recipe(1200, LARGER_STEPS),
    "adafactor_mlp": Recipe(1000, LARGER_STEPS),
    "star": Recipe(600, {"learning_rate": 0.01, **LARGER_STEPS}),
    "nn_adam": Recipe(1000, {"learning_rate": 0.01}),
    "normalized_direction": Recipe(600, {"learning_rate": 0.01}),
    "hierarchical": Recipe(
        500, {"step_multiplier": 0.01, "exp_multiplier": 0.1}, learning_rate=0.003
    ),
    "hierarchical_rnn": Recipe(320, {"initial_rate": 0.01}),
    "lstm": Recipe(320, {"scale": 0.03}),
    "velo_like": Recipe(500, {}, sigma=0.01, learning_rate=0.001),
}


def main(
    architecture: str,
    out: Path = Path("runs/bundle"),
    outer_steps: int | None = None,
    seed: int = 0,
    held_out: int = 12,
) -> None:
    """Trains, evaluates and writes a card.

    Args:
        architecture: one of the recipes.
        out: folder; a run that was cut off there goes on from its checkpoint.
        outer_steps: instead of the recipe's.
        seed: of outer-training.
        held_out: how many of the 12 held-out tasks to evaluate on.
    """
    if architecture not in RECIPES:
        raise SystemExit(
            f"no recipe for {architecture!r}; there is one for {', '.join(RECIPES)}"
        )
    recipe = RECIPES[architecture]
    recipe = recipe._replace(outer_steps=outer_steps or recipe.outer_steps)
    optimizer = learned.make(architecture, **recipe.config)
    path, training = outer_train(optimizer, recipe, out / architecture, seed)
    summary = measure(path, SMALL_MLP_HELD_OUT[:held_out])
    card = path.with_suffix(".md")
    card.write_text(describe(optimizer, training, summary))
    print(f"\n{card.read_text()}\n{path} and {card.name} are yours.")


def outer_train(
    optimizer: LearnedOptimizer, recipe: Recipe, out: Path, seed: int
) -> tuple[Path, dict[str, Any]]:
    """The θ file, and what its header says of the training."""
    began = time.monotonic()
    tasks = SMALL_MLP_TRAIN[:NUM_TASKS]
    envs = [
        opt_gym.make(task, learned_optimizer=optimizer, data="embedded")
        for task in tasks
    ]
    rate = optax.warmup_cosine_decay_schedule(
        0.0, recipe.learning_rate, 20, recipe.outer_steps, recipe.learning_rate / 20
    )
    settings = {
        "num_pairs": 8,
        "trunc_length": 50,
        "sigma": recipe.sigma,
        "horizon": (50, HORIZON),
        "theta_average": 0.99,
    }
    adam = optax.adam(rate, b1=0.9, b2=0.99)
    trainer = agents.make(
        "pes",
        envs=envs,
        learned_optimizer=optimizer,
        outer_optimizer=optax.chain(optax.clip_by_global_norm(1.0), adam),
        **settings,
    )
    result = agents.train(
        trainer,
        [opt_gym.load_data(env) for env in envs],
        outer_steps=recipe.outer_steps,
        seed=seed,
        out=out,
        resume=any(out.glob("checkpoint-*")),
        callbacks=[ProgressBar()],
    )
    if result.interrupted:
        print(
            f"\nStopped after {result.outer_step} outer steps; the same command goes on."
        )
        sys.exit(130)
    training = {
        "trainer": ["pes", settings],
        "tasks": list(tasks),
        "objective": "train",
        "outer_steps": result.outer_step,
        "seed": seed,
        "learning_rate": recipe.learning_rate,
        "core_seconds": round(time.monotonic() - began),
    }
    path = learned.save(
        out / f"{optimizer.name}_small.safetensors",
        optimizer._replace(trained_horizon=HORIZON),
        result.theta,
        training=training,
    )
    return path, training


def measure(path: Path, tasks: tuple[str, ...]) -> Summary:
    """What θ reaches on tasks it has not seen."""
    optimizer, theta = learned.load(path)
    runs = opt_gym.evaluate(
        optimizer, tasks, theta, horizon=HORIZON, num_seeds=NUM_SEEDS, data="embedded"
    )
    return compare(runs)[0]


def describe(
    optimizer: LearnedOptimizer, training: dict[str, Any], summary: Summary
) -> str:
    """The model card."""
    changed = {
        key: value
        for key, value in optimizer.config.items()
        if value != learned.make(optimizer.name).config[key]
    }
    settings = ", ".join(f"{key} {value}" for key, value in changed.items())
    t, s, mean = training, summary, summary.mean_cost
    steps, sigma = t["outer_steps"], t["trainer"][1]["sigma"]
    points = [
        f"Trained by `python examples/bundle.py {optimizer.name}`: PES on "
        f"`{t['tasks'][0]}` … `{t['tasks'][-1]}`, horizons log-uniform 50–{HORIZON:,}, "
        f"{steps:,} outer steps of 16 unrolls x 50 inner steps ({steps * 800:,} inner steps), "
        f"σ {sigma:g}, outer rate {t['learning_rate']:g}, outer seed {t['seed']}; "
        f"{t['core_seconds']} seconds on one core, compilation included. Objective: mean "
        "normalized training loss.",
        f"On {s.num_tasks} held-out small MLPs, {HORIZON:,} steps, {NUM_SEEDS} seeds: mean "
        f"normalized loss {mean.value:.4f} [{mean.low:.4f}, {mean.high:.4f}], interquartile "
        f"mean {s.iqm_cost.value:.4f}, final {s.final_cost:.4f}, validation loss "
        f"{s.valid_loss:.3f}, test loss {s.test_loss:.3f}; {s.num_diverged} of {s.num_runs} "
        f"runs diverged. One Adam rate for all tasks reaches {ONE_ADAM:.4f}, the best of 14 "
        f"rates of every task {BEST_ADAM:.4f}.",
        *_faults(summary),
        "A demonstration: minutes of training on four small networks that see 8x8 digits. Do "
        f"not expect it to work far from them, or beyond {HORIZON:,} steps, where its clock "
        "stands still.",
    ]
    head = f"The architecture `{optimizer.name}`, {settings or 'as published'}, trained from a "
    wrapped = [
        textwrap.fill(point, 96, initial_indent="- ", subsequent_indent="  ")
        for point in points
    ]
    first = textwrap.fill(head + "random θ.", 96)
    return "\n".join([f"# {optimizer.name}_small", "", first, "", *wrapped, ""])


def _faults(summary: Summary) -> list[str]:
    """What a user should be told before anything else."""
    found = []
    if summary.mean_cost.value > ONE_ADAM:
        found.append(
            "Worse than one Adam rate for all tasks: not a replacement of Adam."
        )
    if summary.mean_cost.value > 2 * summary.iqm_cost.value:
        found.append(
            "It fails on some of the tasks: the mean is far above the middle half."
        )
    if summary.final_cost > summary.mean_cost.value:
        found.append(
            "It does not keep what it gains: losses rise towards the end of a run."
        )
    if summary.num_diverged:
        found.append("It diverges now and then.")
    return found


if __name__ == "__main__":
    tyro.cli(main)
