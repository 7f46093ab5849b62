"""How good the entrants are against the size of a task, and where they were trained."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from opt_gym.evaluation.house_style import MUTED, plain_ticks, shortened
from opt_gym.report.figures.figure_parts import (
    Drawing,
    Head,
    Look,
    looks,
    mean_cost_of,
    robust_limit,
)
from opt_gym.report.side_by_side import Comparison

Ranges = Mapping[str, tuple[float, float]]
"""What a θ was trained on: "num_weights", "batch_size" and "horizon" -> (low, high)."""

AXES = {
    "num_weights": "number of weights",
    "batch_size": "batch size",
    "horizon": "inner steps",
}
SHADE = (0.55, 0.65, 0.3, 0.22)
"""Of what θ was trained on: seen through, for a page may be dark."""

PANEL = (3.9, 3.4)
"""Inches."""

_TREND = 8
"""Tasks that a line of medians needs."""

_FEW = 6
"""Sizes that get a median each; of more, neighbours share one."""


class Points(NamedTuple):
    """What one panel shows of one entrant: x, y and the line through its medians."""

    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]


def result_against_size(
    comparison: Comparison,
    trained_on: Ranges | None = None,
    others: Sequence[Comparison] = (),
) -> Drawing | None:
    """Mean normalized loss minus the one-trial baseline's, a dot a task; 0 is a tie.

    Without a primary baseline it is the loss itself.

    Args:
        comparison: whose results.
        trained_on: is shaded.
        others: the same at other horizons; with them, there is a panel of horizons.
    """
    everything = [comparison, *others]
    about = comparison.primary
    if not any((about, task.name) in comparison.results for task in comparison.tasks):
        about = ""
    panels: dict[str, dict[str, Points]] = {}
    for across in AXES:
        used = everything if across == "horizon" else [comparison]
        if across == "horizon" and len({one.horizon for one in everything}) < 2:
            continue
        found = {
            one.name: _points(used, one.name, across, about)
            for one in comparison.entrants
        }
        panels[across] = {
            name: points for name, points in found.items() if len(points.x)
        }
    shown = looks(comparison)
    names = [
        one.name for one in comparison.entrants if one.name in panels["num_weights"]
    ]
    if not names:
        return None
    title = "Result against the size of the task"
    dot: dict[str, Any] = {"ls": "-", "marker": "o", "ms": 4, "mew": 0, "lw": 1.6}
    legend = [(shortened(n, 30), {**dot, "color": shown[n].color}) for n in names]
    if trained_on:
        legend.append(("what θ was trained on", {"color": SHADE, "lw": 8}))
    head = Head(title, legend)
    width = PANEL[0] * len(panels) + 0.3

    def draw(figure: Any) -> None:
        row: Any = head.draw(figure).subplots(
            1, len(panels), squeeze=False, sharey=True
        )
        for axes, (across, found) in zip(row[0], panels.items(), strict=True):
            _draw(axes, across, found, shown)
            _shade(axes, (trained_on or {}).get(across))
        _set_heights(row[0], panels, about)

    return Drawing((width, PANEL[1] + head.height(width)), draw, title)


def _points(used: Sequence[Comparison], name: str, across: str, about: str) -> Points:
    x, y = [], []
    for one in used:
        for task in one.tasks:
            cost = mean_cost_of(one, name, task)
            if about:
                cost -= mean_cost_of(one, about, task)
            size = one.horizon if across == "horizon" else getattr(task, across)
            if math.isfinite(cost) and size > 0:
                x.append(size)
                y.append(cost)
    return Points(np.array(x, float), np.array(y, float))


def _draw(
    axes: Any, across: str, found: dict[str, Points], shown: dict[str, Look]
) -> None:
    axes.axhline(0.0, color=MUTED, lw=1.1, zorder=1)
    for place, (name, points) in enumerate(found.items()):
        beside = 1.05 ** (place - (len(found) - 1) / 2)  # apart, where x are equal
        color = shown[name].color
        axes.plot(
            points.x * beside,
            points.y,
            "o",
            color=color,
            ms=4,
            alpha=0.55,
            mew=0,
            zorder=3,
            gid=name,
        )
        middle = _medians(points)
        if middle is not None:
            axes.plot(middle.x, middle.y, color=color, lw=1.8, zorder=4)
    axes.set_xscale("log")
    every = np.concatenate([one.x for one in found.values()] or [np.ones(1)])
    axes.set_xlim(every.min() / 1.5, every.max() * 1.5)
    axes.set_xlabel(AXES[across])


def _shade(axes: Any, span: tuple[float, float] | None) -> None:
    if span is None:
        return
    low, high = axes.get_xlim()
    # A range of one value is still seen, and one beyond the tasks widens the axis.
    left, right = span[0] / 1.06, span[1] * 1.06
    axes.axvspan(left, right, color=SHADE, lw=0, zorder=0)
    axes.set_xlim(min(low, left / 1.15), max(high, right * 1.15))


def _set_heights(
    row: Sequence[Any], panels: dict[str, dict[str, Points]], about: str
) -> None:
    """One y axis for all; what is beyond it is a triangle at its edge."""
    from matplotlib.ticker import FixedLocator

    y = np.concatenate([one.y for found in panels.values() for one in found.values()])
    limit = robust_limit(y)
    lowest = max(-limit, min(0.0, float(y.min())) * 1.15 - 0.03 * limit)
    row[0].set_ylim(lowest, limit)
    for axes in row:
        for line in [line for line in axes.lines if line.get_marker() == "o"]:
            x, heights = line.get_data()
            for far, edge, marker in (
                (heights > limit, limit, "^"),
                (heights < lowest, lowest, "v"),
            ):
                if far.any():
                    look = {"color": line.get_color(), "ms": 5, "mew": 0, "zorder": 5}
                    y_edge = np.full(far.sum(), edge)
                    axes.plot(x[far], y_edge, marker, clip_on=False, **look)
        plain_ticks(axes)
    if "horizon" in panels:
        ticks = np.unique(np.concatenate([one.x for one in panels["horizon"].values()]))
        row[-1].xaxis.set_major_locator(FixedLocator(list(ticks)))
    words = "mean normalized loss"
    if about:
        words += f"\nminus that of {shortened(about, 28)}"
    row[0].set_ylabel(words)


def _medians(points: Points) -> Points | None:
    """A line through medians: of every x where these are few, else of parts of the tasks."""
    values = np.unique(points.x)
    if len(points.x) < _TREND or len(values) < 2:
        return None
    if len(values) <= _FEW:
        groups = [points.x == value for value in values]
    else:
        order = np.argsort(points.x, kind="stable")
        groups = np.array_split(order, min(_FEW - 1, len(order) // 4))
    x = np.array([np.median(points.x[own]) for own in groups])
    return Points(x, np.array([np.median(points.y[own]) for own in groups]))
