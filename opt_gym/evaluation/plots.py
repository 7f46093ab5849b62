"""Pictures of a comparison: the aggregate on top, one small panel a task below.

Drawn on a canvas of their own (Agg): no window, no backend switched, no global setting changed.
"""

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from opt_gym.evaluation import bootstrap
from opt_gym.evaluation.comparison import bounded, group, mean_costs
from opt_gym.evaluation.runs import Runs
from opt_gym.plugins import unknown
from opt_gym.runtime.files import write_atomically

SUBJECT_COLOR = "#c2185b"
OTHER_COLORS = ("#5f6b7a", "#e09f1f", "#2a9d8f", "#4c78c9", "#8a5fbf")
LINES = ("-", "-", (0, (5, 1.5)), (0, (1.5, 1)))
"""Solid, solid, dashed, dotted: where two optimizers chose the same setting, both show."""

MOST_LETTERS = 25
"""Of a task's title on one line; a panel has no room for more."""

LEAST_COST = 1e-3
"""The aggregate is cut here: lower costs are within the noise of an evaluation."""

_INK, _GRID = "#22262b", "#e6e8eb"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": "#b8bec5",
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "xtick.color": "#5b636c",
    "ytick.color": "#5b636c",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}


class _Look(NamedTuple):
    color: str
    line: Any
    width: float


def plot_comparison(
    path: Path,
    runs: Sequence[Runs],
    *,
    subject: str,
    title: str = "",
    horizon: int | None = None,
) -> Path:
    """Writes a PNG: normalized loss over all tasks, the mean costs, and every task's curves.

    Small panels show the training loss, median and range over the seeds. Losses of diverged
    runs are drawn at the loss where ℓ̃ = 2.

    Args:
        path: of the file; 12 inches wide, 150 dots an inch.
        runs: of all optimizers on the same tasks.
        subject: the optimizer the picture is about.
        title: above all; by default says the number of tasks, seeds and steps.
        horizon: which, where there are several; by default the first.

    Raises:
        ValueError: an unknown subject, or a horizon nobody ran.
    """
    groups = group(runs)
    horizon = runs[0].horizon if horizon is None else horizon
    shown = {name: own for (name, h), own in groups.items() if h == horizon}
    if not shown:
        known = sorted({h for _, h in groups})
        raise ValueError(f"no runs of horizon {horizon}, only of {known}")
    if subject not in shown:
        raise ValueError(unknown("optimizer", subject, list(shown)))
    # The subject is drawn last, above the others, and listed first.
    shown = {subject: shown.pop(subject), **shown}
    rows = math.ceil(len(shown[subject]) / _columns(len(shown[subject])))
    title = title or _default_title(shown[subject])
    return write_picture(
        path, (12, 3.0 + 1.75 * rows), lambda figure: _draw(figure, shown, title)
    )


def write_picture(
    path: Path, size: tuple[float, float], draw: Callable[[Any], Any], dpi: int = 150
) -> Path:
    """Writes a PNG in the house's style, atomically.

    Args:
        path: of the file.
        size: width and height, inches.
        draw: is given the empty matplotlib figure (constrained layout).
        dpi: dots an inch.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(rc=STYLE):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=dpi, facecolor="white")
    return write_atomically(path, content.getvalue())


def task_title(run: Runs) -> str:
    """A short name for people: "64-32-10 relu, batch 64" for an MLP, else the task's name."""
    from opt_gym.data import catalog

    config = run.config
    data = config.get("dataset")
    if "layer_sizes" not in config or not isinstance(data, list | tuple):
        return run.task.replace("_", " ")
    if data[0] not in catalog.IMAGE_SETS:
        return run.task.replace("_", " ")
    entry = catalog.image_set(data[0])
    sizes = [math.prod(entry.shape), *config["layer_sizes"], entry.num_classes]
    shape = "-".join(map(str, sizes))
    return f"{shape} {config['activation']}, batch {data[1]['bs']}"


def _default_title(own: list[Runs]) -> str:
    seeds = len(own[0].mean_cost)
    return (
        f"{len(own)} tasks, {seeds} seeds each, {own[0].horizon:,} inner steps: "
        "lower is better"
    )


def _columns(num_tasks: int) -> int:
    return min(num_tasks, 4 if num_tasks <= 12 else 6)


def _draw(figure: Any, shown: dict[str, list[Runs]], title: str) -> None:
    num_tasks = len(next(iter(shown.values())))
    columns = _columns(num_tasks)
    rows = math.ceil(num_tasks / columns)
    looks = {
        name: _look(place, name == next(iter(shown)))
        for place, name in enumerate(shown)
    }
    halves: Any = figure.subfigures(2, 1, height_ratios=[2.9, 1.75 * rows])
    top, below = halves
    top.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold")
    pair: Any = top.subplots(1, 2, width_ratios=[1.75, 1])
    left, right = pair
    _draw_aggregate(left, shown, looks)
    _draw_costs(right, shown, looks)
    panels: Any = below.subplots(rows, columns, squeeze=False, sharex=True)
    for index, axes in enumerate(panels.flat):
        if index >= num_tasks:
            axes.set_visible(False)
            continue
        _draw_task(axes, {name: own[index] for name, own in shown.items()}, looks)
        if index % columns == 0:
            axes.set_ylabel("training loss")
        if index + columns >= num_tasks:
            axes.set_xlabel("inner step")
            axes.tick_params(labelbottom=True)


