"""Draws where optimizers end on f(x, y) = ½(x − y)²: every point with x = y is a minimum.

    python examples/figure_implicit_regularisation.py

The loss says nothing of which minimum to take; the optimizer does. The gradient is (d, −d),
d = x − y, and whoever is told of it alone, and treats coordinates alike, moves x and y by
opposite amounts: SGD, Adam and `nominal_small` (Adam with learned step sizes) keep x + y, so
that they end at the minimum nearest to the start. A learned optimizer that also sees the
weights need not: `mlp_small` was trained on small networks and here moves along the line of
minima to the origin, as weight decay would. It is no law: `adafactor_mlp_small`, trained in the
same way for longer, moves along it to nowhere in particular. Both were trained for up to 1,000
steps and are run for as many.

Seconds of one core. Writes implicit_regularisation.png and .csv into `--out`.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import learned
from opt_gym.evaluation.house_style import OTHER_COLORS, SUBJECT_COLOR, write_picture
from opt_gym.runtime.files import write_table

BY_HAND = {
    "SGD": (0.1, optax.sgd),
    "Adam": (0.03, optax.adam),
}
"""Learning rates and optimizers that are not in `learned`."""

STARTS = (
    (-1.5, 1.0),
    (-0.5, 1.8),
    (0.4, 1.9),
    (1.9, 1.0),
    (1.6, -0.6),
    (0.3, -1.8),
    (-1.0, -1.9),
    (-1.9, -0.5),
)

SIDE = 4.0  # of the picture, from the origin


class Paths(NamedTuple):
    """What an optimizer does from every start: [starts, steps + 1, 2]."""

    optimizer: str
    points: np.ndarray

    @property
    def sums(self) -> np.ndarray:
        """The place along the line of minima, x + y: [starts, steps + 1]."""
        return self.points.sum(-1)


def main(
    out: Path = Path("runs/figures"),
    optimizers: tuple[str, ...] = ("SGD", "Adam", "mlp_small", "adafactor_mlp_small"),
    steps: int = 1000,
) -> list[Paths]:
    """Runs every optimizer from eight starts and draws the paths; returns them.

    Args:
        out: folder.
        optimizers: "SGD", "Adam", or what `learned.load` knows: a bundled name or a file.
        steps: of every run.
    """
    began = time.monotonic()
    every = [Paths(name, paths(name, steps)) for name in optimizers]
    for one in every:
        begin, end = np.abs(one.sums[:, [0, -1]]).mean(0)
        moved = np.abs(one.sums[:, -1] - one.sums[:, 0]).max()
        apart = np.abs(one.points[:, -1, 0] - one.points[:, -1, 1]).max()
        print(
            f"{one.optimizer:22s} mean |x + y| {begin:.2f} -> {end:.2f}, moved by at most "
            f"{moved:.3g}; |x - y| at the end at most {apart:.2g}"
        )
    rows = [
        (one.optimizer, start, step, float(x), float(y))
        for one in every
        for start, path in enumerate(one.points)
        for step, (x, y) in enumerate(path)
        if step % 10 == 0
    ]
    columns = ("optimizer", "start", "step", "x", "y")
    table = write_table(out / "implicit_regularisation.csv", columns, rows)
    picture = write_picture(
        out / "implicit_regularisation.png",
        (3.1 * len(every) + 0.4, 3.6),
        lambda figure: draw(figure, every),
        dpi=100,
    )
    print(f"{picture} and {table}: {time.monotonic() - began:.0f} seconds.")
    return every


def paths(name: str, steps: int) -> np.ndarray:
    """The path from every start; φ is one tensor, [x, y]."""
    if name in BY_HAND:
        rate, optimizer = BY_HAND[name]
        plain = optimizer(rate)
    else:
        plain = learned.to_optax(*learned.load(name), horizon=steps, warn=False)
    tx = optax.with_extra_args_support(plain)

    def run(params: Any) -> Any:
        def body(state: tuple, _: None) -> tuple[tuple, Any]:
            params, memory = state
            loss, grad = jax.value_and_grad(loss_of)(params)
            updates, memory = tx.update(grad, memory, params, value=loss)
            params = optax.apply_updates(params, updates)
            return (params, memory), params

        _, after = jax.lax.scan(body, (params, tx.init(params)), None, length=steps)
        return jnp.concatenate([params[None], after])

    return np.asarray(jax.jit(jax.vmap(run))(jnp.array(STARTS)), float)


def loss_of(params: Any) -> Any:
    """½(x − y)²."""
    return 0.5 * jnp.square(params[0] - params[1])


def draw(figure: Any, every: list[Paths]) -> None:
    """One panel an optimizer: the loss, its minima, and the paths."""
    side = np.linspace(-SIDE, SIDE, 121)
    x, y = np.meshgrid(side, side)
    panels = figure.subplots(1, len(every), sharex=True, sharey=True, squeeze=False)[0]
    for axes, one in zip(panels, every, strict=True):
        levels = 0.5 * np.arange(1, 6) ** 2  # one unit of |x − y| apart
        axes.contour(x, y, 0.5 * (x - y) ** 2, levels, colors="#cdd2d8", linewidths=0.8)
        axes.plot(side, side, color=OTHER_COLORS[0], lw=1, ls=(0, (5, 1.5)))
        axes.grid(visible=False)
        color = OTHER_COLORS[3] if one.optimizer in BY_HAND else SUBJECT_COLOR
        for path in one.points:
            axes.plot(*path.T, color=color, lw=1.3)
            axes.plot(*path[0], "o", mfc="white", mec=color, ms=4.5)
            axes.plot(*path[-1], "o", color=color, ms=5.5, zorder=3)
        rate = BY_HAND.get(one.optimizer, (None,))[0]
        title = one.optimizer if rate is None else f"{one.optimizer}, {rate:g}"
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_aspect("equal")
        axes.set_xlim(-SIDE, SIDE)
        axes.set_ylim(-SIDE, SIDE)
        axes.set_xlabel("x      ○ start   ● end   - - minima")
    panels[0].set_ylabel("y")


if __name__ == "__main__":
    tyro.cli(main)
