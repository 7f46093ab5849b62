"""Mean normalized losses, tasks x optimizers: where who is better."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from opt_gym.evaluation.house_style import INK, MUTED, plain, shortened
from opt_gym.report.figures.figure_parts import (
    Drawing,
    Head,
    in_order,
    looks,
    mean_cost_of,
)
from opt_gym.report.side_by_side import Comparison, TaskInfo

CELL = (0.56, 0.2)
"""Inches."""

_MOST_LETTERS = 26
_LINEAR, _FARTHEST = 0.01, 1.0
"""Of the colors: below the first they are next to white, above the second all alike."""

_FEW_ROWS = 10
"""Below which the scale of colors lies under the map: beside it, it would be too short."""

_GAP = 0.35
"""Above the row of means, in rows."""

_FOOT = (
    "† a seed diverged: not finite, or it ended above where it began\n"
    "* without the tasks that are hatched"
)
_TICKS = (-1, -0.3, -0.1, -0.03, 0, 0.03, 0.1, 0.3, 1)


class Cells(NamedTuple):
    """What stands in the map, the row of means last.

    Attributes:
        values: mean normalized losses; NaN where there is none.
        away: what the colors show; NaN where there is nothing to compare with.
        marks: behind the numbers.
        about: the optimizer that colors are about; "" for colors of the loss itself.
    """

    values: Float[np.ndarray, "rows optimizers"]
    away: Float[np.ndarray, "rows optimizers"]
    marks: list[list[str]]
    about: str


def heat_map(
    comparison: Comparison, optimizers: Sequence[str] | None = None
) -> Drawing | None:
    """Numbers are mean normalized losses, colors differences to the one-trial baseline's.

    Blue is better than it, red worse; without a primary baseline, darker is worse. The last
    row holds means over tasks; its colors are of the tasks that the baseline has, too.

    Args:
        comparison: whose results.
        optimizers: the columns; by default all that have any result.
    """
    names = in_order(comparison, {name for name, _ in comparison.results})
    if optimizers is not None:
        names = [name for name in optimizers if name in names]
    if not names:
        return None
    found = cells(comparison, names)
    title = "Mean normalized loss of every task"
    head = Head(title)
    labels = [shortened(task.name, 40) for task in comparison.tasks]
    edge = 0.075 * max(map(len, labels)) + 0.2
    slanted = 0.062 * min(max(map(len, names)), _MOST_LETTERS) + 0.35
    width = max(6.0, edge + CELL[0] * len(names) + 1.5)
    height = head.height(width) + slanted + CELL[1] * (len(labels) + 2) + 0.5
    lies = len(labels) < _FEW_ROWS
    height += 0.6 * lies

    def draw(figure: Any) -> None:
        axes = head.draw(figure).subplots()
        shades = _shades(found.about)
        _draw_cells(axes, found, shades)
        _label(axes, comparison, names, labels)
        _color_bar(axes, shades, found.about, lies)

    missing = int(np.isnan(found.values[:-1]).sum())
    several = "s" * (missing > 1)
    note = f"{missing} cell{several} without a result: hatched" if missing else ""
    return Drawing((width, height), draw, title, note)


def cells(comparison: Comparison, names: Sequence[str]) -> Cells:
    """What the map of these optimizers holds."""
    tasks, about = comparison.tasks, comparison.primary
    costs = np.array(
        [[mean_cost_of(comparison, n, task) for n in names] for task in tasks]
    )
    reference = np.array([mean_cost_of(comparison, about, task) for task in tasks])
    if not np.isfinite(reference).any():
        about, reference = "", np.zeros(len(costs))
    away = costs - reference[:, None]
    marks = [
        ["†" if _diverged(comparison, name, task) else "" for name in names]
        for task in tasks
    ]
    lacking = [bool(np.isnan(column).any()) for column in costs.T]
    marks.append(["*" if lacks else "" for lacks in lacking])
    return Cells(
        np.concatenate([costs, _means(costs)]),
        np.concatenate([away, _means(away)]),
        marks,
        about,
    )


def _means(
    costs: Float[np.ndarray, "tasks optimizers"],
) -> Float[np.ndarray, "1 optimizers"]:
    """Over the tasks that are known; NaN for none."""
    known = np.isfinite(costs)
    totals = np.where(known, costs, 0.0).sum(axis=0, keepdims=True)
    counts = known.sum(axis=0, keepdims=True)
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)


def _shades(about: str) -> tuple[Any, Any]:
    """(norm, colors): diverging about a baseline, or from 0 up."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize, SymLogNorm

    if not about:
        return Normalize(0.0, _FARTHEST, clip=True), colormaps["YlOrRd"]
    norm = SymLogNorm(
        _LINEAR, linscale=0.4, vmin=-_FARTHEST, vmax=_FARTHEST, base=10, clip=True
    )
    return norm, colormaps["RdBu_r"]


