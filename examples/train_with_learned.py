"""Trains a learned optimizer with a learned optimizer, beside Adam.

    python examples/train_with_learned.py

The outer problem is an optimization problem like any other: whatever has the form of optax may
solve it. PES trains a fresh θ of `mlp` (the recipe of examples/bundle.py, on two small networks
that classify 8x8 digits) three times, from the same θ, on the same tasks and with the same
perturbations. The outer optimizer is the bundled `nominal_small` through `learned.to_optax`, or
Adam at 3e-5 or at 1e-3, the two rates of the talk. `nominal_small` has only ever trained small
networks; θ is another thing, and its gradients are noisier.

A few minutes of one core. Writes train_with_learned.png and .csv into `--out`.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
import tyro

import agents
import learned
import opt_gym
from agents.callbacks import ProgressBar
from agents.outer_optimizers import clipped
from envs_registry.benchmark_sets import SMALL_MLP_TRAIN
from opt_gym.evaluation.house_style import OTHER_COLORS, SUBJECT_COLOR, write_picture
from opt_gym.runtime.files import write_table

HORIZON = 1000
RATES = (3e-5, 1e-3)


class Curve(NamedTuple):
    """The outer-loss of every outer step under one outer optimizer."""

    title: str
    losses: np.ndarray
    seed: int


def main(
    out: Path = Path("runs/figures"),
    bundled: str = "nominal_small",
    factor: float = 1.0,
    architecture: str = "mlp",
    outer_steps: int = 200,
    tasks: tuple[str, ...] = SMALL_MLP_TRAIN[:2],
    num_pairs: int = 8,
    trunc_length: int = 50,
    average: int = 20,
    seeds: tuple[int, ...] = (0,),
) -> list[Curve]:
    """Trains with each outer optimizer and draws the curves; returns them.

    Args:
        out: folder.
        bundled: the learned outer optimizer, a name or a file.
        factor: of its steps: the `learning_rate` of `to_optax`.
        architecture: whose fresh θ is trained: "mlp" or "adafactor_mlp".
        outer_steps: of every run.
        tasks: that θ is trained on, all of them at every outer step.
        num_pairs, trunc_length: of PES.
        average: outer steps that a point of the curves is the mean of.
        seeds: of outer-training, each a θ to begin with and its perturbations.
    """
    began = time.monotonic()
    optimizers = {
        f"learned ({bundled})": learned.to_optax(
            *learned.load(bundled), learning_rate=factor, warn=False
        ),
        **{f"Adam, {rate:g}": optax.adam(rate) for rate in RATES},
    }
    curves = []
    for title, outer in optimizers.items():
        trainer, data = pes(architecture, outer, tasks, num_pairs, trunc_length)
        for seed in seeds:
            result = agents.train(
                trainer,
                data,
                outer_steps=outer_steps,
                seed=seed,
                callbacks=[ProgressBar()],
            )
            losses = np.array([report.outer_loss for report in result.reports])
            curves.append(Curve(title, losses, seed))
            smooth = running_mean(losses, average)
            print(
                f"{title:24s} seed {seed}: outer-loss {smooth[0]:.3f} over the first "
                f"{average} outer steps, {smooth[-1]:.3f} over the last"
            )
    rows = [
        (one.title, one.seed, step + 1, float(loss))
        for one in curves
        for step, loss in enumerate(one.losses)
    ]
    columns = ("outer_optimizer", "seed", "outer_step", "outer_loss")
    table = write_table(out / "train_with_learned.csv", columns, rows)
    picture = write_picture(
        out / "train_with_learned.png",
        (7, 4),
        lambda figure: draw(figure, curves, average, architecture),
        dpi=110,
    )
    print(f"{picture} and {table}: {time.monotonic() - began:.0f} seconds.")
    return curves


def pes(
    architecture: str,
    outer: Any,
    tasks: tuple[str, ...],
    num_pairs: int,
    trunc_length: int,
) -> tuple[Any, list[Any]]:
    """The outer-trainer of the recipe, and its data."""
    optimizer = learned.make(architecture, step_multiplier=0.01, exp_multiplier=0.3)
    envs = [
        opt_gym.make(task, learned_optimizer=optimizer, data="embedded")
        for task in tasks
    ]
    trainer = agents.make(
        "pes",
        envs=agents.task_mix(envs, per_step=len(tasks)),
        learned_optimizer=optimizer,
        outer_optimizer=clipped(outer, norm=1.0),
        num_pairs=num_pairs,
        trunc_length=trunc_length,
        sigma=0.03,
        horizon=(trunc_length, HORIZON),
        theta_average=0.0,
    )
    return trainer, [opt_gym.load_data(env) for env in envs]


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """The mean of every `width` neighbours: [n − width + 1]."""
    return np.convolve(values, np.ones(width) / width, mode="valid")


def draw(figure: Any, curves: list[Curve], average: int, architecture: str) -> None:
    """Running means of the outer-loss; every outer step faintly behind them."""
    titles = list(dict.fromkeys(one.title for one in curves))
    colors = dict(zip(titles, (SUBJECT_COLOR, *OTHER_COLORS), strict=False))
    axes = figure.subplots()
    for one in reversed(curves):  # the learned one above the others
        color, steps = colors[one.title], np.arange(len(one.losses)) + 1
        axes.plot(steps, one.losses, color=color, lw=0.5, alpha=0.3)
        label = one.title if one.seed == curves[0].seed else None
        mean = running_mean(one.losses, average)
        axes.plot(steps[average - 1 :], mean, color=color, lw=2, label=label)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, title="outer optimizer")
    axes.set_ylim(0, 1.3)
    title = f"PES trains a fresh θ of {architecture}"
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("outer step")
    axes.set_ylabel(f"outer-loss, mean of {average} outer steps")


if __name__ == "__main__":
    tyro.cli(main)
