"""The picture of an evaluation: every task's curves, and the aggregate beside them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opt_gym.comparison import group, mean_costs
from opt_gym.evaluation_records import Runs
from opt_gym.records import Config
from opt_gym.statistics import mean

COLOURS = ("#d1495b", "#30638e", "#8d99ae", "#edae49", "#00798c", "#5f0f40")
COLUMNS = 4
_INK, _FAINT = "#2b2d42", "#e6e8ef"


def plot(path: Path, runs: Sequence[Runs], *, title: str = "") -> Path:
    """Writes a PNG: train loss per task (median and range over seeds), and mean costs.

    Runs of the first run's horizon are shown; the first optimizer is drawn on top.

    Args:
        path: of the picture.
        runs: of several optimizers on the same tasks.
        title: over the whole.
    """
    # The object-oriented interface: no pyplot, no global state, no display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    horizon = runs[0].horizon
    groups = {name: own for (name, h), own in group(runs).items() if h == horizon}
    tasks = [one.task for one in next(iter(groups.values()))]
    num_rows = math.ceil(len(tasks) / COLUMNS)
    figure = Figure(figsize=(13, 1.5 + 2.3 * num_rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subfigures(1, 2, width_ratios=(COLUMNS, 1.35))
    left, right = panels
    axes = left.subplots(num_rows, COLUMNS, sharex=True, squeeze=False).ravel()
    for i, axis in enumerate(axes):
        if i >= len(tasks):
            axis.set_visible(False)
            continue
        _curves(axis, [own[i] for own in groups.values()])
        if i % COLUMNS == 0:
            axis.set_ylabel("train loss", color=_INK, fontsize=8)
        if i + COLUMNS >= len(tasks):
            axis.set_xlabel("inner step", color=_INK, fontsize=8)
    _aggregate(right, groups)
    names = list(groups)
    handles = [_line(COLOURS[k % len(COLOURS)]) for k in range(len(names))]
    left.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=len(names),
        frameon=False,
        fontsize=9,
    )
    if title:
        figure.suptitle(title, color=_INK, fontsize=12, fontweight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def describe(config: Config, fallback: str) -> str:
    """A task in a few words: "36-20, tanh, batch 64"."""
    sizes = config.get("layer_sizes") or config.get("hidden_units")
    if not sizes:
        return fallback
    words = ["-".join(map(str, sizes)), str(config.get("activation", ""))]
    if "dataset" in config:
        words.append(f"batch {config['dataset'][1]['bs']}")
    return ", ".join(word for word in words if word)


def _curves(axis: Any, own: Sequence[Runs]) -> None:
    positive = all(np.nanmin(one.train_loss) > 0 for one in own)
    ceiling = 2.0 * max(float(np.nanmedian(one.train_loss[:, 0])) for one in own)
    for k in reversed(range(len(own))):  # the first one lies on top
        one, colour = own[k], COLOURS[k % len(COLOURS)]
        loss = np.where(np.isfinite(one.train_loss), one.train_loss, ceiling)
        loss = np.minimum(loss, ceiling)
        low, middle, high = np.quantile(loss, (0.0, 0.5, 1.0), axis=0)
        axis.fill_between(one.inner_steps, low, high, color=colour, alpha=0.16, lw=0)
        axis.plot(one.inner_steps, middle, color=colour, lw=1.5 if k else 1.9)
    axis.set_xscale("symlog", linthresh=10)
    axis.set_xlim(0, own[0].horizon)
    axis.set_xticks([0, 10, 100, own[0].horizon])
    axis.set_xticklabels(["0", "10", "100", f"{own[0].horizon:,}"])
    axis.minorticks_off()
    if positive:
        axis.set_yscale("log")
    axis.set_title(describe(own[0].config, own[0].task), fontsize=8, color=_INK)
    _clean(axis)


def _aggregate(figure: Any, groups: dict[str, list[Runs]]) -> None:
    """Mean cost of every optimizer with its interval, and one dot a task."""
    axis = figure.subplots()
    for k, own in enumerate(groups.values()):
        colour = COLOURS[k % len(COLOURS)]
        costs = mean_costs(own)
        interval = mean(costs)
        spread = np.linspace(-0.16, 0.16, len(costs))
        axis.scatter(k + spread, costs.mean(1), s=12, color=colour, alpha=0.45, lw=0)
        axis.plot([k, k], [interval.low, interval.high], color=colour, lw=3)
        axis.plot(k, interval.value, "o", color=colour, ms=8)
        axis.annotate(
            f"{interval.value:.4f}",
            (k, interval.value),
            textcoords="offset points",
            xytext=(9, 0),
            va="center",
            fontsize=9,
            color=_INK,
        )
    axis.set_xticks([])
    axis.set_xlim(-0.4, len(groups) - 0.25)
    axis.set_ylim(bottom=0)
    axis.set_title(
        "mean normalized loss over the run\n(bar: 95 % over tasks, dots: tasks)",
        fontsize=8,
        color=_INK,
    )
    _clean(axis)


def _clean(axis: Any) -> None:
    axis.grid(color=_FAINT, lw=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=7, colors=_INK, length=0)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color("#b8bdd0")


def _line(colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, lw=2)