def _draw_cells(axes: Any, found: Cells, shades: tuple[Any, Any]) -> None:
    norm, colors = shades
    num_rows, num_columns = found.values.shape
    heights = [*range(num_rows - 1), num_rows - 1 + _GAP]
    for row, y in enumerate(heights):
        for column, value in enumerate(found.values[row]):
            away = found.away[row, column]
            fill = colors(norm(away)) if math.isfinite(away) else (1.0, 1.0, 1.0, 1.0)
            _draw_cell(axes, column, y, fill, hatched=not math.isfinite(value))
            if math.isfinite(value):
                axes.text(
                    column,
                    y,
                    _number(value) + found.marks[row][column],
                    ha="center",
                    va="center",
                    fontsize=6.8,
                    color=INK if np.dot(fill[:3], (0.3, 0.59, 0.11)) > 0.5 else "white",
                )
    axes.set_xlim(-0.5, num_columns - 0.5)
    axes.set_ylim(heights[-1] + 0.5, -0.5)


def _draw_cell(axes: Any, column: int, y: float, fill: Any, hatched: bool) -> None:
    from matplotlib.patches import Rectangle

    look: dict[str, Any] = {"facecolor": fill, "edgecolor": "white", "lw": 0.8}
    if hatched:
        look |= {"hatch": "/////", "edgecolor": "#c9ced4"}
    axes.add_patch(Rectangle((column - 0.5, y - 0.5), 1, 1, **look))


def _label(
    axes: Any, comparison: Comparison, names: Sequence[str], labels: Sequence[str]
) -> None:
    ticks = [*range(len(labels)), len(labels) + _GAP]
    axes.set_yticks(ticks, [*labels, "mean over tasks"], fontsize=7.5)
    axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.xaxis.tick_top()
    axes.set_xticks(
        range(len(names)),
        [shortened(name, _MOST_LETTERS) for name in names],
        rotation=40,
        ha="left",
        rotation_mode="anchor",
        fontsize=7.5,
    )
    entrants = {one.name for one in comparison.entrants}
    shown = looks(comparison)
    for label, name in zip(axes.get_xticklabels(), names, strict=True):
        label.set_color(shown[name].color if name in entrants else INK)
        if name in entrants or name == comparison.primary:
            label.set_fontweight("bold")
    axes.tick_params(length=0, pad=3)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    parts = [task.part for task in comparison.tasks]
    for row in range(1, len(parts)):
        if parts[row] != parts[row - 1]:
            axes.axhline(row - 0.5, color=INK, lw=1.2)
    axes.set_xlabel(_FOOT, fontsize=7.5, loc="left", color=MUTED)


def _color_bar(axes: Any, shades: tuple[Any, Any], about: str, lies: bool) -> None:
    from matplotlib.cm import ScalarMappable

    norm, colors = shades
    bar = axes.figure.colorbar(
        ScalarMappable(norm, colors),
        ax=axes,
        extend="both" if about else "max",
        location="bottom" if lies else "right",
        shrink=0.8,
        aspect=36 if lies else 28,
        pad=0.02,
    )
    bar.outline.set_visible(False)
    bar.ax.grid(visible=False)
    bar.ax.minorticks_off()
    if about:
        bar.set_ticks(list(_TICKS), labels=[plain(x) for x in _TICKS])
        words = f"minus that of {shortened(about, 24)}: blue is better, red is worse"
    else:
        words = "mean normalized loss: darker is worse"
    bar.set_label(words, fontsize=8)
    bar.ax.tick_params(labelsize=7.5, length=2)


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 0.9995 else f"{value:.2f}"


def _diverged(comparison: Comparison, name: str, task: TaskInfo) -> bool:
    if (name, task.name) not in comparison.results:
        return False
    return bool(comparison.diverged(name, task).any())
