"""Pictures of a comparison: the aggregate on top, one small panel a task below."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from opt_gym.evaluation.comparison import bounded, group, mean_costs
from opt_gym.evaluation.house_style import (
    LINES,
    OTHER_COLORS,
    SUBJECT_COLOR,
    plain_ticks,
    scale_losses,
    worth_log,
    wrapped,
    write_picture,
)
from opt_gym.evaluation.runs import Runs
from opt_gym.judge import intervals
from opt_gym.plugins import unknown

WIDTH = 12.0
"""Of a picture, inches."""

PANEL_HEIGHT, TITLE_SIZE = 1.75, 8.5
"""Of a small panel, in inches, and of its title, in points."""

LEAST_COST = 1e-3
"""The aggregate is cut here: lower costs are within the noise of an evaluation."""


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

    Small panels show the training loss, median and range over the seeds; their axis is
    logarithmic where the losses are above 0 and span a decade, else linear, and then says so.
    Losses of diverged runs are drawn at the loss where ℓ̃ = 2.

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
    rows = math.ceil(len(shown[subject]) / columns_for(len(shown[subject])))
    title = title or _default_title(shown[subject])
    size = (WIDTH, 3.0 + PANEL_HEIGHT * rows)
    return write_picture(path, size, lambda figure: _draw(figure, shown, title))


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
    tasks = f"{len(own)} task{'s' * (len(own) > 1)}"
    runs = f"{seeds} seed{'s' * (seeds > 1)} each"
    return f"{tasks}, {runs}, {own[0].horizon:,} inner steps: lower is better"


def columns_for(num_tasks: int) -> int:
    """Of small panels in a picture's width: of many, as leave the smaller gap at the end."""
    if num_tasks <= 12:
        return min(num_tasks, 4)
    return min((5, 4), key=lambda columns: -num_tasks % columns)


def panel_title(title: str, columns: int) -> str:
    """On as many lines as the width of a small panel asks for, two at most."""
    letters = int(0.78 * WIDTH / columns * 72 / (0.6 * TITLE_SIZE))
    return wrapped(title, letters)


def _draw(figure: Any, shown: dict[str, list[Runs]], title: str) -> None:
    num_tasks = len(next(iter(shown.values())))
    columns = columns_for(num_tasks)
    rows = math.ceil(num_tasks / columns)
    looks = {
        name: _look(place, name == next(iter(shown)))
        for place, name in enumerate(shown)
    }
    halves: Any = figure.subfigures(2, 1, height_ratios=[2.9, PANEL_HEIGHT * rows])
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
        own_runs = {name: own[index] for name, own in shown.items()}
        _draw_task(axes, own_runs, looks)
        title = panel_title(task_title(own_runs[next(iter(shown))]), columns)
        axes.set_title(title, loc="left", fontsize=TITLE_SIZE, pad=3)
        if index % columns == 0:
            axes.set_ylabel("training loss")
        if index + columns >= num_tasks:
            axes.set_xlabel("inner step")
            axes.tick_params(labelbottom=True)


def _draw_aggregate(
    axes: Any, shown: dict[str, list[Runs]], looks: dict[str, _Look]
) -> None:
    """Mean ℓ̃ over tasks at every evaluation point, with a 95 % interval over tasks."""
    drawn_values = []
    for name in _bottom_first(shown):
        own = shown[name]
        steps = own[0].inner_steps[1:]
        per_task = np.stack([run.costs.mean(axis=0)[1:] for run in own])
        points = [intervals.tasks_like_these(column) for column in per_task.T]
        value, low, high = np.array(points).T
        drawn_values.append(value)
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
    if worth_log(np.concatenate(drawn_values), decades=0.3):
        above = np.concatenate(drawn_values)
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(bottom=max(above[above > 0].min() / 2, LEAST_COST))
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
            (-0.14, "o", intervals.tasks_like_these(costs.mean(axis=1))),
            (0.14, "D", intervals.these_tasks(costs, intervals.interquartile_mean)),
        ):
            color = looks[name].color
            y = place + offset
            axes.plot([interval.low, interval.high], [y, y], color=color, lw=2.4)
            fill = color if marker == "o" else "white"
            axes.plot(interval.value, y, marker, color=color, mfc=fill, mew=1.8, ms=6.5)
            axes.annotate(
                f"{interval.value:.4f}",
                (np.fmax(interval.value, interval.high), y),
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
    every = []
    for name in _bottom_first(shown):
        run, look = shown[name], looks[name]
        losses = bounded(run, run.train_loss)[:, 1:]
        every.append(losses)
        steps = run.inner_steps[1:]
        axes.fill_between(
            steps, losses.min(0), losses.max(0), color=look.color, alpha=0.14, lw=0
        )
        middle = np.median(losses, axis=0)
        axes.plot(steps, middle, color=look.color, ls=look.line, lw=look.width)
    axes.set_xscale("log")
    scale_losses(axes, np.concatenate(every, axis=None))


def _look(place: int, is_subject: bool) -> _Look:
    if is_subject:
        return _Look(SUBJECT_COLOR, LINES[0], 1.9)
    color = OTHER_COLORS[(place - 1) % len(OTHER_COLORS)]
    return _Look(color, LINES[place % len(LINES)], 1.4)


def _bottom_first(shown: dict[str, Any]) -> list[str]:
    """The order of drawing: the subject, which is listed first, above all others."""
    subject, *others = shown
    return [*others, subject]


def _wrapped(name: str) -> str:
    """Long names break after a comma."""
    return name.replace(", ", ",\n", 1) if len(name) > 14 else name
