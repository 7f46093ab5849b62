"""Draws the outer-loss over a two-dimensional slice of θ, for short and for long unrolls.

    python examples/figure_loss_surface.py

θ is that of the bundled `mlp_small`, a network of 1,090 weights applied to every parameter,
trained by PES for unrolls of up to 1,000 steps. The slice is θ + x·u + y·v with two random
directions, each tensor of which has the norm of θ's (Li et al. 2018, arXiv:1712.09913): one
unit of x or y replaces θ by noise of its size. At every point one unroll of the same inner
problem, same batches, is done: its first steps are the short one. So all that is seen is due to
θ.

Long unrolls make the outer-loss a rough function of θ (Metz et al. 2019, arXiv:1810.10180,
section 2): the gradient at a point says less and less of what is beside it, which is why
evolution strategies look at a neighbourhood instead. Roughness is told as the mean absolute
second difference between neighbours on the grid, relative to the standard deviation of the
outer-loss over the slice, and as the number of points lower than all eight neighbours.

A few minutes of one core. Writes loss_surface.png and .npz into `--out`.
"""

import io
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import learned
import opt_gym
from opt_gym import strategy
from opt_gym.evaluation.plots import write_picture
from opt_gym.files import write_atomically

TASK = "small_mlp_family_seed0"


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
    lengths: tuple[int, int] = (20, 400),
    points: int = 41,
    extent: float = 0.5,
    step_multiplier: float = 0.02,
    seed: int = 0,
) -> list[Surface]:
    """Computes both surfaces and draws them; returns them.

    Args:
        out: folder.
        lengths: inner steps of the short and the long unroll.
        points: of the grid, along either direction.
        extent: of the slice, in norms of θ to either side.
        bundled: whose θ is in the middle.
        seed: of the directions and of the inner problem.
    """
    began = time.monotonic()
    grid = np.linspace(-extent, extent, points)
    costs = unrolled(step_multiplier, grid, max(lengths), seed)
    surfaces = [Surface(n, costs[..., :n].mean(-1)) for n in lengths]
    for one in surfaces:
        print(
            f"{one.length:5d} inner steps: outer-loss {one.losses.min():.3f} to "
            f"{one.losses.max():.3f}, roughness {one.roughness:.3f}, "
            f"{one.num_minima} local minima on the grid"
        )
    content = io.BytesIO()
    short, long = (one.losses for one in surfaces)
    np.savez_compressed(
        content, grid=grid, lengths=np.array(lengths), short=short, long=long
    )
    table = write_atomically(out / "loss_surface.npz", content.getvalue())
    picture = write_picture(
        out / "loss_surface.png",
        (10, 4.6),
        lambda figure: draw(figure, surfaces, grid),
        dpi=100,
    )
    print(f"{picture} and {table}: {time.monotonic() - began:.0f} seconds.")
    return surfaces


def unrolled(step_multiplier: float, grid: np.ndarray, length: int, seed: int) -> np.ndarray:
    """ℓ̃ of every inner step at every point of the slice: [y, x, length]."""
    optimizer = learned.make(
        "mlp", hidden=4, step_multiplier=step_multiplier, exp_multiplier=0.1
    )
    theta = optimizer.init_theta(jax.random.key(0))
    env = opt_gym.make(TASK, learned_optimizer=optimizer, data="embedded")
    data = opt_gym.load_data(env)
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
    return costs.reshape(len(grid), len(grid), length)


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


def draw(figure: Any, surfaces: list[Surface], grid: np.ndarray) -> None:
    """Both surfaces side by side, each with its own scale of colors."""
    half = (grid[1] - grid[0]) / 2
    edges = (grid[0] - half, grid[-1] + half) * 2
    for axes, one in zip(figure.subplots(1, 2), surfaces, strict=True):
        image = axes.imshow(
            one.losses, origin="lower", extent=edges, cmap="magma", aspect="equal"
        )
        axes.plot(0, 0, "+", color="white", ms=9, mew=1.6)
        axes.grid(visible=False)
        axes.set_title(f"{one.length} inner steps", loc="left", fontsize=10)
        axes.set_xlabel("along a random direction, in norms of θ")
        axes.set_ylabel("along another one")
        bar = figure.colorbar(image, ax=axes, shrink=0.85)
        bar.set_label("outer-loss (mean normalized loss)")
        bar.outline.set_visible(False)


if __name__ == "__main__":
    tyro.cli(main)
