"""Mean normalized losses, tasks x optimizers: where who is better."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from opt_gym.evaluation.house_style import GRID, INK, MUTED, plain, shortened
from opt_gym.report.comparison import Comparison, TaskInfo
from opt_gym.report.figures.figure_parts import Drawing, Head, looks, mean_cost_of

CELL = (0.56, 0.2)
"""Inches."""

_MOST_LETTERS = 26
_LINEAR, _FARTHEST = 0.01, 1.0
"""Of the colors: below the first they are next to white, above the second all alike."""

_TICKS = (-1, -0.3, -0.1, -0.03, 0, 0.03, 0.1, 0.3, 1)


def heat_map(
    comparison: Comparison, optimizers: Sequence[str] | None = None
) -> Drawing | None:
    """Numbers are mean normalized losses, colors differences to the one-trial baseline's.

    Blue is better than it, red worse; without a primary baseline, darker is worse. The last
    row is the mean over all tasks, of those that have a result on every one.

    Args:
        comparison: whose results.
        optimizers: the columns; by default all that have any result.
    """
    names = [one.name for one in comparison.optimizers]
    if optimizers is not None:
        names = [name for name in optimizers if name in names]
    names = [
        n
        for n in names
        if any((n, t.name) in comparison.results for t in comparison.tasks)
    ]
    if not names:
        return None
    costs = np.array(
        [
            [mean_cost_of(comparison, n, task) for n in names]
            for task in comparison.tasks
        ]
    )
    about = comparison.primary
    reference = np.array([mean_cost_of(comparison, about, t) for t in comparison.tasks])
    if not np.isfinite(reference).any():
        about, reference = "", np.zeros(len(costs))
    lost = np.array(
        [
            [_diverged(comparison, name, task) for name in names]
            for task in comparison.tasks
        ]
    )
    title = "Mean normalized loss of every task"
    head = Head(title)
    labels = [shortened(task.name, 40) for task in comparison.tasks]
    edge = 0.075 * max(map(len, labels)) + 0.2
    slanted = 0.062 * min(max(map(len, names)), _MOST_LETTERS) + 0.35
    width = max(6.0, edge + CELL[0] * len(names) + 1.5)
    height = head.height(width) + slanted + CELL[1] * (len(labels) + 2) + 0.5

    def draw(figure: Any) -> None:
        axes = head.draw(figure).subplots()
        image = _draw_cells(axes, costs, reference, lost, about)
        _label(axes, comparison, names, labels)
        _color_bar(axes, image, about)

    missing = int(np.isnan(costs).sum())
    note = (
        f"{missing} cell{'s' * (missing > 1)} without a result: hatched"
        if missing
        else ""
    )
    return Drawing((width, height), draw, title, note)


def _draw_cells(
    axes: Any,
    costs: Float[np.ndarray, "tasks optimizers"],
    reference: Float[np.ndarray, " tasks"],
    lost: Bool[np.ndarray, "tasks optimizers"],
    about: str,
) -> Any:
    from matplotlib import colormaps
    from matplotlib.colors import Normalize, SymLogNorm
    from matplotlib.patches import Rectangle

    norm: Any = Normalize(0.0, _FARTHEST)
    if about:
        norm = SymLogNorm(
            _LINEAR, linscale=0.4, vmin=-_FARTHEST, vmax=_FARTHEST, base=10
        )
    colors = colormaps["RdBu_r" if about else "YlOrRd"]
    means = costs.mean(axis=0, keepdims=True)
    values = np.concatenate([costs, means])
    away = values - np.append(reference, reference.mean())[:, None]
    # A row is left free above the means.
    rows = [*range(len(costs)), len(costs) + 0.35]
    lost = np.concatenate([lost, np.zeros_like(lost[:1])])
    for row, y in enumerate(rows):
        for column, value in enumerate(values[row]):
            known = math.isfinite(away[row, column])
            fill = (
                colors(norm(np.clip(away[row, column], *_ends(norm))))
                if known
                else "white"
            )
            axes.add_patch(
                Rectangle(
                    (column - 0.5, y - 0.5),
                    1,
                    1,
                    facecolor=fill,
                    edgecolor="white" if known else GRID,
                    hatch=None if math.isfinite(value) else "/////",
                    lw=0.8,
                )
            )
            if math.isfinite(value):
                dark = known and np.dot(fill[:3], (0.3, 0.59, 0.11)) < 0.5
                axes.text(
                    column,
                    y,
                    _number(value) + ("†" if lost[row, column] else ""),
                    ha="center",
                    va="center",
                    fontsize=6.8,
                    color="white" if dark else INK,
                )
    axes.set_xlim(-0.5, costs.shape[1] - 0.5)
    axes.set_ylim(rows[-1] + 0.5, -0.5)
    return norm, colors


def _label(
    axes: Any, comparison: Comparison, names: Sequence[str], labels: Sequence[str]
) -> None:
    ticks = [*range(len(labels)), len(labels) + 0.35]
    axes.set_yticks(ticks, [*labels, "mean over all tasks"], fontsize=7.5)
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
    words = "† a seed diverged: not finite, or it ended above where it began"
    axes.set_xlabel(words, fontsize=7.5, loc="left", color=MUTED)


def _color_bar(axes: Any, image: Any, about: str) -> None:
    from matplotlib.cm import ScalarMappable

    norm, colors = image
    bar = axes.figure.colorbar(
        ScalarMappable(norm, colors),
        ax=axes,
        extend="both" if about else "max",
        shrink=0.7,
        aspect=28,
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


def _ends(norm: Any) -> tuple[float, float]:
    return norm.vmin, norm.vmax


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 0.9995 else f"{value:.2f}"


def _diverged(comparison: Comparison, name: str, task: TaskInfo) -> bool:
    if (name, task.name) not in comparison.results:
        return False
    return bool(comparison.diverged(name, task).any())
