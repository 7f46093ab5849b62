"""Draws the variance of two gradient estimators, which cross: evolution and backprop.

    python examples/figure_gradient_variance.py

Both estimate the gradient of one smoothed outer-loss, E_z L(θ + σz), from the same unrolls
(Metz et al. 2019, arXiv:1810.10180, sections 2 and 3): evolution strategies from values, the
reparameterisation gradient by backprop at θ ± σz. The optimizer is a network applied to every
parameter, `mlp` with 4 hidden units and steps of 0.02, on a small network that classifies 8x8
digits.

- Evolution's variance is about the squared norm of the gradient on each of θ's coordinates
  while the outer-loss is smooth, and bounded where it is rough, as its losses are.
- Backprop's is that of the gradient itself: far smaller while the outer-loss is smooth, and
  exponential in the unroll's length once steps are so large that the inner problem is chaotic.

So they cross along the length of an unroll, the earlier the larger the steps are, and during
outer-training, which makes them larger. Merged, each coordinate weighted by the inverse of its
variances, they are as good as the better one. Variances are of one particle (a pair), averaged
over θ's coordinates; that of the merged one is what independent samples would have.

A few minutes of one core. Writes gradient_variance.png and .csv into `--out`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import agents
import learned
import opt_gym
from agents.estimators.particles import Renewal, programs
from agents.estimators.slots import evolution_samples, moments

# The pieces that the outer-trainer "inverse_variance" is made of: here its three variances
# are wanted, of the same unrolls, and no step.
from agents.outer_optimizers import outer_optimizer
from agents.records import lengths_of
from agents.trainers.inverse_variance import merged
from opt_gym.evaluation.house_style import (
    OTHER_COLORS,
    SUBJECT_COLOR,
    plain_ticks,
    write_picture,
)
from opt_gym.records import Data, Env, LearnedOptimizer
from opt_gym.runtime import strategy
from opt_gym.runtime.files import write_table

SHOWN = {
    "evolution strategies": (OTHER_COLORS[1], "-"),
    "reparameterisation (backprop)": (OTHER_COLORS[3], "-"),
    "merged by inverse variance": (SUBJECT_COLOR, (0, (1.5, 1))),
}

TOP = 1e6  # of the picture: backprop's variance goes on to 1e38, where it overflows


class Row(NamedTuple):
    """The variances at one θ and length; cost is the outer-loss there.

    Backprop's is infinite where it overflows, or where fewer than two particles have a slope
    that is finite; `diverged` counts those that have not.
    """

    outer_step: int
    length: int
    evolution: float
    reparameterisation: float
    merged: float
    diverged: int
    cost: float


Measure = Callable[[Any, int], Row]
"""(θ, the outer step it is of) -> its variances."""


def main(
    out: Path = Path("runs/figures"),
    task: str = "small_mlp_family_seed0",
    lengths: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256),
    train_length: int = 64,
    outer_steps: int = 60,
    num_points: int = 13,
    num: int = 32,
    sigma: float = 0.03,
    hidden: int = 4,
    step_multiplier: float = 0.02,
    seed: int = 0,
) -> list[Row]:
    """Trains θ by ES for a while and measures variances; returns all rows.

    Args:
        out: folder.
        task: the inner problem.
        lengths: of unrolls, measured before and after training.
        train_length: of the unrolls in training, one of `lengths`.
        outer_steps: of training.
        num_points: outer steps at which variances are measured.
        num: particles (pairs) that a variance is taken over.
        sigma: of the perturbations of θ.
        hidden, step_multiplier: of the optimizer `mlp`.
        seed: of training and measuring.
    """
    began = time.monotonic()
    optimizer = learned.make(
        "mlp", hidden=hidden, step_multiplier=step_multiplier, exp_multiplier=0.1
    )
    env = opt_gym.make(
        task,
        learned_optimizer=optimizer,
        data="embedded",
        second_derivatives=True,  # the whole gradient: how g depends on φ, too
    )
    data = strategy.gather(opt_gym.load_data(env))
    thetas = train(
        env, optimizer, data, train_length, outer_steps, num_points, sigma, seed
    )
    rows = []
    for length in lengths:
        measure = measurer(env, optimizer, data, length, num, sigma, seed)
        steps = thetas if length == train_length else (0, outer_steps)
        for step in steps:
            rows.append(measure(thetas[step], step))
            print(tell(rows[-1]), flush=True)
    table = write_table(out / "gradient_variance.csv", Row._fields, rows)
    picture = write_picture(
        out / "gradient_variance.png",
        (12, 3.9),
        lambda figure: draw(figure, rows, outer_steps, train_length),
        dpi=100,
    )
    print(f"{picture} and {table}: {time.monotonic() - began:.0f} seconds.")
    return rows


def train(
    env: Env,
    optimizer: LearnedOptimizer,
    data: Data,
    length: int,
    outer_steps: int,
    num_points: int,
    sigma: float,
    seed: int,
) -> dict[int, Any]:
    """ES on whole unrolls; θ by outer step."""
    trainer = agents.make(
        "es",
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=outer_optimizer("adam", 0.02, outer_steps, end=1.0),
        num_pairs=8,
        trunc_length=length,
        horizon=length,
        sigma=sigma,
        theta_average=0.0,
    )
    start = strategy.gather(jax.jit(optimizer.init_theta)(jax.random.key(seed)))
    wanted = set(np.linspace(0, outer_steps, num_points).round().astype(int).tolist())
    thetas: dict[int, Any] = {0: start}

    def keep(progress: Any) -> None:
        if progress.outer_step in wanted:
            thetas[progress.outer_step] = progress.trainer.theta(progress.state)

    result = agents.train(
        trainer,
        [data],
        outer_steps=outer_steps,
        seed=seed,
        theta=start,
        callbacks=[keep],
    )
    ends = [np.mean([r.outer_loss for r in part]) for part in halves(result.reports)]
    print(f"Trained on {length} steps: outer-loss {ends[0]:.3f} -> {ends[1]:.3f}.")
    return thetas


def halves(reports: list[Any]) -> tuple[list[Any], list[Any]]:
    """The first and the last tenth."""
    tenth = max(len(reports) // 10, 1)
    return reports[:tenth], reports[-tenth:]


def measurer(
    env: Env,
    optimizer: LearnedOptimizer,
    data: Data,
    length: int,
    num: int,
    sigma: float,
    seed: int,
) -> Measure:
    """What measures variances on whole unrolls of one length."""
    run = programs(
        env,
        optimizer,
        num=num,
        lengths=lengths_of(length, length),
        sigma=sigma,
        slopes=True,
    )
    k_reset, k_noise = jax.random.split(jax.random.key(seed))

    @jax.jit
    def variances(out: Any) -> tuple[Any, ...]:
        evolution = evolution_samples(out.score, out.difference, sigma, sign=False)
        both = moments(evolution), moments(out.slope), merged(evolution, out.slope)
        found = [
            jnp.where(one.count > 1, jnp.mean(one.variance), jnp.inf) for one in both
        ]
        return *found, num - both[1].count, jnp.mean(out.cost)

    def measure(theta: Any, outer_step: int) -> Row:
        everyone, no = jnp.ones(num, bool), jnp.bool_(False)
        particles, noise = run.empty(theta, data), run.keys(k_noise)
        renewal = Renewal(k_reset, everyone, float(length), no)
        out = strategy.gather(run.window(noise, theta, data, particles, renewal)[1])
        evolution, slope, both, diverged, cost = map(float, variances(out))
        return Row(outer_step, length, evolution, slope, both, int(diverged), cost)

    return measure


def tell(row: Row) -> str:
    """One line for people."""
    return (
        f"outer step {row.outer_step:4d}, {row.length:4d} inner steps: evolution "
        f"{row.evolution:.2g}, reparameterisation {row.reparameterisation:.2g}, merged "
        f"{row.merged:.2g}; outer-loss {row.cost:.3f}, {row.diverged} diverged"
    )


def draw(figure: Any, rows: list[Row], outer_steps: int, train_length: int) -> None:
    """Variance against length, before and after training, and during it."""
    before, after, during = figure.subplots(1, 3, sharey=True)
    panels = (
        (before, "length", 0, "Untrained θ"),
        (after, "length", outer_steps, f"θ after {outer_steps} outer steps"),
        (during, "outer_step", None, f"During training, {train_length} inner steps"),
    )
    for axes, across, step, title in panels:
        shown = [
            row
            for row in rows
            if (row.length == train_length if step is None else row.outer_step == step)
        ]
        x = [getattr(row, across) for row in shown]
        columns = np.array([row[2:5] for row in shown]).T
        for (name, (color, line)), y in zip(SHOWN.items(), columns, strict=True):
            look = {"color": color, "ls": line, "marker": "o", "ms": 3.5}
            axes.plot(x, np.minimum(y, 1e3 * TOP), label=name, lw=1.8, **look)
        axes.set_yscale("log")
        axes.set_title(title, loc="left", fontsize=10)
    for axes in (before, after):
        axes.set_xscale("log")
        axes.set_xlabel("inner steps of an unroll")
        plain_ticks(axes)
        axes.set_xticks(sorted({row.length for row in rows}))
        axes.minorticks_off()
    before.set_ylim(bottom=min(min(row[2:5]) for row in rows) / 3, top=TOP)
    during.set_xlabel("outer step")
    before.set_ylabel("variance of one particle's gradient,\nmean over θ's coordinates")
    before.legend(frameon=False, loc="upper left", handlelength=2.6)


if __name__ == "__main__":
    tyro.cli(main)