def _draw_aggregate(
    axes: Any, shown: dict[str, list[Runs]], looks: dict[str, _Look]
) -> None:
    """Mean ℓ̃ over tasks at every evaluation point, with a 95 % interval over tasks."""
    lowest = math.inf
    for name in _bottom_first(shown):
        own = shown[name]
        steps = own[0].inner_steps[1:]
        per_task = np.stack([run.costs.mean(axis=0)[1:] for run in own])
        points = [bootstrap.mean(column[:, None]) for column in per_task.T]
        value, low, high = np.array(points).T
        lowest = min(lowest, *(v for v in value if v > 0))
        look = looks[name]
        axes.fill_between(steps, low, high, color=look.color, alpha=0.13, lw=0)
        axes.plot(
            steps,
            value,
            color=look.color,
            ls=look.line,
            lw=1.4 * look.width,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(lowest / 2, LEAST_COST))
    plain_ticks(axes)
    axes.set_title("Normalized loss, mean over tasks", loc="left", fontsize=10)
    axes.set_xlabel("inner step")
    axes.set_ylabel("1 = initial, 0 = best of 14 Adams", fontsize=8)
    drawn = dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    axes.legend(
        [drawn[name] for name in shown],
        shown,
        loc="lower left",
        frameon=False,
        fontsize=9.5,
        handlelength=3.2,
    )


def _draw_costs(
    axes: Any, shown: dict[str, list[Runs]], looks: dict[str, _Look]
) -> None:
    """Mean cost of every optimizer: the mean and the interquartile mean."""
    for place, (name, own) in enumerate(shown.items()):
        costs = mean_costs(own)
        for offset, marker, interval in (
            (-0.14, "o", bootstrap.mean(costs)),
            (0.14, "D", bootstrap.iqm(costs)),
        ):
            color = looks[name].color
            y = place + offset
            axes.plot([interval.low, interval.high], [y, y], color=color, lw=2.4)
            fill = color if marker == "o" else "white"
            axes.plot(interval.value, y, marker, color=color, mfc=fill, mew=1.8, ms=6.5)
            axes.annotate(
                f"{interval.value:.4f}",
                (interval.high, y),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=color,
            )
    axes.set_yticks(range(len(shown)), [_wrapped(name) for name in shown], fontsize=9)
    for label, name in zip(axes.get_yticklabels(), shown, strict=True):
        label.set_color(looks[name].color)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.margins(x=0.22)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_title("Normalized loss, mean over inner steps", loc="left", fontsize=10)
    axes.set_xlabel(
        "● mean, 95 % interval over tasks    ◇ IQM, 95 % over seeds", fontsize=8
    )


def _draw_task(axes: Any, shown: dict[str, Runs], looks: dict[str, _Look]) -> None:
    for name in _bottom_first(shown):
        run, look = shown[name], looks[name]
        losses = np.maximum(bounded(run, run.train_loss)[:, 1:], 1e-12)
        steps = run.inner_steps[1:]
        axes.fill_between(
            steps, losses.min(0), losses.max(0), color=look.color, alpha=0.14, lw=0
        )
        middle = np.median(losses, axis=0)
        axes.plot(steps, middle, color=look.color, ls=look.line, lw=look.width)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes)
    title = task_title(next(iter(shown.values())))
    if len(title) > MOST_LETTERS:
        title = title.replace(" ", "\n", 1)
    axes.set_title(title, loc="left", fontsize=8.5, pad=3)


def _look(place: int, is_subject: bool) -> _Look:
    if is_subject:
        return _Look(SUBJECT_COLOR, LINES[0], 1.9)
    color = OTHER_COLORS[(place - 1) % len(OTHER_COLORS)]
    return _Look(color, LINES[place % len(LINES)], 1.4)


def _bottom_first(shown: dict[str, Any]) -> list[str]:
    """The order of drawing: the subject, which is listed first, above all others."""
    subject, *others = shown
    return [*others, subject]


def plain_ticks(axes: Any) -> None:
    """Decades only, 0.01 rather than a power where that is short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    def label(value: float, _: Any) -> str:
        return f"{value:,.10g}" if 1e-3 <= value < 1e5 else f"1e{math.log10(value):.0f}"

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(base=10, numticks=6))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(label))


def _wrapped(name: str) -> str:
    """Long names break after a comma."""
    return name.replace(", ", ",\n", 1) if len(name) > 14 else name
