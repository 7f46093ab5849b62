"""One thing at a time beyond what an optimizer was trained on: how far does it hold?

    python -m examples.talk.out_of_distribution
    python -m examples.talk.out_of_distribution --out results/talk/out_of_distribution  # again

A net with one layer of 32 units and batches of 128 learns images, and one thing of it changes:
its width, its depth, its activation, its batches, or for how long it trains. The learned
optimizer is a θ that is there already; beside it Adam at five rates. Shaded is what the twins
were that θ was trained on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

import learned
import opt_gym
from examples.bundle import RECIPES
from examples.studies import completed, printed, runs_at_rates, runs_of
from opt_gym.evaluation.house_style import OTHER_COLORS, SUBJECT_COLOR, write_figure
from opt_gym.evaluation.runs import Runs

RATES = (1e-4, 1e-3, 3e-3, 1e-2, 3e-2)
DATA = ("mnist", "cifar10")
AXES: dict[str, tuple] = {
    "width": (1, 3, 10, 32, 100, 300, 1000),
    "batch": (1, 3, 10, 30, 100, 1000, 10_000),
    "depth": (1, 2, 3, 5, 8, 12),
    "activation": ("relu", "tanh", "swish", "sigmoid", "cos"),
    "horizon": (100, 300, 1000, 3000, 10_000),
}
"""What changes, and its values."""

USUAL = {"width": 32, "batch": 128, "depth": 1, "activation": "relu", "horizon": 1000}


class Row(NamedTuple):
    """One optimizer at one point: training losses, means over seeds, not normalized."""

    data: str
    axis: str
    value: str
    optimizer: str
    mean_loss: float
    final_loss: float
    diverged: int
    runs: int


def main(
    out: Path = Path("runs/talk/out_of_distribution"),
    theta: str = "general",
    data: Sequence[str] = DATA,
    axes: Sequence[str] = tuple(AXES),
    num_values: int | None = None,
    num_seeds: int = 5,
    horizon: int = USUAL["horizon"],
) -> list[Row]:
    """Measures, and writes `table.csv` and `figure.png`.

    Args:
        out: folder; what is there is not measured again.
        theta: file or bundled name.
        data: sets of images.
        axes: some of `AXES`.
        num_values: only so many of each axis, from its smallest.
        num_seeds: initial weights and batches at every point.
        horizon: steps, where these do not change.
    """
    opt_gym.use_all_cores()
    subject = learned.load(theta)

    def rows(data: str, axis: str, value: str) -> list[Row]:
        point = USUAL | {"horizon": horizon, axis: type(USUAL[axis])(value)}
        how = {"horizon": point["horizon"], "num_seeds": num_seeds}
        task = [config(data, point)]
        runs = {"learned": runs_of(subject, task, **how)}
        for rate, own in runs_at_rates("adam", RATES, task, **how).items():
            runs[f"Adam {rate:g}"] = own
        return [
            Row(data, axis, value, name, *told(own[0])) for name, own in runs.items()
        ]

    keys = [
        (name, axis, str(value))
        for name in data
        for axis in axes
        for value in AXES[axis][:num_values]
    ]
    table = completed(out / "table.csv", Row, keys, rows)
    shape = (2.6 * len(axes), 2.4 * len(data) + 0.6)
    write_figure(out / "figure", shape, lambda figure: draw(figure, table))
    print(printed(table))
    return table


def config(data: str, point: Mapping[str, Any]) -> dict[str, Any]:
    """The task at a point of the axes."""
    return {
        "family": "mlp",
        "layer_sizes": [point["width"]] * point["depth"],
        "activation": point["activation"],
        "w_init": ["he_normal", None],
        "dataset": [data, {"bs": point["batch"], "just_train": True}, None],
        "center_data": True,
    }


def told(run: Runs) -> tuple[float, float, int, int]:
    """What a row has of a run."""
    mean, final = np.mean(run.step_losses), np.mean(run.train_loss[:, -1])
    return (
        float(f"{mean:.4g}"),
        float(f"{final:.4g}"),
        int(np.sum(run.diverged)),
        len(run.diverged),
    )


def trained_on() -> dict[str, tuple[float, float]]:
    """The range of each axis in the twins, fully connected ones, of the recipe of `general`."""
    phases = RECIPES["general"].phases
    configs = [*map(opt_gym.task_config, phases[0]["tasks"])]
    nets = [c for c in configs if c["family"] == "mlp" and c["layer_sizes"]]
    seen = {
        "width": [size for c in nets for size in c["layer_sizes"]],
        "depth": [len(c["layer_sizes"]) for c in nets],
        "batch": [c["dataset"][1]["bs"] for c in nets],
        "horizon": [50, 5000],
    }
    return {axis: (min(values), max(values)) for axis, values in seen.items()}


def draw(figure: Any, table: Sequence[Row]) -> None:
    """A row a data set, a column an axis: final training losses."""
    data, axes = (
        [*dict.fromkeys(one)] for one in zip(*(r[:2] for r in table), strict=True)
    )
    panels = figure.subplots(len(data), len(axes), squeeze=False, sharey="row")
    ranges = trained_on()
    for line, column in np.ndindex(panels.shape):
        panel, axis = panels[line, column], axes[column]
        own = [r for r in table if (r.data, r.axis) == (data[line], axis)]
        draw_panel(panel, own)
        if axis in ranges:
            panel.axvspan(*ranges[axis], color=SUBJECT_COLOR, alpha=0.08, lw=0)
        panel.set(xlabel=axis if line == len(data) - 1 else "", yscale="log")
        if column == 0:
            panel.set(ylabel=f"final loss, {data[line]}")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False)


def draw_panel(panel: Any, rows: Sequence[Row]) -> None:
    """The learned optimizer above five shades of Adam."""
    names = [*dict.fromkeys(row.optimizer for row in rows)]
    values = [*dict.fromkeys(row.value for row in rows)]
    is_named = not values[0].isdecimal()
    places = range(len(values)) if is_named else [*map(float, values)]
    for number, name in enumerate(names):
        losses = [row.final_loss for row in rows if row.optimizer == name]
        is_learned = number == 0
        panel.plot(
            places,
            losses,
            marker="o",
            markersize=4 if is_learned else 2,
            linewidth=2 if is_learned else 1,
            color=SUBJECT_COLOR if is_learned else OTHER_COLORS[0],
            alpha=1 if is_learned else 0.3 + 0.14 * number,
            label=name,
            zorder=3 if is_learned else 2,
        )
    if is_named:
        panel.set_xticks(places, values, rotation=30)
    else:
        panel.set_xscale("log")


if __name__ == "__main__":
    tyro.cli(main)
