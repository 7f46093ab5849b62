"""Draws the outer-loss over a two-dimensional slice of θ, for short and for long unrolls.

    python examples/figure_loss_surface.py

The optimizer is a network applied to every parameter, `mlp` with 4 hidden units and steps of
0.02, on a small network that classifies 8x8 digits, after 20 outer steps of evolution
strategies on 64 inner steps: it trains, and its steps are still small. The slice is θ + x·u +
y·v with two random directions, each tensor of which has the norm of θ's (Li et al. 2018,
arXiv:1712.09913). At every point one unroll is done of the same inner problem, from the same
initial weights and with the same batches, so that all that is seen is due to θ; its first steps
are the short unroll.

Long unrolls make the outer-loss a rough function of θ (Metz et al. 2019, arXiv:1810.10180,
section 2): the gradient at a point says less and less of what is beside it, which is why
evolution strategies look at a neighbourhood instead. Roughness is the mean absolute second
difference between neighbours on the grid, in standard deviations of the outer-loss over the
slice (1.95 for a grid of independent normal numbers); local minima are points that are lower
than all eight neighbours.

A few minutes of one core. Writes loss_surface.png and .npz into `--out`.
"""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import agents
import learned
import opt_gym
from agents.outer_optimizers import outer_optimizer
from opt_gym.evaluation.house_style import (
    OTHER_COLORS,
    SUBJECT_COLOR,
    plain_ticks,
    write_picture,
)
from opt_gym.records import Data, Env, LearnedOptimizer
from opt_gym.runtime import strategy
from opt_gym.runtime.files import write_atomically


class Surface(NamedTuple):
    """The outer-loss on a grid [points, points], and how rough it is."""

    length: int
    losses: np.ndarray

    @property
    def roughness(self) -> float:
        """Mean |second difference| along both axes, in standard deviations of the losses."""
        bends = [np.abs(np.diff(self.losses, 2, axis)).mean() for axis in (0, 1)]
        return float(np.mean(bends) / self.losses.std())

    @property
    def num_minima(self) -> int:
        """Inner points of the grid that are lower than their eight neighbours."""
        x, n = self.losses, len(self.losses)
        around = [
            x[1 + i : n - 1 + i, 1 + j : n - 1 + j]
            for i in (-1, 0, 1)
            for j in (-1, 0, 1)
            if (i, j) != (0, 0)
        ]
        return int(np.sum(np.all(x[1:-1, 1:-1] < np.stack(around), axis=0)))


def main(
    out: Path = Path("runs/figures"),
    task: str = "small_mlp_family_seed0",
    lengths: tuple[int, int] = (8, 256),
    points: int = 41,
    extent: float = 0.1,
    outer_steps: int = 20,
    seed: int = 0,
) -> list[Surface]:
    """Computes the surfaces and draws them; returns the one of every length up to the longest.

    Args:
        out: folder.
        task: the inner problem.
        lengths: inner steps of the short and the long unroll.
        points: of the grid, along either direction.
        extent: of the slice, in norms of θ to either side.
        outer_steps: of training before; 0 for an untrained θ.
        seed: of θ, the directions and the inner problem.
    """
    began = time.monotonic()
    optimizer = learned.make("mlp", hidden=4, step_multiplier=0.02, exp_multiplier=0.1)
    env = opt_gym.make(task, learned_optimizer=optimizer, data="embedded")
    data = strategy.gather(opt_gym.load_data(env))
    theta = trained(env, optimizer, data, outer_steps, seed)
    grid = np.linspace(-extent, extent, points)
    costs = unrolled(env, optimizer, data, theta, grid, max(lengths), seed)
    means = np.cumsum(costs, -1) / np.arange(1, costs.shape[-1] + 1)
    surfaces = [Surface(n + 1, means[..., n]) for n in range(means.shape[-1])]
    short, long = (surfaces[n - 1] for n in lengths)
    for one in (short, long):
        print(
            f"{one.length:5d} inner steps: outer-loss {one.losses.min():.4f} to "
            f"{one.losses.max():.4f}, roughness {one.roughness:.3f}, "
            f"{one.num_minima} local minima on the grid"
        )
    content = io.BytesIO()
    np.savez_compressed(
        content,
        grid=grid,
        lengths=np.array(lengths),
        short=short.losses,
        long=long.losses,
        roughness=np.array([one.roughness for one in surfaces]),
    )
    table = write_atomically(out / "loss_surface.npz", content.getvalue())
    picture = write_picture(
        out / "loss_surface.png",
        (12, 3.7),
        lambda figure: draw(figure, (short, long), surfaces, grid),
        dpi=100,
    )
    print(f"{picture} and {table}: {time.monotonic() - began:.0f} seconds.")
    return surfaces


