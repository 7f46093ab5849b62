"""Outer-trains one architecture from a random θ and measures it: how bundled θ are made.

    python examples/bundle.py mlp

`opt-gym train` with a recipe, on small networks that classify 8x8 digits, then 1,000 steps on
the twelve held-out ones; θ, its log and a model card are in `runs/bundle/<name>`. That takes a
few minutes for four networks, half an hour for 24. The recipes start from the published forms;
only step sizes are larger, for unrolls of 1,000 steps.
"""

import sys
import textwrap
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

import learned
import opt_gym
from envs_registry.benchmark_sets import SMALL_MLP_HELD_OUT, SMALL_MLP_TRAIN
from learned.theta_file import read_header
from opt_gym.cli.train import resume, train
from opt_gym.evaluation import Interval
from opt_gym.evaluation.comparison import Summary, compare
from opt_gym.plugins import unknown

HORIZON = 1000
NUM_SEEDS = 3
ONE_ADAM, BEST_ADAM = 0.0229, 0.0186  # measured by examples/demo.py on the same tasks
LARGER_STEPS = {"step_multiplier": 0.01, "exp_multiplier": 0.3}


class Recipe(NamedTuple):
    """What differs between architectures.

    num_tasks: of the training list, each a program to compile. num_pairs: on a task.
    """

    outer_steps: int
    config: dict[str, Any]
    sigma: float = 0.03
    learning_rate: float = 0.01
    num_tasks: int = 4
    tasks_per_step: int = 1
    num_pairs: int = 8
    theta_average: float = 0.99

    @property
    def tasks(self) -> tuple[str, ...]:
        """What is trained on."""
        return SMALL_MLP_TRAIN[: self.num_tasks]


RECIPES = {
    "mlp": Recipe(1200, LARGER_STEPS),
    "adafactor_mlp": Recipe(
        6000,
        LARGER_STEPS,
        num_tasks=24,
        tasks_per_step=4,
        num_pairs=4,
        theta_average=0.998,
    ),
    "star": Recipe(600, {"learning_rate": 0.01, **LARGER_STEPS}),
    "nn_adam": Recipe(1000, {"learning_rate": 0.01}, sigma=0.01, learning_rate=0.001),
    "normalized_direction": Recipe(600, {"learning_rate": 0.01}),
    "hierarchical": Recipe(
        500, {"step_multiplier": 0.01, "exp_multiplier": 0.1}, learning_rate=0.003
    ),
    "hierarchical_rnn": Recipe(320, {"initial_rate": 0.01}),
    "lstm": Recipe(320, {"scale": 0.03}),
    "velo_like": Recipe(500, {}, sigma=0.01, learning_rate=0.001),
}


def main(
    architecture: Annotated[str, tyro.conf.Positional],
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
        raise SystemExit(unknown("recipe", architecture, list(RECIPES)))
    recipe, out = RECIPES[architecture], out / architecture
    began = time.monotonic()
    code = (
        resume(out)
        if (out / "run.json").exists()
        else train(
            out,
            list(recipe.tasks),
            tasks_per_step=recipe.tasks_per_step,
            architecture=architecture,
            outer_steps=outer_steps or recipe.outer_steps,
            seed=seed,
            learning_rate=recipe.learning_rate,
            options={
                "num_pairs": str(recipe.num_pairs),
                "sigma": str(recipe.sigma),
                "theta_average": str(recipe.theta_average),
            },
            architecture_options={k: str(v) for k, v in recipe.config.items()},
            data="embedded",
        )
    )
    if code:
        sys.exit(code)
    seconds = round(time.monotonic() - began)
    path = out / "theta.safetensors"
    card = out / f"{architecture}_small.md"
    summary = measure(path, SMALL_MLP_HELD_OUT[:held_out])
    card.write_text(describe(read_header(path), seconds, summary))
    print(f"\n{card.read_text()}\n{path} and {card} are yours.")


def measure(path: Path, tasks: tuple[str, ...]) -> Summary:
    """What θ reaches on tasks it has not seen."""
    optimizer, theta = learned.load(path)
    runs = opt_gym.evaluate(
        optimizer, tasks, theta, horizon=HORIZON, num_seeds=NUM_SEEDS, data="embedded"
    )
    return compare(runs)[0]


def describe(header: dict[str, Any], seconds: int, s: Summary) -> str:
    """The model card: a θ file's header, seconds of training and what θ reached."""
    (name, config), training = header["architecture"], header["training"]
    published = learned.make(name).config
    changed = {k: v for k, v in config.items() if v != published[k]}
    settings = ", ".join(f"{key} {value}" for key, value in changed.items())
    settings_of_pes = training["trainer"][1]
    steps, sigma = training["outer_steps"], settings_of_pes["sigma"]
    unrolls = 2 * settings_of_pes["num_pairs"] * training["tasks_per_step"]
    tasks = RECIPES[name].tasks
    if training["tasks"] != [opt_gym.task_config(task) for task in tasks]:
        raise SystemExit(f"{name} was trained on other tasks than its recipe's")
    points = [
        f"Trained by `python examples/bundle.py {name}`: PES on "
        f"`{tasks[0]}` … `{tasks[-1]}`, horizons log-uniform 50–{HORIZON:,}, "
        f"{steps:,} outer steps of {unrolls} unrolls x 50 inner steps "
        f"({steps * unrolls * 50:,} inner steps), "
        f"σ {sigma:g}, outer rate {training['learning_rate']:g}, outer seed "
        f"{training['seed']}; {seconds} seconds, compilation included. Objective: mean "
        "normalized training loss.",
        f"On {s.num_tasks} held-out small MLPs, {HORIZON:,} steps, {NUM_SEEDS} seeds: mean "
        f"normalized loss {_interval(s.mean_cost)}, interquartile mean "
        f"{s.iqm_cost.value:.4f}, final {s.final_cost:.4f}, validation loss "
        f"{s.valid_loss:.3f}, test loss {s.test_loss:.3f}; {s.num_diverged} of {s.num_runs} "
        f"runs diverged. One Adam rate for all tasks reaches {ONE_ADAM:.4f}, the best of 14 "
        f"rates of every task {BEST_ADAM:.4f} (five seeds).",
        *_faults(s),
        f"A demonstration: it has seen {len(tasks)} small networks on 8x8 digits. Do not "
        f"expect it to work far from them, or beyond {HORIZON:,} steps, where its clock stands "
        "still.",
    ]
    first = f"The architecture `{name}`, {settings or 'as published'}, from a random θ."
    wrapped = [
        textwrap.fill(point, 96, initial_indent="- ", subsequent_indent="  ")
        for point in points
    ]
    return "\n".join(
        [f"# {name}_small", "", textwrap.fill(first, 96), "", *wrapped, ""]
    )


def _interval(x: Interval) -> str:
    return f"{x.value:.4f} [{x.low:.4f}, {x.high:.4f}]"


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
