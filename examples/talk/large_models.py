"""Nets a hundred times as large as any that the learned optimizer was trained on.

    python -m examples.talk.large_models
    python -m examples.talk.large_models --out results/talk/large_models    # table and figure

A residual net of 14 layers learns images of 32 x 32 for 1,000 steps, one of 34 layers for 50:
with a θ that is there already, with Adam and with momentum, these at three rates each.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

import learned
import opt_gym
from examples.studies import completed, printed, runs_of
from opt_gym.evaluation.house_style import OTHER_COLORS, SUBJECT_COLOR, write_figure

NETS = {"ResNet14_cifar10_bs128": 1000, "ResNet34_cifar10_bs128": 50}
"""Named tasks, and for how many steps."""

RATES = {"adam": (3e-4, 1e-3, 3e-3), "momentum": (1e-3, 1e-2, 1e-1)}
NUM_POINTS = 24


class Row(NamedTuple):
    """One run after so many steps; losses are not normalized."""

    net: str
    optimizer: str
    seed: int
    step: int
    train_loss: float
    test_loss: float
    accuracy: float


class Summary(NamedTuple):
    """What is printed of a run."""

    net: str
    optimizer: str
    seed: int
    final_loss: float
    test_loss: float
    accuracy: float


def main(
    out: Path = Path("runs/talk/large_models"),
    theta: Sequence[str] = ("general", "general_free"),
    nets: Sequence[str] = tuple(NETS),
    steps: int | None = None,
    num_seeds: int = 1,
) -> list[Row]:
    """Measures, and writes `table.csv` and `figure.png`.

    Args:
        out: folder; what is there is not measured again.
        theta: files or bundled names.
        nets: named tasks.
        steps: instead of those of `NETS`.
        num_seeds: initial weights and batches.
    """
    opt_gym.use_all_cores()
    optimizers: dict[str, Any] = {name: learned.load(name) for name in theta}
    for kind, rates in RATES.items():
        for rate in rates:
            optimizers[f"{kind} {rate:g}"] = (
                learned.make(kind, learning_rate=rate),
                None,
            )

    def rows(net: str, name: str) -> list[Row]:
        run = runs_of(
            optimizers[name],
            [net],
            horizon=steps or NETS.get(net, 1000),
            num_seeds=num_seeds,
            num_points=NUM_POINTS,
            num_batches=2,
        )[0]
        losses = run.train_loss, run.test_loss, run.accuracy
        return [
            Row(
                net,
                name,
                seed,
                int(step),
                *(float(f"{x[seed, i]:.4g}") for x in losses),
            )
            for seed in range(num_seeds)
            for i, step in enumerate(run.inner_steps)
        ]

    keys = [(net, name) for net in nets for name in optimizers]
    table = completed(out / "table.csv", Row, keys, rows)
    shape = (4.2 * len(nets), 3.6)
    write_figure(out / "figure", shape, lambda figure: draw(figure, table))
    print(printed(last(table)))
    return table


def last(table: Sequence[Row]) -> list[Summary]:
    """Every run at its end."""
    ends = {row[:3]: row for row in table}
    return [Summary(*row[:3], *row[4:]) for row in ends.values()]


def draw(figure: Any, table: Sequence[Row]) -> None:
    """Training losses by steps, a panel a net: medians over seeds."""
    nets = [*dict.fromkeys(row.net for row in table)]
    panels = figure.subplots(1, len(nets), squeeze=False)[0]
    names = [*dict.fromkeys(row.optimizer for row in table)]
    for panel, net in zip(panels, nets, strict=True):
        for name in names:
            own = [row for row in table if (row.net, row.optimizer) == (net, name)]
            steps = sorted({row.step for row in own})
            losses = [
                np.median([row.train_loss for row in own if row.step == step])
                for step in steps
            ]
            panel.plot(steps, losses, label=name, **look(name, names))
        panel.set(xlabel=f"steps of {net.split('_')[0]}", xscale="symlog")
        panel.set(yscale="log")
    panels[0].set(ylabel="training loss")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)


def look(name: str, names: Sequence[str]) -> dict[str, Any]:
    """Learned ones thick; of Adam and of momentum a color, of every rate a line."""
    kind = name.split()[0]
    place = [other for other in names if other.split()[0] == kind].index(name)
    if kind not in RATES:
        line = ("-", "--")[names.index(name) % 2]
        return {"color": SUBJECT_COLOR, "linewidth": 2, "linestyle": line, "zorder": 3}
    return {
        "color": OTHER_COLORS[[*RATES].index(kind)],
        "linewidth": 1,
        "linestyle": (":", "--", "-")[place % 3],
    }


if __name__ == "__main__":
    tyro.cli(main)