def trained(
    env: Env, optimizer: LearnedOptimizer, data: Data, outer_steps: int, seed: int
) -> Any:
    """θ after a few outer steps of evolution strategies on whole unrolls."""
    start = strategy.gather(jax.jit(optimizer.init_theta)(jax.random.key(seed)))
    if outer_steps == 0:
        return start
    trainer = agents.make(
        "es",
        envs=[env],
        learned_optimizer=optimizer,
        outer_optimizer=outer_optimizer("adam", 0.02, outer_steps, end=1.0),
        num_pairs=8,
        trunc_length=64,
        horizon=64,
        sigma=0.03,
        theta_average=0.0,
    )
    return agents.train(
        trainer, [data], outer_steps=outer_steps, seed=seed, theta=start
    ).theta


def unrolled(
    env: Env,
    optimizer: LearnedOptimizer,
    data: Data,
    theta: Any,
    grid: np.ndarray,
    length: int,
    seed: int,
) -> np.ndarray:
    """ℓ̃ of every inner step at every point of the slice: [y, x, length]."""
    k_task, k_u, k_v = jax.random.split(jax.random.key(seed), 3)
    u, v = direction(k_u, theta), direction(k_v, theta)

    def one(place: Any, shared: Any) -> Any:
        theta, u, v, data = shared
        moved = jax.tree.map(
            lambda t, a, b: t + place[0] * a + place[1] * b, theta, u, v
        )
        state = opt_gym.start(k_task, env, optimizer, moved, data, length)
        _, told = opt_gym.unroll(env, optimizer, moved, data, state, length)
        return told.cost

    y, x = np.meshgrid(grid, grid, indexing="ij")
    places = jnp.asarray(np.stack([x, y], -1).reshape(-1, 2), jnp.float32)
    run = strategy.map_unrolls(one, len(places))
    costs = np.asarray(run(places, (theta, u, v, data)))
    return costs.reshape(len(grid), len(grid), length).astype(float)


def direction(key: Any, theta: Any) -> Any:
    """Noise like θ, every tensor with the norm of θ's."""
    leaves, tree = jax.tree.flatten(theta)
    noise = [
        jax.random.normal(k, leaf.shape)
        for k, leaf in zip(jax.random.split(key, len(leaves)), leaves, strict=True)
    ]
    return jax.tree.unflatten(
        tree,
        [
            z * jnp.linalg.norm(leaf) / jnp.linalg.norm(z)
            for z, leaf in zip(noise, leaves, strict=True)
        ],
    )


def draw(
    figure: Any, shown: Sequence[Surface], every: Sequence[Surface], grid: np.ndarray
) -> None:
    """Both surfaces, each with its own scale of colors, and roughness against length."""
    half = (grid[1] - grid[0]) / 2
    edges = (grid[0] - half, grid[-1] + half) * 2
    *pair, last = figure.subplots(1, 3)
    for axes, one in zip(pair, shown, strict=True):
        image = axes.imshow(
            one.losses, origin="lower", extent=edges, cmap="magma", aspect="equal"
        )
        axes.plot(0, 0, "+", color="white", ms=9, mew=1.6)
        axes.grid(visible=False)
        axes.set_title(f"Outer-loss, {one.length} inner steps", loc="left", fontsize=10)
        axes.set_xlabel("x, in norms of θ")
        axes.set_ylabel("y, in norms of θ")
        bar = figure.colorbar(image, ax=axes, shrink=0.85)
        bar.outline.set_visible(False)
    last.plot(
        [one.length for one in every],
        [one.roughness for one in every],
        color=OTHER_COLORS[0],
        lw=1.8,
    )
    for one, below in zip(shown, (8, -4), strict=True):
        last.plot(one.length, one.roughness, "o", color=SUBJECT_COLOR, ms=6)
        last.annotate(
            f"{one.num_minima} local minima",
            (one.length, one.roughness),
            xytext=(-8, below),
            textcoords="offset points",
            ha="right",
            color=SUBJECT_COLOR,
        )
    last.set_xscale("log")
    plain_ticks(last)
    last.set_yscale("linear")
    last.set_title("Roughness of the outer-loss", loc="left", fontsize=10)
    last.set_xlabel("inner steps of an unroll")
    last.set_ylabel("|second difference| / std")


if __name__ == "__main__":
    tyro.cli(main)
